import { randomUUID } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import {
  ErrorCode, ReasonCode,
  type AuthenticateRequest, type AuthenticateResult, type AuthorizeResult, type ClientInfo, type ConnectionInfo, type DeliverRequest, type Disconnected, type Hooks, type Limits, type MaybePromise, type Message,
  type MessagePatch, type MqttError, type PublishRequest, type Subscription as Granted, type SubscriptionOptions, type SubscribeRequest,
} from '../../lib/index.ts'
import { answerOf, then, type Answer } from './answer.ts'
import type { AedesClient } from './client.ts'
import type { AedesEvents } from './events.ts'
import type { AedesHandlers, AuthenticateError } from './options.ts'
import { connectPacket, faultOf, isUnchanged, patchOf, publishPacket, subscriptionOf, type AedesPublishPacket, type ConnectPacket, type Subscription } from './packets.ts'

/** As much of the facade as is of interest here. */
type Facade = Pick<EventEmitter<AedesEvents>, 'emit' | 'listenerCount'> & AedesHandlers & { readonly id: string }

/** What a facade does for its bridge. */
export interface BridgeHost {
  readonly aedes: Facade
  /** The client of a connection that has just come. */
  readonly arrived: (connection: ConnectionInfo) => AedesClient
  /** Publishes under `$SYS/<id>/`. */
  readonly tell: (topic: string, payload: string) => void
  /** Whether everybody is let in while there is no handler: nobody else is there to decide. */
  readonly isOpen: boolean
  /** What a topic that a handler puts in the place of another has to keep to. */
  readonly limits: Limits
}

const notAuthorized = 5

/** Return codes of MQTT 3.1.1 (section 3.2.2.3) that `authenticate` may refuse with, as Reason Codes. */
const reasonCodes: ReadonlyMap<number | undefined, ReasonCode> = new Map([
  [2, ReasonCode.clientIdentifierNotValid],
  [3, ReasonCode.serverUnavailable],
  [4, ReasonCode.badUserNameOrPassword],
  [notAuthorized, ReasonCode.notAuthorized],
])

/** Ends that are nobody's error. */
const orderly: ReadonlySet<ErrorCode | undefined> = new Set([
  undefined, ErrorCode.keepAliveTimeout, ErrorCode.serverShuttingDown, ErrorCode.sessionTakenOver, ErrorCode.administrativeAction,
])

/** Myelin's hooks on one side, handlers and events of Aedes on the other. */
export class Bridge {
  readonly #host: BridgeHost
  readonly #clients = new WeakMap<ConnectionInfo, AedesClient>()
  /** What handlers were shown, and may have changed, on its way from `authorize…` to `on…`. */
  readonly #packets = new WeakMap<Message, AedesPublishPacket>()
  readonly #granted = new WeakMap<Granted, Subscription>()
  /** Subscriptions of one SUBSCRIBE, which are told together. */
  readonly #subscribed = new Map<AedesClient, Subscription[]>()
  readonly #unsubscribed = new Map<AedesClient, string[]>()
  /** Who is connected, by Client Identifier. Without a prototype: every name is a client's own. */
  readonly clients: Record<string, AedesClient> = Object.create(null) as Record<string, AedesClient>
  #counter = 0

  constructor (host: BridgeHost) { this.#host = host }

  /** Packets so far. */
  get counter (): number { return this.#counter }

  readonly hooks: Hooks = {
    authorizeConnection: ({ connection }) => {
      const client = this.#host.arrived(connection)
      client.connection = connection
      this.#clients.set(connection, client)
      return true
    },
    authenticate: request => this.#authenticate(request),
    authorizePublish: request => this.#authorizePublish(request),
    authorizeSubscribe: request => this.#authorizeSubscribe(request),
    authorizeDeliver: request => this.#authorizeDeliver(request),
    onConnect: ({ client }) => { this.#accepted(client); return undefined },
    onPublish: ({ client, message }) => this.#onPublish(client === undefined ? null : this.#client(client), message),
    onSubscribe: ({ subscription }) => this.#onSubscribe(subscription),
    connected: ({ client, sessionPresent }) => { this.#connected(this.#client(client), sessionPresent) },
    refused: ({ connection, error }) => { this.#refused(this.#clientOf(connection), error) },
    disconnected: event => { this.#disconnected(this.#client(event.client), event) },
    subscribed: ({ client, subscription }) => { this.#gather(this.#subscribed, this.#client(client), subscriptionOf(subscription), 'subscribe') },
    unsubscribed: ({ client, topicFilter }) => { this.#gather(this.#unsubscribed, this.#client(client), topicFilter, 'unsubscribe') },
    published: ({ client, message }) => {
      this.#counter++
      if (this.#host.aedes.listenerCount('publish') > 0) this.#host.aedes.emit('publish', this.#packetOf(message), client === undefined ? null : this.#client(client))
    },
  }

  // --- connecting

  #authenticate (request: AuthenticateRequest): MaybePromise<AuthenticateResult> {
    const client = this.#clientOf(request.connection)
    const packet = connectPacket(request)
    client.connecting = true
    const { preConnect } = this.#host.aedes
    if (preConnect === undefined) return this.#identify(client, packet)
    return then(answerOf<boolean>(done => preConnect(client, packet, done)), (answer): MaybePromise<AuthenticateResult> =>
      isAllowed(answer) ? this.#identify(client, packet) : this.#deny(client, answer, notAuthorized))
  }

  #identify (client: AedesClient, packet: ConnectPacket): MaybePromise<AuthenticateResult> {
    const clientId = packet.clientId === '' ? `aedes_${randomUUID()}` : packet.clientId
    client.introduce({ ...packet, clientId })
    const { authenticate } = this.#host.aedes
    const allow = { allow: true, clientIdentifier: clientId } as const
    if (authenticate === undefined) return this.#host.isOpen ? allow : undefined
    return then(answerOf<boolean>(done => authenticate(client, packet.username, packet.password, done)), (answer): AuthenticateResult =>
      isAllowed(answer) ? allow : this.#deny(client, answer, (answer.error as AuthenticateError | undefined)?.returnCode))
  }

  #deny (client: AedesClient, { error }: Answer<boolean>, returnCode: number = notAuthorized): AuthenticateResult {
    const errorCode = reasonCodes.has(returnCode) ? returnCode : notAuthorized
    if (error !== undefined) client.refusal = Object.assign(error, { errorCode })
    return { allow: false, reasonCode: reasonCodes.get(returnCode) ?? ReasonCode.notAuthorized }
  }

  /** Another hook or method may have let it in, and under another identifier. */
  #accepted (info: ClientInfo): void {
    const client = this.#client(info)
    client.accept(info.clientIdentifier, info.protocolVersion)
    this.clients[info.clientIdentifier] = client
    this.#host.aedes.emit('client', client)
    this.#host.tell('new/clients', info.clientIdentifier)
  }

  #connected (client: AedesClient, sessionPresent: boolean): void {
    client.welcome()
    this.#host.aedes.emit('connackSent', { cmd: 'connack', returnCode: 0, sessionPresent }, client)
    this.#host.aedes.emit('clientReady', client)
  }

  /** Aedes tells of a Client that has said who it is as `clientError`, of one that has not as `connectionError`. */
  #refused (client: AedesClient, error: MqttError): void {
    this.#failed(client, client.refusal ?? error, client.id === null ? 'connectionError' : 'clientError')
    this.#leave(client)
  }

  #disconnected (client: AedesClient, { error }: Disconnected): void {
    const { aedes, tell } = this.#host
    if (error !== undefined && !orderly.has(error.code)) this.#failed(client, error)
    if (error?.code === ErrorCode.keepAliveTimeout) aedes.emit('keepaliveTimeout', client)
    this.#leave(client)
    aedes.emit('clientDisconnect', client)
    if (client.id !== null) tell('disconnect/clients', client.id)
  }

  /** Its identifier may be another client's by now, which has taken its place. */
  #leave (client: AedesClient): void {
    if (client.id !== null && this.clients[client.id] === client) Reflect.deleteProperty(this.clients, client.id)
    client.farewell()
  }

  // --- publishing

  #authorizePublish ({ client: info, message }: PublishRequest): MaybePromise<AuthorizeResult> {
    const { authorizePublish } = this.#host.aedes
    if (authorizePublish === undefined) return true
    const client = this.#client(info)
    const packet = this.#packetOf(message)
    return then(answerOf(done => authorizePublish(client, packet, done)), ({ error }): AuthorizeResult => {
      if (error !== undefined) return this.#allowed(client, error)
      const fault = faultOf(packet, message, this.#host.limits)
      if (fault === undefined) this.#packets.set(message, packet)
      return this.#allowed(client, fault) || ReasonCode.implementationSpecificError // which is not the Client's fault
    })
  }

  #onPublish (client: AedesClient | null, message: Message): MaybePromise<MessagePatch | undefined> {
    const packet = this.#packets.get(message) ?? this.#packetOf(message)
    const { published } = this.#host.aedes
    if (published === undefined) return patchOf(packet, message)
    return then(answerOf(done => published(packet, client, done)), ({ error }) => {
      const fault = error ?? faultOf(packet, message, this.#host.limits)
      if (fault === undefined) return patchOf(packet, message)
      if (client !== null) this.#failed(client, fault)
      throw fault
    })
  }

  #authorizeDeliver ({ client, message }: DeliverRequest): boolean {
    const { authorizeForward } = this.#host.aedes
    if (authorizeForward === undefined) return true
    const packet = authorizeForward(this.#client(client), this.#packetOf(message))
    if (packet === null || packet === undefined) return false
    if (!isUnchanged(packet, message)) throw new Error('authorizeForward must not change the packet: every subscriber gets the same message')
    return true
  }

  // --- subscribing

  #authorizeSubscribe ({ client: info, subscription }: SubscribeRequest): MaybePromise<AuthorizeResult> {
    const { authorizeSubscribe } = this.#host.aedes
    if (authorizeSubscribe === undefined) return true
    const client = this.#client(info)
    const asked = subscriptionOf(subscription)
    return then(answerOf<Subscription>(done => authorizeSubscribe(client, asked, done)), ({ error, value }): boolean => {
      if (error !== undefined) return this.#allowed(client, error)
      if (value === null || value === undefined) return false
      if (value.topic !== subscription.topicFilter) return this.#allowed(client, new Error(`authorizeSubscribe must not change the topic of a subscription, here ${subscription.topicFilter}`))
      this.#granted.set(subscription, value)
      return true
    })
  }

  #onSubscribe (subscription: Granted): Partial<SubscriptionOptions> | undefined {
    const granted = this.#granted.get(subscription)
    return granted === undefined || granted.qos === subscription.qos ? undefined : { qos: granted.qos }
  }

  /** Subscriptions of one packet are made in one turn: they are told at its end. */
  #gather<T> (gathered: Map<AedesClient, T[]>, client: AedesClient, one: T, event: 'subscribe' | 'unsubscribe'): void {
    const before = gathered.get(client)
    if (before !== undefined) {
      before.push(one)
      return
    }
    const all = [one]
    gathered.set(client, all)
    queueMicrotask(() => {
      gathered.delete(client)
      this.#host.aedes.emit(event, all as never, client)
      this.#host.tell(event === 'subscribe' ? 'new/subscribers' : 'new/unsubscribers', JSON.stringify({ clientId: client.id, subs: all }))
    })
  }

  // --- what they share

  #allowed (client: AedesClient, error: Error | undefined): boolean {
    if (error !== undefined) this.#failed(client, error)
    return error === undefined
  }

  #failed (client: AedesClient, error: Error, event: 'clientError' | 'connectionError' = 'clientError'): void {
    client.fail(error)
    this.#host.aedes.emit(event, client, error)
  }

  #packetOf (message: Message): AedesPublishPacket { return publishPacket(message, this.#host.aedes.id, this.#counter) }

  #client ({ connection }: { readonly connection: ConnectionInfo }): AedesClient { return this.#clientOf(connection) }

  /** Each connection had `authorizeConnection` first, but for Sessions that were restored from a store: their Client has not come yet. */
  #clientOf (connection: ConnectionInfo): AedesClient {
    const known = this.#clients.get(connection)
    if (known !== undefined) return known
    const client = this.#host.arrived(connection)
    this.#clients.set(connection, client)
    return client
  }
}

function isAllowed ({ error, value }: Answer<boolean>): boolean { return error === undefined && value === true }
