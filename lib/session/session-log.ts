import { Origin } from '../contract/message.ts'
import type { ClaimedSession, DeliveryRecord, QueueState, SessionRecord } from '../contract/store.ts'
import type { MaybePromise } from '../contract/hooks.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import type { Lane } from '../store/awaited-messages.ts'
import type { Journal } from '../store/journal.ts'
import type { JournalDelivery, Waiter } from '../store/pending-message.ts'
import type { Share } from './delivery.ts'
import { StoredDelivery, type DeliveryLog } from './stored-delivery.ts'

/** How much of a stored queue one Session reads at a time, and holds in memory while its Client takes it. */
export const pageMessages = 512
const pageBytes = 1024 * 1024

/** What a log needs of its broker. */
export interface LogServices {
  readonly journal: Journal
  /** The Shared Subscription of that filter, `$share/{ShareName}/{filter}`, if anybody still has it. */
  shareOf (topicFilter: string): Share | undefined
}

/** What one Session writes into the journal, and reads of its queue in the store. */
export class SessionLog implements DeliveryLog, Lane {
  readonly number: number
  readonly isDurable: boolean
  /** What the Session had in flight before the broker was started again has been read. */
  isLoaded: boolean
  /** It was found in the store, and its Client has not been back since. */
  isRestored: boolean
  awaitedAt = 0
  /** Told of deliveries that could not be written. */
  onLost: ((delivery: StoredDelivery) => void) | undefined = undefined
  readonly #services: LogServices
  /** Position of the last delivery that was recorded, and of the last that is known to be stored. */
  #last: number
  #stored: number
  #total: number
  /** Deliveries were taken out of what is stored, and the store may not know of it yet. */
  #hasGaps = false
  #hasEnded = false
  #isAbandoned = false

  /**
   * @param isDurable false for a Session that ends with its connection, of which nothing is kept but its Will
   * @param queue what was found in the store; nothing for a new Session
   */
  constructor (services: LogServices, number: number, isDurable: boolean, queue?: QueueState) {
    this.#services = services
    this.number = number
    this.isDurable = isDurable
    this.isLoaded = queue === undefined
    this.isRestored = queue !== undefined
    this.#last = this.#stored = Math.max(0, (queue?.end ?? 0) - 1)
    this.#total = queue?.total ?? 0
  }

  get hasEnded (): boolean { return this.#hasEnded }

  /** Position of the next delivery. */
  get end (): number { return this.#last + 1 }

  save (record: SessionRecord): void {
    if (!this.#hasEnded) this.#services.journal.saveSession(this.number, record)
  }

  subscribe (topicFilter: string, options: SubscriptionOptions | undefined): void {
    if (this.#hasEnded || !this.isDurable) return
    this.#services.journal.subscribe(this.number, topicFilter, options === undefined ? undefined : { ...options, topicFilter })
  }

  receive (packetIdentifier: number, isInUse: boolean): void {
    if (!this.#hasEnded && this.isDurable) this.#services.journal.receive(this.number, packetIdentifier, isInUse)
  }

  /** Gives a delivery its place in the Session's order, and writes it down. */
  enqueue (delivery: StoredDelivery): void {
    delivery.position = ++this.#last
    delivery.total = this.#total += delivery.message.size
    this.#services.journal.enqueue(delivery, this)
  }

  /** It has got a Packet Identifier, or was released. */
  sent (delivery: JournalDelivery): void { if (!this.#isAbandoned) this.#services.journal.sent(delivery) }

  remove (delivery: StoredDelivery): void {
    if (this.#isAbandoned) {
      this.#services.journal.forget(delivery)
      return
    }
    this.#hasGaps ||= delivery.packetIdentifier === 0
    this.#services.journal.remove(delivery)
  }

  clientGone (): void { this.#services.journal.clientGone(this) }

  wait (waiter: Waiter): void { this.#services.journal.wait(waiter) }

  stored (position: number): void { this.#stored = Math.max(this.#stored, position) }

  lost (delivery: StoredDelivery): void { this.onLost?.(delivery) }

  /** A page of what is stored, from `position` on. */
  async fetch (position: number): Promise<StoredDelivery[]> {
    const isComplete = !this.#hasGaps && position + pageMessages <= this.#stored
    if (this.#isAbandoned) return []
    if (!isComplete) await this.#written()
    const page = await this.#read(position)
    if (page.length > 0 || !isComplete) return page
    await this.#written() // what has come since may be all there is
    return this.#read(position)
  }

  async #read (position: number): Promise<StoredDelivery[]> {
    const { journal } = this.#services
    if (!journal.isOpen) return []
    const records = await journal.store.fetch(this.number, position, pageMessages, pageBytes)
    return records.map(record => this.delivery(record))
  }

  /** What is stored of the Session beside its queue. */
  claim (): MaybePromise<ClaimedSession> { return this.#services.journal.store.claim(this.number) }

  /** The delivery that a record describes. */
  delivery (record: DeliveryRecord): StoredDelivery {
    record.message.origin = Origin.session
    const share = record.sharedFilter === undefined ? undefined : this.#services.shareOf(record.sharedFilter)
    return StoredDelivery.of(this, record, share)
  }

  /** The Session has ended: nothing is written of it any more but that. */
  close (record: SessionRecord): void {
    this.save({ ...record, isConnected: false, hasEnded: true })
    this.#hasEnded = true
  }

  /** The Session is another node's now: nothing is written of it any more. */
  abandon (): void { this.#hasEnded = this.#isAbandoned = true }

  /**
   * Clears away what an ended Session has left in the store, page by page.
   * @param from position of the first delivery that is not in memory
   * @param each told of every one of them
   */
  async clear (from: number, each: (delivery: StoredDelivery) => void): Promise<void> {
    const isCleared = !this.isDurable || await this.#isCleared(from, each)
    if (isCleared && !this.#isAbandoned) this.#services.journal.saveSession(this.number, undefined)
  }

  async #isCleared (from: number, each: (delivery: StoredDelivery) => void): Promise<boolean> {
    for (let page = await this.fetch(from); page.length > 0 && !this.#isAbandoned; page = await this.fetch(from)) {
      for (const delivery of page) {
        this.remove(delivery)
        each(delivery)
        from = delivery.position + 1
      }
    }
    return this.#services.journal.isOpen // else there may be more, and the next start goes on
  }

  /** What could not be written is lost, and told of by then, or written later: only in the latter case what is stored cannot be read all the same. */
  async #written (): Promise<void> {
    const { journal } = this.#services
    if (!journal.isOpen) return
    this.#hasGaps = false
    await new Promise<void>(resolve => {
      const refused = (): boolean => {
        const isKept = journal.hasGathered(this.number)
        if (!isKept) resolve()
        return isKept
      }
      journal.wait({ stored: resolve, refused })
    })
  }
}
