import t from 'tap'
import fc from 'fast-check'
import { Cluster, Command, Redis } from 'ioredis'
import { ErrorCode, type SessionRecord, type Store } from '../lib/index.ts'
import { describe, remedyFor } from '../plugins/redis/link/errors.ts'
import { redisPersistence, type RedisOptions } from '../plugins/redis/index.ts'
import { ScriptCommand } from '../plugins/redis/link/script-command.ts'
import { testStore, type StoreHarness } from '../plugins/testing/index.ts'
import { contentsOf, fetchAll } from './contract/store/store-contents.ts'
import { alone, changesOf, messageOf, sessionRecord, subscriptionTo, TestQueue } from './contract/store/store-records.ts'
import { testClusterChanges } from './store-redis/cluster-changes.ts'
import { testAway, testFailover, testFence, testLostConnections, testRejections } from './store-redis/outages.ts'
import { command, fixedKeys, opened, server, withCode } from './store-redis/world.ts'
import { RedisServer } from './support/redis/redis-server.ts'

class RedisHarness implements StoreHarness {
  readonly #killed: Store[] = []

  create (): Store { return redisPersistence({ redis: server.url }) }

  restart (store: Store, isKilled: boolean): Store {
    if (isKilled) this.#killed.push(store)
    return this.create()
  }

  async dispose (store: Store): Promise<void> {
    for (const open of [store, ...this.#killed.splice(0)]) await open.close()
    await server.flush()
  }

  async countBodies (): Promise<number> {
    return (await server.keys()).filter(key => key.startsWith('{myelin}:b:')).length
  }
}

t.test('the store of Redis', t => {
  testStore((name, run) => t.test(name, run), new RedisHarness())
  t.end()
})

t.test('options', t => {
  const wrong: readonly (readonly [string, unknown])[] = [
    ['redis', undefined], ['redis', {}], ['redis', { redis: undefined }], ['redis', { redis: '127.0.0.1' }], ['redis', { redis: 'http://x' }], ['redis', { redis: 6379 }],
    ['redis', { redis: null }], ['prefix', { prefix: '' }], ['prefix', { prefix: 'a{b' }], ['prefix', { prefix: 5 }], ['leaseMs', { leaseMs: 10 }], ['leaseMs', { leaseMs: '8' }],
    ['leaseMs', { leaseMs: NaN }], ['commitDelayMs', { commitDelayMs: -1 }], ['commitDelayMs', { commitDelayMs: Infinity }],
  ]
  for (const [option, options] of wrong) {
    const given = option === 'redis' ? options : { redis: server.url, ...options as object }
    t.throws(() => redisPersistence(given as RedisOptions), withCode(ErrorCode.optionInvalid, new RegExp(`option "${option}"`)), `${option}: ${JSON.stringify(options)}`)
  }
  t.throws(() => redisPersistence({ redis: 'http://user:secret@x' }), { message: /^(?!.*secret)/ }, 'a password is not told')
  t.strictSame(redisPersistence({ redis: server.url, commitDelayMs: 3 }).commitDelayMs, 3)
  t.end()
})

t.test('an instance of the host is neither used nor closed', async t => {
  const host = new Redis(server.port, '127.0.0.1', { lazyConnect: true, keyPrefix: 'app:', replyMapping: 'resp3' })
  t.teardown(() => { host.disconnect() })
  const store = await opened(t, { redis: host, prefix: 'other' })
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
  t.strictSame([...(await contentsOf(store)).sessions.keys()], [1])
  t.equal(host.status, 'wait')
  t.ok((await server.keys()).every(key => key.startsWith('app:{other}:')), 'its settings are kept')
  await host.connect()
  store.close()
  t.equal(await host.ping(), 'PONG')
})

t.test('options of ioredis are taken as they are', async t => {
  const store = await opened(t, { redis: { host: '127.0.0.1', port: server.port, db: 3 } })
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
  t.match(await server.command('INFO', 'keyspace'), /db3:keys=/)
})

t.test('a cluster of Redis', async t => {
  const servers = await Promise.all([0, 1, 2].map(() => RedisServer.start({ settings: ['--cluster-enabled', 'yes'] })))
  t.teardown(async () => { await Promise.all(servers.map(server => server.stop())) })
  for (const [i, { connection }] of servers.entries()) {
    await connection.call('CLUSTER', 'ADDSLOTSRANGE', i * 5_461 + (i === 0 ? 0 : 1), i === 2 ? 16_383 : (i + 1) * 5_461)
    await connection.call('CLUSTER', 'SET-CONFIG-EPOCH', i + 1) // only one that knows no other yet can be told
  }
  for (const { connection, port } of servers) {
    for (const other of servers) if (other.port !== port) await connection.call('CLUSTER', 'MEET', '127.0.0.1', other.port)
  }
  for (const { connection } of servers) while (!(await connection.cluster('INFO')).includes('cluster_state:ok')) await connection.ping()
  const host = new Cluster(servers.map(({ port }) => ({ host: '127.0.0.1', port })), { lazyConnect: true })
  const store = await opened(t, { redis: host })
  const calls = async (): Promise<number[]> => Promise.all(servers.map(async ({ connection }) =>
    Number(/cmdstat_eval(?:sha)?:calls=(\d+)/.exec(await connection.info('commandstats'))?.[1] ?? 0)))
  const queue = new TestQueue(1)
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
  for (let i = 0; i < 20; i++) {
    if (i % 5 === 4) await Promise.all(servers.map(({ connection }) => connection.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')))
    await store.commit(changesOf({ enqueued: alone(queue.several(1)) }))
  }
  t.equal((await contentsOf(store)).sessions.get(1)?.deliveries.length, 20)
  t.equal((await calls()).filter(count => count > 0).length, 1, 'no command has to be sent on to another server')
  t.equal(host.status, 'wait')
})

t.test('opening', async t => {
  await t.test('fails where Redis cannot be reached, and says why', async t => {
    const gone = await RedisServer.start()
    await gone.stop()
    await t.rejects(async () => redisPersistence({ redis: gone.url }).open(), withCode(ErrorCode.storeFailed, /cannot be reached.*ECONNREFUSED/))
  })

  await t.test('fails where Redis wants a password', async t => {
    const locked = await RedisServer.start({ settings: ['--requirepass', 'secret'] })
    t.teardown(() => locked.stop())
    await t.rejects(async () => redisPersistence({ redis: locked.url }).open(), withCode(ErrorCode.storeFailed, /NOAUTH|authentication/i))
  })

  await t.test('fails for a layout of a newer version', async t => {
    t.teardown(() => server.flush())
    await command('HSET', 'v', 'schema', 99, 'createdBy', '9.9.9')
    await t.rejects(async () => redisPersistence({ redis: server.url }).open(), withCode(ErrorCode.storeTooNew, /9\.9\.9/))
  })

  await t.test('fails where Redis throws away what it likes', async t => {
    t.teardown(() => server.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction'))
    await server.command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    await t.rejects(async () => redisPersistence({ redis: server.url }).open(), withCode(ErrorCode.storeFailed, /noeviction/))
  })

  await t.test('is for one broker', async t => {
    const store = await opened(t)
    await t.rejects(store.open(), withCode(ErrorCode.storeInUse))
    store.close()
    await t.rejects(store.commit(changesOf({})), withCode(ErrorCode.storeFailed), 'and nothing is done when it is closed')
  })
})

t.test('a commit with 1,000 deliveries is one command', async t => {
  const store = await opened(t)
  const message = messageOf({ payload: Buffer.alloc(200) })
  const numbers = Array.from({ length: 1_000 }, (_, i) => i + 1)
  await store.commit(changesOf({ sessions: new Map(numbers.map(number => [number, sessionRecord(String(number))])) }))
  await server.command('CONFIG', 'RESETSTAT')
  await store.commit(changesOf({ enqueued: [{ message, deliveries: numbers.map(number => new TestQueue(number).next(message)) }] }))
  const stats = String(await server.command('INFO', 'commandstats'))
  t.match(stats, /cmdstat_evalsha:calls=1,/)
  t.notMatch(stats, /cmdstat_eval:/)
  t.equal((await contentsOf(store)).sessions.size, 1_000)
})

t.test('a script is called with the very bytes that ioredis would send', t => {
  const connection = new Redis({ lazyConnect: true, keyPrefix: 'host:' })
  const text = fc.oneof(fc.string({ unit: 'binary', maxLength: 100 }), fc.string({ minLength: 40, maxLength: 60 }))
  const argument = fc.oneof(text, fc.integer(), fc.uint8Array({ maxLength: 100 }).map(bytes => Buffer.from(bytes)))
  fc.assert(fc.property(fc.array(argument), args => {
    const usual = new Command('EVALSHA', ['hash', 1, '{myelin}:', ...args], { keyPrefix: 'host:' })
    const own = new ScriptCommand(connection, 'EVALSHA', 'hash', '{myelin}:', args)
    t.strictSame(own.getKeys(), usual.getKeys())
    return own.toWritable().equals(Buffer.from(usual.toWritable({})))
  }))
  connection.disconnect()
  t.end()
})

t.test('more than a command can take is taken in parts', async t => {
  const store = await opened(t)
  const deliveries = new TestQueue(1).several(5_000)
  for (const [i, delivery] of deliveries.slice(0, 3_000).entries()) delivery.packetIdentifier = i + 1
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone(deliveries) }))
  t.equal((await store.fetch(1, 0, Infinity, Infinity)).length, 5_000)
  t.equal((await store.claim(1)).inFlight.length, 3_000)
  t.equal((await store.fetch(1, 2_000, 1_000, Infinity)).at(-1)?.position, 2_999)
  await store.commit(changesOf({ removed: deliveries }))
  t.strictSame((await contentsOf(store)).sessions.get(1)?.deliveries, [])
})

t.test('large messages come by several calls, and all that a page may have', async t => {
  const store = await opened(t)
  const queue = new TestQueue(1)
  const deliveries = Array.from({ length: 8 }, () => queue.next(messageOf({ payload: Buffer.alloc(400_000) }), { packetIdentifier: 0 }))
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone(deliveries) }))
  const size = deliveries[0]?.message.size ?? 0
  for (const count of [1, 2, 3, 5, 8]) t.equal((await store.fetch(1, 0, 100, count * size)).length, count)
  t.equal((await store.fetch(1, 0, 100, 5 * size - 1)).length, 4)
  t.equal((await store.fetch(1, 0, 100, Infinity)).length, 8)
})

t.test('a gap in a queue is stepped over, however wide', async t => {
  const store = await opened(t)
  const queue = new TestQueue(1)
  const deliveries = queue.several(3_000)
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone(deliveries) }))
  await store.commit(changesOf({ removed: deliveries.slice(1, 2_990) }))
  t.strictSame((await fetchAll(store, 1)).map(({ position }) => position), [0, ...Array.from({ length: 10 }, (_, i) => 2_990 + i)])
  await store.commit(changesOf({ removed: deliveries.slice(0, 1) }))
  await contentsOf(store)
})

t.test('nothing is left when everything is removed, whatever it was called', async t => {
  const store = await opened(t)
  const names = ['a', '', '{}', '}{', '*', '[a-z]*', '\\', ':', 's:1', '{myelin}:n', '🦊', '\u0001', '__proto__', ' ', 'é'.repeat(20_000)]
  const records = new Map<number, SessionRecord>(names.map((name, i) => [i + 1, sessionRecord(name)]))
  const message = messageOf({ topicName: 'a' })
  const deliveries = [...records.keys()].map(number => new TestQueue(number).next(message, { packetIdentifier: 5 }))
  await store.commit(changesOf({
    sessions: records, enqueued: [{ message, deliveries }], retained: new Map(names.map(topicName => [topicName, messageOf({ topicName })])),
    subscriptions: [...records].map(([session, { clientIdentifier }]) => ({ session, topicFilter: clientIdentifier, subscription: subscriptionTo(clientIdentifier) })),
    received: [...records.keys()].map(session => ({ session, packetIdentifier: 7, isInUse: true })),
  }))
  const { sessions, retained } = await contentsOf(store)
  t.strictSame([...sessions.values()].map(({ record }) => record.clientIdentifier), names)
  t.equal(retained.length, names.length)
  await store.commit(changesOf({
    removed: deliveries, retained: new Map(names.map(name => [name, undefined])), sessions: new Map([...records.keys()].map(number => [number, undefined])),
  }))
  t.strictSame(await server.keys(), fixedKeys)
})

t.test('a Session that ends takes with it what is left of its queue', async t => {
  const store = await opened(t)
  const message = messageOf({})
  const deliveries = [1, 2].map(number => new TestQueue(number).next(message))
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')]]), enqueued: [{ message, deliveries }] }))
  await store.commit(changesOf({ sessions: new Map([[1, undefined]]) }))
  t.equal((await fetchAll(store, 2)).length, 1)
  await store.commit(changesOf({ sessions: new Map([[2, undefined]]) }))
  t.strictSame(await server.keys(), fixedKeys)
})

t.test('a Client Identifier stays with the Session that has it now', async t => {
  const store = await opened(t)
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a', { hasEnded: true })], [2, sessionRecord('a')]]) }))
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a', { hasEnded: true, isConnected: true })]]) }))
  await store.commit(changesOf({ sessions: new Map([[1, undefined]]) }))
  t.equal(await command('GET', 'c:a'), '2')
})

t.test('when Redis has no memory left', async t => {
  const full = await RedisServer.start()
  t.teardown(() => full.stop())
  const store = await opened(t, { redis: full.url })
  const [delivery, other] = new TestQueue(1).several(2) as [ReturnType<TestQueue['next']>, ReturnType<TestQueue['next']>]
  await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone([delivery]) }))
  const contents = await contentsOf(store)
  await full.command('CONFIG', 'SET', 'maxmemory', 1)
  const grows = changesOf({ sessions: new Map([[1, undefined], [2, sessionRecord('b')]]), enqueued: alone([other]), removed: [delivery] })
  await t.rejects(store.commit(grows), withCode(ErrorCode.storeFull, /maxmemory/))
  await t.rejects(store.commit(changesOf({ retained: new Map([['a', messageOf({})]]) })), withCode(ErrorCode.storeFull))
  t.strictSame(await contentsOf(store), contents, 'nothing of it was written')
  await store.commit(changesOf({ removed: [delivery], sessions: new Map([[1, sessionRecord('a', { isConnected: true })]]) }))
  t.strictSame((await contentsOf(store)).sessions.get(1)?.deliveries, [], 'what makes room is written')
  await full.command('CONFIG', 'SET', 'maxmemory', 0)
  await store.commit(changesOf({ enqueued: alone([other]) }))
  t.equal((await fetchAll(store, 1)).length, 1)
})

t.test('what Redis says of a command in a script is understood in the words of each version', t => {
  const replied = (message: string): Error => Object.assign(new Error(message), { name: 'ReplyError' })
  const before = (words: string): string[] => [words, `ERR Error running script (call to f_6b1b): @user_script:12: @user_script: 12: -${words}`, `@user_script: 12: -${words}`]
  for (const words of ['NOREPLICAS Not enough good replicas to write.', 'READONLY You can\'t write against a read only replica.']) {
    for (const text of before(words)) t.equal(remedyFor(replied(text)), 'wait', text)
  }
  for (const text of before('OOM command not allowed when used memory > \'maxmemory\'.')) t.match(describe(replied(text)), { code: ErrorCode.storeFull })
  t.equal(remedyFor(replied('ERR Error running script (call to f_6b1b): @user_script:12: attempt to index a nil value')), 'reject')
  t.end()
})

t.test('while Redis is away', testAway)
t.test('a connection that is lost in the middle', testLostConnections)
t.test('what Redis rejects is rejected, and what follows it is executed', testRejections)
t.test('writes that a failover has lost do not keep later ones from being written', testFailover)
t.test('a node that others took for dead', testFence)
t.test('what a commit tells other nodes', testClusterChanges)
