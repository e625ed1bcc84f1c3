import t from 'tap'
import { ReasonCode, storeFailed, storeFull } from '../lib/index.ts'
import { Adoption } from '../lib/cluster/ownership/adoption.ts'
import { Gathering } from '../lib/cluster/outbound/gathered.ts'
import { OutgoingMessage } from '../lib/cluster/outbound/outgoing-message.ts'
import type { SessionReference } from '../lib/contract/cluster-changes.ts'
import { Message, Origin } from '../lib/contract/message.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { JournalBatch } from '../lib/store/journal-batch.ts'
import { PendingMessage, waiterOf, type Waiter } from '../lib/store/pending-message.ts'
import { Topic } from '../lib/topic/topic.ts'
import { TestCluster } from './support/cluster/cluster.ts'
import { puback } from './support/exchanges.ts'
import { FakeClock } from './support/fake-clock.ts'
import { connectPacket, PacketClient, settled } from './support/harness.ts'
import { MemoryLogger } from './support/observe.ts'

t.test('a Shared Subscription of the host has a connected member', async t => {
  const cluster = await TestCluster.start(t, 2)
  const got: string[] = []
  cluster.at(1).broker.subscribe('$share/g/a', message => { got.push(message.payload.toString()) })
  await cluster.settle()
  await Promise.all([cluster.at(0).broker.publish('a', 'x'), cluster.settle()])
  t.same(got, ['x'])
})

t.test('what a Session has acknowledged does not come again at its new node', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 's')
  await first.subscribe('a', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  cluster.at(0).node.requests.hold()
  publisher.publish('b', 'under way', { qos: 1, packetIdentifier: 1, retain: true })
  await cluster.settle()
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 2 })
  const [message] = await first.messages()
  first.send(puback(message?.packetIdentifier ?? 0))
  await cluster.settle()
  const opening = cluster.durable(1, 's')
  await cluster.settle()
  cluster.at(0).node.requests.release()
  const [second] = await opening
  await cluster.pass(1_000)
  t.same(await second.payloads(), [])
})

t.test('a Session that has ended at a node which did not know that it is another one\'s is left alone', async t => {
  const cluster = await TestCluster.start(t, 2)
  const { node, events } = cluster.at(0)
  const [member] = await cluster.durable(1, 'member')
  await member.subscribe('$share/g/a', { qos: 2 })
  const [first] = await cluster.durable(0, 's', { properties: { sessionExpiryInterval: 1 } })
  await first.subscribe('$share/g/a', { qos: 2 })
  await first.vanish()
  await cluster.settle()
  for (const channel of [node.requests, node.inbox]) channel.hold()
  const [second] = await cluster.durable(1, 's')
  await cluster.pass(1_500)
  await member.vanish()
  await second.vanish()
  await cluster.settle()
  for (const payload of ['x', 'y']) await cluster.at(1).broker.publish('a', payload, { qos: 2 })
  await cluster.pass(1_000)
  for (const channel of [node.requests, node.inbox]) channel.release()
  await cluster.pass(3_000)
  t.notMatch(events.join(), 'dropped')
  const got = []
  for (const clientIdentifier of ['s', 'member']) {
    const [client, { sessionPresent }] = await cluster.durable(0, clientIdentifier)
    t.equal(sessionPresent, true, clientIdentifier)
    await cluster.pass(1_000)
    got.push(...await client.payloads())
  }
  t.same(got.sort(), ['x', 'y'])
})

t.test('a Client whose connection ends while it moves to another node is offline', async t => {
  for (const expiry of [0, 3600]) {
    const cluster = await TestCluster.start(t, 2)
    const properties = { sessionExpiryInterval: expiry }
    const [first] = await cluster.connect(0, 'c', { properties })
    const { node, broker } = cluster.at(1)
    node.requests.hold()
    const second = new PacketClient(broker, 5)
    second.settle = async () => cluster.settle()
    second.send(connectPacket({ clientIdentifier: 'c', cleanStart: false, properties }))
    await cluster.pass(1_000)
    await second.vanish()
    node.requests.release()
    await cluster.pass(15_000)
    await first.take()
    const online = []
    for await (const { clientIdentifier } of broker.cluster?.clients() ?? []) online.push(clientIdentifier)
    t.same(online, [], `expiry ${expiry}`)
  }
})

t.test('a node that is taken for dead while a commit of it waits for the log joins anew', async t => {
  const cluster = await TestCluster.start(t, 3)
  const { node } = cluster.at(0)
  const [first] = await cluster.durable(1, 's')
  await first.subscribe('a', { qos: 1 })
  await cluster.settle()
  node.log.hold()
  await cluster.durable(2, 's')
  const [publisher] = await cluster.connect(0, 'p')
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await cluster.settle() // refused: the Session has moved, and this node does not know that
  node.requests.hold()
  await cluster.pass(20_000)
  node.log.drop()
  for (const channel of [node.log, node.requests]) channel.release()
  await cluster.pass(5_000)
  const [, { sessionPresent }] = await cluster.durable(0, 's')
  t.equal(sessionPresent, true)
})

t.test('a QoS 2 message of a Shared Subscription comes once, though who took over what a dead node had left dies over it', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [member] = await cluster.durable(0, 'member')
  await member.subscribe('$share/g/a', { qos: 2 })
  await cluster.settle()
  const { broker, node } = cluster.at(1)
  cluster.at(0).node.inbox.hold()
  await Promise.all([broker.publish('a', 'x', { qos: 2 }), cluster.settle()])
  cluster.kill(0)
  await cluster.pass(7_000)
  node.requests.hold()
  const isHandedOn = (): boolean => [...cluster.hub.state.sessions.values()].some(({ deliveries }) => deliveries.size > 0)
  for (let i = 0; i < 100 && !isHandedOn(); i++) {
    await cluster.pass(500)
    node.requests.step()
  }
  t.equal(isHandedOn(), true)
  cluster.kill(1)
  await cluster.add()
  await cluster.pass(40_000)
  const [again] = await cluster.durable(2, 'member')
  await cluster.pass(1_000)
  t.same(await again.payloads(), ['x'])
})

t.test('what a Client published, and was not told of, does not take the place of what it retained at another node since', async t => {
  for (const properties of [{ sessionExpiryInterval: 3600 }, { sessionExpiryInterval: 0 }]) {
    const cluster = await TestCluster.start(t, 2)
    const retain = (client: PacketClient, payload: string, packetIdentifier: number): unknown => client.publish('r', payload, { qos: 1, packetIdentifier, retain: true })
    const [first] = await cluster.durable(0, 'p', { properties })
    for (const channel of [cluster.at(0).node.requests, cluster.at(0).node.inbox]) channel.hold()
    first.publish('b', 'under way', { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    retain(first, 'old', 2)
    await cluster.settle()
    const [[second]] = await Promise.all([cluster.durable(1, 'p', { properties }), cluster.pass(1_000)])
    retain(second, 'old', 2)
    retain(second, 'new', 3)
    t.match((await second.take()).filter(({ type }) => type === PacketType.puback), [{ packetIdentifier: 2 }, { packetIdentifier: 3 }])
    cluster.at(0).node.requests.release()
    await cluster.pass(1_000)
    cluster.at(0).node.inbox.release()
    await cluster.pass(1_000)
    t.same(await retained(cluster, 'r'), ['new', 'new', 'new'])
  }
})

/** What a new subscriber of each node gets, and what is stored. */
async function retained (cluster: TestCluster, topicName: string): Promise<string[]> {
  const seen = []
  for (const [i] of cluster.nodes.entries()) {
    const [subscriber] = await cluster.connect(i, `subscriber ${i}`)
    await subscriber.subscribe(topicName)
    await cluster.settle()
    seen.push((await subscriber.payloads()).join())
  }
  return [...seen, cluster.hub.state.retained.get(topicName)?.payload.toString() ?? '']
}

t.test('a node that was taken for dead forgets what it retained and could not commit, and hears of what is retained from then on', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [other] = await cluster.connect(1, 'q')
  for (const before of ['', 'before']) {
    other.publish('r', before, { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    const [publisher] = await cluster.connect(0, 'p')
    cluster.at(0).node.cut()
    publisher.publish('r', 'lost', { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    publisher.publish('r', 'lost, too', { qos: 1, packetIdentifier: 2, retain: true })
    await cluster.pass(30_000)
    cluster.at(0).node.mend()
    await cluster.pass(5_000)
    t.same(await retained(cluster, 'r'), [before, before, before])
    other.publish('r', 'new', { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.pass(1_000)
    t.same(await retained(cluster, 'r'), ['new', 'new', 'new'])
  }
})

t.test('a retained message whose publisher has gone to another node is not retained by its former one; that of somebody else is', async t => {
  for (const isAnothers of [false, true]) {
    const cluster = await TestCluster.start(t, 2)
    const [publisher] = await cluster.durable(0, 'p')
    const [other] = await cluster.connect(0, 'q')
    cluster.at(0).node.requests.hold()
    publisher.publish('b', 'under way', { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    if (isAnothers) other.publish('r', 'acknowledged', { qos: 1, packetIdentifier: 1, retain: true })
    publisher.publish('r', 'comes again elsewhere', { qos: 1, packetIdentifier: 2, retain: true })
    const opening = cluster.connect(1, 'p')
    await cluster.pass(1_000)
    cluster.at(0).node.requests.release()
    await opening
    await cluster.pass(3_000)
    if (isAnothers) t.equal((await other.takeType(PacketType.puback)).length, 1)
    const expected = isAnothers ? 'acknowledged' : ''
    t.same(await retained(cluster, 'r'), [expected, expected, expected])
  }
})

t.test('a store that is full for a while loses nothing that was acknowledged: what is in an inbox waits', async t => {
  for (const qos of [1, 2] as const) {
    const cluster = await TestCluster.start(t, 2)
    const [first] = await cluster.durable(1, 's')
    await first.subscribe('a', { qos })
    await first.vanish()
    const [publisher] = await cluster.connect(0, 'p')
    cluster.at(1).node.inbox.hold()
    publisher.publish('a', 'x', { qos, packetIdentifier: 1 })
    await cluster.settle()
    t.match(await publisher.take(), [{ type: qos === 1 ? PacketType.puback : PacketType.pubrec, reasonCode: ReasonCode.success }])
    cluster.hub.failure = storeFull('full')
    cluster.at(1).node.inbox.release()
    await cluster.pass(3_000)
    cluster.hub.failure = undefined
    await cluster.pass(3_000)
    const [second] = await cluster.durable(1, 's')
    t.same(await second.payloads(), ['x'])
  }
})

t.test('the same for what a node that died was sent and had not stored', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(1, 's')
  await first.subscribe('a', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  cluster.kill(1)
  publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  cluster.hub.failure = storeFull('full')
  await cluster.pass(30_000)
  cluster.hub.failure = undefined
  await cluster.pass(3_000)
  const [second] = await cluster.durable(0, 's')
  t.same(await second.payloads(), ['x'])
  t.same(cluster.hub.state.left.filter(line => line.startsWith('inbox 2')), [])
})

t.test('a Will Message that is due while the store is full is published when there is room', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [watcher] = await cluster.connect(1, 'w')
  await watcher.subscribe('will', { qos: 2 })
  const will = { topicName: 'will', payload: Buffer.from('x'), qos: 2 as const, retain: false, properties: undefined }
  const [mortal] = await cluster.durable(0, 'c', { will })
  cluster.hub.failure = storeFull('full')
  await mortal.vanish()
  await cluster.pass(3_000)
  cluster.hub.failure = undefined
  await cluster.pass(3_000)
  t.same(await watcher.payloads(), ['x'])
})

t.test('the same for the queue of a Client that reads it while the store is full', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [subscriber] = await cluster.durable(1, 's', { properties: { sessionExpiryInterval: 3600, receiveMaximum: 1 } })
  await subscriber.subscribe('a', { qos: 1 })
  const [publisher] = await cluster.connect(0, 'p')
  cluster.at(1).node.inbox.hold()
  const payloads = Array.from({ length: 900 }, (_, i) => String(i + 1))
  for (const payload of payloads) publisher.publish('a', payload, { qos: 1, packetIdentifier: Number(payload) })
  await cluster.settle()
  cluster.hub.failure = storeFull('full')
  cluster.at(1).node.inbox.release()
  const got: string[] = []
  for (let i = 0; i < payloads.length + 120; i++) {
    if (i === 600) {
      cluster.hub.failure = undefined
      await cluster.pass(3_000)
    }
    for (const { payload, packetIdentifier } of await subscriber.messages()) {
      got.push(payload.toString())
      subscriber.send(puback(packetIdentifier))
    }
  }
  t.same(got, payloads)
})

t.test('a store that has failed is asked again however many Clients connect', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [p] = await cluster.connect(0, 'p')
  cluster.hub.failure = storeFull('full')
  p.publish('r', 'x', { qos: 1, packetIdentifier: 1, retain: true })
  await cluster.settle()
  cluster.hub.failure = undefined
  const { broker, clock } = cluster.at(0)
  const before = broker.metrics.storeCommits
  const state = { isOver: false, count: 0 }
  const storm = async (): Promise<void> => {
    while (!state.isOver) {
      new PacketClient(broker, 5).send(connectPacket({ clientIdentifier: `c${state.count++}` }))
      await new Promise(resolve => { setImmediate(resolve) })
    }
  }
  const storms = storm()
  await clock.advance(1_000)
  for (let i = 0; i < 100; i++) await new Promise(resolve => { setImmediate(resolve) })
  const commits = broker.metrics.storeCommits - before
  state.isOver = true
  await storms
  t.ok(commits > 0, `${commits} commits beside ${state.count} Clients`)
})

t.test('a commit that is refused is gathered again, however much has gathered since', t => {
  const count = 200_000
  const message = new Message({ payload: Buffer.alloc(0), qos: 1, retain: false, properties: undefined }, new Topic('a'), 'p')
  const [batch, newer] = [new JournalBatch(), new JournalBatch()]
  newer.messages = new Array<PendingMessage>(count).fill(new PendingMessage(message, t))
  newer.waiters = new Array<Waiter>(count).fill(waiterOf(() => undefined, () => undefined))
  batch.unseal(newer)
  const [gathering, later] = [new Gathering(), new Gathering()]
  later.messages = new Array<OutgoingMessage>(count).fill(new OutgoingMessage(message, { bytes: Buffer.alloc(0), start: 0, end: 0 }))
  later.released = new Array<SessionReference>(count).fill({ clientIdentifier: 'c', session: 1 })
  gathering.add(later)
  t.same([batch.messages.length, batch.waiters.length, gathering.messages.length, gathering.released.length], [count, count, count, count])
  t.end()
})

t.test('where the last retained message of a topic is taken out of a commit, the one before it counts only if that commit retains it', t => {
  const retained = (payload: string): Message => new Message({ payload: Buffer.from(payload), qos: 1, retain: true, properties: undefined }, new Topic('r'), 'p')
  for (const isRetained of [true, false]) {
    const batch = new JournalBatch()
    const [before, last] = ['before', 'last'].map(payload => new PendingMessage(retained(payload), t)) as [PendingMessage, PendingMessage]
    before.message.origin = Origin.acknowledged // it is part of the commit once more, since another Session is to have it
    before.isRetained = isRetained
    last.isRetained = true
    batch.messages = [before, last]
    batch.retained.set('r', last.message)
    t.equal(batch.expel(1, 'p', storeFailed('taken over')).revoked.length, 1)
    t.same([...batch.retained.values()].map(message => message?.payload.toString()), isRetained ? ['before'] : [])
  }
  t.end()
})

t.test('a node that is taken for dead while it takes over what another one has left clears nothing away', async t => {
  for (const becomes of [1, 2]) {
    const calls: string[] = []
    const adopter = {
      generation: 1, import: () => undefined, whileStill: (change: () => unknown) => change(),
      redispatch: () => { calls.push('handed on') },
      written: () => { adopter.generation = becomes; return Promise.resolve() }, // what is written is what the node has gathered since
    }
    const emitter = {
      leaseMs: 1_000,
      adopt: async function * () { yield await Promise.resolve([]) },
      inboxOf: async function * () { yield await Promise.resolve({ bytes: Buffer.alloc(0), taken: new Set() }) },
      bury: () => { calls.push('buried'); return Promise.resolve() },
    }
    const logger = new MemoryLogger()
    new Adoption(emitter as never, { clock: new FakeClock(), logger } as never, adopter as never).heard({ dead: [], left: [5] })
    await settled()
    t.same(calls, becomes === 1 ? ['handed on', 'buried'] : ['handed on'])
    t.match(logger.take('error'), becomes === 1 ? [] : [/tried again/])
  }
})
