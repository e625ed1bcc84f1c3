import type { Test } from 'tap'
import { contentsOf } from '../contract/store/store-contents.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue } from '../contract/store/store-records.ts'
import { begin, command, fixedKeys, node, refusal, server, toOthers } from './world.ts'

export async function testClusterChanges (t: Test): Promise<void> {
  await t.test('is refused for Sessions that another node owns, and for moves that were not known', async t => {
    const store = await node(t)
    await store.commit(changesOf(begin('a', 'b', 'c')))
    await command('HSET', 's:2', 'o', '2')
    await command('DEL', 's:3')
    await command('HSET', 'n', 'moves', 4)
    const before = await server.keys()
    const sends = [{ generation: 2, bytes: Buffer.from('x') }]
    const deliveries = [1, 2, 3].map(number => new TestQueue(number).next(messageOf({})))
    await t.rejects(store.commit(changesOf({ enqueued: alone(deliveries), cluster: toOthers({ sends, moves: 4 }) })), refusal([2, 3], 4))
    await t.rejects(store.commit(changesOf({ enqueued: alone(deliveries.slice(0, 1)), cluster: toOthers({ sends, moves: 3 }) })), refusal([], 4))
    await t.rejects(store.commit(changesOf({ cluster: toOthers({ begun: [{ clientIdentifier: 'b', session: 9 }] }) })), refusal([9], 4))
    t.strictSame(await server.keys(), [...before, '{myelin}:refused'].sort())
    await t.rejects(store.commit(changesOf({ cluster: toOthers({ moves: 3 }) })), refusal([], 4), 'even if it has nothing else')
    await store.commit(changesOf({ enqueued: alone(deliveries.slice(0, 1)), cluster: toOthers({}) }))
    await store.commit(changesOf({ cluster: toOthers({ sends, moves: 4 }) }))
    await store.commit(changesOf({ cluster: toOthers({ sends }) }))
    t.equal(await command('XLEN', 'in:2'), 2)
  })

  await t.test('goes to the inboxes of those that are there, and into the log', async t => {
    const store = await node(t)
    const sends = [2, 3, 2].map((generation, i) => ({ generation, bytes: Buffer.from([i, 255]) }))
    const routes = new Map([['{a}/#', 1], ['*', undefined], ['🦊', 3]])
    await store.commit(changesOf({ retained: new Map([['t/🦊', messageOf({ topicName: 't/🦊' })]]), cluster: toOthers({ sends, routes }) }))
    await store.commit(changesOf({ retained: new Map([['t/🦊', undefined], ['none', undefined]]), cluster: toOthers({ routes: new Map([['🦊', undefined]]) }) }))
    t.equal(store.pipe.logEnd, 5)
    t.strictSame((await command('XRANGE', 'in:2', '-', '+') as [string][]).map(([id]) => id), ['1-0', '2-0'])
    t.equal(await command('EXISTS', 'in:3'), 0)
    t.strictSame(await command('HGETALL', 'w:1'), ['{a}/#', '1'])
    t.strictSame(await command('XRANGE', 'lg', '-', '+'), [
      ['1-0', ['k', 'retained', 'g', '1', 't', 't/🦊']], ['2-0', ['k', 'routes', 'g', '1', 'm', '0', '{a}/#', '1', '*', '', '🦊', '3']],
      ['3-0', ['k', 'retained', 'g', '1', 't', 't/🦊']], ['4-0', ['k', 'retained', 'g', '1', 't', 'none']],
      ['5-0', ['k', 'routes', 'g', '1', 'm', '0', '🦊', '']],
    ])
  })

  await t.test('routes are told in parts when there are many', async t => {
    const store = await node(t)
    await store.commit(changesOf({ cluster: toOthers({ routes: new Map(Array.from({ length: 2_500 }, (_, i) => [`f/${i}`, 1])) }) }))
    t.strictSame([await command('HLEN', 'w:1'), await command('XLEN', 'lg')], [2_500, 3])
  })

  await t.test('the inbox goes up to where it is settled, but for what Sessions need', async t => {
    const store = await node(t)
    const sends = Array.from({ length: 10 }, () => ({ generation: 1, bytes: Buffer.from('x') }))
    await store.commit(changesOf({ ...begin('a'), cluster: toOthers({ sends, begun: [{ clientIdentifier: 'a', session: 1 }] }) }))
    const left = async (): Promise<string[]> => (await command('XRANGE', 'in:1', '-', '+') as [string][]).map(([id]) => id)
    await store.commit(changesOf({ cluster: toOthers({ settled: 3 }) }))
    t.equal((await left())[0], '4-0')
    await command('ZADD', 'hold:1', 6, '1')
    await command('HSET', 's:1', 'm', '1,6,0,9')
    await store.commit(changesOf({ cluster: toOthers({ settled: 9 }) }))
    t.equal((await left())[0], '6-0')
    await store.commit(changesOf({ cluster: toOthers({ recovered: [1] }) }))
    t.strictSame(await left(), ['10-0'])
    t.equal(await command('EXISTS', 'hold:1'), 0)
  })

  await t.test('high-water marks only rise', async t => {
    const store = await node(t)
    const queue = new TestQueue(1)
    await store.commit(changesOf(begin('a')))
    t.equal(await command('HGET', 's:1', 'h'), '65535', 'what is in the inbox before a Session begins is not for it')
    for (const origin of [3 * 65_536 + 2, 2 * 65_536, 0]) {
      const message = messageOf({})
      message.origin = origin
      await store.commit(changesOf({ enqueued: alone([queue.next(message)]) }))
      t.equal(await command('HGET', 's:1', 'h'), String(3 * 65_536 + 2))
    }
  })

  await t.test('Client Identifiers come and go; nothing is left', async t => {
    const store = await node(t)
    await store.commit(changesOf({ cluster: toOthers({ begun: [{ clientIdentifier: 'a', session: 1 }, { clientIdentifier: 'b', session: 2 }], presence: new Map([['a', true], ['b', true]]) }) }))
    t.strictSame([await command('GET', 'c:a'), (await command('SMEMBERS', 'on:1') as string[]).sort()], ['1', ['a', 'b']])
    await store.commit(changesOf({ sessions: new Map([[2, sessionRecord('b')]]), cluster: toOthers({ presence: new Map([['a', false]]) }) }))
    const released = [{ clientIdentifier: 'a', session: 1 }, { clientIdentifier: 'b', session: 2 }, { clientIdentifier: 'x', session: 99 }]
    await store.commit(changesOf({ cluster: toOthers({ released, begun: [{ clientIdentifier: 'a', session: 3 }] }) }))
    t.strictSame([await command('GET', 'c:a'), await command('GET', 'c:b'), await command('HGET', 's:2', 'd'), await command('EXISTS', 's:1')], ['3', null, '1', 0])
    await store.commit(changesOf({ sessions: new Map([[2, undefined]]), cluster: toOthers({ released: [{ clientIdentifier: 'a', session: 3 }], presence: new Map([['b', false]]) }) }))
    t.strictSame(await server.keys(), [...fixedKeys, '{myelin}:nodes', '{myelin}:pr'].sort())
    const told = (await command('XRANGE', 'pr', '-', '+') as [string, string[]][]).map(([, fields]) => fields)
    t.strictSame(told, [['a', '1'], ['b', '1'], ['a', '0'], ['b', '0']].map(([name, isOnline]) => ['c', name, 'g', '1', 'o', isOnline]), 'each is told once')
  })

  await t.test('a retained message that has expired goes, unless it was replaced', async t => {
    const store = await node(t)
    const retain = (expiresAt?: number): Promise<void> => store.commit(changesOf({
      retained: new Map(['a', 'b'].map(topicName => [topicName, messageOf({ topicName, retain: true, ...(expiresAt === undefined ? {} : { expiresAt }) })])),
      cluster: toOthers({}),
    }))
    const left = async (): Promise<string[]> => (await contentsOf(store)).retained.map(({ topicName }) => topicName)
    const expire = (topicName: string, expiresAt: number): Promise<void> => store.commit(changesOf({ cluster: toOthers({ expired: new Map([[topicName, expiresAt]]) }) }))
    await retain(1_700_000_000_000.5)
    for (const time of [1_700_000_000_000, 1_700_000_000_001]) await expire('a', time)
    t.strictSame(await left(), ['a', 'b'])
    await expire('a', 1_700_000_000_000.5)
    t.strictSame(await left(), ['b'])
    t.equal(store.pipe.logEnd, 3)
    await retain()
    for (const topicName of ['a', 'b', 'c']) await expire(topicName, 1_700_000_000_000.5)
    t.strictSame(await left(), ['a', 'b'])
    t.strictSame((await server.keys()).filter(key => key.includes(':rx:')), [])
  })

  await t.test('how many bytes wait in an inbox is known to those that send', async t => {
    const store = await node(t)
    const send = (generation: number, length: number): Promise<void> => store.commit(changesOf({ cluster: toOthers({ sends: [{ generation, bytes: Buffer.alloc(length) }] }) }))
    t.equal(store.backlogOf(1), 0)
    for (const length of [100, 50]) await send(1, length)
    await send(9, 100)
    t.strictSame([1, 2, 9].map(generation => store.backlogOf(generation)), [150, 0, 0])
    await command('HSET', 'inp', '1', 42)
    for (let i = 3; i <= 42; i++) await command('XADD', 'in:1', `${i}-0`, 'e', 'a', 's', 1)
    await store.commit(changesOf({ cluster: toOthers({ settled: 1 }) }))
    await send(1, 5)
    t.equal(store.backlogOf(1), 55)
    await store.commit(changesOf({ cluster: toOthers({ settled: 42 }) }))
    await send(1, 5)
    t.equal(store.backlogOf(1), 10)
    await store.commit(changesOf({ cluster: toOthers({ settled: 44 }) }))
    await send(1, 1)
    t.equal(store.backlogOf(1), 1)
  })

  await t.test('a node that has nothing to tell finds out where the log ends', async t => {
    const store = await node(t)
    await command('HSET', 'n', 'log', '7')
    await store.commit(changesOf({ cluster: toOthers({}) }))
    t.equal(store.pipe.logEnd, 7)
    t.equal((await contentsOf(store)).sessions.size, 0, 'Sessions come by claims')
  })
}
