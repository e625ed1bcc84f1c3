import type { Limits } from '../base/limits.ts'
import type { Clock } from '../contract/clock.ts'

/** How a new connection is received. */
export type Admittance = 'welcome' | 'tooMany' | 'tooFast'

/** Sockets in all, or from one address. */
class Places<T> {
  sockets = 0
  /** Those whose connections are over, in the order in which they were; undefined for none, as at most addresses. */
  #closing: Set<T> | undefined = undefined

  /** Places that connections have. */
  get taken (): number { return this.sockets - (this.#closing?.size ?? 0) }

  get closingLongest (): T | undefined { return this.#closing?.values().next().value }

  over (connection: T): void { (this.#closing ??= new Set()).add(connection) }

  leave (connection: T | undefined): void {
    this.sockets--
    if (connection !== undefined && this.#closing?.delete(connection) === true && this.#closing.size === 0) this.#closing = undefined
  }
}

/**
 * Counts connections in all and by address, and how fast they come; only addresses that are connected are remembered. The place of a connection is free once it is over:
 * a socket that takes its time to close keeps nobody out, but has to make room for the next one.
 */
export class Admission<T> {
  readonly #limits: Limits
  readonly #clock: Clock
  readonly #all = new Places<T>()
  readonly #byAddress = new Map<string, Places<T>>()
  readonly #others: () => number
  #tokens: number
  #at: number

  /** @param others how many sockets there are that are no connections yet, and take up places all the same */
  constructor (limits: Limits, clock: Clock, others: () => number) {
    this.#limits = limits
    this.#clock = clock
    this.#others = others
    this.#tokens = limits.connectionRate
    this.#at = clock.now()
  }

  get hasRoom (): boolean { return this.#taken < this.#limits.maximumConnections }

  get #taken (): number { return this.#all.taken + this.#others() }

  /** Counts a connection; whatever the answer, `leave` must follow when its socket is gone. */
  enter (address: string | undefined): Admittance {
    const here = this.#from(address)
    here.sockets++
    this.#all.sockets++
    const isOverAddress = address !== undefined && here.taken > this.#limits.maximumConnectionsPerAddress
    if (isOverAddress || this.#taken > this.#limits.maximumConnections) return 'tooMany'
    return this.#takeToken() ? 'welcome' : 'tooFast'
  }

  /** A connection that is over, and whose socket has to be gone now: with that of the one that has come from there there are more than connections may be. */
  crowdedOut (address: string | undefined): T | undefined {
    const here = this.#from(address)
    if (address !== undefined && here.sockets > this.#limits.maximumConnectionsPerAddress) return here.closingLongest
    return this.crowdedOutBy(0)
  }

  /** The same for so many sockets that are still to come. */
  crowdedOutBy (coming: number): T | undefined {
    return this.#all.sockets + this.#others() + coming > this.#limits.maximumConnections ? this.#all.closingLongest : undefined
  }

  /** Nothing more is to be heard of a connection: another one may come in its place. */
  over (address: string | undefined, connection: T): void {
    this.#from(address).over(connection)
    this.#all.over(connection)
  }

  /** A socket is gone; `connection` is undefined for one that was none. */
  leave (address: string | undefined, connection: T | undefined): void {
    const here = this.#from(address)
    here.leave(connection)
    this.#all.leave(connection)
    if (here.sockets === 0) this.#byAddress.delete(address ?? '')
  }

  #from (address = ''): Places<T> {
    const known = this.#byAddress.get(address)
    if (known !== undefined) return known
    const places = new Places<T>()
    this.#byAddress.set(address, places)
    return places
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
