import type { Test } from 'tap'
import { EventEmitter, once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocket, type ClientOptions } from 'ws'
import { silentLogger, systemClock } from '../../../lib/index.ts'
import type { StartableTransport } from '../../../lib/connection/connections.ts'
import { WebSocketGate, type AcceptWebSocket, type WebSocketGateOptions } from '../../../lib/connection/websocket/websocket-gate.ts'
import type { WebSocketOptions } from '../../../lib/connection/websocket/websocket-options.ts'

/** What a connection would be, kept to what the transport tells it. */
export class FakeListener extends EventEmitter {
  readonly transport: StartableTransport
  readonly chunks: Buffer[] = []
  readonly ends: (Error | undefined)[] = []
  drains = 0

  constructor (transport: StartableTransport) {
    super()
    this.transport = transport
  }

  get bytes (): Buffer { return Buffer.concat(this.chunks) }
  received (chunk: Buffer): void { this.chunks.push(chunk); this.emit('received') }
  drained (): void { this.drains++; this.emit('drained') }
  ended (error: Error | undefined): void { this.ends.push(error); this.emit('ended') }

  async receivedBytes (length: number): Promise<Buffer> {
    while (this.bytes.length < length) await once(this, 'received')
    return this.bytes
  }

  async hasEnded (): Promise<Error | undefined> {
    if (this.ends.length === 0) await once(this, 'ended')
    return this.ends[0]
  }
}

export function started (transport: StartableTransport): FakeListener {
  const listener = new FakeListener(transport)
  transport.start(listener)
  return listener
}

export type DialOptions = { path?: string, protocols?: string[] } & ClientOptions

export interface Setup {
  readonly server: Server
  readonly port: number
  readonly gate: WebSocketGate
  readonly sockets: Duplex[]
  readonly errors: string[]
  readonly accept: AcceptWebSocket
  readonly open: (options?: DialOptions) => Promise<{ client: WebSocket, listener: FakeListener }>
  readonly statusOf: (options?: DialOptions) => Promise<number | undefined>
}

export function makeGate (errors: string[] = [], options: Partial<WebSocketGateOptions> = {}): WebSocketGate {
  let lastId = 0
  const logger = { ...silentLogger, error: (_: object, message: string) => { errors.push(message) } }
  return new WebSocketGate({ maximumPacketSize: 1024, nextConnectionId: () => ++lastId, hasRoom: () => true, guard: async (_name, ask) => ask(), clock: systemClock, logger, ...options })
}

export async function listen (t: Test, server: Server): Promise<number> {
  const sockets = new Set<Duplex>()
  server.on('connection', socket => { sockets.add(socket) })
  server.listen(0, '127.0.0.1')
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

export async function setup (t: Test, options: WebSocketOptions | undefined = {}): Promise<Setup> {
  const server = createServer((_, response) => { response.end('the host') })
  const port = await listen(t, server)
  const errors: string[] = []
  const sockets: Duplex[] = []
  const gate = makeGate(errors)
  const accepted = new EventEmitter()
  const accept: AcceptWebSocket = transport => {
    accepted.emit('accepted', started(transport))
  }
  server.on('connection', socket => { sockets.push(socket) })
  gate.attach(server, options, accept)
  const dial = ({ path = '/mqtt', protocols = ['mqtt'], ...rest }: DialOptions = {}): WebSocket =>
    new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols, { perMessageDeflate: false, ...rest })
  return {
    server, port, gate, sockets, errors, accept,
    async open (options) {
      const client = dial(options)
      client.on('error', () => undefined)
      const [[listener]] = await Promise.all([once(accepted, 'accepted') as Promise<[FakeListener]>, once(client, 'open')])
      return { client, listener }
    },
    statusOf: async options => new Promise(resolve => {
      const client = dial(options)
      client.on('error', () => { resolve(undefined) })
      client.on('open', () => { resolve(101); client.terminate() })
      client.on('unexpected-response', (_, response) => { resolve(response.statusCode); response.resume() })
    }),
  }
}

export async function closeCode (client: WebSocket): Promise<number> {
  const [code] = await once(client, 'close') as [number]
  return code
}

export async function frames (client: WebSocket, count: number): Promise<[string, boolean][]> {
  const result: [string, boolean][] = []
  return new Promise(resolve => {
    client.on('message', (data: Buffer, isBinary) => { if (result.push([data.toString(), isBinary]) === count) resolve(result) })
  })
}

export async function turns (count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}
