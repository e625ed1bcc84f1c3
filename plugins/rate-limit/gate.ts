import { ErrorCode, ReasonCode, type ConnectionInfo, type MqttError } from '../../lib/index.ts'
import type { Addresses } from './addresses.ts'
import type { Conduct, BanLength, Strikes } from './conduct.ts'
import type { Counts } from './counts.ts'
import type { Host } from './host.ts'
import { Ledger } from './ledger.ts'
import type { FailedLoginLimits, RateLimitOptions } from './options.ts'
import { TokenBucket, type Rate } from './token-bucket.ts'

/** An address, or the prefix that many share, that is kept out. */
export interface Ban {
  /** `192.0.2.7`, `2001:db8:0:1::/64` */
  readonly address: string
  /** Milliseconds since the epoch. */
  readonly until: number
  /** Bans in a row, this one included: each is longer than the one before. */
  readonly count: number
}

/** Reason Codes of those who were asked who they are and had no good answer; a backend that is busy, or has moved, says something else. */
const wrongCredentials: ReadonlySet<ReasonCode> = new Set([ReasonCode.badUserNameOrPassword, ReasonCode.notAuthorized, ReasonCode.banned])

/** Who may connect, by the address: how fast, how many, and who is banned. */
export class Gate<Data> {
  readonly ledger: Ledger
  readonly #addresses: Addresses
  readonly #host: Host<Data>
  readonly #counts: Counts
  readonly #arrivals: Rate | undefined
  readonly #concurrent: number
  readonly #failedLogins: (Strikes & BanLength) | undefined
  /** Connections that were let in, with where they are counted; the entry may have been forgotten meanwhile. */
  readonly #open = new WeakMap<ConnectionInfo, Conduct>()

  constructor (options: RateLimitOptions<Data>, addresses: Addresses, host: Host<Data>, counts: Counts, maximumEntries: number) {
    const { connections, concurrent = Infinity, failedLogins } = options
    this.ledger = new Ledger(maximumEntries)
    this.#addresses = addresses
    this.#host = host
    this.#counts = counts
    this.#arrivals = connections && { burst: Math.max(1, connections.perSecond), ...connections }
    this.#concurrent = concurrent
    this.#failedLogins = failedLogins && withDefaults(failedLogins)
  }

  /** Whether a connection may come, before anything of it is read. */
  admits (connection: ConnectionInfo): boolean {
    const place = this.#addresses.placeOf(connection)
    if (place === undefined) return true
    const conduct = this.ledger.at(place)
    const refusedBy = this.#refusalOf(conduct, this.#host.now())
    if (refusedBy !== undefined) {
      this.#counts[refusedBy]++
      return false
    }
    conduct.open++
    this.#open.set(connection, conduct)
    return true
  }

  #refusalOf (conduct: Conduct, now: number): 'connectionsBanned' | 'connectionsTooMany' | 'connectionsTooFast' | undefined {
    if (conduct.isBanned(now)) return 'connectionsBanned'
    if (conduct.open >= this.#concurrent) return 'connectionsTooMany'
    if (this.#arrivals === undefined) return undefined
    conduct.arrivals ??= new TokenBucket(this.#arrivals, now)
    if (conduct.arrivals.take(1, now) === 0) return undefined
    conduct.arrivals.giveBack(1)
    return 'connectionsTooFast'
  }

  ended (connection: ConnectionInfo): void {
    const conduct = this.#open.get(connection)
    if (conduct !== undefined) conduct.open--
    this.#open.delete(connection)
  }

  /** Whether its address was banned since it came. */
  isBanned (connection: ConnectionInfo): boolean {
    const place = this.#addresses.placeOf(connection)
    return place !== undefined && this.ledger.find(place)?.isBanned(this.#host.now()) === true
  }

  /** Counts a failed login, if this error is one, and bans after too many. A login that succeeds forgives none: it may be the attacker's own. */
  failed (connection: ConnectionInfo, { code, reasonCode }: MqttError): void {
    if (this.#failedLogins === undefined || code !== ErrorCode.notAuthenticated || !wrongCredentials.has(reasonCode)) return
    this.#counts.loginsFailed++
    const place = this.#addresses.placeOf(connection)
    if (place === undefined) return
    const now = this.#host.now()
    const conduct = this.ledger.at(place)
    if (conduct.isBanned(now) || !conduct.strike(now, this.#failedLogins)) return
    this.#banned(place, conduct.banAgain(now, this.#failedLogins), conduct, 'too many failed logins')
  }

  /** The bans that are in force. */
  * bans (): IterableIterator<Ban> {
    const now = this.#host.now()
    for (const [address, conduct] of this.ledger.banned) {
      if (conduct.isBanned(now)) yield { address, until: conduct.bannedUntil, count: conduct.bans }
    }
  }

  ban (address: string, banMs: number): void {
    const place = this.#addresses.named(address)
    const conduct = this.ledger.at(place)
    this.#banned(place, conduct.ban(this.#host.now(), banMs), conduct, 'by hand')
    for (const { clientIdentifier, connection } of this.#host.broker?.clients() ?? []) {
      if (this.#addresses.placeOf(connection) === place) this.#host.broker?.disconnect(clientIdentifier, ReasonCode.notAuthorized)
    }
  }

  unban (address: string): boolean {
    const conduct = this.ledger.find(this.#addresses.named(address))
    const wasBanned = conduct?.isBanned(this.#host.now()) === true
    conduct?.pardon()
    return wasBanned
  }

  #banned (address: string, banMs: number, conduct: Conduct, why: string): void {
    this.ledger.keep(address, conduct)
    this.#counts.bans++
    this.#host.logger.warn({ address, banMs, count: conduct.bans }, `${address} is banned for ${Math.ceil(banMs / 1000)} s: ${why}`)
  }
}

function withDefaults (limits: FailedLoginLimits): Strikes & BanLength {
  return { attempts: 10, withinMs: 600_000, banMs: 60_000, factor: 2, maximumBanMs: 86_400_000, ...limits }
}
