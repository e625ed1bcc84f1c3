import t, { type Test } from 'tap'
import type { RedisOptions } from '../plugins/redis/index.ts'
import { fetchAll } from './contract/store/store-contents.ts'
import { TestNode } from './contract/emitter/emitter-node.ts'
import { alone, messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { RedisNodes, type TestRedis } from './support/redis/redis-nodes.ts'
import { eventually, TestRedisCluster, TestSentinel } from './support/redis/redis-topologies.ts'

t.jobs = 2 // both mostly wait for failovers

/** Two nodes, of which one has a Session with a subscription. */
async function start (t: Test, server: TestRedis, redis: RedisOptions['redis']): Promise<{ nodes: RedisNodes, first: TestNode, second: TestNode, session: number }> {
  const nodes = new RedisNodes(server, redis)
  t.teardown(() => nodes.dispose())
  const [first, second] = ['first', 'second'].map(name => {
    const { persistence, emitter } = nodes.node()
    return new TestNode(persistence, emitter, name)
  }) as [TestNode, TestNode]
  for (const node of [first, second]) {
    await node.store.open()
    await node.join()
  }
  return { nodes, first, second, session: await first.begin('c', { filters: ['a'] }) }
}

/** Stores, sends and retains something that only this step does. */
async function step (queue: TestQueue, from: TestNode, to: TestNode, text: string): Promise<void> {
  const retained = new Map([[`r/${text}`, messageOf({ topicName: `r/${text}`, payload: Buffer.from(text), retain: true })]])
  await from.commit({ enqueued: alone(queue.several(1)), retained }, { sends: [{ generation: to.generation, bytes: Buffer.from(text) }] })
}

/** All of it has come, once and in order. */
async function check (t: Test, session: number, from: TestNode, to: TestNode, texts: readonly string[]): Promise<void> {
  await to.until('all is there', () => to.texts.length >= texts.length && texts.every(text => to.retainedAs(`r/${text}`).length > 0))
  t.strictSame(to.texts, texts)
  t.strictSame((await fetchAll(from.store, session)).map(({ position }) => position), texts.map((_, i) => i))
}

t.test('nodes on a Redis Cluster of three primaries and three replicas', { buffered: true }, async t => {
  const cluster = await TestRedisCluster.start(t)
  const { nodes, first, second, session } = await start(t, cluster, cluster.connect())
  const queue = new TestQueue(session)
  const texts = ['before', 'moved', 'killed']

  await t.test('work as on a single one', async t => {
    await step(queue, first, second, 'before')
    await check(t, session, first, second, texts.slice(0, 1))
    t.strictSame((await first.beat()).dead, [])
    t.equal((await second.emitter.nodes()).length, 2)
  })

  await t.test('go on when a replica takes over', async t => {
    const { primary, replica } = await cluster.ownersOf(nodes.key('n'))
    t.equal(await replica.command('CLUSTER', 'FAILOVER'), 'OK')
    await step(queue, first, second, 'moved')
    await check(t, session, first, second, texts.slice(0, 2))
    await eventually('the former primary is the replica', async () => (await cluster.ownersOf(nodes.key('n'))).replica === primary)
  })

  await t.test('go on when the primary is killed', async t => {
    const { primary } = await cluster.ownersOf(nodes.key('n'))
    await eventually('the replica has everything', async () => String(await primary.command('INFO', 'replication')).includes('state=online'))
    t.equal(await primary.command('WAIT', 1, 5_000), 1)
    for (const { reaches } of [first, second]) t.ok(reaches.every((isReachable, i) => isReachable === (i % 2 === 1)) && reaches.length % 2 === 0, 'each change is told once, and it is over')
    for (const { reaches } of [first, second]) reaches.length = 0
    await primary.kill()
    const stepped = step(queue, first, second, 'killed')
    const beat = second.beat()
    for (const node of [first, second]) await node.until('it knows that nobody can be reached', () => node.reaches.includes(false))
    await Promise.all([stepped, beat])
    await check(t, session, first, second, texts)
    for (const { reaches } of [first, second]) t.strictSame(reaches, [false, true])
  })

  await t.test('move a Session, and leave nothing behind', async t => {
    t.equal((await second.import('c')).number, session)
    await first.until('it is told', () => first.inbox.some(({ kind }) => kind === 'evicted'))
    await second.commit({ sessions: new Map([[session, sessionRecord('c', { hasEnded: true })]]) }, { recovered: [session], settled: 3 })
    await second.remove(session)
    await second.clearRetained()
    await first.commit({}, { settled: 1 })
    await first.emitter.leave()
    await second.emitter.leave()
    t.strictSame(await nodes.left(), [])
  })
})

t.test('nodes on a Redis with Sentinel', { buffered: true }, async t => {
  const sentinel = await TestSentinel.start(t)
  const { first, second, session } = await start(t, sentinel, sentinel.options)
  const queue = new TestQueue(session)
  const texts = ['before', 'killed', 'after']
  await step(queue, first, second, 'before')
  await check(t, session, first, second, texts.slice(0, 1))
  await sentinel.kill()
  await step(queue, first, second, 'killed')
  await sentinel.failedOver()
  await check(t, session, first, second, texts.slice(0, 2))
  await step(queue, first, second, 'after')
  await check(t, session, first, second, texts)
  t.equal((await second.import('c')).number, session)
})
