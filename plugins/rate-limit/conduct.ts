import type { TokenBucket } from './token-bucket.ts'

/** How often within what time is too often. */
export interface Strikes { readonly attempts: number, readonly withinMs: number }

/** How long a ban is: each one `factor` times as long as the one before, up to a maximum. */
export interface BanLength { readonly banMs: number, readonly factor: number, readonly maximumBanMs: number }

/** What is remembered of one address or Client. Times are milliseconds since the epoch. */
export class Conduct {
  /** Connections that are open. */
  open: number = 0
  /** How fast it may connect; made when it first does. */
  arrivals: TokenBucket | undefined = undefined
  /** Bans it has had since it last behaved for long enough. */
  bans: number = 0
  #strikes = 0
  #strikesSince = 0
  #bannedAt = 0
  #banMs = 0

  /** When its latest ban ends, or ended; 0 without one. */
  get bannedUntil (): number { return this.#bannedAt + this.#banMs }

  /** What would be lost if it were forgotten: nothing of who did nothing, most of who is banned longest. */
  get weight (): number { return this.bannedUntil === 0 ? this.open + this.#strikes : this.bannedUntil }

  isBanned (now: number): boolean {
    if (now < this.#bannedAt) this.#bannedAt = now // the clock was set back: no ban lasts longer than it was meant to
    return now < this.bannedUntil
  }

  /** Counts a failure, from the first of a series on; whether it is one too many. */
  strike (now: number, { attempts, withinMs }: Strikes): boolean {
    if (now - this.#strikesSince >= withinMs) this.#strikes = 0
    if (this.#strikes === 0 || now < this.#strikesSince) this.#strikesSince = now
    this.#strikes++
    return this.#strikes >= attempts
  }

  /** Bans it for longer than the last time, unless that is as long ago as the longest ban; returns the milliseconds. */
  banAgain (now: number, { banMs, factor, maximumBanMs }: BanLength): number {
    if (now - this.bannedUntil >= maximumBanMs) this.bans = 0
    return this.ban(now, Math.min(maximumBanMs, banMs * factor ** this.bans))
  }

  ban (now: number, banMs: number): number {
    this.bans++
    this.#strikes = 0
    this.#bannedAt = now
    return this.#banMs = banMs
  }

  /** Forgets all but the connections that are open. */
  pardon (): void {
    this.bans = this.#strikes = this.#bannedAt = this.#banMs = 0
  }
}
