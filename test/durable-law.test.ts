import assert from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import type { QoS } from '../lib/packet/packets.ts'
import { World } from './support/durable-world.ts'
import type { FaultyStore } from './support/faulty-store.ts'
import { finish, firstOf, Publisher, Subscriber } from './support/qos-clients.ts'

type Operation =
  | { readonly name: 'publish', readonly topic: string, readonly qos: QoS }
  | { readonly name: 'handle' | 'publisherLost' | 'publisherBack' | 'subscriberLost' | 'turn' | 'crash' | 'restart' | 'diskFull' | 'diskFree' }
  | { readonly name: 'slow', readonly how: FaultyStore['slowness'] }
  | { readonly name: 'receive' | 'subscriberBack', readonly count: number }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ name: fc.constant('publish' as const), topic: fc.constantFrom('a', 'b'), qos: fc.constantFrom<QoS>(1, 2) }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('handle', 'publisherLost', 'publisherBack', 'subscriberLost', 'turn') }) },
  { weight: 2, arbitrary: fc.record({ name: fc.constantFrom('crash', 'restart', 'diskFull', 'diskFree', 'diskFree') }) },
  { weight: 1, arbitrary: fc.record({ name: fc.constant('slow' as const), how: fc.constantFrom('none', 'before', 'after') }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('receive', 'receive', 'subscriberBack'), count: fc.integer({ min: 1, max: 4 }) }) },
)

async function run (operation: Operation, publisher: Publisher, subscriber: Subscriber, world: World): Promise<void> {
  switch (operation.name) {
    case 'publish': publisher.publish(operation.topic, operation.qos); break
    case 'handle': await publisher.handle(); break
    case 'publisherLost': await publisher.lose(); break
    case 'publisherBack': if (!world.store.isFailing) await publisher.connect(); break
    case 'subscriberLost': await subscriber.lose(); break
    case 'subscriberBack': if (!world.store.isFailing) await subscriber.connect(operation.count); break
    case 'receive': await subscriber.handle(operation.count); break
    case 'turn': await new Promise(resolve => { setImmediate(resolve) }); break
    case 'crash':
    case 'restart':
      await world[operation.name]()
      await Promise.all([publisher.lose(), subscriber.lose()])
      break
    case 'diskFull': world.store.isFailing = true; break
    case 'diskFree': await world.freeDisk(); break
    case 'slow': world.store.slowness = operation.how
  }
}

t.test('whenever the broker is killed and whenever its disk is full: every acknowledged message arrives, QoS 2 exactly once, each topic in its order', async t => {
  let crashes = 0
  let refusals = 0
  await fc.assert(fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 60, size: 'max' }), async operations => {
    const world = await World.start(t)
    const publisher = new Publisher(() => world.test)
    const subscriber = new Subscriber(() => world.test)
    await subscriber.connect()
    await subscriber.subscribe()
    await publisher.connect()
    for (const one of operations) await run(one, publisher, subscriber, world)
    await world.freeDisk()
    await finish(publisher, subscriber)

    const { delivered, faults } = subscriber
    const { refused } = publisher
    const published = operations.filter(one => one.name === 'publish').map(({ topic, qos }, index) => ({ topic, number: index + 1, line: `${topic} ${index + 1} ${qos}`, qos }))
    const inOrder = (topic: string): number[] => published.filter(one => one.topic === topic && !world.refused.has(one.number)).map(({ number }) => number)
    assert.deepEqual(faults, [])
    for (const topic of ['a', 'b']) assert.deepEqual(firstOf(delivered, topic).filter(number => !world.refused.has(number)), inOrder(topic), 'all of them, in order')
    assert.deepEqual(published.filter(({ line, number }) => !delivered.includes(line) && !refused.has(number)), [], 'and those that were refused, and sent again')
    for (const { qos, line, number } of published) {
      const times = delivered.filter(other => other === line).length
      if (qos === 2) assert.ok(times === 1 || (times === 0 && refused.has(number)), `${line} came ${times} times`)
    }
    assert.equal(world.test.broker.metrics.queuedMessages, 0)
    assert.equal(world.test.broker.metrics.queuedBytes, 0)
    crashes += operations.filter(({ name }) => name === 'crash').length
    refusals += refused.size
    await world.close()
  }), { numRuns: 200 })
  t.ok(crashes > 20, `${crashes} crashes`)
  t.ok(refusals > 5, `${refusals} refusals`)
})
