import t, { type Test } from 'tap'
import { memoryStore } from '../lib/index.ts'
import { Metrics } from '../lib/base/metrics.ts'
import { Journal } from '../lib/store/journal.ts'
import { DeliveryState } from '../lib/store/pending-message.ts'
import { MemoryLogger } from '../plugins/testing/memory-logger.ts'
import { messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { World } from './support/stores/durable-world.ts'
import { FakeClock } from './support/fake-clock.ts'
import { FaultyStore } from './support/stores/faulty-store.ts'
import { exactly, lasting, open, puback, receiveAll, will } from './support/exchanges.ts'
import { settled, type PacketClient } from './support/harness.ts'

/** A broker whose store would rather wait for acknowledgements than write. */
async function start (t: Test): Promise<World> {
  const world = await World.start(t)
  Object.assign(world.store, { patienceMs: 10 })
  return world
}

async function subscribe ({ test }: World, clientIdentifier: string, topicFilter: string, receiveMaximum = 10): Promise<PacketClient> {
  const [client] = await open(test, lasting({ clientIdentifier, properties: { sessionExpiryInterval: 3600, receiveMaximum } }))
  await client.subscribe(topicFilter, { qos: 1 })
  return client
}

/** Payloads of the messages in each commit that had some. */
function written ({ store }: World): string[][] {
  return store.commits.map(({ enqueued }) => enqueued.map(({ message }) => message.payload.toString())).filter(({ length }) => length > 0)
}

t.test('a message that its subscribers acknowledge in time is never written, and its publisher told at once', async t => {
  const world = await start(t)
  const [one, other] = [await subscribe(world, 'one', 'a'), await subscribe(world, 'other', 'a')]
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
  publisher.publish('a', '1', { qos: 1, packetIdentifier: 7 })
  for (const client of [one, other]) {
    await settled()
    t.strictSame(await publisher.take(), [])
    for (const { packetIdentifier } of await client.messages()) client.send(puback(packetIdentifier))
  }
  exactly(t, await publisher.take(), [puback(7)])
  await world.test.clock.advance(1_000)
  t.strictSame(written(world), [])
})

t.test('one that they do not is written after two to three times that long, and its publisher told then', async t => {
  const world = await start(t)
  await subscribe(world, 'silent', 'a')
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
  publisher.publish('a', '1', { qos: 1, packetIdentifier: 7 })
  await settled()
  await world.test.clock.advance(20)
  t.strictSame([await publisher.take(), written(world)], [[], []])
  await world.test.clock.advance(10)
  exactly(t, await publisher.take(), [puback(7)])
  t.strictSame(written(world), [['1']])
})

t.test('what cannot be acknowledged soon is written at once, and what came before it for the same Session not later', async t => {
  const world = await start(t)
  await subscribe(world, 'narrow', 'a', 1)
  await subscribe(world, 'wide', 'b')
  await (await subscribe(world, 'away', 'b')).vanish()
  const [publisher] = await open(world.test, { clientIdentifier: 'publisher' })
  const answers = async (topicName: string, payload: string, packetIdentifier: number): Promise<number> => {
    publisher.publish(topicName, payload, { qos: 1, packetIdentifier })
    await settled()
    return (await publisher.take()).length
  }
  t.equal(await answers('a', '1', 1), 0)
  t.equal(await answers('a', '2', 2), 2, 'the window is full, so it waits in the queue')
  t.equal(await answers('b', '3', 3), 1, 'one of those who get it is away')
  t.strictSame(written(world), [['1', '2'], ['3']])
})

t.test('a Will Message that its subscribers have not acknowledged survives the end of the process, as it did while it was a Will [MQTT-3.1.2-8]', async t => {
  for (const isPatched of [false, true]) {
    const world = await start(t)
    if (isPatched) world.test.broker.hook({ onPublish: () => ({ payload: Buffer.from('patched') }) })
    await subscribe(world, 'silent', 'will')
    const [leaver] = await open(world.test, lasting({ clientIdentifier: 'leaver', will: will({ qos: 1 }) }))
    await leaver.vanish()
    await world.crash()
    const [silent] = await open(world.test, lasting({ clientIdentifier: 'silent' }))
    t.equal((await receiveAll(silent)).length, 1, isPatched ? 'a hook has changed it' : 'no hook has changed it')
  }
})

t.test('whoever waits for all that was recorded waits for those, too', async t => {
  const world = await start(t)
  await subscribe(world, 'silent', 'a')
  const publishing = world.test.broker.publish('a', '1', { qos: 1 })
  await open(world.test, lasting({ clientIdentifier: 'another' }))
  t.strictSame(written(world), [['1']])
  await publishing
  void world.test.broker.publish('a', '2', { qos: 1 })
  await world.close()
  t.strictSame(written(world), [['1'], ['2']])
})

t.test('what was taken back while the store was busy does not make the next waiter wait for a period', async t => {
  const clock = new FakeClock()
  const store = new FaultyStore(memoryStore())
  Object.assign(store, { patienceMs: 10, holds: 'commits' })
  const journal = new Journal(store, { clock, logger: new MemoryLogger(), metrics: new Metrics(), limits: { maximumUncommittedBytes: 1_000 } })
  await journal.open()
  const first = journal.synced()
  await settled()
  const session = journal.newSession()
  journal.saveSession(session, sessionRecord('a'))
  journal.saveSession(session, undefined)
  await store.release()
  await first
  journal.remove(Object.assign(new TestQueue(1).next(messageOf({})), { state: DeliveryState.stored, pending: undefined, isNoted: false, isMoved: false, stored: () => undefined, refused: () => undefined }))
  let isWritten = false
  void journal.written().then(() => { isWritten = true })
  await settled()
  t.ok(isWritten)
  await journal.close()
})
