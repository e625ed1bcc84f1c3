import t, { type Test } from 'tap'
import { defaultLimits } from '../lib/base/limits.ts'
import { createBroker, memoryStore, ReasonCode, storeFull, storeInUse, type BrokerOptions } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type ProtocolVersion, type PublishPacket } from '../lib/packet/packets.ts'
import { World } from './support/durable-world.ts'
import { exactly, lasting, open, payloadsOf, puback, pubcomp, pubrec, pubrel, receiveAll, will } from './support/exchanges.ts'
import { connectPacket, forEachVersion, PacketClient, settled } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'

const sleeping = (fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> => lasting({ clientIdentifier: 'sleeper', ...fields })

/** A Client that has subscribed, for a Session that outlives the broker. */
async function subscribe ({ test }: World, topicFilter = 'a', qos: 1 | 2 = 2, fields: Partial<ConnectPacket> = {}): Promise<PacketClient> {
  const [client] = await open(test, sleeping(fields))
  await client.subscribe(topicFilter, { qos })
  return client
}

/** The same, gone again. */
async function leaveSubscribed (world: World, topicFilter = 'a', qos: 1 | 2 = 2, fields: Partial<ConnectPacket> = {}): Promise<void> {
  await (await subscribe(world, topicFilter, qos, fields)).vanish()
}

/** Comes back and takes all there is. */
async function comeBack ({ test }: World, fields: Partial<ConnectPacket> = {}): Promise<PublishPacket[]> {
  const [client] = await open(test, sleeping(fields))
  return receiveAll(client)
}

async function publish ({ test }: World, payloads: readonly string[], qos: 1 | 2 = 1, topicName = 'a'): Promise<void> {
  for (const payload of payloads) await test.broker.publish(topicName, payload, { qos })
}

async function isPresent ({ test }: World, clientIdentifier = 'sleeper'): Promise<boolean> {
  const [client, { sessionPresent }] = await open(test, lasting({ clientIdentifier }))
  await client.vanish()
  return sessionPresent
}

const numbers = (count: number): string[] => Array.from({ length: count }, (_, i) => String(i))

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

// --- When something is acknowledged

for (const protocolVersion of [4, 5] as const) {
  t.test(`PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK and CONNACK leave after the commit, never before (MQTT version ${protocolVersion})`, async t => {
    const world = await World.start(t)
    await leaveSubscribed(world)
    const held: (() => void)[] = []
    const { store } = world
    const commit = store.commit.bind(store)
    let isHolding = true
    store.commit = async changes => {
      if (isHolding) await new Promise<void>(resolve => { held.push(resolve) })
      await commit(changes)
    }
    const answers = async (client: PacketClient): Promise<readonly [number[], number[]]> => {
      const early = await client.take()
      for (let i = 0; i < 4; i++) {
        held.shift()?.()
        await settled()
      }
      return [early.map(({ type }) => type), (await client.take()).map(({ type }) => type)]
    }
    const client = new PacketClient(world.test.broker, protocolVersion)
    t.strictSame(await answers(client.send(connectPacket(lasting({ protocolVersion, clientIdentifier: 'other' })))), [[], [PacketType.connack]])
    t.strictSame(await answers(client.publish('a', '1', { qos: 1, packetIdentifier: 1 })), [[], [PacketType.puback]])
    t.strictSame(await answers(client.publish('a', '2', { qos: 2, packetIdentifier: 2 })), [[], [PacketType.pubrec]])
    t.strictSame(await answers(client.send(pubrel(2))), [[], [PacketType.pubcomp]])
    const subscription = { topicFilter: 's', qos: 1 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const }
    t.strictSame(await answers(client.send({ type: PacketType.subscribe, packetIdentifier: 3, subscriptions: [subscription], properties: undefined })), [[], [PacketType.suback]])
    t.strictSame(await answers(client.send({ type: PacketType.unsubscribe, packetIdentifier: 4, topicFilters: ['s'], properties: undefined })), [[], [PacketType.unsuback]])
    isHolding = false
    for (const go of held.splice(0)) go()
  })
}

t.test('a message that its subscribers have acknowledged before the commit is never written, and its publisher need not wait', async t => {
  const world = await World.start(t)
  const client = await subscribe(world, 'a', 1)
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
  world.store.slowness = 'after'
  client.stream.on('data', () => undefined)
  await settled()
  const before = world.store.commits.length
  // The store is busy with something else for two turns, in which the subscriber answers.
  void world.test.broker.publish('busy', 'x', { qos: 1, retain: true })
  await new Promise(resolve => { setImmediate(resolve) })
  publisher.publish('a', '1', { qos: 1, packetIdentifier: 1 })
  for (let turn = 0; turn < 3 && client.received.length === 0; turn++) await new Promise(resolve => { setImmediate(resolve) })
  for (const packet of client.received.splice(0)) if (packet.type === PacketType.publish) client.send(puback(packet.packetIdentifier))
  exactly(t, await publisher.take(), [puback(1)])
  const written = world.store.commits.slice(before).flatMap(({ enqueued }) => enqueued.map(({ message }) => message.topicName))
  t.strictSame(written, [])
})

t.test('durability: a message that is to be acknowledged at once is, and stored all the same', async t => {
  const world = await World.start(t, { durability: ({ topicName, client }) => topicName.startsWith('fast/') && client?.clientIdentifier === 'publisher' ? 'memory' : 'store' })
  await leaveSubscribed(world, '#')
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
  const { store } = world
  const commit = store.commit.bind(store)
  const held: (() => void)[] = []
  store.commit = async changes => {
    await new Promise<void>(resolve => { held.push(resolve) })
    await commit(changes)
  }
  publisher.publish('fast/1', 'x', { qos: 1, packetIdentifier: 1 }).publish('safe/1', 'y', { qos: 1, packetIdentifier: 2 })
  exactly(t, await publisher.take(), [puback(1)])
  store.commit = commit
  held.shift()?.()
  exactly(t, await publisher.take(), [puback(2)])
  await world.crash()
  t.strictSame(payloadsOf(await comeBack(world)), ['x', 'y'])
})

t.test('what comes in one turn is one commit, and a body for 1,000 Sessions is handed over once', async t => {
  const world = await World.start(t)
  for (let i = 0; i < 1000; i++) await leaveSubscribed(world, 'a', 1, { clientIdentifier: `s${i}` })
  const before = world.store.commits.length
  await Promise.all(numbers(10).map(async payload => { await world.test.broker.publish('a', payload, { qos: 1 }) }))
  const commits = world.store.commits.slice(before)
  t.equal(commits.length, 1)
  t.equal(commits[0]?.enqueued.length, 10)
  t.ok(commits[0]?.enqueued.every(({ deliveries }) => deliveries.length === 1000))
})

// --- When the store fails

for (const qos of [1, 2] as const) {
  t.test(`a store that is full: MQTT 5.0 publishers are told 0x97 (QoS ${qos}), 3.1.1 ones nothing, nothing acknowledged is lost, and it goes on by itself`, async t => {
    const world = await World.start(t)
    await leaveSubscribed(world)
    await publish(world, ['kept'])
    const [new5] = await open(world.test, { clientIdentifier: 'new5' })
    const [old4] = await open(world.test, { clientIdentifier: 'old4', protocolVersion: 4 })
    world.store.isFailing = true
    const type = qos === 1 ? PacketType.puback : PacketType.pubrec
    exactly(t, await new5.publish('a', 'no', { qos, packetIdentifier: 1 }).take(), [{ type, packetIdentifier: 1, reasonCode: ReasonCode.quotaExceeded }])
    old4.publish('a', 'no', { qos, packetIdentifier: 1 })
    await world.test.clock.advance(1_000)
    t.strictSame(await old4.take(), [])
    t.strictSame(world.events.filter(event => event.startsWith('drop')), ['drop storeFailed sleeper', 'drop storeFailed sleeper'])
    await world.freeDisk()
    exactly(t, await new5.publish('a', 'yes', { qos, packetIdentifier: 1 }).take(), [{ type, packetIdentifier: 1, reasonCode: ReasonCode.success }])
    await world.crash()
    t.strictSame(payloadsOf(await comeBack(world)), ['kept', 'yes'])
  })
}

t.test('while the store is full, CONNECT and SUBSCRIBE that promise storage are refused, others are not', async t => {
  const world = await World.start(t)
  const client = await subscribe(world, 'a')
  world.store.isFailing = true
  const subscribing = client.subscribe('b')
  await world.test.clock.advance(1_000)
  t.strictSame((await subscribing)?.reasonCodes, [ReasonCode.quotaExceeded])
  const [refused] = await tryConnect(world.test, lasting({ clientIdentifier: 'refused' }))
  await world.test.clock.advance(1_000)
  const [stays, connack] = await tryConnect(world.test, { clientIdentifier: 'volatile' })
  t.equal(connack?.reasonCode, ReasonCode.success)
  t.equal((await stays.subscribe('b'))?.reasonCodes[0], 2)
  t.equal(refused.isEnded, true)
  await world.freeDisk()
  await publish(world, ['x'], 1, 'b')
  t.strictSame(payloadsOf(await receiveAll(client)), [], 'the subscription that was refused is none')
  t.equal(await isPresent(world, 'refused'), false)
})

t.test('what was acknowledged by subscribers while the store was full is not sent again later', async t => {
  const world = await World.start(t)
  const client = await subscribe(world)
  await publish(world, ['1'], 2)
  await publish(world, ['2'], 1)
  world.store.isFailing = true
  const receiving = receiveAll(client)
  await world.test.clock.advance(3_000)
  t.strictSame(payloadsOf(await receiving), ['1', '2'])
  await world.freeDisk()
  await receiveAll(client)
  await world.crash()
  t.strictSame(await comeBack(world), [])
})

t.test('while the store is full a member of a Shared Subscription that leaves keeps what it has', async t => {
  const world = await World.start(t)
  const first = await subscribe(world, '$share/g/a', 1, { properties: { sessionExpiryInterval: 3600, receiveMaximum: 1 } })
  await publish(world, ['1', '2', '3'])
  const [second] = await open(world.test, lasting({ clientIdentifier: 'second' }))
  await second.subscribe('$share/g/a', { qos: 1 })
  world.store.isFailing = true
  const failing = t.rejects(world.test.broker.publish('b', 'x', { retain: true }))
  await world.test.clock.advance(1_000)
  await failing
  await first.vanish()
  await world.test.clock.advance(3_000)
  await world.freeDisk()
  await world.crash()
  const others = payloadsOf(await receiveAll((await open(world.test, lasting({ clientIdentifier: 'second' })))[0]))
  t.strictSame([...payloadsOf(await comeBack(world)), ...others].sort(), ['1', '2', '3'])
  t.strictSame(world.events.filter(event => event.startsWith('drop')), [])
})

t.test('a store that is full is emptied by its subscribers, though publishers go on trying', async t => {
  const world = await World.start(t)
  const client = await subscribe(world, 'a', 1, { properties: { sessionExpiryInterval: 3600, receiveMaximum: 1 } })
  await publish(world, ['1', '2', '3'])
  const { store } = world
  const commit = store.commit.bind(store)
  store.commit = async changes => {
    if (changes.enqueued.length > 0) throw storeFull('the disk is full')
    await commit(changes)
  }
  const received: string[] = []
  const fail = async (): Promise<void> => {
    const failing = t.rejects(publish(world, ['no']), { code: 'MQTT_STORE_FULL' })
    await world.test.clock.advance(1_000)
    await failing
  }
  for (let i = 0; i < 6; i++) {
    await fail()
    for (const message of await client.messages()) {
      received.push(message.payload.toString())
      client.send(puback(message.packetIdentifier))
    }
    await settled()
  }
  t.strictSame(received.filter(payload => payload !== 'no'), ['1', '2', '3'])
  await fail()
  await world.crash()
  t.strictSame(await comeBack(world), [])
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

