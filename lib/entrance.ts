import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { streamConnectionInfo, withProxyAddress } from './connection/connection-info.ts'
import { Connections, type StartableTransport } from './connection/connections.ts'
import { readProxyHeader } from './connection/proxy/proxied-stream.ts'
import type { ProxyAddress } from './connection/proxy/proxy-protocol.ts'
import { StraightWrites } from './connection/straight-writes.ts'
import { StreamTransport } from './connection/stream-transport.ts'
import { WebSocketGate } from './connection/websocket/websocket-gate.ts'
import type { UpgradeOptions, WebSocketOptions } from './connection/websocket/websocket-options.ts'
import type { BrokerServices } from './protocol/client/broker-services.ts'

/** Where everything that is to be a connection comes in: streams, those that a proxy says something before, and upgrades. */
export class Entrance {
  readonly connections: Connections
  readonly #services: BrokerServices
  readonly #gate: WebSocketGate
  /** Streams whose PROXY protocol header has not come yet. */
  readonly #unproxied = new Set<Duplex>()
  readonly #writes = new StraightWrites()
  #connectionCount = 0

  constructor (services: BrokerServices) {
    this.#services = services
    this.connections = new Connections(services, () => this.#unproxied.size + this.#gate.waiting)
    this.#gate = this.#newGate()
  }

  #newGate (): WebSocketGate {
    const { clock, logger, limits, hooks } = this.#services
    return new WebSocketGate({
      maximumPacketSize: limits.maximumPacketSize,
      nextConnectionId: () => ++this.#connectionCount,
      hasRoom: () => this.connections.makeRoom(),
      guard: (name, ask) => hooks.guard(name, ask),
      clock,
      logger,
    })
  }

  accept (stream: Duplex, listener: string | undefined, address?: ProxyAddress): void {
    if (this.#services.isClosing) {
      stream.destroy()
      return
    }
    const info = streamConnectionInfo(++this.#connectionCount, stream, listener, this.#services.clock.now())
    this.connections.accept(new StreamTransport(stream, withProxyAddress(info, address), this.#writes))
  }

  acceptProxied (stream: Duplex, listener: string | undefined): void {
    const { clock, logger, limits, isClosing } = this.#services
    if (isClosing || !this.connections.makeRoom()) {
      stream.on('error', () => undefined).destroy()
      return
    }
    this.#unproxied.add(stream)
    readProxyHeader(stream, clock, limits.connectTimeoutMs, (error, address) => {
      this.#unproxied.delete(stream)
      if (error === undefined) this.accept(stream, listener, address)
      else logger.warn({ err: error, listener }, error.message)
    })
  }

  attach (server: EventEmitter, options: WebSocketOptions): () => void {
    return this.#gate.attach(server, options, this.#acceptWebSocket)
  }

  handleUpgrade (request: IncomingMessage, socket: Duplex, head: Buffer, options: UpgradeOptions): void {
    this.#gate.handleUpgrade(request, socket, head, options, this.#acceptWebSocket)
  }

  readonly #acceptWebSocket = (transport: StartableTransport): void => { this.connections.accept(transport) }

  /** Nobody is let in any more, and who is there has so many milliseconds to leave. */
  async close (timeoutMs: number): Promise<void> {
    this.#gate.close()
    this.connections.closeAll()
    for (const stream of this.#unproxied) stream.destroy()
    await this.#drained(timeoutMs)
    this.connections.destroyAll()
  }

  #drained (timeoutMs: number): Promise<void> {
    return new Promise(resolve => {
      const stop = this.#services.clock.after(timeoutMs, resolve)
      void this.connections.drained().then(() => {
        stop()
        resolve()
      })
    })
  }
}
