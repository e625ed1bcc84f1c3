import t, { type Test } from 'tap'
import fc from 'fast-check'
import { EventEmitter, once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage, type Server } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { WebSocket, type ClientOptions } from 'ws'
import { silentLogger, systemClock } from '../lib/index.ts'
import { WebSocketGate, type AcceptWebSocket, type WebSocketGateOptions } from '../lib/connection/websocket-gate.ts'
import type { UpgradeOptions, VerifyResult, WebSocketOptions } from '../lib/connection/websocket-options.ts'
import type { StartableTransport } from '../lib/connection/connections.ts'
import { deferred } from './support/observe.ts'

/** What a connection would be, kept to what the transport tells it. */
class FakeListener extends EventEmitter {
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

function started (transport: StartableTransport): FakeListener {
  const listener = new FakeListener(transport)
  transport.start(listener)
  return listener
}

type DialOptions = { path?: string, protocols?: string[] } & ClientOptions

interface Setup {
  readonly server: Server
  readonly port: number
  readonly gate: WebSocketGate
  readonly sockets: Duplex[]
  readonly errors: string[]
  readonly accept: AcceptWebSocket
  readonly open: (options?: DialOptions) => Promise<{ client: WebSocket, listener: FakeListener }>
  readonly statusOf: (options?: DialOptions) => Promise<number | undefined>
}

function makeGate (errors: string[] = [], options: Partial<WebSocketGateOptions> = {}): WebSocketGate {
  let lastId = 0
  const logger = { ...silentLogger, error: (_: object, message: string) => { errors.push(message) } }
  return new WebSocketGate({ maximumPacketSize: 1024, nextConnectionId: () => ++lastId, hasRoom: () => true, guard: async (_name, ask) => ask(), clock: systemClock, logger, ...options })
}

async function listen (t: Test, server: Server): Promise<number> {
  const sockets = new Set<Duplex>()
  server.on('connection', socket => { sockets.add(socket) })
  server.listen(0, '127.0.0.1')
  t.teardown(() => { for (const socket of sockets) socket.destroy(); server.close() })
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function setup (t: Test, options: WebSocketOptions | undefined = {}): Promise<Setup> {
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

async function closeCode (client: WebSocket): Promise<number> {
  const [code] = await once(client, 'close') as [number]
  return code
}

async function frames (client: WebSocket, count: number): Promise<[string, boolean][]> {
  const result: [string, boolean][] = []
  return new Promise(resolve => {
    client.on('message', (data: Buffer, isBinary) => { if (result.push([data.toString(), isBinary]) === count) resolve(result) })
  })
}

async function turns (count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise(resolve => setImmediate(resolve))
}

t.test('the subprotocol is mqtt, and a Client has to offer it [MQTT-6.0.0-3] [MQTT-6.0.0-4]', async t => {
  const { open, statusOf, port } = await setup(t)
  for (const [protocols, selected] of [[['mqtt'], 'mqtt'], [['mqttv3.1'], 'mqttv3.1'], [['mqttv3.1', 'other', 'mqtt'], 'mqtt']] as const) {
    const { client } = await open({ protocols: [...protocols] })
    t.equal(client.protocol, selected, protocols.join())
    client.terminate()
  }
  t.equal(await statusOf({ protocols: [] }), 400, 'none')
  t.equal(await statusOf({ protocols: ['MQTT', 'mqtt5'] }), 400, 'another')
  const request = httpRequest({ host: '127.0.0.1', port, path: '/mqtt', headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Protocol': 'mqtt' } }).end()
  const [response] = await once(request, 'response') as [IncomingMessage]
  t.equal(response.statusCode, 400, 'no key: not a WebSocket')
})

t.test('a frame may hold several Control Packets or a part of one [MQTT-6.0.0-2]', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send(Buffer.from('one two'))
  client.send(Buffer.from('three '), { fin: false })
  client.send(Buffer.from('four'), { fin: true })
  await listener.receivedBytes(17)
  t.strictSame(listener.chunks.map(chunk => chunk.toString()), ['one two', 'three four'], 'frames as they come, fragments joined')
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), async parts => {
    listener.chunks.length = 0
    for (const part of parts) client.send(part)
    const whole = Buffer.concat(parts)
    t.strictSame(await listener.receivedBytes(whole.length), whole)
  }), { numRuns: 20 })
  client.terminate()
})

t.test('Control Packets leave in binary frames, one for each write [MQTT-6.0.0-1]', async t => {
  const { open, sockets, server } = await setup(t)
  const { client, listener } = await open()
  const arrived = frames(client, 3)
  listener.transport.cork()
  t.equal(sockets[0]?.writableCorked, 1)
  listener.transport.write(Buffer.from('one'))
  listener.transport.write(Buffer.from('two'))
  t.ok(listener.transport.queuedBytes >= 6, 'held back until uncork')
  t.equal(listener.transport.hasTakenAll, false)
  listener.transport.uncork()
  t.equal(sockets[0]?.writableCorked, 0)
  listener.transport.write(Buffer.alloc(100_000, 'x'))
  t.strictSame(await arrived, [['one', true], ['two', true], ['x'.repeat(100_000), true]])
  t.equal(listener.transport.hasTakenAll, true)
  client.terminate()

  server.prependListener('upgrade', (_, socket) => { Object.assign(socket, { encrypted: true }) })
  const secure = await open()
  t.equal(secure.listener.transport.hasTakenAll, false, 'TLS may still hold on to a buffer')
  secure.client.terminate()
})

t.test('a text frame ends the connection [MQTT-6.0.0-1]', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send('text')
  client.send(Buffer.from('later'))
  t.equal(await closeCode(client), 1003)
  t.match(await listener.hasEnded(), { code: 'MQTT_PROTOCOL_ERROR', reasonCode: 0x82 })
  t.strictSame(listener.chunks, [], 'nothing after it is read')
  listener.transport.destroy()
  t.equal(listener.ends.length, 1, 'told once')
})

t.test('a frame that is too large is refused by its announced length', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send(Buffer.alloc(1024 * 1024))
  t.equal((await listener.receivedBytes(1024 * 1024)).length, 1024 * 1024, '1 MiB is let in even where packets are smaller')
  client.send(Buffer.alloc(1024 * 1024 + 1))
  t.equal(await closeCode(client), 1009)
  t.match(await listener.hasEnded(), { code: 'MQTT_PACKET_TOO_LARGE', reasonCode: 0x95 })
})

t.test('a peer that breaks the rules of WebSocket is told so', async t => {
  const { listener, socket } = await rawOpen(t)
  socket.write(Buffer.from([0x82, 0x01, 0x00])) // not masked
  t.match(await listener.hasEnded(), { code: 'MQTT_PROTOCOL_ERROR', message: /MASK/, cause: Error })
  socket.destroy()
})

async function rawOpen (t: Test): Promise<{ listener: FakeListener, socket: ReturnType<typeof connect> }> {
  const { server, gate, port } = await setup(t, { path: '/unused' })
  const listener = new Promise<FakeListener>(resolve => {
    gate.attach(server, { path: '/raw' }, transport => { resolve(started(transport)) })
  })
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n')
  await once(socket, 'data')
  return { listener: await listener, socket }
}

t.test('each way a connection ends is told once', async t => {
  const { open } = await setup(t)
  const closed = await open()
  closed.client.close(1000)
  t.equal(await closed.listener.hasEnded(), undefined, 'the peer closes')

  const gone = await open()
  gone.client.terminate()
  t.equal(await gone.listener.hasEnded(), undefined, 'the peer ends without a closing frame')
  const { listener, socket } = await rawOpen(t)
  socket.resetAndDestroy()
  t.match(await listener.hasEnded(), { code: 'ECONNRESET' }, 'the network fails')

  const destroyed = await open()
  destroyed.listener.transport.destroy()
  t.equal(await closeCode(destroyed.client), 1006)
  t.equal(await destroyed.listener.hasEnded(), undefined, 'destroy()')
  for (const { listener } of [closed, gone, destroyed]) {
    listener.transport.destroy()
    t.equal(listener.ends.length, 1)
  }
})

t.test('end() lets everything leave that was written, even while reading is paused', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  const arrived = frames(client, 1)
  listener.transport.pause()
  client.send(Buffer.from('unread'))
  listener.transport.write(Buffer.from('goodbye'))
  listener.transport.end()
  listener.transport.end()
  listener.transport.write(Buffer.from('too late'))
  t.strictSame(await arrived, [['goodbye', true]])
  t.equal(await closeCode(client), 1000)
  t.equal(await listener.hasEnded(), undefined)
  t.strictSame(listener.chunks, [], 'nothing is read after end()')
})

t.test('reading pauses and resumes', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  listener.transport.pause()
  await new Promise(resolve => { client.send(Buffer.from('waits'), resolve) })
  await turns(20)
  t.strictSame(listener.chunks, [])
  listener.transport.resume()
  t.equal((await listener.receivedBytes(5)).toString(), 'waits')
  client.terminate()
})

t.test('nothing is read before start', async t => {
  const { server, gate, port } = await setup(t)
  const accepted = new Promise<StartableTransport>(resolve => { gate.attach(server, { path: '/slow' }, resolve) })
  const client = new WebSocket(`ws://127.0.0.1:${port}/slow`, 'mqtt')
  await once(client, 'open')
  client.send(Buffer.from('early'))
  const transport = await accepted
  await turns(20)
  t.equal((await started(transport).receivedBytes(5)).toString(), 'early')
  client.terminate()
  const refused = new WebSocket(`ws://127.0.0.1:${port}/none`, 'mqtt')
  gate.attach(server, { path: '/none' }, transport => { transport.destroy() })
  refused.on('error', () => undefined)
  t.equal(await closeCode(refused), 1006, 'a transport that is not wanted can be destroyed')
})

t.test('drained is told once the queue has left, after it had grown', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  const small = frames(client, 1)
  listener.transport.write(Buffer.from('small'))
  await small
  t.equal(listener.drains, 0, 'not for little')
  client.pause()
  listener.transport.write(Buffer.alloc(16 * 1024 * 1024))
  listener.transport.write(Buffer.from('after'))
  t.ok(listener.transport.queuedBytes > 64 * 1024)
  client.resume()
  await once(listener, 'drained')
  t.equal(listener.transport.queuedBytes, 0)
  client.pause()
  listener.transport.write(Buffer.alloc(16 * 1024 * 1024))
  client.resume()
  await once(listener, 'drained')
  t.equal(listener.drains, 2, 'once for each time')
  client.pause()
  listener.transport.write(Buffer.alloc(16 * 1024 * 1024))
  listener.transport.destroy()
  await listener.hasEnded()
  await turns(5)
  t.equal(listener.drains, 2, 'never after the end')
  client.terminate()
})

t.test('Origin: a list lets in its pages and whoever is no page, a function decides all', async t => {
  const { statusOf, server, gate, accept, errors } = await setup(t, { origin: ['https://example.org'] })
  t.equal(await statusOf({ origin: 'https://example.org' }), 101)
  t.equal(await statusOf(), 101, 'no browser')
  t.equal(await statusOf({ origin: 'https://example.org.evil' }), 403)
  gate.attach(server, { path: '/f', origin: origin => origin === 'https://a' }, accept)
  t.equal(await statusOf({ path: '/f', origin: 'https://a' }), 101)
  t.equal(await statusOf({ path: '/f' }), 403)
  gate.attach(server, { path: '/promise', origin: (() => Promise.resolve(true)) as unknown as () => boolean }, accept)
  t.equal(await statusOf({ path: '/promise' }), 403, 'a promise allows nothing')
  gate.attach(server, { path: '/throws', origin: () => { throw new Error('host') } }, accept)
  t.equal(await statusOf({ path: '/throws' }), undefined, 'an error lets nobody in')
  t.strictSame(errors, ['WebSocket upgrade failed'])
})

t.test('only the path that was attached is answered', async t => {
  const { statusOf, server, gate, accept, port } = await setup(t)
  t.equal(await statusOf({ path: '/mqtt?token=x' }), 101, 'the query is not compared')
  for (const path of ['/', '/mqtt/', '/mqtt/x', '/MQTT']) t.equal(await statusOf({ path }), 404, path)
  const [response] = await once(httpRequest({ host: '127.0.0.1', port, path: '/mqtt' }).end(), 'response') as [IncomingMessage]
  t.equal(response.statusCode, 200, 'a plain request is for the host')
  response.resume()

  const other = makeGate()
  const detach = other.attach(server, { path: '/other' }, accept)
  t.equal(await statusOf({ path: '/other' }), 101)
  t.equal(await statusOf(), 101)
  t.equal(await statusOf({ path: '/nobody' }), 404, 'two brokers: one of them answers')
  detach()
  t.equal(await statusOf({ path: '/other' }), 404)

  server.on('upgrade', (request, socket) => { if (request.url === '/host') socket.end('HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n') })
  t.equal(await statusOf({ path: '/host' }), 418, "the host's own upgrade")
  t.equal(await statusOf(), 101)
  gate.close()
  t.equal(server.listenerCount('upgrade'), 1, 'closed: only the host listens')
})

t.test('options that cannot work throw', t => {
  const server = new EventEmitter()
  const gate = makeGate()
  const attach = (options: WebSocketOptions): () => void => gate.attach(server, options, () => undefined)
  const wrong = [
    { path: 'mqtt' }, { path: '/mqtt?x' }, { trustProxy: -1 }, { trustProxy: 1.5 }, { verify: true }, { origins: [] }, { identity: 'of handleUpgrade' },
    ...['*', 'example.org', 'https://example.org/', 'https://Example.org', 'https://example.org:443', 'https://a/b', /a/].map(origin => ({ origin })),
  ]
  for (const options of wrong) t.throws(() => attach(options as WebSocketOptions), { code: 'MQTT_OPTION_INVALID' }, JSON.stringify(options))
  for (const origin of ['null', 'https://example.org', 'http://[::1]:8080', 'capacitor://localhost', 'chrome-extension://abc']) attach({ path: `/${origin}`, origin: ['https://a', origin] })()
  attach({})
  t.throws(() => attach({}), { code: 'MQTT_OPTION_INVALID', message: /"\/mqtt"/ }, 'the same path twice')
  t.throws(() => makeGate().attach(server, {}, () => undefined), { code: 'MQTT_OPTION_INVALID' }, 'by another broker')
  t.end()
})

t.test('after close an upgrade is answered with 503', async t => {
  const { statusOf, server, gate, accept } = await setup(t)
  server.on('upgrade', (request, socket, head) => { gate.handleUpgrade(request, socket, head, {}, accept) })
  gate.close()
  t.equal(await statusOf(), 503)
})

t.test('what is known of a WebSocket connection', async t => {
  const headers = { 'X-Forwarded-For': '198.51.100.7, 203.0.113.9' }
  const { open, server, gate, accept } = await setup(t, { listener: 'web' })
  gate.attach(server, { path: '/left', trustProxy: true }, accept)
  gate.attach(server, { path: '/one', trustProxy: 1 }, accept)
  const direct = await open({ path: '/mqtt?x=1', headers })
  const { info } = direct.listener.transport
  t.match(info, { id: 1, transport: 'websocket', remoteAddress: '127.0.0.1', remotePort: Number, localAddress: '127.0.0.1', localPort: Number, listener: 'web' })
  t.match(info, { peerCertificate: undefined, isPeerAuthorized: false, connectedAt: Number, request: { url: '/mqtt?x=1' } })
  const left = (await open({ path: '/left', headers })).listener.transport.info
  t.match(left, { id: 2, remoteAddress: '198.51.100.7', remotePort: undefined, listener: undefined })
  t.match((await open({ path: '/one', headers })).listener.transport.info, { remoteAddress: '203.0.113.9' })
  t.match((await open({ path: '/one' })).listener.transport.info, { remoteAddress: '127.0.0.1' }, 'no header')
  direct.client.close()
  await direct.listener.hasEnded()
  t.equal(info.remoteAddress, '127.0.0.1', 'known after the end, too')
})

t.test('nothing about an upgrade throws out', async t => {
  const { statusOf, server, gate, errors } = await setup(t)
  gate.attach(server, { path: '/broken' }, () => { throw new Error('broker') })
  await statusOf({ path: '/broken' })
  t.strictSame(errors, ['WebSocket upgrade failed'])
  const request = { method: 'GET', url: '/mqtt', headers: {} } as unknown as IncomingMessage
  const socket = new Duplex({ read: () => undefined, write: (_chunk, _encoding, callback) => { callback(new Error('EPIPE')) } })
  gate.handleUpgrade(request, socket, Buffer.alloc(0), {}, () => undefined)
  await new Promise(resolve => socket.once('close', resolve))
  t.ok(socket.destroyed, 'the peer was gone before the refusal')
  gate.handleUpgrade(request, socket, Buffer.alloc(0), {}, () => undefined)
  t.pass('and again')
})

/** The head of an upgrade, as a Client that writes its own sends it. */
const upgradeText = 'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'

/** A short binary frame, masked with zeros. */
function frame (payload: string): Buffer {
  return Buffer.concat([Buffer.from([0x82, 0x80 + payload.length, 0, 0, 0, 0]), Buffer.from(payload)])
}

t.test('verify lets in or refuses, at once or later', async t => {
  const table: [answer: unknown, status: number | undefined][] = [
    [true, 101], [{ identity: 'ada' }, 101], [{ identity: 0 }, 101], [false, 403], [401, 401], [429, 429], [302, 302],
    [{ status: 429, headers: { 'Retry-After': '60' } }, 429], [{ status: 407, headers: { 'content-length': '5', 'Transfer-Encoding': 'chunked', connection: 'keep-alive' } }, 407],
    [{ identity: undefined }, 401], [{ identity: null }, 401],
    [{ identity: 'ada', remoteAddress: '192.0.2.1' }, 101], [{ identity: 'ada', remoteAddress: 5 }, 500],
    [undefined, 500], [null, 500], [{}, 500], ['yes', 500], [NaN, 500], [200, 500], [101, 500], [600, 500], [{ status: 401, headers: { 'a\r\nb': 'c' } }, 500], [{ status: 401, headers: { a: 'b\r\nc: d' } }, 500],
  ]
  for (const [answer, status] of table) {
    for (const verify of [() => answer, () => Promise.resolve(answer)]) {
      const { statusOf } = await setup(t, { verify: verify as () => VerifyResult })
      t.equal(await statusOf(), status, JSON.stringify(answer))
    }
  }
  for (const verify of [() => { throw new Error('host') }, () => Promise.reject(new Error('host'))]) {
    const { statusOf } = await setup(t, { verify })
    t.equal(await statusOf(), 500, 'what fails lets nobody in')
  }
})

t.test('a verify that forgets to answer is told what it may answer', async t => {
  for (const answer of [undefined, null, 'yes', {}]) {
    const told = deferred<unknown>()
    const gate = makeGate([], { guard: async (_name, ask) => { try { return await ask() } catch (error) { told.resolve(error); throw error } } })
    const server = createServer()
    gate.attach(server, { verify: () => answer as never }, () => { t.fail('accepted') })
    const client = new WebSocket(`ws://127.0.0.1:${await listen(t, server)}/mqtt`, 'mqtt').on('error', () => undefined)
    t.match(await told.promise, { message: 'it must answer true, false, a status, { identity } or { status, headers }' }, JSON.stringify(answer))
    client.terminate()
    gate.close()
  }
})

t.test('what verify found is the identity of the connection, with the address that it knows', async t => {
  const { open, gate, server, accept } = await setup(t, { trustProxy: 1, verify: request => Promise.resolve({ identity: { url: request.url }, remoteAddress: '192.0.2.1' }) })
  const headers = { 'X-Forwarded-For': '198.51.100.7' }
  const { client, listener } = await open({ path: '/mqtt?a', headers })
  t.match(listener.transport.info, { identity: { url: '/mqtt?a' }, remoteAddress: '192.0.2.1', remotePort: undefined })
  client.terminate()
  gate.attach(server, { path: '/same', verify: () => ({ identity: 1, remoteAddress: '127.0.0.1' }) }, accept)
  t.match((await open({ path: '/same' })).listener.transport.info, { identity: 1, remotePort: Number }, 'no proxy in between')
  gate.attach(server, { path: '/none', verify: () => true }, accept)
  t.equal((await open({ path: '/none' })).listener.transport.info.identity, undefined)
  const identity = Symbol('of the host')
  server.on('upgrade', (request, socket, head) => { if (request.url?.startsWith('/hand') === true) gate.handleUpgrade(request, socket, head, request.url === '/hand' ? { identity } : { identity, verify: () => ({ identity: 2 }) }, accept) })
  t.equal((await open({ path: '/hand' })).listener.transport.info.identity, identity, 'handleUpgrade')
  t.equal((await open({ path: '/hand-verified' })).listener.transport.info.identity, 2, 'verify goes before')
})

t.test('handleUpgrade refuses options that cannot work on the socket, and throws nothing', async t => {
  const { statusOf, server, gate, accept, errors } = await setup(t, { path: '/unused' })
  server.on('upgrade', (request, socket, head) => { gate.handleUpgrade(request, socket, head, { origins: [] } as UpgradeOptions, accept) })
  t.equal(await statusOf(), undefined)
  t.strictSame(errors, ['WebSocket upgrade failed'])
})

t.test('what comes while verify waits is neither lost nor out of order', async t => {
  for (const size of [1, 3, 1000]) {
    const answer = deferred<boolean>()
    const asked = deferred()
    const { server, gate, port } = await setup(t, { path: '/unused' })
    const listening = new Promise<FakeListener>(resolve => {
      gate.attach(server, { verify: () => { asked.resolve(undefined); return answer.promise } }, transport => { resolve(started(transport)) })
    })
    const socket = connect(port, '127.0.0.1')
    socket.setNoDelay(true)
    const texts = Array.from({ length: 1000 }, (_, index) => `${index} `.padEnd(100, '.'))
    socket.write(Buffer.concat([Buffer.from(upgradeText), frame('first '), frame('second ').subarray(0, 4)]))
    await asked.promise
    const rest = Buffer.concat([frame('second ').subarray(4), ...texts.map(frame)]) // more than what is kept
    for (let at = 0; at < 50 * size; at += size) socket.write(rest.subarray(at, at + size))
    socket.write(rest.subarray(50 * size))
    await turns(20)
    answer.resolve(true)
    const expected = `first second ${texts.join('')}`
    t.equal(String(await (await listening).receivedBytes(expected.length)), expected, `in pieces of ${size}`)
    socket.destroy()
  }
})

t.test('a peer that leaves while verify waits is dropped at once, and counts no more', async t => {
  const leave: [string, (socket: ReturnType<typeof connect>) => void][] = [['FIN', socket => { socket.end() }], ['RST', socket => { socket.resetAndDestroy() }]]
  for (const [name, end] of leave) {
    const answer = deferred<boolean>()
    const counts: number[] = []
    const asked = new EventEmitter()
    const { server, sockets, port } = await setup(t, { path: '/unused' })
    const gate = makeGate([], { hasRoom: waiting => { counts.push(waiting); return true } })
    gate.attach(server, { verify: () => { asked.emit('asked'); return answer.promise } }, () => { t.fail('accepted') })
    for (let count = 0; count < 3; count++) {
      const socket = connect(port, '127.0.0.1').on('error', () => undefined)
      socket.write(upgradeText)
      await once(asked, 'asked')
      const theirs = sockets.at(-1)
      end(socket)
      await new Promise(resolve => theirs?.once('close', resolve))
    }
    t.strictSame(counts, [0, 0, 0], name)
    answer.resolve(true)
    await turns(5)
  }
})

t.test('where there is no room nobody is verified, and close refuses those that wait', async t => {
  const { server, statusOf } = await setup(t, { path: '/unused' })
  const asked = new EventEmitter()
  const gate = makeGate([], { hasRoom: waiting => waiting < 1 })
  gate.attach(server, { verify: () => { asked.emit('asked'); return new Promise<never>(() => undefined) } }, () => { t.fail('accepted') })
  const first = statusOf()
  await once(asked, 'asked')
  t.equal(await statusOf(), 503)
  gate.close()
  t.equal(await first, 503)
})
