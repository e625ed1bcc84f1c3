import { messagesInFrame } from '../contract/emitter.ts'
import type { ClientInfo } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { DeliveryOptions, PacketSink } from '../contract/packet-sink.ts'
import type { QueueState } from '../contract/store.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import type { Share } from './delivery.ts'
import { Inbox } from './inbox.ts'
import { Outbox } from './outbox.ts'
import type { SessionLog } from './session-log.ts'
import type { SessionServices } from './session-services.ts'

/** A Session Expiry Interval that never ends (section 3.1.2.11.2). */
export const neverExpires = 0xffffffff

/** The Will Message of a connection (section 3.1.2.5). */
export interface Will {
  readonly message: Message
  /** Seconds (section 3.1.3.2.2). */
  readonly delayInterval: number
  /** Seconds that the message stays valid once published; undefined for ever. */
  readonly messageExpiryInterval: number | undefined
}

const noSubscriptions: ReadonlyMap<string, SubscriptionOptions> = new Map()

/** Session State (section 4.1): what is kept of a Client while it is connected and, if it wants, after. */
export class Session {
  readonly clientIdentifier: string
  /** By which the cluster knows it; 0 outside one, and for one of which it does not know. */
  number = 0
  /** Position in the inbox of this node when the Session became its own; what is older is not about it. */
  ownSince = 0
  readonly outbox: Outbox
  /** Seconds after the connection's end; 0 ends with it, 0xFFFFFFFF never. */
  sessionExpiryInterval = 0
  will: Will | undefined = undefined
  /** The Client that is connected, or was last. */
  client: ClientInfo | undefined = undefined
  /** How often it was another Client's, or its Client has authenticated anew: what was decided before that is about somebody else. */
  identities = 0
  // Not Infinity, of which the engine would keep a box of 16 bytes for each.
  /** Milliseconds since the epoch; undefined while connected, and for never. Kept by `Sessions`. */
  expiresAt: number | undefined = undefined
  willDueAt: number | undefined = undefined
  /** When `Sessions` will look at it next. */
  scheduledAt: number | undefined = undefined
  /** Where it is written down; undefined for one that ends with its connection and has no Will. */
  log: SessionLog | undefined = undefined
  #inbox: Inbox | undefined = undefined
  #subscriptions: Map<string, SubscriptionOptions> | undefined = undefined
  #sink: PacketSink | undefined = undefined

  constructor (clientIdentifier: string, services: SessionServices) {
    this.clientIdentifier = clientIdentifier
    this.outbox = new Outbox(this, services)
  }

  // Made on demand: most Clients never publish with QoS 2.
  get inbox (): Inbox { return this.#inbox ??= new Inbox() }

  /** Whether what it has in flight has not been read from the store yet. */
  get isToBeLoaded (): boolean { return this.log?.isLoaded === false }

  /** Whether it outlives the process, so that acknowledgements promise storage. */
  get isDurable (): boolean { return this.log?.isDurable === true }

  /** From here on it is written down. */
  keep (log: SessionLog): void {
    this.log = log
    if (!log.isDurable) return
    this.outbox.keep(log)
    this.inbox.keep(log)
  }

  /** Takes over what was found in the store: `load` reads the rest once its Client is back. */
  restore (log: SessionLog, queue: QueueState): void {
    this.keep(log)
    this.outbox.restoreQueue(queue, log)
  }

  /** It is another node's now: nothing of it is written, sent or dropped here any more. */
  abandon (): void {
    this.log?.abandon()
    this.will = undefined
    this.outbox.abandon()
  }

  /** @throws MqttError when the store cannot be read */
  async load (): Promise<void> {
    const { log } = this
    const claimed = await log?.claim()
    if (log === undefined || claimed === undefined || log.isLoaded) return
    log.isLoaded = true
    this.outbox.restoreInFlight(claimed.inFlight.map(record => log.delivery(record)))
    this.inbox.restore(claimed.received)
  }

  /** The connection, while there is one. */
  get sink (): PacketSink | undefined { return this.#sink }

  get isConnected (): boolean { return this.#sink !== undefined }

  /** Whether its Client has been told that it is connected, and takes messages. */
  get isAttached (): boolean { return this.outbox.isAttached }

  /** By Topic Filter as the Client wrote it. Only the router changes it, together with its tree. */
  get subscriptions (): ReadonlyMap<string, SubscriptionOptions> { return this.#subscriptions ?? noSubscriptions }

  setSubscription (topicFilter: string, options: SubscriptionOptions): void {
    this.#subscriptions ??= new Map()
    this.#subscriptions.set(topicFilter, options)
    this.log?.subscribe(topicFilter, options)
  }

  deleteSubscription (topicFilter: string): void {
    this.#subscriptions?.delete(topicFilter)
    this.log?.subscribe(topicFilter, undefined)
    if (this.#subscriptions?.size === 0) this.#subscriptions = undefined
  }

  /** A connection has come and can be ended; nothing is sent to it before `attach`. */
  connect (sink: PacketSink): void { this.#sink = sink }

  /** CONNACK must have been sent, since what waits follows at once [MQTT-3.1.4-5]. */
  attach (sink: PacketSink, receiveMaximum: number): void {
    this.#sink = sink
    this.outbox.attach(sink, receiveMaximum)
  }

  detach (): void {
    this.#sink = undefined
    this.outbox.detach()
  }

  deliver (message: Message, options: DeliveryOptions, share: Share | undefined): void {
    if (share === undefined && message.origin > 0 && message.origin < (this.ownSince + 1) * messagesInFrame) return // it has that by way of its former node
    this.outbox.deliver(message, options, share)
  }
}
