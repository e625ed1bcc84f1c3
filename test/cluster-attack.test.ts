import { inspect } from 'node:util'
import t from 'tap'
import { createBroker, ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { redisCluster } from '../plugins/redis/index.ts'
import { beatScript } from '../plugins/redis/scripts/beat.lua.ts'
import { commitScript } from '../plugins/redis/scripts/commit.lua.ts'
import { TestCluster } from './support/cluster/cluster.ts'
import { connectPacket, PacketClient } from './support/harness.ts'
import { MemoryLogger } from './support/observe.ts'
import { startRedis } from './support/redis/redis-server.ts'

t.test('a call that is repeated when later ones were executed has those not executed again', async t => {
  const redis = await startRedis(t)
  const broker = await createBroker(redisCluster({ redis: redis.url }))
  t.teardown(() => broker.close())
  const generation = 1_000 // of nobody else
  await redis.command('HSET', '{myelin}:last', generation, 0)
  const beat = async (): Promise<unknown> => redis.command('EVAL', beatScript.lua, 1, '{myelin}:', generation, 1, 8_000, '{}')
  const send = async (): Promise<unknown> =>
    redis.command('EVAL', commitScript.lua, 1, '{myelin}:', generation, 2, '1', '', 0, 0, 0, 'send', broker.cluster?.generation ?? 0, Buffer.alloc(0))
  for (const ask of [beat, send, beat, send]) await ask() // the answers to the first two were lost
  t.equal(await redis.command('HGET', '{myelin}:inp', broker.cluster?.generation ?? 0), '1', 'one frame was sent')
  for (const key of ['last', 'nodes']) await redis.command('HDEL', `{myelin}:${key}`, generation)
  await redis.command('ZREM', '{myelin}:hb', generation)
})

t.test('passwords and messages are told to nobody', async t => {
  const redis = await startRedis(t, { settings: ['--requirepass', 'right'] })
  const told = async (given: Parameters<typeof redisCluster>[0]['redis']): Promise<string> => {
    try {
      await createBroker({ ...redisCluster({ redis: given }) })
      return 'started'
    } catch (error) { return inspect(error, { depth: 20, showHidden: true }) }
  }
  const place = `127.0.0.1:${redis.port}`
  for (const given of [{ host: '127.0.0.1', port: redis.port, password: 'WRONG' }, `redis://u:WRONG@${place}`, `redis://u:WRONG/x@${place}`, `http://u:x:WRONG@${place}`, `redis://u:x@WRONG@${place}x`]) {
    const text = await told(given)
    t.match(text, /^MqttError/)
    t.notMatch(text, /WRONG(?!PASS)/, inspect(given))
  }
})

t.test('what a commit had in it is not told when Redis refuses it', async t => {
  const redis = await startRedis(t)
  const logger = new MemoryLogger()
  const broker = await createBroker({ ...redisCluster({ redis: redis.url }), logger, closeTimeoutMs: 0 })
  t.teardown(() => broker.close())
  for (let i = 0; i < 256; i++) await redis.command('SET', `{myelin}:ret:${i}`, 'of another type')
  await t.rejects(broker.publish('topic', 'SECRET', { qos: 1, retain: true }), { message: /WRONGTYPE/ })
  t.notMatch(inspect(logger.lines, { depth: 20, showHidden: true }), /SECRET|EVAL/)
  await redis.flush()
})

t.test('a Client that comes back while its former connection ends is known to the cluster: one connection for each Client Identifier', async t => {
  for (const expiry of [0, 3600]) {
    const cluster = await TestCluster.start(t, 2)
    const [first] = await cluster.connect(0, 'c')
    const { node } = cluster.at(0)
    node.requests.hold()
    const second = new PacketClient(cluster.at(0).broker, 5)
    second.settle = async () => cluster.settle()
    second.send(connectPacket({ clientIdentifier: 'c', cleanStart: false, properties: { sessionExpiryInterval: expiry } }))
    await cluster.settle() // it asks for its Client Identifier
    node.requests.step() // granted
    node.answers.hold()
    node.requests.step()
    await first.vanish()
    await cluster.settle() // the former Session ends, and that is committed after the claim
    node.answers.release()
    node.requests.release()
    await cluster.settle()
    const [connack, ...more] = await second.take()
    t.equal(connack?.type, PacketType.connack)
    t.same(more, [], `expiry ${expiry}: stays`)
    await second.subscribe('a', { qos: 1 })
    await cluster.pass(1_000)
    t.equal(second.isEnded, false, `expiry ${expiry}: not sent away`)
    const [third] = await cluster.connect(1, 'c', { cleanStart: false, properties: { sessionExpiryInterval: 100 } })
    await cluster.settle()
    t.equal(second.isEnded, true, `expiry ${expiry}: the connection at the other node was told to end`)
    await third.disconnect(ReasonCode.success, { sessionExpiryInterval: 0 }).take()
    await cluster.pass(1_000)
    t.same(cluster.hub.state.left.filter(line => /session|client/.test(line)), [])
  }
})

t.test('broker.request is answered by another node', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [responder] = await cluster.connect(1, 'r')
  await responder.subscribe('q', { qos: 1 })
  const answer = cluster.at(0).broker.request('q', 'x', { qos: 1 })
  await cluster.settle()
  const [request] = await responder.messages()
  responder.publish(request?.properties?.responseTopic ?? '', 'y', { qos: 1, packetIdentifier: 1, properties: { correlationData: request?.properties?.correlationData as Buffer } })
  await cluster.settle()
  t.equal((await answer).payload.toString(), 'y')
})

const odd = ['{a}:*[x]\\', 'c:s:1', '😀 {myelin}:n', '*', '?', '$', "'; --", 'ü\u{10FFFF}']

t.test('odd Client Identifiers and Topic Names', async t => {
  const cluster = await TestCluster.start(t, 2)
  for (const name of odd) {
    const [first] = await cluster.durable(0, name)
    const topic = name.replaceAll('+', '').replaceAll('#', '')
    await first.subscribe(`x/${topic}`, { qos: 1 })
    await first.vanish()
    const [p] = await cluster.connect(1, 'p')
    p.publish(`x/${topic}`, 'm', { qos: 1, packetIdentifier: 1, retain: true })
    await cluster.settle()
    const [second, connack] = await cluster.durable(1, name)
    t.equal(connack.sessionPresent, true)
    t.same(await second.payloads(), ['m'])
  }
})

t.test('everything of a message survives frames', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [s] = await cluster.connect(1, 's')
  await s.subscribe('a/+', { qos: 1, retainAsPublished: true }, { subscriptionIdentifiers: [7] })
  await s.subscribe('a/#', { qos: 2 }, { subscriptionIdentifiers: [9] })
  const [p] = await cluster.connect(0, 'p')
  const properties = { payloadFormatIndicator: 1 as const, contentType: 'text/ü', responseTopic: 'r', correlationData: Buffer.from([0, 1, 255]), userProperties: [['a', 'b'], ['a', 'c'], ['', '']] as [string, string][], messageExpiryInterval: 100 }
  p.publish('a/b', 'x', { qos: 2, packetIdentifier: 1, retain: true, properties })
  await cluster.settle()
  const [m] = await s.messages()
  t.same({ qos: m?.qos, retain: m?.retain, ids: [...m?.properties?.subscriptionIdentifiers ?? []].sort() }, { qos: 2, retain: true, ids: [7, 9] })
  t.match(m?.properties, { ...properties, messageExpiryInterval: 100 })
  const [old] = await cluster.connect(1, 'old', { protocolVersion: 4 })
  await old.subscribe('a/b', { qos: 1 })
  await cluster.settle()
  t.same(await old.payloads(), ['x'])
  t.same(await s.payloads(), [])
})

t.test('Message Expiry: what is left of it is sent at the new node', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [s] = await cluster.durable(1, 's')
  await s.subscribe('a', { qos: 1 })
  await s.vanish()
  const [p] = await cluster.connect(0, 'p')
  p.publish('a', 'gone', { qos: 1, packetIdentifier: 1, properties: { messageExpiryInterval: 10 } })
  p.publish('a', 'x', { qos: 1, packetIdentifier: 2, properties: { messageExpiryInterval: 100 } })
  await cluster.settle()
  await cluster.pass(30_000)
  const [again] = await cluster.durable(0, 's')
  const messages = await again.messages()
  t.same(messages.map(m => [m.payload.toString(), m.properties?.messageExpiryInterval]), [['x', 70]])
})

t.test('two nodes that retain for the same topic at the same time agree', async t => {
  const cluster = await TestCluster.start(t, 3)
  const [p] = await cluster.connect(0, 'p')
  const [q] = await cluster.connect(1, 'q')
  for (let round = 0; round < 20; round++) {
    for (let i = 0; i < 3; i++) {
      p.publish('r', i === 1 ? '' : `p${round} ${i}`, { qos: (round % 2) as 0, packetIdentifier: 10 + i, retain: true })
      q.publish('r', i === 2 && round % 3 === 0 ? '' : `q${round} ${i}`, { qos: (round % 2) as 0, packetIdentifier: 10 + i, retain: true })
      if (round % 4 === 0) await new Promise(resolve => { setImmediate(resolve) })
    }
    await cluster.settle()
    const seen = []
    for (const i of [0, 1, 2]) {
      const [s] = await cluster.connect(i, `s${i}`)
      await s.subscribe('r')
      await cluster.settle()
      seen.push((await s.payloads()).join())
    }
    seen.push(cluster.hub.state.retained.get('r')?.payload.toString() ?? '')
    t.equal(new Set(seen).size, 1, seen.join(' | '))
  }
})

t.test('No Local holds for what a Client published before it moved', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 'c')
  await first.subscribe('a', { qos: 1, noLocal: true })
  cluster.at(0).node.requests.hold()
  first.publish('a', 'own', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  const opening = cluster.durable(1, 'c')
  await cluster.settle()
  cluster.at(0).node.requests.release()
  const [second] = await opening
  second.publish('a', 'own 2', { qos: 1, packetIdentifier: 1 })
  await cluster.pass(1_000)
  t.same(await second.payloads(), [])
})

t.test('$share: unacknowledged messages of a member that leaves go to a member of another node', async t => {
  const cluster = await TestCluster.start(t, 3)
  const [m1] = await cluster.connect(1, 'm1')
  await m1.subscribe('$share/g/a', { qos: 1 })
  const [p] = await cluster.connect(0, 'p')
  for (let i = 1; i <= 10; i++) p.publish('a', String(i), { qos: 1, packetIdentifier: i })
  await cluster.pass(1_000)
  const [m2] = await cluster.connect(2, 'm2')
  await m2.subscribe('$share/g/a', { qos: 1 })
  m1.disconnect()
  await cluster.pass(1_000)
  t.equal((await m2.payloads()).length, 10)
})

t.test('$share: a group with members only at a node that dies, and that come back elsewhere', async t => {
  const cluster = await TestCluster.start(t, 3)
  const [m1] = await cluster.durable(1, 'm1')
  await m1.subscribe('$share/g/a', { qos: 1 })
  const [p] = await cluster.connect(0, 'p')
  cluster.kill(1)
  for (let i = 1; i <= 10; i++) p.publish('a', String(i), { qos: 1, packetIdentifier: i })
  await cluster.settle()
  t.equal((await p.takeType(PacketType.puback)).length, 10)
  const [again] = await cluster.durable(2, 'm1')
  await cluster.pass(30_000)
  t.equal(new Set(await again.payloads()).size, 10)
})

t.test('Wills: due once, at the time, wherever', async t => {
  const will = (delay: number): { will: { topicName: string, payload: Buffer, qos: 1, retain: boolean, properties: { willDelayInterval: number } } } =>
    ({ will: { topicName: 'will', payload: Buffer.from('w'), qos: 1, retain: false, properties: { willDelayInterval: delay } } })
  const cases: [string, number, (c: TestCluster, a: PacketClient) => Promise<void>, number][] = [
    ['takeover elsewhere, no delay', 0, async c => { await c.durable(1, 'c') }, 1],
    ['takeover elsewhere, delay', 10, async c => { await c.durable(1, 'c') }, 0],
    ['clean start elsewhere, delay', 10, async c => { await c.connect(1, 'c') }, 1],
    ['DISCONNECT 0, back elsewhere', 10, async (c, a) => { await a.disconnect().take(); await c.durable(1, 'c') }, 0],
    ['DISCONNECT 4, delay over', 10, async (c, a) => { await a.disconnect(ReasonCode.disconnectWithWillMessage).take(); await c.settle(); await c.pass(15_000) }, 1],
    ['DISCONNECT 4, back elsewhere', 10, async (c, a) => { await a.disconnect(ReasonCode.disconnectWithWillMessage).take(); await c.settle(); await c.durable(1, 'c') }, 0],
    ['node dies, back elsewhere in time', 20, async c => { c.kill(0); await c.pass(5_000); await c.durable(1, 'c') }, 0],
    ['node dies, back elsewhere after adoption, in time', 40, async c => { c.kill(0); await c.pass(20_000); await c.durable(1, 'c') }, 0],
    ['node dies, nobody back', 2, c => { c.kill(0); return Promise.resolve() }, 1],
    ['node dies, clean start elsewhere', 100, async c => { c.kill(0); await c.connect(1, 'c') }, 1],
    ['vanished, its node dies', 20, async (c, a) => { await a.vanish(); await c.settle(); c.kill(0); await c.pass(15_000) }, 1],
    ['vanished, its node closes', 20, async (c, a) => { await a.vanish(); await c.settle(); const closing = c.at(0).broker.close(); await c.pass(3_000); await closing }, 1],
    ['moved with a new will, and vanished', 0, async c => { const [b] = await c.durable(1, 'c', will(0)); await b.vanish() }, 2],
  ]
  for (const [name, delay, run, expected] of cases) {
    for (const expiry of [3600]) {
      const cluster = await TestCluster.start(t, 3)
      const [watcher] = await cluster.connect(2, 'w')
      await watcher.subscribe('will', { qos: 1 })
      const [a] = await cluster.durable(0, 'c', { properties: { sessionExpiryInterval: expiry }, ...will(delay) })
      await run(cluster, a)
      await cluster.pass(60_000)
      t.equal((await watcher.payloads()).length, expected, name)
    }
  }
})

t.test('Session Expiry holds across nodes, and nothing is left', async t => {
  const cases: [string, (c: TestCluster, a: PacketClient) => Promise<void>][] = [
    ['its node dies', c => { c.kill(0); return Promise.resolve() }],
    ['vanished, its node dies', async (c, a) => { await a.vanish(); await c.settle(); c.kill(0) }],
    ['moved, vanished', async c => { const [b] = await c.durable(1, 'c', { properties: { sessionExpiryInterval: 30 } }); await b.vanish() }],
    ['clean start elsewhere', async c => { const [b] = await c.connect(1, 'c'); b.disconnect() }],
    ['ended by DISCONNECT at another node', async c => { const [b] = await c.durable(1, 'c', { properties: { sessionExpiryInterval: 30 } }); b.disconnect(ReasonCode.success, { sessionExpiryInterval: 0 }) }],
    ['its node closes', async c => { const closing = c.at(0).broker.close(); await c.pass(3_000); await closing }],
  ]
  for (const [name, run] of cases) {
    const cluster = await TestCluster.start(t, 3)
    const [a] = await cluster.durable(0, 'c', { properties: { sessionExpiryInterval: 30 } })
    await a.subscribe('a', { qos: 2 })
    const [p] = await cluster.connect(2, 'p')
    for (let i = 1; i < 5; i++) p.publish('a', String(i), { qos: (i % 2 + 1) as 1, packetIdentifier: i })
    await cluster.pass(1_000)
    await run(cluster, a)
    for (let i = 5; i < 10; i++) p.publish('a', String(i), { qos: (i % 2 + 1) as 1, packetIdentifier: i })
    await cluster.pass(15_000)
    p.disconnect()
    await cluster.pass(60_000)
    t.same(cluster.hub.state.left.filter(line => !line.startsWith('node') && !line.includes('0 entries, 0 holds')), [], name)
  }
})
t.test('hooks: subscriptions that came with a Session are authorized at the new node', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 'c')
  await first.subscribe('ok', { qos: 1 })
  await first.subscribe('no', { qos: 1 })
  await first.vanish()
  const [p] = await cluster.connect(0, 'p')
  p.publish('ok', 'ok', { qos: 1, packetIdentifier: 1 }).publish('no', 'no', { qos: 1, packetIdentifier: 2 })
  await cluster.settle()
  cluster.at(1).broker.hook({ authorizeSubscribe: ({ topicFilter }) => topicFilter === 'ok' })
  const [second] = await cluster.durable(1, 'c')
  p.publish('ok', 'ok2', { qos: 1, packetIdentifier: 3 }).publish('no', 'no2', { qos: 1, packetIdentifier: 4 })
  await cluster.settle()
  t.same(await second.payloads(), ['ok', 'ok2'])
})

t.test('hooks: authorizeDeliver at the node that delivers, for stored ones too', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 'c')
  await first.subscribe('#', { qos: 1 })
  await first.vanish()
  const [p] = await cluster.connect(0, 'p')
  p.publish('ok', 'ok', { qos: 1, packetIdentifier: 1 }).publish('no', 'no', { qos: 1, packetIdentifier: 2 })
  await cluster.settle()
  cluster.at(1).broker.hook({ authorizeDeliver: ({ message }) => message.topicName === 'ok' })
  const [second] = await cluster.durable(1, 'c')
  p.publish('ok', 'ok2', { qos: 1, packetIdentifier: 3 }).publish('no', 'no2', { qos: 1, packetIdentifier: 4 })
  await cluster.settle()
  t.same(await second.payloads(), ['ok', 'ok2'])
})

t.test('hooks: remainder of a dead node is asked about', async t => {
  const cluster = await TestCluster.start(t, 2)
  const [first] = await cluster.durable(0, 'c')
  await first.subscribe('#', { qos: 1 })
  cluster.kill(0)
  const [p] = await cluster.connect(1, 'p')
  p.publish('ok', 'ok', { qos: 1, packetIdentifier: 1 }).publish('no', 'no', { qos: 1, packetIdentifier: 2 })
  await cluster.settle()
  cluster.at(1).broker.hook({ authorizeDeliver: ({ message }) => message.topicName === 'ok' })
  const [second] = await cluster.durable(1, 'c')
  t.same(await second.payloads(), ['ok'])
})

t.test('$SYS stays where it is', async t => {
  const cluster = await TestCluster.start(t, 2, { sysIntervalMs: 1_000 })
  const [s] = await cluster.connect(0, 's')
  await s.subscribe('$SYS/#')
  await s.subscribe('#')
  await cluster.pass(5_000)
  const topics = (await s.messages()).map(({ topic, retain }) => `${topic.name} ${retain}`)
  t.ok(topics.some(name => name.startsWith('$SYS/cluster/nodes/count')))
  t.same(cluster.hub.state.left.filter(line => line.includes('SYS')), [])
  t.same([...cluster.hub.state.inboxes.values()].map(({ entries }) => entries.filter(e => e.kind === 'frame' && e.bytes.includes('SYS')).length), [0, 0])
})

t.test('broker.subscribe and broker.publish across nodes, while a node is fenced and comes back', async t => {
  const cluster = await TestCluster.start(t, 2)
  const got: string[] = []
  cluster.at(0).broker.subscribe('a/#', message => { got.push(message.payload.toString()) }, { qos: 1 })
  await cluster.settle()
  await Promise.all([cluster.at(1).broker.publish('a/b', '1', { qos: 1 }), cluster.settle()])
  cluster.at(0).node.cut()
  await cluster.pass(30_000)
  cluster.at(0).node.mend()
  await cluster.pass(5_000)
  await Promise.all([cluster.at(1).broker.publish('a/b', '2', { qos: 1 }), cluster.settle()])
  t.same(got, ['1', '2'])
})

t.test('a Client that is asked about by a slow hook while its node is fenced is let in all the same, or refused', async t => {
  let go = (): void => undefined
  const cluster = await TestCluster.start(t, 2)
  cluster.at(0).broker.hook({ authorizeSubscribe: async () => { await new Promise<void>(resolve => { go = resolve }); return true } })
  const [first] = await cluster.durable(1, 'c')
  await first.subscribe('a', { qos: 1 })
  const second = new PacketClient(cluster.at(0).broker, 5)
  second.send(connectPacket({ clientIdentifier: 'c', cleanStart: false, properties: { sessionExpiryInterval: 100 } }))
  await cluster.settle()
  const [third] = await cluster.durable(1, 'c')
  await cluster.settle()
  go()
  await cluster.settle()
  await cluster.pass(1_000)
  t.equal([third, second].filter(({ isEnded }) => !isEnded).length, 1)
  const alive = third.isEnded ? second : third
  const [p] = await cluster.connect(1, 'p')
  p.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await cluster.settle()
  t.same(await alive.payloads(), ['x'])
})
