import t from 'tap'
import { PacketType, type RetainHandling } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, receiveAll } from './support/exchanges.ts'
import { connect, forEachVersion, startBroker } from './support/harness.ts'

forEachVersion(t, 'a retained message takes the place of the one before, whatever their QoS, and comes with RETAIN 1 [MQTT-3.3.1-5]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [publisher] = await connect(test, { protocolVersion, clientIdentifier: 'publisher' })
  publisher.publish('a', 'old', { retain: true, qos: 2, packetIdentifier: 1 }).publish('a', 'new', { retain: true }).publish('b', 'other', { retain: true, qos: 1, packetIdentifier: 2 })
  await publisher.disconnect().take()
  const [subscriber] = await connect(test, { protocolVersion, clientIdentifier: 'subscriber' })
  await subscriber.subscribe('#', { qos: 2 })
  const messages = await subscriber.messages()
  t.strictSame(messages.map(({ topic, payload, retain, qos }) => [topic.name, payload.toString(), retain, qos]).sort(), [['a', 'new', true, 0], ['b', 'other', true, 1]], 'it outlives its publisher')
})

forEachVersion(t, 'retained messages come behind SUBACK, with the lower QoS of theirs and the granted one [MQTT-3.8.4-8]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  for (const qos of [0, 1, 2] as const) await test.broker.publish(`q${qos}`, 'x', { qos, retain: true })
  for (const granted of [0, 1, 2] as const) {
    const [client] = await connect(test, { protocolVersion })
    client.send({ type: PacketType.subscribe, packetIdentifier: 1, properties: undefined, subscriptions: [{ topicFilter: '+', qos: granted, noLocal: false, retainAsPublished: false, retainHandling: 0 }] })
    const [first, ...messages] = await client.take()
    exactly(t, first, { type: PacketType.suback, reasonCodes: [granted] })
    t.strictSame(messages.map(packet => packet.type === PacketType.publish && `${packet.topic.name} ${packet.qos} ${packet.retain}`).sort(),
      [0, 1, 2].map(qos => `q${qos} ${Math.min(qos, granted)} true`))
  }
})

forEachVersion(t, 'an empty one removes the retained message, is not retained itself and reaches subscribers [MQTT-3.3.1-6] [MQTT-3.3.1-7]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  await client.subscribe('a')
  client.publish('a', 'x', { retain: true }).publish('a', '', { retain: true }).publish('never', '', { retain: true })
  t.strictSame((await client.messages()).map(({ payload, retain }) => [payload.toString(), retain]), [['x', false], ['', false]])
  await client.subscribe('#')
  t.strictSame(await client.messages(), [])
  t.equal(test.broker.metrics.messagesReceived, 3)
})

forEachVersion(t, 'a message without RETAIN leaves the retained one alone [MQTT-3.3.1-8]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  client.publish('a', 'kept', { retain: true }).publish('a', 'passing').publish('a', '')
  await client.subscribe('a')
  t.strictSame(await client.payloads(), ['kept'])
})

forEachVersion(t, 'to subscriptions that are there RETAIN is 0 [MQTT-3.3.1-12]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  await client.subscribe('a')
  for (const qos of [0, 1, 2] as const) client.publish('a', 'x', { retain: true, qos, packetIdentifier: qos })
  t.strictSame((await client.messages()).map(({ retain }) => retain), [false, false, false])
})

t.test('Retain As Published keeps RETAIN as it was, 0 and 1 [MQTT-3.3.1-13]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test)
  await client.subscribe('a', { retainAsPublished: true })
  for (const retain of [true, false]) for (const qos of [0, 1] as const) client.publish('a', 'x', { retain, qos, packetIdentifier: qos })
  t.strictSame((await client.messages()).map(({ retain }) => retain), [true, true, false, false])
  await client.subscribe('a', { retainAsPublished: false })
  t.strictSame((await client.messages()).map(({ retain }) => retain), [true], 'a message that was retained before has RETAIN 1 all the same')
})

t.test('Retain As Published of a queued message outlives the connection [MQTT-3.3.1-13]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test, lasting())
  await client.subscribe('a', { retainAsPublished: true })
  await client.vanish()
  await test.broker.publish('a', 'kept', { qos: 1, retain: true })
  await test.broker.publish('a', 'passing', { qos: 1 })
  const [again] = await open(test, lasting())
  t.strictSame((await receiveAll(again)).map(({ retain }) => retain), [true, false])
})

for (const [retainHandling, first, again, name] of [
  [0, 1, 1, 'at every SUBSCRIBE [MQTT-3.3.1-9] [MQTT-3.8.4-4]'], [1, 1, 0, 'for a new subscription only [MQTT-3.3.1-10]'], [2, 0, 0, 'never [MQTT-3.3.1-11]'],
] as [RetainHandling, number, number, string][]) {
  t.test(`Retain Handling ${retainHandling}: retained messages come ${name}`, async t => {
    const test = await startBroker(t)
    await test.broker.publish('a/b', 'x', { retain: true })
    const [client] = await connect(test, lasting())
    const count = async (topicFilter = 'a/+'): Promise<number> => {
      await client.subscribe(topicFilter, { retainHandling })
      return (await client.messages()).length
    }
    t.equal(await count(), first)
    t.equal(await count(), again)
    t.equal(await count('a/#'), first, 'another filter is a new subscription')
    await client.vanish()
    const [resumed] = await open(test, lasting())
    t.equal((await receiveAll(resumed)).length, 0, 'nothing by itself')
    await resumed.subscribe('a/+', { retainHandling })
    t.equal((await resumed.messages()).length, again, 'the subscription of a resumed Session is not new')
    resumed.send({ type: PacketType.unsubscribe, packetIdentifier: 1, topicFilters: ['a/+'], properties: undefined })
    await resumed.take()
    await resumed.subscribe('a/+', { retainHandling })
    t.equal((await resumed.messages()).length, first, 'after UNSUBSCRIBE it is new again')
  })
}

t.test('a retained message expires, and until then its interval counts down [MQTT-3.3.2-5] [MQTT-3.3.2-6]', async t => {
  const test = await startBroker(t)
  const [publisher] = await connect(test)
  publisher.publish('a', 'x', { retain: true, properties: { messageExpiryInterval: 10 } }).publish('b', 'x', { retain: true })
  await publisher.take()
  for (const [wait, expected] of [[0, [10, undefined]], [3_000, [7, undefined]], [6_999, [1, undefined]], [1, [undefined]]] as const) {
    await test.clock.advance(wait)
    const [client] = await connect(test, { clientIdentifier: 'subscriber' })
    await client.subscribe('+')
    t.strictSame((await client.messages()).map(({ properties }) => properties?.messageExpiryInterval).sort(), expected)
  }
})

t.test('a retained message carries the identifier of the subscription that it is sent for [MQTT-3.3.4-3]', async t => {
  const test = await startBroker(t)
  await test.broker.publish('a', 'x', { retain: true })
  const [client] = await connect(test)
  await client.subscribe('#', { retainHandling: 2 }, { subscriptionIdentifiers: [1] })
  await client.subscribe('a', {}, { subscriptionIdentifiers: [2] })
  t.strictSame((await client.messages()).map(({ properties }) => properties?.subscriptionIdentifiers), [[2]])
})

t.test('a retained message keeps its properties [MQTT-3.3.1-5]', async t => {
  const test = await startBroker(t)
  const properties = { contentType: 't', responseTopic: 'r', correlationData: Buffer.from('c'), userProperties: [['k', 'v'], ['k', 'v']] as const, payloadFormatIndicator: 1 as const }
  const [client] = await connect(test)
  client.publish('a', 'x', { retain: true, properties })
  await client.subscribe('a')
  t.strictSame((await client.messages())[0]?.properties, properties)
})

t.test('retained messages wait for the in-flight window, and behind live ones [MQTT-3.3.4-9]', async t => {
  const test = await startBroker(t)
  for (const name of ['a', 'b', 'c']) await test.broker.publish(name, 'kept', { retain: true, qos: 1 })
  const [client] = await connect(test, { properties: { receiveMaximum: 1 } })
  await client.subscribe('#', { qos: 1 })
  await test.broker.publish('live', 'live', { qos: 1 })
  const messages = await receiveAll(client)
  t.strictSame(payloadsOf(messages).sort(), ['kept', 'kept', 'kept', 'live'])
  t.equal(messages[1]?.topic.name, 'live')
})

t.test('one that was replaced while it waited to be sent is not sent: an old one never follows a new one', async t => {
  const test = await startBroker(t)
  for (const name of ['a', 'b']) await test.broker.publish(name, 'old', { retain: true, qos: 1 })
  const [client] = await connect(test, { properties: { receiveMaximum: 1 } })
  await client.subscribe('#', { qos: 1 })
  for (const name of ['a', 'b']) await test.broker.publish(name, 'new', { retain: true, qos: 1 })
  const messages = await receiveAll(client)
  t.strictSame(messages.map(({ topic, payload }) => `${topic.name} ${payload.toString()}`).slice(1).sort(), ['a new', 'b new'])
})

forEachVersion(t, 'No Local and Shared Subscriptions: a Client gets its own retained message on subscribing; a share gets none (section 4.8.2)', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  client.publish('a', 'x', { retain: true })
  await client.subscribe('$share/g/a')
  t.strictSame(await client.payloads(), [])
  await client.subscribe('a', { noLocal: protocolVersion === 5 })
  t.strictSame(await client.payloads(), ['x'])
})

t.test('over maximumRetainedMessages a message is delivered, not retained, and the host is told', async t => {
  const reasons: string[] = []
  const test = await startBroker(t, { limits: { maximumRetainedMessages: 1 }, hooks: { onDrop: ({ reason, clientIdentifier }) => { reasons.push(`${reason} ${clientIdentifier ?? '-'}`) } } })
  const [client] = await connect(test)
  await client.subscribe('#')
  client.publish('a', '1', { retain: true }).publish('b', '2', { retain: true }).publish('a', '3', { retain: true })
  t.strictSame(await client.payloads(), ['1', '2', '3'])
  await client.subscribe('+')
  t.strictSame(await client.payloads(), ['3'])
  t.strictSame(reasons, ['retainedFull -'])
})

t.test('a hook that publishes while retained messages are replayed is not followed by the one that was retained before', async t => {
  const test = await startBroker(t, { hooks: { onDrop: () => { void test.broker.publish('b', 'new', { retain: true }) } } })
  await test.broker.publish('a', 'too large for this Client', { retain: true })
  await test.broker.publish('b', 'old', { retain: true })
  const [client] = await connect(test, { properties: { maximumPacketSize: 20 } })
  await client.subscribe('#')
  t.strictSame(await client.payloads(), ['new'])
})
