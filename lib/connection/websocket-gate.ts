import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type Server, type ServerOptions } from 'ws'
import { optionInvalid } from '../base/errors.ts'
import type { Clock } from '../contract/clock.ts'
import type { Logger } from '../contract/logger.ts'
import { webSocketConnectionInfo } from './connection-info.ts'
import type { StartableTransport } from './connections.ts'
import { forwardedAddress } from './forwarded.ts'
import { MqttWebSocket, WebSocketTransport } from './websocket.ts'

/** How a host offers MQTT over WebSocket (section 6). */
export interface WebSocketOptions {
  /** The path of the URL, compared exactly and without its query. Default `/mqtt`. */
  path?: string
  /** Told to hooks as `connection.listener`. */
  listener?: string
  /**
   * Which web pages may connect, as the browser names them: `https://example.org`. A list lets in whoever sends no
   * Origin, which every browser does; a function decides all. Default: everybody.
   */
  origins?: readonly string[] | ((origin: string | undefined) => boolean)
  /**
   * Whether `X-Forwarded-For` tells the Client's address: the number of proxies in front, or true for the leftmost
   * entry, which is safe only behind a proxy that replaces the header. Default false.
   */
  trustProxy?: boolean | number
}

/** What a gate takes from its broker. */
export interface WebSocketGateOptions {
  /** Bytes; a frame may be twice as large, and 1 MiB at least. */
  readonly maximumPacketSize: number
  /** Makes `ConnectionInfo.id`. */
  readonly nextConnectionId: () => number
  readonly clock: Clock
  readonly logger: Logger
}

/**
 * Takes a WebSocket that was let in: nothing is read from it before `transport.start`. It is told no more of its class, which would
 * bring the types of `ws` into the published ones.
 */
export type AcceptWebSocket = (transport: StartableTransport) => void

const subprotocol = 'mqtt'
const oldSubprotocol = 'mqttv3.1' // what clients of MQTT 3.1 ask for
const closeTimeoutMs = 5_000
const minimumFrameLimit = 1024 * 1024

/** Marks upgrade listeners with their path; shared by copies of this module, so that several brokers on one server know each other. */
const mountPath: unique symbol = Symbol.for('myelin.mountPath')

interface Mount {
  (request: IncomingMessage, socket: Duplex, head: Buffer): void
  readonly [mountPath]: string
}

/** Where HTTP requests become WebSockets: one for each broker, for all its servers. */
export class WebSocketGate {
  readonly #server: Server<typeof MqttWebSocket>
  readonly #options: WebSocketGateOptions
  readonly #detachers = new Set<() => void>()

  constructor (options: WebSocketGateOptions) {
    this.#options = options
    this.#server = new WebSocketServer<typeof MqttWebSocket>(serverOptions(options.maximumPacketSize))
  }

  /** Takes over an upgrade that the host has routed here; `path` has no meaning. Never throws: what is wrong is answered on the socket. */
  handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer, options: WebSocketOptions, accept: AcceptWebSocket): void {
    try {
      if (!isOriginAllowed(options.origins, request.headers.origin)) { refuse(socket, '403 Forbidden'); return }
      if (!offersMqtt(request)) { refuse(socket, '400 Bad Request'); return } // [MQTT-6.0.0-3]
      this.#server.handleUpgrade(request, socket, head, webSocket => {
        accept(new WebSocketTransport(webSocket, socket, this.#infoOf(request, socket, options)))
      })
    } catch (error) {
      this.#options.logger.error({ err: error }, 'WebSocket upgrade failed')
      socket.destroy()
    }
  }

  /**
   * Answers upgrades on one path of an HTTP server and leaves the others to the host's own listeners. Returns the way to detach,
   * which leaves open connections alone. Throws {@link MqttError} `MQTT_OPTION_INVALID`.
   */
  attach (server: EventEmitter, options: WebSocketOptions, accept: AcceptWebSocket): () => void {
    const path = options.path ?? '/mqtt'
    checkOptions(server, path, options)
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
      if (pathOf(request) === path) this.handleUpgrade(request, socket, head, options, accept)
      else if (isNobodys(server, mount, pathOf(request))) refuse(socket, '404 Not Found')
    }
    const mount: Mount = Object.assign(onUpgrade, { [mountPath]: path } as const)
    const detach = (): void => { server.off('upgrade', mount); this.#detachers.delete(detach) }
    server.on('upgrade', mount)
    this.#detachers.add(detach)
    return detach
  }

  /** Detaches from all servers and answers later upgrades with 503; open connections are the broker's to end. */
  close (): void {
    for (const detach of [...this.#detachers]) detach()
    this.#server.close()
  }

  #infoOf (request: IncomingMessage, socket: Duplex, options: WebSocketOptions): ReturnType<typeof webSocketConnectionInfo> {
    const forwardedFor = forwardedAddress(request.headers['x-forwarded-for'], options.trustProxy)
    return webSocketConnectionInfo(this.#options.nextConnectionId(), request, socket, forwardedFor, options.listener, this.#options.clock.now())
  }
}

function serverOptions (maximumPacketSize: number): ServerOptions<typeof MqttWebSocket> {
  const maxPayload = Math.max(2 * maximumPacketSize, minimumFrameLimit)
  const maxPieces = Math.max(16 * 1024, maxPayload >>> 8) // each piece costs memory of its own, however small it is
  const options = {
    noServer: true,
    WebSocket: MqttWebSocket,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload,
    maxFragments: maxPieces,
    maxBufferedChunks: maxPieces,
    closeTimeout: closeTimeoutMs,
    handleProtocols: selectSubprotocol,
  }
  return options
}

function offersMqtt (request: IncomingMessage): boolean {
  const offered = request.headers['sec-websocket-protocol']?.split(',').map(name => name.trim())
  return offered?.some(name => name === subprotocol || name === oldSubprotocol) === true
}

/** One of the two was offered, or the upgrade would have been refused. [MQTT-6.0.0-4] */
function selectSubprotocol (offered: Set<string>): string {
  return offered.has(subprotocol) ? subprotocol : oldSubprotocol
}

function isOriginAllowed (origins: WebSocketOptions['origins'], origin: string | undefined): boolean {
  if (typeof origins === 'function') {
    const answer: unknown = origins(origin)
    return answer === true // a promise allows nothing
  }
  return origins === undefined || origin === undefined || origins.includes(origin)
}

function pathOf (request: IncomingMessage): string {
  return String(request.url).replace(/\?.*/s, '')
}

/** Whether `mount` has to answer for a path that no listener will: it is the first, and all are of this kind. */
function isNobodys (server: EventEmitter, mount: Mount, path: string): boolean {
  const listeners = server.listeners('upgrade')
  return listeners[0] === mount && listeners.every(listener => mountPath in listener && listener[mountPath] !== path)
}

function checkOptions (server: EventEmitter, path: string, { trustProxy }: WebSocketOptions): void {
  if (!path.startsWith('/') || path.includes('?')) throw optionInvalid('path', 'a path that begins with "/" and has no query', path)
  if (typeof trustProxy === 'number' && !(Number.isInteger(trustProxy) && trustProxy >= 0)) {
    throw optionInvalid('trustProxy', 'a boolean or a number of proxies', trustProxy)
  }
  // Two brokers that answer one upgrade would spoil the socket for both.
  if (server.listeners('upgrade').some(listener => mountPath in listener && listener[mountPath] === path)) {
    throw optionInvalid('path', 'a path that this server has not got yet', path)
  }
}

/** Answers in plain HTTP. The peer may be gone already, which must not become an error of the process. */
function refuse (socket: Duplex, status: string): void {
  socket.on('error', destroySocket).once('finish', destroySocket)
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}

function destroySocket (this: Duplex): void {
  this.destroy()
}
