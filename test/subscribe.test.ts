import t from 'tap'
import { ReasonCode, type SubscriptionOptions } from '../lib/index.ts'
import { PacketType, type Packet, type Properties, type SubscriptionRequest } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, pubcomp, pubrec, pubrel, receiveAll } from './support/exchanges.ts'
import { connect, forEachVersion, startBroker, type PacketClient } from './support/harness.ts'

function subscribe (filters: readonly (Partial<SubscriptionRequest> & { topicFilter: string })[], packetIdentifier = 1, properties?: Properties): Packet {
  const subscriptions = filters.map(filter => ({ qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, ...filter } as const))
  return { type: PacketType.subscribe, packetIdentifier, subscriptions, properties }
}

function unsubscribe (topicFilters: readonly string[], packetIdentifier = 1): Packet {
  return { type: PacketType.unsubscribe, packetIdentifier, topicFilters, properties: undefined }
}

/** Publishes to each topic and returns those that came. */
async function heard (client: PacketClient, topicNames: readonly string[]): Promise<string[]> {
  for (const name of topicNames) client.publish(name, 'x')
  return (await client.messages()).map(({ topic }) => topic.name)
}

const names = ['a', 'b', 'A', 'a/b', 'a/c', 'b/b', 'a/b/c', 'a/x/b', 'a//b', 'a/', '/a', '/', 'a/b/', 'a b/$', '$a', '$a/b', 'a/$b', 'aa']

const matches: readonly (readonly [string, readonly string[]])[] = [
  ['a/b', ['a/b']],
  ['+', ['a', 'b', 'A', 'aa']],
  ['a/+', ['a/b', 'a/c', 'a/', 'a/$b']],
  ['+/+', ['a/b', 'a/c', 'b/b', 'a/', '/a', '/', 'a b/$', 'a/$b']],
  ['+/b/+', ['a/b/c', 'a/b/']],
  ['a/#', ['a', 'a/b', 'a/c', 'a/b/c', 'a/x/b', 'a//b', 'a/', 'a/b/', 'a/$b']],
  ['#', names.filter(name => !name.startsWith('$'))],
  ['a/+/#', ['a/b', 'a/c', 'a/b/c', 'a/x/b', 'a//b', 'a/', 'a/b/', 'a/$b']],
  ['/+', ['/a', '/']],
  ['+/#', names.filter(name => !name.startsWith('$'))],
  ['a//b', ['a//b']],
  ['a/+/b', ['a/x/b', 'a//b']],
  ['$a/+', ['$a/b']],
  ['$a/#', ['$a', '$a/b']],
  ['a b/$', ['a b/$']],
]

forEachVersion(t, 'a filter matches what it should and nothing else [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1] [MQTT-3.3.2-3]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  for (const [topicFilter, expected] of matches) {
    const [client] = await connect(test, { protocolVersion })
    await client.subscribe(topicFilter)
    t.strictSame(await heard(client, names), expected, topicFilter)
  }
})

const malformedFilters = ['a/#/b', 'a#', '#/a', '##', 'a+', '+a/b', 'a/b+/c', '', '$share//t', '$share/g', '$share/g/', '$share/a+/t', '$share/#/t', '$share/g/a/#/b']

forEachVersion(t, 'a filter that is none ends the connection, and no hook is asked about the others [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.8.2-1] [MQTT-4.8.2-2] [MQTT-4.13.1-1]', async (t, protocolVersion) => {
  const asked: string[] = []
  const test = await startBroker(t, { hooks: { authorizeSubscribe: ({ topicFilter }) => { asked.push(topicFilter); return true } } })
  const farewell = protocolVersion === 5 ? [{ type: PacketType.disconnect, reasonCode: ReasonCode.topicFilterInvalid }] : []
  for (const topicFilter of malformedFilters) {
    const [client] = await connect(test, { protocolVersion })
    client.send(subscribe([{ topicFilter: 'good' }, { topicFilter }]))
    exactly(t, await client.take(), farewell)
    t.equal(client.isEnded, true, topicFilter)
  }
  t.strictSame(asked, [])
})

forEachVersion(t, 'an UNSUBSCRIBE from a filter that is none ends the connection, and no subscription [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.3-1] [MQTT-4.13.1-1]', async (t, protocolVersion) => {
  const gone: string[] = []
  const test = await startBroker(t, { hooks: { unsubscribed: ({ topicFilter }) => { gone.push(topicFilter) } } })
  for (const topicFilter of malformedFilters) {
    const [client] = await connect(test, { protocolVersion })
    await client.subscribe('good')
    client.send({ type: PacketType.unsubscribe, packetIdentifier: 9, topicFilters: ['good', topicFilter], properties: undefined })
    await client.take()
    t.equal(client.isEnded, true, topicFilter)
  }
  t.strictSame(gone, [])
})

forEachVersion(t, 'a filter over the limits fails alone, in its place of the SUBACK [MQTT-3.9.3-2]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  const long = ['x'.repeat(4097), 'a/'.repeat(256)]
  client.send(subscribe(long.flatMap(topicFilter => [{ topicFilter }, { topicFilter: 'good', qos: 1 }])))
  const failure = protocolVersion === 5 ? ReasonCode.topicFilterInvalid : ReasonCode.unspecifiedError
  exactly(t, await client.take(), [{ type: PacketType.suback, reasonCodes: long.flatMap(() => [failure, 1]) }])
  t.strictSame(await heard(client, ['good', 't', 'a']), ['good'])
})

forEachVersion(t, 'one SUBACK with the SUBSCRIBE\'s identifier and a code for each filter, in order [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-2.2.1-6]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  const filters = Array.from({ length: 100 }, (_, i) => ({ topicFilter: `t/${i}`, qos: i % 3 as 0 | 1 | 2 }))
  client.send(subscribe(filters, 65_535))
  exactly(t, await client.take(), [{ type: PacketType.suback, packetIdentifier: 65_535, reasonCodes: filters.map(({ qos }) => qos) }])
  t.equal((await heard(client, filters.map(({ topicFilter }) => topicFilter))).length, 100)
})

forEachVersion(t, 'messages come with the lower of their QoS and the granted one [MQTT-3.8.4-8]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  for (const granted of [0, 1, 2] as const) {
    const [client] = await connect(test, { protocolVersion })
    exactly(t, await client.subscribe('a', { qos: granted }), { reasonCodes: [granted] })
    for (const qos of [0, 1, 2] as const) await test.broker.publish('a', 'x', { qos })
    t.strictSame((await client.messages()).map(({ qos }) => qos), [0, Math.min(1, granted), granted])
  }
})

forEachVersion(t, 'SUBSCRIBE to a filter that is there replaces the subscription and loses nothing [MQTT-3.8.4-3] [MQTT-3.8.4-4]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  client.send(subscribe([{ topicFilter: 'a', qos: 0 }])).publish('a', '1', { qos: 2, packetIdentifier: 1 })
    .send(subscribe([{ topicFilter: 'a', qos: 2 }, { topicFilter: 'a', qos: 1 }])).publish('a', '2', { qos: 2, packetIdentifier: 2 })
  t.strictSame((await client.messages()).map(({ payload, qos }) => `${payload.toString()} ${qos}`), ['1 0', '2 1'])
})

t.test('replacing a subscription replaces all its options [MQTT-3.8.4-3]', async t => {
  const [client] = await connect(await startBroker(t))
  await client.subscribe('a', { noLocal: true, retainAsPublished: true }, { subscriptionIdentifiers: [1] })
  client.publish('a', 'x')
  t.strictSame(await client.messages(), [])
  await client.subscribe('a', {}, { subscriptionIdentifiers: [2] })
  client.publish('a', 'x', { retain: true })
  exactly(t, await client.messages(), [{ retain: false, properties: { subscriptionIdentifiers: [2] } }])
  await client.subscribe('a', { retainHandling: 2 })
  client.publish('a', 'x')
  t.equal((await client.messages())[0]?.properties, undefined)
})

forEachVersion(t, 'overlapping subscriptions: one message with the highest QoS of those that match [MQTT-3.3.4-2]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, { protocolVersion })
  client.send(subscribe([{ topicFilter: 'a/#', qos: 0 }, { topicFilter: '+/b', qos: 2 }, { topicFilter: 'a/b', qos: 1 }, { topicFilter: 'c', qos: 2 }]))
  await client.take()
  for (const qos of [0, 1, 2] as const) await test.broker.publish('a/b', 'x', { qos })
  t.strictSame((await client.messages()).map(({ qos }) => qos), [0, 1, 2])
})

t.test('Subscription Identifiers of one to four bytes come back, all of those that match and no others [MQTT-3.3.4-3] [MQTT-3.3.4-4] [MQTT-3.3.4-5]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test)
  for (const [topicFilter, identifier] of [['a/#', 1], ['+/b', 128], ['a/+', 16_384], ['a/b', 268_435_455], ['c', 2]] as const) await client.subscribe(topicFilter, {}, { subscriptionIdentifiers: [identifier] })
  await client.subscribe('+/+')
  for (const name of ['a/b', 'c', 'd/d', 'a/x']) await test.broker.publish(name, 'x')
  t.strictSame((await client.messages()).map(({ properties }) => [...properties?.subscriptionIdentifiers ?? []].sort((a, b) => a - b)),
    [[1, 128, 16_384, 268_435_455], [2], [], [1, 16_384]])
})

t.test('the identifier of a SUBSCRIBE holds for each of its filters, in a resumed Session, too [MQTT-3.3.4-3] [MQTT-4.1.0-1]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test, lasting())
  client.send(subscribe([{ topicFilter: 'a', qos: 1 }, { topicFilter: 'b', qos: 1 }], 1, { subscriptionIdentifiers: [7], userProperties: [['k', 'v']] }))
  await client.take()
  await client.vanish()
  for (const name of ['a', 'b']) await test.broker.publish(name, 'x', { qos: 1 })
  const [again] = await open(test, lasting())
  t.strictSame((await receiveAll(again)).map(({ properties }) => properties?.subscriptionIdentifiers), [[7], [7]])
})

t.test('No Local: a Client does not get its own messages, others do [MQTT-3.8.3-3]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test, { clientIdentifier: 'own' })
  const [other] = await connect(test, { clientIdentifier: 'other' })
  for (const one of [client, other]) await one.subscribe('a', { noLocal: true })
  client.publish('a', 'own')
  other.publish('a', 'other')
  await test.broker.publish('a', 'host')
  t.strictSame((await client.payloads()).sort(), ['host', 'other'])
  t.strictSame((await other.payloads()).sort(), ['host', 'own'])
})

t.test('No Local holds for its own subscription alone: QoS and identifiers are those of the others [MQTT-3.8.3-3]', async t => {
  const [client] = await connect(await startBroker(t))
  await client.subscribe('a', { noLocal: true, qos: 2 }, { subscriptionIdentifiers: [1] })
  await client.subscribe('+', { qos: 1 }, { subscriptionIdentifiers: [2] })
  client.publish('a', 'x', { qos: 2, packetIdentifier: 1 })
  exactly(t, await client.messages(), [{ qos: 1, properties: { subscriptionIdentifiers: [2] } }])
})

t.test('No Local on a Shared Subscription is a Protocol Error [MQTT-3.8.3-4]', async t => {
  const [client] = await connect(await startBroker(t))
  client.send(subscribe([{ topicFilter: '$share/g/a', noLocal: true }]))
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.protocolError }])
  t.equal(client.isEnded, true)
})

t.test('hooks decide about each filter: refusal, a lower QoS, a failure', async t => {
  const test = await startBroker(t, {
    hooks: {
      authorizeSubscribe: ({ topicFilter }) => topicFilter !== 'no' && (topicFilter !== 'quota' || ReasonCode.quotaExceeded),
      onSubscribe: ({ subscription }): Partial<SubscriptionOptions> | undefined => {
        if (subscription.topicFilter === 'broken') throw new Error('on purpose')
        return subscription.topicFilter === 'low' ? { qos: 0 } : undefined
      },
    },
  })
  const filters = ['no', 'quota', 'low', 'broken', 'yes'].map(topicFilter => ({ topicFilter, qos: 1 as const }))
  const [five] = await connect(test)
  exactly(t, await five.send(subscribe(filters)).take(), [{ reasonCodes: [ReasonCode.notAuthorized, ReasonCode.quotaExceeded, 0, ReasonCode.implementationSpecificError, 1] }])
  t.strictSame(await heard(five, filters.map(({ topicFilter }) => topicFilter)), ['low', 'yes'])
  const [four] = await connect(test, { protocolVersion: 4, clientIdentifier: 'four' })
  exactly(t, await four.send(subscribe(filters)).take(), [{ reasonCodes: [0x80, 0x80, 0, 0x80, 1] }], '3.1.1 knows one failure')
})

t.test('over maximumSubscriptions a filter is refused with 0x97, one that is there can be replaced', async t => {
  const [client] = await connect(await startBroker(t, { limits: { maximumSubscriptions: 2 } }))
  exactly(t, await client.send(subscribe(['a', 'b', 'c', 'a'].map(topicFilter => ({ topicFilter, qos: 1 as const })))).take(), [{ reasonCodes: [1, 1, ReasonCode.quotaExceeded, 1] }])
  client.send(unsubscribe(['a']), subscribe([{ topicFilter: 'c' }]))
  exactly(t, await client.take(), [{ type: PacketType.unsuback }, { reasonCodes: [0] }])
})

forEachVersion(t, 'UNSUBSCRIBE ends the subscription whose filter is identical, and no other [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-4] [MQTT-2.2.1-6]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  client.send(subscribe(['a/b', 'a/+', 'a/B'].map(topicFilter => ({ topicFilter }))), unsubscribe(['a/+'], 65_535))
  exactly(t, await client.take(), [{ type: PacketType.suback }, { type: PacketType.unsuback, packetIdentifier: 65_535 }])
  t.strictSame(await heard(client, ['a/b', 'a/B', 'a/c']), ['a/b', 'a/B'])
})

forEachVersion(t, 'UNSUBSCRIBE of several filters is as one after the other, answered once, with a code for each [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]', async (t, protocolVersion) => {
  const [client] = await connect(await startBroker(t), { protocolVersion })
  client.send(subscribe([{ topicFilter: 'a' }, { topicFilter: 'b' }]), unsubscribe(['a', 'none', '$share/g/a', 'a', 'b'], 9))
  const { success, noSubscriptionExisted: none } = ReasonCode
  const reasonCodes = protocolVersion === 5 ? [success, none, none, none, success] : []
  t.strictSame((await client.take())[1], { type: PacketType.unsuback, packetIdentifier: 9, reasonCodes, properties: undefined })
  t.strictSame(await heard(client, ['a', 'b']), [])
})

forEachVersion(t, 'UNSUBSCRIBE lets deliveries that have begun come to their end [MQTT-3.10.4-3]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, lasting({ protocolVersion }))
  await client.subscribe('a')
  await test.broker.publish('a', 'x', { qos: 2 })
  const [message] = await client.messages()
  const id = message?.packetIdentifier ?? 0
  client.send(unsubscribe(['a']))
  await client.take()
  await client.vanish()
  const [again] = await open(test, lasting({ protocolVersion }))
  exactly(t, await again.take(), [{ type: PacketType.publish, packetIdentifier: id, dup: true }], 'and the Session is still without the filter')
  exactly(t, await again.send(pubrec(id)).take(), [pubrel(id)])
  t.strictSame(await again.send(pubcomp(id)).publish('a', 'x').take(), [])
})

forEachVersion(t, 'a Session keeps its subscriptions and what was unsubscribed stays so [MQTT-4.1.0-1] [MQTT-3.10.4-1]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [client] = await connect(test, lasting({ protocolVersion }))
  client.send(subscribe([{ topicFilter: 'a', qos: 1 }, { topicFilter: 'b', qos: 1 }]), unsubscribe(['a']))
  await client.take()
  await client.vanish()
  const [again] = await open(test, lasting({ protocolVersion }))
  for (const name of ['a', 'b']) await test.broker.publish(name, name, { qos: 1 })
  t.strictSame(payloadsOf(await receiveAll(again)), ['b'])
})

t.test('in 3.1 a SUBACK never carries 0x80 (3.1 section 3.9)', async t => {
  const [client] = await connect(await startBroker(t, { hooks: { authorizeSubscribe: () => false } }), { protocolVersion: 3 })
  exactly(t, await client.subscribe('a', { qos: 1 }), { reasonCodes: [0] })
  t.strictSame(await heard(client, ['a']), [])
})
