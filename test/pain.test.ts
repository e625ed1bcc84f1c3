import t from 'tap'
import fc from 'fast-check'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ReasonCode, type ClientInfo } from '../lib/index.ts'
import { PacketType, type AcknowledgeType, type QoS } from '../lib/packet/packets.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { startObserved, tryConnect } from './support/observe.ts'

// What users of today's brokers suffer, each line a test that it cannot happen here: wrong, lost and duplicated messages (1 to 10), speed
// (11 to 16), memory (17 to 20). Lines about Redis and several processes (12, 13, 21 to 29) belong to the tests of those.

const persistent = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } }

function acknowledgement (type: AcknowledgeType, packetIdentifier: number): { type: AcknowledgeType, packetIdentifier: number, reasonCode: 0, properties: undefined } {
  return { type, packetIdentifier, reasonCode: 0, properties: undefined }
}

/** A Client that acknowledges every QoS 1 message at once; `payloads` grows. */
async function connectEager (test: TestBroker, clientIdentifier: string): Promise<{ client: PacketClient, payloads: string[], collect: () => Promise<void> }> {
  const [client] = await connect(test, { clientIdentifier, ...persistent })
  const payloads: string[] = []
  const collect = async (): Promise<void> => {
    for (let batch = await client.messages(); batch.length > 0; batch = await client.messages()) {
      payloads.push(...batch.map(({ payload }) => payload.toString()))
      client.send(...batch.filter(({ qos }) => qos === 1).map(({ packetIdentifier }) => acknowledgement(PacketType.puback, packetIdentifier)))
    }
  }
  return { client, payloads, collect }
}

async function sys (test: TestBroker, name: string): Promise<number> {
  const subscription = test.broker.subscribe(`$SYS/broker/${name}`)
  const { value } = await subscription.next()
  subscription.unsubscribe()
  return Number(value?.payload.toString())
}

t.test('PAIN 1: every acknowledged QoS 1 message reaches every live subscriber, whatever hooks delay and whoever is offline', async t => {
  await fc.assert(fc.asyncProperty(fc.array(fc.record({ publisher: fc.nat(2), turns: fc.nat(3), retain: fc.boolean() }), { minLength: 1, maxLength: 40 }), async plan => {
    const turns = plan.map(step => step.turns)
    const authorizePublish = async (): Promise<boolean> => {
      for (let left = turns.shift() ?? 0; left > 0; left--) await new Promise(resolve => { setImmediate(resolve) })
      return true
    }
    const test = await startBroker(t, { hooks: { authorizePublish } })
    const [offline] = await connect(test, { clientIdentifier: 'offline', ...persistent })
    await offline.subscribe('x/#', { qos: 1 })
    await offline.vanish()
    const subscriber = await connectEager(test, 'live')
    await subscriber.client.subscribe('x/#', { qos: 1 })
    const publishers = await Promise.all([0, 1, 2].map(async id => (await connect(test, { clientIdentifier: `publisher ${id}` }))[0]))
    for (const [i, { publisher, retain }] of plan.entries()) publishers[publisher]?.publish(`x/${publisher}`, `${publisher} ${i}`, { qos: 1, packetIdentifier: i + 1, retain })
    for (let i = 0; i < 30; i++) await settled()
    const acknowledged = (await Promise.all(publishers.map(publisher => publisher.takeType(PacketType.puback)))).flat()
    await subscriber.collect()
    const of = (publisher: number): string[] => plan.flatMap((step, i) => step.publisher === publisher ? [`${publisher} ${i}`] : [])
    t.equal(acknowledged.length, plan.length)
    for (const id of [0, 1, 2]) t.strictSame(subscriber.payloads.filter(payload => payload.startsWith(`${id}`)), of(id), 'all, once, in order')
  }), { numRuns: 8 })
})

forEachVersion(t, 'PAIN 2: PUBACK and PUBREC come after the message was taken and routed, never before', async (t, protocolVersion) => {
  const order: string[] = []
  const test = await startBroker(t, { hooks: { authorizePublish: () => Promise.resolve(true), published: ({ message }) => { order.push(`routed ${message.qos}`) } } })
  const [client] = await connect(test, { protocolVersion })
  client.stream.on('data', () => { order.push('acknowledged') })
  for (const qos of [1, 2] as const) await client.publish('a', 'x', { qos, packetIdentifier: qos }).take()
  t.strictSame(order, ['routed 1', 'acknowledged', 'routed 2', 'acknowledged'])
})

forEachVersion(t, 'PAIN 3: a SUBSCRIBE of many filters on a persistent Session gets its SUBACK', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion, cleanStart: false })
  const subscriptions = Array.from({ length: 50 }, (_, i) => ({ topicFilter: `f/${i % 40}`, qos: (i % 3) as QoS, noLocal: false, retainAsPublished: false, retainHandling: 0 as const }))
  client.send({ type: PacketType.subscribe, packetIdentifier: 9, subscriptions, properties: undefined })
  t.match(await client.take(), [{ type: PacketType.suback, packetIdentifier: 9, reasonCodes: subscriptions.map(({ qos }) => qos) }])
})

forEachVersion(t, 'PAIN 4: a wildcard gets what was granted at most, overlapping filters the highest of theirs, once [MQTT-3.3.5-1]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  await client.subscribe('a/+', { qos: 1 })
  await test.broker.publish('a/b', 'x', { qos: 2 })
  t.match(await client.messages(), [{ qos: 1 }])
  for (const [topicFilter, qos] of [['a/b', 0], ['a/#', 2], ['#', 1]] as const) await client.subscribe(topicFilter, { qos })
  await test.broker.publish('a/b', 'x', { qos: 2 })
  const messages = await client.messages()
  t.strictSame(messages.map(({ qos }) => qos), [2])
})

t.test('PAIN 5: all offline messages come back, however many, and live ones behind them', async t => {
  const test = await startBroker(t)
  const first = await connectEager(test, 'away')
  await first.client.subscribe('a', { qos: 1 })
  await first.client.vanish()
  for (let i = 0; i < 2000; i++) await test.broker.publish('a', `${i}`, { qos: 1 })
  const client = new PacketClient(test.broker, 5)
  client.send(connectPacket({ clientIdentifier: 'away', ...persistent, properties: { sessionExpiryInterval: 3600, receiveMaximum: 10 } }))
  await test.broker.publish('a', 'live', { qos: 1 })
  const payloads: string[] = []
  for (let batch = await client.messages(); batch.length > 0; batch = await client.messages()) {
    t.ok(batch.length <= 10)
    payloads.push(...batch.map(({ payload }) => payload.toString()))
    client.send(...batch.map(({ packetIdentifier }) => acknowledgement(PacketType.puback, packetIdentifier)))
  }
  t.strictSame(payloads, [...Array.from({ length: 2000 }, (_, i) => `${i}`), 'live'])
})

forEachVersion(t, 'PAIN 6: QoS 2 with RETAIN on a Session that is kept goes its whole way, both ways, once', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion, cleanStart: false })
  await client.subscribe('a', { qos: 2 })
  client.publish('a', 'x', { qos: 2, packetIdentifier: 5, retain: true }).publish('a', 'x', { qos: 2, packetIdentifier: 5, retain: true, dup: true })
  const [message] = (await client.take()).filter(packet => packet.type === PacketType.publish)
  client.send(acknowledgement(PacketType.pubrel, 5), acknowledgement(PacketType.pubrec, message?.packetIdentifier ?? 0))
  t.match(await client.take(), [{ type: PacketType.pubcomp, packetIdentifier: 5 }, { type: PacketType.pubrel }])
  client.send(acknowledgement(PacketType.pubcomp, message?.packetIdentifier ?? 0))
  t.strictSame([await client.take(), client.isEnded], [[], false])
})

forEachVersion(t, 'PAIN 7: an acknowledgement takes away its own message only; DUP is for what was sent before', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const fields = { protocolVersion, cleanStart: false, clientIdentifier: 'c', properties: protocolVersion === 5 ? { sessionExpiryInterval: 60 } : undefined }
  const [client] = await connect(test, fields)
  await client.subscribe('a', { qos: 1 })
  for (const payload of ['1', '2', '3']) await test.broker.publish('a', payload, { qos: 1 })
  const sent = await client.messages()
  client.send(acknowledgement(PacketType.puback, sent[1]?.packetIdentifier ?? 0), acknowledgement(PacketType.puback, 999))
  await settled()
  await client.vanish()
  await test.broker.publish('a', '4', { qos: 1 })
  const again = new PacketClient(test.broker, protocolVersion)
  again.send(connectPacket(fields))
  t.strictSame((await again.messages()).map(({ payload, dup }) => [payload.toString(), dup]), [['1', true], ['3', true], ['4', false]])
})

forEachVersion(t, 'PAIN 8: no retained message where the subscription was refused, and one only for one that was made', async (t, protocolVersion) => {
  const test = await startBroker(t, { hooks: { authorizeSubscribe: ({ topicFilter }) => topicFilter !== '#' } })
  await test.broker.publish('a', 'kept', { retain: true })
  const [client] = await connect(test, { protocolVersion })
  await client.subscribe('#')
  t.strictSame(await client.payloads(), [])
  await client.subscribe('a')
  t.strictSame(await client.payloads(), ['kept'])
})

t.test('PAIN 9: a Will Message is published once: not after a take-over within its delay, not twice, not after DISCONNECT', async t => {
  const test = await startBroker(t)
  const wills: string[] = []
  test.broker.subscribe('will', ({ payload }) => { wills.push(payload.toString()) })
  const willOf = (text: string, willDelayInterval: number) => ({ topicName: 'will', payload: Buffer.from(text), qos: 1, retain: false, properties: { willDelayInterval } }) as const
  const [first] = await connect(test, { ...persistent, will: willOf('first', 10) })
  await first.vanish()
  await test.clock.advance(9000)
  const [second] = await connect(test, { ...persistent, will: willOf('second', 10) })
  await connect(test, { ...persistent, will: willOf('third', 10) })
  t.equal(second.isEnded, true, 'taken over')
  await test.clock.advance(60_000)
  t.strictSame(wills, [])
  test.broker.disconnect('client')
  await test.clock.advance(60_000)
  t.strictSame(wills, ['third'])
  const [last] = await connect(test, { will: willOf('last', 0) })
  last.disconnect()
  await test.clock.advance(60_000)
  t.strictSame(wills, ['third'])
})

t.test('PAIN 10: an old deadline does not end a Session whose Client is back, and a Session that is due does end', async t => {
  const test = await startObserved(t)
  const fields = { cleanStart: false, properties: { sessionExpiryInterval: 10 } }
  const [first] = await connect(test, fields)
  await first.subscribe('a')
  await first.vanish()
  await test.clock.advance(9000)
  const [second] = await connect(test, fields)
  await test.clock.advance(60_000)
  await test.broker.publish('a', 'x')
  t.strictSame(await second.payloads(), ['x'])
  await second.vanish()
  await test.clock.advance(11_000)
  t.strictSame(test.events.filter(event => event.startsWith('ended')), ['ended client'])
})

t.test('PAIN 11: one slow consumer freezes nobody', async t => {
  const test = await startObserved(t, { limits: { maximumOutboxBytes: 100_000 } })
  const [frozen] = await connect(test, { clientIdentifier: 'frozen' })
  await frozen.subscribe('#', { qos: 1 })
  frozen.stream.pause()
  const fast = await connectEager(test, 'fast')
  await fast.client.subscribe('#', { qos: 1 })
  const [publisher] = await connect(test, { clientIdentifier: 'publisher' })
  for (let i = 0; i < 1000; i++) {
    publisher.publish('a', 'x'.repeat(500), { qos: (i % 2) as QoS, packetIdentifier: i + 1 })
    if (i % 50 === 0) await fast.collect()
  }
  await fast.collect()
  t.equal(fast.payloads.length, 1000)
  t.equal((await publisher.takeType(PacketType.puback)).length, 500)
  t.ok(test.events.includes('drop slowConsumer frozen'), 'QoS 0 goes first')
  t.equal(test.broker.metrics.clientsConnected, 3)
})

t.test('PAIN 14: a wildcard SUBSCRIBE costs what it matches: retained messages beside it are not touched', async t => {
  let asked = 0
  const test = await startBroker(t, { hooks: { authorizeDeliver: () => { asked++; return true } } })
  for (let i = 0; i < 2000; i++) await test.broker.publish(`other/${i}/x`, 'x', { retain: true })
  for (let i = 0; i < 3; i++) await test.broker.publish(`mine/${i}/x`, 'x', { retain: true })
  const [client] = await connect(test)
  await client.subscribe('mine/+/x')
  t.equal((await client.messages()).length, 3)
  t.equal(asked, 3, 'the others were not even looked at by the gate')
})

t.test('PAIN 15: retained messages come within the Receive Maximum, and live ones overtake them', async t => {
  const test = await startBroker(t)
  for (let i = 0; i < 200; i++) await test.broker.publish(`r/${i}`, 'retained', { qos: 1, retain: true })
  const [client] = await connect(test, { properties: { receiveMaximum: 10 } })
  await client.subscribe('r/+', { qos: 1 })
  const first = await client.messages()
  t.equal(first.length, 10)
  await test.broker.publish('r/live', 'live', { qos: 1 })
  client.send(acknowledgement(PacketType.puback, first[0]?.packetIdentifier ?? 0))
  t.strictSame(await client.payloads(), ['live'])
  t.equal(client.isEnded, false)
})

t.test('PAIN 16: a turn of the event loop is one write for each connection, however many messages it brings', async t => {
  const test = await startBroker(t)
  const [subscriber] = await connect(test, { clientIdentifier: 'subscriber' })
  await subscriber.subscribe('a')
  const before = test.broker.metrics.writes
  for (let i = 0; i < 1000; i++) void test.broker.publish('a', 'x')
  t.equal((await subscriber.messages()).length, 1000)
  t.equal(test.broker.metrics.writes - before, 1)
})

t.test('PAIN 17: nothing is left of Sessions that have ended', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000 })
  for (let i = 0; i < 50; i++) {
    const [client] = await connect(test, { clientIdentifier: `${i}`, cleanStart: false, properties: { sessionExpiryInterval: i % 2 === 0 ? 5 : 3600 } })
    for (const topicFilter of [`own/${i}`, 'all/+', '$share/g/all/x']) await client.subscribe(topicFilter, { qos: 1 })
    await client.vanish()
  }
  for (let i = 0; i < 20; i++) await test.broker.publish('all/x', 'x', { qos: 1 })
  t.ok(test.broker.metrics.queuedBytes > 0)
  for (let i = 1; i < 50; i += 2) await (await connect(test, { clientIdentifier: `${i}` }))[0].vanish()
  await test.clock.advance(7000)
  t.strictSame([test.broker.metrics.queuedMessages, test.broker.metrics.queuedBytes], [0, 0])
  for (const name of ['clients/total', 'subscriptions/count', 'shared_subscriptions/count']) {
    t.equal(await sys(test, name), 0, name)
  }
})

t.test('PAIN 18: an offline queue has a limit by default, of messages and bytes, and every drop is told and counted', async t => {
  const { broker } = await startBroker(t)
  for (const name of ['maximumQueuedMessages', 'maximumQueuedBytes', 'maximumTotalQueuedBytes'] as const) t.ok(broker.limits[name] < 2 ** 31, name)
  const test = await startObserved(t, { limits: { maximumQueuedMessages: 10 } })
  const { client } = await connectEager(test, 'away')
  await client.subscribe('a', { qos: 1 })
  await client.vanish()
  for (let i = 0; i < 100; i++) await test.broker.publish('a', `${i}`, { qos: 1 })
  t.strictSame([test.broker.metrics.queuedMessages, test.broker.metrics.messagesDropped], [10, 90])
  t.equal(test.events.filter(event => event === 'drop queueFull away').length, 90)
})

t.test('PAIN 19: clients that left, failed or were refused are in no list', async t => {
  const test = await startObserved(t, { sysIntervalMs: 1000, hooks: { authenticate: ({ username }) => username !== 'bad' } })
  for (let i = 0; i < 20; i++) {
    await tryConnect(test, { username: 'bad', clientIdentifier: `bad ${i}` }).then(([client]) => client.vanish())
    const [client] = await connect(test, { clientIdentifier: `${i % 5}` })
    await client.subscribe('a')
    if (i % 2 === 0) await client.vanish()
    else client.write('f0 00 00 00 ff')
    await client.take()
    client.stream.end()
  }
  await settled()
  await test.clock.advance(10_000)
  t.strictSame([...test.broker.clients()], [])
  t.strictSame([test.broker.metrics.connections, test.broker.metrics.clientsConnected, test.broker.metrics.connectionsRefused], [0, 0, 20])
  t.equal(await sys(test, 'subscriptions/count'), 0)
})

t.test('PAIN 19: a Client that is gone is no longer held, not even until its Session would have expired', async t => {
  const clients: WeakRef<ClientInfo>[] = []
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { clients.push(new WeakRef(client)) } } })
  for (let i = 0; i < 200; i++) {
    const [client] = await connect(test, { cleanStart: true, properties: { sessionExpiryInterval: 1_000_000 } })
    await client.subscribe('a', { qos: 1 })
    await test.broker.publish('a', 'x', { qos: 1 })
    await client.vanish()
  }
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void
  for (let i = 0; i < 3; i++) {
    collectGarbage()
    await settled()
  }
  const held = clients.filter(client => client.deref() !== undefined).length
  t.ok(held < 5, `${held} of 200 are held; one Session is left`)
})

t.test('PAIN 20: a packet that is too large is refused at its fixed header: nothing of it is buffered', async t => {
  const test = await startObserved(t)
  const fresh = new PacketClient(test.broker, 5)
  fresh.write('10 ff ff ff 7f')
  await settled()
  t.equal(fresh.isEnded, true)
  const [known] = await connect(test)
  known.write('30 ff ff ff 7f')
  t.match(await known.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.packetTooLarge }])
  t.ok(test.broker.metrics.bytesReceived < 100)
})
