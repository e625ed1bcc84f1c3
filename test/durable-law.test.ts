import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import { defaultLimits } from '../lib/base/limits.ts'
import type { BrokerOptions } from '../lib/index.ts'
import type { QoS } from '../lib/packet/packets.ts'
import { World } from './support/stores/durable-world.ts'
import type { FaultyStore } from './support/stores/faulty-store.ts'
import { finish, firstOf, Publisher, Subscriber } from './support/qos-clients.ts'

type Operation =
  | { readonly name: 'publish', readonly topic: string, readonly qos: QoS }
  | { readonly name: 'handle' | 'publisherLost' | 'publisherBack' | 'subscriberLost' | 'turn' | 'crash' | 'restart' | 'diskFull' | 'diskFree' }
  | { readonly name: 'fetchFails' | 'fetchSlow' | 'fetchFast' | 'revalidate' | 'second' }
  | { readonly name: 'slow', readonly how: FaultyStore['slowness'] }
  | { readonly name: 'receive' | 'subscriberBack' | 'takeOver', readonly count: number }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ name: fc.constant('publish' as const), topic: fc.constantFrom('a', 'b'), qos: fc.constantFrom<QoS>(1, 2) }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('handle', 'publisherLost', 'publisherBack', 'subscriberLost', 'turn') }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constantFrom('crash', 'restart', 'diskFull', 'diskFree', 'diskFree') }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constantFrom('fetchFails', 'fetchSlow', 'fetchFast', 'revalidate', 'second') }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('slow' as const), how: fc.constantFrom('none', 'before', 'after') }) },
  { weight: 7, arbitrary: fc.record({ name: fc.constantFrom('receive', 'receive', 'subscriberBack', 'takeOver'), count: fc.integer({ min: 1, max: 4 }) }) },
)

async function run (operation: Operation, publisher: Publisher, subscriber: Subscriber, world: World): Promise<void> {
  const { store } = world
  switch (operation.name) {
    case 'publish': publisher.publish(operation.topic, operation.qos); break
    case 'handle': await publisher.handle(); break
    case 'publisherLost': await publisher.lose(); break
    case 'publisherBack': if (!store.isFailing) await publisher.connect(); break
    case 'subscriberLost': await subscriber.lose(); break
    case 'subscriberBack': if (!store.isFailing) await subscriber.connect(operation.count); break
    case 'takeOver': if (!store.isFailing) await subscriber.takeOver(operation.count); break
    case 'receive': await subscriber.handle(operation.count); break
    case 'turn': await new Promise(resolve => { setImmediate(resolve) }); break
    case 'crash':
    case 'restart':
      await world[operation.name]()
      await Promise.all([publisher.lose(), subscriber.lose()])
      Object.assign(world.store, { pageMessages: store.pageMessages, patienceMs: store.patienceMs })
      break
    case 'diskFull': store.isFailing = true; break
    case 'diskFree': await world.freeDisk(); break
    case 'fetchFails': store.fetchFailures = 1; break
    case 'fetchSlow': store.isFetchSlow = true; break
    case 'fetchFast': store.isFetchSlow = false; break
    case 'revalidate': await world.test.broker.revalidate(); break
    case 'second': await world.test.clock.advance(1_000); break
    case 'slow': store.slowness = operation.how
  }
}

/** Publications in their order, as a subscriber would see them. */
function publications (operations: readonly Operation[]): { readonly topic: string, readonly qos: QoS, readonly number: number, readonly line: string }[] {
  return operations.filter(one => one.name === 'publish').map(({ topic, qos }, index) => ({ topic, qos, number: index + 1, line: `${topic} ${index + 1} ${qos}` }))
}

function law (name: string, limits: BrokerOptions['limits'], numRuns: number, check: (t: Test, seen: { crashes: number, refusals: number, drops: number }) => void): void {
  t.test(name, async t => {
    const seen = { crashes: 0, refusals: 0, drops: 0 }
    await fc.assert(fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 60, size: 'max' }), fc.constantFrom(1, 3, Infinity), fc.constantFrom(0, 10), async (operations, pageMessages, patienceMs) => {
      const dropped = new Set<number>()
      const hooks: BrokerOptions['hooks'] = { authorizeDeliver: () => true, onDrop: ({ message }) => { dropped.add(Number(message.payload)) } }
      const world = await World.start(t, { hooks, ...(limits !== undefined && { limits }) })
      Object.assign(world.store, { pageMessages, patienceMs })
      const publisher = new Publisher(() => world.test)
      const subscriber = new Subscriber(() => world.test)
      await subscriber.connect()
      await subscriber.subscribe()
      await publisher.connect()
      for (const one of operations) await run(one, publisher, subscriber, world)
      Object.assign(world.store, { fetchFailures: 0, isFetchSlow: false, pageMessages: Infinity }) // so that it is known when nothing more comes
      await world.freeDisk()
      await finish(publisher, subscriber, () => world.test.clock.advance(100))

      const { delivered, faults } = subscriber
      const { refused } = publisher
      const published = publications(operations)
      const gone = (number: number): boolean => world.refused.has(number) || (limits !== undefined && dropped.has(number))
      assert.deepEqual(faults, [])
      for (const topic of ['a', 'b']) {
        const expected = published.filter(one => one.topic === topic && !gone(one.number)).map(({ number }) => number)
        assert.deepEqual(firstOf(delivered, topic).filter(number => !gone(number)), expected, 'all of them, in order')
      }
      assert.deepEqual(published.filter(({ line, number }) => !delivered.includes(line) && !refused.has(number) && !dropped.has(number)), [], 'and those that were refused, and sent again')
      for (const { qos, line, number } of published) {
        const times = delivered.filter(other => other === line).length
        if (qos === 2) assert.ok(times === 1 || (times === 0 && (refused.has(number) || dropped.has(number))), `${line} came ${times} times`)
      }
      assert.equal(world.test.broker.metrics.queuedMessages, 0)
      assert.equal(world.test.broker.metrics.queuedBytes, 0)
      seen.crashes += operations.filter(({ name }) => name === 'crash').length
      seen.refusals += refused.size
      seen.drops += dropped.size
      await world.close()
    }), { numRuns })
    check(t, seen)
  })
}

const runs = Number(process.env['MYELIN_TEST_RUNS'] ?? 200)

law('whenever the broker is killed and whenever its disk is full: every acknowledged message arrives, QoS 2 exactly once, each topic in its order', undefined, runs, (t, { crashes, refusals }) => {
  t.ok(crashes > 20, `${crashes} crashes`)
  t.ok(refusals > 5, `${refusals} refusals`)
})

for (const queuePolicy of ['dropOldest', 'dropNewest'] as const) {
  law(`the same with a queue that is often full (${queuePolicy}), but for what onDrop was told of`, { ...defaultLimits, queuePolicy, maximumQueuedMessages: 3 }, runs / 2, (t, { drops }) => {
    t.ok(drops > 20, `${drops} drops`)
  })
}
