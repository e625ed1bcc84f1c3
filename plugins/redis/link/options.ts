import { Redis, type Cluster, type RedisOptions as ConnectionOptions } from 'ioredis'
import { checkNames, ErrorCode, MqttError, ReasonCode } from '../../../lib/index.ts'

/** Where {@link redisPersistence} and {@link redisEmitter} keep what brokers share. */
export interface RedisOptions {
  /**
   * A URL (`redis://`, `rediss://`), the options of package `ioredis` (Sentinel's, too), or an instance of its `Redis` or `Cluster`. An
   * instance stays the host's: it is duplicated, never used or closed.
   */
  readonly redis: string | ConnectionOptions | Connection
  /** Brokers with the same prefix are one; all keys begin with it, in braces. Default `myelin`. */
  readonly prefix?: string
  /** Milliseconds after which a broker that was not heard of is taken for dead; the same for all. 1,000 to 600,000, default 8,000. */
  readonly leaseMs?: number
  /** Milliseconds in which changes gather to be committed together; 0 (default) takes what one turn of the event loop brought. */
  readonly commitDelayMs?: number
}

/** What a command or a script is given. */
export type Argument = string | Buffer | number

/** A connection of package `ioredis`. */
export type Connection = Redis | Cluster

/** The options with their defaults, checked. */
export type Settings = Required<RedisOptions>

/** @throws MqttError `MQTT_OPTION_INVALID`, naming the option */
export function settingsOf (options: RedisOptions): Settings {
  if (!isObject(options)) throw invalid('redis', 'given, in an object of options', options)
  checkNames(options, ['redis', 'prefix', 'leaseMs', 'commitDelayMs'])
  const { redis, prefix = 'myelin', leaseMs = 8_000, commitDelayMs = 0 } = options
  checkRedis(redis)
  if (typeof prefix !== 'string' || !/^[^{}]+$/.test(prefix)) throw invalid('prefix', 'a text without braces', prefix)
  checkNumber('leaseMs', leaseMs, 1_000, 600_000)
  checkNumber('commitDelayMs', commitDelayMs, 0, 60_000)
  return { redis, prefix, leaseMs, commitDelayMs }
}

function checkRedis (redis: unknown): void {
  const isUrl = typeof redis === 'string' && /^rediss?:\/\//.test(redis) && URL.canParse(redis)
  if (!isUrl && (!isObject(redis) || Symbol.iterator in (redis as object) || redis instanceof Promise)) throw invalid('redis', 'a URL such as "redis://127.0.0.1:6379", options of ioredis or an instance of it', redis)
}

function checkNumber (option: string, value: unknown, least: number, most: number): void {
  if (!(typeof value === 'number' && value >= least && value <= most)) throw invalid(option, `a number from ${least} to ${most}`, value)
}

function isObject (value: unknown): boolean { return typeof value === 'object' && value !== null }

export function invalid (option: string, expected: string, got: unknown): MqttError {
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `option "${option}" must be ${expected}, got ${shown(got)}`)
}

/** A URL may have a password in it. */
function shown (value: unknown): string {
  if (typeof value === 'string') return `"${value.replace(/^([a-z]+:\/\/)?.*@/is, '$1…@')}"`
  return typeof value === 'number' ? String(value) : typeof value
}

/** Milliseconds to wait before connecting again. */
export function retryDelayMs (times: number): number { return Math.min(20 * 2 ** Math.min(times, 10), 1_000) }

/** What the host's options do not change. */
const fixed = {
  lazyConnect: true, enableOfflineQueue: false, autoResendUnfulfilledCommands: false, maxRetriesPerRequest: null, enableReadyCheck: true,
  enableAutoPipelining: false, keepAlive: 5_000, replyMapping: 'legacy', stringNumbers: false,
} as const

/**
 * A connection of our own, not connected yet. What was not answered when it is lost is for the caller to send again.
 * @param socketTimeoutMs milliseconds without an answer after which the connection is taken for dead
 */
export function newConnection (redis: RedisOptions['redis'], socketTimeoutMs: number): Connection {
  const own: OwnOptions = {
    ...fixed, retryStrategy: retryDelayMs, socketTimeout: socketTimeoutMs, connectTimeout: socketTimeoutMs,
    // After a failover the former master answers so until we look for the new one.
    reconnectOnError: error => error.message.startsWith('READONLY'),
  }
  const connection = duplicateOf(redis, own)
  connection.on('error', ignore) // whoever uses it hears of it, too; without a listener it would end the process
  return connection
}

type OwnOptions = Readonly<typeof fixed> & {
  readonly retryStrategy: (times: number) => number
  readonly reconnectOnError: (error: Error) => boolean
  readonly socketTimeout: number
  readonly connectTimeout: number
}

function duplicateOf (redis: RedisOptions['redis'], own: OwnOptions): Connection {
  if (typeof redis === 'string') return new Redis(redis, own)
  if (!isConnection(redis)) return new Redis({ ...redis, ...own })
  return redis.isCluster ? duplicateCluster(redis as Cluster, own) : (redis as Redis).duplicate(own)
}

/** Its connections to the nodes are its own affair: it retries what they have lost, in any order. */
function duplicateCluster (cluster: Cluster, { retryStrategy, socketTimeout, connectTimeout }: OwnOptions): Cluster {
  return cluster.duplicate([], {
    lazyConnect: true, enableOfflineQueue: false, enableAutoPipelining: false, scaleReads: 'master', clusterRetryStrategy: retryStrategy,
    redisOptions: { ...cluster.options.redisOptions, socketTimeout, connectTimeout, maxRetriesPerRequest: null, replyMapping: 'legacy' },
  } as unknown as undefined)
}

function isConnection (redis: object): redis is Connection {
  return 'duplicate' in redis && typeof redis.duplicate === 'function' && 'isCluster' in redis
}

function ignore (): void { /* see newConnection */ }
