import { checkBoolean, checkNames, checkNumber, checkOneOf, checkText, isObject, isOptions } from '../base/checks.ts'
import { ErrorCode, MqttError, optionInvalid, optionUnknown } from '../base/errors.ts'
import { defaultLimits, type Limits } from '../base/limits.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { QoS } from '../packet/packets.ts'
import type { BrokerOptions } from './options.ts'
import { sharedSubscriptionStrategies } from '../router/shared-subscription.ts'
import { parseTopicFilter } from '../topic/topic-filter.ts'

const known: readonly (keyof BrokerOptions | 'plugins')[] = [
  'hooks', 'plugins', 'authenticationMethods', 'persistence', 'durability', 'limits', 'sysIntervalMs', 'sharedSubscriptionStrategy', 'deniedPublish', 'hookTimeoutMs',
  'closeTimeoutMs', 'serverReference', 'reasonStrings', 'responseInformation', 'logger', 'clock', 'emitter', 'nodeName',
]

const queuePolicies: readonly unknown[] = ['dropOldest', 'dropNewest', 'disconnect']
const deniedPublish: readonly unknown[] = ['acknowledge', 'ignore', 'close']

/** The bounds of each limit that is a number: what the protocol can say, and what makes sense. */
const bounds: ReadonlyMap<string, readonly [minimum: number, maximum: number]> = new Map([
  ['maximumPacketSize', [20, 268_435_460]],
  ['maximumConnectSize', [20, 268_435_460]],
  ['connectTimeoutMs', [1, 2 ** 31 - 1]],
  ['maximumClientIdentifierLength', [23, 65_535]],
  ['maximumTopicLength', [1, 65_535]],
  ['maximumTopicLevels', [1, 65_535]],
  ['receiveMaximum', [1, 65_535]],
  ['maximumInFlight', [1, 65_535]],
  ['maximumUncommittedBytes', [1, Number.MAX_SAFE_INTEGER]],
  ['topicAliasMaximum', [0, 65_535]],
  ['maximumOutboundTopicAliases', [0, 65_535]],
  ['maximumKeepAlive', [0, 65_535]],
  ['maximumSessionExpiryInterval', [0, 0xffffffff]],
  ['connectionRate', [1, Number.MAX_SAFE_INTEGER]],
])

/** @throws MqttError that names the first option that is wrong */
export function checkOptions (options: BrokerOptions & { readonly plugins?: unknown }): void {
  checkNames(options, known)
  checkObjects(options)
  const { sysIntervalMs, hookTimeoutMs, closeTimeoutMs, sharedSubscriptionStrategy: strategy } = options
  checkNumber('sysIntervalMs', sysIntervalMs, 0, 2 ** 31 - 1)
  checkNumber('hookTimeoutMs', hookTimeoutMs, 1, 2 ** 31 - 1)
  checkNumber('closeTimeoutMs', closeTimeoutMs, 0, 2 ** 31 - 1)
  checkOneOf('sharedSubscriptionStrategy', strategy, sharedSubscriptionStrategies)
  checkCluster(options)
  checkFunction('durability', options.durability)
  checkFunction('responseInformation', options.responseInformation)
  checkText('serverReference', options.serverReference)
  checkBoolean('reasonStrings', options.reasonStrings)
  checkOneOf('deniedPublish', options.deniedPublish, deniedPublish)
  for (const [name, value] of Object.entries(options.limits ?? {})) checkLimit(name, value)
}

/** What the broker calls methods of: what has none would come to light at the first client, or never. */
function checkObjects (options: BrokerOptions & { readonly plugins?: unknown }): void {
  const { plugins, persistence, logger, limits } = options
  if (plugins !== undefined && !Array.isArray(plugins)) throw optionInvalid('plugins', 'a list of plugins', plugins)
  for (const [i, plugin] of (plugins ?? []).entries()) checkPlugin(`plugins[${i}]`, plugin)
  checkMethods('persistence', persistence, 'a store, such as lmdbPersistence({ path })', ['open', 'close'])
  checkMethods('clock', options.clock, 'an object with the functions now, after and every', ['now', 'after', 'every'])
  checkMethods('logger', logger, 'an object with the functions debug, info, warn and error', ['debug', 'info', 'warn', 'error'])
  if (limits !== undefined && !isOptions(limits)) throw optionInvalid('limits', 'an object', limits)
  checkMethodList('authenticationMethods', options.authenticationMethods)
}

/** @throws MqttError for what is no plugin: a function that makes one has a `name` as well, and would guard nothing */
export function checkPlugin (option: string, plugin: unknown): void {
  if (typeof plugin === 'function') throw optionInvalid(option, `a plugin, not the function that makes one: call ${plugin.name || 'it'}(…)`, 'a function')
  if (!isObject(plugin)) throw optionInvalid(option, 'a plugin', plugin)
  if (plugin instanceof Promise) throw optionInvalid(option, 'a plugin, not a promise of one: await it', 'a promise')
  const { name, setup, close, authenticationMethods } = plugin as Readonly<Partial<Record<'name' | 'setup' | 'close' | 'authenticationMethods', unknown>>>
  checkText(`${option}.name`, name ?? '')
  checkFunction(`${option}.setup`, setup)
  checkFunction(`${option}.close`, close)
  checkMethodList(`${option}.authenticationMethods`, authenticationMethods)
}

function checkFunction (option: string, value: unknown): void {
  if (value !== undefined && typeof value !== 'function') throw optionInvalid(option, 'a function', value)
}

/** A method without a name could be asked for by nobody, and one without `start` by everybody in vain. */
function checkMethodList (option: string, methods: unknown): void {
  if (methods === undefined) return
  if (!Array.isArray(methods)) throw optionInvalid(option, 'a list of authentication methods', methods)
  for (const [i, method] of (methods as unknown[]).entries()) {
    checkMethods(`${option}[${i}]`, method ?? null, 'an authentication method, with a name and the function start', ['start'])
    checkText(`${option}[${i}].name`, (method as { readonly name?: unknown }).name ?? '')
  }
}

/** @throws MqttError that names the option */
export function checkListenerOptions (options: { readonly name?: unknown, readonly proxyProtocol?: unknown }): void {
  checkNames(options, ['name', 'proxyProtocol'])
  checkText('name', options.name)
  checkBoolean('proxyProtocol', options.proxyProtocol)
}

/** @throws MqttError for what cannot be read and written; a stream of another make will do */
export function checkStream (stream: unknown): void {
  checkMethods('stream', stream ?? null, 'a Duplex, such as a net.Socket', ['on', 'write', 'resume', 'destroy'])
}

function checkMethods (option: string, value: unknown, expected: string, methods: readonly string[]): void {
  if (value === undefined) return
  const isRight = isObject(value) && methods.every(method => typeof (value as Record<string, unknown>)[method] === 'function')
  if (!isRight) throw optionInvalid(option, expected, value)
}

/** Half a cluster would lose messages in silence: it does not start. */
function checkCluster ({ persistence, emitter, nodeName }: BrokerOptions): void {
  if (nodeName !== undefined && typeof nodeName !== 'string') throw optionInvalid('nodeName', 'a text', nodeName)
  if (persistence?.isShared === true && emitter === undefined) {
    throw optionInvalid('emitter', `there, since several brokers may use the persistence "${persistence.name}" at once: take both from redisCluster()`, undefined)
  }
  if (emitter === undefined || emitter.store === persistence) return
  if (persistence === undefined) throw optionInvalid('persistence', `there, since the emitter "${emitter.name}" carries what is stored: take both from redisCluster()`, undefined)
  throw optionInvalid('emitter', `one with the persistence: "${emitter.name}" was made for another store`, persistence.name)
}

function checkLimit (name: string, value: unknown): void {
  if (!Object.hasOwn(defaultLimits, name)) throw optionUnknown(`limits.${name}`, Object.keys(defaultLimits))
  if (name === 'queuePolicy') checkOneOf('limits.queuePolicy', value, queuePolicies)
  else checkNumber(`limits.${name}`, value, ...(bounds.get(name) ?? [0, Number.MAX_SAFE_INTEGER] as const))
}

/**
 * @returns the filter, so that it can be used where it is checked
 * @throws MqttError that names the option, for what is no Topic Filter (section 4.7), or a Shared Subscription, which names no topics of its own
 */
export function checkTopicFilter (option: string, filter: unknown): string {
  if (typeof filter !== 'string' || filter.startsWith('$share/')) throw optionInvalid(option, 'a Topic Filter', filter)
  try {
    return parseTopicFilter(filter, { maximumTopicLength: 65_535, maximumTopicLevels: 65_535 }).filter
  } catch {
    throw optionInvalid(option, 'a Topic Filter', filter)
  }
}

/** The limits in force: the defaults, with what the host has set. */
export function completeLimits (given: Partial<Limits> | undefined, memoryHighWaterMark: number): Limits {
  return { ...defaultLimits, memoryHighWaterMark, ...withoutUndefined(given ?? {}) }
}

function withoutUndefined (given: Partial<Limits>): Partial<Limits> {
  return Object.fromEntries((Object.entries(given) as [string, unknown][]).filter(([, value]) => value !== undefined))
}

/** @throws MqttError for what is no QoS; for hosts that write JavaScript */
export function checkQos (qos: unknown): void {
  if (qos !== QoS.atMostOnce && qos !== QoS.atLeastOnce && qos !== QoS.exactlyOnce) throw optionInvalid('qos', '0, 1 or 2', qos)
}

/** The broker was used after `close()`. */
export function brokerClosed (): MqttError {
  return new MqttError(ErrorCode.brokerClosed, ReasonCode.serverShuttingDown, 'the broker is closed')
}
