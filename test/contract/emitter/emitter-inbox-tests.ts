import assert from 'node:assert/strict'
import { contentsOf, fetchAll, plainDelivery } from '../store/store-contents.ts'
import type { ClusterSubject, EmitterTest } from './emitter-harness.ts'
import type { TestNode } from './emitter-node.ts'
import { alone, messageOf, sessionRecord, subscriptionTo, TestQueue } from '../store/store-records.ts'

/** What nodes send each other, and that a commit is written whole or not at all. */
export function testInboxes (it: EmitterTest): void {
  testFrames(it)
  testSettled(it)
  testRefusals(it)
}

function testFrames (it: EmitterTest): void {
  it('a frame comes to the node that it was sent to, once, in order', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    const texts = Array.from({ length: 100 }, (_, i) => String(i))
    for (let i = 0; i < 100; i += 5) await first.send(second, ...texts.slice(i, i + 5))
    await third.send(second, 'last')
    await second.until('all is there', () => second.texts.at(-1) === 'last')
    assert.deepEqual(second.texts, [...texts, 'last'])
    const positions = second.inbox.map(({ position }) => position)
    assert.deepEqual(positions, positions.map((_, i) => (positions[0] ?? 0) + i))
    assert.deepEqual([first.inbox, third.inbox], [[], []])
  })

  it('frames of one commit go to several nodes, whatever the bytes', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    const frames = [Buffer.from([0, 1, 13, 10, 254, 255]), Buffer.alloc(500_000, 'x'), Buffer.from('🦊')]
    await first.commit({}, { sends: [second, third].flatMap(({ generation }) => frames.map(bytes => ({ generation, bytes }))) })
    for (const node of [second, third]) {
      await node.until('all is there', () => node.frames.length === 3)
      assert.deepEqual(node.frames.map(({ bytes }) => bytes), frames)
    }
  })

  it('frames come in the order in which the nodes have committed', async subject => {
    const [first, second, receiver] = [await subject.start(), await subject.start(), await subject.start()]
    for (let i = 0; i < 20; i++) await (i % 2 === 0 ? first : second).send(receiver, String(i))
    await receiver.until('all is there', () => receiver.frames.length === 20)
    assert.deepEqual(receiver.texts, Array.from({ length: 20 }, (_, i) => String(i)))
  })

  it('frames for nodes that are gone are left out, the rest is written', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    await third.emitter.leave()
    const sends = [third.generation, 999_999, second.generation].map(generation => ({ generation, bytes: Buffer.from('x') }))
    await first.commit({}, { sends, moves: first.moves })
    await second.until('it has its frame', () => second.texts.length === 1)
    assert.equal((await first.emitter.nodes()).length, 2)
  })
}

function testSettled (it: EmitterTest): void {
  it('an inbox keeps what is not settled, when its node is dead, too', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.deliver(second, '1', '2', '3', '4')
    const position = (index: number): number => second.frames[index]?.position ?? 0
    await second.commit({}, { settled: position(1) })
    await second.commit({}, { settled: 0 })
    await second.commit({}, { settled: position(0) })
    await first.send(second, '5')
    await subject.kill(second)
    await subject.lapse(first)
    await first.send(second, '6')
    assert.deepEqual(await first.adopt(second.generation), [])
    assert.deepEqual(await first.inboxOf(second), ['3', '4', '5', '6'])
  })

  it('who sends to a node knows how much that has not settled', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    assert.equal(first.emitter.backlogOf(second.generation), 0)
    await first.deliver(second, 'x'.repeat(1_000), 'y'.repeat(500))
    expectNear(first.emitter.backlogOf(second.generation), 1_500)
    await second.commit({}, { settled: second.frames[0]?.position ?? 0 })
    await first.deliver(second, 'z'.repeat(100))
    expectNear(first.emitter.backlogOf(second.generation), 600)
    await second.commit({}, { settled: second.frames.at(-1)?.position ?? 0 })
    await first.send(second, 'z')
    expectNear(first.emitter.backlogOf(second.generation), 1)
  })

  it('1,000 frames are read from the inbox of a dead node, in order', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const texts = Array.from({ length: 1_000 }, (_, i) => `${i} ${'x'.repeat(1_000)}`)
    await subject.kill(second)
    for (let i = 0; i < 1_000; i += 100) await first.send(second, ...texts.slice(i, i + 100))
    await subject.lapse(first)
    await first.adopt(second.generation)
    assert.deepEqual(await first.inboxOf(second), texts)
  })
}

function expectNear (bytes: number, expected: number): void {
  assert.ok(bytes >= expected * 0.9 && bytes <= expected + 100, `${bytes} bytes, not ${expected}`)
}

/** Two nodes: a Session of the second one has moved, which the first one has been told of. */
async function moved (subject: ClusterSubject): Promise<[TestNode, TestNode]> {
  const [first, second] = [await subject.start(), await subject.start()]
  await second.begin('mover', { filters: ['m'] })
  await first.import('mover')
  await Promise.all([first.catchUp(), second.catchUp()])
  assert.ok(first.moves > 0)
  return [first, second]
}

function testRefusals (it: EmitterTest): void {
  it('a commit is refused when there were moves that the node did not know of, and is not when it knew, or does not care', async subject => {
    const [first] = await moved(subject)
    const { moves, fenced } = await first.refused({}, { moves: first.moves - 1 })
    assert.deepEqual([moves, fenced], [first.moves, []])
    await first.commit({}, { moves: first.moves })
    await first.commit({}, { moves: undefined })
  })

  it('nothing of a commit that is refused is written', async subject => {
    const [first, second] = await moved(subject)
    const kept = await second.begin('kept')
    const queue = new TestQueue(kept)
    const stored = queue.several(2)
    await second.commit({ enqueued: alone(stored), received: [{ session: kept, packetIdentifier: 1, isInUse: true }] }, { presence: new Map([['kept', true]]) })
    const { session: volatile } = await second.claim('volatile')
    const log = second.log.length
    const started = second.newSession
    await second.refused({
      sessions: new Map([[kept, sessionRecord('kept', { isConnected: true })], [started, sessionRecord('started')]]),
      subscriptions: [{ session: kept, topicFilter: 'a', subscription: subscriptionTo('a') }],
      enqueued: alone(queue.several(1)), sent: [{ ...stored[0] as typeof stored[0] & object, packetIdentifier: 9 }], removed: stored.slice(1),
      received: [{ session: kept, packetIdentifier: 1, isInUse: false }, { session: kept, packetIdentifier: 2, isInUse: true }],
      retained: new Map([['a', messageOf({ retain: true })]]),
    }, {
      moves: second.moves - 1, routes: new Map([['refused', 1]]), sends: [{ generation: first.generation, bytes: Buffer.from('refused') }],
      presence: new Map([['kept', false], ['other', true]]), released: [{ clientIdentifier: 'volatile', session: volatile }],
      begun: [{ clientIdentifier: 'started', session: started }],
    })
    await second.deliver(first, 'afterwards')
    assert.deepEqual(first.texts, ['afterwards'])
    assert.deepEqual(await first.online(second), ['kept'])
    assert.equal(await first.emitter.ownerOf('volatile'), second.generation)
    assert.equal(await first.emitter.ownerOf('started'), undefined)
    assert.deepEqual((await contentsOf(first.store)).retained, [])
    const imported = await first.import('kept')
    assert.deepEqual([imported.record, imported.subscriptions], [sessionRecord('kept'), []])
    assert.deepEqual(await first.store.claim(kept), { inFlight: [], received: [1] })
    assert.deepEqual((await fetchAll(first.store, kept)).map(plainDelivery), stored.map(plainDelivery))
    await second.commit({}, { routes: new Map([['afterwards', 1]]) })
    await second.until('it knows', () => second.routesOf(second).has('afterwards'))
    assert.ok(!second.log.slice(log).some(entry => entry.kind === 'retained' || (entry.kind === 'routes' && entry.routes.has('refused'))))
  })

  it('what a commit that was refused had settled is not settled', async subject => {
    const [first, second] = await moved(subject)
    await first.deliver(second, '1', '2')
    await second.refused({}, { moves: second.moves - 1, settled: second.inbox.at(-1)?.position ?? 0 })
    await subject.kill(second)
    await subject.lapse(first)
    await first.adopt(second.generation)
    assert.deepEqual(await first.inboxOf(second), ['1', '2'])
  })

  it('once a node knows of the moves it may send, and where to', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    await second.begin('c', { filters: ['a'] })
    const before = first.moves
    await third.import('c')
    const { moves } = await first.refused({}, { moves: before, sends: [{ generation: second.generation, bytes: Buffer.from('x') }] })
    await first.until('it knows of the moves', () => first.moves >= moves)
    assert.equal(first.routesOf(third).has('a'), true, 'whoever knows of a move knows the new owner\'s routes')
    await first.commit({}, { moves: first.moves, sends: [{ generation: third.generation, bytes: Buffer.from('x') }] })
    await third.until('it has it', () => third.texts.length === 1)
    assert.deepEqual(second.texts, [])
  })
}
