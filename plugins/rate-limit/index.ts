import { optionInvalid, ReasonCode, type AuthorizeResult, type ClientInfo, type Hooks, type Plugin } from '../../lib/index.ts'
import { Addresses } from './addresses.ts'
import { noCounts, type RateLimitMetrics } from './counts.ts'
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
  const { name = 'rate-limit', allow = [], addressPrefix = {}, maximumEntries = 100_000, flapping: flappingLimits, publishes } = options
  const host = new Host<Data>()
  const counts = noCounts()
  const addresses = new Addresses(allow, addressPrefix)
  const gate = new Gate<Data>(options, addresses, host, counts, maximumEntries)
  const flapping = flappingLimits && new Flapping<Data>(flappingLimits, addresses, host, counts, maximumEntries)
  return {
    name,
    hooks: { ...hooksOf(gate, flapping), ...(publishes === undefined ? {} : { authorizePublish: new Publishers(publishes, host, counts).authorize }) },
    setup (broker) { host.broker = broker },
    bans: () => gate.bans(),
    ban (address, milliseconds) {
      if (!(typeof milliseconds === 'number' && milliseconds > 0)) throw optionInvalid('milliseconds', 'a positive number', milliseconds)
      gate.ban(address, milliseconds)
    },
    unban: address => gate.unban(address),
    get metrics () { return { addresses: gate.ledger.size, forgotten: gate.ledger.evictions + (flapping?.ledger.evictions ?? 0), ...counts } },
  }
}

function hooksOf<Data> (gate: Gate<Data>, flapping: Flapping<Data> | undefined): Hooks<Data, never> {
  return {
    authorizeConnection: ({ connection }) => gate.admits(connection),
    authorizeClient: ({ client }) => verdict(gate, flapping, client),
    connectionEnded: ({ connection }) => { gate.ended(connection) },
    refused: ({ connection, error }) => { gate.failed(connection, error) },
    disconnected: event => {
      flapping?.left(event)
      if (event.error !== undefined) gate.failed(event.client.connection, event.error) // it authenticated anew
    },
  }
}

function verdict<Data> (gate: Gate<Data>, flapping: Flapping<Data> | undefined, client: ClientInfo<Data>): AuthorizeResult {
  if (gate.isBanned(client.connection)) return ReasonCode.banned
  return flapping?.keepsOut(client) === true ? ReasonCode.connectionRateExceeded : true
}
