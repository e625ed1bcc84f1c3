import { addressList, checkNames, checkOneOf, optionInvalid, optionUnknown, type AuthenticationMethod, type ConnectionInfo, type Hooks, type Plugin } from '../../lib/index.ts'
import { appliesTo } from './condition.ts'
import { combination, type Combination } from './members.ts'

/** Which connections: all that is given must hold; of a list, one. */
export interface ConnectionCondition {
  /** Names of listeners. */
  readonly listener?: string | readonly string[]
  /** Addresses, or ranges as in `10.0.0.0/8`. A connection without an address has none of them. */
  readonly address?: string | readonly string[]
  readonly transport?: ConnectionInfo['transport']
}

/** Whether a plugin is for a connection. What it throws is a refusal where the plugin decides. */
export type ConnectionPredicate = (connection: ConnectionInfo) => boolean

/**
 * A plugin for some connections only. For the others it is not there: its `authenticate` says "not mine", its `authorize…` allow, and the rest is not
 * called. What has no connection, as messages of the host and `sessionEnded`, is for every plugin that observes, and for none that changes.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for a condition that is none
 * @example when({ listener: 'internet' }, jwt({ … }))
 */
export function when<Data = unknown> (condition: ConnectionCondition | ConnectionPredicate, plugin: Plugin<Data>): Combination<Data> {
  const applies = typeof condition === 'function' ? condition : predicateOf(condition)
  const whole = combination(`when(${plugin.name})`, [plugin], (broker, _member, hooks) => broker.hook(conditional(hooks, applies)))
  return { ...whole, authenticationMethods: whole.authenticationMethods?.map(method => conditionalMethod(method, applies)) ?? [] }
}

type Request<Data, Name extends keyof Hooks> = Parameters<NonNullable<Hooks<Data>[Name]>>[0]

/** For each hook: the connection that a request is about, and what stands for the answer of a plugin that is not for it. */
type Table = { readonly [Name in keyof Hooks]-?: readonly [connectionOf: (request: Request<unknown, Name>) => ConnectionInfo | undefined, otherwise: true | undefined] }

const ofClient = ({ client }: { readonly client: { readonly connection: ConnectionInfo } | undefined }): ConnectionInfo | undefined => client?.connection
const ofConnection = ({ connection }: { readonly connection: ConnectionInfo }): ConnectionInfo => connection

const table: Table = {
  authorizeConnection: [ofConnection, true],
  authenticate: [ofConnection, undefined],
  authorizeClient: [ofClient, true],
  authorizePublish: [ofClient, true],
  authorizeSubscribe: [ofClient, true],
  authorizeTopic: [ofClient, true],
  authorizeDeliver: [ofClient, true],
  onConnect: [ofClient, undefined],
  onPublish: [ofClient, undefined],
  onSubscribe: [ofClient, undefined],
  onDrop: [ofClient, undefined],
  connectionEnded: [ofConnection, undefined],
  connected: [ofClient, undefined],
  refused: [ofConnection, undefined],
  disconnected: [ofClient, undefined],
  subscribed: [ofClient, undefined],
  unsubscribed: [ofClient, undefined],
  published: [ofClient, undefined],
  sessionEnded: [() => undefined, undefined],
}
/** Observers that are told of what has no connection. */
const toldAnyway: ReadonlySet<string> = new Set(['onDrop', 'published', 'sessionEnded'])

type AnyHook = (request: never) => unknown
type AnyRow = readonly [connectionOf: (request: never) => ConnectionInfo | undefined, otherwise: true | undefined]

function conditional<Data> (hooks: Hooks<Data>, applies: ConnectionPredicate): Hooks<Data> {
  return Object.fromEntries(Object.entries(hooks).map(([name, hook]: [string, unknown]) => [name, conditionalHook(name, hook, applies)]))
}

function conditionalHook (name: string, hook: unknown, applies: ConnectionPredicate): AnyHook | undefined {
  if (!Object.hasOwn(table, name)) throw optionUnknown(`hooks.${name}`, Object.keys(table))
  if (hook === undefined) return undefined
  if (typeof hook !== 'function') throw optionInvalid(`hooks.${name}`, 'a function', hook)
  const [connectionOf, otherwise] = table[name as keyof Hooks] as AnyRow
  const isFor = (request: never): boolean => {
    const connection = connectionOf(request)
    return connection === undefined ? toldAnyway.has(name) : applies(connection)
  }
  return Object.assign((request: never) => isFor(request) ? (hook as AnyHook)(request) : otherwise, { [appliesTo]: isFor })
}

/** Where the plugin is not for the connection, the method lets nobody in: there is no other one of its name. */
function conditionalMethod<Data> (method: AuthenticationMethod<Data>, applies: ConnectionPredicate): AuthenticationMethod<Data> {
  return { name: method.name, start: request => applies(request.connection) ? method.start(request) : { next: () => ({ allow: false }) } }
}

function predicateOf (condition: ConnectionCondition): ConnectionPredicate {
  if (typeof condition !== 'object' || condition === null as unknown || Object.keys(condition).length === 0) throw optionInvalid('when', 'a function, or an object with a condition', condition)
  checkNames(condition, ['listener', 'address', 'transport'], 'when.')
  const { transport } = condition
  checkOneOf('when.transport', transport, ['stream', 'websocket'])
  const listeners = textsOf('listener', condition.listener)
  const texts = textsOf('address', condition.address)
  const addresses = texts === undefined ? undefined : addressList(texts)
  if (texts !== undefined && addresses === undefined) throw optionInvalid('when.address', 'addresses, or ranges such as 10.0.0.0/8', texts.join(', '))
  return connection => (transport === undefined || connection.transport === transport) &&
    (listeners === undefined || (connection.listener !== undefined && listeners.includes(connection.listener))) &&
    (addresses === undefined || (connection.remoteAddress !== undefined && addresses.has(connection.remoteAddress)))
}

function textsOf (field: string, value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0 || !list.every(text => typeof text === 'string' && text !== '')) throw optionInvalid(`when.${field}`, 'a text that is not empty, or a list of them', value)
  return list as readonly string[]
}
