import { ReasonCode } from '../base/reason-codes.ts'
import { Fifo } from '../base/fifo.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { DeliveryOptions, PacketSink } from '../contract/packet-sink.ts'
import { PacketType, QoS } from '../packet/packets.ts'
import { Delivery, type Share } from './delivery.ts'
import type { QueueState } from '../contract/store.ts'
import { DeliveryState } from '../store/pending-message.ts'
import { InFlightWindow } from './in-flight-window.ts'
import type { SessionLog } from './session-log.ts'
import type { DropTarget, SessionServices } from './session-services.ts'
import { StoredDelivery } from './stored-delivery.ts'
import { StoredQueue } from './stored-queue.ts'
import { WaitingMessages } from './waiting-messages.ts'
import type { WaitingQueue } from './waiting-queue.ts'

interface Replayed { readonly message: Message, readonly options: DeliveryOptions }

/** Of all that never sent anything with QoS 1 or 2; nothing is ever put into it. */
const noWindow = new InFlightWindow()

/**
 * Messages on their way to one Client. QoS 0 goes straight to the connection or is dropped. QoS 1 and 2 go into the
 * in-flight window, which the Client's Receive Maximum bounds, and wait behind it when that or the connection is full.
 * Retained messages of a new subscription follow when there is room, so they never hold up live ones.
 */
export class Outbox {
  readonly #target: DropTarget
  readonly #services: SessionServices
  #inFlight = noWindow
  #sink: PacketSink | undefined = undefined
  #receiveMaximum = 0
  #waiting: WaitingQueue | undefined = undefined
  /** Where QoS 1 and 2 messages are written down; undefined for a Session that ends with its connection. */
  #log: SessionLog | undefined = undefined
  /** In flight since an earlier connection and not yet resent in this one. */
  #unsent: Fifo<Delivery> | undefined = undefined
  #unsentCount = 0
  /** Of those in flight, how many wait to be stored before they are sent. */
  #heldCount = 0
  #replay: Fifo<Replayed> | undefined = undefined
  #hasEnded = false
  /** Something came to be in flight since the last `keepInFlight`. */
  #hasSent = false

  constructor (target: DropTarget, services: SessionServices) {
    this.#target = target
    this.#services = services
  }

  /** There is a connection that takes messages. */
  get isAttached (): boolean { return this.#sink !== undefined }

  /** QoS 1 and 2 messages that were sent and not acknowledged. */
  get inFlightCount (): number { return this.#inFlight.size }

  /** QoS 1 and 2 messages that wait to be sent. */
  get waitingCount (): number { return this.#waiting?.length ?? 0 }

  get #hasBacklog (): boolean { return this.#waiting !== undefined || this.#unsent !== undefined || this.#replay !== undefined }

  get #canSend (): boolean {
    return this.#sink?.hasRoom === true && this.#inFlight.size - this.#unsentCount < this.#receiveMaximum // [MQTT-3.3.4-9]
  }

  /** A live message that matched: sends it, keeps it, or drops it with a reason. */
  deliver (message: Message, options: DeliveryOptions, share: Share | undefined): void {
    const qos = message.qos < options.qos ? message.qos : options.qos // [MQTT-3.8.4-8]
    if (qos === QoS.atMostOnce) {
      this.#deliverAtMostOnce(message, options)
      return
    }
    if (this.#waiting === undefined && this.#unsent === undefined && this.#canSend) this.#send(this.#newDelivery(message, options, qos, share))
    else if (this.#admits(message)) this.#waiting?.push(this.#newDelivery(message, options, qos, share)) // none is made for what a full queue drops
  }

  /** Retained messages for a new subscription (section 3.3.1.3). */
  replay (messages: readonly Message[], options: DeliveryOptions): void {
    const { metrics } = this.#services
    const dropped = metrics.messagesDropped // a hook that is told of a drop may change what is retained
    let next = 0
    if (!this.#hasBacklog) while (next < messages.length && this.#canSend && metrics.messagesDropped === dropped) this.#sendRetained(messages[next++] as Message, options)
    if (next === messages.length) return
    this.#replay ??= new Fifo()
    while (next < messages.length) this.#replay.push({ message: messages[next++] as Message, options })
    this.pump()
  }

  /** PUBACK. Returns false for a Packet Identifier that is not in use. */
  acknowledge (packetIdentifier: number): boolean {
    const delivery = this.#inFlight.get(packetIdentifier)
    if (delivery?.qos !== QoS.atLeastOnce) return false
    this.#complete(delivery)
    return true
  }

  /** PUBREC with a Reason Code below 0x80: from here on the message is the Client's (section 4.3.3). */
  release (packetIdentifier: number): boolean {
    const delivery = this.#inFlight.get(packetIdentifier)
    if (delivery?.qos !== QoS.exactlyOnce) return false
    delivery.isReleased = true
    if (this.#log !== undefined && delivery instanceof StoredDelivery) this.#hold(delivery, this.#log)
    else this.#sink?.acknowledge(PacketType.pubrel, packetIdentifier)
    return true
  }

  /** PUBCOMP, or PUBREC with a Reason Code of 0x80 or above, which also ends it (section 4.3.3). */
  complete (packetIdentifier: number): boolean {
    const delivery = this.#inFlight.get(packetIdentifier)
    if (delivery?.qos !== QoS.exactlyOnce) return false
    this.#complete(delivery)
    return true
  }

  /** A connection has come: resends what was in flight [MQTT-4.4.0-1], then goes on with what waits. */
  attach (sink: PacketSink, receiveMaximum: number): void {
    this.#sink = sink
    this.#receiveMaximum = receiveMaximum
    if (this.#inFlight.size > 0) {
      this.#unsent = new Fifo()
      for (const delivery of this.#inFlight.inOrder()) {
        delivery.isUnsent = true
        this.#unsent.push(delivery)
      }
    }
    this.#unsentCount = this.#inFlight.size
    this.#waiting?.attach()
    this.pump()
  }

  /** The connection has gone. What must outlive it is kept. */
  detach (): void {
    this.#sink = undefined
    this.#unsent = undefined
    this.#inFlight.keep()
    this.#keepReplay()
    this.#waiting?.detach()
    this.#log?.clientGone()
  }

  /** From here on QoS 1 and 2 messages are kept in the store. */
  keep (log: SessionLog): void {
    this.#log = log
    log.onLost = delivery => { this.#lose(delivery) }
  }

  /** Takes over the queue that was found in the store. */
  restoreQueue (queue: QueueState, log: SessionLog): void {
    if (queue.end <= queue.first) return
    const waiting = this.#newStoredQueue(log)
    waiting.restore(queue)
    this.#waiting = waiting
  }

  /** Takes over what was in flight, in the order of sending. */
  restoreInFlight (deliveries: readonly StoredDelivery[]): void {
    for (const delivery of deliveries) this.#window.restore(delivery)
    this.#hasSent = true // what was read together is a slice of the same bytes
  }

  /** Position in the store from which on nothing of the queue is in memory. */
  get spilledFrom (): number {
    return this.#waiting instanceof StoredQueue ? this.#waiting.spilledFrom : this.#log?.end ?? 0
  }

  /** Looks after messages that expire while they wait in the store. */
  sweep (now: number): void {
    if (this.#waiting instanceof StoredQueue) this.#waiting.sweep(now)
  }

  /** Called now and then: what stays in flight for longer is not to keep the whole chunk alive that it came in. */
  keepInFlight (): void {
    if (!this.#hasSent) return
    this.#hasSent = false
    this.#inFlight.keep()
  }

  /** Sends what the window and the connection have room for: oldest first, retained messages last. */
  pump (): void {
    if (!this.#hasBacklog) return
    this.#resend()
    this.#sendWaiting()
    this.#sendReplay()
  }

  /** Drops what was not sent yet and `chosen` names, for rights that were taken back. */
  drop (reason: DropReason, chosen: (message: Message) => boolean): void {
    this.#waiting?.extract(({ message }) => chosen(message), ({ message }) => { this.#drop(message, reason) })
    const replay = this.#replay
    if (replay === undefined) return
    this.#replay = new Fifo()
    for (const next of replay) {
      if (chosen(next.message)) this.#drop(next.message, reason)
      else this.#replay.push(next)
    }
  }

  /** Takes a delivery back that nobody else could have. */
  restore ({ message, qos, retain, subscriptionIdentifiers, share }: Delivery): void {
    this.#wait(this.#newDelivery(message, { qos, retain, subscriptionIdentifiers }, qos, share))
    this.pump()
  }

  /**
   * Takes out what another member of its Shared Subscription can have: what was not sent, and unacknowledged QoS 1.
   * A QoS 2 message that was sent stays with this Session [MQTT-4.8.2-4].
   */
  extractShared (isOfflineToo: boolean, each: (delivery: Delivery) => void): void {
    const canMove = ({ share, message }: Delivery): boolean => share?.canRedispatch(message, this.#target, isOfflineToo) === true
    const sent = this.#inFlight.inOrder().filter(delivery => delivery.qos === QoS.atLeastOnce && canMove(delivery))
    for (const delivery of sent) {
      if (delivery instanceof StoredDelivery) delivery.move()
      this.#free(delivery)
    }
    for (const delivery of sent) each(delivery)
    this.#waiting?.extractShared(canMove, each)
  }

  /** The Session ends: whatever has not arrived is dropped. */
  clear (): void { this.#end(({ message }) => { this.#drop(message, 'sessionEnded') }) }

  /** The Session is another node's now. */
  abandon (): void { this.#end(() => undefined) }

  #end (each: (delivery: Delivery) => void): void {
    this.#hasEnded = true
    this.#waiting?.clear(each)
    if (this.#log !== undefined) for (const delivery of this.#inFlight.inOrder()) this.#forget(delivery)
    this.#inFlight.clear()
    this.#waiting = this.#unsent = this.#replay = undefined
  }

  /** Made on demand. */
  get #window (): InFlightWindow { return this.#inFlight === noWindow ? this.#inFlight = new InFlightWindow() : this.#inFlight }

  #deliverAtMostOnce (message: Message, options: DeliveryOptions): void {
    const sink = this.#sink
    if (sink === undefined) this.#drop(message, 'offline')
    else if (sink.isCongested) this.#drop(message, 'slowConsumer')
    else if (!sink.publish(message, QoS.atMostOnce, options.retain, options.subscriptionIdentifiers, 0, false)) this.#drop(message, 'packetTooLarge')
  }

  #newDelivery (message: Message, options: DeliveryOptions, qos: QoS, share: Share | undefined): Delivery {
    const log = this.#log
    return log === undefined ? new Delivery(message, options, qos, share) : new StoredDelivery(message, options, qos, share, log)
  }

  #send (delivery: Delivery): void {
    this.#window.add(delivery)
    this.#hasSent = true
    if (this.#log === undefined || this.#record(delivery, this.#log)) this.#transmit(delivery, false)
  }

  /** Writes down that a message is in flight; returns whether it can be sent before that is stored. */
  #record (delivery: Delivery, log: SessionLog): boolean {
    if (!(delivery instanceof StoredDelivery)) return true
    if (delivery.state === DeliveryState.unrecorded) log.enqueue(delivery)
    // A broker that forgot the Packet Identifier of a QoS 2 message would send it again under another: twice, to its receiver.
    // What comes behind one that is held back keeps its place.
    const isHeldBack = delivery.qos === QoS.exactlyOnce || this.#heldCount > 0
    if (isHeldBack) this.#heldCount++
    if (isHeldBack) this.#hold(delivery, log)
    else log.sent(delivery)
    return !isHeldBack
  }

  /** Sends a message, or its PUBREL, once its state is stored. A store that fails is asked until it does it. */
  #hold (delivery: StoredDelivery, log: SessionLog): void {
    delivery.isHeld = true
    log.sent(delivery)
    log.wait({
      stored: () => { this.#sendHeld(delivery) },
      refused: () => {
        const isWanted = this.#inFlight.get(delivery.packetIdentifier) === delivery
        if (!isWanted) this.#sendHeld(delivery)
        return isWanted
      },
    })
  }

  #sendHeld (delivery: StoredDelivery): void {
    delivery.isHeld = false
    if (!delivery.isReleased) this.#heldCount--
    if (this.#inFlight.get(delivery.packetIdentifier) !== delivery || this.#sink === undefined || delivery.isUnsent) return
    if (delivery.isReleased) this.#sink.acknowledge(PacketType.pubrel, delivery.packetIdentifier)
    else this.#transmit(delivery, false)
    if (this.#inFlight.get(delivery.packetIdentifier) !== delivery) this.pump() // it was too large, and its place is free
  }

  /** A message could not be stored: its publisher was told, so nobody need get it who has not got it. */
  #lose (delivery: StoredDelivery): void {
    if (this.#inFlight.get(delivery.packetIdentifier) !== delivery) {
      if (this.#waiting instanceof StoredQueue) this.#waiting.lose(delivery)
      return
    }
    if (!delivery.isHeld) return
    this.#drop(delivery.message, 'storeFailed')
    this.#complete(delivery)
  }

  #transmit (delivery: Delivery, dup: boolean): void {
    if (this.#publish(delivery, dup)) return
    this.#free(delivery) // [MQTT-3.1.2-25]
    this.#drop(delivery.message, 'packetTooLarge')
  }

  #publish (delivery: Delivery, dup: boolean): boolean {
    const { message, qos, retain, subscriptionIdentifiers, packetIdentifier } = delivery
    return this.#sink?.publish(message, qos, retain, subscriptionIdentifiers, packetIdentifier, dup) === true
  }

  #wait (delivery: Delivery): void { if (this.#admits(delivery.message)) this.#waiting?.push(delivery) }

  /** Whether the message may wait; if not, it was dropped. */
  #admits (message: Message): boolean {
    if (this.#hasEnded) { // by a hook, while the message was on its way to several Sessions
      this.#drop(message, 'sessionEnded')
      return false
    }
    this.#waiting ??= this.#newQueue()
    const isAdmitted = this.#waiting.admit(message)
    if (!isAdmitted && this.#services.limits.queuePolicy === 'disconnect') this.#sink?.disconnect(ReasonCode.quotaExceeded)
    return isAdmitted
  }

  #newQueue (): WaitingQueue {
    return this.#log === undefined ? new WaitingMessages(this.#target, this.#services) : this.#newStoredQueue(this.#log)
  }

  #newStoredQueue (log: SessionLog): StoredQueue {
    const queue = new StoredQueue(this.#target, this.#services, log, () => { this.pump() })
    if (this.#sink !== undefined) queue.attach()
    return queue
  }

  #complete (delivery: Delivery): void {
    this.#free(delivery)
    if (this.#hasBacklog) this.pump()
  }

  #free (delivery: Delivery): void {
    this.#inFlight.delete(delivery)
    if (delivery.isUnsent) this.#unsentCount--
    if (this.#log !== undefined) this.#forget(delivery)
  }

  #forget (delivery: Delivery): void { if (delivery instanceof StoredDelivery) this.#log?.remove(delivery) }

  #resend (): void {
    while (this.#unsent !== undefined && this.#canSend) {
      const delivery = this.#unsent.shift()
      if (delivery === undefined) this.#unsent = undefined
      else if (this.#inFlight.get(delivery.packetIdentifier) === delivery) this.#sendAgain(delivery)
    }
  }

  #sendAgain (delivery: Delivery): void {
    delivery.isUnsent = false
    this.#unsentCount--
    if (delivery instanceof StoredDelivery && delivery.isHeld) return
    if (delivery.isReleased) this.#sink?.acknowledge(PacketType.pubrel, delivery.packetIdentifier)
    else this.#transmit(delivery, true) // DUP [MQTT-3.3.1-1]
  }

  #sendWaiting (): void {
    while (this.#waiting !== undefined && this.#unsent === undefined && this.#canSend) {
      const delivery = this.#waiting.shift()
      if (delivery !== undefined) this.#send(delivery)
      else if (this.#waiting.length === 0) this.#waiting = undefined
      else return // there is more, and it is on its way from the store
    }
  }

  #sendReplay (): void {
    while (this.#replay !== undefined && this.#waiting === undefined && this.#unsent === undefined && this.#canSend) {
      const next = this.#replay.shift()
      if (next === undefined) this.#replay = undefined
      else if (this.#services.isRetained(next.message)) this.#sendRetained(next.message, next.options)
    }
  }

  #sendRetained (message: Message, options: DeliveryOptions): void {
    const qos = message.qos < options.qos ? message.qos : options.qos
    if (qos === QoS.atMostOnce) this.#deliverAtMostOnce(message, options)
    else this.#send(this.#newDelivery(message, options, qos, undefined))
  }

  #keepReplay (): void {
    for (const { message, options } of this.#replay ?? []) {
      const qos = message.qos < options.qos ? message.qos : options.qos
      if (qos !== QoS.atMostOnce && this.#services.isRetained(message)) this.#wait(this.#newDelivery(message, options, qos, undefined))
    }
    this.#replay = undefined
  }

  #drop (message: Message, reason: DropReason): void { this.#services.dropped(this.#target, message, reason) }
}
