import t, { type Test } from 'tap'
import { defaultLimits } from '../lib/base/limits.ts'
import { createBroker, memoryStore, ReasonCode, storeInUse, type BrokerOptions } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type ProtocolVersion } from '../lib/packet/packets.ts'
import { World } from './support/stores/durable-world.ts'
import { exactly, lasting, open, payloadsOf, pubcomp, pubrec, pubrel, receiveAll, will } from './support/exchanges.ts'
import { connectPacket, forEachVersion, PacketClient, settled } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'
import { comeBack, isPresent, leaveSubscribed, numbers, publish, sleeping, subscribe } from './support/stores/sleeper.ts'

function forEachEnd (name: string, run: (t: Test, world: World, end: (downMs?: number) => Promise<void>) => Promise<void>, options: BrokerOptions = {}): void {
  t.test(`${name}, killed`, async t => {
    const world = await World.start(t, options)
    await run(t, world, async downMs => { await world.crash(downMs) })
  })
  t.test(`${name}, shut down`, async t => {
    const world = await World.start(t, options)
    await run(t, world, async downMs => { await world.restart(downMs) })
  })
}

// --- What outlives the broker

const versions: readonly ProtocolVersion[] = [3, 4, 5]
for (const protocolVersion of versions) {
  forEachEnd(`a Session, its subscriptions and its messages outlive the broker (MQTT version ${protocolVersion}) [MQTT-4.1.0-1]`, async (t, world, end) => {
    await leaveSubscribed(world, 'a/+', 2, { protocolVersion })
    await publish(world, ['1'], 1, 'a/1')
    await publish(world, ['2'], 2, 'a/2')
    await end()
    await publish(world, ['3'], 1, 'a/3')
    const messages = await comeBack(world, { protocolVersion })
    t.strictSame(messages.map(({ topic, payload, qos, dup }) => [topic.name, payload.toString(), qos, dup]), [['a/1', '1', 1, false], ['a/2', '2', 2, false], ['a/3', '3', 1, false]])
  })
}

forEachEnd('a message keeps its properties, its Subscription Identifiers and its RETAIN flag', async (t, world, end) => {
  const [client] = await open(world.test, sleeping())
  await client.subscribe('a/#', { qos: 1, retainAsPublished: true }, { subscriptionIdentifiers: [7] })
  await client.subscribe('a/b', { qos: 2 }, { subscriptionIdentifiers: [268_435_455] })
  await client.vanish()
  const properties = {
    payloadFormatIndicator: 1 as const, contentType: 'text/plain', responseTopic: 'r/ü', correlationData: Buffer.from([0, 255]),
    userProperties: [['k', 'v'], ['k', 'w']] as [string, string][], messageExpiryInterval: 100,
  }
  await world.test.broker.publish('a/b', 'grüß', { qos: 1, retain: true, properties })
  await end(40_000)
  const [message] = await comeBack(world)
  t.strictSame({ ...message?.properties }, { ...properties, messageExpiryInterval: message?.properties?.messageExpiryInterval, subscriptionIdentifiers: [268_435_455, 7] })
  t.ok((message?.properties?.messageExpiryInterval ?? 0) <= 60, 'the time that the broker was down counts [MQTT-3.3.2-6]')
  t.strictSame([message?.payload.toString(), message?.retain], ['grüß', true])
})

forEachEnd('retained messages outlive the broker, those that were replaced, removed or have expired do not', async (t, world, end) => {
  const { broker } = world.test
  await broker.publish('r/1', 'old', { retain: true })
  await broker.publish('r/1', 'new', { retain: true, properties: { contentType: 'x' } })
  await broker.publish('r/2', 'removed', { retain: true, qos: 1 })
  await broker.publish('r/2', '', { retain: true, qos: 1 })
  await broker.publish('r/3', 'expires', { retain: true, qos: 1, properties: { messageExpiryInterval: 10 } })
  await end(20_000)
  const [client] = await open(world.test, { clientIdentifier: 'new' })
  await client.subscribe('r/#')
  exactly(t, await receiveAll(client), [{ topic: { name: 'r/1' }, payload: Buffer.from('new'), retain: true, properties: { contentType: 'x' } }])
})

forEachEnd('what was in flight is sent again: same Packet Identifier, DUP 1, same order, before what waited [MQTT-4.4.0-1] [MQTT-3.3.1-1] [MQTT-4.6.0-1]', async (t, world, end) => {
  const client = await subscribe(world, 'a', 2, { properties: { sessionExpiryInterval: 3600, receiveMaximum: 3 } })
  await publish(world, ['1', '2'], 2)
  await publish(world, ['3', '4'], 1)
  const before = await client.messages()
  t.equal(before.length, 3)
  client.send(pubrec(before[0]?.packetIdentifier ?? 0))
  exactly(t, await client.take(), [pubrel(before[0]?.packetIdentifier ?? 0)])
  await end()
  const [again] = await open(world.test, sleeping())
  exactly(t, await again.take(), [
    pubrel(before[0]?.packetIdentifier ?? 0),
    { type: PacketType.publish, packetIdentifier: before[1]?.packetIdentifier, dup: true, payload: Buffer.from('2') },
    { type: PacketType.publish, packetIdentifier: before[2]?.packetIdentifier, dup: true, payload: Buffer.from('3') },
    { type: PacketType.publish, dup: false, payload: Buffer.from('4') },
  ])
})

forEachEnd('a QoS 2 message that comes again after a restart is acknowledged and not routed twice [MQTT-4.3.3-10] [MQTT-4.3.3-12]', async (t, world, end) => {
  await leaveSubscribed(world)
  const [publisher] = await open(world.test, lasting({ clientIdentifier: 'publisher' }))
  exactly(t, await publisher.publish('a', 'once', { qos: 2, packetIdentifier: 5 }).take(), [pubrec(5)])
  await end()
  const [again] = await open(world.test, lasting({ clientIdentifier: 'publisher' }))
  exactly(t, await again.publish('a', 'once', { qos: 2, packetIdentifier: 5, dup: true }).take(), [pubrec(5)])
  exactly(t, await again.send(pubrel(5)).take(), [pubcomp(5)])
  exactly(t, await again.publish('a', 'twice', { qos: 2, packetIdentifier: 5 }).take(), [pubrec(5)], 'the identifier is free for the next one')
  t.strictSame(payloadsOf(await comeBack(world)), ['once', 'twice'])
})

forEachEnd('a subscription that was ended stays so, one that was replaced is as it was last', async (t, world, end) => {
  const client = await subscribe(world, 'a')
  await client.subscribe('b', { qos: 2 })
  await client.subscribe('b', { qos: 1 })
  client.send({ type: PacketType.unsubscribe, packetIdentifier: 3, topicFilters: ['a'], properties: undefined })
  t.equal((await client.takeType(PacketType.unsuback)).length, 1)
  await client.vanish()
  await end()
  await publish(world, ['no'], 2, 'a')
  await publish(world, ['yes'], 2, 'b')
  t.strictSame((await comeBack(world)).map(({ payload, qos }) => [payload.toString(), qos]), [['yes', 1]])
})

forEachEnd('a Shared Subscription outlives the broker; what a member has left over goes to another [MQTT-4.8.2-4]', async (t, world, end) => {
  await leaveSubscribed(world, '$share/g/a', 1)
  await publish(world, ['1', '2', '3'])
  await end()
  t.strictSame(world.events.filter(event => event.startsWith('drop')), [])
  const [other] = await open(world.test, lasting({ clientIdentifier: 'other' }))
  await other.subscribe('$share/g/a', { qos: 1 })
  await (await open(world.test, { clientIdentifier: 'sleeper', cleanStart: true }))[0].take()
  await settled()
  t.strictSame(payloadsOf(await receiveAll(other)), ['1', '2', '3'])
})

// --- Clocks

forEachEnd('the Session Expiry Interval counts the time that the broker was down', async (t, world, end) => {
  await leaveSubscribed(world, 'a', 1, { properties: { sessionExpiryInterval: 100 } })
  await leaveSubscribed(world, 'a', 1, { clientIdentifier: 'longer', properties: { sessionExpiryInterval: 1000 } })
  await publish(world, ['1'])
  await world.test.clock.advance(50_000)
  await end(45_000)
  await world.test.clock.advance(6_000)
  t.strictSame(world.events.filter(event => event.startsWith('ended')), ['ended sleeper'])
  t.strictSame(world.events.filter(event => event.startsWith('drop')), ['drop sessionEnded sleeper'])
  t.equal(await isPresent(world), false)
  t.equal(await isPresent(world, 'longer'), true)
})

forEachEnd('a Session that never ends does not', async (t, world, end) => {
  await leaveSubscribed(world, 'a', 1, { protocolVersion: 4 })
  await end(10 * 365 * 86_400_000)
  await world.test.clock.advance(1_000)
  t.equal(await isPresent(world), true)
})

t.test('for who was connected when the broker was killed, the clocks start then', async t => {
  const world = await World.start(t)
  await subscribe(world, 'a', 1, { properties: { sessionExpiryInterval: 100 } })
  await world.crash(90_000)
  await world.test.clock.advance(5_000)
  t.equal(world.events.includes('ended sleeper'), false)
  await world.test.clock.advance(10_000)
  t.equal(world.events.includes('ended sleeper'), true)
})

t.test('they start then even if nothing was stored for long', async t => {
  const world = await World.start(t)
  await subscribe(world, 'a', 1, { properties: { sessionExpiryInterval: 10 } })
  await world.test.clock.advance(60_000)
  await world.crash()
  t.equal(await isPresent(world), true)
})

async function watch ({ test }: World): Promise<PacketClient> {
  const [client] = await open(test, { clientIdentifier: 'watcher' })
  await client.subscribe('will', { qos: 1 })
  return client
}

const delayed = (willDelayInterval: number): Partial<ConnectPacket> =>
  sleeping({ properties: { sessionExpiryInterval: 1000 }, will: will({ qos: 1, properties: { willDelayInterval, messageExpiryInterval: 50, contentType: 'w' } }) })

forEachEnd('a delayed Will Message is published when its time has come, once, with its expiry from then on [MQTT-3.1.3-9]', async (t, world, end) => {
  await (await open(world.test, delayed(100)))[0].vanish()
  await world.test.clock.advance(30_000)
  await end(30_000)
  const watcher = await watch(world)
  await world.test.clock.advance(25_000)
  t.strictSame(await watcher.messages(), [])
  await world.test.clock.advance(20_000)
  exactly(t, await watcher.messages(), [{ payload: Buffer.from('gone'), properties: { contentType: 'w', messageExpiryInterval: 50 } }])
  await end()
  const again = await watch(world)
  await world.test.clock.advance(200_000)
  t.strictSame(await again.messages(), [])
})

t.test('a Client that was connected when the broker was killed leaves its Will, unless it is back in time', async t => {
  const world = await World.start(t)
  await open(world.test, delayed(100))
  await open(world.test, { ...delayed(100), clientIdentifier: 'back' })
  await open(world.test, { clientIdentifier: 'volatile', will: will({ payload: Buffer.from('volatile') }) })
  await world.crash(50_000)
  const watcher = await watch(world)
  await open(world.test, { ...sleeping(), clientIdentifier: 'back' })
  await world.test.clock.advance(1_000)
  t.strictSame(await watcher.payloads(), ['volatile'], 'a Session that ended with its connection, too')
  await world.test.clock.advance(100_000)
  t.strictSame(await watcher.payloads(), ['gone'])
})

// --- Queues

forEachEnd('a long queue is read page by page, in its order', async (t, world, end) => {
  await leaveSubscribed(world)
  await Promise.all(numbers(5000).map(async payload => { await world.test.broker.publish('a', payload, { qos: 1 }) }))
  await end()
  t.equal(world.test.broker.metrics.queuedMessages, 5000)
  const pages: number[] = []
  const fetch = world.store.fetch.bind(world.store)
  world.store.fetch = async (...page) => {
    const deliveries = await fetch(...page)
    pages.push(deliveries.length)
    return deliveries
  }
  const [slow] = await open(world.test, sleeping({ properties: { sessionExpiryInterval: 3600, receiveMaximum: 10 } }))
  t.strictSame(payloadsOf(await slow.messages()), numbers(10))
  t.ok(pages.length <= 2 && Math.max(...pages) <= 512, `${pages.join(' and ')} messages were read for a window of 10`)
  await slow.vanish()
  const received = await comeBack(world)
  t.strictSame(payloadsOf(received), numbers(5000))
  t.equal(world.test.broker.metrics.queuedMessages, 0)
  t.equal(world.test.broker.metrics.queuedBytes, 0)
})

const policies = [['dropOldest', ['2', '3', '4']], ['dropNewest', ['0', '1', '2']], ['disconnect', ['0', '1', '2']]] as const
for (const [queuePolicy, left] of policies) {
  forEachEnd(`a stored queue keeps to its limits: ${queuePolicy}`, async (t, world, end) => {
    await leaveSubscribed(world)
    await publish(world, ['0', '1'])
    await end()
    await publish(world, ['2', '3', '4'])
    await settled()
    t.strictSame(world.events.filter(event => event.startsWith('drop')), ['drop queueFull sleeper', 'drop queueFull sleeper'])
    t.equal(world.test.broker.metrics.queuedMessages, 3)
    t.strictSame(payloadsOf(await comeBack(world)), left)
  }, { limits: { ...defaultLimits, queuePolicy, maximumQueuedMessages: 3 } })
}

t.test('a Session with a stored queue that ends tells of every message, and leaves nothing behind', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await Promise.all(numbers(1500).map(async payload => { await world.test.broker.publish('a', payload, { qos: 1 }) }))
  await (await open(world.test, { clientIdentifier: 'sleeper', cleanStart: true }))[0].disconnect().take()
  for (let i = 0; i < 10; i++) await settled()
  t.equal(world.events.filter(event => event === 'drop sessionEnded sleeper').length, 1500)
  t.equal(world.test.broker.metrics.queuedMessages, 0)
  t.strictSame([...world.store.sessions() as Iterable<object>], [])
})

t.test('a Session that had ended and was not cleared away yet when the broker was killed is, at the next start', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await Promise.all(numbers(1500).map(async payload => { await world.test.broker.publish('a', payload, { qos: 1 }) }))
  const commit = world.store.commit.bind(world.store)
  world.store.commit = async changes => {
    if ([...changes.sessions.values()].some(record => record?.hasEnded === true)) setImmediate(() => { world.store.kill() })
    await commit(changes)
  }
  await tryConnect(world.test, { clientIdentifier: 'sleeper', cleanStart: true })
  await world.crash()
  for (let i = 0; i < 10; i++) await settled()
  t.equal(await isPresent(world), false)
  await (await open(world.test, { clientIdentifier: 'sleeper', cleanStart: true }))[0].disconnect().take()
  for (let i = 0; i < 10; i++) await settled()
  t.strictSame([...world.store.sessions() as Iterable<object>], [])
})

t.test('messages that expire in a stored queue are dropped in the background', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  for (const payload of numbers(3)) await world.test.broker.publish('a', payload, { qos: 1, properties: { messageExpiryInterval: 10 } })
  await publish(world, ['stays'])
  await world.test.clock.advance(200_000)
  t.strictSame(world.events.filter(event => event.startsWith('drop')), Array<string>(3).fill('drop expired sleeper'))
  t.equal(world.test.broker.metrics.queuedMessages, 1)
  await world.crash()
  t.strictSame(payloadsOf(await comeBack(world)), ['stays'])
})

forEachEnd('rights are asked about again for what was restored: subscriptions, and what waits', async (t, world, end) => {
  await leaveSubscribed(world, 'a')
  await leaveSubscribed(world, 'secret', 1)
  await publish(world, ['1'], 1, 'a')
  await publish(world, ['2'], 1, 'secret')
  await end()
  world.test.broker.hook({ authorizeSubscribe: ({ topicFilter }) => topicFilter !== 'secret', authorizeDeliver: ({ topicName }) => topicName !== 'secret' })
  t.strictSame(payloadsOf(await comeBack(world)), ['1'])
  t.strictSame(world.events.filter(event => event.startsWith('drop')), ['drop notAuthorized sleeper'])
})

forEachVersion(t, 'whose Session is taken over before it was told that it has one may come again: Server busy (0x89) [MQTT-3.2.2-8]', async (t, protocolVersion) => {
  const world = await World.start(t)
  world.store.holds = 'commits'
  const packet = connectPacket({ ...sleeping(), protocolVersion })
  const [first, second] = [0, 1].map(() => new PacketClient(world.test.broker, protocolVersion)) as [PacketClient, PacketClient]
  first.send(packet)
  await settled()
  second.send(packet)
  await settled()
  await world.store.release()
  t.match(await first.take(), [{ type: PacketType.connack, reasonCode: protocolVersion === 5 ? ReasonCode.serverBusy : ReasonCode.serverUnavailable }])
  t.match(await second.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.success, sessionPresent: true }])
})

t.test('a store that cannot be opened: createBroker says why, and nothing is left running', async t => {
  const store = memoryStore()
  store.open = () => { throw storeInUse('another process has ./data open') }
  await t.rejects(createBroker({ persistence: store }), { code: 'MQTT_STORE_IN_USE' })
})
