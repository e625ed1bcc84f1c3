import assert from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import type { QoS } from '../lib/packet/packets.ts'
import { open } from './support/exchanges.ts'
import { startBroker, type TestBroker } from './support/harness.ts'
import { finish, firstOf, Publisher, Subscriber } from './support/qos-clients.ts'

type Operation =
  | { readonly name: 'publish', readonly topic: string, readonly qos: QoS }
  | { readonly name: 'handle' | 'publisherLost' | 'publisherBack' | 'subscriberLost' | 'wait' }
  | { readonly name: 'receive' | 'subscriberBack', readonly count: number }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ name: fc.constant('publish' as const), topic: fc.constantFrom('a', 'b'), qos: fc.constantFrom<QoS>(1, 2) }) },
  { weight: 5, arbitrary: fc.record({ name: fc.constantFrom('handle', 'publisherLost', 'publisherBack', 'subscriberLost', 'wait') }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('receive', 'receive', 'subscriberBack'), count: fc.integer({ min: 1, max: 4 }) }) },
)

async function run (operation: Operation, publisher: Publisher, subscriber: Subscriber, test: TestBroker): Promise<void> {
  switch (operation.name) {
    case 'publish': publisher.publish(operation.topic, operation.qos); break
    case 'handle': await publisher.handle(); break
    case 'publisherLost': await publisher.lose(); break
    case 'publisherBack': await publisher.connect(); break
    case 'subscriberLost': await subscriber.lose(); break
    case 'subscriberBack': await subscriber.connect(operation.count); break
    case 'receive': await subscriber.handle(operation.count); break
    case 'wait': await test.clock.advance(1_000)
  }
}

t.test('whatever connections are lost: every acknowledged message arrives, QoS 2 exactly once, each topic in its order [MQTT-4.3.2-4] [MQTT-4.3.3-10] [MQTT-4.4.0-1] [MQTT-4.5.0-1] [MQTT-4.6.0-6]', async t => {
  const test = await startBroker(t)
  let round = 0
  await fc.assert(fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async operations => {
    for (const clientIdentifier of ['publisher', 'subscriber']) await (await open(test, { clientIdentifier }))[0].disconnect().take()
    const publisher = new Publisher(() => test)
    const subscriber = new Subscriber(() => test)
    await subscriber.connect()
    await subscriber.subscribe()
    await publisher.connect()
    for (const one of operations) await run(one, publisher, subscriber, test)
    await finish(publisher, subscriber)

    const { delivered, faults } = subscriber
    const published = operations.filter(one => one.name === 'publish').map(({ topic, qos }, index) => ({ topic, number: index + 1, line: `${topic} ${index + 1} ${qos}`, qos }))
    assert.deepEqual(faults, [])
    for (const topic of ['a', 'b']) assert.deepEqual(firstOf(delivered, topic), published.filter(one => one.topic === topic).map(({ number }) => number), 'all of them, in order')
    assert.deepEqual(published.filter(({ qos, line }) => qos === 2 && delivered.filter(other => other === line).length !== 1), [], 'QoS 2 once')
    round++
  }), { numRuns: 100 })
  t.ok(round >= 100)
})
