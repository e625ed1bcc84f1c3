import type { Limits } from '../base/limits.ts'
import type { Clock } from '../contract/clock.ts'

/** How a new connection is received. */
export type Admittance = 'welcome' | 'tooMany' | 'tooFast'

/** Counts connections in all and by address, and how fast they come; only addresses that are connected are remembered. */
export class Admission {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #byAddress = new Map<string, number>()
  #count = 0
  #tokens: number
  #at: number

  constructor (limits: Limits, clock: Clock) {
    this.#limits = limits
    this.#clock = clock
    this.#tokens = limits.connectionRate
    this.#at = clock.now()
  }

  /** Counts a connection; whatever the answer, `leave` must follow when it ends. */
  enter (address: string | undefined): Admittance {
    const fromThere = this.#byAddress.get(address ?? '') ?? 0
    this.#count++
    this.#byAddress.set(address ?? '', fromThere + 1)
    const isOverAddress = address !== undefined && fromThere >= this.#limits.maximumConnectionsPerAddress
    if (isOverAddress || this.#count > this.#limits.maximumConnections) return 'tooMany'
    return this.#takeToken() ? 'welcome' : 'tooFast'
  }

  leave (address: string | undefined): void {
    const left = (this.#byAddress.get(address ?? '') ?? 0) - 1
    this.#count--
    if (left > 0) this.#byAddress.set(address ?? '', left)
    else this.#byAddress.delete(address ?? '')
  }

  #takeToken (): boolean {
    const now = this.#clock.now()
    const elapsedMs = Math.max(0, now - this.#at) // the clock may have been set back
    this.#tokens = Math.min(this.#limits.connectionRate, this.#tokens + elapsedMs / 1000 * this.#limits.connectionRate)
    this.#at = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
