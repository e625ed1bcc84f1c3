import t from 'tap'
import { EventEmitter, once } from 'node:events'
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, createServer as createStreamServer } from 'node:net'
import { Duplex } from 'node:stream'
import { createServer as createTlsServer } from 'node:tls'
import { WebSocket } from 'ws'
import { silentLogger } from '../lib/index.ts'
import type { UpgradeOptions, VerifyResult, WebSocketOptions } from '../lib/connection/websocket/websocket-options.ts'
import { HookRunner } from '../lib/hooks/hook-runner.ts'
import { FakeClock } from './support/fake-clock.ts'
import { deferred } from './support/observe.ts'
import { listen, makeGate, setup, started, turns, type FakeListener } from './support/network/websocket-gate.ts'

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

t.test('a function may say which paths are attached', async t => {
  const { statusOf, server, gate, errors, accept } = await setup(t, { path: path => path.toLowerCase() === '/mqtt' || path === '/deep/er' })
  for (const path of ['/mqtt', '/MQTT?x', '/deep/er']) t.equal(await statusOf({ path }), 101, path)
  for (const path of ['/', '/mqtt/', '/deep']) t.equal(await statusOf({ path }), 404, path)
  const other = makeGate(errors)
  t.throws(() => other.attach(server, { path: '/MQtt' }, accept), { code: 'MQTT_OPTION_INVALID' }, 'that is taken')
  const detach = other.attach(server, { path: path => path === '/mqtt', verify: () => 418 }, accept)
  t.equal(await statusOf(), 418, 'of two that want it one gets it: the one that was attached last')
  t.equal(await statusOf({ path: '/MQTT' }), 101)
  detach()
  t.equal(await statusOf(), 101)
  for (const path of [() => { throw new Error('on purpose') }, () => Promise.resolve(true), () => 1]) other.attach(server, { path: path as never }, accept)
  t.equal(await statusOf(), 101)
  t.equal(await statusOf({ path: '/x' }), 404, 'what fails wants nothing')
  t.ok(errors.every(error => error.includes('"path"')))
  t.ok(errors.length > 0)
  gate.close()
  other.close()
})

t.test('a verify that is too late is answered with 503, one that fails with 500', async t => {
  const clock = new FakeClock()
  const hooks = new HookRunner(clock, silentLogger, 5000)
  const gate = makeGate([], { guard: (name, ask) => hooks.guard(name, ask) })
  const answers: [verify: () => Promise<VerifyResult>, status: number][] = [
    [() => new Promise(() => undefined), 503], [() => Promise.reject(new Error('on purpose')), 500],
  ]
  for (const [verify, status] of answers) {
    const server = createServer()
    const asked = deferred()
    const detach = gate.attach(server, { verify: () => { asked.resolve(undefined); return verify() } }, () => { t.fail('accepted') })
    const client = new WebSocket(`ws://127.0.0.1:${await listen(t, server)}/mqtt`, 'mqtt').on('error', () => undefined)
    const response = once(client, 'unexpected-response') as Promise<[unknown, IncomingMessage]>
    await asked.promise
    await clock.advance(5000)
    t.equal((await response)[1].statusCode, status)
    client.terminate()
    detach()
  }
  gate.close()
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
  for (const server of [createStreamServer(), createTlsServer()]) t.throws(() => makeGate().attach(server, {}, () => undefined), { code: 'MQTT_OPTION_INVALID', message: /broker\.handle/ }, 'it has no upgrades')
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
    const gate = makeGate([], { hasRoom: () => { counts.push(gate.waiting); return true } })
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
  const gate = makeGate([], { hasRoom: () => gate.waiting < 1 })
  gate.attach(server, { verify: () => { asked.emit('asked'); return new Promise<never>(() => undefined) } }, () => { t.fail('accepted') })
  const first = statusOf()
  await once(asked, 'asked')
  t.equal(await statusOf(), 503)
  gate.close()
  t.equal(await first, 503)
})
