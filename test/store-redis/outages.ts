import assert from 'node:assert/strict'
import type { Test } from 'tap'
import { ErrorCode } from '../../lib/index.ts'
import { numberedScript } from '../../plugins/redis/link/script.ts'
import { contentsOf, fetchAll } from '../contract/store/store-contents.ts'
import { StoreModel } from '../contract/store/store-model.ts'
import { alone, changesOf, sessionRecord, TestQueue } from '../contract/store/store-records.ts'
import { RedisProxy } from '../support/redis/redis-proxy.ts'
import { RedisServer } from '../support/redis/redis-server.ts'
import { begin, command, node, opened, refusal, server, toOthers, withCode } from './world.ts'

const pushText = `
if repeated then return 0 end
advance()
return redis.call('RPUSH', P .. 'list', ARGV[3])
`
const push = numberedScript(pushText)
const pushAgain = numberedScript(`${pushText} -- another one`)

export async function testAway (t: Test): Promise<void> {
  const away = await RedisServer.start({ appendOnly: true, settings: ['--appendfsync', 'always'] })
  t.teardown(() => away.stop())
  const store = await opened(t, { redis: away.url })
  const told: boolean[] = []
  let tell = (): void => undefined
  store.pipe.watcher = { fenced: () => undefined, reachable: isReachable => { told.push(isReachable); tell() } }
  const queue = new TestQueue(1)
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone(queue.several(1)) }))

  await t.test('commits and reads wait, and are done when it is back', async t => {
    const gone = new Promise<void>(resolve => { tell = resolve })
    await away.kill()
    await gone
    let isSettled = false
    const committed = store.commit(changesOf({ enqueued: alone(queue.several(1)) })).finally(() => { isSettled = true })
    const fetched = store.fetch(1, 0, 10, Infinity)
    await store.link.connection.ping().catch(() => undefined)
    t.notOk(isSettled)
    await away.run()
    await committed
    t.ok((await fetched).length >= 1)
    t.equal((await fetchAll(store, 1)).length, 2)
    t.strictSame(told, [false, true])
  })

  await t.test('scripts that it has forgotten are told again', async t => {
    await away.command('SCRIPT', 'FLUSH')
    await store.commit(changesOf({ enqueued: alone(queue.several(1)) }))
    t.equal((await fetchAll(store, 1)).length, 3)
  })

  await t.test('what may not be written now waits', async t => {
    await away.command('CONFIG', 'SET', 'min-replicas-to-write', 1)
    let isSettled = false
    const committed = store.commit(changesOf({ enqueued: alone(queue.several(1)) })).finally(() => { isSettled = true })
    for (let failures = 0; failures < 2;) {
      failures = Number(/errorstat_NOREPLICAS:count=(\d+)/.exec(String(await away.command('INFO', 'errorstats')))?.[1] ?? 0)
    }
    t.notOk(isSettled)
    await away.command('CONFIG', 'SET', 'min-replicas-to-write', 0)
    await committed
    t.equal((await fetchAll(store, 1)).length, 4)
  })

  await t.test('closing rejects what waits', async t => {
    const gone = new Promise<void>(resolve => { tell = resolve })
    await away.kill()
    await gone
    const waiting = [store.commit(changesOf({ enqueued: alone(queue.several(1)) })), store.fetch(1, 0, 1, Infinity)]
    store.close()
    for (const promise of waiting) await t.rejects(async () => { await promise }, withCode(ErrorCode.storeFailed, /closed/))
  })
}

export async function testLostConnections (t: Test): Promise<void> {
  await t.test('leaves each commit executed once, in their order', async t => {
    const proxy = await RedisProxy.start(server.port)
    t.teardown(() => { proxy.close() })
    const store = await node(t, { redis: proxy.url })
    for (let i = 0; i < 12; i++) {
      if (i % 3 < 2) proxy.cutNext(i % 3 === 0 ? 'before' : 'after')
      await store.commit(changesOf({ cluster: toOthers({ sends: [{ generation: 2, bytes: Buffer.from(String(i)) }], moves: 0 }) }))
    }
    t.equal(proxy.cuts, 8)
    const entries = await command('XRANGE', 'in:2', '-', '+') as [string, string[]][]
    t.strictSame(entries.map(([id, fields]) => [id, fields[1]]), Array.from({ length: 12 }, (_, i) => [`${i + 1}-0`, String(i)]))
    t.equal(await command('HGET', 'last', '1'), '12')
  })

  await t.test('and what followed it on its way, too', async t => {
    const proxy = await RedisProxy.start(server.port)
    t.teardown(() => { proxy.close() })
    const store = await node(t, { redis: proxy.url })
    for (const when of ['before', 'after', 'after', 'before'] as const) {
      proxy.cutNext(when)
      await Promise.all(Array.from({ length: 5 }, (_, i) => store.pipe.run(push, [`${when} ${i}`])))
    }
    t.strictSame(await command('LRANGE', 'list', 0, -1), ['before', 'after', 'after', 'before'].flatMap(when => [0, 1, 2, 3, 4].map(i => `${when} ${i}`)))
  })

  await t.test('does not turn a refusal into a success, whatever was executed after it', async t => {
    const proxy = await RedisProxy.start(server.port)
    t.teardown(() => { proxy.close() })
    const store = await node(t, { redis: proxy.url })
    await store.commit(changesOf(begin('a', 'b')))
    await command('HSET', 's:2', 'o', '2')
    proxy.cutNext('after')
    const refused = store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')]]) }))
    const after = store.pipe.run(push, ['x'])
    await t.rejects(refused, refusal([2], 0))
    await after
    t.equal(proxy.cuts, 1)
  })

  await t.test('nor does it change anything of what is stored', async t => {
    const proxy = await RedisProxy.start(server.port)
    t.teardown(() => { proxy.close() })
    const store = await opened(t, { redis: proxy.url })
    const model = new StoreModel(4, 1)
    for (let step = 0; step < 24; step++) {
      if (step % 2 === 0) proxy.cutNext(step % 4 === 0 ? 'before' : 'after')
      await store.commit(model.step())
    }
    t.equal(proxy.cuts, 12)
    assert.deepEqual(await contentsOf(store), model.contents)
  })

  await t.test('nor does a script that has to be told again let others overtake it', async t => {
    const store = await node(t)
    await store.pipe.run(push, ['a'])
    await store.pipe.run(pushAgain, ['b'])
    await server.command('SCRIPT', 'FLUSH')
    await server.command('SCRIPT', 'LOAD', pushAgain.lua)
    await Promise.all([store.pipe.run(push, ['c']), store.pipe.run(pushAgain, ['d']), store.pipe.run(push, ['e'])])
    t.strictSame(await command('LRANGE', 'list', 0, -1), ['a', 'b', 'c', 'd', 'e'])
  })

  await t.test('nor does it matter who cuts it', async t => {
    const store = await node(t)
    const commits = Array.from({ length: 10 }, (_, i) => store.pipe.run(push, [i]))
    await server.command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    await Promise.all(commits)
    t.strictSame(await command('LRANGE', 'list', 0, -1), Array.from({ length: 10 }, (_, i) => String(i)))
  })
}

export async function testRejections (t: Test): Promise<void> {
  const store = await node(t)
  await command('SET', 'list', 'not one')
  const failed = store.pipe.run(push, [1])
  await t.rejects(failed, withCode(ErrorCode.storeFailed, /WRONGTYPE/))
  await command('DEL', 'list')
  const fails = numberedScript('return redis.error_reply("MISCONF no disk")')
  const answers = [store.pipe.run(push, ['a']), store.pipe.run(fails, []), store.pipe.run(push, ['b']), store.pipe.run(fails, []), store.pipe.run(push, ['c'])]
  t.strictSame((await Promise.allSettled(answers)).map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'])
  t.strictSame(await command('LRANGE', 'list', 0, -1), ['a', 'b', 'c'])
}

export async function testFailover (t: Test): Promise<void> {
  const store = await node(t)
  for (const i of [1, 2, 3]) await store.pipe.run(push, [i])
  await command('HSET', 'last', '1', 1)
  await store.pipe.run(push, [4])
  t.equal(await command('HGET', 'last', '1'), '2')
}

export async function testFence (t: Test): Promise<void> {
  const store = await node(t)
  let fenced = 0
  store.pipe.watcher = { fenced: () => { fenced++ }, reachable: () => undefined }
  await command('HDEL', 'last', '1')
  const commits = [store.pipe.run(push, [1]), store.pipe.run(push, [2]), store.commit(changesOf(begin('a')))]
  for (const commit of commits) await t.rejects(commit, withCode(ErrorCode.storeFailed, /dead/))
  await t.rejects(store.pipe.run(push, [3]), withCode(ErrorCode.storeFailed))
  t.equal(fenced, 1)
  store.pipe.begin(2)
  await store.pipe.run(push, [4])
  t.strictSame(await command('LRANGE', 'list', 0, -1), ['4'])
}
