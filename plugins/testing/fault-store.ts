import { storeFailed, type Changes, type ClaimedSession, type Clock, type DeliveryRecord, type Logger, type MaybePromise, type Message, type Store, type StoredSession, type StoreState } from '../../lib/index.ts'

/** A store that does its work until a test says otherwise. Faults concern `commit`, `claim` and `fetch`, which a running broker needs. */
export class FaultStore implements Store {
  readonly name: string
  readonly commitDelayMs: number
  readonly patienceMs: number
  readonly #inner: Store
  readonly #clock: Clock
  #delayMs = 0
  #error: Error | undefined = undefined
  #isGone = false
  /** Answers that are held back. */
  readonly #waiting = new Set<() => void>()

  constructor (inner: Store, clock: Clock) {
    this.#inner = inner
    this.#clock = clock
    this.name = inner.name
    this.commitDelayMs = inner.commitDelayMs
    this.patienceMs = inner.patienceMs ?? 0
  }

  /** From here on every answer comes so many milliseconds of the clock late. */
  slow (ms: number): void { this.#delayMs = ms }

  /** From here on everything is refused, and nothing of it written. */
  fail (error: Error = storeFailed('the store fails, as the test told it')): void { this.#error = error }

  /** From here on no answer comes, as if the network had gone. What was written is there; nobody is told until `recover`. */
  gone (): void { this.#isGone = true }

  /** Ends every fault. Answers that were held back come now. */
  recover (): void {
    this.#delayMs = 0
    this.#error = undefined
    this.#isGone = false
    for (const goOn of this.#waiting) goOn()
  }

  open (logger?: Logger): MaybePromise<StoreState> { return this.#inner.open(logger) }

  sessions (): Iterable<StoredSession> | AsyncIterable<StoredSession> { return this.#inner.sessions() }

  retained (): Iterable<Message> | AsyncIterable<Message> { return this.#inner.retained() }

  claim (session: number): MaybePromise<ClaimedSession> { return this.#answer(() => this.#inner.claim(session)) }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): MaybePromise<readonly DeliveryRecord[]> {
    return this.#answer(() => this.#inner.fetch(session, position, maximumMessages, maximumBytes))
  }

  async commit (changes: Changes): Promise<void> { await this.#answer(() => this.#inner.commit(changes)) }

  close (): MaybePromise<void> { return this.#inner.close() }

  #answer<T> (work: () => MaybePromise<T>): MaybePromise<T> {
    if (this.#error !== undefined) throw this.#error
    return this.#isGone || this.#delayMs > 0 ? this.#late(work()) : work()
  }

  async #late<T> (answer: MaybePromise<T>): Promise<T> {
    const result = await answer
    await new Promise<void>(resolve => {
      const goOn = (): void => {
        stop?.()
        this.#waiting.delete(goOn)
        resolve()
      }
      const stop = this.#isGone ? undefined : this.#clock.after(this.#delayMs, goOn)
      this.#waiting.add(goOn)
    })
    return result
  }
}
