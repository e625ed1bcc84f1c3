import { createHash } from 'node:crypto'
import { ErrorCode, type ClientInfo, type Disconnected } from '../../lib/index.ts'
import type { Addresses } from './addresses.ts'
import type { Counts } from './counts.ts'
import type { Host } from './host.ts'
import { Ledger } from './ledger.ts'
import type { FlappingLimits } from './options.ts'

/** Ends of a connection that somebody else may have brought about: they are not the Client's doing. */
const othersDoing: ReadonlySet<ErrorCode> = new Set([
  ErrorCode.sessionTakenOver, ErrorCode.quotaExceeded, ErrorCode.notAuthorized, ErrorCode.administrativeAction, ErrorCode.credentialsExpired, ErrorCode.serverShuttingDown,
])

/**
 * Keeps Clients out for a while that come and go. A Client is its Client Identifier, the User Name that it was let in with and its address: whoever takes another's
 * Client Identifier cannot get that one kept out.
 */
export class Flapping<Data> {
  readonly ledger: Ledger
  readonly #addresses: Addresses
  readonly #host: Host<Data>
  readonly #counts: Counts
  readonly #limits: Required<FlappingLimits>

  constructor (limits: FlappingLimits, addresses: Addresses, host: Host<Data>, counts: Counts, maximumEntries: number) {
    this.ledger = new Ledger(maximumEntries)
    this.#addresses = addresses
    this.#host = host
    this.#counts = counts
    this.#limits = { disconnects: 10, withinMs: 60_000, banMs: 60_000, ...limits }
  }

  keepsOut (client: ClientInfo<Data>): boolean {
    const key = this.#keyOf(client)
    return key !== undefined && this.ledger.find(key)?.isBanned(this.#host.now()) === true
  }

  left ({ client, error }: Disconnected<Data>): void {
    const key = this.#keyOf(client)
    if (key === undefined || (error !== undefined && othersDoing.has(error.code))) return
    const { disconnects, withinMs, banMs } = this.#limits
    const now = this.#host.now()
    const conduct = this.ledger.at(key)
    if (!conduct.strike(now, { attempts: disconnects, withinMs })) return
    conduct.ban(now, banMs)
    this.ledger.keep(key, conduct)
    this.#counts.clientsFlapping++
    const { clientIdentifier, username } = client
    this.#host.logger.warn({ clientIdentifier, username, address: client.connection.remoteAddress, banMs }, `a Client is kept out for ${Math.ceil(banMs / 1000)} s: it comes and goes`)
  }

  /** Of one size, however long the names are; undefined for an address that is not limited. */
  #keyOf ({ clientIdentifier, username, connection }: ClientInfo<Data>): string | undefined {
    const place = this.#addresses.placeOf(connection)
    if (place === undefined) return undefined
    return createHash('sha256').update(JSON.stringify([place, username ?? null, clientIdentifier])).digest('base64')
  }
}
