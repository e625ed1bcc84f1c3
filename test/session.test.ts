import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type Properties } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, receiveAll, will } from './support/exchanges.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'

/** Whether a CONNECT with Clean Start 0 finds a Session. */
async function isPresent (test: TestBroker, clientIdentifier = 'client', protocolVersion: 3 | 4 | 5 = 5): Promise<boolean> {
  const [client, connack] = await open(test, { clientIdentifier, protocolVersion, cleanStart: false })
  await client.vanish()
  return connack.sessionPresent
}

const expiry = (sessionExpiryInterval: number, more: Properties = {}): Partial<ConnectPacket> => ({ properties: { sessionExpiryInterval, ...more } })

forEachVersion(t, 'Clean Start discards the Session there is, subscriptions and messages with it [MQTT-3.1.2-4] [MQTT-3.2.2-2] [MQTT-3.1.4-4]', async (t, protocolVersion) => {
  const ended: string[] = []
  const test = await startBroker(t, { hooks: { sessionEnded: ({ clientIdentifier }) => { ended.push(clientIdentifier) } } })
  const [first] = await connect(test, lasting({ protocolVersion }))
  await first.subscribe('a', { qos: 1 })
  await first.vanish()
  await test.broker.publish('a', 'waiting', { qos: 1 })
  const [second, connack] = await open(test, { ...lasting({ protocolVersion }), cleanStart: true })
  t.equal(connack.sessionPresent, false)
  await test.broker.publish('a', 'x', { qos: 1 })
  t.strictSame(await second.take(), [])
  t.strictSame(ended, ['client'])
})

forEachVersion(t, 'without Clean Start the Session there is goes on, even an empty one; else one is made [MQTT-3.1.2-5] [MQTT-3.1.2-6] [MQTT-3.2.2-3] [MQTT-3.1.2-23]', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [first, { sessionPresent }] = await open(test, lasting({ protocolVersion }))
  t.equal(sessionPresent, false)
  await first.vanish()
  const [second, connack] = await open(test, lasting({ protocolVersion }))
  t.equal(connack.sessionPresent, true)
  await second.subscribe('a', { qos: 1 })
  await second.vanish()
  await test.broker.publish('a', 'x', { qos: 1 })
  const [third] = await open(test, lasting({ protocolVersion }))
  t.strictSame(payloadsOf(await receiveAll(third)), ['x'])
})

t.test('Clean Session 1 of 3.x ends the Session with the connection, 0 keeps it for good [MQTT-3.1.2-6 in 3.1.1]', async t => {
  const test = await startBroker(t)
  for (const protocolVersion of [3, 4] as const) {
    for (const cleanStart of [true, false]) {
      const [client] = await open(test, { protocolVersion, cleanStart })
      await client.disconnect().take()
      await test.clock.advance(60_000)
      t.equal(await isPresent(test, 'client', 4), !cleanStart, '3.1 itself has no Session Present')
    }
    await (await open(test, { protocolVersion }))[0].disconnect().take()
  }
})

t.test('a Session lives for its Session Expiry Interval, which starts when the connection ends [MQTT-4.1.0-1] [MQTT-4.1.0-2]', async t => {
  const test = await startBroker(t)
  for (const [interval, wait, expected] of [[10, 9_900, true], [10, 10_100, false], [0, 0, false], [0xffffffff, 60_000, true]] as const) {
    const [client] = await open(test, expiry(interval))
    await test.clock.advance(20_000)
    await client.vanish()
    await test.clock.advance(wait)
    t.equal(await isPresent(test), expected, `${interval} s, ${wait} ms`)
  }
})

t.test('the end of a Session is told once and removes its subscriptions', async t => {
  const ended: string[] = []
  const test = await startBroker(t, { hooks: { sessionEnded: ({ clientIdentifier }) => { ended.push(clientIdentifier) } } })
  const [client] = await open(test, expiry(5))
  await client.subscribe('a', { qos: 1 })
  await client.vanish()
  t.strictSame(ended, [])
  await test.clock.advance(6_000)
  t.strictSame(ended, ['client'])
  await test.broker.publish('a', 'x', { qos: 1 })
  exactly(t, test.broker.metrics, { queuedMessages: 0 })
  await test.clock.advance(60_000)
  t.strictSame(ended, ['client'])
})

t.test('the interval is that of the last CONNECT, so 0 ends a Session that was resumed (section 3.1.2.11.2)', async t => {
  const test = await startBroker(t)
  await (await open(test, expiry(100)))[0].vanish()
  const [client, { sessionPresent }] = await open(test, { cleanStart: false })
  t.equal(sessionPresent, true)
  await client.vanish()
  t.equal(await isPresent(test), false)
})

t.test('an interval that had begun to run starts anew with the next connection', async t => {
  const test = await startBroker(t)
  for (let i = 0; i < 3; i++) {
    const [client] = await open(test, { cleanStart: false, ...expiry(10) })
    await client.vanish()
    await test.clock.advance(8_000)
  }
  t.equal(await isPresent(test), true)
})

t.test('DISCONNECT', t => {
  t.test('can change the Session Expiry Interval, both ways (section 3.14.2.2.2) [MQTT-3.1.2-23]', async t => {
    const test = await startBroker(t)
    for (const [before, after, wait, expected] of [[10, 100, 50_000, true], [100, 10, 50_000, false], [100, 0, 0, false], [100, undefined, 50_000, true]] as const) {
      const [client] = await open(test, expiry(before))
      await client.disconnect(0, after === undefined ? undefined : { sessionExpiryInterval: after }).take()
      await test.clock.advance(wait)
      t.equal(await isPresent(test), expected, `${before} then ${after ?? 'nothing'}`)
    }
  })

  t.test('that raises an interval of 0 is a Protocol Error (section 3.14.2.2.2)', async t => {
    const test = await startBroker(t)
    const [client] = await open(test, { will: will() })
    const [watcher] = await open(test, { clientIdentifier: 'watcher' })
    await watcher.subscribe('will')
    exactly(t, await client.disconnect(0, { sessionExpiryInterval: 1 }).take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.protocolError }])
    t.equal(await isPresent(test), false)
    t.strictSame(await watcher.payloads(), ['gone'], 'so the Will Message is published')
  })

  forEachVersion(t, 'ends the connection, and nothing behind it is processed [MQTT-3.14.4-1] [MQTT-3.14.4-2]', async (t, protocolVersion) => {
    const reasons: number[] = []
    const test = await startBroker(t, { hooks: { disconnected: ({ reasonCode }) => { reasons.push(reasonCode) } } })
    const [watcher] = await open(test, { clientIdentifier: 'watcher' })
    await watcher.subscribe('#')
    const [client] = await open(test, { protocolVersion })
    client.disconnect().publish('a', 'late').send({ type: PacketType.pingreq })
    t.strictSame(await client.take(), [])
    t.equal(client.isEnded, true)
    t.strictSame(await watcher.payloads(), [])
    t.strictSame(reasons, [0])
  })

  t.test('may not come back with more than maximumSessionExpiryInterval', async t => {
    const test = await startBroker(t, { limits: { maximumSessionExpiryInterval: 20 } })
    const [client] = await open(test, expiry(10))
    await client.disconnect(0, { sessionExpiryInterval: 1000 }).take()
    await test.clock.advance(21_000)
    t.equal(await isPresent(test), false)
  })
  t.end()
})

for (const [first, second] of [[4, 4], [5, 5], [4, 5], [5, 4], [3, 5]] as const) {
  t.test(`a Client Identifier in use is taken over, the first connection told 0x8E where it can be [MQTT-3.1.4-3] (version ${first} by ${second})`, async t => {
    const test = await startBroker(t)
    const [old] = await open(test, lasting({ protocolVersion: first }))
    await old.subscribe('a', { qos: 1 })
    const [current, connack] = await open(test, lasting({ protocolVersion: second }))
    exactly(t, await old.take(), first === 5 ? [{ type: PacketType.disconnect, reasonCode: ReasonCode.sessionTakenOver }] : [])
    t.strictSame([old.isEnded, current.isEnded, connack.sessionPresent], [true, false, true])
    await test.broker.publish('a', 'x', { qos: 1 })
    t.strictSame(payloadsOf(await receiveAll(current)), ['x'])
    t.equal([...test.broker.clients()].length, 1)
  })
}

t.test('what the old connection had not acknowledged goes to the new one [MQTT-4.4.0-1]', async t => {
  const test = await startBroker(t)
  const [old] = await open(test, lasting())
  await old.subscribe('a', { qos: 1 })
  await test.broker.publish('a', 'x', { qos: 1 })
  await settled()
  const [current] = await open(test, lasting())
  exactly(t, await receiveAll(current), [{ dup: true }])
})

t.test('a Session Expiry Interval of 0 ends the Session at take-over: nothing is left to be present [MQTT-4.1.0-2]', async t => {
  const test = await startBroker(t)
  await open(test)
  const [, connack] = await open(test, { cleanStart: false })
  t.equal(connack.sessionPresent, false)
})

t.test('of two CONNECTs with one Client Identifier that wait for the host the last to be let in stays', async t => {
  const waiting: ((value: boolean) => void)[] = []
  const test = await startBroker(t, { hooks: { authenticate: () => new Promise<boolean>(resolve => { waiting.push(resolve) }) } })
  const clients = [0, 1].map(() => new PacketClient(test.broker, 5).send(connectPacket(lasting())))
  await settled()
  for (const allow of waiting.reverse()) {
    allow(true)
    await settled()
  }
  t.strictSame(clients.map(({ isEnded }) => isEnded), [false, true])
  t.equal([...test.broker.clients()].length, 1)
})
