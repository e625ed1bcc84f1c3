import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { ErrorCode, MqttError, ReasonCode, type ConnectionInfo, type ProtocolVersion } from '../../lib/index.ts'
import type { ConnectPacket, Will } from './packets.ts'

/** What the client needs of its broker. */
export interface ClientOwner {
  disconnect (clientIdentifier: string): void
}

interface ClientEvents {
  connected: []
  error: [error: Error]
  close: []
}

/**
 * A Client as Aedes shows it. `publish`, `subscribe`, `unsubscribe` and `emptyOutgoingQueue` of a single Client are not there: what reaches
 * a Client is decided by its subscriptions alone.
 */
export class AedesClient extends EventEmitter<ClientEvents> {
  /** Null until CONNECT was read. */
  id: string | null = null
  /** Null until CONNECT was read. */
  version: ProtocolVersion | null = null
  clean: boolean = true
  will: Will | undefined = undefined
  /** The stream that was given to `handle`; undefined for a connection that came through Myelin's own `attach` or `listener`. */
  readonly conn: Duplex | undefined
  /** The HTTP request of a WebSocket. */
  readonly req: IncomingMessage | undefined
  connecting: boolean = false
  connected: boolean = false
  closed: boolean = false
  /** Address, certificate and listener, as every hook of Myelin has them; undefined until the broker has taken the stream. */
  connection: ConnectionInfo | undefined = undefined
  /** Why a handler has refused it. */
  refusal: Error | undefined = undefined
  readonly #owner: ClientOwner

  /** @internal */
  constructor (owner: ClientOwner, conn: Duplex | undefined, req: IncomingMessage | undefined) {
    super()
    this.#owner = owner
    this.conn = conn
    this.req = req
  }

  /** @internal CONNECT was read. */
  introduce ({ clientId, protocolVersion, clean, will }: ConnectPacket): void {
    this.clean = clean
    this.will = will
    this.accept(clientId, protocolVersion)
  }

  /** @internal It has an identifier. */
  accept (id: string, version: ProtocolVersion): void {
    this.id = id
    this.version = version
    this.connecting = true
  }

  /** @internal */
  welcome (): void {
    this.connecting = false
    this.connected = true
    this.emit('connected')
  }

  /** @internal */
  farewell (): void {
    this.connecting = false
    this.connected = false
    this.closed = true
    this.emit('close')
  }

  /** @internal Tells listeners of the client itself; Node.js throws where there are none. */
  fail (error: Error): void {
    if (this.listenerCount('error') > 0) this.emit('error', error)
  }

  /** Ends the connection. */
  close (callback?: () => void): void {
    if (callback !== undefined) {
      if (this.closed) queueMicrotask(callback)
      else this.once('close', callback)
    }
    if (this.connected && this.id !== null) this.#owner.disconnect(this.id)
    else this.conn?.destroy()
  }

  /** @throws MqttError always: publish to a topic that the Client has subscribed to */
  publish (): never { throw unavailable('client.publish', 'aedes.publish to a topic that it alone may subscribe to') }

  /** @throws MqttError always: a Client subscribes by itself */
  subscribe (): never { throw unavailable('client.subscribe', 'a SUBSCRIBE of the Client') }

  /** @throws MqttError always: rights are taken back by `broker.revalidate()` */
  unsubscribe (): never { throw unavailable('client.unsubscribe', 'authorizeSubscribe and broker.revalidate() of Myelin') }

  /** @throws MqttError always: a Session ends with its Client's Clean Start or its expiry */
  emptyOutgoingQueue (): never { throw unavailable('client.emptyOutgoingQueue', 'limits.maximumQueuedMessages and the Session Expiry Interval') }
}

/** What this facade does not have. */
export function unavailable (name: string, instead: string): MqttError {
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `${name} is not available: use ${instead}`)
}
