import type { Changes, ClaimedSession, DeliveryRecord, Store, StoredSession, StoreState } from '../../lib/contract/store.ts'
import { storeFull } from '../../lib/contract/store-errors.ts'
import type { Message } from '../../lib/contract/message.ts'
import type { MaybePromise } from '../../lib/contract/hooks.ts'

/** A store that does what a test tells it to: fails, takes its time, or dies with its broker. */
export class FaultyStore implements Store {
  readonly name = 'faulty'
  readonly commitDelayMs = 0
  /** Every commit is refused, as on a full disk. */
  isFailing = false
  /** A commit takes some turns of the event loop, and is written at their beginning or their end. */
  slowness: 'none' | 'before' | 'after' = 'none'
  /** What was committed, and the payloads of what was not. */
  readonly commits: Changes[] = []
  readonly refused: string[] = []
  readonly #inner: Store
  #isDead = false

  constructor (inner: Store) { this.#inner = inner }

  /** The process is gone: what is not committed never will be. */
  kill (): void { this.#isDead = true }

  open (): MaybePromise<StoreState> { return this.#inner.open() }

  sessions (): Iterable<StoredSession> | AsyncIterable<StoredSession> { return this.#inner.sessions() }

  retained (): Iterable<Message> | AsyncIterable<Message> { return this.#inner.retained() }

  claim (session: number): MaybePromise<ClaimedSession> { return this.#inner.claim(session) }

  fetch (...page: Parameters<Store['fetch']>): MaybePromise<readonly DeliveryRecord[]> { return this.#inner.fetch(...page) }

  async commit (changes: Changes): Promise<void> {
    if (this.#isDead) return
    if (this.isFailing) this.#refuse(changes)
    this.commits.push(changes)
    if (this.slowness === 'none') await this.#inner.commit(changes)
    else await this.#commitSlowly(frozen(changes), this.slowness)
  }

  close (): void { /* the test may go on with the inner one */ }

  #refuse ({ enqueued }: Changes): never {
    this.refused.push(...enqueued.map(({ message }) => message.payload.toString()))
    throw storeFull('the disk is full')
  }

  async #commitSlowly (changes: Changes, when: 'before' | 'after'): Promise<void> {
    if (when === 'before') await this.#inner.commit(changes)
    for (let turn = 0; turn < 2; turn++) await new Promise(resolve => { setImmediate(resolve) })
    if (!this.#isDead && when === 'after') await this.#inner.commit(changes)
  }
}

/** The changes as they are now. */
function frozen ({ sessions, subscriptions, enqueued, sent, removed, received, retained, aliveAt }: Changes): Changes {
  return {
    sessions: new Map(sessions), subscriptions, received, aliveAt, retained: new Map(retained), removed: [...removed],
    enqueued: enqueued.map(({ message, deliveries }) => ({ message, deliveries: deliveries.map(copyOf) })), sent: sent.map(copyOf),
  }
}

function copyOf ({ session, position, message, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference }: DeliveryRecord): DeliveryRecord {
  return { session, position, message, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference }
}
