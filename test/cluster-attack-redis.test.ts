import { setTimeout as delay } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { createBroker, ReasonCode, type Broker } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type Packet } from '../lib/packet/packets.ts'
import { redisCluster, redisEmitter, redisPersistence } from '../plugins/redis/index.ts'
import { connectPacket, PacketClient } from './support/harness.ts'
import { MemoryLogger } from './support/observe.ts'
import { startRedis, RedisServer, freePort } from './support/redis-server.ts'
import { inspect } from 'node:util'

const unhandled: unknown[] = []
process.on('unhandledRejection', error => { unhandled.push(error) })

const fixed = /:(lg|n|pr|v|left)$/

async function until (what: string, isSo: () => boolean | Promise<boolean>, ms = 15_000): Promise<boolean> {
  for (const end = Date.now() + ms; Date.now() < end;) {
    if (await isSo()) return true
    await delay(20)
  }
  return false
}

interface N { broker: Broker, logger: MemoryLogger }
async function node (url: string, prefix: string, more: object = {}, leaseMs = 1_500): Promise<N> {
  const logger = new MemoryLogger()
  const broker = await createBroker({ ...redisCluster({ redis: url, prefix, leaseMs }), logger, sysIntervalMs: 0, closeTimeoutMs: 100, ...more })
  return { broker, logger }
}

async function open ({ broker }: N, clientIdentifier: string, fields: Partial<ConnectPacket> = {}): Promise<[PacketClient, Packet | undefined]> {
  const packet = connectPacket({ clientIdentifier, ...fields })
  const client = new PacketClient(broker, packet.protocolVersion)
  client.settle = () => delay(60)
  client.send(packet)
  await until('connack', () => client.received.length > 0 || client.isEnded)
  return [client, client.received.shift()]
}
const durable = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } }

async function keysOf (redis: RedisServer): Promise<string[]> { return (await redis.keys()).filter(key => !fixed.test(key)) }

t.test('claims and the end of the former Session overlap: on Redis', async t => {
  const redis = await startRedis(t)
  const [a, b] = [await node(redis.url, 'p1'), await node(redis.url, 'p1')]
  let bad = 0
  let twice = 0
  for (let i = 0; i < 60; i++) {
    const expiry = i % 2 === 0 ? 3600 : 0
    const [first] = await open(a, `c${i}`)
    const second = new PacketClient(a.broker, 5)
    second.settle = () => delay(20)
    second.send(connectPacket({ clientIdentifier: `c${i}`, cleanStart: false, properties: { sessionExpiryInterval: expiry } }))
    for (let turn = 0; turn < i % 6; turn++) await new Promise(resolve => { setImmediate(resolve) })
    await first.vanish()
    await until('connack', () => second.received.length > 0)
    await second.subscribe('a', { qos: 1 })
    await delay(10)
    if (second.isEnded) { bad++; continue }
    const [third] = await open(b, `c${i}`, durable)
    if (!await until('ended', () => second.isEnded, 300)) twice++
    await third.disconnect(ReasonCode.success, { sessionExpiryInterval: 0 }).take()
  }
  t.equal(bad, 0, 'nobody was sent away')
  t.equal(twice, 0, 'nobody was connected twice')
  await a.broker.close()
  await b.broker.close()
  t.same(await keysOf(redis), [])
})

t.test('passwords are told to nobody', async t => {
  const redis = await startRedis(t, { settings: ['--requirepass', 'se:cr/et'] })
  const port = redis.port
  const told = async (options: object | string): Promise<string> => {
    const logger = new MemoryLogger()
    try {
      const broker = await createBroker({ ...redisCluster({ redis: options as string, leaseMs: 1_000 }), logger })
      await broker.close()
      return 'started'
    } catch (error) { return inspect(error, { depth: 20, showHidden: true }) + JSON.stringify(error) + inspect(logger.lines, { depth: 20 }) }
  }
  for (const given of [
    { host: '127.0.0.1', port, password: 'WRONGPW1' }, `redis://u:WRONGPW1@127.0.0.1:${port}`, `redis://:WRONGPW1@127.0.0.1:${port}`,
    `redis://u:WRONG/PW1@127.0.0.1:${port}x`, `http://u:WRONGPW1@x`, `redis:/u:WRONGPW1@x`, `http://u:a:WRONGPW1@x`, `http://u:WRONGPW1@b@x`, `redis://u:WRONG@PW1@127.0.0.1:x`,
    `redis://u:WRONGPW1@127.0.0.1:${await freePort()}`, { host: 'nowhere.invalid', port, password: 'WRONGPW1' }, `redis://127.0.0.1:${port}`,
  ]) {
    const began = Date.now()
    const text = await told(given)
    t.notMatch(text, /WRONG ?PW1|PW1@|WRONG.PW1|WRONGPW1/, `${JSON.stringify(given)}`)
    t.comment(text.slice(0, 160), Date.now() - began)
    t.not(text, 'started')
  }
})

t.test('a commit that Redis refuses tells nobody what was in it', async t => {
  const redis = await startRedis(t)
  const a = await node(redis.url, 'p2')
  const [c] = await open(a, 'c', durable)
  await c.subscribe('t', { qos: 1 })
  await c.vanish()
  const [p] = await open(a, 'p')
  await redis.command('SET', '{p2}:q:x', '1')
  // make the queue of every Session a wrong type
  for (const key of await redis.keys()) if (key.includes(':s:')) await redis.command('SET', key.replace(':s:', ':q:'), 'x')
  p.publish('t', 'SECRETPAYLOAD', { qos: 1, packetIdentifier: 1 })
  await delay(300)
  const text = inspect(a.logger.lines, { depth: 20, showHidden: true, maxStringLength: 100_000 })
  t.notMatch(text, /SECRETPAYLOAD/)
  t.notMatch(text, /EVALSHA|args:/)
  t.comment(inspect(await p.take()))
  t.comment(text.slice(0, 1500))
  await a.broker.close()
})

t.test('Redis stopped for a while: acks held, local QoS 0 flows, CONNECT 0x88, then all is delivered once', async t => {
  for (const how of ['pause', 'kill'] as const) {
    const redis = await startRedis(t, { appendOnly: true, settings: ['--appendfsync', 'always'] })
    const [a, b] = [await node(redis.url, 'p3'), await node(redis.url, 'p3')]
    const [s] = await open(b, 's', durable)
    await s.subscribe('x/#', { qos: 2 })
    const [local] = await open(a, 'local')
    await local.subscribe('x/#', { qos: 0 })
    const [p] = await open(a, 'p', durable)
    if (how === 'pause') redis.pause()
    else await redis.kill()
    await delay(200)
    for (let i = 1; i <= 50; i++) p.publish('x/a', String(i), { qos: (i % 3) as 0, packetIdentifier: i })
    await delay(500)
    t.equal((await local.payloads()).length, 50, 'local')
    t.same(await p.take(), [], `${how}: nothing is acknowledged`)
    const began = Date.now()
    const [, refused] = await open(a, 'new')
    t.equal(refused?.type === PacketType.connack && refused.reasonCode, ReasonCode.serverUnavailable, `${how}: refused after ${Date.now() - began} ms`)
    if (how === 'pause') redis.resume()
    else await redis.run()
    await until('acks', () => p.received.length >= 33)
    const acks = p.received.splice(0)
    t.equal(acks.length, 33, `${how}: acknowledged`)
    await until('all', () => s.received.filter(({ type }) => type === PacketType.publish).length >= 33)
    await delay(200)
    const payloads = await s.payloads()
    const certain = payloads.filter(n => Number(n) % 3 !== 0)
    t.equal(new Set(certain).size, 33)
    t.equal(certain.length, 33, `${how}: once`)
    t.equal(s.isEnded || p.isEnded || local.isEnded, false)
    await delay(3_000)
    t.equal(s.isEnded || p.isEnded || local.isEnded, false, 'nobody is sent away later')
    s.disconnect(ReasonCode.success, { sessionExpiryInterval: 0 })
    p.disconnect(ReasonCode.success, { sessionExpiryInterval: 0 })
    local.disconnect()
    await delay(1_500)
    t.same((await keysOf(redis)).filter(key => /:(c|s|q|i|f|b|r):/.test(key)), [], `${how}: while nodes live`)
    await a.broker.close()
    await b.broker.close()
    t.same(await keysOf(redis), [], how)
    t.comment(inspect([...a.logger.lines, ...b.logger.lines].map(l => l.message)))
  }
})

t.test('broker.close() while Redis is away ends in time', async t => {
  for (const how of ['pause', 'kill'] as const) {
    const redis = await startRedis(t)
    const a = await node(redis.url, 'p4')
    const [s] = await open(a, 's', durable)
    await s.subscribe('x', { qos: 2 })
    const [p] = await open(a, 'p')
    if (how === 'pause') redis.pause()
    else await redis.kill()
    for (let i = 1; i < 9; i++) p.publish('x', 'y', { qos: 1, packetIdentifier: i })
    const sub = a.broker.publish('x', 'z', { qos: 1 }).then(() => 'ok', (error: Error) => error.message)
    const began = Date.now()
    const outcome = await Promise.race([a.broker.close().then(() => 'closed', (error: Error) => error.message), delay(20_000, 'hangs')])
    t.equal(outcome, 'closed', `${how} after ${Date.now() - began}`)
    t.comment(await Promise.race([sub, delay(1000, 'publish hangs')]))
    t.ok(Date.now() - began < 9_000)
    if (how === 'pause') redis.resume()
  }
})

t.test('odd names on Redis; keys left; presence and kick', async t => {
  const redis = await startRedis(t)
  const [a, b] = [await node(redis.url, 'p5'), await node(redis.url, 'p5')]
  const stop = new AbortController()
  const seen: string[] = []
  const listening = (async () => { for await (const e of b.broker.cluster!.presence({ signal: stop.signal })) seen.push(`${e.clientIdentifier} ${e.isOnline}`) })()
  await delay(200)
  const odd = ['{a}:*[x]\\', 'c:s:1', '😀 {myelin}:n', '*', '?', "'; --", 'ü\u{10FFFF}', ' ', '{p5}:n', '__proto__', 'x'.repeat(2000)]
  for (const name of odd) {
    const [first] = await open(a, name, { ...durable, will: { topicName: `w/${name.slice(0, 100).replace(/[+#]/g, '')}`, payload: Buffer.from('w'), qos: 1, retain: false, properties: { willDelayInterval: 1000, userProperties: [['k', name]] } } })
    await first.subscribe(`x/${name.slice(0, 100)}`, { qos: 1 })
    await first.vanish()
    const [p] = await open(b, 'p')
    p.publish(`x/${name.slice(0, 100)}`, 'm', { qos: 1, packetIdentifier: 1, retain: true, properties: { userProperties: [['k', name.slice(0, 100)], ['k', 'v']], correlationData: Buffer.from([0, 255]), messageExpiryInterval: 50 } })
    await until('ack', () => p.received.length > 0)
    const [second, connack] = await open(b, name, durable)
    t.equal(connack?.type === PacketType.connack && connack.sessionPresent, true, name.slice(0, 30))
    await until('m', () => second.received.length > 0)
    const [m] = await second.messages()
    t.match(m, { payload: Buffer.from('m'), properties: { userProperties: [['k', name.slice(0, 100)], ['k', 'v']], correlationData: Buffer.from([0, 255]) } })
    second.send({ type: PacketType.puback, packetIdentifier: m?.packetIdentifier ?? 0, reasonCode: 0, properties: undefined } as Packet)
    await delay(30)
    t.equal(await a.broker.cluster!.kick(name), true)
    await until('kicked', () => second.isEnded)
    const [third] = await open(a, name, { cleanStart: true })
    p.publish(`x/${name.slice(0, 100)}`, '', { qos: 1, packetIdentifier: 2, retain: true })
    third.disconnect()
    await delay(60)
    p.disconnect()
  }
  await delay(600)
  t.same((await keysOf(redis)).filter(key => /:(c|s|q|i|f|b|r|on|own|ret|w):/.test(key)), [], 'while nodes live')
  stop.abort()
  await listening
  const counts = new Map<string, number>()
  for (const e of seen) counts.set(e, (counts.get(e) ?? 0) + 1)
  t.comment(inspect(counts, { maxStringLength: 60 }))
  await a.broker.close()
  await b.broker.close()
  t.same(await keysOf(redis), [])
})

t.test('half a cluster', async t => {
  const redis = await startRedis(t)
  const one = redisPersistence({ redis: redis.url })
  const two = redisPersistence({ redis: redis.url })
  const tell = async (options: object): Promise<string> => createBroker(options).then(async b => { await b.close(); return 'started' }, (e: Error) => e.message)
  t.comment(await tell({ persistence: one }))
  t.comment(await tell({ emitter: redisEmitter(two) }))
  t.comment(await tell({ persistence: one, emitter: redisEmitter(two) }))
  const set = redisCluster({ redis: redis.url })
  const first = await createBroker(set)
  t.comment(await tell(set))
  await first.close()
  t.same(await keysOf(redis), [])
  const other = await createBroker(redisCluster({ redis: redis.url, leaseMs: 2000 }))
  t.comment(await tell(redisCluster({ redis: redis.url, leaseMs: 3000 })))
  await other.close()
  t.same(await keysOf(redis), [])
})

t.test('nothing was left unhandled', async t => { t.same(unhandled, []) })
