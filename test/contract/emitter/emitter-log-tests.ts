import assert from 'node:assert/strict'
import type { PresenceEvent } from '../../../lib/contract/emitter.ts'
import type { EmitterTest } from './emitter-harness.ts'
import type { TestNode } from './emitter-node.ts'
import { messageOf, sessionRecord } from '../store/store-records.ts'

/** Topic Filters, Topic Names and Client Identifiers that are hard on whoever makes keys, patterns or replies of them. */
export const hardNames: readonly string[] = [
  '[a-z]', '\\', '{', '}', '{}', 'a*b', '?', ':', '::', ' ', '"', '\'', '%00', '\u0001', '🦊', 'é', 'e\u0301', '__proto__', 'constructor', '0', '-1', '1e3', 'nil', 'a'.repeat(60_000),
]

/** What all nodes are told of each other. */
export function testLog (it: EmitterTest): void {
  testJoining(it)
  testRoutes(it)
  testOrder(it)
  testRetained(it)
  testPresence(it)
}

function testJoining (it: EmitterTest): void {
  it('a node is told of all other nodes and what they want before it has joined', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.commit({}, { routes: new Map([['a/#', 1], ['$share/g/b', 2], ['offline', 0], ['gone', 1]]) })
    await first.commit({}, { routes: new Map([['gone', undefined], ['a/#', 3]]) })
    const leaver = await subject.start()
    await leaver.commit({}, { routes: new Map([['left', 1]]) })
    await leaver.emitter.leave()
    const third = await subject.open()
    await third.join()
    const joined = third.log.flatMap(entry => entry.kind === 'joined' && entry.generation !== third.generation ? [[entry.generation, entry.description]] : [])
    assert.deepEqual(joined, [first, second].map(({ generation, name }) => [generation, { name, version: '1.2.3' }]))
    assert.deepEqual(third.routesOf(first), new Map([['a/#', 3], ['$share/g/b', 2], ['offline', 0]]))
    assert.deepEqual(third.routesOf(second), new Map())
    assert.deepEqual(third.routesOf(leaver), new Map())
  })

  it('those who are there are told of a node that joins, and of one that has left', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const of = (kind: string) => (): boolean => first.log.some(entry => entry.kind === kind && entry.generation === second.generation)
    await first.until('the second has joined', of('joined'))
    const entry = first.log.find(({ kind, generation }) => kind === 'joined' && generation === second.generation)
    assert.ok(entry?.kind === 'joined')
    assert.deepEqual(entry.description, { name: second.name, version: '1.2.3' })
    await second.emitter.leave()
    await first.until('the second has left', of('left'))
  })

  it('generations count up, and no two nodes give the same number to a Session', async subject => {
    const numbers: number[] = []
    for (let i = 0; i < 3; i++) {
      const node = await subject.open()
      const { generation, nextSession } = await node.join()
      assert.ok(Number.isSafeInteger(generation) && generation > 0)
      numbers.push(generation)
      assert.ok(Number.isSafeInteger(nextSession + 2 ** 32 - 1) && nextSession >= generation * 2 ** 32 && nextSession < generation * 2 ** 32 + 1_000)
    }
    assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b))
  })

  it('who joins knows how many moves there were', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.begin('c', { filters: ['a'] })
    await second.import('c')
    const third = await subject.open()
    const { moves } = await third.join()
    await first.catchUp()
    assert.equal(moves, first.moves)
    await third.commit({}, { moves })
    assert.equal((await third.refused({}, { moves: moves - 1 })).moves, moves)
  })
}

function testRoutes (it: EmitterTest): void {
  it('what a node wants is told to all nodes as it has said it last', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.commit({}, { routes: new Map([['a', 1], ['b', 0]]) })
    await first.commit({}, { routes: new Map([['a', 7], ['c', 2]]) })
    await second.commit({}, { routes: new Map([['a', 4]]) })
    await first.commit({}, { routes: new Map([['b', undefined]]) })
    await first.commit({}, { routes: new Map([['done', 1]]) })
    await second.until('it knows the last of it', () => second.routesOf(first).has('done'))
    assert.deepEqual(second.routesOf(first), new Map([['a', 7], ['c', 2], ['done', 1]]))
    await first.catchUp()
    assert.deepEqual(first.routesOf(second), new Map([['a', 4]]))
  })

  it('a Topic Filter may be any text', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const routes = new Map(hardNames.flatMap((name, i) => [[name, i], [`$share/${name}/a`, i + 1]] as const))
    await first.commit({}, { routes })
    const late = await subject.start()
    assert.deepEqual(late.routesOf(first), routes)
    await second.until('it knows them all', () => second.routesOf(first).size === routes.size)
    assert.deepEqual(second.routesOf(first), routes)
    await first.commit({}, { routes: new Map([...routes].map(([filter]) => [filter, undefined])) })
    await second.until('they are all gone', () => second.routesOf(first).size === 0)
  })

  it('3,000 Topic Filters at once are told of, and are there for who joins later', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const routes = new Map(Array.from({ length: 3_000 }, (_, i) => [`a/${i}`, i]))
    await first.commit({}, { routes })
    await second.until('it knows them all', () => second.routesOf(first).size === 3_000)
    const late = await subject.start()
    assert.deepEqual(late.routesOf(first), routes)
    assert.deepEqual(second.routesOf(first), routes)
  })
}

function testOrder (it: EmitterTest): void {
  it('the log tells all nodes the same in the same order, without gaps', async subject => {
    const nodes = [await subject.start(), await subject.start(), await subject.start()]
    const start = Math.max(...nodes.map(({ emitter }) => emitter.logEnd))
    await Promise.all(nodes.map(async (node, i) => {
      for (let step = 0; step < 15; step++) await node.commit({}, { routes: new Map([[`${i}/${step}`, step]]) })
    }))
    const last = nodes[0] as TestNode
    await last.commit({}, { routes: new Map([['last', 1]]) })
    for (const node of nodes) await node.until('it knows the last of it', () => node.routesOf(last).has('last'))
    const [told, ...others] = nodes.map(({ log }) => log.filter(({ position }) => position > start))
    assert.deepEqual(told?.map(({ position }) => position), Array.from({ length: 46 }, (_, i) => start + 1 + i))
    for (const other of others) assert.deepEqual(other, told)
  })

  it('the end of the log is known when a commit, or a claim, is answered', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.begin('c', { filters: ['a'] })
    for (const step of [1, 2, 3]) {
      await first.commit({}, { routes: new Map([['b', step]]) })
      await second.commit({}, { presence: new Map([['x', step % 2 === 0]]) })
      await second.catchUp()
      assert.equal(second.routesOf(first).get('b'), step, 'nothing that came before is missing')
    }
    await second.import('c')
    const { logEnd } = second.emitter
    await second.catchUp()
    assert.equal(second.log.filter(entry => entry.kind === 'routes' && entry.generation === second.generation).at(-1)?.position, logEnd)
  })

  it('commits and claims take effect in the order in which they were asked for', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const session = second.newSession
    const old = await first.begin('c', { filters: ['a'] })
    const imported = await second.claim('c')
    const asked = [
      second.commit({ sessions: new Map([[old, sessionRecord('c', { hasEnded: true })]]) }, { released: [{ clientIdentifier: 'c', session: old }] }),
      second.emitter.claim({ clientIdentifier: 'c', session }), second.commit({ sessions: new Map([[session, sessionRecord('c')]]) }),
      second.commit({ sessions: new Map([[old, undefined]]) }),
    ] as const
    const [, begun] = await Promise.all(asked)
    assert.deepEqual([imported.session, begun], [old, { session, imported: undefined }])
    assert.equal((await first.import('c')).number, session)
  })
}

function testRetained (it: EmitterTest): void {
  it('all nodes are told of a retained message that was set, replaced or removed', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const set = async (text: string | undefined): Promise<void> => first.commit({ retained: new Map([['a/b', text === undefined ? undefined : messageOf({ topicName: 'a/b', payload: Buffer.from(text), qos: 2, retain: true, publisher: 'p' })]]) })
    for (const text of ['one', 'two']) {
      await set(text)
      for (const node of [first, second]) await node.until(`it is told of ${text}`, () => node.retainedAs('a/b').at(-1)?.payload.toString() === text)
      const message = second.retainedAs('a/b').at(-1)
      assert.deepEqual([message?.topicName, message?.qos, message?.retain, message?.publisher], ['a/b', 2, true, 'p'])
    }
    await set(undefined)
    for (const node of [first, second]) await node.until('it is told that it is gone', () => node.retainedAs('a/b').length >= 3 && node.retainedAs('a/b').at(-1) === undefined)
  })

  it('what is told last of a retained message is what is stored, whoever sets it how often', async subject => {
    const nodes = [await subject.start(), await subject.start()]
    await Promise.all(nodes.map(async (node, i) => {
      for (let step = 0; step < 20; step++) await node.commit({ retained: new Map([['a', step % 3 === 2 ? undefined : messageOf({ payload: Buffer.from(`${i} ${step}`), retain: true })]]) })
    }))
    const [first, second] = nodes as [TestNode, TestNode]
    await first.commit({}, { routes: new Map([['last', 1]]) })
    for (const node of nodes) await node.until('it knows all', () => node.routesOf(first).has('last'))
    for await (const message of second.store.retained()) for (const node of nodes) assert.equal(node.retainedAs('a').at(-1)?.payload.toString(), message.payload.toString())
  })

  it('a Topic Name of a retained message may be any text', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.commit({ retained: new Map(hardNames.map(topicName => [topicName, messageOf({ topicName, payload: Buffer.from(`of ${topicName}`), retain: true })])) })
    for (const name of hardNames) await second.until(`it is told of ${name.slice(0, 20)}`, () => second.retainedAs(name).at(-1)?.payload.toString() === `of ${name}`)
  })

  it('a retained message that has expired is removed, unless it was replaced meanwhile', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const expiring = (topicName: string, expiresAt: number): [string, ReturnType<typeof messageOf>] => [topicName, messageOf({ topicName, retain: true, expiresAt, properties: { messageExpiryInterval: 5 } })]
    await first.commit({ retained: new Map([expiring('a', 1_000_000), expiring('b', 1_000_000), expiring('c', 1_000_000.5)]) })
    await first.commit({ retained: new Map([expiring('b', 2_000_000), ['d', messageOf({ topicName: 'd', retain: true })]]) })
    await second.commit({}, { expired: new Map([['a', 1_000_000], ['b', 1_000_000], ['c', 1_000_000.5], ['d', 1_000_000], ['e', 1_000_000]]) })
    for (const node of [first, second]) await node.until('it is told', () => ['a', 'c'].every(name => node.retainedAs(name).length > 1 && node.retainedAs(name).at(-1) === undefined))
    const left: string[] = []
    for await (const { topicName } of second.store.retained()) left.push(topicName)
    assert.deepEqual(left.sort(), ['b', 'd'])
    await first.catchUp()
    for (const name of left) assert.ok(first.retainedAs(name).every(message => message !== undefined))
  })

  it('who has missed entries of the log is told all that is retained, and by that what is no more', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const set = async (retained: Readonly<Record<string, string | undefined>>, route: string): Promise<void> => first.commit({
      retained: new Map(Object.entries(retained).map(([topicName, text]) => [topicName, text === undefined ? undefined : messageOf({ topicName, payload: Buffer.from(text), retain: true })])),
    }, { routes: new Map([[route, 1]]) })
    await set({ gone: 'x', stays: 'x', changes: 'x' }, 'before')
    await second.until('it knows', () => second.routesOf(first).has('before'))
    await subject.outrun(second, async () => { await set({ gone: undefined, changes: 'y', comes: 'z' }, 'meanwhile') })
    await set({ stays: 'later' }, 'after')
    const whereIs = (isEnd: boolean): number => second.log.map(entry => entry.kind === 'retainedAnew' && entry.isComplete === isEnd).lastIndexOf(true)
    await second.until('it knows', () => second.routesOf(first).has('after') && second.retainedAs('stays').at(-1)?.payload.toString() === 'later' && whereIs(true) >= 0)
    const [begin, end] = [whereIs(false), whereIs(true)]
    assert.ok(begin >= 0 && begin < end, 'it has a beginning and an end')
    const told = new Map(second.log.slice(begin, end).flatMap(entry => entry.kind === 'retained' ? [[entry.topicName, entry.message?.payload.toString()]] : []))
    assert.deepEqual([...told.keys()].sort(), ['changes', 'comes', 'stays'])
    assert.deepEqual([told.get('changes'), told.get('comes')], ['y', 'z'])
    assert.deepEqual([...second.routesOf(first).keys()].sort(), ['after', 'before', 'meanwhile'])
  })

  it('who joins is told what was retained since its store was opened', async subject => {
    const first = await subject.start()
    const second = await subject.open()
    await first.commit({ retained: new Map([['a', messageOf({ payload: Buffer.from('meanwhile'), retain: true })]]) })
    await second.join()
    assert.equal(second.retainedAs('a').at(-1)?.payload.toString(), 'meanwhile')
  })
}

/** All that a node is told of who comes and goes, from an event on that shows that it listens. */
async function watch (node: TestNode): Promise<[events: PresenceEvent[], stop: () => void]> {
  const events: PresenceEvent[] = []
  const controller = new AbortController()
  void (async () => { for await (const event of node.emitter.presence(controller.signal)) node.noted(() => events.push(event)) })()
  for (let isOnline = true; events.length === 0; isOnline = !isOnline) {
    await node.commit({}, { presence: new Map([['listening', isOnline]]) })
    await new Promise(resolve => { setTimeout(resolve, 5) })
  }
  events.length = 1
  return [events, () => { controller.abort() }]
}

function testPresence (it: EmitterTest): void {
  it('who is online at a node is known to the others, whatever the Client Identifier', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await first.commit({}, { presence: new Map([['a', true], ['b', true], ['c', false]]) })
    await first.commit({}, { presence: new Map([['a', false], ...hardNames.map(name => [name, true] as const)]) })
    await second.commit({}, { presence: new Map([['d', true]]) })
    for (const node of [first, second]) {
      assert.deepEqual(await node.online(first), ['b', ...hardNames].sort())
      assert.deepEqual(await node.online(second), ['d'])
      const places = await Promise.all(['a', 'b', ...hardNames, 'd'].map(async name => node.emitter.placeOf(name)))
      assert.deepEqual(places, [undefined, first.generation, ...hardNames.map(() => first.generation), second.generation])
    }
  })

  it('2,000 Clients are online at a node, each comes once', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    const names = Array.from({ length: 2_000 }, (_, i) => `client ${i}`)
    await first.commit({}, { presence: new Map(names.map(name => [name, true])) })
    assert.deepEqual(await second.online(first), names.sort())
  })

  it('who comes online and goes offline is told once each, in order', async subject => {
    const [first, second, third] = [await subject.start(), await subject.start(), await subject.start()]
    await first.commit({}, { presence: new Map([['before', true]]) })
    const [events, stop] = await watch(third)
    await first.commit({}, { presence: new Map([['a', true], ['before', true]]) })
    await first.commit({}, { presence: new Map([['a', true], ['b', false]]) })
    await second.commit({}, { presence: new Map([['c', true]]) })
    await first.commit({}, { presence: new Map([['a', false]]) })
    await third.commit({}, { presence: new Map([['last', true]]) })
    await third.until('it is told', () => events.at(-1)?.clientIdentifier === 'last')
    stop()
    assert.deepEqual(events.slice(1, -1), [
      { clientIdentifier: 'a', isOnline: true, generation: first.generation }, { clientIdentifier: 'c', isOnline: true, generation: second.generation },
      { clientIdentifier: 'a', isOnline: false, generation: first.generation },
    ])
  })

  it('a Client that moves to another node stays online, whoever says so first', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    for (const [name, isFormerFirst] of [['stored', true], ['volatile', true], ['late', false]] as const) {
      if (name === 'stored') await first.begin(name)
      else await first.claim(name)
      await first.commit({}, { presence: new Map([[name, true]]) })
      const [events, stop] = await watch(second)
      await second.claim(name)
      const changes = [async () => first.commit({}, { presence: new Map([[name, false]]) }), async () => second.commit({}, { presence: new Map([[name, true]]) })]
      for (const change of isFormerFirst ? changes : changes.reverse()) await change()
      assert.deepEqual([await first.online(first), (await first.online(second)).includes(name)], [[], true])
      await second.commit({}, { presence: new Map([[name, false]]) })
      await second.until('it has gone', () => events.at(-1)?.isOnline === false)
      stop()
      assert.deepEqual(events.slice(1), [{ clientIdentifier: name, isOnline: false, generation: second.generation }])
    }
  })

  it('Clients of a node that dies go offline when it is buried', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await second.commit({}, { presence: new Map([['a', true], ['b', true]]) })
    const [events, stop] = await watch(first)
    await subject.kill(second)
    await subject.lapse(first)
    await first.clear(second.generation)
    await first.until('it is told', () => events.length === 3)
    stop()
    const told = events.slice(1).sort((a, b) => a.clientIdentifier < b.clientIdentifier ? -1 : 1)
    assert.deepEqual(told, ['a', 'b'].map(clientIdentifier => ({ clientIdentifier, isOnline: false, generation: second.generation })))
  })

  it('nodes are as they last said they are', async subject => {
    const [first, second] = [await subject.start(), await subject.start()]
    await second.emitter.beat({ clientsConnected: 5, sessions: 6, subscriptions: 7 })
    const nodes = await first.emitter.nodes()
    assert.deepEqual(nodes.map(({ generation, name, version, isAlive }) => ({ generation, name, version, isAlive })).sort((a, b) => a.generation - b.generation),
      [first, second].map(({ generation, name }) => ({ generation, name, version: '1.2.3', isAlive: true })))
    const state = nodes.find(({ generation }) => generation === second.generation)
    assert.deepEqual([state?.clientsConnected, state?.sessions, state?.subscriptions], [5, 6, 7])
    assert.ok(state !== undefined && state.joinedAt > 0 && state.heardAt >= state.joinedAt)
  })
}
