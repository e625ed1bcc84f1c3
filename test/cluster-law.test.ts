import assert from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import { storeFull, type BrokerOptions } from '../lib/index.ts'
import type { QoS } from '../lib/packet/packets.ts'
import { LawWorld } from './support/cluster/law-world.ts'
import { firstOf } from './support/qos-clients.ts'
import type { Publication, RoamingPublisher } from './support/cluster/roaming-clients.ts'

const size = 3
const node = fc.nat(size - 1)

type Operation =
  | { readonly name: 'publish', readonly who: number, readonly topic: string, readonly qos: QoS, readonly count: number }
  | { readonly name: 'publisherHandles' | 'publisherLost', readonly who: number }
  | { readonly name: 'publisherComes' | 'subscriberComes', readonly who: number, readonly node: number }
  | { readonly name: 'receive', readonly who: number, readonly count: number }
  | { readonly name: 'subscriberLost', readonly who: number }
  | { readonly name: 'restless', readonly node: number, readonly cleanStart: boolean }
  | { readonly name: 'kill' | 'start' | 'sleep' | 'wake' | 'close' | 'release' | 'mortalLost' | 'mortalParts', readonly node: number }
  | { readonly name: 'born', readonly node: number, readonly delay: number }
  | { readonly name: 'hold', readonly node: number, readonly channel: 'requests' | 'answers' | 'log' | 'inbox' }
  | { readonly name: 'full', readonly isFull: boolean }
  | { readonly name: 'turn' }
  | { readonly name: 'pass', readonly ms: number }

const who = fc.nat(1)
const subscriber = fc.nat(3)

const calm: fc.WeightedArbitrary<Operation>[] = [
  {
    weight: 10, arbitrary: fc.record({
      name: fc.constant('publish' as const), who, topic: fc.constantFrom('a', 'b'), qos: fc.constantFrom<QoS>(1, 2, 1, 2, 0), count: fc.integer({ min: 1, max: 3 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ name: fc.constant('publisherHandles' as const), who }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constant('receive' as const), who: subscriber, count: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('publisherComes' as const), who, node }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constant('subscriberComes' as const), who: subscriber, node }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('subscriberLost' as const), who: subscriber }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('publisherLost' as const), who }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('restless' as const), node, cleanStart: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ name: fc.constant('turn' as const) }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('pass' as const), ms: fc.constantFrom(5, 20, 500, 3_000) }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('hold' as const), node, channel: fc.constantFrom('requests', 'answers', 'log', 'inbox') }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('release' as const), node }) },
]

const wild: fc.WeightedArbitrary<Operation>[] = [
  ...calm,
  { weight: 3, arbitrary: fc.record({ name: fc.constantFrom('kill', 'start', 'start', 'sleep', 'wake', 'close'), node }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('pass' as const), ms: fc.constantFrom(10_000, 20_000) }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constant('born' as const), node, delay: fc.constantFrom(0, 3) }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constantFrom('mortalLost', 'mortalParts'), node }) },
]

/** The store has no room for a while. */
const tight: fc.WeightedArbitrary<Operation>[] = [
  ...wild,
  { weight: 3, arbitrary: fc.record({ name: fc.constant('full' as const), isFull: fc.boolean() }) },
]

async function run (operation: Operation, world: LawWorld): Promise<void> {
  switch (operation.name) {
    case 'publish': for (let i = 0; i < operation.count; i++) world.publishers[operation.who]?.publish(operation.topic, operation.qos); break
    case 'publisherHandles': await world.publishers[operation.who]?.handle(); break
    case 'publisherLost': await world.publishers[operation.who]?.lose(); break
    case 'publisherComes': await world.publishers[operation.who]?.connect(operation.node); break
    case 'receive': await world.subscribers[operation.who]?.handle(operation.count); break
    case 'subscriberLost': await world.subscribers[operation.who]?.lose(); break
    case 'subscriberComes': await world.subscribers[operation.who]?.connect(operation.node); break
    case 'restless':
      await world.restless.handle(100)
      await world.restless.connect(operation.node, { cleanStart: operation.cleanStart })
      break
    case 'kill': await world.kill(operation.node); break
    case 'start': await world.startNode(operation.node); break
    case 'sleep': world.sleep(operation.node); break
    case 'wake': await world.wake(operation.node); break
    case 'close': await world.close(operation.node); break
    case 'hold': world.hold(operation.node, operation.channel); break
    case 'release': world.release(operation.node); break
    case 'full': world.hub.failure = operation.isFull ? storeFull('full') : undefined; break
    case 'born': await world.bear(operation.node, operation.delay); break
    case 'mortalLost': await world.mortalAt(operation.node)?.lose(); break
    case 'mortalParts': await world.part(operation.node); break
    case 'turn': await new Promise(resolve => { setImmediate(resolve) }); break
    case 'pass': await world.pass(operation.ms)
  }
}

/** What a subscriber has to have been given, by publisher and topic. */
function expectAll (delivered: readonly string[], publishers: readonly RoamingPublisher[], topics: readonly string[], name: string): void {
  for (const { published, refused, clientIdentifier } of publishers) {
    const certain = published.filter(({ qos, number }) => qos > 0 && !refused.has(number))
    for (const [topic, qos] of topics.flatMap(subtopic => [1, 2].map(qos => [`t/${clientIdentifier}/${subtopic}`, qos] as const))) {
      const wanted = certain.filter(one => one.topic === topic && one.qos === qos).map(({ number }) => number)
      const found = firstOf(delivered.filter(line => line.endsWith(` ${qos}`)), topic).filter(number => wanted.includes(number))
      assert.deepEqual(found, wanted, `${name}: all of ${topic} with QoS ${qos}, in order [MQTT-4.6.0-6]`)
    }
    expectOnce(delivered, published, refused, name)
  }
}

function expectOnce (delivered: readonly string[], published: readonly Publication[], refused: ReadonlySet<number>, name: string): void {
  for (const { line, qos, number, topic } of published) {
    if (qos < 2) continue // a Client that moves may get a QoS 0 message here and there
    const times = delivered.filter(other => other === line).length
    const isMissing = times === 0 && qos === 2 && !refused.has(number) && delivered.some(other => other.startsWith(`${topic} `))
    assert.ok(times <= 1 && !isMissing, `${name}: ${line} came ${times} times`)
  }
}

function check (world: LawWorld, isSharedOnce: boolean, isRefused = false): void {
  const { publishers, subscribers, restless, mortals, parted } = world
  const [all, some, ...sharers] = subscribers.map(({ delivered }) => delivered)
  for (const { faults } of world.roamers) assert.deepEqual(faults, [])
  if (!isRefused) for (const { refused } of publishers) assert.equal(refused.size, 0, 'nobody is refused')
  expectAll(all ?? [], publishers, ['a', 'b'], 'all')
  expectAll((some ?? []).filter(line => line.startsWith('t/')), publishers, ['a'], 'some')
  const shared = sharers.flat()
  for (const { published, refused } of publishers) {
    assert.deepEqual(published.filter(({ line, qos, number }) => qos > 0 && !refused.has(number) && !shared.includes(line)), [], 'each message comes to a member')
    if (isSharedOnce) expectOnce(shared, published, refused, 'the members together')
    expectOnce(restless.delivered, published, new Set(published.map(({ number }) => number)), 'the restless one')
  }
  for (const { clientIdentifier, wasAccepted, isConnected } of mortals) {
    const times = (some ?? []).filter(line => line === `will ${clientIdentifier} 2`).length
    const isDue = wasAccepted && !isConnected && !parted.has(clientIdentifier)
    assert.ok(times <= 1 && (times === 1 || !isDue) && (times === 0 || !isConnected), `the Will of ${clientIdentifier} came ${times} times`)
  }
  checkState(world)
}

function checkState ({ hub: { state }, nodes, subscribers }: LawWorld): void {
  const generations = new Set(nodes.map(({ node }) => node.generation))
  assert.deepEqual(new Set(state.nodes.keys()), generations, 'dead nodes are buried')
  for (const { owner, clientIdentifier } of state.sessions.values()) assert.ok(generations.has(owner), `${clientIdentifier} has an owner`)
  for (const { clientIdentifier } of subscribers) {
    const online = nodes.filter(({ broker }) => [...broker.clients()].some(client => client.clientIdentifier === clientIdentifier)).length
    assert.equal(online, 1, `${clientIdentifier} is connected once`)
    const sessions = [...state.sessions.values()].filter(session => session.clientIdentifier === clientIdentifier)
    assert.equal(sessions.length, 1, `${clientIdentifier} has one Session`)
    assert.equal(sessions[0]?.deliveries.size, 0, 'nothing is left in its queue')
  }
  for (const { generation, routes, owned } of state.nodes.values()) {
    const filters = [...owned].flatMap(number => [...state.sessions.get(number)?.subscriptions.keys() ?? []])
    assert.deepEqual(new Set(routes.keys()), new Set(filters), `node ${generation} wants what its Sessions want`)
  }
  for (const [generation, { entries, holds }] of state.inboxes) assert.deepEqual([entries.length, holds.size], [0, 0], `the inbox of ${generation} is settled`)
  for (const { broker } of nodes) assert.deepEqual([broker.metrics.queuedMessages, broker.metrics.queuedBytes], [0, 0], 'queues are counted')
}

function law (name: string, operations: readonly fc.WeightedArbitrary<Operation>[], { isSharedOnce = false, isRefused = false }: { readonly isSharedOnce?: boolean, readonly isRefused?: boolean } = {}, options: BrokerOptions = {}): void {
  t.test(name, async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.oneof(...operations), { minLength: 10, maxLength: 60, size: 'max' }), async operations => {
      const world = await LawWorld.start(size, options)
      try {
        for (const operation of operations) await run(operation, world)
        await world.finish()
        check(world, isSharedOnce, isRefused)
      } finally {
        world.end()
      }
    }), runs === undefined ? { numRuns: 25, seed: 1883 } : { numRuns: Number(runs) })
  })
}

/** How many, and with what chance: the same each time, unless a longer look is wanted. */
const runs = process.env['MYELIN_TEST_RUNS']

law('Clients who go from node to node, however late nodes hear of it, get every acknowledged message in order, QoS 2 exactly once', calm, { isSharedOnce: true })
law('the same while nodes die, sleep, leave and come back; Wills are published once', wild, { isSharedOnce: true })
law('and while the store has no room now and then: what was acknowledged comes all the same', tight, { isRefused: true })
