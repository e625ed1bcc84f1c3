import { checkNames, checkNumber, checkOneOf, checkText, optionInvalid, type ClientInfo, type PrefixLengths } from '../../lib/index.ts'

/** How fast connections may come from one address. */
export interface ConnectionLimits {
  /** New connections a second. */
  perSecond: number
  /** So many may come at once. Default: `perSecond`, 1 at least. */
  burst?: number
}

/** When wrong credentials get an address banned. */
export interface FailedLoginLimits {
  /** Failed logins that are one too many. Default 10. */
  attempts?: number
  /** Milliseconds within which they count, from the first on. Default 600,000. */
  withinMs?: number
  /** Milliseconds of the first ban. Default 60,000. */
  banMs?: number
  /** Each further ban is so many times as long. Default 2. */
  factor?: number
  /** Milliseconds of the longest ban; who behaves for as long begins anew. Default 86,400,000, a day. */
  maximumBanMs?: number
}

/** What one Client may publish. At least one of the two rates. */
export interface PublishLimits {
  /** Messages a second. Default: no limit. */
  perSecond?: number
  /** Messages that may come at once, or a sixteenth more of whoever was silent. Default: `perSecond`, 1 at least. */
  burst?: number
  /** Bytes a second: payload, Topic Name and properties. Default: no limit. */
  bytesPerSecond?: number
  /** Bytes that may come at once, as with `burst`. Default: `bytesPerSecond`. */
  burstBytes?: number
  /**
   * What happens to a message that is too much. `delay`: the Client's connection is not read until there is room. `refuse`: Quota exceeded (0x97), and the connection
   * goes on. `disconnect`: the connection ends with Message rate too high (0x96). Default `delay`.
   */
  action?: 'delay' | 'refuse' | 'disconnect'
  /** Milliseconds that `delay` waits at most: a message that would take longer is refused. Must be less than the broker's `hookTimeoutMs`. Default 4,000. */
  maximumDelayMs?: number
}

/** When a Client that comes and goes is kept out. */
export interface FlappingLimits {
  /** Disconnects that are one too many. Default 10. */
  disconnects?: number
  /** Milliseconds within which they count, from the first on. Default 60,000. */
  withinMs?: number
  /** Milliseconds for which the Client is kept out. Default 60,000. */
  banMs?: number
}

/** Options of {@link rateLimit}. What is absent is not limited. */
export interface RateLimitOptions<Data = unknown> {
  /** Of the plugin. Default `rate-limit`. */
  name?: string
  connections?: ConnectionLimits
  /** Connections of one address that may be open at a time. */
  concurrent?: number
  failedLogins?: FailedLoginLimits
  /** For every Client, or a function that says for each, once it is connected; undefined is no limit. */
  publishes?: PublishLimits | ((client: ClientInfo<Data>) => PublishLimits | undefined)
  flapping?: FlappingLimits
  /** Bits of an address that count as one address. Default 32 of IPv4 and 64 of IPv6, which is what one customer has. */
  addressPrefix?: Partial<PrefixLengths>
  /** Addresses and networks (`10.0.0.0/8`, `::1`) that nothing of this holds for, but what `publishes` says. */
  allow?: readonly string[]
  /**
   * Addresses that are remembered, as many again that were banned, and the same of Clients that come and go; over it the least important are forgotten. About 300
   * bytes each. Default 100,000.
   */
  maximumEntries?: number
}

type Bounds = Readonly<Record<string, readonly [least: number, most: number]>>

const day = 86_400_000
const longest = 366 * day
const rate: readonly [number, number] = [0.001, 1e12]

const bounds: Readonly<Record<'connections' | 'failedLogins' | 'publishes' | 'flapping' | 'addressPrefix', Bounds>> = {
  connections: { perSecond: rate, burst: [1, 1e12] },
  failedLogins: { attempts: [1, 1e6], withinMs: [1, longest], banMs: [1, longest], factor: [1, 1000], maximumBanMs: [1, longest] },
  publishes: { perSecond: rate, burst: [1, 1e12], bytesPerSecond: rate, burstBytes: [1, 1e12], maximumDelayMs: [1, 2 ** 31 - 1] },
  flapping: { disconnects: [1, 1e6], withinMs: [1, longest], banMs: [1, longest] },
  addressPrefix: { ipv4: [8, 32], ipv6: [16, 128] },
}

const names = ['name', 'connections', 'concurrent', 'failedLogins', 'publishes', 'flapping', 'addressPrefix', 'allow', 'maximumEntries']

/** @throws MqttError for an unknown name or a value out of its bounds */
export function checkOptions (options: RateLimitOptions<never>): void {
  checkNames(options, names)
  checkText('name', options.name)
  checkNumber('concurrent', options.concurrent, 1, 1e9)
  checkNumber('maximumEntries', options.maximumEntries, 100, 1e8)
  const { connections, failedLogins, flapping, addressPrefix, publishes } = options
  checkPart('connections', connections)
  if (connections !== undefined && typeof connections.perSecond !== 'number') throw optionInvalid('connections.perSecond', 'a number', connections.perSecond)
  checkPart('failedLogins', failedLogins)
  checkPart('flapping', flapping)
  checkPart('addressPrefix', addressPrefix)
  if (publishes !== undefined && typeof publishes !== 'function') checkPublishLimits(publishes)
}

/** @throws MqttError for an unknown name or a value out of its bounds, or where neither rate is given */
export function checkPublishLimits (limits: PublishLimits): void {
  if (typeof limits !== 'object' || limits as unknown === null) throw optionInvalid('publishes', 'an object, or a function', limits)
  checkNames(limits, ['action', ...Object.keys(bounds.publishes)], 'publishes.')
  const { action, ...numbers } = limits
  checkPart('publishes', numbers)
  checkOneOf('publishes.action', action, ['delay', 'refuse', 'disconnect'])
  if (limits.perSecond === undefined && limits.bytesPerSecond === undefined) throw optionInvalid('publishes', 'limits with perSecond or bytesPerSecond', 'neither')
}

function checkPart (part: keyof typeof bounds, value: object | undefined): void {
  if (value === undefined) return
  if (typeof value !== 'object' || value as unknown === null) throw optionInvalid(part, 'an object', value)
  checkNames(value, Object.keys(bounds[part]), `${part}.`)
  for (const [name, number] of Object.entries(value)) checkRange(`${part}.${name}`, number, ...(bounds[part][name] ?? rate))
}

/** Unlike `checkNumber` for numbers that need not be whole: a rate may be one in ten seconds. */
function checkRange (option: string, value: unknown, least: number, most: number): void {
  if (value !== undefined && !(typeof value === 'number' && value >= least && value <= most)) throw optionInvalid(option, `a number from ${least} to ${most}`, value)
}
