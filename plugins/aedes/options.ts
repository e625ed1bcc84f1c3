import { checkNames, checkNumber, checkText, optionInvalid, type BrokerOptions, type Plugin } from '../../lib/index.ts'
import type { AedesClient } from './client.ts'
import type { AedesPublishPacket, ConnectPacket, Subscription } from './packets.ts'

/** How a handler answers: an error, or what it was asked for. */
export type Done<T = void> = (error?: Error | null, answer?: T | null) => void

/** An error of `authenticate` may say what the Client is told: 2 to 5 (MQTT 3.1.1 section 3.2.2.3). Default 5, not authorized. The event has it as `errorCode`. */
export interface AuthenticateError extends Error { returnCode?: number, errorCode?: number }

/**
 * The handlers of Aedes: given as options, or assigned later. A handler that throws, or does not answer within 5 seconds, has refused; so has an
 * async one that rejects. What a handler returns is not looked at.
 */
export interface AedesHandlers {
  /** Whether a Client may go on to `authenticate`. The packet cannot be changed. */
  preConnect?: ((client: AedesClient, packet: ConnectPacket, done: Done<boolean>) => unknown) | undefined
  /** Whether a Client is who it says. */
  authenticate?: ((client: AedesClient, username: string | undefined, password: Buffer | undefined, done: (error?: AuthenticateError | null, successful?: boolean | null) => void) => unknown) | undefined
  /** Whether a Client may publish. What it changes in the packet is changed in the message. An error refuses the message, and does not end the connection; so does a change that leaves no message. */
  authorizePublish?: ((client: AedesClient, packet: AedesPublishPacket, done: Done) => unknown) | undefined
  /** Whether a Client may subscribe; null refuses. It may change `qos`, and not `topic`. */
  authorizeSubscribe?: ((client: AedesClient, subscription: Subscription, done: Done<Subscription>) => unknown) | undefined
  /** Whether a Client gets a message: answers the packet, or null. It cannot change it. */
  authorizeForward?: ((client: AedesClient, packet: AedesPublishPacket) => AedesPublishPacket | null | undefined) | undefined
  /** Holds the Client's next packet back until it is done. Called before the message is routed; an error refuses it. */
  published?: ((packet: AedesPublishPacket, client: AedesClient | null, done: Done) => unknown) | undefined
}

/** Options of Aedes, with their defaults, and where Myelin has its own. */
export interface AedesOptions extends AedesHandlers {
  /** Default: random. */
  id?: string
  /** Milliseconds; `$SYS/<id>/heartbeat` is published that often. Default 60,000. */
  heartbeatInterval?: number
  /** Milliseconds until a CONNECT has to be there. Default 30,000. */
  connectTimeout?: number
  /** Seconds. A longer Keep Alive is shortened, not refused. Default 0, no limit. */
  keepaliveLimit?: number
  /** Milliseconds that a Client may take nothing of what waits for it; 0 for no limit. Default 60,000. */
  drainTimeout?: number
  /** Most levels of a topic. Default: that of `limits.maximumTopicLevels`. */
  maxTopicLevels?: number
  /**
   * Messages with QoS 1 or 2 that an MQTT 5.0 Client may have under way to the broker: its Receive Maximum; one more ends the connection. 0 for 65,535, which is what
   * MQTT 3.x Clients have: of their messages no more is kept than the identifiers. Default: `limits.receiveMaximum`.
   */
  maxInflightInbound?: number
  /** No meaning here: no message waits for another Client's. */
  concurrency?: number
  /** No meaning here: what comes before CONNACK waits, up to `limits.maximumPendingBytes`. */
  queueLimit?: number
  /**
   * Options of Myelin: `persistence`, `emitter`, `limits`, `logger`, `plugins`… When one of them authenticates, a Client that it does not know is
   * kept out unless the handler `authenticate` lets it in.
   */
  myelin?: BrokerOptions & { plugins?: readonly Plugin[] }
}

/** What Aedes has and this facade cannot give, with what to do instead. */
const unavailable: ReadonlyMap<string, string> = new Map([
  ['mq', 'absent: several brokers become one by myelin: redisCluster({ redis })'],
  ['persistence', 'absent: Myelin has stores of its own, myelin: { persistence: lmdbPersistence({ path }) }'],
  ['maxClientsIdLength', 'absent: MQTT 3.1 allows 23 bytes, for later versions see limits.maximumClientIdentifierLength'],
])

const handlers: readonly string[] = ['preConnect', 'authenticate', 'authorizePublish', 'authorizeSubscribe', 'authorizeForward', 'published']
const known: readonly string[] = [...handlers, 'id', 'heartbeatInterval', 'connectTimeout', 'keepaliveLimit', 'drainTimeout', 'maxTopicLevels', 'maxInflightInbound', 'concurrency', 'queueLimit', 'myelin']

/** @throws MqttError for an option that is unknown, unavailable or wrong */
export function checkOptions (options: AedesOptions): void {
  for (const [name, value] of Object.entries(options as object | null ?? {}) as [string, unknown][]) {
    if (unavailable.has(name)) throw optionInvalid(name, unavailable.get(name) ?? '', typeof value)
    if (handlers.includes(name) && value !== undefined && typeof value !== 'function') throw optionInvalid(name, 'a function', value)
  }
  checkNames(options, known)
  checkText('id', options.id)
  checkNumber('heartbeatInterval', options.heartbeatInterval, 1, 2 ** 31 - 1)
  checkNumber('connectTimeout', options.connectTimeout, 1, 2 ** 31 - 1)
  checkNumber('keepaliveLimit', options.keepaliveLimit, 0, 65_535)
  checkNumber('drainTimeout', options.drainTimeout, 0, Number.MAX_SAFE_INTEGER)
  checkNumber('maxTopicLevels', options.maxTopicLevels, 1, 65_535)
  checkNumber('maxInflightInbound', options.maxInflightInbound, 0, 65_535)
  if (options.myelin !== undefined && (typeof options.myelin !== 'object' || options.myelin as unknown === null)) throw optionInvalid('myelin', 'an object', options.myelin)
}

/** The same in Myelin's words. */
export function brokerOptions ({ connectTimeout = 30_000, keepaliveLimit = 0, drainTimeout = 60_000, maxTopicLevels, maxInflightInbound, myelin = {} }: AedesOptions): NonNullable<AedesOptions['myelin']> {
  const limits = {
    connectTimeoutMs: connectTimeout,
    maximumKeepAlive: keepaliveLimit,
    slowConsumerTimeoutMs: drainTimeout === 0 ? Number.MAX_SAFE_INTEGER : drainTimeout,
    ...maxTopicLevels !== undefined && { maximumTopicLevels: maxTopicLevels },
    ...maxInflightInbound !== undefined && { receiveMaximum: maxInflightInbound || 65_535 },
    ...myelin.limits,
  }
  return { ...myelin, limits }
}

/** Whether hooks, a method or a plugin among Myelin's options has a say in who is let in. */
export function hasAuthentication ({ myelin = {} }: AedesOptions): boolean {
  return [myelin, ...myelin.plugins ?? []].some(({ hooks, authenticationMethods = [] }) => hooks?.authenticate !== undefined || authenticationMethods.length > 0)
}
