import t from 'tap'
import type { Test } from 'tap'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect as connectSocket, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { duplexPair } from 'node:stream'
import { connectAsync } from 'mqtt'
import { createBroker, ErrorCode, ReasonCode, type BrokerOptions } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { subscribePacket } from './support/exchanges.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker } from './support/harness.ts'
import { startObserved, tryConnect } from './support/observe.ts'

// What users of today's brokers suffer, continued: hooks (30 to 34), types and packaging (35), HTTP (36), operation (37 to 39), and the
// security advisories of other brokers (40).

const persistent = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } }
const root = join(import.meta.dirname, '..')

t.test('PAIN 30: a hook that never answers hangs nobody: its time is up, the answer is no', async t => {
  const test = await startBroker(t, { hookTimeoutMs: 1000, hooks: { authenticate: () => new Promise<never>(() => undefined) } })
  const [client] = await tryConnect(test)
  await test.clock.advance(1000)
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized }])
  t.equal(client.isEnded, true)
  await t.rejects(startBroker(t, { hooks: { autenticate: () => false } } as BrokerOptions), /autenticate/)
})

forEachVersion(t, 'PAIN 31: a publish that is denied does not close the connection', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t, { hooks: { authorizePublish: () => false } }), { protocolVersion })
  t.match(await client.publish('a', 'x', { qos: 1, packetIdentifier: 1 }).take(), [{ type: PacketType.puback, reasonCode: protocolVersion === 5 ? ReasonCode.notAuthorized : 0 }])
  t.equal(client.isEnded, false)
})

t.test('PAIN 32: who a client is, is known before the first hook: address, listener, HTTP request', async t => {
  const seen: unknown[][] = []
  const { broker } = await startBroker(t, { hooks: { authenticate: ({ connection: c }) => { seen.push([c.transport, c.remoteAddress, c.listener, c.request?.url]); return true } } })
  const http = createHttpServer().listen(0, '127.0.0.1')
  const tcp = createServer(broker.listener({ name: 'inside' })).listen(0, '127.0.0.1')
  await Promise.all([once(http, 'listening'), once(tcp, 'listening')])
  broker.attach(http, { path: '/mqtt' })
  for (const url of [`ws://127.0.0.1:${(http.address() as AddressInfo).port}/mqtt?x=1`, `mqtt://127.0.0.1:${(tcp.address() as AddressInfo).port}`]) await (await connectAsync(url)).endAsync()
  const proxied = new PacketClient(broker, 5, broker.listener({ name: 'edge', proxyProtocol: true }))
  proxied.stream.write('PROXY TCP4 192.0.2.7 192.0.2.1 5 6\r\n')
  await proxied.send(connectPacket()).take()
  t.strictSame(seen, [['websocket', '127.0.0.1', undefined, '/mqtt?x=1'], ['stream', '127.0.0.1', 'inside', undefined], ['stream', '192.0.2.7', 'edge', undefined]])
  http.close()
  tcp.close()
})

t.test('PAIN 33: Will, retained and stored subscriptions pass the same gate as everything else', async t => {
  const denied: BrokerOptions = { hooks: { authorizePublish: ({ isWill }) => !isWill, authorizeSubscribe: ({ isRestored }) => !isRestored, authorizeDeliver: ({ message }) => !message.retain } }
  const test = await startBroker(t, denied)
  const [, connack] = await tryConnect(test, { will: { topicName: 'w', payload: Buffer.alloc(0), qos: 0, retain: false, properties: undefined } })
  t.equal(connack?.reasonCode, ReasonCode.notAuthorized)
  await test.broker.publish('a', 'kept', { retain: true })
  const [client] = await connect(test, persistent)
  await client.subscribe('a')
  t.strictSame(await client.payloads(), [])
  await client.vanish()
  const [again] = await connect(test, persistent)
  await test.broker.publish('a', 'live')
  t.strictSame(await again.payloads(), [], 'hooks-gate.test.ts has the table of all paths')
})

t.test('PAIN 34: what a hook does to one message touches nobody else\'s', async t => {
  const test = await startBroker(t, { hooks: { onPublish: ({ message }) => message.topicName === 'a' ? { payload: Buffer.from('patched'), topicName: 'b' } : undefined } })
  const [client] = await connect(test)
  await client.subscribe('#')
  const payload = Buffer.from('original')
  await test.broker.publish('a', payload)
  await test.broker.publish('c', payload)
  t.strictSame([await client.payloads(), payload.toString()], [['patched', 'original'], 'original'])
})

const consumer = `
import { createServer } from 'node:net'
import { createBroker, ReasonCode, type Broker, type Hooks, type Message, type Metrics, type Plugin } from 'myelin'

type IsAny<T> = 0 extends 1 & T ? true : false
type None<T extends false> = T
interface Account { tenant: string }

const hooks: Hooks<Account> = {
  authenticate: ({ username, password, connection }) => username === undefined ? undefined : { allow: true, data: { tenant: String(password?.length) + String(connection.remoteAddress) } },
  authorizePublish: async ({ client, topicName }) => topicName.startsWith(client.data.tenant) || ReasonCode.notAuthorized,
  authorizeSubscribe: request => { const none: None<IsAny<typeof request> | IsAny<typeof request.client.data>> = false; return !none },
  onPublish: ({ message }) => ({ payload: message.payload, retain: false }),
  onDrop: ({ reason }) => { const text: 'queueFull' | string = reason; console.log(text) },
}
const plugin: Plugin<Account> = { name: 'mine', hooks, setup (broker: Broker<Account>) { console.log(broker.version) } }
const broker = await createBroker<Account>({ hooks, plugins: [plugin], limits: { maximumPacketSize: 1024, queuePolicy: 'dropNewest' } })
createServer(broker.handle).listen(0)
await broker.publish('a', 'b')
await broker.publish('a', new Uint8Array(1), { qos: 1, retain: true, properties: { userProperties: [['k', 'v']] } })
for await (const message of broker.subscribe('a/+', { qos: 1 })) {
  const none: None<IsAny<typeof message> | IsAny<typeof message.payload> | IsAny<typeof message.topicName>> = false
  const typed: Message = message
  console.log(none, typed.payload.toString())
}
broker.subscribe('a', ({ topicName }) => { console.log(topicName) }).unsubscribe()
const metrics: Readonly<Metrics> = broker.metrics
const response: Message = await broker.request('a', 'b', { timeoutMs: 10 })
console.log(metrics.bytesSent, response.qos, [...broker.clients()].map(({ data }) => data.tenant))
// @ts-expect-error an option that is none
await createBroker({ hock: {} })
// @ts-expect-error a hook that is none
broker.hook({ autorize: () => true })
// @ts-expect-error a QoS that is none
await broker.publish('a', 'b', { qos: 3 })
await broker.close()
`

/** A folder of a package that depends on this one, as it was built. */
function dependentPackage (t: Test, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'myelin-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(root, join(folder, 'node_modules', 'myelin'))
  symlinkSync(join(root, 'node_modules', '@types'), join(folder, 'node_modules', '@types'))
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
  return folder
}

t.test('PAIN 35: the types of the built package are strict, true and free of any', t => {
  const compilerOptions = { strict: true, exactOptionalPropertyTypes: true, module: 'nodenext', target: 'es2023', lib: ['es2023'], types: ['node'], noEmit: true, skipLibCheck: false }
  const folder = dependentPackage(t, { 'consumer.mts': consumer, 'tsconfig.json': JSON.stringify({ compilerOptions, files: ['consumer.mts'] }) })
  let complaints = ''
  try {
    execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder], { encoding: 'utf8' })
  } catch (error) {
    complaints = String((error as { stdout?: string }).stdout)
  }
  t.equal(complaints, '')
  t.end()
})

t.test('PAIN 35: a CommonJS program can require() the built package', t => {
  const folder = dependentPackage(t, { 'program.cjs': "const { createBroker } = require('myelin'); createBroker().then(broker => broker.close()).then(() => console.log('works'))" })
  t.equal(execFileSync(process.execPath, ['--no-warnings', join(folder, 'program.cjs')], { encoding: 'utf8' }), 'works\n')
  t.end()
})

t.test('PAIN 36: mounted on the host\'s own HTTP server, beside its routes, in one line', async t => {
  const { broker } = await startBroker(t)
  const server = createHttpServer((_request, response) => response.end('the host')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const detach = broker.attach(server, { path: '/mqtt' })
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
  t.equal(await (await fetch(`http://${address}/`)).text(), 'the host')
  const client = await connectAsync(`ws://${address}/mqtt`)
  t.equal(client.connected, true)
  await client.endAsync()
  detach()
  server.close()
})

t.test('PAIN 37: every disconnect and every drop has its reason', async t => {
  const test = await startObserved(t, { limits: { maximumPacketSize: 100 } })
  const [first] = await connect(test, { clientIdentifier: 'first' })
  first.write('30 ff 7f')
  const [second] = await connect(test, { clientIdentifier: 'second', keepAlive: 10 })
  await second.subscribe('a')
  await test.clock.advance(16_000)
  const [third] = await connect(test, { clientIdentifier: 'third', properties: { maximumPacketSize: 50 } })
  await third.subscribe('a')
  await test.broker.publish('a', 'x'.repeat(60))
  third.disconnect()
  await settled()
  const wanted = ['disconnected 149 first', 'disconnected 141 second', 'drop packetTooLarge third', 'disconnected 0 third']
  t.strictSame(test.events.filter(event => !event.startsWith('ended')), wanted)
})

t.test('PAIN 38: a reconnect storm is let in at the rate that was set; the others are told to come later', async t => {
  const test = await startBroker(t, { limits: { connectionRate: 10 } })
  const answers = await Promise.all(Array.from({ length: 25 }, (_, i) => tryConnect(test, { clientIdentifier: `${i}` })))
  const codes = answers.map(([, connack]) => connack?.reasonCode)
  t.equal(codes.filter(code => code === ReasonCode.success).length, 10)
  t.equal(codes.filter(code => code === ReasonCode.connectionRateExceeded).length, 15)
})

t.test('PAIN 39: $SYS surprises nobody: not in #, refusable, and off by one option', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000, hooks: { authorizeSubscribe: ({ topicFilter }) => !topicFilter.startsWith('$SYS/') } })
  const [client] = await connect(test)
  await client.subscribe('#')
  t.match(await client.subscribe('$SYS/#'), { reasonCodes: [ReasonCode.notAuthorized] })
  await test.clock.advance(5000)
  t.strictSame(await client.messages(), [])
})

t.test('PAIN 40: a topic of more than 100 levels ends one connection at most, and no process (GHSA-xxqp-5qx8-gj5q, CVE-2021-33176)', async t => {
  const { broker } = await startBroker(t)
  t.ok(broker.limits.maximumTopicLevels <= 256)
  const deep = 'a/'.repeat(1500)
  for (const protocolVersion of [4, 5] as const) {
    const test = await startBroker(t)
    const [client] = await connect(test, { protocolVersion })
    t.match(await client.subscribe(deep), { reasonCodes: [protocolVersion === 5 ? ReasonCode.topicFilterInvalid : 0x80] })
    await client.publish(deep, 'x').take()
    t.equal(client.isEnded, true)
    const [other] = await connect(test, { clientIdentifier: 'other' })
    t.match(await other.subscribe('#'), { reasonCodes: [2] })
  }
})

const prototypeNames = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty', 'valueOf']
forEachVersion(t, 'PAIN 40: names that every object has are names like all others (GHSA-52qw-whmv-87c5)', async (t, protocolVersion) => {
  const test = await startBroker(t)
  for (const name of prototypeNames) {
    const [client, connack] = await connect(test, { protocolVersion, clientIdentifier: name, username: name, cleanStart: false })
    t.equal(connack.sessionPresent, false, name)
    await client.subscribe(name)
    await client.subscribe(`$share/${name}/x/${name}`)
    client.publish(name, 'kept', { retain: true }).publish(`x/${name}`, 'shared')
    t.strictSame(await client.payloads(), ['kept', 'shared'], name)
  }
  t.equal([...test.broker.clients()].length, prototypeNames.length)
  t.equal(({} as Record<string, unknown>)['kept'], undefined)
})

t.test('PAIN 40: a QoS 2 identifier of an earlier Session swallows nothing in the next (GHSA-p8r9-qf8w-p73r)', async t => {
  const test = await startBroker(t)
  const heard: string[] = []
  test.broker.subscribe('a', ({ payload }) => { heard.push(payload.toString()) })
  const [first] = await connect(test, persistent)
  await first.publish('a', 'first', { qos: 2, packetIdentifier: 7 }).take()
  await first.vanish()
  const [second] = await connect(test, { cleanStart: true })
  t.match(await second.publish('a', 'second', { qos: 2, packetIdentifier: 7 }).take(), [{ type: PacketType.pubrec, packetIdentifier: 7 }])
  t.strictSame(heard, ['first', 'second'])
})

t.test('PAIN 40: a flood of QoS 2 without PUBREL is stopped within one chunk (GHSA-5jvp-3p2v-5qgf)', async t => {
  let routed = 0
  const test = await startBroker(t, { hooks: { published: () => { routed++ } } })
  const [client] = await connect(test)
  client.stream.cork()
  for (let packetIdentifier = 1; packetIdentifier <= 5000; packetIdentifier++) client.publish('a', '', { qos: 2, packetIdentifier })
  client.stream.uncork()
  t.ok((await client.take()).some(packet => packet.type === PacketType.disconnect && packet.reasonCode === ReasonCode.receiveMaximumExceeded))
  t.equal(routed, test.broker.limits.receiveMaximum)
})

t.test('PAIN 40: the queue of a persistent subscriber that is away is bounded (aedes#1087)', async t => {
  const test = await startObserved(t, { limits: { maximumQueuedBytes: 100_000 } })
  const [client] = await connect(test, persistent)
  await client.subscribe('a', { qos: 1 })
  await client.vanish()
  for (let i = 0; i < 500; i++) await test.broker.publish('a', 'x'.repeat(1000), { qos: 1 })
  t.ok(test.broker.metrics.queuedBytes <= 100_000)
  t.ok(test.broker.metrics.messagesDropped > 400)
})

forEachVersion(t, 'PAIN 40: a Will Message to a topic that is forbidden is refused at CONNECT (npm advisory 457)', async (t, protocolVersion) => {
  const test = await startBroker(t, { hooks: { authorizePublish: ({ topicName }) => topicName !== 'forbidden' } })
  const heard: string[] = []
  test.broker.subscribe('#', ({ topicName }) => { heard.push(topicName) })
  const [client, connack] = await tryConnect(test, { protocolVersion, will: { topicName: 'forbidden', payload: Buffer.alloc(0), qos: 0, retain: false, properties: undefined } })
  await client.vanish()
  t.strictSame([connack?.reasonCode, heard], [ReasonCode.notAuthorized, []])
})

t.test('PAIN 40: 256 MB of CONNECT from nobody in particular are not buffered', async t => {
  const test = await startObserved(t)
  const server = createServer(test.broker.handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = connectSocket((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => undefined)
  socket.write(Buffer.concat([Buffer.from('10ffffff7f00044d51545405020000', 'hex'), Buffer.alloc(1_000_000)]))
  await once(socket, 'close')
  t.strictSame(test.events, ['refused MQTT_PACKET_TOO_LARGE 149'])
  t.ok(test.broker.metrics.bytesReceived < 200_000, 'nothing was read after the header')
  server.close()
})

const firstBytes: readonly (readonly [name: string, hex: string])[] = [
  ['a huge Remaining Length (CVE-2023-0809)', '30 ff ff ff 7f'], ['a Remaining Length that never ends', '10 ff ff ff ff ff'], ['PUBLISH first (CVE-2017-7651)', '30 03 00 01 61'],
  ['a CONNACK from a client (CVE-2021-34432)', '20 02 00 00'], ['PINGREQ first', 'c0 00'], ['AUTH first', 'f0 00'], ['HTTP', '47 45 54 20 2f'], ['TLS', '16 03 01 02 00'],
  ['Will Properties that are none (CVE-2023-3592)', '10 16 00 04 4d 51 54 54 05 06 00 00 00 00 01 63 04 ff ff ff ff 00 01 77 00 00'],
]
for (const [name, hex] of firstBytes) {
  t.test(`PAIN 40: first packet: ${name}: closed, counted, and the broker goes on`, async t => {
    const test = await startObserved(t)
    const client = new PacketClient(test.broker, 5)
    client.write(hex)
    await settled()
    t.equal(client.isEnded, true)
    t.equal(test.broker.metrics.connectionsRefused, 1)
    client.stream.end()
    await connect(test)
  })
}

t.test('PAIN 40: every packet type in every phase: what is not allowed ends its own connection (CVE-2018-12543)', async t => {
  const bytes = ['20 03 00 00 00', '90 04 00 01 00 00', 'b0 04 00 01 00 00', 'd0 00', '00 00', '10 0d 00 04 4d 51 54 54 05 02 00 00 00 00 00', '30 05 00 00 00 61 61']
  const test = await startBroker(t)
  for (const hex of bytes) {
    const [client] = await connect(test, { clientIdentifier: 'bad' })
    client.write(hex)
    t.match(await client.take(), [{ type: PacketType.disconnect }], hex)
    t.equal(client.isEnded, true)
  }
  await connect(test)
})

t.test('PAIN 40: a client identifier or user name of wildcards stands for itself (CVE-2017-7650)', async t => {
  const test = await startBroker(t)
  for (const name of ['#', '+', '$SYS/#', '../x', '$share/g/#']) {
    const [client] = await connect(test, { clientIdentifier: name, username: name })
    await test.broker.publish('a', 'x')
    t.strictSame(await client.take(), [], 'nobody asked for anything')
    t.equal(test.broker.disconnect('other'), false, 'it is no pattern for others')
    t.equal(test.broker.disconnect(name), true)
  }
})

t.test('PAIN 40: topics that begin with $ crash nobody and reach no wildcard (CVE-2018-12543)', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test)
  for (const topicFilter of ['#', '+/+']) await client.subscribe(topicFilter)
  for (const topicName of ['$', '$SYS', '$SYS/x', '$share', '$share/g/a', '$queue/x', '$foo/bar']) client.publish(topicName, 'x', { retain: true })
  t.strictSame([await client.messages(), client.isEnded], [[], false])
})

t.test('PAIN 40: huge Keep Alive and a CONNECT by the byte hold no socket (SlowITe, CVE-2020-13849)', async t => {
  const test = await startObserved(t, { limits: { maximumKeepAlive: 60 } })
  const slow = new PacketClient(test.broker, 5)
  for (const byte of '101300044d5154540502ffff'.match(/../g) ?? []) {
    slow.write(byte)
    await test.clock.advance(1000)
  }
  t.equal(slow.isEnded, true, 'each byte does not begin a new time')
  const [idle, connack] = await connect(test, { keepAlive: 65_535, protocolVersion: 4 })
  t.equal(connack.reasonCode, 0)
  await test.clock.advance(91_000)
  t.equal(idle.isEnded, true)
})

t.test('PAIN 40: a $share filter that is malformed ends one connection, and no process (moquette#957)', async t => {
  const test = await startBroker(t)
  for (const topicFilter of ['$share', '$share/', '$share//', '$share/g', '$share/g/', '$share//a', '$share/+/a', '$share/#', '$share/g#/a', '$share/g/a#', '$share/g/#/a']) {
    const [client] = await connect(test)
    await client.send(subscribePacket(topicFilter)).take()
    t.equal(client.isEnded, topicFilter !== '$share', topicFilter)
  }
})

t.test('PAIN 40: no user name is undefined for hooks, not the text "null" (moquette#958)', async t => {
  const names: unknown[] = []
  const test = await startBroker(t, { hooks: { authenticate: ({ username }) => { names.push(username); return true }, authorizePublish: ({ client }) => { names.push(client.username); return true } } })
  const [client] = await connect(test)
  await client.publish('a', 'x').take()
  t.strictSame(names, [undefined, undefined])
})

t.test('PAIN 40: a CONNECT that was refused leaves no open socket, whatever the other side does (CVE-2025-56352)', async t => {
  const test = await startObserved(t, { hooks: { authenticate: () => false } })
  for (const fields of [{}, { protocolVersion: 4, clientIdentifier: '', cleanStart: false }, { protocolVersion: 3, clientIdentifier: '' }] as const) {
    const [ours, theirs] = duplexPair({ allowHalfOpen: true })
    const client = new PacketClient(test.broker, 5, () => { test.broker.handle(theirs) })
    client.stream.pipe(ours, { end: false })
    t.equal((await tryConnect(test, fields))[0].isEnded, true)
    theirs.emit('data', Buffer.alloc(0))
    await test.clock.advance(20_000)
    t.equal(theirs.destroyed, true, 'nor one that says nothing')
  }
  t.equal(test.broker.metrics.connections, 0)
})

t.test('PAIN 40: numbers that make no sense are refused at construction (CVE-2026-42209)', async t => {
  const wrong: readonly BrokerOptions[] = [{ hookTimeoutMs: NaN }, { sysIntervalMs: -1 }, { closeTimeoutMs: Infinity }, { limits: { connectTimeoutMs: 0 } }, { limits: { receiveMaximum: 0 } }, { limits: { connectionRate: 0 } }, { limits: { maximumPacketSize: 1e12 } }]
  for (const options of wrong) await t.rejects(createBroker(options), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
})
