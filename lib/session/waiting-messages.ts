import { Fifo } from '../base/fifo.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { Delivery } from './delivery.ts'
import type { DropTarget, SessionServices } from './session-services.ts'

/** The QoS 1 and 2 messages of one Session that wait for their turn, within the limits of `maximumQueued…`. */
export class WaitingMessages {
  readonly #target: DropTarget
  readonly #services: SessionServices
  #queue = new Fifo<Delivery>()
  #bytes = 0
  /** Messages that may still come before a full queue looks for expired ones again: a look costs as much as the queue is long. */
  #untilLook = 0

  constructor (target: DropTarget, services: SessionServices) {
    this.#target = target
    this.#services = services
  }

  get length (): number { return this.#queue.length }

  /** Returns false when the queue is full and its policy is to disconnect the Client. */
  push (delivery: Delivery): boolean {
    const { message } = delivery
    const fault = this.#makeRoom(message.size)
    if (fault !== undefined) this.#dropped(message, fault)
    else this.#add(delivery)
    return fault === undefined || this.#services.limits.queuePolicy !== 'disconnect'
  }

  /** The oldest that has not expired [MQTT-3.3.2-5]. */
  shift (): Delivery | undefined {
    for (let delivery = this.#take(); delivery !== undefined; delivery = this.#take()) {
      if (!this.#isExpired(delivery.message)) return delivery
      this.#dropped(delivery.message, 'expired')
    }
    return undefined
  }

  /** Removes and returns what `chosen` names; the others keep their order. */
  extract (chosen: (delivery: Delivery) => boolean): Delivery[] {
    const taken: Delivery[] = []
    const others: Delivery[] = []
    for (const delivery of this.#queue) (chosen(delivery) ? taken : others).push(delivery)
    if (taken.length > 0) this.#replace(others)
    return taken
  }

  clear (): void { this.#replace([]) }

  /** Why a message of that size cannot wait; undefined when it can, if need be in the place of older ones. */
  #makeRoom (size: number): DropReason | undefined {
    if (this.#fits(size)) return this.#totalFits(size) ? undefined : 'totalQueueFull'
    this.#dropExpired()
    if (this.#services.limits.queuePolicy === 'dropOldest' && size <= this.#services.limits.maximumQueuedBytes) this.#dropOldest(size)
    if (!this.#fits(size)) return 'queueFull'
    return this.#totalFits(size) ? undefined : 'totalQueueFull'
  }

  #fits (size: number): boolean {
    const { maximumQueuedMessages, maximumQueuedBytes } = this.#services.limits
    return this.#queue.length < maximumQueuedMessages && this.#bytes + size <= maximumQueuedBytes
  }

  #totalFits (size: number): boolean {
    return this.#services.metrics.queuedBytes + size <= this.#services.limits.maximumTotalQueuedBytes
  }

  #dropOldest (size: number): void {
    while (this.#queue.length > 0 && !this.#fits(size)) {
      const oldest = this.#take()
      if (oldest !== undefined) this.#dropped(oldest.message, 'queueFull')
    }
  }

  #dropExpired (): void {
    // Only a full queue looks: what expires in one that is not full is left out when its turn comes.
    if (this.#untilLook-- > 0) return
    this.#untilLook = this.#queue.length
    for (const delivery of this.extract(({ message }) => this.#isExpired(message))) this.#dropped(delivery.message, 'expired')
  }

  #isExpired (message: Message): boolean {
    return message.expiresAt !== Infinity && message.expiresAt <= this.#services.clock.now()
  }

  #add (delivery: Delivery): void {
    delivery.message.keep()
    this.#queue.push(delivery)
    this.#count(1, delivery.message.size)
  }

  #take (): Delivery | undefined {
    const delivery = this.#queue.shift()
    if (delivery !== undefined) this.#count(-1, -delivery.message.size)
    return delivery
  }

  #replace (deliveries: Delivery[]): void {
    this.#count(-this.#queue.length, -this.#bytes)
    this.#queue = new Fifo()
    for (const delivery of deliveries) this.#add(delivery)
  }

  #dropped (message: Message, reason: DropReason): void {
    this.#services.dropped(this.#target, message, reason)
  }

  #count (messages: number, bytes: number): void {
    this.#bytes += bytes
    this.#services.metrics.queuedMessages += messages
    this.#services.metrics.queuedBytes += bytes
  }
}
