import t from 'tap'
import { defaultLimits } from '../lib/base/limits.ts'
import { createBroker, memoryStore, ReasonCode } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { World } from './support/stores/durable-world.ts'
import { FakeClock } from './support/fake-clock.ts'
import { FaultyStore } from './support/stores/faulty-store.ts'
import { exactly, lasting, open, payloadsOf, puback, pubrec, receiveAll } from './support/exchanges.ts'
import { connectPacket, PacketClient, settled } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'
import { comeBack, leaveSubscribed, numbers, publishTogether, sleeping } from './support/stores/sleeper.ts'

const narrow = (receiveMaximum: number): Partial<ConnectPacket> => sleeping({ properties: { sessionExpiryInterval: 3600, receiveMaximum } })

/** A Client that has sent CONNECT, and been told nothing yet. */
function connecting ({ test }: World, fields: Partial<ConnectPacket>): PacketClient {
  const packet = connectPacket(fields)
  return new PacketClient(test.broker, packet.protocolVersion).send(packet)
}

// --- The store fails

t.test('QoS 2 messages keep their order though the store refuses a commit while the next is gathered [MQTT-4.6.0-6]', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, ['a', 'b'])
  await publishTogether(world, ['1'], { qos: 2 })
  const [client] = await open(world.test, narrow(2))
  const first = await client.messages()
  world.store.holds = 'commits'
  client.send(...first.map(({ packetIdentifier }) => puback(packetIdentifier)))
  await settled()
  const publishing = publishTogether(world, ['2'], { qos: 2 })
  await settled()
  world.store.isFailing = true
  await world.store.release()
  await world.freeDisk()
  await publishing
  t.strictSame(payloadsOf(await receiveAll(client)), ['1', '2'])
})

t.test('a store that fails is asked again once a second, whoever waits for it', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, ['1'], { qos: 2 })
  const [client] = await open(world.test, sleeping())
  const [message] = await client.messages()
  world.store.isFailing = true
  const { metrics } = world.test.broker
  client.send(pubrec(message?.packetIdentifier ?? 0))
  await settled()
  await settled()
  t.equal(metrics.storeFailures, 1)
  await world.test.clock.advance(3_000)
  t.equal(metrics.storeFailures, 4)
  await world.freeDisk()
})

t.test('a commit of 200,000 changes that is refused is part of the next', async t => {
  const world = await World.start(t, { limits: { ...defaultLimits, maximumQueuedMessages: 1_000_000, maximumQueuedBytes: 2 ** 31, maximumTotalQueuedBytes: 2 ** 32 } })
  for (const clientIdentifier of numbers(200)) await leaveSubscribed(world, 'a', 2, { clientIdentifier, properties: { sessionExpiryInterval: 100 } })
  await publishTogether(world, numbers(1000))
  world.store.isFailing = true
  await world.test.clock.advance(110_000)
  await world.freeDisk()
  await world.test.clock.advance(5_000)
  t.equal(world.test.broker.metrics.queuedMessages, 0)
  t.strictSame([...world.store.sessions() as Iterable<object>], [])
})

t.test('a QoS 2 message is not acknowledged before it is stored, however often it is sent (Session of one connection) [MQTT-4.3.3-8]', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher', protocolVersion: 4 })
  world.store.holds = 'commits'
  publisher.publish('a', 'once', { qos: 2, packetIdentifier: 1 }).publish('a', 'once', { qos: 2, packetIdentifier: 1, dup: true })
  t.strictSame(await publisher.take(), [])
  await world.store.release()
  t.ok((await publisher.takeType(PacketType.pubrec)).length > 0)
  t.strictSame(payloadsOf(await comeBack(world)), ['once'])
})

t.test('a QoS 2 message that is sent again in a new connection while the store refuses it is answered', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  const [before] = await open(world.test, lasting({ clientIdentifier: 'publisher' }))
  await before.vanish()
  const [publisher] = await open(world.test, lasting({ clientIdentifier: 'publisher' }))
  world.store.holds = 'commits'
  await publisher.publish('a', 'once', { qos: 2, packetIdentifier: 1 }).take()
  await publisher.vanish()
  const again = connecting(world, lasting({ clientIdentifier: 'publisher' }))
  await settled()
  again.publish('a', 'once', { qos: 2, packetIdentifier: 1, dup: true })
  await settled()
  world.store.isFailing = true
  await world.store.release()
  await world.freeDisk()
  exactly(t, await again.take(), [{ type: PacketType.connack, reasonCode: 0 }, pubrec(1)])
})

t.test('a subscription that is taken back since it cannot be stored is told to observers, too', async t => {
  const world = await World.start(t)
  const told: string[] = []
  world.test.broker.hook({ subscribed: () => { told.push('subscribed') }, unsubscribed: () => { told.push('unsubscribed') } })
  const [client] = await open(world.test, sleeping())
  world.store.isFailing = true
  const subscribing = client.subscribe('a')
  await world.test.clock.advance(1_000)
  t.strictSame((await subscribing)?.reasonCodes, [ReasonCode.quotaExceeded])
  t.strictSame(told, ['subscribed', 'unsubscribed'])
  await world.freeDisk()
})

t.test('what Clients that are refused leave behind does not add up while the store fails', async t => {
  const world = await World.start(t)
  world.store.isFailing = true
  for (const clientIdentifier of numbers(100)) await tryConnect(world.test, lasting({ clientIdentifier }))
  await world.test.clock.advance(3_000)
  const sizes: number[] = []
  const commit = world.store.commit.bind(world.store)
  world.store.commit = changes => {
    sizes.push(changes.sessions.size)
    return commit(changes)
  }
  await world.freeDisk()
  t.ok(Math.max(0, ...sizes) < 10, `${sizes.join()} records were gathered`)
  t.strictSame([...world.store.sessions() as Iterable<object>], [])
})

// --- The end

t.test('a broker that is closed asks nothing more of its store, though a Session is being cleared away', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(1500))
  await open(world.test, sleeping({ cleanStart: true }))
  await world.close()
  for (let i = 0; i < 10; i++) await settled()
  await world.test.clock.advance(10_000)
  t.strictSame(world.store.afterClose, [])
})

for (const holds of ['fetches', 'commits'] as const) {
  t.test(`a broker that is closed while ${holds} wait asks nothing more of its store, and loses nothing`, async t => {
    const world = await World.start(t)
    await leaveSubscribed(world)
    await publishTogether(world, numbers(1500))
    const { store } = world
    store.holds = holds
    const client = connecting(world, sleeping())
    await settled()
    const closing = world.test.broker.close()
    await settled()
    await store.release()
    await world.test.clock.advance(10_000)
    await closing
    await settled()
    t.strictSame(store.afterClose, [])
    t.equal(client.isEnded, true)
    await world.restart()
    t.strictSame(payloadsOf(await comeBack(world)), numbers(1500))
  })
}

t.test('a broker that is closed while its store fails says so, and leaves nothing running', async t => {
  const clock = new FakeClock()
  const store = new FaultyStore(memoryStore())
  const broker = await createBroker({ clock, persistence: store, sysIntervalMs: 0, closeTimeoutMs: 0 })
  const [client] = await open({ broker, clock }, sleeping())
  await client.subscribe('a')
  await broker.publish('a', '1', { qos: 2 })
  const [message] = await client.messages()
  store.isFailing = true
  client.send(pubrec(message?.packetIdentifier ?? 0))
  await settled()
  const closing = t.rejects(broker.close(), { code: 'MQTT_STORE_FULL' })
  await clock.advance(10_000)
  await closing
  t.strictSame(store.afterClose, [])
  t.equal(clock.pending, 0)
})

t.test('a subscriber that acknowledges before, while and after its message is written has it once, and the queue is empty', async t => {
  for (const when of ['before', 'during', 'after'] as const) {
    const world = await World.start(t)
    const [client] = await open(world.test, sleeping())
    await client.subscribe('a', { qos: 1 })
    world.store.holds = 'commits'
    const publishing = world.test.broker.publish('a', when, { qos: 1 })
    if (when === 'during') await settled()
    else await new Promise(resolve => { process.nextTick(resolve) })
    if (when === 'after') await world.store.release()
    const [message] = await client.messages()
    client.send(puback(message?.packetIdentifier ?? 0))
    await settled()
    await world.store.release()
    await publishing
    await settled()
    await world.crash()
    t.strictSame(payloadsOf(await comeBack(world)), [], when)
    await world.close()
  }
})
