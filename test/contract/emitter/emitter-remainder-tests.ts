import assert from 'node:assert/strict'
import { messagesInFrame } from '../../../lib/contract/emitter.ts'
import type { ClusterSubject, EmitterTest } from './emitter-harness.ts'
import { remainderOf, type TestNode } from './emitter-node.ts'
import { alone, messageOf, TestQueue, type LiveDelivery } from '../store/store-records.ts'

/** What was on its way to a Session when it moved. */
export function testRemainders (it: EmitterTest): void {
  testOneMove(it)
  testHighWater(it)
  testChains(it)
}

/** A Session at the first of three nodes. */
async function world (subject: ClusterSubject): Promise<[TestNode, TestNode, TestNode, number]> {
  const nodes = [await subject.start(), await subject.start(), await subject.start()] as const
  return [...nodes, await nodes[0].begin('c', { filters: ['a'] })]
}

function testOneMove (it: EmitterTest): void {
  it('a Session comes with what its former owner was sent and had not settled, oldest first', async subject => {
    const [first, second, third] = await world(subject)
    await third.deliver(first, '1', '2', '3', '4')
    await first.commit({}, { settled: first.frames[1]?.position ?? 0 })
    await second.send(first, '5')
    assert.deepEqual(remainderOf(await second.import('c')), ['3', '4', '5'])
  })

  it('what comes to this node later is known by its position', async subject => {
    const [, second, third] = await world(subject)
    await third.send(second, '1', '2')
    const { since } = await second.import('c')
    await third.send(second, '3')
    await second.until('all is there', () => second.frames.length === 3)
    assert.deepEqual(second.frames.filter(({ position }) => position > since).map(({ bytes }) => bytes.toString()), ['3'])
    assert.equal(since, second.frames[1]?.position)
  })

  it('who was evicted is not part of what is left for others', async subject => {
    const [first, second, third] = await world(subject)
    await first.begin('other')
    await third.send(first, '1')
    await second.import('other')
    await third.send(first, '2')
    assert.deepEqual(remainderOf(await second.import('c')), ['1', '2'])
  })

  it('1,500 frames, and some large ones, are left for a Session', async subject => {
    const [first, second, third] = await world(subject)
    const texts = [...Array.from({ length: 1_500 }, (_, i) => `${i} ${'x'.repeat(i % 7 * 10)}`), ...Array.from({ length: 6 }, (_, i) => String(i).repeat(500_000))]
    for (let i = 0; i < texts.length; i += 100) await third.send(first, ...texts.slice(i, i + 100))
    assert.deepEqual(remainderOf(await second.import('c')), texts)
  })
}

/** A frame at a position of a node's inbox has brought a message. */
function delivery (queue: TestQueue, position: number, index: number): LiveDelivery {
  const message = messageOf({ payload: Buffer.from(`${position} ${index}`) })
  message.origin = position * messagesInFrame + index
  return queue.next(message)
}

function testHighWater (it: EmitterTest): void {
  it('what a Session has in its queue does not come again', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, '1', '2', '3')
    const queue = new TestQueue(session)
    const position = (index: number): number => first.frames[index]?.position ?? 0
    await first.commit({ enqueued: alone([delivery(queue, position(0), 5), delivery(queue, position(1), 0), delivery(queue, position(1), 1)]) })
    await first.commit({ enqueued: alone([queue.next(messageOf({}))]) })
    assert.deepEqual(remainderOf(await second.import('c')), ['2 from 2', '3'])
  })

  it('each Session has its own', async subject => {
    const [first, second, third, session] = await world(subject)
    const other = await first.begin('other', { filters: ['a'] })
    await third.deliver(first, '1', '2', '3')
    const [queue, others] = [new TestQueue(session), new TestQueue(other)]
    const [one, , three] = first.frames.map(({ position }) => position) as [number, number, number]
    await first.commit({ enqueued: alone([delivery(queue, three, messagesInFrame - 1), delivery(others, one, 0)]) })
    assert.deepEqual(remainderOf(await second.import('c')), [])
    assert.deepEqual(remainderOf(await second.import('other')), ['1 from 1', '2', '3'])
  })

  it('what was written of it in the inbox of its former owner says nothing of its new owner\'s', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, ...Array.from({ length: 20 }, (_, i) => String(i)))
    const queue = new TestQueue(session)
    await first.commit({ enqueued: alone([delivery(queue, first.frames.at(-1)?.position ?? 0, 0)]) })
    await third.send(second, 'before')
    await second.import('c')
    await second.commit({}, { recovered: [session] })
    await third.send(second, 'new')
    assert.deepEqual(remainderOf(await third.import('c')), ['new'])
  })
}

function testChains (it: EmitterTest): void {
  it('what is left for a Session is left for whoever has it next, until it is in its queue', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, '1', '2')
    assert.deepEqual(remainderOf(await second.import('c')), ['1', '2'])
    await first.commit({}, { settled: first.inbox.at(-1)?.position ?? 0 })
    await third.send(first, 'too late')
    await third.deliver(second, '3')
    assert.deepEqual(remainderOf(await third.import('c')), ['1', '2', '3'])
    await first.send(third, '4')
    assert.deepEqual(remainderOf(await first.import('c')), ['1', '2', '3', '4'])
    await third.deliver(first, 'new')
    assert.deepEqual(remainderOf(await second.import('c')), ['1', '2', '3', '4', 'new'])
    await first.commit({}, { settled: first.inbox.at(-1)?.position ?? 0 })
    assert.deepEqual(remainderOf(await first.import('c')), ['1', '2', '3', '4', 'new'])
    await first.commit({}, { recovered: [session] })
    await third.send(first, '5')
    assert.deepEqual(remainderOf(await second.import('c')), ['5'])
  })

  it('what is left for a Session outlives the nodes that were sent it', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, '1', '2', '3')
    const queue = new TestQueue(session)
    await first.commit({ enqueued: alone([delivery(queue, first.frames[0]?.position ?? 0, 3)]) })
    assert.deepEqual(remainderOf(await second.import('c')), ['1 from 4', '2', '3'])
    await third.send(second, '4')
    for (const node of [first, second]) await subject.kill(node)
    await subject.lapse(third)
    await third.clear(first.generation)
    const [imported] = await third.adopt(second.generation)
    assert.ok(imported !== undefined)
    assert.deepEqual(remainderOf(imported), ['1 from 4', '2', '3', '4'])
    await third.emitter.bury(second.generation)
    const fourth = await subject.start()
    assert.deepEqual(remainderOf(await fourth.import('c')), ['1 from 4', '2', '3', '4'])
  })

  it('once it is in its queue, nothing of it is kept', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, '1', '2')
    await second.import('c')
    await subject.kill(first)
    await subject.lapse(second, third)
    await third.clear(first.generation)
    const before = await subject.cluster.left()
    await second.commit({}, { recovered: [session] })
    assert.ok((await subject.cluster.left()).length < before.length)
    assert.deepEqual(remainderOf(await third.import('c')), [])
  })

  it('a Session that is removed needs nothing more of what was left for it', async subject => {
    const [first, second, third, session] = await world(subject)
    await third.deliver(first, '1', '2')
    await second.import('c')
    await second.remove(session)
    await first.commit({}, { settled: first.inbox.at(-1)?.position ?? 0 })
    const { session: another, imported } = await first.claim('c')
    assert.equal(imported, undefined)
    assert.notEqual(another, session)
  })

  it('what is kept for one Session is not kept from being settled for the others', async subject => {
    const [first, second, third, session] = await world(subject)
    await first.begin('other', { filters: ['a'] })
    await third.deliver(first, '1', '2')
    await second.import('c')
    await first.commit({}, { settled: first.frames[1]?.position ?? 0 })
    await third.send(first, '3')
    assert.deepEqual(remainderOf(await second.import('other')), ['3'])
    await subject.kill(first)
    await subject.lapse(second, third)
    await third.adopt(first.generation)
    assert.deepEqual(await third.inboxOf(first), ['3'])
    assert.deepEqual(remainderOf(await third.import('c')), ['1', '2'])
    await third.commit({}, { recovered: [session] })
  })
}
