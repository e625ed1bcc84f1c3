import t from 'tap'
import { defaultLimits } from '../lib/base/limits.ts'
import { PacketType, type ConnectPacket, type PublishPacket } from '../lib/packet/packets.ts'
import { World } from './support/stores/durable-world.ts'
import { exactly, lasting, open, payloadsOf, puback, receiveAll } from './support/exchanges.ts'
import { connectPacket, PacketClient, settled } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'
import { comeBack, leaveSubscribed, numbers, publishTogether, sleeping } from './support/stores/sleeper.ts'

const narrow = (receiveMaximum: number): Partial<ConnectPacket> => sleeping({ properties: { sessionExpiryInterval: 3600, receiveMaximum } })

/** A Client that has sent CONNECT, and been told nothing yet. */
function connecting ({ test }: World, fields: Partial<ConnectPacket>): PacketClient {
  const packet = connectPacket(fields)
  return new PacketClient(test.broker, packet.protocolVersion).send(packet)
}

const drops = ({ events }: World): string[] => events.filter(event => event.startsWith('drop'))

// --- Queues that are being read

for (const isBack of [true, false]) {
  t.test(`a connection that ends while a page is being read loses nothing, and the order stays${isBack ? ', though the next is there before the page is' : ''}`, async t => {
    const world = await World.start(t)
    await leaveSubscribed(world)
    await publishTogether(world, numbers(1200))
    const [first] = await open(world.test, narrow(1))
    const received: PublishPacket[] = []
    world.store.holds = 'fetches'
    for (let i = 0; i < 400; i++) {
      received.push(...await first.messages())
      first.send(puback(received.at(-1)?.packetIdentifier ?? 0))
    }
    await first.vanish()
    if (!isBack) await world.store.release()
    const [second] = await open(world.test, sleeping())
    await world.store.release()
    received.push(...await receiveAll(second))
    t.strictSame([...new Set(payloadsOf(received))], numbers(1200))
    t.equal(world.test.broker.metrics.queuedMessages, 0)
    t.equal(world.test.broker.metrics.queuedBytes, 0)
  })
}

t.test('rights that are taken back while a page is being read hold for that page, too', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(10))
  world.store.holds = 'fetches'
  const [client] = await open(world.test, sleeping())
  world.test.broker.hook({ authorizeDeliver: () => false })
  await world.test.broker.revalidate()
  await world.store.release()
  t.strictSame(payloadsOf(await receiveAll(client)), [])
  t.equal(drops(world).length, 10)
  t.equal(world.test.broker.metrics.queuedMessages, 0)
})

t.test('rights that are taken back while the store cannot be read are so once it can', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(10))
  world.store.fetchFailures = 1
  world.test.broker.hook({ authorizeDeliver: ({ message }) => message.payload.toString() === '7' })
  await world.test.broker.revalidate()
  const [client] = await open(world.test, sleeping())
  await world.test.clock.advance(2_000)
  t.strictSame(payloadsOf(await receiveAll(client)), ['7'])
  t.equal(drops(world).length, 9)
})

t.test('a queue of which everything was taken out holds up nothing that comes later', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(3))
  await world.crash()
  let isAllowed = false
  world.test.broker.hook({ authorizeDeliver: () => isAllowed })
  const [client] = await open(world.test, sleeping())
  t.strictSame(payloadsOf(await receiveAll(client)), [])
  isAllowed = true
  await publishTogether(world, ['later'])
  t.strictSame(payloadsOf(await receiveAll(client)), ['later'])
})

t.test('messages in a stored queue are dropped when they expire, each at its time', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, ['1'], { expiry: 10 })
  await publishTogether(world, ['2'], { expiry: 200 })
  await world.test.clock.advance(100_000)
  t.equal(drops(world).length, 1)
  await world.test.clock.advance(300_000)
  t.equal(drops(world).length, 2)
})

t.test('messages that were in memory when their Client left are dropped when they expire', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  const [client] = await open(world.test, narrow(1))
  await publishTogether(world, numbers(3), { expiry: 10 })
  await client.vanish()
  await world.test.clock.advance(200_000)
  t.equal(drops(world).length, 2, 'one is in flight')
})

for (const end of ['crash', 'restart'] as const) {
  t.test(`messages that expire in a stored queue after a ${end} are dropped, and make room`, async t => {
    const world = await World.start(t, { limits: { ...defaultLimits, maximumQueuedMessages: 3 } })
    await leaveSubscribed(world)
    await publishTogether(world, numbers(3), { expiry: 10 })
    await world[end]()
    await world.test.clock.advance(200_000)
    await publishTogether(world, ['makes the broker look'])
    await settled()
    await publishTogether(world, ['new'])
    t.strictSame(drops(world), ['drop queueFull sleeper', ...Array<string>(3).fill('drop expired sleeper')])
    t.equal(world.test.broker.metrics.queuedMessages, 1)
    t.strictSame(payloadsOf(await comeBack(world)), ['new'])
  })

  t.test(`gaps in a stored queue cost no message after a ${end}: a queue that is counted too high is not full`, async t => {
    const world = await World.start(t, { limits: { ...defaultLimits, maximumQueuedMessages: 10 } })
    await leaveSubscribed(world)
    await publishTogether(world, ['first'])
    await publishTogether(world, numbers(5), { expiry: 10 })
    await world.test.clock.advance(100_000)
    await publishTogether(world, numbers(9))
    await world[end]()
    const [client] = await open(world.test, narrow(1))
    await client.vanish()
    await publishTogether(world, ['last'])
    await settled()
    t.strictSame(payloadsOf(await comeBack(world)), ['first', ...numbers(9), 'last'])
    t.strictSame(drops(world), Array<string>(5).fill('drop expired sleeper'))
    t.equal(world.test.broker.metrics.queuedMessages, 0)
    t.equal(world.test.broker.metrics.queuedBytes, 0)
  })
}

t.test('a Client that leaves costs no look through its queue where nothing of it is shared', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(3000))
  const [client] = await open(world.test, narrow(1))
  let fetches = 0
  const fetch = world.store.fetch.bind(world.store)
  world.store.fetch = (...page) => {
    fetches++
    return fetch(...page)
  }
  await client.vanish()
  t.equal(fetches, 0)
})

t.test('a message that is too large for its Client gives its place in the window to the next (QoS 2) [MQTT-3.1.2-25]', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, ['x'.repeat(1000), 'small'], { qos: 2 })
  const received = await comeBack(world, { properties: { sessionExpiryInterval: 3600, receiveMaximum: 1, maximumPacketSize: 200 } })
  t.strictSame(payloadsOf(received), ['small'])
})

// --- Sessions

t.test('a CONNECT that the store refuses leaves the Session Expiry Interval as it was', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, ['kept'])
  world.store.isFailing = true
  const [refused, connack] = await tryConnect(world.test, sleeping({ properties: {} }))
  t.not(connack?.reasonCode, 0)
  await world.test.clock.advance(1_000)
  t.equal(refused.isEnded, true)
  await world.freeDisk()
  t.strictSame(payloadsOf(await comeBack(world)), ['kept'])
})

t.test('a CONNECT that the store refuses does not end the Session of the connection that took over', async t => {
  const world = await World.start(t)
  world.store.holds = 'commits'
  connecting(world, sleeping())
  await settled()
  const second = connecting(world, sleeping())
  await settled()
  world.store.isFailing = true
  await world.store.release()
  await world.freeDisk()
  t.equal((await second.takeType(PacketType.connack))[0]?.reasonCode, 0)
  await second.subscribe('a')
  await second.vanish()
  await publishTogether(world, ['kept'])
  t.strictSame(payloadsOf(await comeBack(world)), ['kept'])
})

t.test('two connections with one Client Identifier whose CONNACKs both wait: one is told, and observers hear of one', async t => {
  const world = await World.start(t)
  const told: string[] = []
  world.test.broker.hook({ connected: () => { told.push('connected') }, disconnected: () => { told.push('disconnected') }, refused: () => { told.push('refused') } })
  world.store.holds = 'commits'
  const first = connecting(world, sleeping())
  await settled()
  const second = connecting(world, sleeping())
  await settled()
  await world.store.release()
  t.equal(first.isEnded, true)
  t.equal((await second.takeType(PacketType.connack))[0]?.reasonCode, 0)
  t.strictSame(told, ['refused', 'connected'])
  await second.vanish()
  t.strictSame(told, ['refused', 'connected', 'disconnected'])
  t.equal(world.test.broker.metrics.clientsConnected, 0)
})

t.test('Clean Start while the queue is being read leaves nothing, and nothing of it comes', async t => {
  const world = await World.start(t)
  await leaveSubscribed(world)
  await publishTogether(world, numbers(1500))
  world.store.holds = 'fetches'
  await open(world.test, sleeping())
  const [anew, connack] = await open(world.test, sleeping({ cleanStart: true }))
  t.equal(connack.sessionPresent, false)
  await world.store.release()
  t.strictSame(await receiveAll(anew), [])
  for (let i = 0; i < 10; i++) await settled()
  t.equal(drops(world).filter(event => event === 'drop sessionEnded sleeper').length, 1500)
  t.equal(world.test.broker.metrics.queuedMessages, 0)
  t.equal([...world.store.sessions() as Iterable<object>].length, 1)
})

t.test('a Session that is connected outlives a broker that was idle for longer than its expiry before it was killed', async t => {
  const world = await World.start(t)
  const [client] = await open(world.test, sleeping({ properties: { sessionExpiryInterval: 600 } }))
  await client.subscribe('a')
  await world.test.clock.advance(3_600_000)
  await world.crash(1_000)
  await world.test.clock.advance(1_000)
  t.equal((await open(world.test, sleeping()))[1].sessionPresent, true)
})

for (const [state, isSlow] of [['gathered', false], ['being written', true]] as const) {
  t.test(`a shared message that goes to another member while it is ${state} is acknowledged when it is stored [MQTT-4.8.2-4]`, async t => {
    const world = await World.start(t, { sharedSubscriptionStrategy: 'sticky' })
    const members = [await open(world.test, sleeping()), await open(world.test, lasting({ clientIdentifier: 'other' }))]
    for (const [member] of members) await member.subscribe('$share/g/a', { qos: 1 })
    const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
    world.store.holds = 'commits'
    const busy = isSlow ? undefined : world.test.broker.publish('r', 'keeps the store busy', { retain: true })
    await settled()
    publisher.publish('a', 'shared', { qos: 1, packetIdentifier: 1 })
    await settled()
    for (const [member] of members) if ((await member.messages()).length > 0) await member.vanish()
    t.strictSame(await publisher.take(), [], 'nobody has acknowledged it, and it is not stored')
    await world.store.release()
    await busy
    exactly(t, await publisher.take(), [puback(1)])
    await world.crash()
    const again = [...await comeBack(world), ...await comeBack(world, { clientIdentifier: 'other' })]
    t.strictSame(payloadsOf(again), ['shared'])
  })
}

t.test('a member of a Shared Subscription whose CONNACK waits is not connected yet: others get what is for those who are', async t => {
  const world = await World.start(t, { sharedSubscriptionStrategy: 'roundRobin' })
  await leaveSubscribed(world, '$share/g/a')
  const [other] = await open(world.test, { clientIdentifier: 'other' })
  await other.subscribe('$share/g/a')
  world.store.holds = 'commits'
  const late = connecting(world, sleeping())
  await settled()
  for (const payload of numbers(4)) await world.test.broker.publish('a', payload)
  t.strictSame(await other.payloads(), numbers(4))
  await late.vanish()
  await world.store.release()
  t.strictSame(drops(world), [])
})
