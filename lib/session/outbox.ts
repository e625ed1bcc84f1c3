import { ReasonCode } from '../base/reason-codes.ts'
import { Fifo } from '../base/fifo.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { DeliveryOptions, PacketSink } from '../contract/packet-sink.ts'
import { PacketType, QoS } from '../packet/packets.ts'
import { Delivery, type Share } from './delivery.ts'
import { InFlightWindow } from './in-flight-window.ts'
import type { DropTarget, SessionServices } from './session-services.ts'
import { WaitingMessages } from './waiting-messages.ts'

interface Replayed { readonly message: Message, readonly options: DeliveryOptions }

/**
 * Messages on their way to one Client. QoS 0 goes straight to the connection or is dropped. QoS 1 and 2 go into the
 * in-flight window, which the Client's Receive Maximum bounds, and wait behind it when that or the connection is full.
 * Retained messages of a new subscription follow when there is room, so they never hold up live ones.
 */
export class Outbox {
  readonly #target: DropTarget
  readonly #services: SessionServices
  readonly #inFlight = new InFlightWindow()
  #sink: PacketSink | undefined = undefined
  #receiveMaximum = 0
  #waiting: WaitingMessages | undefined = undefined
  /** In flight since an earlier connection and not yet resent in this one. */
  #unsent: Fifo<Delivery> | undefined = undefined
  #unsentCount = 0
  #replay: Fifo<Replayed> | undefined = undefined
  #hasEnded = false
  /** Something was sent since the last `keepInFlight`. */
  #hasSent = false

  constructor (target: DropTarget, services: SessionServices) {
    this.#target = target
    this.#services = services
  }

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
    const delivery = new Delivery(message, options, qos, share)
    if (this.#waiting === undefined && this.#unsent === undefined && this.#canSend) this.#send(delivery)
    else this.#wait(delivery)
  }

  /** Retained messages for a new subscription (section 3.3.1.3). */
  replay (messages: readonly Message[], options: DeliveryOptions): void {
    if (messages.length === 0) return
    this.#replay ??= new Fifo()
    for (const message of messages) this.#replay.push({ message, options })
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
    this.#sink?.acknowledge(PacketType.pubrel, packetIdentifier)
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
    this.pump()
  }

  /** The connection has gone. What must outlive it is kept. */
  detach (): void {
    this.#sink = undefined
    this.#unsent = undefined
    this.#inFlight.keep()
    this.#keepReplay()
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
    for (const { message } of this.extract(delivery => chosen(delivery.message))) this.#drop(message, reason)
    const replay = this.#replay
    if (replay === undefined) return
    this.#replay = new Fifo()
    for (const next of replay) {
      if (chosen(next.message)) this.#drop(next.message, reason)
      else this.#replay.push(next)
    }
  }

  /** Takes a delivery back that nobody else could have. */
  restore (delivery: Delivery): void {
    this.#wait(delivery)
    this.pump()
  }

  /** Removes waiting messages that `chosen` names. */
  extract (chosen: (delivery: Delivery) => boolean): Delivery[] {
    return this.#waiting?.extract(chosen) ?? []
  }

  /**
   * Takes out what another member of its Shared Subscription can have: what was not sent, and unacknowledged QoS 1.
   * A QoS 2 message that was sent stays with this Session [MQTT-4.8.2-4].
   */
  extractShared (isOfflineToo: boolean): Delivery[] {
    const canMove = ({ share, message }: Delivery): boolean => share?.canRedispatch(message, this.#target, isOfflineToo) === true
    const sent = this.#inFlight.inOrder().filter(delivery => delivery.qos === QoS.atLeastOnce && canMove(delivery))
    for (const delivery of sent) this.#free(delivery)
    return [...sent, ...this.extract(canMove)]
  }

  /** The Session ends: whatever has not arrived is dropped. */
  clear (): void {
    this.#hasEnded = true
    for (const { message } of this.extract(() => true)) this.#drop(message, 'sessionEnded')
    this.#inFlight.clear()
    this.#waiting = this.#unsent = this.#replay = undefined
  }

  #deliverAtMostOnce (message: Message, options: DeliveryOptions): void {
    const sink = this.#sink
    if (sink === undefined) this.#drop(message, 'offline')
    else if (sink.isCongested) this.#drop(message, 'slowConsumer')
    else if (!sink.publish(message, QoS.atMostOnce, options.retain, options.subscriptionIdentifiers, 0, false)) this.#drop(message, 'packetTooLarge')
  }

  #send (delivery: Delivery): void {
    this.#inFlight.add(delivery)
    this.#hasSent = true
    if (this.#publish(delivery, false)) return
    this.#inFlight.delete(delivery) // [MQTT-3.1.2-25]
    this.#drop(delivery.message, 'packetTooLarge')
  }

  #publish (delivery: Delivery, dup: boolean): boolean {
    const { message, qos, retain, subscriptionIdentifiers, packetIdentifier } = delivery
    return this.#sink?.publish(message, qos, retain, subscriptionIdentifiers, packetIdentifier, dup) === true
  }

  #wait (delivery: Delivery): void {
    if (this.#hasEnded) { // by a hook, while the message was on its way to several Sessions
      this.#drop(delivery.message, 'sessionEnded')
      return
    }
    this.#waiting ??= new WaitingMessages(this.#target, this.#services)
    if (!this.#waiting.push(delivery)) this.#sink?.disconnect(ReasonCode.quotaExceeded)
  }

  #complete (delivery: Delivery): void {
    this.#free(delivery)
    if (this.#hasBacklog) this.pump()
  }

  #free (delivery: Delivery): void {
    this.#inFlight.delete(delivery)
    if (delivery.isUnsent) this.#unsentCount--
  }

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
    if (delivery.isReleased) this.#sink?.acknowledge(PacketType.pubrel, delivery.packetIdentifier)
    else if (!this.#publish(delivery, true)) { // DUP [MQTT-3.3.1-1]
      this.#inFlight.delete(delivery)
      this.#drop(delivery.message, 'packetTooLarge')
    }
  }

  #sendWaiting (): void {
    while (this.#waiting !== undefined && this.#unsent === undefined && this.#canSend) {
      const delivery = this.#waiting.shift()
      if (delivery === undefined) this.#waiting = undefined
      else this.#send(delivery)
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
    else this.#send(new Delivery(message, options, qos, undefined))
  }

  #keepReplay (): void {
    for (const { message, options } of this.#replay ?? []) {
      const qos = message.qos < options.qos ? message.qos : options.qos
      if (qos !== QoS.atMostOnce && this.#services.isRetained(message)) this.#wait(new Delivery(message, options, qos, undefined))
    }
    this.#replay = undefined
  }

  #drop (message: Message, reason: DropReason): void {
    this.#services.dropped(this.#target, message, reason)
  }
}
