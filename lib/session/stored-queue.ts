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
/** Milliseconds after which a store that could not be read is asked again. */
const retryMs = 1_000

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
  /** Looks for what is to be taken out that are going on, or wait for their turn: until then nothing is read to be sent. */
  #looks = 0
  #hasEnded = false
  /** What was found at the start may be counted too high. */
  #isEstimated = false
  /** Messages behind those in memory that could not be stored, since the start. */
  #lost = 0
  /** Some of the messages may belong to a Shared Subscription. */
  #hasShared = false
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
    this.#isEstimated = this.#hasShared = true
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
      delivery.move()
      this.#log.remove(delivery)
      each(delivery)
    }
    if (this.#spilled === 0 || this.#log.hasEnded) return
    void this.#extractSpilled(chosen, delivery => {
      delivery.move()
      each(delivery)
    })
  }

  extractShared (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void {
    if (this.#hasShared) this.extract(chosen, each)
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
    this.#lost++
    this.#forget(delivery.message)
  }

  /** Looks for messages that have expired behind those in memory, if there are any and the last look is long enough ago. */
  sweep (now: number): void {
    if (this.#expiresAt <= now && this.#lookAt <= now && this.#spilled > 0) this.#look(now)
  }

  #look (now: number): void {
    this.#lookAt = now + expiryLookMs
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
    const now = this.#services.clock.now()
    if (!this.#isEstimated) this.sweep(now)
    else if (this.#looks === 0) this.#look(now) // it may be full of what has expired, or not be full
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
    this.#hasShared ||= delivery.share !== undefined
    if (this.#isAttached && this.#spilled === 0 && this.#head.length < pageMessages) this.#hold(delivery)
    else this.#spillOne(delivery)
  }

  #hold (delivery: StoredDelivery): void {
    delivery.message.keep()
    this.#head.push(delivery)
  }

  #spillOne (delivery: StoredDelivery): void {
    if (this.#spilled++ === 0) this.#next = delivery.position
    this.#note(delivery)
  }

  /** Remembers what has to be known of messages that are not in memory. */
  #note ({ share, message: { expiresAt } }: StoredDelivery): void {
    this.#hasShared ||= share !== undefined
    if (expiresAt < this.#expiresAt) this.#expiresAt = expiresAt
  }

  /** Forgets what is in memory, since it is in the store. */
  #spill (): void {
    const first = this.#head.peek()
    if (first === undefined) return
    this.#spilled += this.#head.length
    this.#next = first.position
    for (const delivery of this.#head) {
      if (delivery.state === DeliveryState.lost) this.#forget(delivery.message)
      else this.#note(delivery)
    }
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
    if (this.#isReading || this.#looks > 0 || this.#spilled === 0 || this.#hasEnded) return
    this.#isReading = true
    const { end } = this.#log
    const position = this.#next
    this.#reading = this.#page(position).then(page => { this.#received(page, position, end) })
  }

  /** Asks until there is an answer: what is to be taken out must not be sent before it was found. */
  async #page (position: number): Promise<readonly StoredDelivery[]> {
    while (!this.#hasEnded) {
      try {
        return await this.#log.fetch(position)
      } catch (error) {
        this.#report(error)
        await new Promise<void>(resolve => { this.#services.clock.after(retryMs, resolve) })
      }
    }
    return []
  }

  /** @param end what was recorded from there on may have come too late for the page */
  #received (page: readonly StoredDelivery[], position: number, end: number): void {
    this.#isReading = false
    if (this.#hasEnded) return
    // A page is of no use when a connection has left what stands before it, when all of it was lost, or something of it is to be taken out.
    if (position === this.#next && this.#spilled > 0 && this.#looks === 0) this.#use(page, end)
    this.#goOn()
  }

  readonly #report = (error: unknown): void => {
    this.#services.logger.error({ err: error, clientIdentifier: this.#target.clientIdentifier }, 'a stored queue cannot be read')
  }

  #use (page: readonly StoredDelivery[], end: number): void {
    if (page.length === 0) this.#skipTo(end)
    else this.#accept(page)
    while (this.#isOver && this.#head.length > 0) this.#dropOldest()
    if (this.#isAttached) this.#onPage()
    else this.#spill()
  }

  #goOn (): void {
    this.#readOn()
    if (this.#isOver) this.#read()
  }

  /** Whether older messages have to make room for newer ones. What is counted too high must not cost any. */
  get #isOver (): boolean { return !this.#isEstimated && this.#services.limits.queuePolicy === 'dropOldest' && this.#quota.isOver }

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
    this.#isEstimated = false
  }

  /** Nothing else is read meanwhile, so that nobody gets what is being taken out. */
  async #extractSpilled (chosen: (delivery: Delivery) => boolean, each: (delivery: StoredDelivery) => void): Promise<void> {
    this.#looks++
    while (this.#isReading) await this.#reading
    this.#isReading = true
    this.#reading = this.#visitSpilled(chosen, each).catch(this.#report)
    await this.#reading
    this.#isReading = false
    this.#looks--
    if (this.#hasEnded) return
    if (this.#isAttached) this.#onPage() // there may be nothing left
    this.#goOn()
  }

  async #visitSpilled (chosen: (delivery: Delivery) => boolean, each: (delivery: StoredDelivery) => void): Promise<void> {
    const { end } = this.#log
    const unseen = this.#countSpilled()
    this.#forgetNotes()
    for (let position = this.#next; position < end;) {
      const page = await this.#page(position)
      if (page.length === 0) break
      for (const delivery of page.filter(one => one.position < end)) {
        unseen.messages--
        unseen.bytes -= delivery.message.size
        if (chosen(delivery)) this.#takeSpilled(delivery, each)
        else this.#note(delivery)
      }
      position = (page.at(-1)?.position ?? end) + 1
    }
    if (this.#isEstimated && !this.#hasEnded) this.#correct(unseen)
  }

  #countSpilled (): { messages: number, bytes: number } {
    let { bytes } = this.#quota
    for (const { message } of this.#head) bytes -= message.size
    return { messages: this.#spilled + this.#lost, bytes }
  }

  #forgetNotes (): void {
    this.#expiresAt = Infinity
    this.#hasShared = [...this.#head].some(({ share }) => share !== undefined)
  }

  /** What was counted and not seen is not there, unless it was lost meanwhile. */
  #correct ({ messages, bytes }: { messages: number, bytes: number }): void {
    const excess = Math.max(0, messages - this.#lost)
    this.#spilled -= excess
    this.#quota.count(-excess, -bytes)
    this.#isEstimated = false
  }

  #takeSpilled (delivery: StoredDelivery, each: (delivery: StoredDelivery) => void): void {
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
