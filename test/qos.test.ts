import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType, type Packet, type QoS } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, puback, pubcomp, pubrec, pubrel, receiveAll } from './support/exchanges.ts'
import { connect, forEachVersion, settled, startBroker, type PacketClient, type TestBroker } from './support/harness.ts'

/** A subscriber of `a` whose Session outlives its connections. */
async function sleeper (test: TestBroker, protocolVersion: 3 | 4 | 5, receiveMaximum = 65_535): Promise<PacketClient> {
  const [client] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper', properties: { sessionExpiryInterval: 3600, receiveMaximum } }))
  await client.subscribe('a', { qos: 2 })
  return client
}

async function publish ({ broker }: TestBroker, payloads: readonly string[], qos: QoS): Promise<void> {
  for (const payload of payloads) await broker.publish('a', payload, { qos })
}

const idsOf = (packets: readonly Packet[]): number[] => packets.map(packet => 'packetIdentifier' in packet ? packet.packetIdentifier : 0)

// --- from a Client

forEachVersion(t, 'QoS 1 in: PUBACK with the same identifier; QoS 0: nothing [MQTT-4.3.2-4] [MQTT-2.2.1-5] [MQTT-3.4.2-1]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  await client.subscribe('b')
  client.publish('b', '0').publish('b', '1', { qos: 1, packetIdentifier: 65_535 }).publish('b', '2', { qos: 1, packetIdentifier: 1 })
  const packets = await client.take()
  exactly(t, packets.filter(({ type }) => type === PacketType.puback), [puback(65_535), puback(1)], 'in the order of the PUBLISH packets [MQTT-4.6.0-2]')
  t.equal(packets.length, 5)
})

forEachVersion(t, 'after PUBACK the identifier means a new message, whatever DUP says [MQTT-4.3.2-5]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, 4)
  const [publisher] = await connect(test, { protocolVersion })
  for (const dup of [false, false, true]) publisher.publish('a', 'x', { qos: 1, packetIdentifier: 7, dup })
  exactly(t, await publisher.take(), [puback(7), puback(7), puback(7)])
  t.equal((await receiveAll(client)).length, 3)
})

forEachVersion(t, 'QoS 2 in: PUBREC, then PUBCOMP for PUBREL, and one delivery however often either is repeated [MQTT-4.3.3-8] [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-3.5.2-1] [MQTT-3.7.2-1]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  const [publisher] = await connect(test, { protocolVersion })
  for (const dup of [false, true, false]) {
    publisher.publish('a', 'x', { qos: 2, packetIdentifier: 7, dup })
    exactly(t, await publisher.take(), [pubrec(7)])
  }
  exactly(t, await publisher.send(pubrel(7)).take(), [pubcomp(7)])
  exactly(t, await publisher.send(pubrel(7)).take(), [pubcomp(7, protocolVersion === 5 ? ReasonCode.packetIdentifierNotFound : 0)])
  t.strictSame(payloadsOf(await receiveAll(client)), ['x'])
})

forEachVersion(t, 'after PUBCOMP the identifier means a new message [MQTT-4.3.3-12]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  const [publisher] = await connect(test, { protocolVersion })
  for (const payload of ['1', '2']) publisher.publish('a', payload, { qos: 2, packetIdentifier: 7 }).send(pubrel(7))
  exactly(t, await publisher.take(), [pubrec(7), pubcomp(7), pubrec(7), pubcomp(7)])
  t.strictSame(payloadsOf(await receiveAll(client)), ['1', '2'])
})

t.test('after a PUBREC with an error the identifier is free: the next PUBLISH is a new message [MQTT-4.3.3-9]', async t => {
  let isAllowed = false
  const test = await startBroker(t, { hooks: { authorizePublish: () => isAllowed } })
  const client = await sleeper(test, 5)
  const [publisher] = await connect(test)
  publisher.publish('a', 'refused', { qos: 2, packetIdentifier: 7 })
  exactly(t, await publisher.take(), [{ type: PacketType.pubrec, packetIdentifier: 7, reasonCode: ReasonCode.notAuthorized }])
  isAllowed = true
  publisher.publish('a', 'allowed', { qos: 2, packetIdentifier: 7 })
  exactly(t, await publisher.take(), [pubrec(7)])
  t.strictSame(payloadsOf(await receiveAll(client)), ['allowed'])
})

forEachVersion(t, 'a QoS 2 exchange goes on in the next connection: repeated PUBLISH is delivered once, PUBREL completes it [MQTT-4.3.3-10] [MQTT-4.3.3-11] [MQTT-4.4.0-1]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  const [publisher] = await open(test, lasting({ protocolVersion }))
  for (const id of [1, 2]) publisher.publish('a', String(id), { qos: 2, packetIdentifier: id })
  exactly(t, await publisher.take(), [pubrec(1), pubrec(2)])
  await publisher.vanish()
  const [again] = await open(test, lasting({ protocolVersion }))
  again.send(pubrel(1)).publish('a', '2', { qos: 2, packetIdentifier: 2, dup: true }).send(pubrel(2))
  exactly(t, await again.take(), [pubcomp(1), pubrec(2), pubcomp(2)])
  t.strictSame(payloadsOf(await receiveAll(client)), ['1', '2'])
})

forEachVersion(t, 'a new Session knows nothing of the identifiers of the one before', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  for (let i = 0; i < 2; i++) {
    const [publisher] = await open(test, { protocolVersion, clientIdentifier: 'p' })
    publisher.publish('a', String(i), { qos: 2, packetIdentifier: 1 })
    await publisher.take()
  }
  t.strictSame(payloadsOf(await receiveAll(client)), ['0', '1'])
})

forEachVersion(t, 'identifiers of the Client and of the broker are two spaces [MQTT-2.2.1-3]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  await client.subscribe('b')
  client.publish('b', 'x', { qos: 2, packetIdentifier: 1 })
  exactly(t, await client.take(), [{ type: PacketType.publish, packetIdentifier: 1 }, pubrec(1)])
  client.send(pubrel(1), pubrec(1))
  exactly(t, await client.take(), [pubcomp(1), pubrel(1)])
})

t.test('a QoS 2 message that expires in mid-exchange is acknowledged to the end [MQTT-4.3.3-13]', async t => {
  const test = await startBroker(t)
  const [publisher] = await connect(test)
  publisher.publish('a', 'x', { qos: 2, packetIdentifier: 1, properties: { messageExpiryInterval: 1 } })
  exactly(t, await publisher.take(), [{ type: PacketType.pubrec }])
  await test.clock.advance(5_000)
  exactly(t, await publisher.send(pubrel(1)).take(), [pubcomp(1)])
})

t.test('Receive Maximum of the broker: that many QoS 2 messages may be open, one more ends the connection with 0x93 [MQTT-3.3.4-7] [MQTT-4.9.0-1]', async t => {
  const test = await startBroker(t, { limits: { receiveMaximum: 2 } })
  const [client] = await connect(test)
  for (const id of [1, 2]) client.publish('a', 'x', { qos: 2, packetIdentifier: id })
  client.publish('a', 'x', { qos: 2, packetIdentifier: 2, dup: true }).send(pubrel(1)).publish('a', 'x', { qos: 2, packetIdentifier: 3 })
  exactly(t, (await client.take()).map(({ type }) => type), [PacketType.pubrec, PacketType.pubrec, PacketType.pubrec, PacketType.pubcomp, PacketType.pubrec])
  client.publish('a', 'x', { qos: 2, packetIdentifier: 4 })
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.receiveMaximumExceeded }])
  t.equal(client.isEnded, true)
})

// --- to a Client

forEachVersion(t, 'QoS 0 out: DUP 0 and no identifier [MQTT-4.3.1-1] [MQTT-2.2.1-2] [MQTT-3.3.1-2]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  await publish(test, ['x'], 0)
  exactly(t, await client.messages(), [{ qos: 0, dup: false, packetIdentifier: 0 }])
})

forEachVersion(t, 'QoS 1 and 2 out: DUP 0 and identifiers of their own; no identifier comes again before it is free [MQTT-4.3.2-1] [MQTT-4.3.2-2] [MQTT-4.3.3-1] [MQTT-4.3.3-2] [MQTT-2.2.1-4]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  for (let i = 0; i < 50; i++) await publish(test, ['x'], i % 2 === 0 ? 1 : 2)
  const messages = await client.messages()
  t.ok(messages.every(({ dup, packetIdentifier }) => !dup && packetIdentifier > 0))
  t.equal(new Set(idsOf(messages)).size, 50)
})

t.test('identifiers go round past 65,535, leaving out those in use [MQTT-2.2.1-4]', async t => {
  const test = await startBroker(t)
  const client = await sleeper(test, 5)
  await publish(test, ['held'], 1)
  const [held] = await client.messages()
  const seen = new Set<number>()
  for (let i = 0; i < 66; i++) {
    for (let j = 0; j < 1000; j++) void test.broker.publish('a', '', { qos: 1 })
    for (const { packetIdentifier } of await receiveAll(client)) seen.add(packetIdentifier)
  }
  t.ok(seen.size < 66_000, 'they came round')
  t.ok(Math.max(...seen) > 65_000 && Math.max(...seen) <= 65_535)
  t.strictSame([seen.has(0), seen.has(held?.packetIdentifier ?? 0)], [false, false])
})

forEachVersion(t, 'QoS 2 out: PUBREL with the identifier for each PUBREC, and nothing of it after PUBCOMP [MQTT-4.3.3-4] [MQTT-3.6.2-1] [MQTT-4.6.0-4]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  await publish(test, ['1', '2'], 2)
  const [one = 0, two = 0] = idsOf(await client.messages())
  exactly(t, await client.send(pubrec(two), pubrec(one), pubrec(one)).take(), [pubrel(two), pubrel(one), pubrel(one)], 'in the order of the PUBREC packets')
  t.strictSame(await client.send(pubcomp(one), pubcomp(two)).take(), [])
  await client.vanish()
  const [again] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' }))
  t.strictSame(await again.take(), [])
})

t.test('acknowledgements with Reason Code and properties are understood; those with an error end the exchange [MQTT-4.4.0-2] [MQTT-4.3.3-4] [MQTT-2.2.2-1]', async t => {
  const test = await startBroker(t)
  const client = await sleeper(test, 5, 2)
  const properties = { reasonString: 'why', userProperties: [['k', 'v']] as const }
  await publish(test, ['1', '2'], 1)
  await publish(test, ['3', '4', '5'], 2)
  const [one = 0, two = 0] = idsOf(await client.messages())
  client.send(puback(one, ReasonCode.quotaExceeded, properties), puback(two, ReasonCode.success, properties))
  const [three = 0, four = 0] = idsOf(await client.messages())
  client.send(pubrec(three, ReasonCode.unspecifiedError, properties), pubrec(four, ReasonCode.noMatchingSubscribers, properties))
  const [rest, release] = (await client.take()).sort((a, b) => a.type - b.type)
  exactly(t, rest, { type: PacketType.publish, payload: Buffer.from('5') }, 'the window has room again')
  exactly(t, release, pubrel(four))
  client.send(pubcomp(four, ReasonCode.packetIdentifierNotFound, properties))
  await client.vanish()
  const [again] = await open(test, lasting({ clientIdentifier: 'sleeper' }))
  t.strictSame(payloadsOf(await receiveAll(again)), ['5'])
})

t.test('acknowledgements for identifiers that are not in use, or of another QoS, change nothing (section 4.3.3)', async t => {
  const test = await startBroker(t)
  const client = await sleeper(test, 5, 1)
  exactly(t, await client.send(puback(9), pubcomp(9), pubrec(9)).take(), [{ type: PacketType.pubrel, packetIdentifier: 9, reasonCode: ReasonCode.packetIdentifierNotFound }])
  await publish(test, ['1'], 2)
  await publish(test, ['2'], 1)
  const [one = 0] = idsOf(await client.messages())
  t.strictSame(await client.send(puback(one)).take(), [], 'QoS 2 is not done with PUBACK')
  client.send(pubrec(one), pubcomp(one))
  exactly(t, await client.take(), [pubrel(one), { payload: Buffer.from('2') }])
  t.strictSame(await client.send(pubcomp(one + 1)).take(), [])
})

for (const qos of [1, 2] as const) {
  forEachVersion(t, `QoS ${qos} out: what is not acknowledged is resent in the next connection, same identifier, DUP 1, same order, and only then [MQTT-3.3.1-1] [MQTT-4.4.0-1] [MQTT-4.3.2-3] [MQTT-4.3.3-3] [MQTT-4.6.0-1]`, async (t, protocolVersion) => {
    const test = await startBroker(t)
    const client = await sleeper(test, protocolVersion)
    await publish(test, ['1', '2', '3'], qos)
    const messages = await client.messages()
    await test.clock.advance(30_000)
    t.strictSame(await client.take(), [], 'nothing is resent while the connection lasts')
    for (let i = 0; i < 2; i++) {
      await (i === 0 ? client : (await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' })))[0]).vanish()
    }
    const [again] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' }))
    await publish(test, ['4'], qos)
    t.strictSame((await again.messages()).map(({ payload, dup, packetIdentifier }) => [payload.toString(), dup, packetIdentifier]),
      [...messages.map(({ payload, packetIdentifier }) => [payload.toString(), true, packetIdentifier]), ['4', false, (messages.at(-1)?.packetIdentifier ?? 0) + 1]])
  })
}

forEachVersion(t, 'after PUBREC a new connection gets PUBREL, never PUBLISH again, until PUBCOMP [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  await publish(test, ['1', '2', '3'], 2)
  const [one = 0, two = 0, three = 0] = idsOf(await client.messages())
  await client.send(pubrec(two)).take()
  await client.vanish()
  for (let i = 0; i < 2; i++) {
    const [again] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' }))
    exactly(t, await again.take(), [{ type: PacketType.publish, packetIdentifier: one, dup: true }, pubrel(two), { type: PacketType.publish, packetIdentifier: three, dup: true }])
    await again.vanish()
  }
  const [last] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' }))
  t.strictSame(payloadsOf(await receiveAll(last)), ['1', '3'])
  await last.vanish()
  t.strictSame((await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' })))[0].received, [])
})

forEachVersion(t, 'what waited for an absent Client comes in the order of publishing, behind what is resent [MQTT-4.5.0-1] [MQTT-4.6.0-5] [MQTT-4.6.0-6]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const client = await sleeper(test, protocolVersion)
  await publish(test, ['1', '2'], 1)
  await settled()
  await client.vanish()
  for (let i = 3; i < 60; i++) await publish(test, [String(i)], i % 2 === 0 ? 1 : 2)
  await publish(test, ['lost'], 0)
  const [again] = await open(test, lasting({ protocolVersion, clientIdentifier: 'sleeper' }))
  await publish(test, ['60'], 1)
  t.strictSame(payloadsOf(await receiveAll(again)), Array.from({ length: 60 }, (_, i) => String(i + 1)))
})

for (const qos of [0, 1, 2] as const) {
  forEachVersion(t, `QoS ${qos} messages of a Client on a topic arrive in order, past slow hooks, too [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.6.0-3]`, async (t, protocolVersion) => {
    const test = await startBroker(t, { hooks: { authorizePublish: async ({ message }) => { if (message.payload[0] === 0x31) await settled(); return true } } })
    const client = await sleeper(test, protocolVersion)
    const [publisher] = await connect(test, { protocolVersion })
    for (let i = 10; i < 40; i++) publisher.publish('a', String(i), { qos, packetIdentifier: qos === 0 ? 0 : i })
    for (let i = 0; i < 12; i++) await settled()
    t.strictSame(idsOf(await publisher.take()), qos === 0 ? [] : Array.from({ length: 30 }, (_, i) => i + 10), 'acknowledgements, too')
    t.strictSame(payloadsOf(await receiveAll(client)), Array.from({ length: 30 }, (_, i) => String(i + 10)))
  })
}

for (const qos of [1, 2] as const) {
  t.test(`Receive Maximum of the Client: no more QoS ${qos} messages are open, other packets go on, QoS 0 too [MQTT-3.3.4-9] [MQTT-3.3.4-10] [MQTT-4.9.0-2] [MQTT-4.9.0-3]`, async t => {
    const test = await startBroker(t)
    const client = await sleeper(test, 5, 3)
    await publish(test, ['1', '2', '3', '4', '5'], qos)
    await publish(test, ['now'], 0)
    const messages = await client.messages()
    t.strictSame(payloadsOf(messages), ['1', '2', '3', 'now'])
    client.send({ type: PacketType.pingreq }).publish('b', 'x', { qos: 1, packetIdentifier: 1 })
    exactly(t, (await client.take()).map(({ type }) => type), [PacketType.pingresp, PacketType.puback])
    const [one = 0, two = 0] = idsOf(messages)
    if (qos === 2) {
      exactly(t, await client.send(pubrec(one)).take(), [pubrel(one)], 'a message counts until PUBCOMP')
      exactly(t, await client.send(pubcomp(one)).take(), [{ payload: Buffer.from('4') }])
      exactly(t, await client.send(pubrec(two, ReasonCode.unspecifiedError)).take(), [{ payload: Buffer.from('5') }], 'or a PUBREC with an error')
    } else {
      exactly(t, await client.send(puback(one)).take(), [{ payload: Buffer.from('4') }])
      exactly(t, await client.send(puback(two)).take(), [{ payload: Buffer.from('5') }])
    }
  })
}

t.test('Receive Maximum of each connection holds for what is resent, and an absent one is 65,535 [MQTT-3.3.4-9] [MQTT-4.9.0-1]', async t => {
  const test = await startBroker(t)
  const client = await sleeper(test, 5)
  await publish(test, ['1', '2', '3', '4'], 1)
  t.equal((await client.messages()).length, 4)
  await client.vanish()
  const [again] = await open(test, { ...lasting(), clientIdentifier: 'sleeper', properties: { receiveMaximum: 1, sessionExpiryInterval: 60 } })
  await publish(test, ['5'], 1)
  for (const expected of ['1', '2', '3', '4', '5']) {
    const messages = await again.messages()
    t.strictSame(payloadsOf(messages), [expected])
    again.send(puback(messages[0]?.packetIdentifier ?? 0))
  }
  t.strictSame(await again.messages(), [])
})

t.test('maximumInFlight holds where the Client allows more, and for 3.x', async t => {
  const test = await startBroker(t, { limits: { maximumInFlight: 2 } })
  for (const version of [4, 5] as const) {
    const client = await sleeper(test, version)
    await publish(test, ['1', '2', '3'], 1)
    t.equal((await client.messages()).length, 2)
    await client.vanish()
    await connect(test, { clientIdentifier: 'sleeper' })
  }
})

t.test('an acknowledgement for what was not resent yet makes no room beyond Receive Maximum [MQTT-3.3.4-9]', async t => {
  const test = await startBroker(t)
  const client = await sleeper(test, 5)
  await publish(test, ['1', '2', '3', '4', '5'], 1)
  const ids = idsOf(await client.messages())
  await client.vanish()
  const [again] = await open(test, { ...lasting(), clientIdentifier: 'sleeper', properties: { receiveMaximum: 2, sessionExpiryInterval: 60 } })
  t.strictSame(payloadsOf(await again.messages()), ['1', '2'])
  for (const id of ids.slice(2, 4)) again.send(puback(id)) // 3 and 4, which came before the connection broke
  t.strictSame(await again.messages(), [], 'two are still unacknowledged')
  again.send(puback(ids[0] ?? 0))
  t.strictSame(payloadsOf(await again.messages()), ['5'])
})
