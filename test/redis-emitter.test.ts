import t, { type Test } from 'tap'
import { ErrorCode, memoryStore, messagesInFrame } from '../lib/index.ts'
import { redisEmitter, type RedisOptions } from '../plugins/redis/index.ts'
import { Remainders } from '../plugins/redis/emitter/remainders.ts'
import { adoptScript } from '../plugins/redis/scripts/adopt.lua.ts'
import { testEmitter } from '../plugins/testing/index.ts'
import { remainderOf, TestNode } from './contract/emitter/emitter-node.ts'
import { alone, messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { RedisNodes } from './support/redis/redis-nodes.ts'
import { RedisProxy } from './support/redis/redis-proxy.ts'
import { RedisServer, startRedis } from './support/redis/redis-server.ts'

const server = await RedisServer.start()
t.teardown(() => server.stop())

t.test('the emitter of Redis', t => {
  testEmitter((name, run) => t.test(name, run), { create: () => new RedisNodes(server, server.url) })
  t.end()
})

/** Nodes that end with the test. */
class Nodes {
  readonly redis: RedisNodes
  #count = 0

  constructor (t: Test, of: RedisServer = server) {
    this.redis = new RedisNodes(of, of.url)
    t.teardown(() => this.redis.dispose())
  }

  async open (options: Partial<RedisOptions> = {}): Promise<TestNode> {
    const { persistence, emitter } = this.redis.node(options)
    await persistence.open()
    return new TestNode(persistence, emitter, `node ${++this.#count}`)
  }

  async start (options: Partial<RedisOptions> = {}): Promise<TestNode> {
    const node = await this.open(options)
    await node.join()
    return node
  }
}

t.test('an emitter is made for a store of Redis only', t => {
  t.throws(() => redisEmitter(memoryStore()), { code: ErrorCode.optionInvalid })
  t.end()
})

t.test('a node that does not go together with those that are there is told why, and does not join', async t => {
  const nodes = new Nodes(t)
  const first = await nodes.start()
  const other = await nodes.open({ leaseMs: 4_000 })
  await t.rejects(other.join(), { code: ErrorCode.optionInvalid, message: /option "leaseMs" is 4000, but the other nodes of the cluster have 8000/ })
  await nodes.redis.command('HSET', 'v', 'protocol', 2)
  const late = await nodes.open()
  await t.rejects(late.join(), { code: ErrorCode.storeTooNew, message: /protocol 2/ })
  await nodes.redis.command('HSET', 'v', 'protocol', 0)
  await t.rejects(late.join(), { code: ErrorCode.storeInUse, message: /protocol 0/ })
  t.equal((await first.emitter.nodes()).length, 1)
  await first.emitter.leave()
  await other.join()
  t.strictSame(await nodes.redis.command('HMGET', 'v', 'protocol', 'leaseMs'), ['1', '4000'], 'a node that is alone sets what holds')
})

t.test('while Redis was away nobody was heard of, and nobody is taken for dead for that', async t => {
  const nodes = new Nodes(t)
  const [first, second] = [await nodes.start(), await nodes.start()]
  await nodes.redis.lapse()
  await nodes.redis.command('HSET', 'n', 'heard', Date.now() - 60_000)
  t.strictSame(await first.beat(), { dead: [], left: [] })
  for await (const page of first.emitter.adopt(second.generation)) t.fail(`it lives: ${page.length}`)
  await nodes.redis.command('HSET', 'n', 'since', Date.now() - 8_001)
  t.strictSame(await first.beat(), { dead: [second.generation], left: [] }, 'a lease later')
})

t.test('what was read comes once and in order when the connections are lost', async t => {
  const nodes = new Nodes(t)
  const [first, second] = [await nodes.start(), await nodes.start()]
  const sent: string[] = []
  for (let round = 0; round < 5; round++) {
    const texts = Array.from({ length: 40 }, (_, i) => `${round} ${i}`)
    sent.push(...texts)
    await first.send(second, ...texts.slice(0, 20))
    await first.commit({}, { routes: new Map([['a', round]]) })
    await server.command('CLIENT', 'KILL', 'TYPE', 'normal')
    await first.send(second, ...texts.slice(20))
  }
  await second.until('all is there', () => second.frames.length >= sent.length)
  await second.until('it knows', () => second.routesOf(first).get('a') === 4)
  t.strictSame(second.texts, sent)
  const counts = second.log.flatMap(entry => entry.kind === 'routes' && entry.generation === first.generation ? [entry.routes.get('a')] : [])
  t.strictSame(counts, [undefined, 0, 1, 2, 3, 4].slice(-counts.length))
  for (const { reaches } of [first, second]) t.ok(reaches.every((isReachable, i) => isReachable === (i % 2 === 1)) && reaches.at(-1) === true, 'each change is told once')
})

t.test('a node that has missed entries of the log is told everything anew', async t => {
  const nodes = new Nodes(t)
  const [first, second, third] = [await nodes.start(), await nodes.start(), await nodes.start()]
  await first.commit({ retained: new Map([['r', messageOf({ topicName: 'r', payload: Buffer.from('old'), retain: true })]]) }, { routes: new Map([['a', 1], ['b', 1]]) })
  await third.commit({}, { routes: new Map([['c', 1]]) })
  await second.until('it knows', () => second.routesOf(third).has('c'))
  await nodes.redis.command('HDEL', `w:${first.generation}`, 'a') // as if its entry in the log was gone before anybody had read it
  await nodes.redis.command('HSET', `w:${first.generation}`, 'd', 3)
  await nodes.redis.command('HINCRBY', 'n', 'log', 20_000)
  await nodes.redis.command('HINCRBY', 'n', 'moves', 7)
  await third.emitter.leave()
  await second.until('it knows that one has left', () => second.log.at(-1)?.kind === 'retainedAnew' && second.moves === 8)
  t.strictSame(second.routesOf(first), new Map([['b', 1], ['d', 3]]))
  t.strictSame(second.routesOf(third), new Map())
  t.equal(second.retainedAs('r').at(-1)?.payload.toString(), 'old')
  await first.commit({}, { routes: new Map([['e', 1]]) })
  await second.until('it goes on', () => second.routesOf(first).has('e'))
})

t.test('a Session that is stored for the first time by the commit that ends it leaves nothing', async t => {
  const nodes = new Nodes(t)
  const node = await nodes.start()
  const { session } = await node.claim('c')
  await node.commit({ sessions: new Map([[session, sessionRecord('c', { hasEnded: true })]]) }, { released: [{ clientIdentifier: 'c', session }] })
  await node.remove(session)
  await node.emitter.leave()
  t.strictSame(await nodes.redis.left(), [])
})

t.test('an answer that was lost is given again, the same, and nothing is done twice', async t => {
  const nodes = new Nodes(t)
  const proxy = await RedisProxy.start(server.port)
  t.teardown(() => { proxy.close() })
  const [first, second] = [await nodes.start(), await nodes.start({ redis: proxy.url })]
  const session = await first.begin('c', { filters: ['a'] })
  await second.send(first, '1', '2')
  proxy.cutNext('after', 'c')
  const imported = await second.import('c')
  t.equal(proxy.cuts, 1)
  t.strictSame([imported.number, remainderOf(imported), imported.subscriptions.length, imported.since, second.moves], [session, ['1', '2'], 1, 0, 1])
  await first.until('it is told', () => first.inbox.length === 3)
  const fresh = second.newSession
  proxy.cutNext('after', 'volatile')
  t.strictSame(await second.emitter.claim({ clientIdentifier: 'volatile', session: fresh }), { session: fresh, imported: undefined })
  proxy.cutNext('after', 'volatile')
  t.strictSame(await second.claim('volatile'), { session: fresh, imported: undefined }, 'its own')
  for (let i = 0; i < 150; i++) await first.begin(`c ${i}`)
  nodes.redis.kill(first.emitter)
  await nodes.redis.lapse()
  await second.beat()
  const adopted: number[] = []
  for await (const page of second.emitter.adopt(first.generation)) {
    adopted.push(...page.map(({ number }) => number))
    proxy.cutNext('after', '\r\n100\r\n')
  }
  t.equal(proxy.cuts, 4)
  t.equal(new Set(adopted).size, 150)
  t.equal(adopted.length, 150)
  proxy.cutNext('after')
  await second.emitter.leave()
  t.equal(second.fences, 0)
  t.equal(proxy.cuts, 5)
})

t.test('what is known of an inbox is never more than what was read of it', t => {
  const inboxes = new Remainders()
  const framesAt = (...positions: number[]): Buffer[] => positions.flatMap(position => ['5', `${position}-0`, `frame ${position}`].map(text => Buffer.from(text)))
  inboxes.add('5,10,3,12', framesAt(10, 12))
  t.equal(inboxes.text, '5,10,12')
  inboxes.add('5,4,0,9;5,11,0,13;6,1,0,1', framesAt(4, 8, 10, 12, 13))
  t.equal(inboxes.text, '5,4,13;6,1,1')
  t.strictSame(inboxes.of('5,8,2,10;5,13,0,13').map(({ bytes, skip }) => [bytes.toString(), skip]), [['frame 8', 2], ['frame 10', 0], ['frame 13', 0]])
  t.end()
})

t.test('a claim whose answer is lost takes nothing back that another node has taken meanwhile, unless it is stored', async t => {
  const nodes = new Nodes(t)
  const proxy = await RedisProxy.start(server.port)
  t.teardown(() => { proxy.close() })
  const [first, second] = [await nodes.start(), await nodes.start({ redis: proxy.url })]
  for (const name of ['volatile', 'stored']) {
    if (name === 'stored') await first.begin(name)
    proxy.cutNext('after', name)
    const told = second.claim(name)
    while (await first.emitter.ownerOf(name) !== second.generation) t.pass('not yet')
    await first.claim(name)
    const { session } = await told
    await second.until('it is told', () => second.inbox.length === 1)
    t.match(second.inbox.splice(0), [{ kind: 'evicted', clientIdentifier: name, session }])
    t.equal(await first.emitter.ownerOf(name), name === 'stored' ? second.generation : first.generation)
  }
})

t.test('thousands of messages, and very large ones, that a Session may need come with it, in order', async t => {
  const nodes = new Nodes(t)
  const [first, second, third] = [await nodes.start(), await nodes.start(), await nodes.start()]
  const texts = Array.from({ length: 1_500 }, (_, i) => i % 100 === 0 ? `${i} ${'x'.repeat(400_000)}` : String(i))
  await first.begin('c')
  for (let i = 0; i < 1_500; i += 50) await second.send(first, ...texts.slice(i, i + 50))
  const middle = await second.import('c')
  t.strictSame(remainderOf(middle), texts)
  await third.send(second, 'later')
  t.strictSame(remainderOf(await third.import('c')), [...texts, 'later'])
  for (let i = 0; i < 3; i++) await first.begin(`c ${i}`)
  nodes.redis.kill(first.emitter)
  await nodes.redis.lapse()
  await second.beat()
  const adopted = await second.adopt(first.generation)
  t.equal(adopted.length, 3)
  for (const session of adopted) t.strictSame(remainderOf(session), [])
  const queue = new TestQueue(middle.number)
  await third.commit({ enqueued: alone(queue.several(1)) }, { recovered: [middle.number] })
  await second.emitter.bury(first.generation)
  t.notOk((await nodes.redis.keys()).includes(nodes.redis.key(`in:${first.generation}`)), 'what nobody needs is not kept')
})

t.test('a node goes on when Redis is there again: stopped and started, killed, or paused', async t => {
  const durable = await startRedis(t, { appendOnly: true })
  const nodes = new Nodes(t, durable)
  const [first, second] = [await nodes.start(), await nodes.start()]
  const session = await first.begin('c', { filters: ['a'] })
  for (const [i, away] of [() => durable.restart(), async () => { await durable.kill(); await durable.run() }].entries()) {
    const going = away()
    const claim = i === 0 ? second.import('c') : undefined
    const sent = first.send(second, `while it was away ${i}`)
    await going
    t.equal((await claim)?.number, i === 0 ? session : undefined)
    await sent
    await second.until('it has it', () => second.texts.length === i + 1)
    for (const node of [first, second]) await node.until('it reaches the others', () => node.reaches.at(-1) === true)
  }
  durable.pause()
  const sent = first.send(second, 'while it slept')
  durable.resume()
  await sent
  await second.until('it has it', () => second.texts.length === 3)
  for (const { reaches } of [first, second]) t.strictSame(reaches, [false, true, false, true], 'each change is told once')
  t.strictSame(second.texts, ['while it was away 0', 'while it was away 1', 'while it slept'])
  t.strictSame([first.fences, second.fences], [0, 0])
  t.ok(first.inbox.some(({ kind }) => kind === 'evicted'))
})

t.test('when Redis has lost everything a node is told that it is none, and joins anew', async t => {
  const forgetful = await startRedis(t)
  const nodes = new Nodes(t, forgetful)
  const [first, second] = [await nodes.start(), await nodes.start()]
  await forgetful.kill()
  await forgetful.run()
  for (const node of [first, second]) {
    await t.rejects(node.beat(), { code: ErrorCode.storeFailed })
    t.equal(node.fences, 1)
    await node.join()
  }
  await first.deliver(second, 'x')
})

t.test('when Redis has gone back to an earlier state, nodes hear what comes from then on', async t => {
  const nodes = new Nodes(t)
  const [first, second] = [await nodes.start(), await nodes.start()]
  await first.commit({}, { routes: new Map([['a', 1], ['b', 1]]) })
  await first.deliver(second, '1', '2', '3')
  await second.catchUp()
  await nodes.redis.command('DEL', 'lg')
  await nodes.redis.command('HSET', 'n', 'log', 1)
  await nodes.redis.command('HDEL', `w:${first.generation}`, 'b')
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal')
  await first.commit({}, { routes: new Map([['c', 1]]) })
  await second.until('it knows', () => second.routesOf(first).has('c'))
  t.strictSame([...second.routesOf(first).keys()].sort(), ['a', 'c'])
  await nodes.redis.command('DEL', `in:${second.generation}`)
  await nodes.redis.command('HSET', 'inp', second.generation, 1)
  await server.command('CLIENT', 'KILL', 'TYPE', 'normal')
  while (second.fences === 0) await second.beat().catch(() => undefined)
  await second.join()
  await first.deliver(second, '4')
})

t.test('thousands of Clients of a node that died go offline, and nothing is left of them', async t => {
  const nodes = new Nodes(t)
  const [first, second] = [await nodes.start(), await nodes.start()]
  const names = Array.from({ length: 1_200 }, (_, i) => `client ${i}`)
  const sessions = names.slice(0, 600).map(clientIdentifier => ({ clientIdentifier, session: second.newSession }))
  await second.commit({}, { begun: sessions, presence: new Map(names.map(name => [name, true])) })
  const stop = new AbortController()
  const offline: string[] = []
  const listening = (async () => {
    for await (const { clientIdentifier, isOnline, generation } of first.emitter.presence(stop.signal)) {
      if (!isOnline && generation === second.generation) offline.push(clientIdentifier)
      if (offline.length === names.length) stop.abort()
    }
  })()
  nodes.redis.kill(second.emitter)
  await nodes.redis.lapse()
  await first.beat()
  await first.clear(second.generation)
  await listening
  t.strictSame(offline.sort(), [...names].sort())
  await first.emitter.leave()
  t.strictSame(await nodes.redis.left(), [])
})

t.test('a node that was taken for dead while it took over what another one has left keeps nobody from that', async t => {
  const nodes = new Nodes(t)
  const [dead, adopter, living] = [await nodes.start(), await nodes.start(), await nodes.start()]
  await living.send(dead, 'x')
  for (const node of [dead, adopter]) {
    nodes.redis.kill(node.emitter)
    await nodes.redis.command('HSET', 'n', 'since', 1, 'heard', Date.now())
    await nodes.redis.command('ZADD', 'hb', 1, node.generation)
    if (node === dead) await adopter.adopt(dead.generation)
  }
  t.same(await living.adoptPages(dead.generation), [], 'nobody knows yet that the other one does not go on')
  await living.clear(adopter.generation)
  await living.adopt(dead.generation)
  t.same(await living.inboxOf(dead), ['x'])
  await living.emitter.bury(dead.generation)
  t.equal((await living.emitter.nodes()).length, 1)
})

t.test('a page of a dead node that is asked for again tells where in the inbox its Sessions came, not where it ends now', async t => {
  const nodes = new Nodes(t)
  const [dead, adopter, other] = [await nodes.start(), await nodes.start(), await nodes.start()]
  await dead.begin('c', { filters: ['a'] })
  await other.send(adopter, 'before it came')
  nodes.redis.kill(dead.emitter)
  await nodes.redis.lapse()
  for (const node of [adopter, other]) await node.beat()
  const [session] = await adopter.adopt(dead.generation)
  const call = await nodes.redis.command('HGET', 'last', adopter.generation) as string
  await other.send(adopter, 'for it')
  const again = await server.command('EVAL', adoptScript.lua, 1, nodes.redis.key(''), adopter.generation, call, dead.generation, 2_000, 100, '', 1) as unknown[]
  t.strictSame([session?.since, again[1], Math.floor(Number(again[4]) / messagesInFrame)], [1, 'page', 1])
})
