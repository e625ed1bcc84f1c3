import t from 'tap'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBroker, defaultLimits, ErrorCode, ReasonCode } from '../lib/index.ts'
import { MemoryPressure } from '../lib/memory-pressure.ts'
import { PacketType, type PublishPacket, type UserProperty } from '../lib/packet/packets.ts'
import { connect, connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { Topic } from '../lib/topic/topic.ts'
import { FakeClock } from './support/fake-clock.ts'
import { World } from './support/stores/durable-world.ts'
import { limit, tested } from './support/limits.ts'
import { startObserved, tryConnect } from './support/observe.ts'

function puback (packetIdentifier: number): { type: typeof PacketType.puback, packetIdentifier: number, reasonCode: 0, properties: undefined } {
  return { type: PacketType.puback, packetIdentifier, reasonCode: 0, properties: undefined }
}

async function publishMany (test: TestBroker, count: number, payload = 'x'): Promise<void> {
  for (let i = 0; i < count; i++) await test.broker.publish('a', `${payload}${i}`, { qos: 1 })
}

/** A Client that is away, with a subscription of QoS 1 to `a`. */
async function leaveSubscribed (test: TestBroker, clientIdentifier = 'away'): Promise<void> {
  const [client] = await connect(test, { clientIdentifier, cleanStart: false, properties: { sessionExpiryInterval: 3600 } })
  await client.subscribe('a', { qos: 1 })
  await client.vanish()
}

async function comeBack (test: TestBroker, clientIdentifier = 'away'): Promise<string[]> {
  const client = new PacketClient(test.broker, 5)
  client.send(connectPacket({ clientIdentifier, cleanStart: false, properties: { sessionExpiryInterval: 3600 } }))
  return client.payloads()
}

t.test('every limit has a default that is in force, and wrong values are refused at construction', async t => {
  const { broker } = await startBroker(t)
  const { memoryHighWaterMark, ...rest } = broker.limits
  t.strictSame({ ...rest, memoryHighWaterMark: 0 }, defaultLimits)
  t.ok(memoryHighWaterMark > 0, 'set for the machine')
  for (const name of Object.keys(defaultLimits)) {
    for (const value of [-1, 1.5, NaN, Infinity, '10', null]) {
      await t.rejects(createBroker({ limits: { [name]: value } }), { code: ErrorCode.optionInvalid, message: new RegExp(`limits\\.${name}"`) }, `${name} ${String(value)}`)
    }
  }
})

t.test('maximumPacketSize: as it comes a payload of 1 MiB passes, whatever its topic', async t => {
  const [client] = await connect(await startBroker(t))
  const topicName = 'a'.repeat(defaultLimits.maximumTopicLength)
  await client.subscribe(topicName)
  client.publish(topicName, 'x'.repeat(2 ** 20))
  t.equal((await client.payloads())[0]?.length, 2 ** 20)
})

limit({ maximumPacketSize: 100 }, 'is announced, and a larger packet is answered with 0x95 as soon as its header is there', async (t, test) => {
  const [client, connack] = await connect(test)
  t.equal(connack.properties?.maximumPacketSize, 100)
  client.publish('a', 'x'.repeat(94)) // 2 + 2 + 1 + 1 + 94: just as large as allowed
  t.strictSame(await client.take(), [])
  client.write('30 63') // 101 bytes announced, none of them sent
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.packetTooLarge }])
  t.equal(client.isEnded, true)
  t.ok(test.events.includes('disconnected 149 client'))
})

limit({ maximumConnectSize: 40 }, 'a larger CONNECT is closed at its header', async (t, test) => {
  await connect(test, { clientIdentifier: 'x'.repeat(23) })
  const client = new PacketClient(test.broker, 5)
  client.write('10 27')
  t.strictSame(await client.take(), [])
  t.strictSame([client.isEnded, test.events], [true, ['refused MQTT_PACKET_TOO_LARGE 149']])
  t.equal(test.broker.metrics.connectionsRefused, 1)
})

limit({ connectTimeoutMs: 3000 }, 'a connection without a CONNECT ends', async (t, test) => {
  const client = new PacketClient(test.broker, 5)
  await test.clock.advance(2900)
  t.equal(client.isEnded, false)
  await test.clock.advance(600)
  t.strictSame([client.isEnded, test.events], [true, ['refused MQTT_CONNECT_TIMEOUT 130']])
})

limit({ maximumClientIdentifierLength: 30 }, 'a longer one is refused with 0x85, counted in bytes', async (t, test) => {
  await connect(test, { clientIdentifier: 'x'.repeat(30) })
  for (const protocolVersion of [4, 5] as const) {
    const [client, connack] = await tryConnect(test, { protocolVersion, clientIdentifier: 'é'.repeat(16) })
    t.strictSame([connack?.reasonCode, client.isEnded], [ReasonCode.clientIdentifierNotValid, true])
  }
})

limit({ maximumTopicLength: 5, maximumTopicLevels: 2 }, 'a PUBLISH over them ends the connection, a filter is refused alone', async (t, test) => {
  for (const topicName of ['123456', 'a/b/c', 'ééé']) {
    const [client] = await connect(test)
    client.publish(topicName, 'x')
    t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.topicNameInvalid }])
    const [refused, connack] = await tryConnect(test, { will: { topicName, payload: Buffer.alloc(0), qos: 0, retain: false, properties: undefined } })
    t.strictSame([connack?.reasonCode, refused.isEnded], [ReasonCode.topicNameInvalid, true])
  }
  const [client] = await connect(test)
  for (const topicFilter of ['123456', 'a/b/c']) t.match(await client.subscribe(topicFilter), { reasonCodes: [ReasonCode.topicFilterInvalid] })
  t.match(await client.subscribe('a/+'), { reasonCodes: [2] })
})

limit({ maximumSubscriptions: 2 }, 'one more is refused with 0x97; replacing one is not one more', async (t, test) => {
  const [client] = await connect(test)
  for (const topicFilter of ['a', 'b']) t.match(await client.subscribe(topicFilter), { reasonCodes: [2] })
  t.match(await client.subscribe('c'), { reasonCodes: [ReasonCode.quotaExceeded] })
  t.match(await client.subscribe('a', { qos: 1 }), { reasonCodes: [1] })
})

limit({ receiveMaximum: 2 }, 'is announced; more QoS 2 messages without PUBREL end the connection with 0x93 [MQTT-3.3.4-7]', async (t, test) => {
  const [client, connack] = await connect(test)
  t.equal(connack.properties?.receiveMaximum, 2)
  for (const packetIdentifier of [1, 2, 1]) client.publish('a', 'x', { qos: 2, packetIdentifier })
  t.equal((await client.takeType(PacketType.pubrec)).length, 3, 'a repeated identifier is not one more')
  client.publish('a', 'x', { qos: 2, packetIdentifier: 3 })
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.receiveMaximumExceeded }])
})

limit({ maximumInFlight: 3 }, 'no more are sent before one is acknowledged, the rest is counted as queued', async (t, test) => {
  const [client] = await connect(test)
  await client.subscribe('a', { qos: 1 })
  await publishMany(test, 5)
  t.strictSame(await client.payloads(), ['x0', 'x1', 'x2'])
  t.equal(test.broker.metrics.queuedMessages, 2)
  client.send(puback(1))
  t.strictSame(await client.payloads(), ['x3'])
  t.equal(test.broker.metrics.queuedMessages, 1)
})

const policies = [['dropOldest', ['x1', 'x2']], ['dropNewest', ['x0', 'x1']], ['disconnect', ['x0', 'x1']]] as const
for (const [queuePolicy, left] of policies) {
  for (const [name, value] of [['maximumQueuedMessages', 2], ['maximumQueuedBytes', 450]] as const) {
    limit({ [name]: value, queuePolicy }, 'a full queue drops with the reason queueFull', async (t, test) => {
      await leaveSubscribed(test)
      await publishMany(test, 3)
      t.strictSame(test.events.slice(1), ['drop queueFull away'])
      t.equal(test.broker.metrics.messagesDropped, 1)
      t.equal(test.broker.metrics.queuedMessages, 2)
      t.strictSame(await comeBack(test), left)
      t.equal(test.broker.metrics.queuedBytes, 0)
    })
  }
}

limit({ maximumQueuedBytes: 10_000 }, 'a full queue drops with the reason queueFull, also where all of it is in properties', async (t, test) => {
  await leaveSubscribed(test)
  const properties = { contentType: 'x'.repeat(3000), correlationData: Buffer.alloc(1000), userProperties: [['', 'x'.repeat(3000)]] as [string, string][] }
  for (const payload of ['x0', 'x1']) await test.broker.publish('a', payload, { qos: 1, properties })
  t.strictSame(test.events.slice(1), ['drop queueFull away'])
  t.strictSame(await comeBack(test), ['x0'])
  t.equal(test.broker.metrics.queuedBytes, 0)
})

limit({ maximumQueuedMessages: 1, queuePolicy: 'disconnect', maximumInFlight: 1 }, 'the Client that is connected is told 0x97', async (t, test) => {
  const [client] = await connect(test)
  await client.subscribe('a', { qos: 1 })
  await publishMany(test, 3)
  t.match(await client.take(), [{ type: PacketType.publish }, { type: PacketType.disconnect, reasonCode: ReasonCode.quotaExceeded }])
  t.strictSame(test.events.slice(0, 1), ['drop queueFull client'])
})

limit({ maximumTotalQueuedBytes: 450 }, 'all queues together: what does not fit is dropped with the reason totalQueueFull', async (t, test) => {
  for (const clientIdentifier of ['away', 'too']) await leaveSubscribed(test, clientIdentifier)
  test.events.length = 0
  await publishMany(test, 2)
  t.strictSame(test.events, ['drop totalQueueFull away', 'drop totalQueueFull too'])
  t.ok(test.broker.metrics.queuedBytes <= 450)
  t.strictSame([await comeBack(test), await comeBack(test, 'too')], [['x0'], ['x0']])
})

t.test('maximumUncommittedBytes: over it who publishes what has to be stored is held back until the store takes it, and nobody else is', async t => {
  tested.add('maximumUncommittedBytes')
  const { store, test } = await World.start(t, { limits: { maximumUncommittedBytes: 3_000 } })
  const { metrics } = test.broker
  await leaveSubscribed(test)
  const [watcher] = await connect(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('live')
  const [first, second] = [(await connect(test, { clientIdentifier: 'first' }))[0], (await connect(test, { clientIdentifier: 'second' }))[0]]
  store.holds = 'commits'
  first.publish('a', 'under way', { qos: 1, packetIdentifier: 1 })
  await settled()
  const most = metrics.messagesReceived
  for (let id = 1; id <= 20; id++) {
    first.publish('a', `first ${id}`.padEnd(1_000), { qos: 1, packetIdentifier: id + 1 })
    second.publish('a', `second ${id}`.padEnd(1_000), { qos: 1, packetIdentifier: id })
  }
  await settled()
  t.strictSame([await first.take(), await second.take()], [[], []])
  t.ok(metrics.messagesReceived - most <= 5, 'not even read')
  t.ok(metrics.uncommittedBytes >= 3_000 && metrics.uncommittedBytes < 5_000, `${metrics.uncommittedBytes} bytes wait`)
  const [other] = await connect(test, { clientIdentifier: 'other' })
  other.publish('live', 'QoS 0 goes on')
  t.strictSame(await watcher.payloads(), ['QoS 0 goes on'])
  other.publish('live', 'but not if it is retained', { retain: true })
  t.strictSame(await watcher.payloads(), [])
  await store.release()
  for (let i = 0; i < 20; i++) await settled()
  t.strictSame(await watcher.payloads(), ['but not if it is retained'])
  t.ok(Math.max(...store.commits.map(({ enqueued }) => enqueued.length)) <= 3, 'those who had waited came one after the other')
  t.strictSame([(await first.take()).length, (await second.take()).length], [21, 20])
  t.equal(metrics.uncommittedBytes, 0)
  t.equal(store.commits.reduce((sum, { enqueued }) => sum + enqueued.length, 0), 41)
})

t.test('what has expired makes room in a full queue first', async t => {
  const test = await startObserved(t, { limits: { maximumQueuedMessages: 2, queuePolicy: 'dropNewest' } })
  await leaveSubscribed(test)
  await test.broker.publish('a', 'old', { qos: 1, properties: { messageExpiryInterval: 1 } })
  await test.broker.publish('a', 'kept', { qos: 1 })
  await test.clock.advance(1500)
  await test.broker.publish('a', 'new', { qos: 1 })
  t.strictSame(test.events.slice(1), ['drop expired away'])
  t.strictSame(await comeBack(test), ['kept', 'new'])
})

limit({ maximumOutboxBytes: 100_000, slowConsumerTimeoutMs: 3000 }, 'QoS 0 to who does not read is dropped, QoS 1 waits, and it ends with 0x97', async (t, test) => {
  const [slow] = await connect(test)
  await slow.subscribe('a', { qos: 1 })
  slow.stream.pause()
  for (let i = 0; i < 200; i++) await test.broker.publish('a', 'x'.repeat(1000))
  await settled()
  const dropped = test.events.filter(event => event === 'drop slowConsumer client').length
  t.ok(dropped > 50 && dropped < 150, `${dropped} of 200 dropped`)
  for (let i = 0; i < 10; i++) await test.broker.publish('a', 'x'.repeat(1000), { qos: 1 })
  t.equal(test.broker.metrics.queuedMessages, 10, 'they wait in the Session, not in the outbox')
  await test.clock.advance(2900)
  t.notOk(test.events.includes('disconnected 151 client'))
  await test.clock.advance(1700)
  t.ok(test.events.includes('disconnected 151 client'))
})

limit({ maximumRetainedMessages: 2 }, 'one more is delivered, not retained, and told as retainedFull; replacing one is not one more', async (t, test) => {
  for (const topicName of ['r/1', 'r/2', 'r/3']) await test.broker.publish(topicName, topicName, { retain: true })
  t.strictSame(test.events, ['drop retainedFull -'])
  await test.broker.publish('r/1', 'changed', { retain: true })
  const [client] = await connect(test)
  await client.subscribe('r/+')
  t.strictSame((await client.payloads()).sort(), ['changed', 'r/2'])
  await test.broker.publish('r/1', '', { retain: true })
  await test.broker.publish('r/3', 'now', { retain: true })
  t.equal(test.events.length, 1, 'deleting one makes room')
})

limit({ maximumRetainedBytes: 500 }, 'what would pass it is not retained', async (t, test) => {
  await test.broker.publish('r/1', 'x'.repeat(100), { retain: true })
  await test.broker.publish('r/2', 'x'.repeat(300), { retain: true })
  t.strictSame(test.events, ['drop retainedFull -'])
  const [client] = await connect(test)
  await client.subscribe('r/+')
  t.strictSame((await client.messages()).map(({ topic }) => topic.name), ['r/1'])
})

limit({ topicAliasMaximum: 2 }, 'is announced; a larger alias ends the connection with 0x94 [MQTT-3.3.2-9]', async (t, test) => {
  const [client, connack] = await connect(test)
  t.equal(connack.properties?.topicAliasMaximum, 2)
  client.publish('a', 'x', { properties: { topicAlias: 2 } }).publish('a', 'x', { properties: { topicAlias: 3 } })
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.topicAliasInvalid }])
})

limit({ maximumOutboundTopicAliases: 1 }, 'the broker uses no more, whatever the Client allows', async (t, test) => {
  const [client] = await connect(test, { properties: { topicAliasMaximum: 10 } })
  await client.subscribe('#')
  for (const topicName of ['a', 'b', 'c']) await test.broker.publish(topicName, 'x')
  t.strictSame((await client.messages()).map(({ properties }) => properties?.topicAlias), [1, undefined, undefined])
})

limit({ maximumUserProperties: 3 }, 'a packet with more ends the connection with 0x97', async (t, test) => {
  const [client] = await connect(test)
  const userProperties = Array.from({ length: 4 }, (): UserProperty => ['k', 'v'])
  client.publish('a', 'x', { properties: { userProperties: userProperties.slice(1) } })
  t.strictSame(await client.take(), [])
  client.publish('a', 'x', { properties: { userProperties } })
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.quotaExceeded }])
})

limit({ publishRate: 5 }, 'who sends faster is read more slowly, in order, and nothing is lost', async (t, test) => {
  const heard: string[] = []
  test.broker.subscribe('a', ({ payload }) => { heard.push(payload.toString()) })
  const [client] = await connect(test, { keepAlive: 1 })
  for (let i = 0; i < 12; i++) client.publish('a', `${i}`)
  await settled()
  t.equal(heard.length, 5)
  await test.clock.advance(1000)
  t.equal(heard.length, 10)
  await test.clock.advance(1000)
  t.strictSame(heard, Array.from({ length: 12 }, (_, i) => `${i}`))
})

t.test('a Client that the broker itself holds back is not called silent [MQTT-3.1.2-22]', async t => {
  const packet: PublishPacket = { type: PacketType.publish, dup: false, qos: 0, retain: false, topic: new Topic('a'), packetIdentifier: 0, properties: undefined, payload: Buffer.alloc(20) }
  const many = new Array<PublishPacket>(20).fill(packet)
  const byHook = await startObserved(t, { limits: { maximumPendingBytes: 100 }, hooks: { authorizePublish: () => new Promise(resolve => { byHook.clock.after(4000, () => { resolve(true) }) }) } })
  const byRate = await startObserved(t, { limits: { maximumPendingBytes: 100, publishRate: 1 } })
  for (const test of [byHook, byRate]) {
    const [client] = await connect(test, { keepAlive: 1 })
    client.send(...many).send(...many).send(...many)
    await test.clock.advance(15_000)
    t.equal(client.isEnded, false)
    t.strictSame(test.events, [])
  }
})

limit({ maximumKeepAlive: 10 }, 'a longer Keep Alive, or none, is told and kept to; 3.1.1 Clients cannot be told', async (t, test) => {
  for (const keepAlive of [0, 600]) {
    const [client, connack] = await connect(test, { keepAlive })
    t.equal(connack.properties?.serverKeepAlive, 10)
    await test.clock.advance(16_000)
    t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.keepAliveTimeout }])
  }
  const [old] = await connect(test, { keepAlive: 0, protocolVersion: 4 })
  await test.clock.advance(16_000)
  t.equal(old.isEnded, true)
})

limit({ maximumSessionExpiryInterval: 10 }, 'a longer interval is cut, told, and the Session ends then', async (t, test) => {
  const [client, connack] = await connect(test, { properties: { sessionExpiryInterval: 0xffffffff } })
  t.equal(connack.properties?.sessionExpiryInterval, 10)
  await client.vanish()
  await test.clock.advance(9000)
  t.notOk(test.events.includes('ended client'))
  await test.clock.advance(2000)
  t.ok(test.events.includes('ended client'))
  t.equal(test.broker.metrics.sessionsExpired, 1)
})

limit({ maximumSessions: 1 }, 'another Session is refused with 0x97 while the one is there', async (t, test) => {
  await leaveSubscribed(test)
  const [client, connack] = await tryConnect(test, { clientIdentifier: 'other' })
  t.strictSame([connack?.reasonCode, client.isEnded], [ReasonCode.quotaExceeded, true])
  const [, again] = await connect(test, { clientIdentifier: 'away', cleanStart: false })
  t.equal(again.sessionPresent, true)
})

limit({ memoryHighWaterMark: 1 }, 'over it publishers are slowed to a packet a second, and nobody is sent away', async (t, test) => {
  const heard: string[] = []
  test.broker.subscribe('a', ({ payload }) => { heard.push(payload.toString()) })
  const [client] = await connect(test)
  await test.clock.advance(1000)
  for (let i = 0; i < 3; i++) client.publish('a', `${i}`)
  await settled()
  t.strictSame(heard, [])
  await test.clock.advance(3000)
  t.strictSame(heard, ['0', '1', '2'])
  t.equal(client.isEnded, false)
})

t.test('memory pressure: high at the mark, publishers wait from a tenth above, all is well again below', async t => {
  const clock = new FakeClock()
  let used = 0
  const pressure = new MemoryPressure(1000, clock, () => used)
  for (const [bytes, isHigh, waits] of [[900, false, false], [1000, true, false], [1100, true, true], [900, false, false]] as const) {
    used = bytes
    await clock.advance(1000)
    t.strictSame([pressure.isHigh, pressure.hold() !== undefined], [isHigh, waits], `${bytes} of 1000`)
  }
  await clock.advance(1000)
  pressure.close()
  t.equal(clock.pending, 0)
  new MemoryPressure(0, clock, () => 10)
  t.equal(clock.pending, 0, '0 turns it off')
})

t.test('no limit is without a test', t => {
  const connections = readFileSync(join(import.meta.dirname, 'limits-connections.test.ts'), 'utf8')
  for (const [, limits = ''] of connections.matchAll(/^ *limit\(\{ (.*?) \}/gm)) {
    for (const [name] of limits.matchAll(/\w+(?=:)/g)) tested.add(name)
  }
  tested.add('maximumPendingBytes') // hooks.test.ts
  t.strictSame([...tested].sort(), Object.keys(defaultLimits).sort())
  t.end()
})
