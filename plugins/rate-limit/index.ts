import { optionInvalid, ReasonCode, type AuthorizeResult, type ClientInfo, type Hooks, type Plugin } from '../../lib/index.ts'
import { Addresses } from './addresses.ts'
import { noCounts, type Counts, type RateLimitMetrics } from './counts.ts'
import { Flapping } from './flapping.ts'
import { Gate, type Ban } from './gate.ts'
import { Host } from './host.ts'
import { checkOptions, type RateLimitOptions } from './options.ts'
import { Publishers } from './publishers.ts'

export type { Ban } from './gate.ts'
export type { RateLimitMetrics } from './counts.ts'
export type { ConnectionLimits, FailedLoginLimits, FlappingLimits, PublishLimits, RateLimitOptions } from './options.ts'

/** A plugin that limits how fast Clients come and publish, and bans addresses. */
export interface RateLimit<Data = unknown> extends Plugin<Data> {
  /** The addresses that are banned now, of which there are at most `maximumEntries`. */
  bans (): IterableIterator<Ban>
  /**
   * Bans an address for so many milliseconds, in the place of the ban that it has, and disconnects its Clients with Not authorized (0x87).
   * @param address an address, or a prefix as `bans` tells it
   * @throws MqttError for what is neither, or milliseconds that are no positive number
   */
  ban (address: string, milliseconds: number): void
  /**
   * Lifts a ban and forgets what led to it; false when there was none.
   * @throws MqttError for what is no address
   */
  unban (address: string): boolean
  /** What it has counted, as of now. */
  readonly metrics: Readonly<RateLimitMetrics>
}

/**
 * Limits by address how fast connections come, how many are open and how many logins fail, and by Client how fast it publishes and how often it comes and goes. An
 * address is the one that hooks see, behind a proxy the Client's; IPv6 counts by /64. Memory is bounded by `maximumEntries`. Put it before other plugins.
 * @throws MqttError for an option that is wrong
 * @example createBroker({ plugins: [rateLimit({ failedLogins: {}, publishes: { perSecond: 100 } })] })
 */
export function rateLimit<Data = unknown> (options: RateLimitOptions<Data> = {}): RateLimit<Data> {
  checkOptions(options)
  const counts = noCounts()
  const parts = partsOf(options, counts)
  const { host, gate, flapping } = parts
  return {
    name: options.name ?? 'rate-limit',
    hooks: hooksOf(parts),
    setup (broker) { host.broker = broker },
    bans: () => gate.bans(),
    ban: (address, milliseconds) => { gate.ban(address, checkedDuration(milliseconds)) },
    unban: address => gate.unban(address),
    get metrics () { return { addresses: gate.ledger.size, forgotten: gate.ledger.evictions + (flapping?.ledger.evictions ?? 0), ...counts } },
  }
}

interface Parts<Data> {
  readonly host: Host<Data>
  readonly gate: Gate<Data>
  readonly flapping: Flapping<Data> | undefined
  readonly publishers: Publishers<Data> | undefined
}

/** What the options ask for. */
function partsOf<Data> (options: RateLimitOptions<Data>, counts: Counts): Parts<Data> {
  const { allow = [], addressPrefix = {}, maximumEntries = 100_000, flapping, publishes } = options
  const host = new Host<Data>()
  const addresses = new Addresses(allow, addressPrefix)
  return {
    host,
    gate: new Gate<Data>(options, addresses, host, counts, maximumEntries),
    flapping: flapping && new Flapping<Data>(flapping, addresses, host, counts, maximumEntries),
    publishers: publishes && new Publishers(publishes, host, counts),
  }
}

function checkedDuration (milliseconds: unknown): number {
  if (typeof milliseconds === 'number' && milliseconds > 0) return milliseconds
  throw optionInvalid('milliseconds', 'a positive number', milliseconds)
}

function hooksOf<Data> ({ gate, flapping, publishers }: Parts<Data>): Hooks<Data, never> {
  return {
    authorizeConnection: ({ connection }) => gate.admits(connection),
    authorizeClient: ({ client }) => verdict(gate, flapping, client),
    connectionEnded: ({ connection }) => { gate.ended(connection) },
    refused: ({ connection, error }) => { gate.failed(connection, error) },
    disconnected: event => {
      flapping?.left(event)
      if (event.error !== undefined) gate.failed(event.client.connection, event.error) // it authenticated anew
    },
    ...(publishers === undefined ? {} : { authorizePublish: publishers.authorize }),
  }
}

function verdict<Data> (gate: Gate<Data>, flapping: Flapping<Data> | undefined, client: ClientInfo<Data>): AuthorizeResult {
  if (gate.isBanned(client.connection)) return ReasonCode.banned
  return flapping?.keepsOut(client) === true ? ReasonCode.connectionRateExceeded : true
}
