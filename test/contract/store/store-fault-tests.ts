import assert from 'node:assert/strict'
import { MqttError } from '../../../lib/base/errors.ts'
import type { Changes } from '../../../lib/contract/store.ts'
import { contentsOf, plainDelivery } from './store-contents.ts'
import { faultsOf } from './store-faults.ts'
import type { StoreTest, Subject } from './store-harness.ts'
import { StoreModel } from './store-model.ts'
import { alone, changesOf, messageOf, sessionRecord, subscriptionTo, TestQueue, type LiveDelivery } from './store-records.ts'

/** All or nothing, whatever happens; and much of everything. */
export function testFaults (it: StoreTest): void {
  it('what cannot be read at any place of it is not written at any other, and the next commit is', async subject => {
    const before = await prepare(subject)
    const contents = await contentsOf(subject.store)
    let count = 0
    for (const { name, changes } of faultsOf(before.changes())) {
      await assert.rejects(() => subject.store.commit(changes), MqttError, name)
      if (count++ % 5 === 0) await subject.restart(count % 2 === 0)
      assert.deepEqual(await contentsOf(subject.store), contents, `nothing of it is there: ${name}`)
    }
    assert.ok(count > 20, 'there is more than a fault or two')
    const changes = before.changes()
    await subject.store.commit(changes)
    await subject.restart(true)
    await expectWritten(subject, changes)
  })

  for (const seed of [1, 2, 3]) {
    it(`a broker finds what it has committed, whatever it does and whenever it is started again (seed ${seed})`, async (subject, { nextSession }) => {
      const model = new StoreModel(seed, nextSession)
      for (let step = 1; step <= 60; step++) {
        await subject.store.commit(model.step())
        if (step % 3 > 0) continue
        const state = await subject.restart(step % 2 === 0)
        assert.deepEqual(state, { nextSession: model.nextSession, aliveAt: model.time })
        assert.deepEqual(await contentsOf(subject.store), model.contents)
        await model.restart(subject.store)
      }
    })
  }
}

interface Prepared {
  /** Something of everything, anew each time. */
  changes (): Changes
}

async function prepare ({ store }: Subject): Promise<Prepared> {
  const [queue, message] = [new TestQueue(1), messageOf({ payload: Buffer.from('shared') })]
  const stored = [...queue.several(4), queue.next(message)] as [LiveDelivery, LiveDelivery, LiveDelivery, LiveDelivery, LiveDelivery]
  const other = new TestQueue(2).next(message)
  await store.commit(changesOf({
    sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')], [3, sessionRecord('c')]]), received: [{ session: 1, packetIdentifier: 1, isInUse: true }],
    enqueued: [...alone(stored.slice(0, 4)), { message, deliveries: [stored[4], other] }],
    subscriptions: ['a', 'b'].map(topicFilter => ({ session: 1, topicFilter, subscription: subscriptionTo(topicFilter) })),
    retained: new Map([['a', messageOf({ topicName: 'a' })], ['b', messageOf({ topicName: 'b' })]]),
  }))
  const sent: LiveDelivery[] = [{ ...stored[0], packetIdentifier: 1 }, { ...stored[1], packetIdentifier: 2, isReleased: true }]
  return { changes: () => ({ ...newChanges(), sent, removed: [stored[2], stored[4], other] }) }
}

function newChanges (): Changes {
  const [queue, other, message] = [new TestQueue(1, 10, 10_000), new TestQueue(2, 10, 10_000), messageOf({ payload: Buffer.from('for both') })]
  return changesOf({
    sessions: new Map([[1, sessionRecord('a', { isConnected: true })], [3, undefined], [4, sessionRecord('d')]]), aliveAt: 60_000,
    subscriptions: [
      { session: 1, topicFilter: 'a', subscription: undefined }, { session: 1, topicFilter: 'b', subscription: subscriptionTo('b', { qos: 2 }) },
      { session: 4, topicFilter: 'c', subscription: subscriptionTo('c') },
    ],
    enqueued: [{ message, deliveries: [queue.next(message), other.next(message)] }, ...alone(queue.several(3))],
    received: [{ session: 1, packetIdentifier: 1, isInUse: false }, { session: 1, packetIdentifier: 2, isInUse: true }],
    retained: new Map([['a', undefined], ['b', messageOf({ topicName: 'b', qos: 2 })], ['c', messageOf({ topicName: 'c' })]]),
  })
}

async function expectWritten ({ store }: Subject, { sent, enqueued }: Changes): Promise<void> {
  const { sessions, retained } = await contentsOf(store)
  const [first, second, last] = [sessions.get(1), sessions.get(2), sessions.get(4)]
  const added = enqueued.flatMap(({ deliveries }) => deliveries).map(plainDelivery)
  assert.deepEqual([...sessions.keys()], [1, 2, 4])
  assert.deepEqual(first?.record, sessionRecord('a', { isConnected: true }))
  assert.deepEqual(first.subscriptions, [subscriptionTo('b', { qos: 2 })])
  assert.deepEqual(first.received, [2])
  assert.deepEqual(first.deliveries.filter(({ packetIdentifier }) => packetIdentifier !== 0), sent.map(plainDelivery))
  assert.deepEqual(first.deliveries.map(({ position }) => position), [0, 1, 3, 10, 11, 12, 13])
  assert.deepEqual(first.deliveries.slice(3), added.filter(({ session }) => session === 1))
  assert.deepEqual(second?.deliveries, added.filter(({ session }) => session === 2))
  assert.deepEqual(last?.subscriptions, [subscriptionTo('c')])
  assert.deepEqual(retained.map(({ topicName, qos }) => [topicName, qos]), [['b', 2], ['c', 1]])
}
