import { randomUUID } from 'node:crypto'
import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { createBroker, defaultLimits, optionInvalid, type Broker, type ConnectionInfo, type LocalSubscription, type MaybePromise, type Message } from '../../lib/index.ts'
import { answerOf } from './answer.ts'
import { Bridge } from './bridge.ts'
import { AedesClient, unavailable } from './client.ts'
import type { AedesEvents } from './events.ts'
import { brokerOptions, checkOptions, hasAuthentication, type AedesHandlers, type AedesOptions } from './options.ts'
import { publishPacket, type AedesPublishPacket, type PublishPacket } from './packets.ts'

type Deliver = (packet: AedesPublishPacket, done: () => void) => unknown
type Callback = (error?: Error) => void

/** @throws MqttError for an event that would never come */
function checkEvent (event: unknown): void {
  if (event === 'ping' || event === 'ack') throw optionInvalid('event', 'one that is available: Myelin does not tell of each PINGREQ and acknowledgement', event)
}

/**
 * Myelin with the face of Aedes, so that a program that was written for Aedes can move to Myelin in steps. `docs/migrating-from-aedes.md` says
 * what is the same, what differs, and what to write in its place.
 *
 * @example
 * const aedes = await Aedes.createBroker()
 * createServer(aedes.handle).listen(1883)
 */
export class Aedes extends EventEmitter<AedesEvents> implements AedesHandlers {
  /** Random unless the option `id` gives it. */
  readonly id: string
  preConnect: AedesHandlers['preConnect']
  authenticate: AedesHandlers['authenticate']
  authorizePublish: AedesHandlers['authorizePublish']
  authorizeSubscribe: AedesHandlers['authorizeSubscribe']
  authorizeForward: AedesHandlers['authorizeForward']
  published: AedesHandlers['published']
  readonly #options: AedesOptions
  readonly #bridge: Bridge
  /** By Topic Filter and function, which together are the key. */
  readonly #subscriptions = new Map<string, Map<Deliver, LocalSubscription>>()
  #listening: Promise<Broker> | undefined = undefined
  #broker: Broker | undefined = undefined
  #closing: Promise<void> | undefined = undefined
  /** Whose stream the broker is being given just now. */
  #arriving: AedesClient | undefined = undefined
  #stopHeartbeat: (() => void) | undefined = undefined

  /** @throws MqttError for an option that is unknown, wrong, or not available here */
  constructor (options: AedesOptions = {}) {
    super()
    checkOptions(options)
    this.#options = options
    this.id = options.id ?? randomUUID()
    const { preConnect, authenticate, authorizePublish, authorizeSubscribe, authorizeForward, published } = options
    Object.assign(this, { preConnect, authenticate, authorizePublish, authorizeSubscribe, authorizeForward, published })
    const arrived = (connection: ConnectionInfo): AedesClient => this.#arriving ?? this.#newClient(undefined, connection.request)
    this.#bridge = new Bridge({ aedes: this, arrived, tell: this.#tell, isOpen: !hasAuthentication(options), limits: { ...defaultLimits, ...options.myelin?.limits } })
    EventEmitter.prototype.on.call(this, 'newListener', checkEvent) // an event of every emitter, and none of Aedes
  }

  /**
   * Makes a broker that is ready.
   * @throws MqttError for a wrong option; whatever its store or plugins throw
   */
  static async createBroker (options?: AedesOptions): Promise<Aedes> {
    const aedes = new Aedes(options)
    await aedes.listen()
    return aedes
  }

  /** Makes the broker ready; `handle`, `publish` and `subscribe` wait for it by themselves. */
  async listen (): Promise<void> { await this.#ready() }

  get connectedClients (): number { return this.#broker?.metrics.clientsConnected ?? 0 }

  /** Who is connected, by Client Identifier. */
  get clients (): Readonly<Partial<Record<string, AedesClient>>> { return this.#bridge.clients }

  /** @throws MqttError always: Myelin has no emitter that a program could listen to */
  get mq (): never { throw unavailable('aedes.mq', 'aedes.subscribe and aedes.publish') }

  /** @throws MqttError always: Myelin has stores of its own */
  get persistence (): never { throw unavailable('aedes.persistence', 'myelin: { persistence } when the broker is made') }

  get closed (): boolean { return this.#closing !== undefined }

  /** Packets that the broker has published. */
  get counter (): number { return this.#bridge.counter }

  /** Serves MQTT on a stream: `net.createServer(aedes.handle)`; for a WebSocket with the request of its upgrade. */
  readonly handle = (stream: Duplex, request?: IncomingMessage): AedesClient => {
    const client = this.#newClient(stream, request instanceof Object ? request : undefined)
    stream.on('error', () => undefined) // nobody else listens until the broker is ready
    this.#soon(broker => { this.#accept(broker, stream, client) }).catch((error: unknown) => {
      stream.destroy()
      this.emit('connectionError', client, error as Error)
    })
    return client
  }

  /** Publishes a message, for which nobody is asked. The callback is called once it was routed. */
  publish (packet: PublishPacket, callback?: Callback): void {
    const { topic, payload = '', qos = 0, retain = false, properties } = packet
    this.#settle(this.#soon(broker => broker.publish(topic, payload, { qos, retain, ...(properties === undefined ? {} : { properties }) })), callback)
  }

  /** Subscribes in this process: the next packet comes when `deliver` has called back. Retained messages are not sent. */
  subscribe (topic: string, deliver: Deliver, callback?: Callback): void {
    this.#settle(this.#soon(broker => { this.#subscribe(broker, topic, deliver) }), callback)
  }

  /** Ends the subscription with that topic and that function. */
  unsubscribe (topic: string, deliver: Deliver, callback?: Callback): void {
    this.#settle(this.#soon(() => { this.#unsubscribe(topic, deliver) }), callback)
  }

  /** Ends all connections and the broker; the callback is called when that is done, whoever began it. */
  close (callback?: Callback): void {
    this.#settle(this.#closing ??= this.#close(), callback)
  }

  #ready (): Promise<Broker> { return this.#listening ??= this.#listen() }

  /** At once when the broker is ready, as Aedes does it: no packet slips in between a call and what it does. */
  async #soon<T> (work: (broker: Broker) => MaybePromise<T>): Promise<T> { return await work(this.#broker ?? await this.#ready()) }

  async #listen (): Promise<Broker> {
    const options = brokerOptions(this.#options)
    const broker = await createBroker({ ...options, plugins: [{ name: 'aedes', hooks: this.#bridge.hooks }, ...options.plugins ?? []] })
    this.#broker = broker
    this.#stopHeartbeat = broker.clock.every(this.#options.heartbeatInterval ?? 60_000, () => { this.#tell('heartbeat', this.id) })
    return broker
  }

  async #close (): Promise<void> {
    const broker = await this.#ready()
    this.#stopHeartbeat?.()
    await broker.close()
    this.emit('closed')
  }

  /** The hook `authorizeConnection` runs before `handle` returns: so it knows whose connection this is. */
  #accept (broker: Broker, stream: Duplex, client: AedesClient): void {
    this.#arriving = client
    try {
      broker.handle(stream)
    } finally {
      this.#arriving = undefined
    }
  }

  #newClient (stream: Duplex | undefined, request: IncomingMessage | undefined): AedesClient {
    return new AedesClient({ disconnect: clientIdentifier => { this.#broker?.disconnect(clientIdentifier) } }, stream, request)
  }

  #subscribe (broker: Broker, topic: string, deliver: Deliver): void {
    const listeners = this.#subscriptions.get(topic) ?? new Map<Deliver, LocalSubscription>()
    if (listeners.has(deliver)) return
    const onMessage = async (message: Message): Promise<void> => { await answerOf<unknown>(done => deliver(publishPacket(message, this.id, this.counter), done)) }
    listeners.set(deliver, broker.subscribe(topic, onMessage, { qos: 2, retainHandling: 2 }))
    this.#subscriptions.set(topic, listeners)
  }

  #unsubscribe (topic: string, deliver: Deliver): void {
    const listeners = this.#subscriptions.get(topic)
    listeners?.get(deliver)?.unsubscribe()
    listeners?.delete(deliver)
    if (listeners?.size === 0) this.#subscriptions.delete(topic)
  }

  /** Under `$SYS/<id>/`, as long as there is a broker. */
  readonly #tell = (topic: string, payload: string): void => {
    if (!this.closed) this.publish({ topic: `$SYS/${this.id}/${topic}`, payload })
  }

  /** Errors that nobody has asked for are logged. */
  #settle (work: Promise<unknown>, callback: Callback | undefined): void {
    work.then(() => { callback?.() }, (error: unknown) => {
      if (callback === undefined) this.#broker?.logger.error({ err: error }, 'a call of Aedes without a callback failed')
      else callback(error as Error)
    })
  }
}
