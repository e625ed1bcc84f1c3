import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { createWebSocketStream, WebSocketServer } from 'ws'
import type { IClientOptions } from 'mqtt'
import { ErrorCode, type AuthenticateRequest } from '../lib/index.ts'
import { Aedes, type AedesClient, type AedesOptions, type AedesPublishPacket } from '../plugins/aedes/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { dial, listen, type RealClient } from './support/network/network.ts'
import { deferred, MemoryLogger } from './support/observe.ts'

t.setTimeout(120_000)

/** A program as an Aedes user has it: a broker, a TCP server and what happens, as short lines. */
class World {
  readonly aedes: Aedes
  readonly events: string[] = []
  readonly logger = new MemoryLogger()
  readonly #t: Test
  #url = ''

  constructor (t: Test, options: AedesOptions = {}) {
    this.#t = t
    this.aedes = new Aedes({ ...options, myelin: { sysIntervalMs: 0, closeTimeoutMs: 100, logger: this.logger, ...options.myelin } })
    t.teardown(() => new Promise<void>(resolve => { this.aedes.close(() => { resolve() }) }))
    this.aedes
      .on('client', client => { this.events.push(`client ${String(client.id)} ${String(client.connecting)}`) })
      .on('connackSent', (packet, client) => { this.events.push(`connackSent ${packet.returnCode} ${String(client.id)}`) })
      .on('clientReady', client => { this.events.push(`clientReady ${String(client.id)} ${String(client.connected)}`) })
      .on('clientDisconnect', client => { this.events.push(`clientDisconnect ${String(client.id)} ${String(client.closed)}`) })
      .on('clientError', (client, error) => { this.events.push(`clientError ${String(client.id)} ${error.message}`) })
      .on('connectionError', (client, error) => { this.events.push(`connectionError ${String(client.id)} ${error.message}`) })
      .on('keepaliveTimeout', client => { this.events.push(`keepaliveTimeout ${String(client.id)}`) })
      .on('publish', (packet, client) => { if (!packet.topic.startsWith('$SYS/')) this.events.push(`publish ${packet.topic} ${packet.payload.toString()} ${String(client?.id ?? null)}`) })
      .on('subscribe', (subscriptions, client) => { this.events.push(`subscribe ${JSON.stringify(subscriptions)} ${String(client.id)}`) })
      .on('unsubscribe', (topics, client) => { this.events.push(`unsubscribe ${JSON.stringify(topics)} ${String(client.id)}`) })
      .on('closed', () => { this.events.push('closed') })
  }

  /** A client of the `mqtt` package, over TCP. */
  async dial (options: IClientOptions = {}): Promise<RealClient> {
    if (this.#url === '') this.#url = `mqtt://127.0.0.1:${await listen(this.#t, createServer(this.aedes.handle))}`
    return dial(this.#t, this.#url, { clientId: 'lamp', ...options })
  }

  /** The events since the last call, of these kinds. */
  take (...kinds: string[]): string[] {
    return this.events.splice(0).filter(line => kinds.length === 0 || kinds.includes(line.replace(/ .*/, '')))
  }
}

/** A callback as a promise: its error rejects. */
function called (call: (done: (error?: Error) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => { call(error => { if (error === undefined) resolve(); else reject(error) }) })
}

t.test('a client connects, subscribes, publishes, unsubscribes and leaves: the events of Aedes', async t => {
  const world = new World(t, { id: 'broker' })
  const { aedes } = world
  t.equal(aedes.id, 'broker')
  t.equal(aedes.connectedClients, 0)
  const ready = once(aedes, 'clientReady')
  const client = await world.dial({ will: { topic: 'gone', payload: Buffer.from('lamp'), qos: 0, retain: false } })
  const [seen] = await ready as [AedesClient]
  t.match(seen, { id: 'lamp', version: 4, clean: true, connecting: false, connected: true, closed: false, req: undefined, will: { topic: 'gone' } })
  t.equal((seen.conn as { remoteAddress?: string }).remoteAddress, '127.0.0.1')
  t.equal(seen.connection?.remoteAddress, '127.0.0.1')
  t.equal(aedes.connectedClients, 1)
  t.strictSame(world.take(), ['client lamp true', 'connackSent 0 lamp', 'clientReady lamp true'])

  await client.mqtt.subscribeAsync({ 'a/+': { qos: 1 }, b: { qos: 0 } })
  await client.mqtt.publishAsync('a/1', 'on', { qos: 1 })
  t.strictSame(await client.texts(1), ['on'])
  await client.mqtt.unsubscribeAsync(['a/+', 'b'])
  t.strictSame(world.take(), ['subscribe [{"topic":"a/+","qos":1},{"topic":"b","qos":0}] lamp', 'publish a/1 on lamp', 'unsubscribe ["a/+","b"] lamp'])
  t.ok(aedes.counter > 0)

  const left = once(aedes, 'clientDisconnect')
  client.vanish()
  await left
  t.strictSame(world.take(), ['publish gone lamp lamp', 'clientDisconnect lamp true'])
  t.equal(aedes.connectedClients, 0)
})

t.test('a WebSocket of the package ws is handled with the request of its upgrade', async t => {
  const { aedes } = new World(t)
  const server = createHttpServer()
  new WebSocketServer({ server }).on('connection', (socket, request) => { aedes.handle(createWebSocketStream(socket), request) })
  const port = await listen(t, server)
  const ready = once(aedes, 'clientReady')
  const client = await dial(t, `ws://127.0.0.1:${port}/?token=1`)
  const [seen] = await ready as [AedesClient]
  t.equal(seen.req?.url, '/?token=1')
  await client.mqtt.subscribeAsync('a')
  await client.mqtt.publishAsync('a', 'over WebSocket')
  t.strictSame(await client.texts(1), ['over WebSocket'])
  await client.mqtt.endAsync()
})

t.test('preConnect and authenticate decide who comes in', async t => {
  const world = new World(t, {
    preConnect: (client, packet, done) => { t.equal(client.id, null); done(packet.clientId === 'banned' ? new Error('banned') : null, packet.clientId !== 'unwanted') },
  })
  world.aedes.authenticate = (client, username, password, done) => {
    if (username === 'throws') throw new Error('thrown')
    if (username === 'busy') { done(Object.assign(new Error('busy'), { returnCode: 3 })); return }
    setImmediate(() => { done(null, `${String(client.id)} ${String(username)} ${String(password)}` === 'lamp ada secret') })
  }
  const ada = { username: 'ada', password: 'secret' }
  await t.resolves(world.dial(ada))
  await t.rejects(world.dial({ ...ada, password: 'wrong' }), { code: 5 })
  await t.rejects(world.dial({ username: 'busy' }), { code: 3 })
  await t.rejects(world.dial({ username: 'throws' }), { code: 5 })
  await t.rejects(world.dial({ ...ada, clientId: 'banned' }), { code: 5 })
  await t.rejects(world.dial({ ...ada, clientId: 'unwanted' }), { code: 5 })
  t.strictSame(world.take('clientError', 'connectionError'), [
    'clientError lamp the Client was not let in', 'clientError lamp busy', 'clientError lamp the hook authenticate failed: thrown',
    'connectionError null banned', 'connectionError null the Client was not let in',
  ])
})

for (const [returnCode, told] of [[1, 5], [2, 2], [3, 3], [4, 4], [5, 5], [6, 5], [Number.NaN, 5]] as const) {
  t.test(`an error of authenticate with return code ${returnCode} is told as ${told}, to the client and to the event`, async t => {
    const world = new World(t, { authenticate: (_client, _username, _password, done) => { done(Object.assign(new Error('no'), { returnCode })) } })
    const failed = once(world.aedes, 'clientError')
    await t.rejects(world.dial({ username: 'ada' }), { code: told })
    t.match((await failed)[1], { message: 'no', errorCode: told })
  })
}

t.test('a handler that never calls back is a refusal', async t => {
  const clock = new FakeClock()
  const asked = deferred()
  const world = new World(t, { authenticate: () => { asked.resolve(undefined) }, myelin: { clock, closeTimeoutMs: 0 } })
  const refused = t.rejects(world.dial(), { code: 5 })
  await asked.promise
  await clock.advance(5_000)
  await refused
})

t.test('an async handler that rejects has refused, and the program goes on', async t => {
  const world = new World(t, { authenticate: async (_client, username) => { await Promise.reject(new Error(`no ${String(username)}`)) } })
  await t.rejects(world.dial({ username: 'ada' }), { code: 5 })
  world.aedes.authenticate = async (_client, _username, _password, done) => { await Promise.resolve(); done(null, true) }
  world.aedes.authorizePublish = async (_client, { payload }, done) => { JSON.parse(String(payload)); await Promise.resolve(); done() }
  world.aedes.subscribe('a', async ({ payload }) => { await Promise.reject(new Error(`heard ${String(payload)}`)) })
  const client = await world.dial()
  await client.mqtt.subscribeAsync('#')
  for (const payload of ['{', '1', '2']) await client.mqtt.publishAsync('a', payload, { qos: 1 })
  t.strictSame(await client.texts(2), ['1', '2'])
  t.equal(world.logger.take('error').length, 4, 'each rejection is told')
})

t.test('what an async handler throws after its answer is a warning, and the answer stands', async t => {
  const warned = once(process, 'warning')
  const world = new World(t, { authenticate: async (_client, _username, _password, done) => { done(null, true); await Promise.reject(new Error('too late')) } })
  await world.dial()
  t.match(await warned, [{ message: 'too late' }])
})

t.test('a handler that calls back twice has answered once, with an Error whatever it gave', async t => {
  const world = new World(t, { authenticate: (_client, username, _password, done) => { done(username === 'ada' ? null : 'who?' as never, true); done(username === 'ada' ? new Error('later') : null, true) } })
  await world.dial({ username: 'ada' })
  await t.rejects(world.dial({ username: 'eve' }), { code: 5 })
  t.strictSame(world.take('clientError'), ['clientError lamp who?'])
})

t.test('a Client without an identifier gets one', async t => {
  const world = new World(t)
  await world.dial({ clientId: '' })
  t.match(world.take('clientReady')[0], /^clientReady aedes_[\da-f-]{36} true$/)
})

t.test('authorizePublish refuses and changes messages, and the connection goes on', async t => {
  const world = new World(t)
  world.aedes.authorizePublish = (_client, packet, done) => {
    if (packet.topic === 'secret') { done(new Error('wrong topic')); return }
    if (packet.topic === 'a') packet.payload = Buffer.from('overwritten')
    if (packet.topic === 'b') Object.assign(packet, { topic: 'c', retain: true })
    done()
  }
  const client = await world.dial()
  await client.mqtt.subscribeAsync('#')
  for (const topic of ['secret', 'a', 'b']) await client.mqtt.publishAsync(topic, 'x', { qos: 1 })
  t.match([await client.message(), await client.message()], [{ topic: 'a', payload: Buffer.from('overwritten') }, { topic: 'c', payload: Buffer.from('x') }])
  t.strictSame(world.take('clientError', 'publish', 'clientDisconnect'), ['clientError lamp wrong topic', 'publish a overwritten lamp', 'publish c x lamp'])
  await client.mqtt.subscribeAsync('c')
  t.match(await client.message(), { topic: 'c', retain: true })
})

t.test('what a handler changes into no message is a clientError, and is not published', async t => {
  const changes: [change: object, reason: RegExp][] = [
    [{ topic: 'a/#' }, /topic of a packet to "a\/#", which has a wildcard/], [{ topic: 'a\0' }, /U\+0000/], [{ topic: '' }, /is no text/], [{ topic: undefined }, /to undefined, which is no text/],
    [{ topic: 'x'.repeat(5000) }, /limits/], [{ topic: '/'.repeat(300) }, /limits/], [{ payload: undefined }, /payload/], [{ payload: { length: 5 } }, /payload/], [{ qos: 3 }, /qos/], [{ retain: 1 }, /retain/],
  ]
  for (const handler of ['authorizePublish', 'published'] as const) {
    const world = new World(t)
    let next: object = {}
    const change = (packet: AedesPublishPacket): void => { if (packet.topic === 'a') Object.assign(packet, next) }
    if (handler === 'authorizePublish') world.aedes.authorizePublish = (_client, packet, done) => { change(packet); done() }
    else world.aedes.published = (packet, _client, done) => { change(packet); done() }
    const client = await world.dial()
    await client.mqtt.subscribeAsync('#')
    for (const [wanted, reason] of changes) {
      next = wanted
      await client.mqtt.publishAsync('a', 'x', { qos: 1 })
      const [told, ...others] = world.take('clientError', 'publish', 'clientDisconnect')
      t.match(told, reason, handler)
      t.strictSame([told?.slice(0, 16), others], ['clientError lamp', []])
    }
    next = { payload: 'text' }
    await client.mqtt.publishAsync('a', 'x', { qos: 1 })
    t.equal(String((await client.message()).payload), 'text', 'nothing came before')
    next = { topic: 'a/+' }
    if (handler === 'published') await t.rejects(called(done => { world.aedes.publish({ topic: 'a' }, done) }), { message: /onPublish refused the message/ })
  }
})

t.test('authorizeSubscribe refuses, negates and changes subscriptions', async t => {
  const world = new World(t)
  world.aedes.authorizeSubscribe = (_client, subscription, done) => {
    if (subscription.topic === 'wrong') { done(new Error('wrong topic')); return }
    if (subscription.topic === 'moved') subscription.topic = 'elsewhere'
    if (subscription.topic === 'less') subscription.qos = 0
    done(null, subscription.topic === 'negated' ? null : subscription)
  }
  const client = await world.dial()
  const topics = ['wrong', 'moved', 'less', 'negated', 'right']
  const granted = await new Promise(resolve => { client.mqtt.subscribe(topics, { qos: 1 }, (_error, _granted, packet) => { resolve(packet?.granted) }) })
  t.strictSame(granted, [128, 128, 0, 128, 1])
  t.strictSame(world.take('clientError', 'subscribe'), [
    'clientError lamp wrong topic', 'clientError lamp authorizeSubscribe must not change the topic of a subscription, here moved',
    'subscribe [{"topic":"less","qos":0},{"topic":"right","qos":1}] lamp',
  ])
})

t.test('authorizeForward keeps messages from a client, and cannot change what others get, too', async t => {
  const world = new World(t)
  world.aedes.authorizeForward = (client, packet) => {
    if (packet.topic === 'changed') packet.payload = Buffer.from('other')
    return packet.topic === 'hidden' && client.id === 'lamp' ? null : packet
  }
  const client = await world.dial()
  const other = await world.dial({ clientId: 'other' })
  for (const each of [client, other]) await each.mqtt.subscribeAsync('#', { qos: 1 })
  for (const topic of ['hidden', 'changed', 'last']) await client.mqtt.publishAsync(topic, topic, { qos: 1 })
  t.strictSame(await client.texts(1), ['last'])
  t.strictSame(await other.texts(2), ['hidden', 'last'])
  t.match(world.logger.take('error'), [/authorizeForward must not change the packet/, /authorizeForward must not change the packet/])
})

t.test('published holds the next packet back, and refuses with an error', async t => {
  const going: string[] = []
  const held: (() => void)[] = []
  const world = new World(t, {
    published (packet, client, done) {
      if (packet.topic.startsWith('$SYS/')) { done(); return }
      going.push(`${packet.topic} ${String(client?.id ?? null)}`)
      if (packet.topic === 'bad') done(new Error('full'))
      else held.push(done)
    },
  })
  const client = await world.dial({ protocolVersion: 5 })
  const both = [client.mqtt.publishAsync('1', '', { qos: 1 }), client.mqtt.publishAsync('2', '', { qos: 1 })]
  while (held.length < 1) await new Promise(setImmediate)
  t.strictSame(going, ['1 lamp'])
  held.pop()?.()
  while (held.length < 1) await new Promise(setImmediate)
  held.pop()?.()
  await Promise.all(both)
  t.strictSame(going, ['1 lamp', '2 lamp'])
  await t.rejects(client.mqtt.publishAsync('bad', '', { qos: 1 }), { code: 0x83 })
  t.match(world.take('clientError'), ['clientError lamp full'])
})

t.test('publish, subscribe and unsubscribe in the process', async t => {
  const world = new World(t, { id: 'broker' })
  const { aedes } = world
  const packets: AedesPublishPacket[] = []
  const dones: (() => void)[] = []
  const deliver = (packet: AedesPublishPacket, done: () => void): void => { packets.push(packet); dones.push(done) }
  await called(done => { aedes.publish({ topic: 'room/1', payload: 'kept', retain: true }, done) })
  await called(done => { aedes.subscribe('room/+', deliver, done) })
  await called(done => { aedes.subscribe('room/+', deliver, done) }) // the same key
  for (const payload of ['1', Buffer.from('2')]) await called(done => { aedes.publish({ cmd: 'publish', topic: 'room/1', payload, qos: 1, retain: false, dup: false }, done) })
  await new Promise(setImmediate)
  t.match(packets, [{ cmd: 'publish', topic: 'room/1', payload: Buffer.from('1'), qos: 1, retain: false, brokerId: 'broker' }], 'the next one waits for the callback')
  dones.pop()?.()
  while (packets.length < 2) await new Promise(setImmediate)
  t.equal(String(packets[1]?.payload), '2')
  dones.pop()?.()
  t.strictSame(world.take('publish'), ['publish room/1 kept null', 'publish room/1 1 null', 'publish room/1 2 null'])
  await called(done => { aedes.unsubscribe('room/+', () => undefined, done) }) // another function: another key
  await called(done => { aedes.unsubscribe('room/+', deliver, done) })
  await called(done => { aedes.publish({ topic: 'room/1' }, done) })
  await new Promise(setImmediate)
  t.equal(packets.length, 2)
  await t.rejects(called(done => { aedes.publish({ topic: '#' }, done) }), { code: ErrorCode.topicNameInvalid })
  await t.rejects(called(done => { aedes.subscribe('a#', deliver, done) }), { code: ErrorCode.topicFilterInvalid })
  aedes.publish({ topic: '#' })
  await called(done => { aedes.publish({ topic: 'a' }, done) })
  t.strictSame(world.logger.take('error'), ['a call of Aedes without a callback failed'])
})

t.test('time: the heartbeat, the Keep Alive and its limit', async t => {
  const clock = new FakeClock()
  const world = new World(t, { id: 'broker', heartbeatInterval: 1_000, keepaliveLimit: 20, connectTimeout: 5_000, drainTimeout: 0, concurrency: 10, queueLimit: 10, myelin: { clock, closeTimeoutMs: 0 } })
  const topics: string[] = []
  await called(done => { world.aedes.subscribe('$SYS/broker/#', ({ topic, payload }, next) => { topics.push(`${topic} ${payload.toString()}`); next() }, done) })
  const client = await world.dial({ keepalive: 60_000 })
  await client.mqtt.subscribeAsync('a')
  await client.mqtt.unsubscribeAsync('a')
  const left = once(world.aedes, 'clientDisconnect')
  await clock.advance(31_000)
  await left
  await new Promise(setImmediate)
  t.strictSame(world.take('keepaliveTimeout', 'clientError', 'clientDisconnect'), ['keepaliveTimeout lamp', 'clientDisconnect lamp true'])
  t.strictSame([...new Set(topics)].sort(), [
    '$SYS/broker/disconnect/clients lamp', '$SYS/broker/heartbeat broker', '$SYS/broker/new/clients lamp',
    '$SYS/broker/new/subscribers {"clientId":"lamp","subs":[{"topic":"a","qos":0}]}', '$SYS/broker/new/unsubscribers {"clientId":"lamp","subs":["a"]}',
  ])
})

t.test('client.close ends a connection', async t => {
  const world = new World(t)
  const ready = once(world.aedes, 'clientReady')
  const client = await world.dial()
  const gone = client.event('close')
  const [seen] = await ready as [AedesClient]
  await new Promise<void>(resolve => { seen.close(resolve) })
  await gone
  t.equal(seen.closed, true)
  await new Promise<void>(resolve => { seen.close(resolve) })
  t.strictSame(world.take('clientError', 'clientDisconnect'), ['clientDisconnect lamp true'])
})

t.test('what a client does wrong is a clientError, or a connectionError before it has said who it is', async t => {
  const world = new World(t)
  const client = await world.dial()
  const failed = once(world.aedes, 'clientError')
  client.mqtt.stream.write(Buffer.from([0xf0, 0]))
  await failed
  const unknown = once(world.aedes, 'connectionError')
  const port = await listen(t, createServer(world.aedes.handle))
  await t.rejects(dial(t, `http://127.0.0.1:${port}`.replace('http', 'mqtt'), { protocolId: 'NOPE' as 'MQTT' }))
  t.match(await unknown, [{ id: null }, { code: /^MQTT_/ }])
})

t.test('close ends everything, tells so, and nothing works after it', async t => {
  const world = new World(t)
  const client = await world.dial()
  const gone = client.event('close')
  await called(done => { world.aedes.close(done) })
  await gone
  t.equal(world.aedes.closed, true)
  t.strictSame(world.take('closed', 'clientDisconnect', 'clientError'), ['clientDisconnect lamp true', 'closed'])
  await t.resolves(called(done => { world.aedes.close(done) }), 'once more does no harm')
  const another = new World(t)
  const order: string[] = []
  another.aedes.on('closed', () => { order.push('closed') })
  await another.dial()
  await Promise.all(['first', 'second'].map(name => called(done => { another.aedes.close(done) }).then(() => { order.push(name) })))
  t.strictSame(order, ['closed', 'first', 'second'], 'whoever closes hears of the end, and not before')
  await t.rejects(called(done => { world.aedes.publish({ topic: 'a' }, done) }), { code: ErrorCode.brokerClosed })
})

t.test('what this facade cannot do is an error, never silence', async t => {
  const invalid = { code: ErrorCode.optionInvalid }
  for (const options of [{ mq: {} }, { persistence: {} }, { maxClientsIdLength: 50 }, { authorisePublish: () => undefined }, { authenticate: 1 }, { heartbeatInterval: 0 }]) {
    t.throws(() => new Aedes(options as AedesOptions), invalid, Object.keys(options).join())
  }
  await t.rejects(Aedes.createBroker({ connectTimeout: -1 }), invalid)
  const world = new World(t)
  for (const event of ['ping', 'ack']) t.throws(() => world.aedes.on(event as 'closed', () => undefined), invalid)
  const ready = once(world.aedes, 'clientReady')
  await world.dial()
  const [client] = await ready as [AedesClient]
  t.throws(() => { client.publish() }, invalid)
  t.throws(() => { client.subscribe() }, invalid)
  t.throws(() => { client.unsubscribe() }, invalid)
  t.throws(() => { client.emptyOutgoingQueue() }, invalid)
})

t.test('a stream that comes to a broker that cannot start is a connectionError', async t => {
  const aedes = new Aedes({ myelin: { hookTimeoutMs: -1 } })
  const failed = once(aedes, 'connectionError')
  const port = await listen(t, createServer(aedes.handle))
  await t.rejects(dial(t, `mqtt://127.0.0.1:${port}`))
  t.match(await failed, [{ id: null }, { code: ErrorCode.optionInvalid }])
})

t.test('a plugin of Myelin that authenticates is not passed by', async t => {
  const authenticate = ({ username }: AuthenticateRequest): true | undefined => username === 'ada' ? true : undefined
  const world = new World(t, { myelin: { plugins: [{ name: 'names', hooks: { authenticate } }] } })
  await t.resolves(world.dial({ username: 'ada' }))
  await t.rejects(world.dial({ username: 'eve' }), { code: 4 })
  await t.rejects(world.dial(), { code: 5 })
})
