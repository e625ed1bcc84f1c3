import type { Clock } from '../../contract/clock.ts'

/** A token bucket for the PUBLISH packets of one Client: who sends faster than `publishRate` is read more slowly. */
export class PublishRate {
  readonly #clock: Clock
  readonly #perSecond: number
  #tokens: number
  #at: number

  constructor (clock: Clock, perSecond: number) {
    this.#clock = clock
    this.#perSecond = perSecond
    this.#tokens = perSecond
    this.#at = clock.now()
  }

  /** Takes one token; resolves when it is there, undefined when it is there at once. The clock is asked only when the bucket is empty. */
  hold (): Promise<void> | undefined {
    if (this.#tokens < 1) this.#refill()
    this.#tokens--
    if (this.#tokens >= 0) return undefined
    const delayMs = Math.ceil(-this.#tokens / this.#perSecond * 1000)
    return new Promise(resolve => { this.#clock.after(delayMs, resolve) })
  }

  #refill (): void {
    const now = this.#clock.now()
    const elapsedMs = Math.max(0, now - this.#at) // the clock may have been set back
    this.#tokens = Math.min(this.#perSecond, this.#tokens + elapsedMs / 1000 * this.#perSecond)
    this.#at = now
  }
}
