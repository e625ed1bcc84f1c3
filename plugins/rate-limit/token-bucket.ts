/** What flows into a bucket, and what it holds. */
export interface Rate { readonly perSecond: number, readonly burst: number }

const unclockedPart = 16

/** A token bucket: so much at once, and so much a second from then on. It may be overdrawn by who is willing to wait. */
export class TokenBucket {
  readonly #rate: Rate
  #tokens: number
  #at: number
  /** May be taken without looking at the clock. */
  #unclocked = 0

  /** @param now milliseconds since the epoch */
  constructor (rate: Rate, now: number) {
    this.#rate = rate
    this.#tokens = rate.burst
    this.#at = now
  }

  /**
   * Whether there are so many for {@link spend}, which asks no clock: that costs more than all the rest. Every so often somebody has to ask all the
   * same, so that what flowed in meanwhile is not more than the bucket holds by more than a sixteenth.
   */
  has (count: number): boolean { return count <= this.#unclocked }

  /** Takes tokens that it {@link has}. */
  spend (count: number): void {
    this.#unclocked -= count
    this.#tokens -= count
  }

  /** Takes tokens, which may leave a debt; returns the milliseconds until that is paid, 0 for none. */
  take (count: number, now: number): number {
    if (now > this.#at) this.#tokens = Math.min(this.#rate.burst, this.#tokens + (now - this.#at) / 1000 * this.#rate.perSecond)
    this.#at = now // also when the clock was set back, or nothing would flow until it has caught up
    this.#tokens -= count
    this.#unclocked = Math.min(this.#tokens, this.#rate.burst / unclockedPart)
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#rate.perSecond * 1000
  }

  /** Puts back what was not used after all. */
  giveBack (count: number): void { this.#tokens += count }
}
