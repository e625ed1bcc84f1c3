import t, { type Test } from 'tap'
import cookie from '@fastify/cookie'
import Fastify from 'fastify'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { connect, type AddressInfo, type Socket } from 'node:net'
import { promisify } from 'node:util'
import { generate, parser, type Packet } from 'mqtt-packet'
import type { WebSocketOptions } from '../lib/index.ts'
import { myelin, requestOf } from '../plugins/fastify/index.ts'
import { dial, listen, networkBroker } from './support/network/network.ts'
import { deferred } from './support/observe.ts'
import { statusOf } from './support/network/upgrades.ts'

t.setTimeout(120_000)

const upgrade = 'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
  'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n'

/** A packet in a binary frame of its own, masked with zeros. */
function framed (packet: Packet): Buffer {
  const bytes = generate(packet)
  return Buffer.concat([Buffer.from([0x82, 0x80 + bytes.length, 0, 0, 0, 0]), bytes])
}

const connectFrame = framed({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clientId: 'raw', clean: true, keepalive: 0 })

/** Sends bytes, and reads until the other side closes or says its last word. */
async function exchange (port: number, bytes: Buffer | string, lastWord?: string): Promise<string> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined)
  socket.write(bytes)
  let answer = ''
  socket.on('data', chunk => { answer += chunk.toString('latin1'); if (lastWord !== undefined && answer.endsWith(lastWord)) socket.destroy() })
  await new Promise(resolve => socket.once('close', resolve))
  return answer
}

async function serve (t: Test, options: WebSocketOptions, limits = {}): Promise<{ readonly server: Server, readonly port: number, readonly broker: Awaited<ReturnType<typeof networkBroker>> }> {
  const broker = await networkBroker(t, { limits })
  const server = createServer((_request, response) => { response.end('the host') })
  broker.attach(server, options)
  const port = await listen(t, server)
  t.teardown(() => { server.closeAllConnections() })
  return { server, port, broker }
}

/** Resolves when the server has no connection left: a test that leaks one does not end. */
async function emptied (server: Server): Promise<void> {
  while (await promisify(server.getConnections.bind(server))() > 0) await new Promise(resolve => setImmediate(resolve))
}

t.test('a flood of upgrades that are refused leaves no socket behind', async t => {
  const kinds: Record<string, WebSocketOptions> = {
    'another Origin': { origin: 'https://example.org' },
    'verify: false': { verify: () => false },
    'verify: later': { verify: () => new Promise(resolve => setImmediate(resolve, 401)) },
    'verify: throws': { verify: () => { throw new Error('on purpose') } },
    'another path': { path: '/elsewhere' },
  }
  for (const [name, options] of Object.entries(kinds)) {
    const { server, port, broker } = await serve(t, options)
    const answers = await Promise.all(Array.from({ length: 200 }, () => exchange(port, `${upgrade}Origin: https://evil.example\r\n\r\n`)))
    t.ok(answers.every(answer => /^HTTP\/1\.1 (401|403|404|500) [^]*\r\nConnection: close\r\n[^]*\r\n\r\n$/.test(answer)), name)
    await emptied(server)
    t.equal(broker.metrics.connections, 0)
  }
})

t.test('the same with a Fastify app, by its own hooks', async t => {
  const app = Fastify()
  app.addHook('onRequest', async (_request, reply) => reply.code(429).send({ slow: 'down' }))
  await app.register(myelin)
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const { port } = app.server.address() as AddressInfo
  const answers = await Promise.all(Array.from({ length: 200 }, () => exchange(port, `${upgrade}\r\n`)))
  t.ok(answers.every(answer => answer.startsWith('HTTP/1.1 429 ') && answer.endsWith('{"slow":"down"}')))
  for (const method of ['POST', 'HEAD', 'PUT']) t.match(await exchange(port, `${upgrade.replace('GET', method)}\r\n`), /^HTTP\/1\.1 4/, `${method} is no upgrade`)
  await emptied(app.server)
})

t.test('upgrades that wait are as many as there is room for, and each counts once', async t => {
  const answer = deferred<boolean>()
  let asked = 0
  const { server, port, broker } = await serve(t, { verify: () => { asked++; return answer.promise } }, { maximumConnections: 5 })
  const codes: string[] = []
  broker.hook({ refused: ({ error }) => { codes.push(error.code) } })
  const statuses = Array.from({ length: 50 }, () => statusOf(`ws://127.0.0.1:${port}/mqtt`))
  const counted = Promise.all(statuses)
  while (await promisify(server.getConnections.bind(server))() > 5 || asked < 5) await new Promise(resolve => setImmediate(resolve))
  t.equal(asked, 5)
  answer.resolve(true)
  const all = await counted
  t.equal(all.filter(status => status === 101).length, 5, 'those that waited have room')
  t.equal(all.filter(status => status === 503).length, 45)
  while (broker.metrics.connections > 0) await new Promise(resolve => setImmediate(resolve))
  t.notOk(codes.includes('MQTT_QUOTA_EXCEEDED'), 'none was counted twice')
})

t.test('half an upgrade, and one whose sender is gone, open nothing', async t => {
  const { server, port, broker } = await serve(t, { verify: () => new Promise<never>(() => undefined) })
  const gone: ((socket: Socket) => void)[] = [socket => { socket.end() }, socket => { socket.resetAndDestroy() }, socket => { socket.destroy() }]
  for (const bytes of [upgrade, upgrade.slice(0, 40), `${upgrade}\r\n`, Buffer.concat([Buffer.from(`${upgrade}\r\n`), connectFrame])]) {
    for (const leave of gone) {
      const arrived = once(server, 'connection') as Promise<[Socket]>
      const socket = connect(port, '127.0.0.1').on('error', () => undefined)
      const [theirs] = await arrived
      const closed = new Promise(resolve => theirs.once('close', resolve))
      socket.write(bytes, () => { leave(socket) })
      await closed
    }
  }
  await emptied(server)
  t.equal(broker.metrics.connections, 0)
})

t.test('headers that are too large are refused before anybody looks at them', async t => {
  const { server, port } = await serve(t, { verify: () => { t.fail('asked'); return true } })
  t.match(await exchange(port, `${upgrade}Cookie: ${'x'.repeat(100_000)}\r\n\r\n`), /^HTTP\/1\.1 431 |^$/)
  await emptied(server)
})

t.test('a page of another site gets nowhere with the cookies of a user', async t => {
  const app = Fastify()
  await app.register(cookie)
  await app.register(myelin, { origin: ['https://example.org'], hooks: { authenticate: ({ connection }) => requestOf(connection)?.cookies['session'] === 's' } })
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  const url = `ws://127.0.0.1:${(app.server.address() as AddressInfo).port}/mqtt`
  const from = (...origin: string[]): Record<string, string> => ({ cookie: 'session=s', origin: origin.join(', ') })
  for (const origin of ['https://evil.example', 'null', 'https://example.org.evil.example', 'http://example.org', 'https://example.org:8443', 'https://EXAMPLE.org', '']) {
    t.equal(await statusOf(url, from(origin)), 403, origin)
  }
  t.equal(await statusOf(url, from('https://example.org', 'https://evil.example')), 403, 'two of them')
  t.equal((await dial(t, url, { wsOptions: { headers: from('https://example.org') } })).mqtt.connected, true)
})

t.test('what is pipelined behind an upgrade is read as MQTT, once, in order', async t => {
  const subscribe = framed({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] })
  const publish = framed({ cmd: 'publish', topic: 'a', payload: 'hello', qos: 0, dup: false, retain: false })
  const bytes = Buffer.concat([Buffer.from(`${upgrade}\r\n`), connectFrame, subscribe, publish])
  const verifiers: (WebSocketOptions['verify'] | undefined)[] = [undefined, () => true, () => new Promise<true>(resolve => setImmediate(resolve, true))]
  for (const verify of verifiers) {
    const { port } = await serve(t, verify === undefined ? {} : { verify })
    const answer = await exchange(port, bytes, 'hello')
    const [head = '', frames = ''] = answer.split('\r\n\r\n')
    t.match(head, /^HTTP\/1\.1 101 /)
    const packets: Packet[] = []
    const reader = parser()
    reader.on('packet', packet => { packets.push(packet) })
    for (let rest = Buffer.from(frames, 'latin1'); rest.length > 1; rest = rest.subarray(2 + (rest[1] ?? 0))) reader.parse(rest.subarray(2, 2 + (rest[1] ?? 0)))
    t.match(packets, [{ cmd: 'connack', returnCode: 0 }, { cmd: 'suback' }, { cmd: 'publish', topic: 'a', payload: Buffer.from('hello') }])
  }
})

t.test('what is pipelined behind an upgrade that is refused is no request', async t => {
  for (const options of [{ verify: () => 401 }, { origin: () => false }, { verify: () => new Promise<number>(resolve => setImmediate(resolve, 401)) }]) {
    const { port } = await serve(t, options)
    const answer = await exchange(port, `${upgrade}\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n`)
    t.match(answer, /^HTTP\/1\.1 40[13] /)
    t.notMatch(answer, /the host/)
  }
})

t.test('what verify copies from a request cannot add headers to the answer', async t => {
  const { port } = await serve(t, { verify: ({ url }) => ({ status: 302, headers: { Location: decodeURIComponent(String(url)) } }) })
  t.match(await exchange(port, `${upgrade.replace('/mqtt', '/mqtt?a')}\r\n`), /\r\nLocation: \/mqtt\?a\r\n/)
  const answer = await exchange(port, `${upgrade.replace('/mqtt', '/mqtt?%0d%0aSet-Cookie:%20evil=1')}\r\n`)
  t.match(answer, /^HTTP\/1\.1 500 /)
  t.notMatch(answer, /evil/)
})
