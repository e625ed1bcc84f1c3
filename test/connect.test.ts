import { duplexPair } from 'node:stream'
import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import type { MqttError } from '../lib/index.ts'
import { encode } from '../lib/packet/codec/encoder.ts'
import { PacketType, type Packet } from '../lib/packet/packets.ts'
import { exactly, lasting, puback, pubcomp, will } from './support/exchanges.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker } from './support/harness.ts'
import { attempt } from './support/observe.ts'

const ping: Packet = { type: PacketType.pingreq }
const isPong = [{ type: PacketType.pingresp }]

forEachVersion(t, 'a CONNECT that is accepted gets CONNACK 0, before anything else and once only [MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.2.0-2]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const first = await connect(test, lasting({ protocolVersion, clientIdentifier: 'c' }))
  await first[0].subscribe('a', { qos: 1 })
  await first[0].vanish()
  await test.broker.publish('a', 'waited', { qos: 1 })
  const client = new PacketClient(test.broker, protocolVersion)
  client.send(connectPacket(lasting({ protocolVersion, clientIdentifier: 'c' })), ping)
  const packets = await client.take()
  exactly(t, packets[0], { type: PacketType.connack, reasonCode: ReasonCode.success, sessionPresent: true })
  t.strictSame(packets.map(({ type }) => type).sort((a, b) => a - b), [PacketType.connack, PacketType.publish, PacketType.pingresp])
})

forEachVersion(t, 'packets sent without waiting for CONNACK are processed behind it [MQTT-3.1.4-5]', async (t, protocolVersion) => {
  let allow: (value: boolean) => void = () => undefined
  const { broker } = await startBroker(t, { hooks: { authenticate: () => new Promise<boolean>(resolve => { allow = resolve }) } })
  const client = new PacketClient(broker, protocolVersion)
  client.send(connectPacket({ protocolVersion }), ping)
  t.strictSame(await client.take(), [], 'nothing is answered while the host decides')
  allow(true)
  exactly(t, await client.take(), [{ type: PacketType.connack }, ...isPong])
})

forEachVersion(t, 'nothing behind a CONNECT that is refused is processed, and the connection is closed [MQTT-3.1.4-2] [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-4.13.2-1]', async (t, protocolVersion) => {
  const published: string[] = []
  const { broker } = await startBroker(t, { hooks: { authenticate: () => false, published: ({ message }) => { published.push(message.topicName) } } })
  const client = new PacketClient(broker, protocolVersion)
  client.send(connectPacket({ protocolVersion }), ping).publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized, sessionPresent: false }])
  t.equal(client.isEnded, true)
  t.strictSame(published, [])
})

t.test('a refusing CONNACK has Session Present 0 even when there is a Session [MQTT-3.2.2-6] [MQTT-3.2.2-8]', async t => {
  let isAllowed = true
  const test = await startBroker(t, { hooks: { authenticate: () => isAllowed } })
  const [client] = await connect(test, lasting())
  await client.vanish()
  isAllowed = false
  exactly(t, await attempt(test, lasting({ username: 'u' })), { answers: [{ type: PacketType.connack, reasonCode: ReasonCode.badUserNameOrPassword, sessionPresent: false }], isEnded: true })
  isAllowed = true
  exactly(t, (await connect(test, lasting()))[1], { sessionPresent: true }, 'the refused CONNECT changed nothing')
})

t.test('a refusal in 3.x is one of the six return codes', async t => {
  for (const [reasonCode, told] of [[ReasonCode.banned, ReasonCode.notAuthorized], [ReasonCode.badUserNameOrPassword, ReasonCode.badUserNameOrPassword], [ReasonCode.serverBusy, ReasonCode.serverUnavailable], [ReasonCode.quotaExceeded, ReasonCode.serverUnavailable]] as const) {
    const test = await startBroker(t, { hooks: { authenticate: () => ({ allow: false, reasonCode }) } })
    for (const protocolVersion of [3, 4] as const) {
      exactly(t, await attempt(test, { protocolVersion }), { answers: [{ type: PacketType.connack, reasonCode: told, sessionPresent: false }], isEnded: true })
    }
  }
})

t.test('another packet before CONNECT closes the connection without a word [MQTT-3.1.0-1] [MQTT-3.14.0-1]', async t => {
  const errors: MqttError[] = []
  const { broker } = await startBroker(t, { hooks: { refused: ({ error }) => { errors.push(error) } } })
  for (const [name, hex] of [['PUBLISH', '3003000161'], ['SUBSCRIBE', '8207000100000161 00'], ['PINGREQ', 'c000'], ['DISCONNECT', 'e000'], ['AUTH', 'f000'], ['CONNACK', '20020000']] as const) {
    const client = new PacketClient(broker, 5).write(hex)
    t.strictSame(await client.take(), [], name)
    t.equal(client.isEnded, true, name)
  }
  t.equal(errors.length, 6)
})

forEachVersion(t, 'a second CONNECT is a Protocol Error and gets no second CONNACK [MQTT-3.1.0-2] [MQTT-3.2.0-2]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  client.send(connectPacket({ protocolVersion }))
  const expected = protocolVersion === 5 ? [{ type: PacketType.disconnect, reasonCode: ReasonCode.protocolError }] : []
  exactly(t, await client.take(), expected)
  t.equal(client.isEnded, true)
})

t.test('a CONNECT behind another one that is still being decided on is a Protocol Error [MQTT-3.1.0-2]', async t => {
  let allow: (value: boolean) => void = () => undefined
  const { broker } = await startBroker(t, { hooks: { authenticate: () => new Promise<boolean>(resolve => { allow = resolve }) } })
  const client = new PacketClient(broker, 5)
  client.send(connectPacket(), connectPacket())
  await settled()
  allow(true)
  exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: 0 }, { type: PacketType.disconnect, reasonCode: ReasonCode.protocolError }])
})

t.test('a protocol version that is not supported gets CONNACK 0x84, or 0x01 in 3.x form, and a close [MQTT-3.1.2-2]', async t => {
  const { broker } = await startBroker(t)
  const five = new PacketClient(broker, 5).write('100d 00044d515454 06 02 003c 00 0000')
  exactly(t, await five.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.unsupportedProtocolVersion, sessionPresent: false }])
  t.equal(five.isEnded, true)
  const three = new PacketClient(broker, 4).write('100d 00044d515454 02 02 003c 0001 63')
  exactly(t, await three.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.unsupportedProtocolVersion, sessionPresent: false }])
  t.equal(three.isEnded, true)
})

t.test('a bridge of MQTT 3.x, bit 7 of its protocol level says so, gets nothing back, and retained messages as such', async t => {
  const versions = [[3, '83', '0006 4d5149736470'], [4, '84', '0004 4d515454']] as const
  for (const [version, level, name] of versions) {
    const test = await startBroker(t)
    const bridge = new PacketClient(test.broker, version).write(`10 ${version === 3 ? '0f' : '0d'} ${name} ${level} 02 003c 0001 62`)
    exactly(t, await bridge.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.success }])
    t.match(await bridge.subscribe('a/#', { qos: 1 }), { reasonCodes: [1] })
    t.match(await bridge.subscribe('$share/g/b', { qos: 1 }), { reasonCodes: [1] })
    const [other] = await connect(test, { clientIdentifier: 'other', protocolVersion: version })
    await other.subscribe('a/#')
    bridge.publish('a/1', 'from it').publish('b', 'shared')
    exactly(t, await bridge.messages(), [{ payload: Buffer.from('shared') }], level)
    other.publish('a/2', 'to it', { retain: true })
    exactly(t, await bridge.messages(), [{ payload: Buffer.from('to it'), retain: true }], level)
    exactly(t, await other.messages(), [{ payload: Buffer.from('from it') }, { payload: Buffer.from('to it'), retain: false }], level)
  }
})

t.test('5.0 has options in the place of that bit, and 3.x a name for each level: anything else is not supported [MQTT-3.1.2-2]', async t => {
  const { broker } = await startBroker(t)
  for (const [name, level] of [['0004 4d515454', '85'], ['0004 4d515454', '83'], ['0006 4d5149736470', '84'], ['0004 4d515454', '80']] as const) {
    const client = new PacketClient(broker, 4).write(`10 ${name.startsWith('0006') ? '0f' : '0d'} ${name} ${level} 02 003c 0001 62`)
    exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.unsupportedProtocolVersion }], level)
    t.equal(client.isEnded, true, level)
  }
})

forEachVersion(t, 'Client Identifiers: letters and digits, other characters, and up to the limit; the rest is refused with 0x85 [MQTT-3.1.3-3] [MQTT-3.1.3-5] [MQTT-3.1.3-8]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  for (const clientIdentifier of ['a', '0123456789abcdefghijklmn'.slice(0, 23), 'ABCXYZ', 'ä/+# 🚲', 'x'.repeat(256)]) {
    exactly(t, (await connect(test, { protocolVersion, clientIdentifier }))[1], { reasonCode: 0 }, clientIdentifier)
  }
  exactly(t, await attempt(test, { protocolVersion, clientIdentifier: 'x'.repeat(257) }), { answers: [{ reasonCode: ReasonCode.clientIdentifierNotValid }], isEnded: true })
})

t.test('an empty Client Identifier gets one that is unique, and 5.0 is told it [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16]', async t => {
  const test = await startBroker(t)
  const told = []
  for (let i = 0; i < 3; i++) told.push((await connect(test, { clientIdentifier: '' }))[1].properties?.assignedClientIdentifier)
  await connect(test, { clientIdentifier: '', protocolVersion: 4 })
  const all = [...test.broker.clients()].map(({ clientIdentifier }) => clientIdentifier)
  t.equal(new Set(all).size, 4)
  t.strictSame(told, all.slice(0, 3))
  const [client, connack] = await connect(test, { clientIdentifier: told[0] ?? '', cleanStart: false })
  exactly(t, connack, { sessionPresent: false }, 'the assigned one can be used')
  t.equal(connack.properties?.assignedClientIdentifier, undefined, 'and is not told again')
  t.equal(client.isEnded, false)
})

t.test('an empty Client Identifier with Clean Session 0 is refused in 3.1.1, any empty one in 3.1 [MQTT-3.1.3-8]', async t => {
  const test = await startBroker(t)
  exactly(t, await attempt(test, { clientIdentifier: '', protocolVersion: 4, cleanStart: false }), { answers: [{ reasonCode: ReasonCode.clientIdentifierNotValid }], isEnded: true })
  exactly(t, await attempt(test, { clientIdentifier: '', protocolVersion: 3 }), { answers: [{ reasonCode: ReasonCode.clientIdentifierNotValid }], isEnded: true })
  exactly(t, await attempt(test, { clientIdentifier: 'x'.repeat(24), protocolVersion: 3 }), { answers: [{ reasonCode: ReasonCode.clientIdentifierNotValid }], isEnded: true })
  exactly(t, await attempt(test, { clientIdentifier: 'x'.repeat(23), protocolVersion: 3 }), { answers: [{ reasonCode: ReasonCode.success }], isEnded: false })
})

t.test('a Client Identifier names one Session, whoever connects with it [MQTT-3.1.3-2]', async t => {
  const test = await startBroker(t)
  const [first] = await connect(test, lasting({ clientIdentifier: 'one' }))
  await first.subscribe('a')
  await first.vanish()
  exactly(t, (await connect(test, lasting({ clientIdentifier: 'two' })))[1], { sessionPresent: false })
  exactly(t, (await connect(test, lasting({ clientIdentifier: 'One' })))[1], { sessionPresent: false })
  exactly(t, (await connect(test, lasting({ clientIdentifier: 'one' })))[1], { sessionPresent: true })
})

t.test('User Name and Password reach the host as they are, together or alone [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1]', async t => {
  const seen: unknown[] = []
  const test = await startBroker(t, { hooks: { authenticate: ({ username, password }) => { seen.push([username, password?.toString('hex')]); return true } } })
  await connect(test, { username: 'ü', password: Buffer.from('00ff', 'hex'), will: will() })
  await connect(test, { username: '' })
  await connect(test, { password: Buffer.alloc(0) })
  await connect(test)
  t.strictSame(seen, [['ü', '00ff'], ['', undefined], [undefined, ''], [undefined, undefined]])
})

t.test('CONNACK tells the limits that the Client has to keep to [MQTT-3.3.2-12] [MQTT-3.2.2-9] [MQTT-3.2.2-1]', async t => {
  const test = await startBroker(t, { limits: { receiveMaximum: 7, maximumPacketSize: 1000, topicAliasMaximum: 3 } })
  const [, connack] = await connect(test)
  t.strictSame(connack.properties, { receiveMaximum: 7, maximumPacketSize: 1000, topicAliasMaximum: 3 }, 'QoS 2, retained messages and all kinds of subscriptions are there: nothing says otherwise')
  const client = new PacketClient(test.broker, 4)
  const bytes: Buffer[] = []
  client.stream.on('data', (chunk: Buffer) => { bytes.push(chunk) })
  client.send(connectPacket({ protocolVersion: 4, clientIdentifier: '3.1.1' }))
  await settled()
  t.equal(Buffer.concat(bytes).toString('hex'), '20020000', 'the flags are 0 but for Session Present')
})

t.test('limits of 0 are told as what they are [MQTT-3.2.2-17] [MQTT-3.2.2-18]', async t => {
  const test = await startBroker(t, { limits: { topicAliasMaximum: 0 } })
  const [client, connack] = await connect(test)
  t.equal(connack.properties?.topicAliasMaximum ?? 0, 0)
  client.publish('a', 'x', { properties: { topicAlias: 1 } })
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.topicAliasInvalid }])
})

t.test('Session Expiry Interval is told where it is not what was asked for (section 3.2.2.3.2)', async t => {
  const test = await startBroker(t, { limits: { maximumSessionExpiryInterval: 60 } })
  t.equal((await connect(test, { properties: { sessionExpiryInterval: 61 } }))[1].properties?.sessionExpiryInterval, 60)
  t.equal((await connect(test, { properties: { sessionExpiryInterval: 60 } }))[1].properties?.sessionExpiryInterval, undefined)
  t.equal((await connect(test))[1].properties?.sessionExpiryInterval, undefined)
})

t.test('Response Information comes only when it was asked for [MQTT-3.1.2-28]', async t => {
  const test = await startBroker(t, { responseInformation: ({ clientIdentifier }) => `answers/${clientIdentifier}` })
  t.equal((await connect(test, { properties: { requestResponseInformation: 1 } }))[1].properties?.responseInformation, 'answers/client')
  t.equal((await connect(test, { properties: { requestResponseInformation: 0 } }))[1].properties?.responseInformation, undefined)
  t.equal((await connect(test))[1].properties?.responseInformation, undefined)
})

for (const requestProblemInformation of [0, 1] as const) {
  t.test(`with Request Problem Information ${requestProblemInformation} only CONNACK and DISCONNECT explain themselves [MQTT-3.1.2-29]`, async t => {
    const test = await startBroker(t, { hooks: { authorizePublish: () => false } })
    const [client] = await connect(test, { properties: { requestProblemInformation } })
    client.publish('a', 'x', { qos: 1, packetIdentifier: 1 }).send({ type: PacketType.pubrel, packetIdentifier: 9, reasonCode: 0, properties: undefined })
    exactly(t, await client.take(), [puback(1, ReasonCode.notAuthorized), pubcomp(9, ReasonCode.packetIdentifierNotFound)])
    client.write('c001 00')
    exactly(t, await client.take(), [{ type: PacketType.disconnect, properties: { reasonString: String } }])
    exactly(t, await attempt(test, { will: { topicName: 'a/+', payload: Buffer.alloc(0), qos: 0, retain: false, properties: {} }, properties: { requestProblemInformation } }),
      { answers: [{ type: PacketType.connack, reasonCode: ReasonCode.topicNameInvalid, properties: { reasonString: String } }], isEnded: true })
  })
}

t.test('where the Reason Code says it all there is no Reason String beside it', async t => {
  const test = await startBroker(t, { hooks: { authenticate: ({ clientIdentifier }) => clientIdentifier !== 'stranger' } })
  const [client] = await connect(test)
  await connect(test)
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.sessionTakenOver, properties: undefined }])
  exactly(t, await attempt(test, { clientIdentifier: 'stranger' }), { answers: [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized, properties: undefined }], isEnded: true })
})

t.test('without reasonStrings the Reason Code is all that a Client is told, unless a hook says more', async t => {
  const deny = { allow: false, reasonString: 'you again' } as const
  const test = await startBroker(t, { reasonStrings: false, hooks: { authenticate: ({ clientIdentifier }) => clientIdentifier === 'stranger' ? deny : true } })
  const [client] = await connect(test)
  client.write('c001 00')
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.malformedPacket, properties: undefined }])
  exactly(t, await attempt(test, { clientIdentifier: 'stranger' }), { answers: [{ type: PacketType.connack, properties: { reasonString: 'you again' } }], isEnded: true })
})

t.test('a CONNECT with an Authentication Method nobody offers is refused with 0x8C [MQTT-4.12.0-1]', async t => {
  const test = await startBroker(t)
  exactly(t, await attempt(test, { properties: { authenticationMethod: 'none' } }), { answers: [{ type: PacketType.connack, reasonCode: ReasonCode.badAuthenticationMethod }], isEnded: true })
})

forEachVersion(t, 'a Client that is silent for one and a half times its Keep Alive is disconnected, and not before [MQTT-3.1.2-22] [MQTT-3.2.2-22]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion, keepAlive: 10, will: will() })
  const [watcher] = await connect(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('will')
  await test.clock.advance(14_999)
  t.equal(client.isEnded, false)
  t.strictSame(await client.take(), [])
  await test.clock.advance(1_501)
  exactly(t, await client.take(), protocolVersion === 5 ? [{ type: PacketType.disconnect, reasonCode: ReasonCode.keepAliveTimeout }] : [])
  t.equal(client.isEnded, true)
  t.strictSame(await watcher.payloads(), ['gone'], 'as if the network had failed')
})

forEachVersion(t, 'any Control Packet shows that a Client is alive, and PINGREQ is answered [MQTT-3.12.4-1] [MQTT-3.1.2-20] [MQTT-3.1.2-22]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion, keepAlive: 10 })
  for (let i = 0; i < 3; i++) {
    await test.clock.advance(12_000)
    client.send(ping)
    exactly(t, await client.take(), isPong)
    await test.clock.advance(12_000)
    client.publish('a', 'x')
    t.strictSame(await client.take(), [])
  }
  t.equal(client.isEnded, false)
})

forEachVersion(t, 'what the broker sends does not keep a Client alive', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion, keepAlive: 10 })
  await client.subscribe('a')
  for (let i = 0; i < 9; i++) {
    await test.broker.publish('a', 'x')
    await test.clock.advance(2_000)
  }
  t.equal(client.isEnded, true)
})

forEachVersion(t, 'Keep Alive 0 turns the mechanism off (section 3.1.2.10)', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion, keepAlive: 0 })
  await test.clock.advance(60_000)
  client.send(ping)
  exactly(t, await client.take(), isPong)
})

t.test('Server Keep Alive is told where it is not the Client\'s, and counts [MQTT-3.1.2-21] [MQTT-3.2.2-21]', async t => {
  const test = await startBroker(t, { limits: { maximumKeepAlive: 20 } })
  const clients = await Promise.all([0, 21, 20, 19].map(keepAlive => connect(test, { keepAlive, clientIdentifier: `k${keepAlive}` })))
  t.strictSame(clients.map(([, connack]) => connack.properties?.serverKeepAlive), [20, 20, undefined, undefined])
  await test.clock.advance(28_400)
  t.strictSame(clients.map(([client]) => client.isEnded), [false, false, false, false])
  await test.clock.advance(2_100)
  t.strictSame(clients.map(([client]) => client.isEnded), [true, true, true, true])
})

t.test('a Server Keep Alive of the host\'s onConnect counts, for 3.x too', async t => {
  const test = await startBroker(t, { hooks: { onConnect: () => ({ keepAlive: 5 }) } })
  const [five, connack] = await connect(test, { keepAlive: 60 })
  const [three] = await connect(test, { keepAlive: 60, clientIdentifier: 'three', protocolVersion: 4 })
  t.equal(connack.properties?.serverKeepAlive, 5)
  await test.clock.advance(9_000)
  t.strictSame([five.isEnded, three.isEnded], [true, true])
})

t.test('a connection has connectTimeoutMs until its CONNECT is complete', async t => {
  const { broker, clock } = await startBroker(t, { limits: { connectTimeoutMs: 3_000 } })
  const whole = encode(connectPacket(), 5).toString('hex')
  const clients = ['', '10', whole.slice(0, -2)].map(hex => new PacketClient(broker, 5).write(hex))
  await clock.advance(2_900)
  t.strictSame(clients.map(({ isEnded }) => isEnded), [false, false, false])
  const late = new PacketClient(broker, 5).write(whole)
  exactly(t, await late.take(), [{ type: PacketType.connack, reasonCode: 0 }])
  await clock.advance(700)
  t.strictSame(clients.map(({ isEnded }) => isEnded), [true, true, true])
  t.equal(late.isEnded, false, 'one that is connected stays')
})

t.test('a broker that shuts down tells 5.0 Clients with 0x8B, and takes nobody in [MQTT-3.14.2-2]', async t => {
  const published: string[] = []
  const test = await startBroker(t, { serverReference: 'elsewhere:1883', closeTimeoutMs: 1_000, hooks: { published: ({ message }) => { published.push(message.topicName) } } })
  const [five] = await connect(test, { will: will() })
  const [three] = await connect(test, { protocolVersion: 4, clientIdentifier: 'three' })
  const early = new PacketClient(test.broker, 5)
  const closing = test.broker.close()
  const packets = await five.take()
  exactly(t, packets, [{ type: PacketType.disconnect, reasonCode: ReasonCode.serverShuttingDown, properties: { serverReference: 'elsewhere:1883' } }])
  t.equal(packets[0]?.type === PacketType.disconnect ? packets[0].properties?.sessionExpiryInterval : 0, undefined, 'a server sends no Session Expiry Interval [MQTT-3.14.2-2]')
  t.strictSame(await three.take(), [])
  t.strictSame([five.isEnded, three.isEnded, early.isEnded], [true, true, true])
  await test.clock.advance(1_000)
  await closing
  t.strictSame(published, [], 'no Will Message: the broker has gone, not its Clients')
  const [, theirs] = duplexPair()
  test.broker.handle(theirs)
  t.equal(theirs.destroyed, true)
})
