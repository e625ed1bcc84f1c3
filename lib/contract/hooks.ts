import type { IncomingMessage } from 'node:http'
import type { PeerCertificate } from 'node:tls'
import type { MqttError } from '../base/errors.ts'
import type { ReasonCode } from '../base/reason-codes.ts'
import type { MessageProperties, ProtocolVersion, QoS, UserProperty, WillFields } from '../packet/packets.ts'
import type { Message } from './message.ts'
import type { Subscription, SubscriptionOptions } from './subscription.ts'

/** A hook may answer at once, which keeps the message on the synchronous path, or with a promise. */
export type MaybePromise<T> = T | Promise<T>

/** What is known of a Network Connection before the first hook runs. */
export interface ConnectionInfo {
  /** Counts up from 1 in each broker. */
  readonly id: number
  readonly transport: 'stream' | 'websocket'
  /** The Client's address: from the PROXY protocol header or a trusted `X-Forwarded-For` where those are configured. */
  readonly remoteAddress: string | undefined
  readonly remotePort: number | undefined
  /** Undefined once the connection has ended, as is the port. */
  readonly localAddress: string | undefined
  readonly localPort: number | undefined
  /** The name the host gave to `broker.listener(name)` or `broker.attach`. */
  readonly listener: string | undefined
  /** The HTTP request of the WebSocket upgrade; undefined once the connection has ended. */
  readonly request: IncomingMessage | undefined
  /** Who the host found behind that request: what `verify` of `broker.attach` answered, or `broker.handleUpgrade` was given. Undefined for streams. */
  readonly identity: unknown
  /** The certificate that the Client presented over TLS. Read on demand. */
  readonly peerCertificate: PeerCertificate | undefined
  /** Whether the TLS layer verified that certificate. */
  readonly isPeerAuthorized: boolean
  /** Milliseconds since the epoch. */
  readonly connectedAt: number
}

/** Statements about a Client that `authenticate` vouches for, by name: those of a token, say, or `groups`. Rules may refer to them. */
export type Claims = Readonly<Record<string, unknown>>

/** A Client as hooks see it. `Data` is what `authenticate` attached to it. */
export interface ClientInfo<Data = unknown> {
  readonly clientIdentifier: string
  /** User Name of CONNECT, or what `authenticate` put in its place. */
  readonly username: string | undefined
  readonly protocolVersion: ProtocolVersion
  readonly connection: ConnectionInfo
  /** What `authenticate` attached; undefined when it attached nothing. */
  readonly data: Data
  /** What `authenticate` vouches for; empty when it said nothing. */
  readonly claims: Claims
  /** Aborted when the Network Connection ends: give it to whatever a hook waits for. */
  readonly signal: AbortSignal
}

/** A CONNECT that asks to be let in (section 3.1). */
export interface AuthenticateRequest {
  /** Empty when the broker is to assign one. */
  readonly clientIdentifier: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly protocolVersion: ProtocolVersion
  readonly cleanStart: boolean
  readonly will: WillFields | undefined
  readonly userProperties: readonly UserProperty[]
  readonly connection: ConnectionInfo
  readonly signal: AbortSignal
}

/** Lets the Client in. */
export interface Allow<Data = unknown> {
  readonly allow: true
  /** Attached to the Client, typed in every later hook. */
  readonly data?: Data
  /** Takes the place of the User Name, for example from a certificate or token. */
  readonly username?: string
  /** Takes the place of the Client Identifier. */
  readonly clientIdentifier?: string
  /** Told to later hooks as `client.claims`, whichever plugin they are of. */
  readonly claims?: Claims
  /**
   * Milliseconds since the epoch: from then on the Client has to have authenticated anew (section 4.12.1), or its connection ends with Maximum connect time (0xA0).
   * Default: never. Looked at twice a second.
   */
  readonly expiresAt?: number
}

/** Keeps the Client out. */
export interface Deny {
  readonly allow: false
  /** 0x80 or above. Default: Bad User Name or Password when the Client sent either, else Not authorized. */
  readonly reasonCode?: ReasonCode
  /** For people, told to MQTT 5.0 Clients (section 3.2.2.3.9). */
  readonly reasonString?: string
  /** With Use another server or Server moved (section 4.11). */
  readonly serverReference?: string
}

/** `true` or {@link Allow}, `false` or {@link Deny}, or undefined for "not mine": then the next plugin is asked. */
export type AuthenticateResult<Data = unknown> = boolean | undefined | Allow<Data> | Deny

/** `true` allows; `false` (Not authorized) or a Reason Code of 0x80 or above refuses. */
export type AuthorizeResult = boolean | ReasonCode

/** A PUBLISH or a Will Message that asks to be taken (section 3.3). */
export interface PublishRequest<Data = unknown> {
  readonly client: ClientInfo<Data>
  readonly topicName: string
  readonly message: Message
  /** A Will Message: asked at CONNECT and again when it is about to be published. */
  readonly isWill: boolean
}

/** A Topic Filter of a SUBSCRIBE, or of a stored subscription, that asks to be granted (section 3.8). */
export interface SubscribeRequest<Data = unknown> {
  readonly client: ClientInfo<Data>
  /** As the Client wrote it. */
  readonly topicFilter: string
  readonly subscription: Subscription
  /** Made in an earlier connection: asked again when the Session is resumed, when its Client has authenticated anew, and by `revalidate`. */
  readonly isRestored: boolean
}

/** A topic of which there are messages for a Client. */
export interface TopicRequest<Data = unknown> {
  readonly client: ClientInfo<Data>
  readonly topicName: string
}

/** A message on its way to one Client. */
export interface DeliverRequest<Data = unknown> {
  readonly client: ClientInfo<Data>
  readonly topicName: string
  readonly message: Message
}

/** Changes to a message; what is absent stays. */
export interface MessagePatch {
  readonly topicName?: string
  readonly payload?: Buffer
  readonly qos?: QoS
  readonly retain?: boolean
  readonly properties?: MessageProperties
}

/** Changes to how a Client is connected. */
export interface ConnectPatch {
  /** Seconds; told as Server Keep Alive to MQTT 5.0 Clients and kept to for all. */
  readonly keepAlive?: number
  /** Seconds; told as Session Expiry Interval in CONNACK. */
  readonly sessionExpiryInterval?: number
  /** Told as Response Information to Clients that asked for it (section 3.2.2.3.15). */
  readonly responseInformation?: string
  readonly userProperties?: readonly UserProperty[]
}

/** Why a message did not reach a Session. */
export type DropReason =
  | 'offline'          // QoS 0, and the Client is not connected
  | 'slowConsumer'     // QoS 0, and the connection's outbox is full
  | 'queueFull'        // a limit of the Session's queue
  | 'totalQueueFull'   // the limit of all queues together
  | 'expired'          // Message Expiry Interval
  | 'packetTooLarge'   // the Client's Maximum Packet Size
  | 'notAuthorized'    // authorizeTopic, authorizeDeliver, or rights taken back by revalidate
  | 'retainedFull'     // not retained: a limit of the retained messages
  | 'sessionEnded'     // the Session ended with the message in its queue
  | 'storeFailed'      // it could not be stored, and its publisher was told so
  | 'unreachable'      // QoS 0, and the other nodes of the cluster cannot be reached

/** A message that did not reach somebody, and why. */
export interface Drop<Data = unknown> {
  readonly message: Message
  readonly reason: DropReason
  /** The Session that misses the message; undefined for `retainedFull`. */
  readonly clientIdentifier: string | undefined
  readonly client: ClientInfo<Data> | undefined
}

/** The end of the connection of a Client that had been accepted. */
export interface Disconnected<Data = unknown> {
  readonly client: ClientInfo<Data>
  /** What the Client sent, or was told. */
  readonly reasonCode: ReasonCode
  /** Why the broker ended the connection; undefined when the Client did or the network broke. */
  readonly error: MqttError | undefined
}

/**
 * What a host or plugin can decide, change and observe. `authenticate` and `authorize…` decide: the first refusal wins.
 * `on…` may return a patch. `…ed` and `onDrop` observe. A hook that throws, rejects or takes longer than
 * `hookTimeoutMs` denies; an observer's error is logged. All run in the order of registration.
 *
 * `Data` is what they find as `client.data`, `Attached` what `authenticate` puts there.
 */
export interface Hooks<Data = unknown, Attached = Data> {
  /** Asked when a connection comes, before a byte of it is read, so it must answer at once: whatever is not `true` closes it without a word. */
  authorizeConnection?: (request: { readonly connection: ConnectionInfo }) => boolean
  authenticate?: (request: AuthenticateRequest) => MaybePromise<AuthenticateResult<Attached>>
  /** Asked once it is known who a Client is, whichever way it proved that: may it come in now? */
  authorizeClient?: (request: { readonly client: ClientInfo<Data> }) => MaybePromise<AuthorizeResult>
  authorizePublish?: (request: PublishRequest<Data>) => MaybePromise<AuthorizeResult>
  authorizeSubscribe?: (request: SubscribeRequest<Data>) => MaybePromise<AuthorizeResult>
  /**
   * May this Client get messages of this topic? Asked once for each Client and topic, and again when the Client has authenticated anew, after `broker.revalidate()` and when hooks come or go: what it
   * says is remembered in between. It must answer at once: a promise counts as a refusal.
   */
  authorizeTopic?: (request: TopicRequest<Data>) => boolean
  /** Asked for every message to every Client, so it must answer at once: a promise counts as a refusal. */
  authorizeDeliver?: (request: DeliverRequest<Data>) => boolean
  onConnect?: (request: { readonly client: ClientInfo<Data> }) => MaybePromise<ConnectPatch | undefined>
  /** `client` is undefined for what the host publishes. */
  onPublish?: (request: { readonly client: ClientInfo<Data> | undefined, readonly message: Message }) => MaybePromise<MessagePatch | undefined>
  onSubscribe?: (request: { readonly client: ClientInfo<Data>, readonly subscription: Subscription }) => MaybePromise<Partial<SubscriptionOptions> | undefined>
  onDrop?: (drop: Drop<Data>) => void
  /** A connection is gone, however far it came: told once for each, accepted or refused. */
  connectionEnded?: (event: { readonly connection: ConnectionInfo }) => void
  connected?: (event: { readonly client: ClientInfo<Data>, readonly sessionPresent: boolean }) => void
  /** A connection ended before it was accepted. */
  refused?: (event: { readonly connection: ConnectionInfo, readonly error: MqttError }) => void
  disconnected?: (event: Disconnected<Data>) => void
  subscribed?: (event: { readonly client: ClientInfo<Data>, readonly subscription: Subscription }) => void
  unsubscribed?: (event: { readonly client: ClientInfo<Data>, readonly topicFilter: string }) => void
  published?: (event: { readonly client: ClientInfo<Data> | undefined, readonly message: Message }) => void
  sessionEnded?: (event: { readonly clientIdentifier: string }) => void
}
