import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { BrokerParts } from './assemble.ts'
import { optionInvalid } from './base/errors.ts'
import type { Limits } from './base/limits.ts'
import type { Metrics } from './base/metrics.ts'
import { ReasonCode } from './base/reason-codes.ts'
import { version } from './base/version.ts'
import { roundMs } from './connection/rounds.ts'
import type { UpgradeOptions, WebSocketOptions } from './connection/websocket/websocket-options.ts'
import type { AuthenticationMethod } from './contract/authentication.ts'
import type { Clock } from './contract/clock.ts'
import type { ClientInfo, Hooks, MaybePromise } from './contract/hooks.ts'
import type { Logger } from './contract/logger.ts'
import type { Message } from './contract/message.ts'
import { Entrance } from './entrance.ts'
import { ClusterView } from './host/cluster-view.ts'
import { LocalClient, type PublishOptions, type RequestOptions } from './host/local-client.ts'
import type { LocalSubscription, SubscribeOptions } from './host/local-subscription.ts'
import { brokerClosed, checkListenerOptions, checkOptions, checkPlugin, checkStream } from './options/option-checks.ts'
import type { BrokerOptions } from './options/options.ts'
import { PluginList, type AnyPlugin } from './plugin-list.ts'
import { revalidate } from './protocol/subscribe/revalidate.ts'
import { recover } from './recovery.ts'
import { SysTopics } from './sys-topics.ts'
import type { TypedSubscribeOptions, TypedSubscription } from './host/typed-subscription.ts'
import { TypedTopic, type TypedMessage } from './host/typed-topic.ts'

/**
 * Adds something to a broker through its public API. A plain `Plugin` attaches nothing to Clients, so that it fits every broker, whatever
 * the type of its `client.data`; a `Plugin<User>` may attach a `User`, and finds one.
 */
export interface Plugin<Data = unknown, Attached = unknown extends Data ? never : Data> {
  /** Told in errors and logs. */
  readonly name: string
  readonly hooks?: Hooks<Data, Attached>
  readonly authenticationMethods?: readonly AuthenticationMethod<Attached>[]
  /** Called once, in the order of the plugins, before the first connection. */
  setup? (broker: Broker<Data, Attached>): MaybePromise<void>
  /** Called once, in reverse order, after the last connection. */
  close? (): MaybePromise<void>
}

/** What a listener of a stream server adds to `broker.handle`. */
export interface ListenerOptions {
  /** Told to hooks as `connection.listener`. */
  name?: string
  /** Every connection begins with a PROXY protocol header, version 1 or 2, and has the address that it tells. Default false. */
  proxyProtocol?: boolean
}

/**
 * Builds a broker, reads what its store has kept, and sets its plugins up.
 * @throws MqttError for an option that is wrong, or a store that cannot be opened; whatever a plugin's `setup` throws
 */
export async function createBroker<Data = unknown> (options: BrokerOptions<Data> & { plugins?: readonly Plugin<Data, Data>[] } = {}): Promise<Broker<Data>> {
  const broker = new Broker<Data>(options)
  try {
    await broker.recover()
    for (const plugin of options.plugins ?? []) await broker.use(plugin)
    broker.start()
  } catch (error) {
    await broker.close()
    throw error
  }
  return broker
}

/**
 * An MQTT 3.1, 3.1.1 and 5.0 broker inside this process. Made by {@link createBroker}. `Data` is what its hooks find as `client.data`;
 * `Attached` differs only for a plain {@link Plugin}, which is not to attach any.
 */
export class Broker<Data = unknown, Attached = Data> {
  /** The version of Myelin. */
  readonly version: string = version
  /** The cluster that this broker is a node of; undefined when it is alone. */
  readonly cluster: ClusterView | undefined
  readonly #parts: BrokerParts
  readonly #entrance: Entrance
  readonly #local: LocalClient
  readonly #plugins: PluginList
  readonly #timers: (() => void)[] = []
  readonly #closeTimeoutMs: number
  readonly #sysIntervalMs: number
  #closing: Promise<void> | undefined = undefined

  /** @internal */
  constructor (options: BrokerOptions<Data>) {
    checkOptions(options as BrokerOptions)
    this.#parts = new BrokerParts(options as BrokerOptions)
    this.cluster = this.#parts.cluster === undefined ? undefined : new ClusterView(this.#parts.cluster)
    this.#closeTimeoutMs = options.closeTimeoutMs ?? 2_000
    this.#entrance = new Entrance(this.#parts)
    this.#local = new LocalClient(this.#parts)
    this.#plugins = new PluginList(this.#parts)
    this.#sysIntervalMs = options.sysIntervalMs ?? 10_000
    this.#register(options as BrokerOptions)
  }

  /** What the host gave itself comes before all plugins. */
  #register ({ hooks, authenticationMethods }: BrokerOptions): void {
    try {
      if (hooks !== undefined) this.#parts.hooks.add(hooks)
      this.#plugins.addMethods(authenticationMethods ?? [])
    } catch (error) {
      this.#parts.pressure.close()
      throw error
    }
  }

  /** @internal */
  recover (): Promise<void> { return recover(this.#parts) }

  /** @internal From here on it looks after what falls due: plugins must be there, since a Will Message may be. */
  start (): void {
    const { clock } = this.#parts
    this.#timers.push(clock.every(roundMs, () => { this.#sweep() }))
    if (this.#sysIntervalMs === 0) return
    const topics = new SysTopics(this.#parts, version, this.#sysIntervalMs)
    topics.publish()
    this.#timers.push(clock.every(this.#sysIntervalMs, () => { topics.publish() }))
  }

  /** The host's logger: for plugins. */
  get logger (): Logger { return this.#parts.logger }

  /** The host's clock: for plugins. */
  get clock (): Clock { return this.#parts.clock }

  /** The limits in force. */
  get limits (): Readonly<Limits> { return this.#parts.limits }

  /** What the broker has counted since it was built. */
  get metrics (): Readonly<Metrics> { return this.#parts.metrics }

  /** The Clients that are connected. */
  clients (): IterableIterator<ClientInfo<Data>> {
    return this.#entrance.connections.clients() as IterableIterator<ClientInfo<Data>>
  }

  /**
   * Serves MQTT on a stream: `net.createServer(broker.handle)`, or any `tls.Server`, unix socket or Duplex.
   * @throws MqttError for what is no stream; never for what happens on one
   */
  readonly handle = (stream: Duplex): void => {
    checkStream(stream)
    this.#entrance.accept(stream, undefined)
  }

  /** A `handle` with a name of its own, or one that expects the PROXY protocol. */
  listener (options: ListenerOptions = {}): (stream: Duplex) => void {
    checkListenerOptions(options)
    const { name, proxyProtocol = false } = options
    return stream => {
      checkStream(stream)
      if (proxyProtocol) this.#entrance.acceptProxied(stream, name)
      else this.#entrance.accept(stream, name)
    }
  }

  /**
   * Serves MQTT over WebSocket on one path of an HTTP or HTTPS server (section 6), to the pages of `origin` and whom `verify` lets in;
   * upgrades on other paths are left to the host.
   * @returns the way to detach; connections that are open stay
   * @throws MqttError for a wrong option, or a path that is taken
   */
  attach (server: EventEmitter, options: WebSocketOptions = {}): () => void {
    return this.#entrance.attach(server, options)
  }

  /** Takes over one upgrade that the host has routed here, whatever its path. What is wrong is answered on the socket. @throws MqttError for what is no socket */
  handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer, options: UpgradeOptions = {}): void {
    checkStream(socket)
    this.#entrance.handleUpgrade(request, socket, head, options)
  }

  /**
   * Publishes a message from this process. `onPublish` hooks apply; authorization does not, since the host is who decides.
   * @returns a promise that resolves when the message was routed
   * @throws MqttError for a Topic Name that is none, a wrong option, a hook that failed, or a closed broker
   */
  publish (topicName: string, payload: string | Uint8Array, options?: PublishOptions): Promise<void>
  /**
   * The same with a typed topic: `broker.publish(temperature, { id: '7' }, { celsius: 21 })`.
   * @throws InvalidMessage, too, for a value that its schema refuses
   */
  publish<Parameters, Input> (topic: TypedTopic<Parameters, unknown, Input>, parameters: Parameters, value: Input, options?: PublishOptions): Promise<void>
  publish (topic: string | TypedTopic<unknown, unknown, unknown>, first: unknown, second?: unknown, third?: PublishOptions): Promise<void> {
    if (topic instanceof TypedTopic) return this.#local.publishTyped(topic, first, second, third ?? {})
    return this.#local.publish(topic, first as string, (second ?? {}))
  }

  /**
   * Subscribes in this process: `for await (const message of broker.subscribe('a/+', { qos: 1 }))`. Going on to the next message
   * acknowledges the one before.
   * @throws MqttError for a Topic Filter that is none, a wrong option, or a closed broker
   */
  subscribe (topicFilter: string, options?: SubscribeOptions): LocalSubscription
  /** The same with a function that is called for each message; the next one waits for its promise. Its errors are logged. */
  subscribe (topicFilter: string, listener: (message: Message) => MaybePromise<void>, options?: SubscribeOptions): LocalSubscription
  /** The same with a typed topic; messages that do not fit are left out, and told to `onInvalid` or logged. */
  subscribe<Parameters, Output> (topic: TypedTopic<Parameters, Output, never>, options?: TypedSubscribeOptions): TypedSubscription<Parameters, Output>
  subscribe<Parameters, Output> (
    topic: TypedTopic<Parameters, Output, never>, listener: (message: TypedMessage<Parameters, Output>) => MaybePromise<void>, options?: TypedSubscribeOptions,
  ): TypedSubscription<Parameters, Output>
  subscribe (
    topic: string | TypedTopic<unknown, unknown, never>, first?: TypedSubscribeOptions | ((message: never) => MaybePromise<void>), second?: TypedSubscribeOptions,
  ): LocalSubscription | TypedSubscription<unknown, unknown> {
    if (second !== undefined && typeof first !== 'function') throw optionInvalid('listener', 'a function', first)
    const options = typeof first === 'function' ? second : first
    const subscription = topic instanceof TypedTopic ? this.#local.subscribeTyped(topic, options) : this.#local.subscribe(topic, options)
    if (typeof first === 'function') void this.#local.consume(subscription, first as (message: object) => MaybePromise<void>)
    return subscription
  }

  /** Ends every subscription of this process to that Topic Filter; false when there was none. */
  unsubscribe (topicFilter: string): boolean { return this.#local.unsubscribe(topicFilter) }

  /**
   * Publishes a request and waits for the first response that carries its Correlation Data (section 4.10).
   * @throws MqttError when none comes in time; the signal's reason when it is aborted
   */
  request (topicName: string, payload: string | Uint8Array, options: RequestOptions = {}): Promise<Message> {
    return this.#local.request(topicName, payload, options)
  }

  /**
   * Registers hooks behind those that are there; the returned function takes them out again.
   * @throws MqttError for a name that is no hook
   */
  hook (hooks: Hooks<Data, Attached>): () => void {
    return this.#parts.hooks.add(hooks as unknown as Hooks)
  }

  /**
   * Adds a plugin and sets it up.
   * @throws MqttError for what is no plugin, or when its name is taken; whatever its `setup` throws, after which its hooks are gone again
   */
  async use (plugin: Plugin<Data, Attached>): Promise<void> {
    if (this.#parts.isClosing) throw brokerClosed()
    checkPlugin('plugin', plugin)
    await this.#plugins.add(plugin as unknown as AnyPlugin, () => plugin.setup?.(this))
  }

  /** Asks `authorizeSubscribe`, `authorizeTopic` and `authorizeDeliver` again about all that was granted, and takes back what they refuse now. */
  revalidate (): Promise<void> { return revalidate(this.#parts) }

  /** Ends a Client's connection; its Session stays. False when it is not connected. */
  disconnect (clientIdentifier: string, reasonCode: ReasonCode = ReasonCode.administrativeAction): boolean {
    const sink = this.#parts.sessions.get(clientIdentifier)?.sink
    sink?.disconnect(reasonCode)
    return sink !== undefined
  }

  /**
   * Shuts down: nobody is let in any more, MQTT 5.0 Clients get Server shutting down with the Server Reference, connections have
   * `closeTimeoutMs` to end, plugins are closed. Will Messages are not published. The host's servers are the host's to close.
   */
  close (): Promise<void> {
    return this.#closing ??= this.#close()
  }

  [Symbol.asyncDispose] (): Promise<void> { return this.close() }

  async #close (): Promise<void> {
    this.#parts.isClosing = true
    this.#local.close()
    await this.#entrance.close(this.#closeTimeoutMs)
    for (const stop of this.#timers) stop()
    this.#parts.pressure.close()
    try {
      await this.#plugins.close()
    } finally {
      await this.#closeStore()
    }
  }

  /** After the plugins, which may have had something to publish. */
  async #closeStore (): Promise<void> {
    const { journal, cluster } = this.#parts
    try {
      if (journal?.isOpen === true) await cluster?.close()
      await journal?.close()
    } catch (error) {
      this.#parts.logger.error({ err: error }, 'the store could not be closed')
      throw error
    }
  }

  #sweep (): void {
    this.#entrance.connections.sweep()
    this.#parts.sessions.sweep()
    if (this.metrics.clientsConnected > 0) this.#parts.journal?.beat()
    this.#parts.router.sweep(this.#parts.clock.now())
  }
}
