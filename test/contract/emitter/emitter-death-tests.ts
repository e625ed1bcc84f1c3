import assert from 'node:assert/strict'
import { ErrorCode, MqttError } from '../../../lib/base/errors.ts'
import { messagesInFrame } from '../../../lib/contract/emitter.ts'
import type { ClusterSubject, EmitterTest } from './emitter-harness.ts'
import { remainderOf, type TestNode } from './emitter-node.ts'
import { fetchAll, plainDelivery } from '../store/store-contents.ts'
import { alone, sessionRecord, subscriptionTo, TestQueue } from '../store/store-records.ts'

/** Nodes that die, sleep or leave, and those that go on with what they had. */
export function testDeaths (it: EmitterTest): void {
  testBeats(it)
  testAdoption(it)
  testAdopters(it)
  testFenced(it)
  testLeaving(it)
}

function testBeats (it: EmitterTest): void {
  it('a node that has not been heard of for a lease is dead, others are not', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    assert.deepEqual(await first.beat(), { dead: [], left: [] })
    await subject.kill(second)
    await subject.lapse(third)
    assert.deepEqual(await first.beat(), { dead: [second.generation], left: [] })
    assert.deepEqual(await third.beat(), { dead: [second.generation], left: [] })
    const states = new Map((await first.emitter.nodes()).map(({ generation, isAlive }) => [generation, isAlive]))
    assert.deepEqual(states, new Map([[first.generation, true], [second.generation, false], [third.generation, true]]))
  })

  it('a node that was only silent lives on when it is heard of before anybody has adopted its Sessions', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await second.begin('c')
    await subject.lapse(first)
    await second.beat()
    assert.deepEqual(await first.adoptPages(second.generation), [])
    await first.emitter.bury(second.generation)
    await second.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })
    assert.deepEqual(await first.beat(), { dead: [], left: [] })
    assert.equal(second.fences, 0)
  })
}

/** A node that dies with Sessions, stored and not, and messages on their way to it. */
async function death (subject: ClusterSubject, count: number): Promise<{ living: TestNode, dead: TestNode, sessions: number[] }> {
  const [living, dead] = [await subject.start(), await subject.start()]
  const sessions: number[] = []
  for (let i = 0; i < count; i++) sessions.push(await dead.begin(`c ${i}`, { filters: ['a'] }))
  await dead.claim('volatile')
  await living.send(dead, '1', '2')
  await subject.kill(dead)
  await subject.lapse(living)
  return { living, dead, sessions }
}

function testAdoption (it: EmitterTest): void {
  it('all stored Sessions of a dead node are adopted, with what was on its way to them', async subject => {
    const { living, dead, sessions } = await death(subject, 250)
    const adopted: number[] = []
    let pages = 0
    for await (const page of living.emitter.adopt(dead.generation)) {
      pages++
      for (const { number, record, subscriptions, remainder, heardAt } of page) {
        adopted.push(number)
        assert.deepEqual([record.clientIdentifier, subscriptions], [`c ${sessions.indexOf(number)}`, [subscriptionTo('a')]])
        assert.deepEqual(remainder.map(({ bytes }) => bytes.toString()), ['1', '2'])
        assert.ok(heardAt !== undefined && heardAt > 0)
      }
      await living.commit({ sessions: new Map(page.map(({ number, record }) => [number, { ...record, isConnected: true }])) })
    }
    assert.ok(pages > 1, 'page by page')
    assert.deepEqual(adopted.sort((a, b) => a - b), sessions)
    assert.equal(await living.emitter.ownerOf('c 7'), living.generation)
    assert.equal(await living.emitter.ownerOf('volatile'), undefined, 'what was not stored has died with it')
    assert.equal(living.inbox.length, 0)
  })

  it('however many Sessions of a dead node were not stored, those that were are adopted', async subject => {
    const [living, dead] = [await subject.start(), await subject.start()]
    await Promise.all(Array.from({ length: 250 }, async (_, i) => dead.claim(`volatile ${i}`)))
    const session = await dead.begin('c')
    await Promise.all(Array.from({ length: 250 }, async (_, i) => dead.claim(`other ${i}`)))
    await subject.kill(dead)
    await subject.lapse(living)
    assert.deepEqual((await living.adopt(dead.generation)).map(({ number }) => number), [session])
    assert.equal(await living.emitter.ownerOf('other 249'), undefined)
  })

  it('what was in the queue, in flight and received of an adopted Session is there', async subject => {
    const [living, dead] = [await subject.start(), await subject.start()]
    const session = await dead.begin('c')
    const deliveries = new TestQueue(session).several(3)
    Object.assign(deliveries[0] as object, { packetIdentifier: 3 })
    await dead.commit({ enqueued: alone(deliveries), received: [{ session, packetIdentifier: 9, isInUse: true }] })
    await subject.kill(dead)
    await subject.lapse(living)
    const [imported] = await living.adopt(dead.generation)
    assert.equal(imported?.queue.end, 3)
    assert.deepEqual((await fetchAll(living.store, session)).map(plainDelivery), deliveries.map(plainDelivery))
    const { inFlight, received } = await living.store.claim(session)
    assert.deepEqual([inFlight.length, received], [1, [9]])
  })

  it('the moves of adopted Sessions are told', async subject => {
    const { living, dead } = await death(subject, 3)
    const { moves } = living
    for await (const page of living.emitter.adopt(dead.generation)) {
      assert.equal(page.length, 3)
      break
    }
    await living.catchUp()
    assert.ok(living.moves >= moves + 3)
    assert.deepEqual(living.routesOf(living), new Map([['a', 0]]))
  })

  it('a node whose Sessions were adopted wants nothing more, and whoever does not know it and sends is refused: nothing comes after what its inbox holds', async subject => {
    const { living, dead } = await death(subject, 3)
    const other = await subject.start()
    await other.until('it knows what the dead node wants', () => other.routesOf(dead).has('a'))
    await living.import('c 0')
    const sends = [{ generation: dead.generation, bytes: Buffer.from('3') }]
    await other.catchUp()
    await other.commit({}, { sends, moves: other.moves })
    await living.adopt(dead.generation)
    await living.catchUp()
    const known = living.moves - 1
    assert.deepEqual(living.routesOf(dead), new Map(), 'told before its inbox is read')
    assert.equal((await other.refused({}, { sends, moves: known })).moves, known + 1)
    await other.until('it is told', () => other.moves === known + 1)
    assert.deepEqual(other.routesOf(dead), new Map())
    assert.deepEqual(await living.inboxOf(dead), ['1', '2', '3'])
  })

  it('the same holds for a node without Sessions, and for one that leaves', async subject => {
    const [first, second, third, fourth] = [await subject.start(), await subject.start(), await subject.start(), await subject.start()]
    for (const node of [second, third]) await node.commit({}, { routes: new Map([['$share/g/a', 1]]) })
    const sends = [second, third].map(({ generation }) => ({ generation, bytes: Buffer.from('x') }))
    for (const node of [second, third]) await fourth.until('it knows', () => fourth.routesOf(node).size === 1)
    const { moves } = fourth
    await second.emitter.leave()
    assert.equal((await fourth.refused({}, { moves, sends })).moves, moves + 1)
    await subject.kill(third)
    await subject.lapse(first, fourth)
    await first.adopt(third.generation)
    assert.equal((await fourth.refused({}, { moves: moves + 1, sends })).moves, moves + 2)
    await fourth.until('it knows', () => fourth.moves === moves + 2)
    assert.deepEqual([fourth.routesOf(second), fourth.routesOf(third)], [new Map(), new Map()])
  })

  it('a Client that comes back elsewhere waits for nothing, and its Session is adopted by nobody then', async subject => {
    const { living, dead, sessions } = await death(subject, 2)
    const third = await subject.start()
    const { number } = await third.import('c 1')
    assert.equal(number, sessions[1])
    assert.deepEqual((await living.adopt(dead.generation)).map(session => session.number), sessions.slice(0, 1))
    assert.equal((await third.claim('volatile')).imported, undefined)
    await living.emitter.bury(dead.generation)
    await third.commit({ sessions: new Map([[number, sessionRecord('c 1', { isConnected: true })]]) })
    assert.equal(await living.emitter.ownerOf('volatile'), third.generation)
  })

  it('who claims a Session of a node that was taken for dead is told when that was last heard of', async subject => {
    const { living, dead, sessions } = await death(subject, 250)
    const third = await subject.start()
    const heardAt = (await living.emitter.nodes()).find(({ generation }) => generation === dead.generation)?.heardAt
    const owned = new Set<number>()
    for await (const page of living.emitter.adopt(dead.generation)) {
      for (const { number } of page) owned.add(number)
      break
    }
    const left = sessions.findIndex(number => !owned.has(number))
    const imported = await third.import(`c ${left}`)
    assert.deepEqual([imported.heardAt, remainderOf(imported)], [heardAt, ['1', '2']])
    assert.equal(living.inbox.length, 0)
    const rest = await living.adopt(dead.generation)
    assert.equal(rest.length + owned.size, sessions.length - 1)
  })

  it('nothing is left of a dead node that is buried', async subject => {
    const { living, dead } = await death(subject, 2)
    await living.clear(dead.generation)
    await living.until('it is told', () => living.log.some(({ kind, generation }) => kind === 'left' && generation === dead.generation))
    assert.deepEqual((await living.emitter.nodes()).map(({ generation }) => generation), [living.generation])
    assert.deepEqual(await living.beat(), { dead: [], left: [] })
    await living.send(dead, 'for nobody')
    await living.emitter.leave()
    assert.deepEqual(await subject.cluster.left(), [])
  })
}

function testAdopters (it: EmitterTest): void {
  it('one node alone adopts, reads and buries', async subject => {
    const { living, dead, sessions } = await death(subject, 250)
    const other = await subject.start()
    let adopted = 0
    for await (const page of living.emitter.adopt(dead.generation)) {
      adopted += page.length
      assert.deepEqual(await other.adoptPages(dead.generation), [])
      assert.deepEqual(await other.inboxOf(dead), [])
      await other.emitter.bury(dead.generation)
    }
    assert.equal(adopted, sessions.length)
    assert.deepEqual(await living.inboxOf(dead), ['1', '2'])
    await living.emitter.bury(dead.generation)
    assert.equal((await living.emitter.nodes()).length, 2)
  })

  it('who adopts is told which messages the dead node has handed on', async subject => {
    const [living, dead] = [await subject.start(), await subject.start()]
    for (const text of ['1', '2']) await living.commit({}, { sends: [{ generation: dead.generation, bytes: Buffer.from(text) }] })
    await dead.until('it has both', () => dead.inbox.length === 2)
    await dead.commit({}, { taken: [messagesInFrame, 2 * messagesInFrame, 2 * messagesInFrame + 7] })
    await dead.commit({}, { settled: 1 })
    await subject.kill(dead)
    await subject.lapse(living)
    await living.adopt(dead.generation)
    const frames = []
    for await (const { position, taken } of living.emitter.inboxOf(dead.generation)) frames.push([position, [...taken ?? []].sort()])
    assert.deepEqual(frames, [[2, [0, 7]]])
    await living.emitter.bury(dead.generation)
  })

  it('what of an inbox was handed on is not handed on again, whoever adopts next', async subject => {
    const { living, dead } = await death(subject, 3)
    const other = await subject.start()
    await living.adopt(dead.generation)
    assert.deepEqual(await living.inboxOf(dead), ['1', '2'])
    await living.commit({}, { handedOn: new Map([[dead.generation, 1]]) })
    assert.deepEqual(await living.inboxOf(dead), ['2'])
    await living.commit({}, { handedOn: new Map([[dead.generation, 1], [1_000_000, 1]]) })
    await subject.kill(living)
    await subject.lapse(other)
    assert.equal((await other.adopt(living.generation)).every(session => remainderOf(session).join() === '1,2'), true)
    await other.adopt(dead.generation)
    assert.deepEqual(await other.inboxOf(dead), ['2'])
  })

  it('another node goes on where one has died while it was adopting', async subject => {
    const { living, dead, sessions } = await death(subject, 250)
    const other = await subject.start()
    let adopted = 0
    for await (const page of living.emitter.adopt(dead.generation)) {
      adopted = page.length
      break
    }
    await subject.kill(living)
    await subject.lapse(other)
    const { dead: found } = await other.beat()
    assert.deepEqual([...found].sort((a, b) => a - b), [living.generation, dead.generation].sort((a, b) => a - b))
    assert.equal((await other.adopt(dead.generation)).length, sessions.length - adopted)
    assert.deepEqual(await other.inboxOf(dead), ['1', '2'])
    const rest = await other.adopt(living.generation)
    assert.equal(rest.length, adopted)
    assert.ok(rest.every(session => remainderOf(session).join() === '1,2'))
  })

  it('what has Sessions that nobody has adopted is not buried', async subject => {
    const { living, dead, sessions } = await death(subject, 3)
    await living.emitter.bury(dead.generation)
    assert.equal((await living.adopt(dead.generation)).length, sessions.length)
  })
}

async function expectFailed (what: Promise<unknown>): Promise<void> {
  await assert.rejects(what, (error: unknown) => error instanceof MqttError && error.code === ErrorCode.storeFailed)
}

function testFenced (it: EmitterTest): void {
  it('a node that was taken for dead is told so once, and can do nothing more', async subject => {
    const [living, asleep] = [await subject.start(), await subject.start()]
    const session = await asleep.begin('c', { filters: ['a'] })
    await subject.lapse(living)
    assert.equal((await living.adopt(asleep.generation)).length, 1)
    const sends = [{ generation: living.generation, bytes: Buffer.from('late') }]
    await Promise.all([
      expectFailed(asleep.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })),
      expectFailed(asleep.commit({}, { sends, routes: new Map([['late', 1]]), presence: new Map([['late', true]]) })), expectFailed(asleep.claim('c')),
    ])
    await asleep.until('it is told', () => asleep.fences > 0)
    assert.equal(asleep.fences, 1)
    assert.equal(await living.emitter.ownerOf('c'), living.generation)
    await (await subject.start()).deliver(living, 'afterwards')
    assert.deepEqual(living.texts, ['afterwards'])
    assert.equal(living.routesOf(asleep).has('late'), false)
  })

  it('a beat tells a node that it was taken for dead', async subject => {
    const [living, asleep] = [await subject.start(), await subject.start()]
    await subject.lapse(living)
    await living.adopt(asleep.generation)
    await asleep.beat().catch(() => undefined)
    await asleep.until('it is told', () => asleep.fences === 1)
  })

  it('a node that was taken for dead joins as another one', async subject => {
    const [living, asleep] = [await subject.start(), await subject.start()]
    const session = await asleep.begin('c', { filters: ['a'] })
    await asleep.commit({}, { routes: new Map([['b', 1]]) })
    await subject.lapse(living)
    await living.adopt(asleep.generation)
    await asleep.beat().catch(() => undefined)
    await asleep.until('it is told', () => asleep.fences === 1)
    const former = asleep.generation
    const { generation } = await asleep.join()
    assert.ok(generation > former)
    assert.deepEqual((await asleep.refused({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })).fenced, [session])
    assert.equal((await asleep.import('c')).number, session)
    await living.until('it has joined', () => living.log.some(entry => entry.kind === 'joined' && entry.generation === generation))
    await living.deliver(asleep, 'hello')
    assert.deepEqual(asleep.texts, ['hello'])
    await living.clear(former)
    await asleep.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })
    assert.deepEqual(await asleep.beat(), { dead: [], left: [] })
  })
}

function testLeaving (it: EmitterTest): void {
  it('what a node has that leaves is for the others to adopt, at once', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await second.begin('c', { filters: ['a'] })
    await first.send(second, '1')
    await second.emitter.leave()
    assert.deepEqual(await first.beat(), { dead: [], left: [second.generation] })
    assert.equal(first.routesOf(second).get('a') ?? 1, 1, 'until then it is routed to')
    await first.send(second, '2')
    const [imported, ...others] = await first.adopt(second.generation)
    assert.ok(imported !== undefined)
    assert.deepEqual([imported.number, remainderOf(imported), others], [session, ['1', '2'], []])
    await first.clear(second.generation)
    assert.deepEqual(await first.beat(), { dead: [], left: [] })
    await first.until('it is told', () => first.log.some(({ kind, generation }) => kind === 'left' && generation === second.generation))
  })

  it('a Client of a node that has left comes back elsewhere before anybody has adopted anything', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    const session = await second.begin('c', { filters: ['a'] })
    await second.emitter.leave()
    assert.equal((await first.import('c')).number, session)
    await third.clear(second.generation)
    await first.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })
  })

  it('nothing is left of a node that leaves with nothing', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await second.begin('c', { filters: ['a'] })
    await second.remove(session)
    const { session: volatile } = await second.claim('volatile')
    await second.commit({}, { released: [{ clientIdentifier: 'volatile', session: volatile }], presence: new Map([['c', true]]) })
    await second.emitter.leave()
    assert.deepEqual((await first.beat()).left, [])
    await first.emitter.leave()
    assert.deepEqual(await subject.cluster.left(), [])
  })
}
