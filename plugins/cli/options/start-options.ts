import { defaultLimits, type Limits } from '../../../lib/index.ts'
import type { InputOf, Option, OptionTable, Settled } from './kinds.ts'

// The one table of what `myelin start` can be told. The flags, `--help`, the configuration file with its
// JSON Schema, and docs/command-line.md are all made from it.
// An option's name is the field of the file; the flag is the same in kebab-case. Names carry no unit, since values do.

/** Where the broker listens. */
export const listenerOptions = {
  host: { kind: 'text', default: '127.0.0.1', help: 'Address or name on which every port listens; 0.0.0.0 or :: for all of the machine.' },
  port: { kind: 'port', default: 1883, help: 'MQTT over TCP. 0 takes any free port, "off" opens none.' },
  wsPort: { kind: 'port', default: 8080, help: 'MQTT over WebSocket. 0 takes any free port, "off" opens none.' },
  wsPath: { kind: 'text', default: '/mqtt', help: 'Path of the WebSocket endpoint.' },
  wsOrigin: { kind: 'texts', help: 'A web origin whose pages may connect, such as https://example.org; "*" for all; may be repeated. Without it any may where clients authenticate, else only pages of this machine.' },
  tlsPort: { kind: 'port', help: 'MQTT over TLS. Needs --tls-cert and --tls-key.' },
  wssPort: { kind: 'port', help: 'MQTT over WebSocket over TLS. Needs --tls-cert and --tls-key.' },
  tlsCert: { kind: 'path', help: 'Certificate of the broker with its chain, PEM.' },
  tlsKey: { kind: 'path', help: 'Private key of that certificate, PEM.' },
  tlsCa: { kind: 'path', help: 'Authorities whose client certificates are accepted, PEM. With it TLS clients are asked for one.' },
  tlsRequireClientCertificate: { kind: 'flag', default: false, help: 'Refuse TLS clients without a certificate from --tls-ca.' },
  unix: { kind: 'path', help: 'MQTT over a Unix domain socket at this path.' },
  proxyProtocol: { kind: 'flag', default: false, help: 'Require a PROXY protocol header (version 1 or 2) on --port and --unix, and take the client\'s address from it.' },
  trustProxy: { kind: 'count', default: 0, help: 'Reverse proxies in front of the WebSocket ports whose X-Forwarded-For is believed; 0 believes none.' },
} as const

/** Who may connect. */
export const accessOptions = {
  users: { kind: 'users', only: 'file', help: 'Who may connect: a list of { "username", "passwordHash" } as printed by `myelin hash-password`, or { "username", "password" }.' },
  access: { kind: 'access', only: 'file', help: 'Plugins that decide who may connect and do what, a list of { "use": "passwordFile", "path": "users" } and the like. They are asked in this order, after the users.' },
  allowAnonymous: { kind: 'flag', default: false, help: 'Let clients in that give no user name. Where nothing asks who a client is, and without this option, the broker listens on loopback addresses only.' },
} as const

/** What outlives the process. */
export const dataOptions = {
  data: { kind: 'pathOrOff', default: './data', help: 'Directory where sessions, their queues and retained messages are kept; made if there is none. "off" keeps them in memory, and they end with the process.' },
  durability: { kind: 'choice', choices: ['power', 'process'], default: 'power', help: 'What an acknowledged message survives. power: everything, also a power cut. process: the end of the process, also kill -9, but not that of the machine; faster.' },
} as const

/** Several processes as one broker. */
export const clusterOptions = {
  redis: { kind: 'text', help: 'URL of a Redis server, such as redis://:password@10.0.0.5:6379, that keeps what outlives the process, in the place of --data. All processes with the same one are one broker.' },
  redisPrefix: { kind: 'text', default: 'myelin', help: 'What the names of all keys in Redis begin with: one for each cluster.' },
  nodeName: { kind: 'text', help: 'What this process is called in the logs of the others. Without it host name and process identifier.' },
} as const

/** Each of {@link Limits}, which has the defaults. */
export const limitOptions = {
  maximumPacketSize: { kind: 'bytes', help: 'One Control Packet from a connected client; announced as Maximum Packet Size.' },
  maximumConnectSize: { kind: 'bytes', help: 'The CONNECT packet.' },
  connectTimeout: { kind: 'milliseconds', help: 'How long a new connection has until its CONNECT is complete.' },
  maximumClientIdentifierLength: { kind: 'bytes', help: 'A Client Identifier.' },
  maximumTopicLength: { kind: 'bytes', help: 'A Topic Name or Topic Filter.' },
  maximumTopicLevels: { kind: 'count', help: 'Levels of a Topic Name or Topic Filter.' },
  maximumSubscriptions: { kind: 'count', help: 'Subscriptions of one session.' },
  receiveMaximum: { kind: 'count', help: 'QoS 1 and 2 messages from a client that are not completed; announced as Receive Maximum.' },
  maximumInFlight: { kind: 'count', help: 'QoS 1 and 2 messages to a client that are not acknowledged.' },
  maximumQueuedMessages: { kind: 'count', help: 'QoS 1 and 2 messages that wait in one session.' },
  maximumQueuedBytes: { kind: 'bytes', help: 'Messages that wait in one session.' },
  maximumTotalQueuedBytes: { kind: 'bytes', help: 'Messages that wait in all sessions together.' },
  maximumUncommittedBytes: { kind: 'bytes', help: 'Messages that wait to be stored; over it publishers of QoS 1 and 2 are held back.' },
  queuePolicy: { kind: 'choice', choices: ['dropOldest', 'dropNewest', 'disconnect'], help: 'What happens when the queue of a session is full.' },
  maximumOutboxBytes: { kind: 'bytes', help: 'What waits to be written to one connection; over it QoS 0 is dropped, QoS 1 and 2 wait in the session.' },
  slowConsumerTimeout: { kind: 'milliseconds', help: 'How long a connection may stay over that without taking a byte before it is ended.' },
  maximumRetainedMessages: { kind: 'count', help: 'Retained messages.' },
  maximumRetainedBytes: { kind: 'bytes', help: 'All retained messages together.' },
  topicAliasMaximum: { kind: 'count', help: 'Topic Aliases a client may set.' },
  maximumOutboundTopicAliases: { kind: 'count', help: 'Topic Aliases the broker uses towards a client that allows that many.' },
  maximumUserProperties: { kind: 'count', help: 'User Properties in one packet.' },
  maximumConnections: { kind: 'count', help: 'Connections in all.' },
  maximumConnectionsPerAddress: { kind: 'count', help: 'Connections from one address.' },
  connectionRate: { kind: 'count', help: 'New connections a second, in all.' },
  publishRate: { kind: 'count', help: 'PUBLISH packets a second of one client, 0 for no limit; over it the connection is read more slowly.' },
  maximumKeepAlive: { kind: 'seconds', help: 'A longer Keep Alive, or none, is replaced by this; 0 leaves it to the client.' },
  maximumSessionExpiryInterval: { kind: 'seconds', help: 'A longer Session Expiry Interval is cut to this; 4294967295 never expires.' },
  maximumSessions: { kind: 'count', help: 'Sessions that are kept while their client is away.' },
  memoryHighWaterMark: { kind: 'bytes', help: 'Memory that the process may occupy before it drops QoS 0 and pauses publishers. Without it three quarters of what there is; 0 turns it off.' },
  maximumPendingBytes: { kind: 'bytes', help: 'Packets of one connection that wait while it is being authenticated or authorized; then its socket is paused.' },
} as const

/** How the broker behaves. */
export const brokerOptions = {
  sysInterval: { kind: 'milliseconds', default: 10_000, help: 'How often the $SYS topics are updated; 0 turns them off.' },
  sharedSubscriptionStrategy: { kind: 'choice', choices: ['roundRobin', 'random', 'sticky', 'leastInFlight', 'hashTopic', 'hashClient'], default: 'roundRobin', help: 'Which session gets a message of a Shared Subscription: each in turn; any; the same until it leaves; the one with the fewest unacknowledged messages; one for each Topic Name; one for each publisher.' },
  deniedPublish: { kind: 'choice', choices: ['acknowledge', 'ignore', 'close'], default: 'acknowledge', help: 'What happens when an MQTT 3.x client publishes what it may not.' },
  hookTimeout: { kind: 'milliseconds', default: 5_000, help: 'How long checking a password may take before the client is refused.' },
  closeTimeout: { kind: 'milliseconds', default: 2_000, help: 'How long a shutdown waits for connections to end by themselves.' },
  reasonStrings: { kind: 'flag', default: true, help: 'Tell MQTT 5.0 clients in words what was wrong, where the Reason Code does not say it all.' },
  serverReference: { kind: 'text', help: 'Where MQTT 5.0 clients are sent when the broker shuts down, such as other.example.org:1883.' },
} as const

/** What is printed, and the rest. */
export const generalOptions = {
  config: { kind: 'path', short: 'c', only: 'commandLine', help: 'Configuration file, JSON. What the command line says wins over it.' },
  logFormat: { kind: 'choice', choices: ['pretty', 'json', 'quiet'], default: 'pretty', help: 'pretty: a banner on standard output, lines for people on standard error. json: no banner, one JSON object a line on standard error. quiet: nothing but errors.' },
  logLevel: { kind: 'choice', choices: ['debug', 'info', 'warn', 'error'], default: 'info', help: 'The least of what is logged; debug has a line for every connection.' },
  help: { kind: 'flag', short: 'h', only: 'commandLine', help: 'Print this.' },
  version: { kind: 'flag', short: 'v', only: 'commandLine', help: 'Print the version.' },
} as const

/** For the commands that have no other option. */
export const helpOption = {
  help: { kind: 'flag', short: 'h', only: 'commandLine', help: 'Print this.' },
} as const

/** Options under a heading of the help. */
export interface OptionGroup {
  readonly title: string
  readonly options: OptionTable
}

/** All options of `myelin start`, in the order of the help. */
export const startGroups: readonly OptionGroup[] = [
  { title: 'Listeners', options: listenerOptions },
  { title: 'Access', options: accessOptions },
  { title: 'Data', options: dataOptions },
  { title: 'Cluster', options: clusterOptions },
  { title: 'General', options: generalOptions },
  { title: 'Broker', options: brokerOptions },
  { title: 'Limits', options: limitOptions },
]

type LimitOptions = typeof limitOptions
export type StartOptions = typeof listenerOptions & typeof accessOptions & typeof dataOptions & typeof clusterOptions & typeof generalOptions & typeof brokerOptions & LimitOptions

/** All options of `myelin start` by name. */
export const startOptions: StartOptions = { ...listenerOptions, ...accessOptions, ...dataOptions, ...clusterOptions, ...generalOptions, ...brokerOptions, ...limitOptions }

/** What the command line and the configuration file say together, with the defaults. */
export type Settings = Settled<StartOptions>

type InFile<K extends keyof StartOptions> = StartOptions[K] extends { readonly only: 'commandLine' } ? never : K

/**
 * What a configuration file may say. Sizes and durations are numbers (bytes, milliseconds; seconds for `maximumKeepAlive` and
 * `maximumSessionExpiryInterval`) or texts with a unit such as `'1MiB'` and `'10s'`. Paths are relative to the file.
 */
export type Configuration = { readonly [K in keyof StartOptions as InFile<K>]?: InputOf<StartOptions[K]> } & {
  /** For editors: where the output of `myelin config-schema` is kept. */
  readonly $schema?: string
}

type WithoutUnit<Name extends string> = Name extends `${infer Rest}Ms` ? Rest : Name

// The compiler sees here that no limit of the library is forgotten, and none invented.
const limitTable: Readonly<Record<WithoutUnit<keyof Limits>, Option>> = limitOptions satisfies Record<WithoutUnit<keyof Limits>, Option>

/** The name that the library gives to an option: there durations are milliseconds, and say so. */
export function libraryName (name: string, option: Option): string {
  return option.kind === 'milliseconds' ? `${name}Ms` : name
}

const limitDefaults: ReadonlyMap<string, number | string> = new Map(Object.entries(defaultLimits))

/** The default of an option, undefined where there is none to name. */
export function defaultOf (name: string, option: Option): string | number | boolean | undefined {
  // The library chooses this one for the machine it runs on.
  if (name === 'memoryHighWaterMark') return undefined
  return name in limitTable ? limitDefaults.get(libraryName(name, option)) : option.default
}
