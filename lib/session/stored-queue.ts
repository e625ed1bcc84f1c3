import { Fifo } from '../base/fifo.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { QueueState } from '../contract/store.ts'
import { DeliveryState } from '../store/pending-message.ts'
import type { Delivery } from './delivery.ts'
import { QueueQuota } from './queue-quota.ts'
import { pageMessages, type SessionLog } from './session-log.ts'
import type { DropTarget, SessionServices } from './session-services.ts'
import type { StoredDelivery } from './stored-delivery.ts'
import type { WaitingQueue } from './waiting-queue.ts'

/** A full queue that drops its oldest message may be that many times too long until it has read which one that is. */
const overflow = 2
/** When fewer are left in memory the next page is read. */
const lowMark = pageMessages / 4
/** Milliseconds between two looks for messages that have expired, each of which reads the whole queue. */
const expiryLookMs = 60_000

/**
 * A queue in the store. In memory is a page of its oldest messages while the Client is connected, and nothing while it is away: so a
 * million messages cost no more than one.
 */
export class StoredQueue implements WaitingQueue {
  readonly #target: DropTarget
  readonly #services: SessionServices
  readonly #log: SessionLog
  readonly #onPage: () => void
  readonly #quota: QueueQuota
  #head = new Fifo<StoredDelivery>()
  /** Messages behind those in memory, and the position of the first of them. */
  #spilled = 0
  #next = 0
  #isAttached = false
  /** The store is being read for this queue. */
  #isReading = false
  #reading: Promise<void> | undefined = undefined
  #hasEnded = false
  /** The earliest time at which a message behind those in memory expires, and when to look for such next. */
  #expiresAt = Infinity
  #lookAt = 0

  /** @param onPage told when there is something to `shift` again */
  constructor (target: DropTarget, services: SessionServices, log: SessionLog, onPage: () => void) {
    this.#target = target
    this.#services = services
    this.#log = log
    this.#onPage = onPage
    this.#quota = new QueueQuota(services)
  }

  get length (): number { return this.#quota.messages }

  /** Position of the first message that is not in memory: all behind it are not, either. */
  get spilledFrom (): number { return this.#spilled > 0 ? this.#next : this.#log.end }

  /** Takes over what was found in the store. */
  restore ({ first, end, bytes }: QueueState): void {
    this.#next = first
    this.#spilled = end - first
    this.#quota.count(this.#spilled, bytes)
  }

  admit (message: Message): boolean {
    const fault = this.#makeRoom(message.size)
    if (fault !== undefined) this.#dropped(message, fault)
    return fault === undefined
  }

  // Whoever has a stored queue puts stored deliveries into it.
  push (delivery: StoredDelivery): void { this.#add(delivery) }

  shift (): StoredDelivery | undefined {
    for (let delivery = this.#take(); delivery !== undefined; delivery = this.#take()) {
      const reason = this.#faultOf(delivery)
      if (reason === undefined) return delivery
      this.#drop(delivery, reason)
    }
    return undefined
  }

  extract (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void {
    for (const delivery of this.#takeOut(chosen)) {
      this.#log.remove(delivery)
      each(delivery)
    }
    if (this.#spilled > 0 && !this.#log.hasEnded) void this.#extractSpilled(chosen, each)
  }

  attach (): void {
    this.#isAttached = true
    this.#readOn()
  }

  detach (): void {
    this.#isAttached = false
    this.#spill()
  }

  clear (each: (delivery: Delivery) => void): void {
    this.#hasEnded = true
    for (const delivery of this.#head) {
      this.#log.remove(delivery)
      each(delivery)
    }
    this.#head.clear()
    this.#quota.clear()
  }

  /** A message that could not be written is not in the store. In memory it stays until its turn, and is dropped then. */
  lose (delivery: StoredDelivery): void {
    if (this.#spilled === 0 || delivery.position < this.#next) return
    this.#spilled--
    this.#quota.count(-1, -delivery.message.size)
    this.#dropped(delivery.message, 'storeFailed')
  }

  /** Looks for messages that have expired behind those in memory, if there are any and the last look is long enough ago. */
  sweep (now: number): void {
    if (this.#expiresAt > now || this.#lookAt > now || this.#spilled === 0) return
    this.#lookAt = now + expiryLookMs
    this.#expiresAt = Infinity
    void this.#extractSpilled(({ message }) => this.#isExpired(message), ({ message }) => { this.#dropped(message, 'expired') })
  }

  #makeRoom (size: number): DropReason | undefined {
    const quota = this.#quota
    if (!quota.fits(size)) this.#makeRoomFor(size)
    if (!quota.fits(size, this.#drops(size) && this.#spilled > 0 ? overflow : 1)) return 'queueFull'
    return quota.totalFits(size) ? undefined : 'totalQueueFull'
  }

  #drops (size: number): boolean {
    const { queuePolicy, maximumQueuedBytes } = this.#services.limits
    return queuePolicy === 'dropOldest' && size <= maximumQueuedBytes
  }

  #makeRoomFor (size: number): void {
    this.sweep(this.#services.clock.now())
    if (!this.#drops(size)) return
    while (!this.#quota.fits(size) && this.#head.length > 0) this.#dropOldest()
    if (!this.#quota.fits(size)) this.#read()
  }

  #dropOldest (): void {
    const oldest = this.#take()
    if (oldest !== undefined) this.#drop(oldest, 'queueFull')
  }

  #add (delivery: StoredDelivery): void {
    this.#log.enqueue(delivery)
    this.#quota.count(1, delivery.message.size)
    if (this.#isAttached && this.#spilled === 0 && this.#head.length < pageMessages) this.#hold(delivery)
    else this.#spillOne(delivery)
  }

  #hold (delivery: StoredDelivery): void {
    delivery.message.keep()
    this.#head.push(delivery)
  }

  #spillOne ({ position, message: { expiresAt } }: StoredDelivery): void {
    if (this.#spilled++ === 0) this.#next = position
    if (expiresAt < this.#expiresAt) this.#expiresAt = expiresAt
  }

  /** Forgets what is in memory, since it is in the store. */
  #spill (): void {
    const first = this.#head.peek()
    if (first === undefined) return
    this.#spilled += this.#head.length
    this.#next = first.position
    for (const { state, message } of this.#head) if (state === DeliveryState.lost) this.#forget(message)
    this.#head.clear()
  }

  #forget (message: Message): void {
    this.#spilled--
    this.#quota.count(-1, -message.size)
    this.#dropped(message, 'storeFailed')
  }

  #take (): StoredDelivery | undefined {
    const delivery = this.#head.shift()
    if (delivery !== undefined) this.#quota.count(-1, -delivery.message.size)
    this.#readOn()
    return delivery
  }

  #takeOut (chosen: (delivery: Delivery) => boolean): StoredDelivery[] {
    const taken: StoredDelivery[] = []
    const others = new Fifo<StoredDelivery>()
    for (const delivery of this.#head) {
      if (chosen(delivery)) taken.push(delivery)
      else others.push(delivery)
    }
    this.#head = others
    for (const { message } of taken) this.#quota.count(-1, -message.size)
    return taken
  }

  #readOn (): void {
    if (this.#isAttached && this.#head.length < lowMark) this.#read()
  }

  #read (): void {
    if (this.#isReading || this.#spilled === 0 || this.#hasEnded) return
    this.#isReading = true
    const { end } = this.#log
    this.#reading = this.#log.fetch(this.#next).then(page => { this.#received(page, end) }, (error: unknown) => { this.#failed(error) })
  }

  /** @param end what was recorded from there on may have come too late for the page */
  #received (page: readonly StoredDelivery[], end: number): void {
    this.#isReading = false
    if (this.#hasEnded) return
    if (page.length === 0) this.#skipTo(end)
    else this.#accept(page)
    while (this.#quota.isOver && this.#head.length > 0) this.#dropOldest()
    if (this.#isAttached) this.#onPage()
    else this.#spill()
    if (this.#quota.isOver) this.#read()
  }

  #accept (page: readonly StoredDelivery[]): void {
    for (const delivery of page) {
      this.#hold(delivery)
      this.#next = delivery.position + 1
    }
    this.#spilled = Math.max(0, this.#spilled - page.length)
    if (this.#spilled === 0) this.#recount()
  }

  /** Nothing is stored any more before `end`: what was found at the start was an estimate. */
  #skipTo (end: number): void {
    this.#spilled = this.#log.end - end
    this.#next = end
    if (this.#spilled === 0) this.#recount()
  }

  #recount (): void {
    let bytes = 0
    for (const { message } of this.#head) bytes += message.size
    this.#quota.count(this.#head.length - this.#quota.messages, bytes - this.#quota.bytes)
  }

  #failed (error: unknown): void {
    this.#isReading = false
    this.#services.logger.error({ err: error, clientIdentifier: this.#target.clientIdentifier }, 'a stored queue cannot be read')
    this.#services.clock.after(1_000, () => { this.#readOn() })
  }

  /** Nothing else is read meanwhile, so that nobody gets what is being taken out. */
  async #extractSpilled (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): Promise<void> {
    while (this.#isReading) await this.#reading
    this.#isReading = true
    this.#reading = this.#visitSpilled(chosen, each).then(() => { this.#isReading = false }, (error: unknown) => { this.#failed(error) })
    await this.#reading
    this.#readOn()
  }

  async #visitSpilled (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): Promise<void> {
    const { end } = this.#log
    for (let position = this.#next; position < end && !this.#hasEnded;) {
      const page = await this.#log.fetch(position)
      if (page.length === 0) return
      for (const delivery of page) if (chosen(delivery)) this.#takeSpilled(delivery, each)
      position = (page.at(-1)?.position ?? end) + 1
    }
  }

  #takeSpilled (delivery: StoredDelivery, each: (delivery: Delivery) => void): void {
    if (this.#hasEnded) return
    this.#spilled--
    this.#quota.count(-1, -delivery.message.size)
    this.#log.remove(delivery)
    each(delivery)
  }

  #faultOf ({ state, message }: StoredDelivery): DropReason | undefined {
    if (state === DeliveryState.lost) return 'storeFailed'
    return this.#isExpired(message) ? 'expired' : undefined
  }

  #isExpired (message: Message): boolean {
    return message.expiresAt !== Infinity && message.expiresAt <= this.#services.clock.now()
  }

  #drop (delivery: StoredDelivery, reason: DropReason): void {
    this.#log.remove(delivery)
    this.#dropped(delivery.message, reason)
  }

  #dropped (message: Message, reason: DropReason): void {
    this.#services.dropped(this.#target, message, reason)
  }
}
