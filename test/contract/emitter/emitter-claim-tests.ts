import assert from 'node:assert/strict'
import type { Claim } from '../../../lib/contract/emitter.ts'
import type { Changes } from '../../../lib/contract/store.ts'
import type { ClusterSubject, EmitterTest } from './emitter-harness.ts'
import { hardNames } from './emitter-log-tests.ts'
import type { TestNode } from './emitter-node.ts'
import { contentsOf, fetchAll, plainDelivery } from '../store/store-contents.ts'
import { alone, messageOf, sessionRecord, subscriptionTo, TestQueue, type LiveDelivery } from '../store/store-records.ts'

/** Whose a Session is, and how it comes to another node. */
export function testClaims (it: EmitterTest): void {
  testNewOnes(it)
  testImports(it)
  testFences(it)
  testMoves(it)
}

function testNewOnes (it: EmitterTest): void {
  it('a Client Identifier that has no Session gets the one that was asked for, whatever text it is', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    for (const clientIdentifier of hardNames) {
      const session = first.newSession
      assert.deepEqual(await first.emitter.claim({ clientIdentifier, session }), { session, imported: undefined })
      assert.equal(await second.emitter.ownerOf(clientIdentifier), first.generation)
      assert.deepEqual(await first.claim(clientIdentifier), { session, imported: undefined }, 'and keeps it')
    }
    assert.equal(await second.emitter.ownerOf('none'), undefined)
  })

  it('what is this node\'s own stays as it is', async subject => {
    const first = await subject.start()
    const session = await first.begin('c', { filters: ['a'] })
    const { moves } = first
    assert.deepEqual(await first.claim('c'), { session, imported: undefined })
    await first.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) }, { moves })
    assert.deepEqual(first.inbox, [])
  })

  it('a Session that is not stored ends when another node claims its Client Identifier', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const { session } = await first.claim('c')
    const claimed = await second.claim('c')
    assert.equal(claimed.imported, undefined)
    assert.notEqual(claimed.session, session)
    assert.equal(await first.emitter.ownerOf('c'), second.generation)
    await first.until('it is told', () => first.inbox.length === 1)
    assert.deepEqual(first.inbox, [{ kind: 'evicted', position: first.inbox[0]?.position, logPosition: first.emitter.logEnd, clientIdentifier: 'c', session }])
    assert.deepEqual((await first.refused({ sessions: new Map([[session, sessionRecord('c')]]) })).fenced, [session], 'it cannot be stored any more')
    await first.commit({}, { released: [{ clientIdentifier: 'c', session }] })
    assert.equal(await first.emitter.ownerOf('c'), second.generation, 'to give up what is another\'s changes nothing')
    await second.commit({}, { released: [{ clientIdentifier: 'c', session: claimed.session }] })
    assert.equal(await first.emitter.ownerOf('c'), undefined)
  })

  it('a Client Identifier that was released is free, and what was stored of its Session is the node\'s to remove', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const old = await first.begin('c', { filters: ['a'] })
    await first.commit({}, { released: [{ clientIdentifier: 'c', session: old }] })
    assert.equal(await second.emitter.ownerOf('c'), undefined)
    await first.commit({ sessions: new Map([[old, sessionRecord('c', { hasEnded: true })]]) })
    const { session, imported } = await second.claim('c')
    assert.equal(imported, undefined)
    assert.notEqual(session, old)
    await first.remove(old)
    assert.equal(await first.emitter.ownerOf('c'), second.generation)
    await second.send(first, 'x')
    await first.until('it has it', () => first.inbox.length > 0)
    assert.deepEqual(first.inbox.map(({ kind }) => kind), ['frame'], 'nobody is evicted')
  })

  it('a Session that has ended is not gone on with', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const old = await first.begin('c', { filters: ['a'], record: { hasEnded: true } })
    const { session, imported } = await second.claim('c')
    assert.equal(imported, undefined)
    assert.notEqual(session, old)
    await first.remove(old)
    assert.equal(await first.emitter.ownerOf('c'), second.generation)
  })

  it('a node begins another Session for what is its own, stored or not, without a claim', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    let old = await first.begin('c', { filters: ['a'] })
    for (const isStored of [true, false]) {
      const session = first.newSession
      await first.commit({ sessions: new Map([[old, undefined], ...(isStored ? [[session, sessionRecord('c')] as const] : [])]) },
        { released: [{ clientIdentifier: 'c', session: old }], begun: [{ clientIdentifier: 'c', session }] })
      assert.equal(await second.emitter.ownerOf('c'), first.generation)
      assert.equal((await first.claim('c')).session, session)
      old = session
    }
    const { imported } = await second.claim('c')
    assert.equal(imported, undefined)
    await first.until('it is told', () => first.inbox.length === 1)
    assert.ok(first.inbox[0]?.kind === 'evicted' && first.inbox[0].session === old)
  })

  it('what begins without a claim is refused when another node has its Client Identifier', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    for (const isStored of [true, false]) {
      const name = `c ${String(isStored)}`
      if (isStored) await second.begin(name)
      else await second.claim(name)
      const session = first.newSession
      assert.deepEqual((await first.refused({ sessions: new Map([[session, sessionRecord(name)]]) }, { begun: [{ clientIdentifier: name, session }] })).fenced, [session])
      assert.equal(await first.emitter.ownerOf(name), second.generation)
    }
  })

  it('what a Client has published is refused when its Session is another node\'s by now, stored or not', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const [stored, { session: volatile }] = [await first.begin('stored'), await first.claim('volatile')]
    await first.commit({}, { publishers: [stored, volatile] })
    await second.import('stored')
    await second.claim('volatile')
    const topics = new Map([['t', messageOf({ topicName: 't', retain: true })]])
    assert.deepEqual((await first.refused({ retained: topics }, { publishers: [volatile, stored] })).fenced.toSorted(), [stored, volatile].toSorted())
    assert.deepEqual((await contentsOf(first.store)).retained, [])
    const session = first.newSession
    await first.commit({ retained: topics }, { begun: [{ clientIdentifier: 'new', session }], publishers: [session] })
  })

  it('2,500 Clients may have published what is one commit', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const begun = Array.from({ length: 2_500 }, (_, i) => ({ clientIdentifier: `c${i}`, session: first.newSession }))
    await first.commit({}, { begun, publishers: begun.map(({ session }) => session) })
    await second.claim('c1500')
    const { fenced } = await first.refused({}, { publishers: begun.map(({ session }) => session) })
    assert.deepEqual(fenced, [begun[1500]?.session])
  })
}

function testImports (it: EmitterTest): void {
  it('a stored Session comes with all that belongs to it', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await first.begin('c', { filters: ['a/#', '$share/g/b'], record: { isConnected: true } })
    const queue = new TestQueue(session)
    const deliveries = queue.several(5)
    for (const [i, delivery] of deliveries.slice(0, 2).entries()) Object.assign(delivery, { packetIdentifier: i + 1, isReleased: i === 0 })
    await first.commit({ enqueued: alone(deliveries), received: [7, 8].map(packetIdentifier => ({ session, packetIdentifier, isInUse: true })) })
    const { number, record, subscriptions, queue: state, remainder, heardAt } = await second.import('c')
    assert.deepEqual([number, record, remainder, heardAt], [session, sessionRecord('c', { isConnected: true }), [], undefined])
    assert.deepEqual(new Set(subscriptions), new Set(['a/#', '$share/g/b'].map(filter => subscriptionTo(filter))))
    const bytes = deliveries.slice(2).reduce((sum, { message }) => sum + message.size, 0)
    assert.deepEqual(state, { first: 2, end: 5, bytes, total: deliveries[4]?.total })
    const { inFlight, received } = await second.store.claim(session)
    assert.deepEqual(inFlight.map(plainDelivery), deliveries.slice(0, 2).map(plainDelivery))
    assert.deepEqual([...received].sort(), [7, 8])
    assert.deepEqual((await fetchAll(second.store, session)).map(plainDelivery), deliveries.map(plainDelivery))
  })

  it('the former owner is told after all that was sent to it before', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await first.begin('c')
    await second.send(first, '1', '2')
    await second.import('c')
    await second.send(first, '3')
    await first.until('all is there', () => first.inbox.length === 4)
    const told = first.inbox.map(entry => entry.kind === 'frame' ? entry.bytes.toString() : [entry.clientIdentifier, entry.session])
    assert.deepEqual(told, ['1', '2', ['c', session], '3'])
    const positions = first.inbox.map(({ position }) => position)
    assert.deepEqual(positions, positions.map((_, i) => (positions[0] ?? 0) + i))
  })

  it('a polite claim leaves a stored Session where its Client is online at a living node, and says where that is', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const claim = async (clientIdentifier: string): Promise<Claim> => second.emitter.claim({ clientIdentifier, session: second.newSession, isPolite: true })
    for (const name of ['online', 'offline']) await first.begin(name)
    await first.claim('volatile')
    await first.commit({}, { presence: new Map([['online', true], ['volatile', true]]) })
    assert.deepEqual(await claim('online').then(({ imported, heldBy }) => [imported, heldBy]), [undefined, first.generation])
    assert.equal(await second.emitter.ownerOf('online'), first.generation)
    for (const name of ['offline', 'volatile']) assert.equal((await claim(name)).heldBy, undefined)
    assert.equal(await second.emitter.ownerOf('volatile'), second.generation)
    await first.commit({}, { presence: new Map([['online', false]]) })
    assert.notEqual((await claim('online')).imported, undefined)
  })

  it('a polite claim takes the Session of a node that has gone', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.begin('c')
    await first.commit({}, { presence: new Map([['c', true]]) })
    await first.emitter.leave()
    assert.notEqual((await second.emitter.claim({ clientIdentifier: 'c', session: second.newSession, isPolite: true })).imported, undefined)
  })

  it('whoever claims last has the Session, and it moves whole each time', async subject => {
    const nodes = [await subject.start(), await subject.start(), await subject.start()]
    const session = await (nodes[0] as TestNode).begin('c', { filters: ['a'] })
    const claims = await Promise.all([1, 2, 0, 2, 1, 0].map(async at => ({ at, ...await (nodes[at] as TestNode).claim('c') })))
    assert.ok(claims.every(claim => claim.session === session))
    const owner = await (nodes[1] as TestNode).emitter.ownerOf('c')
    for (const node of nodes) {
      const changes = { sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) }
      if (node.generation === owner) await node.commit(changes)
      else assert.deepEqual((await node.refused(changes)).fenced, [session])
    }
    const imports = claims.filter(({ imported }) => imported !== undefined).length
    let evictions = 0
    for (const node of nodes) {
      await (nodes[0] as TestNode).send(node, 'last')
      await node.until('all is there', () => node.texts.includes('last'))
      evictions += node.inbox.filter(({ kind }) => kind === 'evicted').length
    }
    assert.equal(evictions, imports, 'for each import one node has given it up')
  })

  it('what a node has stored after it has claimed a Session is there when it moves again', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = await first.begin('c')
    const queue = new TestQueue(session)
    const deliveries: LiveDelivery[] = []
    for (const [from, to] of [[first, second], [second, first], [first, second]] as const) {
      deliveries.push(...queue.several(2))
      await from.commit({ enqueued: alone(deliveries.slice(-2)) })
      assert.equal((await to.import('c')).queue.end, deliveries.length)
      assert.deepEqual((await fetchAll(to.store, session)).map(plainDelivery), deliveries.map(plainDelivery))
    }
  })
}

function testFences (it: EmitterTest): void {
  it('whatever its former owner commits for a Session is refused, and what it commits for others is not', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const { session, kept, attempts } = await fencedChanges(first)
    await second.import('c')
    for (const [name, changes] of Object.entries(attempts)) {
      const { fenced } = await first.refused({ ...changes, sessions: new Map([[kept, sessionRecord('kept', { isConnected: true })], ...changes.sessions ?? []]) })
      assert.deepEqual(fenced, [session], name)
    }
    const recovered = await first.refused({}, { recovered: [session] })
    assert.deepEqual(recovered.fenced, [session])
    await first.commit({}, { released: [{ clientIdentifier: 'c', session }] })
    assert.equal(await first.emitter.ownerOf('c'), second.generation, 'to give up what is another\'s changes nothing')
    await first.commit({ subscriptions: [{ session: kept, topicFilter: 'k', subscription: subscriptionTo('k') }] })
    const { record } = await second.import('kept')
    assert.deepEqual(record, sessionRecord('kept'))
    await second.commit({ sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) })
  })

  it('a commit that is refused names all the Sessions that are others\'', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const sessions = [await first.begin('1'), await first.begin('2'), await first.begin('3')]
    await second.import('1')
    await second.import('3')
    const { fenced } = await first.refused({ sessions: new Map(sessions.map((session, i) => [session, sessionRecord(String(i + 1), { isConnected: true })])) })
    assert.deepEqual([...fenced].sort((a, b) => a - b), [sessions[0], sessions[2]])
  })
}

/** Every way to touch the Session `c`, and another Session. */
async function fencedChanges (node: TestNode): Promise<{ session: number, kept: number, attempts: Record<string, Partial<Changes>> }> {
  const [session, kept] = [await node.begin('c', { filters: ['a'] }), await node.begin('kept')]
  const queue = new TestQueue(session)
  const stored = queue.several(2) as [LiveDelivery, LiveDelivery]
  await node.commit({ enqueued: alone(stored), received: [{ session, packetIdentifier: 1, isInUse: true }] })
  const attempts: Record<string, Partial<Changes>> = {
    'its record': { sessions: new Map([[session, sessionRecord('c', { isConnected: true })]]) }, 'its end': { sessions: new Map([[session, undefined]]) },
    'a subscription': { subscriptions: [{ session, topicFilter: 'b', subscription: subscriptionTo('b') }] },
    'the end of a subscription': { subscriptions: [{ session, topicFilter: 'a', subscription: undefined }] },
    'a delivery': { enqueued: alone(queue.several(1)) }, 'a delivery that was sent': { sent: [{ ...stored[0], packetIdentifier: 5 }] },
    'a delivery that is done': { removed: [stored[1]] }, 'a Packet Identifier': { received: [{ session, packetIdentifier: 2, isInUse: true }] },
    'a Packet Identifier that is free': { received: [{ session, packetIdentifier: 1, isInUse: false }] },
  }
  return { session, kept, attempts }
}

function testMoves (it: EmitterTest): void {
  it('a move of a Session with subscriptions is told with what its new owner wants then, before anything else', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    await first.begin('c', { filters: ['a', 'b', '$share/g/c'] })
    await second.commit({}, { routes: new Map([['b', 5]]) })
    const { moves } = third
    await second.import('c')
    await first.commit({}, { routes: new Map([['a', undefined]]) })
    await third.until('it is told', () => third.log.some(entry => entry.kind === 'routes' && entry.generation === second.generation && entry.moves > moves))
    const entry = third.log.filter(other => other.kind === 'routes' && other.generation === second.generation).at(-1)
    assert.ok(entry?.kind === 'routes')
    assert.equal(entry.moves, moves + 1)
    assert.deepEqual(new Map([...entry.routes].sort()), new Map([['$share/g/c', 0], ['a', 0], ['b', 5]]))
    assert.deepEqual(third.routesOf(second), new Map([['b', 5], ['a', 0], ['$share/g/c', 0]]))
    await third.until('it is told of what came later', () => !third.routesOf(first).has('a'))
    const last = third.log.at(-1)
    assert.ok(last?.kind === 'routes' && last.moves === moves + 1)
    const late = await subject.start()
    assert.deepEqual(late.routesOf(second), third.routesOf(second))
  })

  it('a move of a Session without subscriptions, and a claim of what is new, do not count', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.begin('c')
    await first.claim('volatile')
    const { moves } = first
    await second.import('c')
    await second.claim('volatile')
    await second.claim('new')
    await first.commit({}, { moves })
  })

  it('each claim of a Session with subscriptions is a move', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await expectMoves(subject, first, second)
  })
}

async function expectMoves (subject: ClusterSubject, first: TestNode, second: TestNode): Promise<void> {
  const names = Array.from({ length: 5 }, (_, i) => `c ${i}`)
  for (const name of names) await first.begin(name, { filters: ['a'] })
  const { moves } = first
  for (const name of names) await second.import(name)
  await first.catchUp()
  assert.equal((await first.refused({}, { moves })).moves, moves + names.length)
  await first.until('it knows of them', () => first.moves === moves + names.length)
  assert.equal((await (await subject.open()).join()).moves, moves + names.length)
}
