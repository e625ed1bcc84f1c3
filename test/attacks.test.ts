import t, { type Test } from 'tap'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { connect as connectSocket, createServer } from 'node:net'
import { join } from 'node:path'
import { ReasonCode, type Limits } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { accessRules, type AccessRule } from '../plugins/acl/index.ts'
import { passwordFile } from '../plugins/password-file/index.ts'
import { rateLimit } from '../plugins/rate-limit/index.ts'
import { subscribePacket, will } from './support/exchanges.ts'
import { connect, connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { listen } from './support/network/network.ts'

// Each advisory against a broker of MQTT, as an attack on this one: who makes it must not get in, nor end the process, nor leave anything behind
// in memory. What was found in the plugins themselves is in attacks-plugins.test.ts.

/** A broker as it should be run: users, rules and limits, and an honest Client that must notice nothing of any attack. */
interface Fortress extends TestBroker {
  readonly honest: PacketClient
  readonly port: number
  /** Mallory has a password of his own. */
  readonly insider: (fields?: Partial<ConnectPacket>) => Promise<PacketClient>
  /** Sends bytes over TCP; what was answered until the connection ended. */
  readonly raw: (...bytes: (string | Buffer)[]) => Promise<Buffer>
}

const hashed = (password: string): string => `$6$${Buffer.from('salt').toString('base64')}$${createHash('sha512').update(`${password}salt`).digest('base64')}`
const anybody: readonly AccessRule[] = [{ allow: ['publish', 'subscribe'], topics: ['${username}/#', 'open/#'] }]

async function fortress (t: Test, limits: Partial<Limits>): Promise<Fortress> {
  const users = ['honest', 'mallory', '#', '+', '__proto__', 'constructor']
  const folder = t.testdir({ users: users.map(name => name.startsWith('#') ? '' : `${name}:${hashed(`${name}'s`)}`).join('\n') })
  const plugins = [rateLimit({ concurrent: 50, failedLogins: {} }), passwordFile({ path: join(folder, 'users') }), accessRules({ rules: anybody })]
  const test = await startBroker(t, { plugins, sysIntervalMs: 1000, limits })
  const login = (username: string): Partial<ConnectPacket> => ({ username, password: Buffer.from(`${username}'s`), clientIdentifier: username })
  const [honest] = await connect(test, login('honest'))
  await honest.subscribe('honest/#', { qos: 0 })
  const port = await listen(t, createServer(test.broker.handle))
  return { ...test, honest, port, insider: async fields => (await connect(test, { ...login('mallory'), ...fields }))[0], raw: (...bytes) => exchange(port, bytes) }
}

/** @param last a byte after which there is nothing to wait for, as that of the frame which closes a WebSocket */
async function exchange (port: number, bytes: readonly (string | Buffer)[], last?: number): Promise<Buffer> {
  const socket = connectSocket(port, '127.0.0.1').on('error', () => undefined)
  const answer: Buffer[] = []
  socket.on('data', (chunk: Buffer) => {
    answer.push(chunk)
    if (last !== undefined && chunk.includes(last)) socket.destroy()
  })
  for (const chunk of bytes) socket.write(typeof chunk === 'string' ? Buffer.from(chunk.replaceAll(' ', ''), 'hex') : chunk)
  await new Promise(resolve => { socket.once('close', resolve) }) // who attacks may be cut off
  return Buffer.concat(answer)
}

/** Whatever an attack could leave behind. */
async function counted ({ broker, clock, honest }: Fortress): Promise<Record<string, number | string>> {
  const counts: Record<string, number | string> = {}
  await honest.write('c0 00').take()
  await clock.advance(20_000) // those who were sent away have had time to go
  const { connections, clientsConnected, queuedMessages, queuedBytes, uncommittedBytes } = broker.metrics
  const subscription = broker.subscribe('$SYS/broker/+/count', ({ topicName, payload }) => { counts[topicName] = payload.toString() })
  const sessions = broker.subscribe('$SYS/broker/clients/total', ({ topicName, payload }) => { counts[topicName] = payload.toString() })
  await settled()
  subscription.unsubscribe()
  sessions.unsubscribe()
  return { ...counts, connections, clientsConnected, queuedMessages, queuedBytes, uncommittedBytes }
}

const rounds = 8

/** An attack, several times over: who makes it gets nowhere, others are served as before, and nothing of it is left. */
function attack (advisory: string, run: (t: Test, fortress: Fortress) => Promise<void>, limits: Partial<Limits> = {}): void {
  t.test(advisory, async t => {
    const target = await fortress(t, limits)
    await run(t, target)
    const once = await counted(target)
    for (let round = 1; round < rounds; round++) await run(t, target)
    t.strictSame(await counted(target), once, 'nothing is left behind')
    t.strictSame([...target.broker.clients()].map(({ username }) => username), ['honest'], 'nobody is in')
    t.strictSame(await target.honest.publish('honest/alive', 'alive').payloads(), ['alive'], 'others are served, and heard nothing of it')
  })
}

attack('GHSA-xxqp-5qx8-gj5q: a topic of more than 100 levels ends the process', async (t, { insider }) => {
  const deep = `mallory/${'a/'.repeat(1500)}`
  const client = await insider()
  t.strictSame((await client.subscribe(deep))?.reasonCodes, [ReasonCode.topicFilterInvalid])
  t.match(await client.publish(deep, 'x').take(), [{ reasonCode: ReasonCode.topicNameInvalid }])
  t.equal(client.isEnded, true)
})

attack('GHSA-52qw-whmv-87c5: names that every object has', async (t, { insider, broker }) => {
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const stranger = new PacketClient(broker, 5).send(connectPacket({ clientIdentifier: name, username: name === 'toString' ? name : `${name} `, password: Buffer.from('') }))
    t.match(await stranger.take(), [{ reasonCode: ReasonCode.badUserNameOrPassword }])
    const client = await insider({ clientIdentifier: name, properties: { userProperties: [[name, 'x']] } })
    t.strictSame((await client.subscribe(`${name}/#`))?.reasonCodes, [ReasonCode.notAuthorized])
    t.strictSame((await client.subscribe(`$share/${name}/mallory/${name}`))?.reasonCodes, [2])
    t.strictSame(await client.publish(`mallory/${name}`, name).payloads(), [name])
    await client.vanish()
  }
  t.equal(Object.hasOwn(Object.prototype, 'mallory'), false)
})

attack('GHSA-p8r9-qf8w-p73r: a QoS 2 identifier of an earlier Session swallows a message of the next', async (t, { insider }) => {
  const lasting = await insider({ cleanStart: false, properties: { sessionExpiryInterval: 100 } })
  await lasting.publish('mallory/a', 'first', { qos: 2, packetIdentifier: 7 }).take()
  await lasting.vanish()
  const client = await insider()
  await client.subscribe('mallory/a', { qos: 0 })
  t.strictSame(await client.publish('mallory/a', 'second', { qos: 2, packetIdentifier: 7 }).payloads(), ['second'])
  await client.vanish()
})

attack('GHSA-5jvp-3p2v-5qgf: QoS 2 without PUBREL, all in one chunk', async (t, { insider, broker }) => {
  const client = await insider()
  const before = broker.metrics.messagesReceived
  client.stream.cork()
  for (let packetIdentifier = 1; packetIdentifier <= 2000; packetIdentifier++) client.publish('mallory/a', '', { qos: 2, packetIdentifier })
  client.stream.uncork()
  t.ok((await client.take()).some(packet => packet.type === PacketType.disconnect && packet.reasonCode === ReasonCode.receiveMaximumExceeded))
  t.ok(broker.metrics.messagesReceived - before <= broker.limits.receiveMaximum + 1)
})

attack('aedes#1087: a subscriber that stays away has a queue that grows', async (t, { insider, broker, honest }) => {
  const away = await insider({ clientIdentifier: 'away', cleanStart: false, properties: { sessionExpiryInterval: 1000 } })
  await away.subscribe('open/#', { qos: 1 })
  await away.vanish()
  for (let packetIdentifier = 1; packetIdentifier <= 60; packetIdentifier++) await honest.publish('open/a', 'x'.repeat(100), { qos: 1, packetIdentifier }).take()
  t.ok(broker.metrics.queuedMessages <= 50)
}, { maximumQueuedMessages: 50 })

attack('npm 457: a Will Message to a topic that is forbidden', async (t, { broker, insider }) => {
  for (const topicName of ['honest/a', '$SYS/broker/version', 'mallory']) {
    const client = new PacketClient(broker, 5).send(connectPacket({ username: 'mallory', password: Buffer.from('mallory\'s'), will: will({ topicName, retain: true }) }))
    const [connack] = await client.takeType(PacketType.connack)
    t.equal(connack?.reasonCode, topicName === 'mallory' ? 0 : ReasonCode.notAuthorized, topicName)
    await client.vanish()
  }
  const clearing = await insider()
  await clearing.publish('mallory', '', { retain: true }).take()
  await clearing.vanish()
})

attack('aedes, without a number: 256 MB of CONNECT from nobody', async (t, { raw, broker }) => {
  const before = broker.metrics.bytesReceived
  await raw('10 ff ff ff 7f 00 04 4d 51 54 54 05 02 00 00', Buffer.alloc(500_000))
  t.ok(broker.metrics.bytesReceived - before < 200_000)
})

attack('aedes, without a number: one who does not read holds everybody up', async (t, { insider, honest, broker }) => {
  const deaf = await insider({ clientIdentifier: 'deaf' })
  await deaf.subscribe('open/#', { qos: 0 })
  deaf.stream.pause()
  const before = broker.metrics.messagesDropped
  for (let i = 0; i < 40; i++) t.strictSame(await honest.publish('open/a', 'x'.repeat(50_000)).publish('honest/a', `${i}`).payloads(), [`${i}`])
  t.ok(broker.metrics.messagesDropped > before)
  await deaf.vanish()
}, { maximumOutboxBytes: 200_000 })

attack('CVE-2017-7650, moquette 0.18.1: a name of wildcards matches the topics of all', async (t, { insider, broker, honest }) => {
  for (const clientIdentifier of ['#', '+', '+/#', '$share/g/#', 'honest/..', '']) {
    const client = await insider({ clientIdentifier })
    for (const topicFilter of ['#', '+/#', 'honest/#', '+', '$share/g/#', '$share/g/+/a', '$SYS/#', '$SYS/broker/version', '/', '+/alive']) {
      t.strictSame((await client.subscribe(topicFilter))?.reasonCodes, [ReasonCode.notAuthorized], topicFilter)
    }
    await honest.publish('honest/secret', 'x').payloads()
    t.strictSame(await client.messages(), [])
    await client.vanish()
  }
  const wildcard = new PacketClient(broker, 5).send(connectPacket({ clientIdentifier: '+', username: '+', password: Buffer.from('+\'s') }))
  t.match(await wildcard.take(), [{ reasonCode: 0 }], 'who is really called so')
  for (const topicFilter of ['+/a', '+', 'honest/a', 'mallory/a']) t.strictSame((await wildcard.subscribe(topicFilter))?.reasonCodes, [ReasonCode.notAuthorized], topicFilter)
  await wildcard.vanish()
})

attack('CVE-2017-7651, CVE-2023-0809, CVE-2023-3592: memory for what is announced, or left by what went wrong', async (t, { raw, broker }) => {
  const before = broker.metrics.bytesReceived
  const first = ['30 ff ff ff 7f', '10 ff ff ff ff ff', '30 03 00 01 61', '82 ff ff ff 7f 00 01', '10 16 00 04 4d 51 54 54 05 06 00 00 00 00 01 63 04 ff ff ff ff 00 01 77 00 00']
  for (const bytes of first) await raw(bytes, Buffer.alloc(10_000))
  t.ok(broker.metrics.bytesReceived - before < 500_000)
})

attack('CVE-2023-28366: one QoS 2 identifier, again and again', async (t, { insider }) => {
  const client = await insider()
  for (let i = 0; i < 300; i++) client.publish('mallory/a', 'x', { qos: 2, packetIdentifier: 1, dup: i > 0 })
  t.equal((await client.takeType(PacketType.pubrec)).length, 300)
  await client.vanish()
})

attack('CVE-2018-12543, CVE-2021-28166, CVE-2021-34432: packets that a server sends, and topics of nothing', async (t, { insider, raw }) => {
  for (const bytes of ['20 03 00 00 00', '90 04 00 01 00 00', 'b0 04 00 01 00 00', 'd0 00', '30 05 00 00 00 61 61', '40 02 00 09', '62 02 00 09', '00 00', 'f0 00']) {
    await raw(bytes)
    const client = (await insider()).write(bytes)
    await client.settle()
    await client.vanish()
  }
  const client = await insider()
  for (const topicName of ['$', '$SYS/x', '$share/g/a', '$queue/x']) t.match(await client.publish(topicName, 'x', { qos: 1, packetIdentifier: 1, retain: true }).take(), [{ reasonCode: ReasonCode.notAuthorized }], topicName)
  await client.vanish()
})

attack('CVE-2020-13849: a CONNECT by the byte, and a Keep Alive without end, hold sockets', async (t, { insider, broker, clock, honest }) => {
  const slow = new PacketClient(broker, 5)
  for (const byte of '101300044d5154540502ffff'.match(/../g) ?? []) {
    slow.write(byte)
    await clock.advance(1000)
  }
  t.equal(slow.isEnded, true)
  const idle = await insider({ keepAlive: 65_535, protocolVersion: 4 })
  const endless = await insider({ keepAlive: 0, protocolVersion: 4, clientIdentifier: 'endless' })
  for (let i = 0; i < 4; i++) {
    await honest.write('c0 00').take()
    await clock.advance(25_000)
  }
  t.strictSame([idle.isEnded, endless.isEnded], [true, true])
}, { maximumKeepAlive: 60 })

attack('CVE-2021-33176: deep topics take memory that nobody gives back', async (t, { insider }) => {
  const client = await insider()
  for (let i = 0; i < 100; i++) {
    const deep = `mallory/${i}${'/a'.repeat(60)}`
    await client.subscribe(deep, { qos: 0 })
    client.publish(deep, 'x', { retain: true }).publish(deep, '', { retain: true })
  }
  t.equal((await client.messages()).length, 200)
  t.strictSame((await client.subscribe(`mallory${'/a'.repeat(256)}`))?.reasonCodes, [ReasonCode.topicFilterInvalid])
  await client.vanish()
})

attack('moquette#957, #958, #963, #964: a malformed $share, no user name, names that collide', async (t, { insider, broker }) => {
  for (const topicFilter of ['$share/', '$share//', '$share/g', '$share//mallory/a', '$share/+/mallory/a', '$share/#', '$share/g#/mallory']) {
    const client = await insider()
    t.match(await client.send(subscribePacket(topicFilter)).take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.topicFilterInvalid }], topicFilter)
    t.equal(client.isEnded, true, topicFilter)
  }
  const nameless = new PacketClient(broker, 5).send(connectPacket({ clientIdentifier: 'null' }))
  t.match(await nameless.take(), [{ reasonCode: ReasonCode.notAuthorized }])
  for (const clientIdentifier of ['subscriptions', 'mallory\u0001a', 'honest:honest', '$SYS', 'undefined']) {
    const collider = await insider({ clientIdentifier, cleanStart: false })
    t.strictSame(await collider.messages(), [])
    await collider.vanish()
  }
})

attack('nanomq#1042 to #2270, CVE-2026-25627: lengths that do not agree', async (t, { insider, raw, port }) => {
  const whole = connectHex('mallory')
  for (let end = 2; end < whole.length; end += 4) {
    const socket = connectSocket(port, '127.0.0.1').on('error', () => undefined)
    socket.end(Buffer.from(whole.slice(0, end), 'hex'))
    socket.resume()
    await once(socket, 'close')
  }
  for (const bytes of ['82 03 00 01 00', '82 06 00 01 00 ff ff 61', 'a2 04 00 01 00 05', '32 04 00 09 61 61', '30 06 00 01 61 ff ff ff', '62 01 00', 'e0 02 00 ff', '30 80 80 80 80 01']) {
    await raw(bytes)
    const client = (await insider()).write(bytes)
    await client.settle()
    t.equal(client.isEnded, true, bytes)
  }
})

attack('CVE-2025-56352, aedes#1095: a CONNECT that is refused leaves its socket open', async (t, { raw }) => {
  for (const bytes of [connectHex('mallory'), '100c00044d5154540400003c0000', '100c00044d5154540900003c0000']) {
    const answer = await raw(bytes)
    t.not(answer[3], 0, 'CONNACK, if there is one, refuses')
  }
})

/** CONNECT of 5.0 with a User Name, and no Password. */
function connectHex (username: string): string {
  const name = Buffer.from(username)
  const body = Buffer.concat([Buffer.from('00044d5154540582003c00000163', 'hex'), Buffer.from([0, name.length]), name])
  return Buffer.concat([Buffer.from([0x10, body.length]), body]).toString('hex')
}

attack('GHSA-64w2-whjg-q7q7, and EMQX before 6.2: headers of side channels, and pages that need no login', async (t, { broker }) => {
  const server = createHttpServer((_request, response) => { response.writeHead(404).end() })
  const detach = broker.attach(server, { path: '/mqtt' })
  const port = await listen(t, server)
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt'
  const ask = async (path: string, headers: string): Promise<string> => (await exchange(port, [Buffer.from(`GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n`)])).toString().split('\r\n')[0] ?? ''
  for (const path of ['/status', '/metrics', '/api/v5/prometheus', '/swagger.json']) {
    t.match(await ask(path, 'Connection: close'), / 404 /)
    t.match(await ask(path, upgrade), / 404 /)
  }
  t.match(await ask('/mqtt', `baggage: ${'a=b,'.repeat(5_000)}\r\n${upgrade}`), / 431 /)
  detach()
  server.closeAllConnections()
})

attack('nanomq#1153: a Remaining Length and a frame of a WebSocket that no memory holds', async (t, { broker }) => {
  const server = createHttpServer()
  const detach = broker.attach(server)
  const port = await listen(t, server)
  for (const bytes of ['82ff7fffffffffffffff00000000', '82850000000010ffffff7f', '8285000000003003000161']) {
    const head = 'GET /mqtt HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'
    t.match((await exchange(port, [Buffer.from(head), bytes], 0x88)).toString('latin1'), /^HTTP\/1.1 101 /)
  }
  detach()
})
