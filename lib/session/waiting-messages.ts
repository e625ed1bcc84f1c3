import { Fifo } from '../base/fifo.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { Delivery } from './delivery.ts'
import { QueueQuota } from './queue-quota.ts'
import type { DropTarget, SessionServices } from './session-services.ts'
import type { WaitingQueue } from './waiting-queue.ts'

/** A queue in the heap, within the limits of `maximumQueued…`. */
export class WaitingMessages implements WaitingQueue {
  readonly #target: DropTarget
  readonly #services: SessionServices
  readonly #quota: QueueQuota
  #queue = new Fifo<Delivery>()
  /** Messages that may still come before a full queue looks for expired ones again: a look costs as much as the queue is long. */
  #untilLook = 0
  /** Milliseconds since the epoch: nothing that waits expires before. */
  #earliestExpiry = Infinity

  constructor (target: DropTarget, services: SessionServices) {
    this.#target = target
    this.#services = services
    this.#quota = new QueueQuota(services)
  }

  get length (): number { return this.#queue.length }

  admit (message: Message): boolean {
    const fault = this.#makeRoom(message.size)
    if (fault !== undefined) this.#dropped(message, fault)
    return fault === undefined
  }

  push (delivery: Delivery): void { this.#add(delivery) }

  shift (): Delivery | undefined {
    for (let delivery = this.#take(); delivery !== undefined; delivery = this.#take()) {
      if (!this.#isExpired(delivery.message)) return delivery
      this.#dropped(delivery.message, 'expired')
    }
    return undefined
  }

  extract (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void {
    for (const delivery of this.#takeOut(chosen)) each(delivery)
  }

  extractShared (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void { this.extract(chosen, each) }

  attach (): void { /* all of it is here */ }

  detach (): void { /* and stays */ }

  clear (each: (delivery: Delivery) => void): void {
    this.extract(() => true, each)
  }

  /** Why a message of that size cannot wait; undefined when it can, if need be in the place of older ones. */
  #makeRoom (size: number): DropReason | undefined {
    const quota = this.#quota
    if (quota.fits(size)) return quota.totalFits(size) ? undefined : 'totalQueueFull'
    this.#dropExpired()
    if (this.#services.limits.queuePolicy === 'dropOldest' && size <= this.#services.limits.maximumQueuedBytes) this.#dropOldest(size)
    if (!quota.fits(size)) return 'queueFull'
    return quota.totalFits(size) ? undefined : 'totalQueueFull'
  }

  #dropOldest (size: number): void {
    while (this.#queue.length > 0 && !this.#quota.fits(size)) {
      const oldest = this.#take()
      if (oldest !== undefined) this.#dropped(oldest.message, 'queueFull')
    }
  }

  #dropExpired (): void {
    // Only a full queue looks: what expires in one that is not full is left out when its turn comes.
    if (this.#untilLook-- > 0) return
    this.#untilLook = this.#queue.length
    if (this.#earliestExpiry > this.#services.clock.now()) return
    for (const delivery of this.#takeOut(({ message }) => this.#isExpired(message))) this.#dropped(delivery.message, 'expired')
  }

  #isExpired (message: Message): boolean {
    return message.expiresAt !== Infinity && message.expiresAt <= this.#services.clock.now()
  }

  #add (delivery: Delivery): void {
    delivery.message.keep()
    this.#queue.push(delivery)
    if (delivery.message.expiresAt < this.#earliestExpiry) this.#earliestExpiry = delivery.message.expiresAt
    this.#quota.count(1, delivery.message.size)
  }

  #take (): Delivery | undefined {
    const delivery = this.#queue.shift()
    if (delivery !== undefined) this.#quota.count(-1, -delivery.message.size)
    return delivery
  }

  #takeOut (chosen: (delivery: Delivery) => boolean): Delivery[] {
    const taken: Delivery[] = []
    const others: Delivery[] = []
    for (const delivery of this.#queue) (chosen(delivery) ? taken : others).push(delivery)
    if (taken.length > 0) this.#replace(others)
    return taken
  }

  #replace (deliveries: readonly Delivery[]): void {
    this.#quota.clear()
    this.#queue = new Fifo()
    this.#earliestExpiry = Infinity
    for (const delivery of deliveries) this.#add(delivery)
  }

  #dropped (message: Message, reason: DropReason): void {
    this.#services.dropped(this.#target, message, reason)
  }
}
