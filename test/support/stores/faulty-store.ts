import type { Changes, ClaimedSession, DeliveryRecord, Store, StoredSession, StoreState } from '../../../lib/contract/store.ts'
import { storeFailed, storeFull } from '../../../lib/contract/store-errors.ts'
import type { Message } from '../../../lib/contract/message.ts'
import type { Logger } from '../../../lib/contract/logger.ts'
import type { MaybePromise } from '../../../lib/contract/hooks.ts'
import { settled } from '../fake-clock.ts'

/** A store that does what a test tells it to: fails, takes its time, or dies with its broker. */
export class FaultyStore implements Store {
  readonly name = 'faulty'
  readonly commitDelayMs = 0
  /** See {@link Store.patienceMs}. */
  patienceMs = 0
  /** Every commit is refused, as on a full disk. */
  isFailing = false
  /** A commit takes some turns of the event loop, and is written at their beginning or their end. */
  slowness: 'none' | 'before' | 'after' = 'none'
  /** Commits, or fetches, wait until they are released; what `isFailing` says then decides. */
  holds: 'nothing' | 'commits' | 'fetches' = 'nothing'
  /** So many of the next fetches fail. */
  fetchFailures = 0
  /** Fetches take some turns of the event loop. */
  isFetchSlow = false
  /** Pages have at most that many messages, so that a few make a long queue. */
  pageMessages = Infinity
  /** What was asked for after `close`. */
  readonly afterClose: string[] = []
  /** What was committed, and the payloads of what was not. */
  readonly commits: Changes[] = []
  readonly refused: string[] = []
  readonly #inner: Store
  readonly #held: (() => void)[] = []
  #isDead = false
  #isClosed = false

  constructor (inner: Store) { this.#inner = inner }

  /** The process is gone: what is not committed never will be. */
  kill (): void { this.#isDead = true }

  open (logger?: Logger): MaybePromise<StoreState> { return this.#inner.open(logger) }

  sessions (): Iterable<StoredSession> | AsyncIterable<StoredSession> { return this.#inner.sessions() }

  retained (): Iterable<Message> | AsyncIterable<Message> { return this.#inner.retained() }

  claim (session: number): MaybePromise<ClaimedSession> { return this.#inner.claim(session) }

  /** Lets go on what waits, and what comes from now on. */
  async release (): Promise<void> {
    this.holds = 'nothing'
    for (const goOn of this.#held.splice(0)) goOn()
    await settled()
  }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): MaybePromise<readonly DeliveryRecord[]> {
    if (this.#isClosed) this.afterClose.push('fetch')
    if (this.fetchFailures > 0) return this.#failFetch()
    const page = this.#inner.fetch(session, position, Math.min(maximumMessages, this.pageMessages), maximumBytes)
    return this.holds === 'fetches' || this.isFetchSlow ? this.#late(page) : page
  }

  async commit (changes: Changes): Promise<void> {
    if (this.#isClosed) this.afterClose.push('commit')
    if (this.#isDead) return
    if (this.holds === 'commits') return this.#commitHeld(frozen(changes))
    if (this.isFailing) return this.#refuse(changes)
    this.commits.push(changes)
    if (this.slowness === 'none') await this.#inner.commit(changes)
    else await this.#commitSlowly(frozen(changes), this.slowness)
  }

  /** The inner one stays as it is: the test may go on with it. */
  close (): void { this.#isClosed = true }

  async #hold (): Promise<void> {
    await new Promise<void>(resolve => { this.#held.push(resolve) })
  }

  /** What was read before it was held back. */
  async #late<T> (page: MaybePromise<T>): Promise<T> {
    if (this.holds === 'fetches') await this.#hold()
    else await turns(2)
    return page
  }

  #failFetch (): never {
    this.fetchFailures--
    throw storeFailed('the disk cannot be read')
  }

  async #commitHeld (changes: Changes): Promise<void> {
    await this.#hold()
    await this.commit(changes)
  }

  async #refuse ({ enqueued }: Changes): Promise<never> {
    this.refused.push(...enqueued.map(({ message }) => message.payload.toString()))
    if (this.slowness !== 'none') await turns(2)
    throw storeFull('the disk is full')
  }

  async #commitSlowly (changes: Changes, when: 'before' | 'after'): Promise<void> {
    if (when === 'before') await this.#inner.commit(changes)
    await turns(2)
    if (!this.#isDead && when === 'after') await this.#inner.commit(changes)
  }
}

async function turns (count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => { setImmediate(resolve) })
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
