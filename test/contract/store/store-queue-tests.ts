import assert from 'node:assert/strict'
import type { DeliveryRecord, QueueState, Store } from '../../../lib/contract/store.ts'
import { contentsOf, fetchAll, plainDelivery } from './store-contents.ts'
import { randomOf } from './store-model.ts'
import type { StoreTest, Subject } from './store-harness.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue, type LiveDelivery } from './store-records.ts'

/** Queues, what is in flight, and messages that several Sessions get. */
export function testQueues (it: StoreTest): void {
  testDeliveries(it)
  testPages(it)
  testInFlight(it)
  testGroups(it)
  testBodies(it)
}

function testDeliveries (it: StoreTest): void {
  it('a delivery comes back with every field', async subject => {
    const queue = new TestQueue(1)
    const message = messageOf({ topicName: 'a/🦊', payload: Buffer.from([0, 255]), qos: 2, retain: true, publisher: 'p', properties: { contentType: 'x' } })
    const deliveries = [
      queue.next(message), queue.next(message, { qos: 1, retain: true }), queue.next(message, { subscriptionIdentifiers: [1, 268_435_455, 127] }),
      queue.next(message, { sharedFilter: '$share/🦊/a/#' }), queue.next(message, { sharedFilter: `$share/s/${'é'.repeat(32_000)}`, subscriptionIdentifiers: [5], retain: true }),
      queue.next(messageOf({ payload: Buffer.alloc(1_000_000, 7) })), queue.next(messageOf({ properties: { messageExpiryInterval: 5 }, expiresAt: 1_700_000_005_000 })),
    ]
    const shared = new TestQueue(2).next(message, { sharedFilter: '$share/s/#', subscriptionIdentifiers: [9], retain: true, qos: 1 })
    const [first, ...others] = deliveries as [LiveDelivery, ...LiveDelivery[]]
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: [{ message, deliveries: [first, shared] }, ...alone(others)] }))
    await subject.restart(true)
    assert.deepEqual((await fetchAll(subject.store, 1)).map(plainDelivery), deliveries.map(plainDelivery))
    assert.deepEqual((await fetchAll(subject.store, 2)).map(plainDelivery), [plainDelivery(shared)])
  })

  it('deliveries keep their order, however far their positions have come', async subject => {
    const queue = new TestQueue(1, 250)
    const deliveries = queue.several(10)
    queue.position = 2 ** 32 - 5
    deliveries.push(...queue.several(10))
    queue.position = 2 ** 47
    deliveries.push(...queue.several(3))
    const other = new TestQueue(256).several(3)
    await subject.store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')], [256, sessionRecord('b')]]), enqueued: alone([...deliveries, ...other]) }))
    await subject.restart()
    assert.deepEqual((await fetchAll(subject.store, 1)).map(plainDelivery), deliveries.map(plainDelivery))
    assert.deepEqual((await fetchAll(subject.store, 256)).map(plainDelivery), other.map(plainDelivery))
  })

  it('deliveries are removed, from the front, the middle and the end, also by what was fetched', async subject => {
    const deliveries = new TestQueue(1).several(9)
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(deliveries) }))
    await subject.store.commit(changesOf({ removed: deliveries.filter(({ position }) => [0, 4].includes(position)) }))
    await subject.restart()
    const fetched = await fetchAll(subject.store, 1)
    await subject.store.commit(changesOf({ removed: fetched.filter(({ position }) => [1, 5, 8].includes(position)) }))
    const goneAlready = new TestQueue(1, 8).next(messageOf({}))
    await subject.store.commit(changesOf({ removed: [goneAlready, { ...deliveries[7] as LiveDelivery, reference: 0 }] }))
    assert.deepEqual((await positionsOf(subject.store)), [2, 3, 6])
    await subject.store.commit(changesOf({ removed: await fetchAll(subject.store, 1) }))
    await subject.restart()
    assert.deepEqual((await contentsOf(subject.store)).sessions.get(1)?.deliveries, [])
  })

  it('what is committed is what was there when it was called', async subject => {
    const [delivery, other] = new TestQueue(1).several(2) as [LiveDelivery, LiveDelivery]
    const [enqueued, sessions] = [alone([delivery, other]), twoSessions()]
    const committed = subject.store.commit(changesOf({ sessions, enqueued }))
    enqueued.length = 0
    sessions.clear()
    delivery.packetIdentifier = 5
    await committed
    const expected = [{ ...delivery, packetIdentifier: 0 }, other].map(plainDelivery)
    assert.deepEqual((await fetchAll(subject.store, 1)).map(plainDelivery), expected)
    const fetched: LiveDelivery[] = await fetchAll(subject.store, 1)
    for (const record of fetched) record.packetIdentifier = 7
    assert.deepEqual((await fetchAll(subject.store, 1)).map(plainDelivery), expected, 'nor does it change with what was fetched')
  })
}

function testPages (it: StoreTest): void {
  it('a page begins at a position, and ends where it is full', async ({ store }) => {
    const queue = new TestQueue(1)
    const message = messageOf({ payload: Buffer.alloc(1_000) })
    const deliveries = Array.from({ length: 10 }, () => queue.next(message))
    await store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(deliveries) }))
    const page = async (position: number, messages: number, bytes: number): Promise<number[]> =>
      (await store.fetch(1, position, messages, bytes)).map(delivery => delivery.position)
    assert.deepEqual(await page(0, 3, Infinity), [0, 1, 2])
    assert.deepEqual(await page(3, 100, Infinity), [3, 4, 5, 6, 7, 8, 9])
    assert.deepEqual(await page(9, 1, Infinity), [9])
    assert.deepEqual(await page(10, 10, Infinity), [])
    assert.deepEqual(await page(0, 10, 3 * message.size), [0, 1, 2])
    assert.deepEqual(await page(0, 10, 3 * message.size - 1), [0, 1])
    assert.deepEqual(await page(5, 10, 1), [5], 'one comes in any case')
  })

  it('how long a queue is is known without reading it', async subject => {
    const deliveries = new TestQueue(1, 5).several(6)
    const size = (from: number): number => deliveries.slice(from).reduce((sum, { message }) => sum + message.size, 0)
    const total = size(0)
    const expectQueue = async (queue: QueueState): Promise<void> => {
      for await (const session of subject.store.sessions()) if (session.number === 1) assert.deepEqual(session.queue, queue)
    }
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(deliveries) }))
    await expectQueue({ first: 5, end: 11, bytes: total, total })
    for (const [i, delivery] of deliveries.slice(0, 2).entries()) delivery.packetIdentifier = i + 1
    await subject.store.commit(changesOf({ sent: deliveries.slice(0, 2) }))
    await subject.restart()
    await expectQueue({ first: 7, end: 11, bytes: size(2), total })
    await subject.store.commit(changesOf({ removed: deliveries.slice(0, 3) }))
    await expectQueue({ first: 8, end: 11, bytes: size(3), total })
    for (const [i, delivery] of deliveries.slice(3).entries()) delivery.packetIdentifier = i + 1
    await subject.store.commit(changesOf({ sent: deliveries.slice(3) }))
    await contentsOf(subject.store)
    await subject.store.commit(changesOf({ removed: deliveries.slice(3) }))
    await expectQueue({ first: 0, end: 0, bytes: 0, total: 0 })
  })

  for (const left of [0, 1]) {
    it(`positions behind the last that is left of a queue are given again: ${left} left`, async subject => {
      const deliveries = new TestQueue(1).several(6)
      for (const [i, delivery] of deliveries.entries()) delivery.packetIdentifier = i + 1
      await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(deliveries) }))
      await subject.store.commit(changesOf({ removed: deliveries.slice(left) }))
      await subject.restart()
      await contentsOf(subject.store)
      const others = new TestQueue(1, left).several(3)
      await subject.store.commit(changesOf({ enqueued: alone(others) }))
      for await (const { number, queue: { first, end } } of subject.store.sessions()) if (number === 1) assert.deepEqual([first, end], [left, left + 3])
    })
  }
}

function testInFlight (it: StoreTest): void {
  it('what was sent comes back in the order of sending, with its Packet Identifier and whether it was released [MQTT-4.4.0-1]', async subject => {
    const deliveries = new TestQueue(1).several(6)
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(deliveries) }))
    for (const [i, packetIdentifier] of [65_535, 3, 200, 1].entries()) (deliveries[i] as LiveDelivery).packetIdentifier = packetIdentifier
    await subject.store.commit(changesOf({ sent: [3, 1, 0, 2].map(i => deliveries[i] as LiveDelivery) }))
    for (const i of [0, 2]) (deliveries[i] as LiveDelivery).isReleased = true
    await subject.restart(true)
    await subject.store.commit(changesOf({ sent: [deliveries[2], deliveries[0]] as LiveDelivery[], removed: [deliveries[1]] as LiveDelivery[] }))
    await subject.restart(true)
    const { inFlight, received } = await subject.store.claim(1)
    assert.deepEqual(inFlight.map(plainDelivery), [0, 2, 3].map(i => plainDelivery(deliveries[i] as LiveDelivery)))
    assert.deepEqual(received, [])
    await contentsOf(subject.store)
  })

  it('a delivery that was sent before it was stored is in flight', async subject => {
    const queue = new TestQueue(1)
    const message = messageOf({ qos: 2 })
    const deliveries = [queue.next(message, { packetIdentifier: 9, isReleased: true }), queue.next(message, { packetIdentifier: 8 }), queue.next(message)]
    const other = new TestQueue(2).next(message, { packetIdentifier: 9 })
    const [first, ...others] = deliveries as [LiveDelivery, ...LiveDelivery[]]
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: [{ message, deliveries: [first, other] }, ...alone(others)] }))
    await subject.restart()
    assert.deepEqual((await subject.store.claim(1)).inFlight.map(plainDelivery), deliveries.slice(0, 2).map(plainDelivery))
    assert.deepEqual((await subject.store.claim(2)).inFlight.map(plainDelivery), [plainDelivery(other)])
  })
}

function testGroups (it: StoreTest): void {
  it('what one commit wrote is sent and removed in any order, by many commits', async subject => {
    for (const seed of [1, 2, 3]) {
      const random = randomOf(seed)
      const [queue, other] = [new TestQueue(2 * seed), new TestQueue(2 * seed + 1)]
      const payload = (): Buffer => Buffer.alloc(random(20) === 0 ? 9_000 : random(300), random(256))
      const enqueued = Array.from({ length: 400 }, () => {
        const message = messageOf({ payload: payload() })
        return { message, deliveries: random(4) === 0 ? [queue.next(message), other.next(message)] : [queue.next(message)] }
      })
      let left = enqueued.map(({ deliveries }) => deliveries[0] as LiveDelivery)
      await subject.store.commit(changesOf({ sessions: new Map([[2 * seed, sessionRecord('a')], [2 * seed + 1, sessionRecord('b')]]), enqueued }))
      while (left.length > 0) {
        const removed = left.filter(() => random(3) === 0)
        left = left.filter(delivery => !removed.includes(delivery))
        const sent = left.slice(0, random(100)).filter(({ isReleased }) => !isReleased && random(2) === 0)
        for (const delivery of sent) Object.assign(delivery, { packetIdentifier: 1 + random(65_535), isReleased: random(3) === 0 })
        await subject.store.commit(changesOf({ sent, removed }))
        if (random(4) === 0) await subject.restart(random(2) === 0)
        assert.deepEqual((await fetchAll(subject.store, 2 * seed)).map(plainDelivery), left.map(plainDelivery))
      }
      const others = enqueued.flatMap(({ deliveries }) => deliveries.slice(1))
      assert.deepEqual((await fetchAll(subject.store, 2 * seed + 1)).map(plainDelivery), others.map(plainDelivery), 'messages that two Sessions share stay for the other')
    }
  })

  it('positions that are given again are not taken for those that had them before', async subject => {
    const before = new TestQueue(1).several(60)
    await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: alone(before) }))
    await subject.store.commit(changesOf({ removed: before.slice(20) }))
    await subject.restart()
    const again = new TestQueue(1, 20).several(60)
    await subject.store.commit(changesOf({ enqueued: alone(again) }))
    await subject.store.commit(changesOf({ removed: [...before.slice(10, 20), ...again.slice(0, 10)] }))
    assert.deepEqual((await fetchAll(subject.store, 1)).map(plainDelivery), [...before.slice(0, 10), ...again.slice(10)].map(plainDelivery))
  })
}

function testBodies (it: StoreTest): void {
  it('a message for 1,000 Sessions is kept once, until the last of them has it', async subject => {
    const message = messageOf({ topicName: 'a', payload: Buffer.alloc(10_000, 'x') })
    const sessions = Array.from({ length: 1_000 }, (_, i) => i + 1)
    const deliveries = sessions.map(session => new TestQueue(session).next(message))
    await subject.store.commit(changesOf({ sessions: new Map(sessions.map(number => [number, sessionRecord(String(number))])), enqueued: [{ message, deliveries }] }))
    await expectBodies(subject, 1)
    await subject.store.commit(changesOf({ removed: deliveries.slice(0, 400) }))
    await subject.restart()
    await subject.store.commit(changesOf({ removed: await firstOf(subject.store, sessions.slice(400, 999)) }))
    await expectBodies(subject, 1)
    assert.deepEqual((await fetchAll(subject.store, 1_000)).map(plainDelivery), deliveries.slice(999).map(plainDelivery))
    await subject.store.commit(changesOf({ removed: await firstOf(subject.store, sessions) }))
    await expectBodies(subject, 0)
  })

  it('messages do not mix, not even after all of the earlier ones are gone and the store was opened again', async subject => {
    for (const text of ['one', 'two', 'three']) {
      const message = messageOf({ payload: Buffer.from(text) })
      const deliveries = [new TestQueue(1).next(message), new TestQueue(2).next(message)]
      await subject.store.commit(changesOf({ sessions: twoSessions(), enqueued: [{ message, deliveries }] }))
      await expectBodies(subject, 1)
      await subject.restart(text === 'one')
      assert.deepEqual((await firstOf(subject.store, [1, 2])).map(({ message: { payload } }) => payload.toString()), [text, text])
      await subject.store.commit(changesOf({ removed: deliveries }))
      await expectBodies(subject, 0)
    }
  })
}

async function expectBodies ({ harness, store }: Subject, count: number): Promise<void> {
  if (harness.countBodies !== undefined) assert.equal(await harness.countBodies(store), count, 'messages that are kept')
}

async function firstOf (store: Store, sessions: readonly number[]): Promise<DeliveryRecord[]> {
  const pages = await Promise.all(sessions.map(async session => store.fetch(session, 0, 1, Infinity)))
  return pages.flat()
}

async function positionsOf (store: Store): Promise<number[]> {
  return (await fetchAll(store, 1)).map(({ position }) => position)
}

function twoSessions (): Map<number, ReturnType<typeof sessionRecord>> {
  return new Map([[1, sessionRecord('a')], [2, sessionRecord('b')]])
}
