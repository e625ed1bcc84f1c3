import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { TestCluster } from './support/cluster/cluster.ts'
import { puback } from './support/exchanges.ts'
import { settled } from './support/fake-clock.ts'
import { connectPacket, PacketClient } from './support/harness.ts'

t.test('a message reaches subscribers of other nodes, once for each Session', async t => {
  const cluster = await TestCluster.start(t)
  const [subscriber] = await cluster.connect(1, 's')
  await subscriber.subscribe('a/+')
  await subscriber.subscribe('a/#')
  const [publisher] = await cluster.connect(0, 'p')
  for (const qos of [0, 1, 2] as const) publisher.publish('a/b', `qos ${qos}`, { qos, packetIdentifier: qos })
  await cluster.settle()
  t.same(await subscriber.payloads(), ['qos 0', 'qos 1', 'qos 2'])
  t.same((await publisher.take()).map(({ type }) => type), [PacketType.puback, PacketType.pubrec])
})

t.test('what goes to several nodes at once reaches each of them whole and in order, whatever its size', async t => {
  const cluster = await TestCluster.start(t)
  const [every] = await cluster.connect(1, 'every')
  await every.subscribe('a/#', { qos: 1 })
  const [odd] = await cluster.connect(2, 'odd')
  await odd.subscribe('a/1', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  const sizes = [0, 1, 60_000, 6_000, 70_000, 3, 200_000, 400_000, 2, 65_536, 1]
  const payloads = sizes.map((size, i) => `${i}:${'x'.repeat(size)}`)
  for (const [i, payload] of payloads.entries()) publisher.publish(`a/${i % 2}`, payload, { qos: 1, packetIdentifier: i + 1 })
  await cluster.settle()
  t.strictSame(await every.payloads(), payloads)
  t.strictSame(await odd.payloads(), payloads.filter((_, i) => i % 2 === 1))
})

t.test('a Session goes on at another node: queue, in-flight messages and subscriptions', async t => {
  const cluster = await TestCluster.start(t)
  const [first] = await cluster.durable(1, 's', { properties: { sessionExpiryInterval: 3600, receiveMaximum: 1 } })
  await first.subscribe('a', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  for (const payload of ['1', '2', '3']) publisher.publish('a', payload, { qos: 1, packetIdentifier: Number(payload) })
  await cluster.pass(500)
  t.same(await first.payloads(), ['1'])
  await first.vanish()
  await cluster.settle()
  const [second, connack] = await cluster.durable(2, 's')
  t.equal(connack.sessionPresent, true)
  const messages = await second.messages()
  t.same(messages.map(({ payload, dup }) => [payload.toString(), dup]), [['1', true], ['2', false], ['3', false]])
  publisher.publish('a', '4', { qos: 1, packetIdentifier: 4 })
  await cluster.settle()
  t.same(await second.payloads(), ['4'])
})

t.test('a Client Identifier that comes back elsewhere ends the old connection with Session taken over [MQTT-3.1.4-3]', async t => {
  const cluster = await TestCluster.start(t)
  for (const [name, open] of [['durable', cluster.durable.bind(cluster)], ['volatile', cluster.connect.bind(cluster)]] as const) {
    const [first] = await open(0, name)
    await first.subscribe(name, { qos: 1 })
    const [second, connack] = await open(1, name)
    t.equal(connack.sessionPresent, name === 'durable')
    const told = await first.takeType(PacketType.disconnect)
    t.same(told.map(({ reasonCode }) => reasonCode), [ReasonCode.sessionTakenOver])
    const [publisher] = await cluster.connect(2, 'p')
    publisher.publish(name, 'x', { qos: 1, packetIdentifier: 1 })
    await cluster.settle()
    t.same(await second.payloads(), name === 'durable' ? ['x'] : [])
    t.same(await first.payloads(), [])
  }
})

t.test('what was sent a moment before its Client came to another node comes again under its Packet Identifier, with DUP [MQTT-4.4.0-1]', async t => {
  const cluster = await TestCluster.start(t)
  const [first] = await cluster.durable(0, 's')
  await first.subscribe('a')
  const [publisher] = await cluster.connect(2, 'p')
  for (const packetIdentifier of [1, 2, 3]) publisher.publish('a', String(packetIdentifier), { qos: 1, packetIdentifier })
  await cluster.settle()
  first.send(puback(1))
  const sent = await first.messages()
  t.equal(sent.length, 3)
  const presence: unknown[] = []
  void (async () => { for await (const event of cluster.at(2).broker.cluster?.presence() ?? []) presence.push(event) })()
  const [second] = await cluster.durable(1, 's') // the first connection is still there
  const again = await second.messages()
  t.same(again.map(({ packetIdentifier, dup, payload }) => [packetIdentifier, dup, payload]), sent.slice(1).map(({ packetIdentifier, payload }) => [packetIdentifier, true, payload]))
  t.same(presence, [], 'and stays online')
})

t.test('a Client that a living node was asked for, and that does not come after all, is said to be offline', async t => {
  const cluster = await TestCluster.start(t, 2)
  await cluster.durable(0, 's')
  const late = new PacketClient(cluster.at(1).broker, 5)
  late.send(connectPacket({ clientIdentifier: 's', cleanStart: false }))
  const { requests } = cluster.at(1).node
  let asked = 0
  while (cluster.at(0).broker.metrics.clientsConnected > 0 && asked++ < 100) await settled()
  requests.drop() // it dies before it can take the Session
  cluster.kill(1)
  const online = async (): Promise<string[]> => {
    const found: string[] = []
    for await (const { clientIdentifier } of cluster.at(0).broker.cluster?.clients() ?? []) found.push(clientIdentifier)
    return found
  }
  t.same(await online(), ['s'])
  await cluster.pass(15_000)
  t.same(await online(), [])
})

t.test('retained messages are everywhere', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [publisher] = await cluster.connect(0, 'p')
  publisher.publish('r', 'kept', { qos: 1, packetIdentifier: 1, retain: true })
  await cluster.settle()
  const [subscriber] = await cluster.connect(1, 's')
  await subscriber.subscribe('r')
  await cluster.settle()
  t.same(await subscriber.payloads(), ['kept'])
  await cluster.add()
  const [late] = await cluster.connect(2, 'late')
  await late.subscribe('r')
  await cluster.settle()
  t.same(await late.payloads(), ['kept'])
})

t.test('a node that has missed what the log told forgets retained messages that were removed, and none of its own', async t => {
  const cluster = await TestCluster.start(t, 2, { sysIntervalMs: 1_000 })
  const publish = async (index: number, topic: string, text: string): Promise<void> => cluster.at(index).broker.publish(topic, text, { retain: true })
  const topics = Array.from({ length: 2_500 }, (_, i) => `many/${i}`)
  await Promise.all(['gone', 'replaced', ...topics].map(async topic => publish(0, topic, 'old')))
  await cluster.pass(1_000)
  const { node } = cluster.at(1)
  await node.outrun(async () => {
    await Promise.all([publish(0, 'gone', ''), publish(0, 'replaced', 'new'), publish(0, 'added', 'new'), ...topics.slice(0, 1_500).map(async topic => publish(0, topic, ''))])
    node.requests.hold()
    void publish(1, 'own', 'not committed yet')
    void publish(1, 'many/1', 'not committed yet')
  })
  await cluster.settle()
  const kept = new Map([['replaced', 'new'], ...topics.slice(1_500).map((topic): [string, string] => [topic, 'old']), ['added', 'new'], ['own', 'not committed yet'], ['many/1', 'not committed yet']])
  node.requests.release()
  await cluster.pass(1_000)
  const [client] = await cluster.connect(1, 'c')
  await client.subscribe('#')
  const known = new Map((await client.messages()).map(({ topic, payload }) => [topic.name, payload.toString()]))
  t.strictSame([...known].sort(), [...kept].sort())
  await client.subscribe('$SYS/broker/version')
  t.equal((await client.payloads()).length, 1)
})

t.test('a retained message is removed at a node that has not heard of it yet [MQTT-3.3.1-6]', async t => {
  const cluster = await TestCluster.start(t, 2)
  cluster.at(1).node.log.hold()
  for (const [index, payload] of [[0, 'kept'], [1, '']] as const) {
    const [publisher] = await cluster.connect(index, `p${index}`)
    publisher.publish('r', payload, { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    t.equal((await publisher.takeType(PacketType.puback)).length, 1)
  }
  cluster.at(1).node.log.release()
  await cluster.settle()
  for (const index of [0, 1]) {
    const [subscriber] = await cluster.connect(index, `s${index}`)
    await subscriber.subscribe('r')
    await cluster.settle()
    t.same(await subscriber.payloads(), [], `node ${index}`)
  }
})

t.test('a node that dies: its Sessions are taken over, their Wills published once, nothing acknowledged is lost', async t => {
  const cluster = await TestCluster.start(t)
  const will = { topicName: 'will', payload: Buffer.from('gone'), qos: 1 as const, retain: false, properties: undefined }
  const [subscriber] = await cluster.durable(1, 's', { will })
  await subscriber.subscribe('a', { qos: 1 })
  const [watcher] = await cluster.connect(0, 'w')
  await watcher.subscribe('will')
  cluster.kill(1)
  const [publisher] = await cluster.connect(0, 'p')
  publisher.publish('a', 'while it was dead', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  t.equal((await publisher.takeType(PacketType.puback)).length, 1)
  await cluster.pass(30_000)
  t.same(await watcher.payloads(), ['gone'])
  const [again, connack] = await cluster.durable(2, 's')
  t.equal(connack.sessionPresent, true)
  t.same(await again.payloads(), ['while it was dead'])
})

t.test('a Client of a dead node goes on elsewhere at once', async t => {
  const cluster = await TestCluster.start(t)
  const [subscriber] = await cluster.durable(1, 's')
  await subscriber.subscribe('a', { qos: 2 })
  const [publisher] = await cluster.connect(0, 'p')
  cluster.kill(1)
  for (const id of [1, 2, 3]) publisher.publish('a', String(id), { qos: 2, packetIdentifier: id })
  await cluster.settle()
  const [again, connack] = await cluster.durable(2, 's')
  t.equal(connack.sessionPresent, true)
  t.same(await again.payloads(), ['1', '2', '3'])
})

t.test('a Shared Subscription has one member in the whole cluster for each message', async t => {
  const cluster = await TestCluster.start(t)
  const members = []
  for (const index of [0, 1, 2]) {
    const [member] = await cluster.connect(index, `m${index}`)
    await member.subscribe('$share/g/a', { qos: 1 })
    members.push(member)
  }
  await cluster.settle()
  const [publisher] = await cluster.connect(0, 'p')
  for (let i = 1; i <= 30; i++) publisher.publish('a', String(i), { qos: 1, packetIdentifier: i })
  await cluster.settle()
  const counts = await Promise.all(members.map(async member => (await member.payloads()).length))
  t.same(counts, [10, 10, 10])
})

t.test('a node that slept finds itself fenced, closes its Clients and joins anew', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [client] = await cluster.durable(0, 's')
  await client.subscribe('a', { qos: 1 })
  cluster.at(0).node.cut()
  await cluster.pass(30_000)
  cluster.at(0).node.mend()
  await cluster.pass(5_000)
  t.equal(client.isEnded, true)
  const [again, connack] = await cluster.durable(0, 's')
  t.equal(connack.sessionPresent, true)
  const [publisher] = await cluster.connect(1, 'p')
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  t.same(await again.payloads(), ['x'])
})

t.test('what is published at a node while it joins anew reaches those who were there, and is not acknowledged before', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [subscriber] = await cluster.durable(0, 's')
  await subscriber.subscribe('a', { qos: 1 })
  const { node, broker } = cluster.at(0)
  node.cut()
  await cluster.pass(30_000)
  node.mend()
  node.log.hold() // it is told of nobody yet
  await cluster.pass(3_000)
  t.equal(subscriber.isEnded, true)
  let isAcknowledged = false
  const published = broker.publish('a', 'x', { qos: 1 }).then(() => { isAcknowledged = true })
  await cluster.settle()
  t.equal(isAcknowledged, false)
  node.log.release()
  await cluster.pass(1_000)
  await published
  const [again] = await cluster.durable(1, 's')
  t.same(await again.payloads(), ['x'])
})

t.test('a graceful close hands Sessions over at once', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [client] = await cluster.durable(0, 's')
  await client.subscribe('a', { qos: 1 })
  const closing = cluster.at(0).broker.close()
  await cluster.pass(3_000)
  await closing
  await cluster.pass(3_000)
  const [publisher] = await cluster.connect(1, 'p')
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  const [again, connack] = await cluster.durable(1, 's')
  t.equal(connack.sessionPresent, true)
  t.same(await again.payloads(), ['x'])
})

t.test('half a cluster does not start', async t => {
  const { persistence } = (await TestCluster.start(t, 1)).hub.node()
  const { createBroker } = await import('../lib/index.ts')
  await t.rejects(createBroker({ persistence }), { message: /emitter/ })
})
