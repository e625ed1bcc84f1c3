import type { Limits } from '../base/limits.ts'
import type { Clock } from '../contract/clock.ts'

/** How a new connection is received. */
export type Admittance = 'welcome' | 'tooMany' | 'tooFast'

interface Count { connections: number }

/** Counts connections in all and by address, and how fast they come; only addresses that are connected are remembered. */
export class Admission {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #byAddress = new Map<string, Count>()
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
    const fromThere = ++this.#from(address ?? '').connections
    this.#count++
    const isOverAddress = address !== undefined && fromThere > this.#limits.maximumConnectionsPerAddress
    if (isOverAddress || this.#count > this.#limits.maximumConnections) return 'tooMany'
    return this.#takeToken() ? 'welcome' : 'tooFast'
  }

  leave (address: string | undefined): void {
    this.#count--
    if (--this.#from(address ?? '').connections === 0) this.#byAddress.delete(address ?? '')
  }

  #from (address: string): Count {
    const known = this.#byAddress.get(address)
    if (known !== undefined) return known
    const count = { connections: 0 }
    this.#byAddress.set(address, count)
    return count
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
