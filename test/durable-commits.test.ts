import t from 'tap'
import { ReasonCode, storeFull } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { World } from './support/stores/durable-world.ts'
import { exactly, lasting, open, payloadsOf, puback, pubrec, pubrel, receiveAll, will } from './support/exchanges.ts'
import { connectPacket, PacketClient, settled } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'
import { comeBack, isPresent, leaveSubscribed, numbers, publish, subscribe } from './support/stores/sleeper.ts'

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

t.test('a Client that says good-bye right behind its messages still gets their acknowledgements, and its Will is forgotten at once [MQTT-3.14.4-3]', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  const [witness] = await open(world.test, { clientIdentifier: 'witness' })
  await witness.subscribe('will')
  const [client] = await open(world.test, lasting({ clientIdentifier: 'publisher', will: will({ topicName: 'will' }) }))
  world.store.holds = 'commits'
  client.publish('a', '1', { qos: 1, packetIdentifier: 1 }).publish('a', '2', { qos: 2, packetIdentifier: 2 }).disconnect()
  t.strictSame([await client.take(), client.isEnded], [[], false])
  await world.store.release()
  exactly(t, await client.take(), [puback(1), pubrec(2)])
  t.equal(client.isEnded, true)
  t.strictSame(await witness.messages(), [])
})

const partings: Readonly<Record<string, (client: PacketClient) => unknown>> = { closed: client => client.stream.end(), broken: client => client.vanish() }
for (const [name, part] of Object.entries(partings)) {
  t.test(`who is gone after its DISCONNECT is not waited for (the connection is ${name})`, async t => {
    const world = await World.start(t)
    await leaveSubscribed(world)
    const [witness] = await open(world.test, { clientIdentifier: 'witness' })
    await witness.subscribe('will')
    const [client] = await open(world.test, { clientIdentifier: 'publisher', will: will({ topicName: 'will' }) })
    world.store.holds = 'commits'
    client.publish('a', '1', { qos: 1, packetIdentifier: 1 }).disconnect()
    await settled()
    t.notOk(world.events.includes('disconnected 0 publisher'))
    await part(client)
    await settled()
    t.ok(world.events.includes('disconnected 0 publisher'))
    await world.store.release()
    t.strictSame(payloadsOf(await comeBack(world)), ['1'])
    t.strictSame(await witness.messages(), [])
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
