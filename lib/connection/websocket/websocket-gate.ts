import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer, type Server, type ServerOptions } from 'ws'
import { MqttError, NoAnswerInTime, optionInvalid } from '../../base/errors.ts'
import type { Clock } from '../../contract/clock.ts'
import type { ConnectionInfo, MaybePromise } from '../../contract/hooks.ts'
import type { Logger } from '../../contract/logger.ts'
import { webSocketConnectionInfo } from '../connection-info.ts'
import type { StartableTransport } from '../connections.ts'
import { forwardedAddress } from '../proxy/forwarded.ts'
import { checkHeaders, refuse } from './upgrade-refusal.ts'
import { WaitingUpgrade } from './waiting-upgrade.ts'
import { checkHttpServer, checkUpgradeOptions, checkWebSocketOptions, type UpgradeOptions, type UpgradeRefusal, type Verified, type VerifyResult, type WebSocketOptions } from './websocket-options.ts'
import { MqttWebSocket, WebSocketTransport } from './websocket.ts'

/** What a gate takes from its broker. */
export interface WebSocketGateOptions {
  /** Bytes; a frame may be twice as large, and 1 MiB at least. */
  readonly maximumPacketSize: number
  /** Makes `ConnectionInfo.id`. */
  readonly nextConnectionId: () => number
  /** Whether one more may wait for `verify`. */
  readonly hasRoom: () => boolean
  /** Waits under the deadline of hooks, and logs what fails. */
  readonly guard: <T>(name: string, ask: () => MaybePromise<T>) => Promise<T>
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

/** Marks upgrade listeners by which paths are theirs; shared by copies of this module, so that several brokers on one server know each other. */
const isMountPath: unique symbol = Symbol.for('myelin.isMountPath')

type IsPath = (path: string) => boolean

interface Mount {
  (request: IncomingMessage, socket: Duplex, head: Buffer): void
  readonly [isMountPath]: IsPath
}

/** An upgrade on its way. */
interface Upgrade {
  readonly request: IncomingMessage
  readonly socket: Duplex
  readonly head: Buffer
  readonly options: UpgradeOptions
  readonly accept: AcceptWebSocket
}

type Verify = NonNullable<UpgradeOptions['verify']>
type Visitor = Partial<Pick<Verified, 'remoteAddress'>> & { readonly identity?: unknown }

/** Where HTTP requests become WebSockets: one for each broker, for all its servers. */
export class WebSocketGate {
  readonly #server: Server<typeof MqttWebSocket>
  readonly #options: WebSocketGateOptions
  readonly #detachers = new Set<() => void>()
  /** Upgrades that `verify` is looking at. */
  readonly #waiting = new Set<WaitingUpgrade>()

  constructor (options: WebSocketGateOptions) {
    this.#options = options
    this.#server = new WebSocketServer<typeof MqttWebSocket>(serverOptions(options.maximumPacketSize))
  }

  /** How many wait for `verify`. */
  get waiting (): number { return this.#waiting.size }

  /** Takes over an upgrade that the host has routed here. Never throws: what is wrong is answered on the socket. */
  handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer, options: UpgradeOptions, accept: AcceptWebSocket): void {
    this.#answer({ request, socket, head, options, accept }).catch((error: unknown) => {
      this.#options.logger.error({ err: error }, 'WebSocket upgrade failed')
      socket.destroy()
    })
  }

  /**
   * Answers upgrades on one path of an HTTP server and leaves the others to the host's own listeners. Returns the way to detach,
   * which leaves open connections alone. Throws {@link MqttError} `MQTT_OPTION_INVALID`.
   */
  attach (server: EventEmitter, options: WebSocketOptions, accept: AcceptWebSocket): () => void {
    checkHttpServer(server)
    checkWebSocketOptions(options)
    const { path = '/mqtt', ...others } = options
    if (typeof path === 'string') checkPathIsFree(server, path)
    const mount = this.#newMount(server, this.#pathTest(path), others, accept)
    const detach = (): void => { server.off('upgrade', mount); this.#detachers.delete(detach) }
    server.prependListener('upgrade', mount) // so that `verify` knows of an upgrade before those who take every one that comes
    this.#detachers.add(detach)
    return detach
  }

  #newMount (server: EventEmitter, isPath: IsPath, options: UpgradeOptions, accept: AcceptWebSocket): Mount {
    const onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
      const owner = ownerOf(server, pathOf(request))
      if (owner === mount) this.handleUpgrade(request, socket, head, options, accept)
      else if (owner === undefined && isInCharge(server, mount)) refuse(socket, { status: 404 })
    }
    const mount: Mount = Object.assign(onUpgrade, { [isMountPath]: isPath } as const)
    return mount
  }

  /** Detaches from all servers and answers later upgrades with 503, as those that wait; open connections are the broker's to end. */
  close (): void {
    for (const detach of [...this.#detachers]) detach()
    for (const waiting of [...this.#waiting]) refuse(waiting.release().socket, { status: 503 })
    this.#server.close()
  }

  /** Never throws: it is asked where nobody would catch that. */
  #pathTest (path: string | IsPath): IsPath {
    if (typeof path === 'string') return asked => asked === path
    return asked => {
      try {
        const answer: unknown = path(asked)
        return answer === true // a promise says nothing
      } catch (error) {
        this.#options.logger.error({ err: error }, 'the function "path" of a WebSocket path failed')
        return false
      }
    }
  }

  async #answer (upgrade: Upgrade): Promise<void> {
    const { request, head, options } = upgrade
    checkUpgradeOptions(options)
    if (!isOriginAllowed(options.origin, request.headers.origin)) this.#refuse(upgrade, { status: 403 })
    else if (!offersMqtt(request)) this.#refuse(upgrade, { status: 400 }) // [MQTT-6.0.0-3]
    else if (options.verify === undefined) this.#open(upgrade, head, options)
    else if (this.#options.hasRoom()) await this.#verify(upgrade, options.verify)
    else this.#refuse(upgrade, { status: 503 })
  }

  async #verify (upgrade: Upgrade, verify: Verify): Promise<void> {
    const waiting = new WaitingUpgrade(upgrade.socket, upgrade.head, this.#waiting)
    const verdict = await this.#verdict(verify, upgrade.request)
    if (waiting.isOver) return
    const { head } = waiting.release()
    if ('status' in verdict) this.#refuse(upgrade, verdict)
    else this.#open(upgrade, head, verdict)
  }

  async #verdict (verify: Verify, request: IncomingMessage): Promise<Visitor | UpgradeRefusal> {
    const asked = (async () => verify(request))() // called at once; what it throws is a rejection
    try {
      return await this.#options.guard('verify', async () => verdictOf(await asked))
    } catch (error) { // and it was logged
      const isLate = error instanceof MqttError && error.cause instanceof NoAnswerInTime
      return { status: isLate ? 503 : 500 }
    }
  }

  #open ({ request, socket, options, accept }: Upgrade, head: Buffer, { identity, remoteAddress }: Visitor): void {
    this.#server.handleUpgrade(request, socket, head, webSocket => {
      const address = remoteAddress ?? forwardedAddress(request.headers['x-forwarded-for'], options.trustProxy)
      accept(new WebSocketTransport(webSocket, socket, this.#infoOf(request, socket, address, identity, options.listener)))
    })
  }

  #infoOf (request: IncomingMessage, socket: Duplex, address: string | undefined, identity: unknown, listener: string | undefined): ConnectionInfo {
    const { clock, nextConnectionId } = this.#options
    return webSocketConnectionInfo(nextConnectionId(), request, socket, address, identity, listener, clock.now())
  }

  #refuse ({ request, socket }: Upgrade, refusal: UpgradeRefusal): void {
    this.#options.logger.debug({ status: refusal.status, url: pathOf(request), origin: request.headers.origin }, 'WebSocket upgrade refused')
    refuse(socket, refusal)
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

function isOriginAllowed (allowed: UpgradeOptions['origin'], origin: string | undefined): boolean {
  if (typeof allowed === 'function') {
    const answer: unknown = allowed(origin)
    return answer === true // a promise allows nothing
  }
  return allowed === undefined || origin === undefined || (typeof allowed === 'string' ? allowed === origin : allowed.includes(origin))
}

/** Whatever is not understood throws, and so refuses. */
function verdictOf (answer: VerifyResult): Visitor | UpgradeRefusal {
  if (answer === true) return {}
  if (answer === false) return { status: 403 }
  if (typeof answer === 'number') return checked({ status: answer })
  if (Object(answer) !== answer || !('status' in answer || 'identity' in answer)) throw new Error('it must answer true, false, a status, { identity } or { status, headers }')
  return 'status' in answer ? checked(answer) : visitorOf(answer)
}

function visitorOf (verified: Verified): Visitor | UpgradeRefusal {
  const { identity, remoteAddress = '' }: { identity: unknown, remoteAddress?: unknown } = verified
  if (typeof remoteAddress !== 'string') throw new Error('remoteAddress must be a text')
  return identity === undefined || identity === null ? { status: 401 } : verified
}

function checked (refusal: UpgradeRefusal): UpgradeRefusal {
  const { status, headers = {} } = refusal
  if (!(Number.isInteger(status) && status >= 300 && status <= 599)) throw new Error(`${status} is no status that refuses: those are 300 to 599`)
  checkHeaders(headers)
  return refusal
}

function pathOf (request: IncomingMessage): string {
  return String(request.url).replace(/\?.*/s, '')
}

/** The first of the listeners that wants upgrades on that path: two that answered one would spoil the socket for both. */
function ownerOf (server: EventEmitter, path: string): object | undefined {
  return server.listeners('upgrade').find(listener => isMount(listener) && listener[isMountPath](path))
}

/** Whether `mount` has to answer for a path that nobody wants: it is the first, and all are of this kind. */
function isInCharge (server: EventEmitter, mount: Mount): boolean {
  const listeners = server.listeners('upgrade')
  return listeners[0] === mount && listeners.every(isMount)
}

function checkPathIsFree (server: EventEmitter, path: string): void {
  if (ownerOf(server, path) !== undefined) throw optionInvalid('path', 'a path that this server has not got yet', path)
}

function isMount (listener: object): listener is Mount { return isMountPath in listener }
