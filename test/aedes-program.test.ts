import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { duplexPair, type Duplex } from 'node:stream'
import mqtt, { type IConnackPacket, type MqttClient } from 'mqtt'
import { ErrorCode } from '../lib/index.ts'
import { Aedes, type AedesOptions } from '../plugins/aedes/index.ts'
import { listen } from './support/network/network.ts'
import { deferred } from './support/observe.ts'

/** A broker that is ready. */
async function start (t: Test, options: AedesOptions = {}): Promise<Aedes> {
  const aedes = await Aedes.createBroker(options)
  t.teardown(() => new Promise<void>(resolve => { aedes.close(() => { resolve() }) }))
  return aedes
}

/** A client of MQTT 3.1.1 in this process, which writes its own bytes: what it sends comes in the turn in which it sends it. */
function connect (aedes: Aedes, clientIdentifier: string): Duplex {
  const [stream, far] = duplexPair()
  aedes.handle(far)
  stream.resume().once('end', () => stream.end()).write(Buffer.concat([Buffer.from([0x10, 12 + clientIdentifier.length]), Buffer.from('\0\x04MQTT\x04\x02\0\0\0'), Buffer.from([clientIdentifier.length]), Buffer.from(clientIdentifier)]))
  return stream
}

const publish = (topic: string): Buffer => Buffer.concat([Buffer.from([0x30, 3 + topic.length, 0, topic.length]), Buffer.from(`${topic}!`)])

t.test('a ready broker does at once what a program asks: no packet slips in between', async t => {
  const aedes = await start(t)
  const heard = deferred<string>()
  const ready = once(aedes, 'clientReady')
  const stream = connect(aedes, 'lamp')
  await ready
  setImmediate(() => {
    aedes.subscribe('a', ({ payload }, done) => { heard.resolve(payload.toString()); done() })
    stream.write(publish('a'))
  })
  t.equal(await heard.promise, '!')
})

t.test('aedes.clients has who is connected, by any name, and who took whose place', async t => {
  const aedes = await start(t)
  t.strictSame(Object.keys(aedes.clients), [])
  t.equal(aedes.clients.constructor, undefined)
  for (const name of ['lamp', '__proto__']) {
    const ready = once(aedes, 'clientReady')
    connect(aedes, name)
    t.strictSame(await ready, [aedes.clients[name]])
  }
  t.strictSame(Object.keys(aedes.clients), ['lamp', '__proto__'])

  const first = aedes.clients['lamp']
  const taken = once(aedes, 'clientDisconnect')
  const stream = connect(aedes, 'lamp')
  t.strictSame(await taken, [first])
  t.not(aedes.clients['lamp'], first)
  t.equal(aedes.clients['lamp']?.id, 'lamp')

  const left = once(aedes, 'clientDisconnect')
  stream.end()
  await left
  t.strictSame(Object.keys(aedes.clients), ['__proto__'])
})

t.test('a client whom authenticate refuses is not among aedes.clients, and takes nobody\'s place', async t => {
  const aedes = await start(t)
  const ready = once(aedes, 'clientReady')
  connect(aedes, 'lamp')
  await ready
  const lamp = aedes.clients['lamp']
  aedes.authenticate = (_client, _username, _password, done) => { done(null, false) }
  const refused = once(aedes, 'clientError')
  connect(aedes, 'lamp')
  await refused
  t.equal(aedes.clients['lamp'], lamp)
})

t.test('preConnect sees a client that is connecting', async t => {
  const seen = deferred<boolean>()
  const aedes = await start(t, { preConnect: (client, _packet, done) => { seen.resolve(client.connecting); done(null, true) } })
  connect(aedes, 'lamp')
  t.equal(await seen.promise, true)
})

t.test('a packet without properties has no field for them', async t => {
  const aedes = await start(t)
  const packet = deferred<object>()
  aedes.subscribe('a', (published, done) => { packet.resolve(published); done() })
  aedes.publish({ topic: 'a' })
  t.notOk('properties' in await packet.promise)
})

t.test('the emitter and the store of Aedes are errors that say what to use', async t => {
  const aedes = await start(t)
  t.throws(() => aedes.mq, { code: ErrorCode.optionInvalid, message: 'aedes.mq is not available: use aedes.subscribe and aedes.publish' })
  t.throws(() => aedes.persistence, { code: ErrorCode.optionInvalid, message: /^aedes\.persistence is not available/ })
})

t.test('maxTopicLevels and maxInflightInbound are limits of the broker', async t => {
  const aedes = await start(t, { maxTopicLevels: 2, maxInflightInbound: 7 })
  const url = `mqtt://127.0.0.1:${await listen(t, createServer(aedes.handle))}`
  const connack = new Promise<IConnackPacket>(resolve => { mqtt.connect(url, { protocolVersion: 5 }).once('connect', function (this: MqttClient, packet) { this.end(); resolve(packet) }) })
  t.match(await connack, { properties: { receiveMaximum: 7 } })
  const failed = once(aedes, 'clientError')
  const stream = connect(aedes, 'deep')
  await once(aedes, 'clientReady')
  setImmediate(() => { stream.write(publish('a/b')); stream.write(publish('a/b/c')) })
  t.match(await failed, [{ id: 'deep' }, { code: ErrorCode.topicNameInvalid }])
  const without = await start(t, { maxInflightInbound: 0 })
  t.equal(without.closed, false, '0 is no limit')
})
