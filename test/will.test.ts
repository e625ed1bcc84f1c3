import t, { type Test } from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type Properties } from '../lib/packet/packets.ts'
import { exactly, lasting, open, receiveAll, will } from './support/exchanges.ts'
import { connectPacket, forEachVersion, PacketClient, startBroker, type TestBroker } from './support/harness.ts'

const expiry = (sessionExpiryInterval: number, more: Properties = {}): Partial<ConnectPacket> => ({ properties: { sessionExpiryInterval, ...more } })

async function watched (t: Test): Promise<{ test: TestBroker, watcher: PacketClient }> {
  const test = await startBroker(t)
  const [watcher] = await open(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('will')
  return { test, watcher }
}

forEachVersion(t, 'a Will Message is published when the network fails, once [MQTT-3.1.2-7] [MQTT-3.1.2-8] [MQTT-3.1.2-10]', async (t, protocolVersion) => {
  const { test, watcher } = await watched(t)
  const [client] = await open(test, lasting({ protocolVersion, will: will() }))
  t.strictSame(await watcher.take(), [])
  await client.vanish()
  t.strictSame(await watcher.payloads(), ['gone'])
  await test.clock.advance(20_000)
  await (await open(test, lasting({ protocolVersion })))[0].vanish()
  t.strictSame(await watcher.payloads(), [], 'a Session without a will has none, whatever its last connection had')
})

forEachVersion(t, 'a normal DISCONNECT discards the Will Message [MQTT-3.14.4-3] [MQTT-3.1.2-10]', async (t, protocolVersion) => {
  const { test, watcher } = await watched(t)
  const [client] = await open(test, lasting({ protocolVersion, will: will() }))
  await client.disconnect().take()
  await test.clock.advance(20_000)
  t.strictSame(await watcher.payloads(), [])
})

for (const reasonCode of [ReasonCode.disconnectWithWillMessage, ReasonCode.unspecifiedError, ReasonCode.malformedPacket] as const) {
  t.test(`DISCONNECT with Reason Code 0x${reasonCode.toString(16).padStart(2, '0')} publishes it [MQTT-3.1.2-8]`, async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, { will: will() })
    await client.disconnect(reasonCode).take()
    t.strictSame(await watcher.payloads(), ['gone'])
  })
}

forEachVersion(t, 'it is published when the broker ends the connection: for an error, by the host, at a take-over [MQTT-3.1.2-8]', async (t, protocolVersion) => {
  const { test, watcher } = await watched(t)
  const [broken] = await open(test, { protocolVersion, will: will() })
  await broken.write('c001 00').take()
  t.strictSame(await watcher.payloads(), ['gone'])
  const [removed] = await open(test, { protocolVersion, will: will() })
  t.equal(test.broker.disconnect('client'), true)
  exactly(t, await removed.take(), protocolVersion === 5 ? [{ reasonCode: ReasonCode.administrativeAction }] : [])
  t.strictSame(await watcher.payloads(), ['gone'])
  for (const cleanStart of [true, false]) {
    const [taken] = await open(test, lasting({ protocolVersion, will: will() }))
    await open(test, { ...lasting({ protocolVersion }), cleanStart })
    t.equal(taken.isEnded, true)
    t.strictSame(await watcher.payloads(), ['gone'])
  }
})

for (const qos of [0, 1, 2] as const) {
  forEachVersion(t, `it is published with its QoS ${qos}, and an empty payload is a message, too [MQTT-3.1.2-12] [MQTT-3.1.2-9]`, async (t, protocolVersion) => {
    const { test, watcher } = await watched(t)
    for (const payload of ['gone', '']) {
      const [client] = await open(test, { protocolVersion, will: will({ qos, payload: Buffer.from(payload) }) })
      await client.vanish()
      exactly(t, await watcher.messages(), [{ qos, retain: false, payload: Buffer.from(payload) }])
    }
  })
}

forEachVersion(t, 'Will Retain decides whether it is retained [MQTT-3.1.2-14] [MQTT-3.1.2-15]', async (t, protocolVersion) => {
  const { test } = await watched(t)
  for (const retain of [false, true]) {
    await (await open(test, { protocolVersion, will: will({ retain }) }))[0].vanish()
    const [late] = await open(test, { clientIdentifier: 'late' })
    await late.subscribe('will')
    t.equal((await late.messages()).length, retain ? 1 : 0)
  }
})

t.test('its properties are those of the message, User Properties in their order; the delay is not [MQTT-3.1.3-10]', async t => {
  const { test, watcher } = await watched(t)
  const properties: Properties = {
    payloadFormatIndicator: 1, messageExpiryInterval: 60, contentType: 't', responseTopic: 'r', correlationData: Buffer.from('c'), userProperties: [['b', '1'], ['a', '2'], ['b', '1']],
  }
  const [client] = await open(test, { will: will({ properties: { ...properties, willDelayInterval: 0 } }) })
  await client.vanish()
  t.strictSame((await watcher.messages()).map(message => message.properties), [properties])
})

t.test('its Message Expiry Interval starts when it is published (section 3.1.3.2.4)', async t => {
  const { test } = await watched(t)
  const [watcher] = await open(test, { clientIdentifier: 'away', ...expiry(1000), cleanStart: false })
  await watcher.subscribe('will')
  await watcher.vanish()
  const [client] = await open(test, { ...expiry(1000), will: will({ qos: 1, properties: { willDelayInterval: 50, messageExpiryInterval: 10 } }) })
  await test.clock.advance(20_000)
  await client.vanish()
  await test.clock.advance(54_500)
  const [again] = await open(test, { clientIdentifier: 'away', ...expiry(1000), cleanStart: false })
  const [message] = await receiveAll(again)
  t.ok([5, 6].includes(message?.properties?.messageExpiryInterval ?? 0), String(message?.properties?.messageExpiryInterval))
})

t.test('Will Delay Interval', t => {
  const delayed = (willDelayInterval: number, sessionExpiryInterval: number): Partial<ConnectPacket> => ({ cleanStart: false, ...expiry(sessionExpiryInterval), will: will({ properties: { willDelayInterval } }) })

  t.test('the message waits for it, and not longer than a moment (section 3.1.3.2.2)', async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, delayed(10, 15))
    await client.vanish()
    await test.clock.advance(9_999)
    t.strictSame(await watcher.payloads(), [])
    await test.clock.advance(501)
    t.strictSame(await watcher.payloads(), ['gone'])
    await test.clock.advance(20_000)
    t.strictSame(await watcher.payloads(), [])
  })

  t.test('the end of the Session does not wait for it (section 3.1.3.2.2)', async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, delayed(100, 10))
    await client.vanish()
    await test.clock.advance(10_600)
    t.strictSame(await watcher.payloads(), ['gone'])
    const [other] = await open(test, delayed(100, 0))
    await other.vanish()
    t.strictSame(await watcher.payloads(), ['gone'], 'at once where the Session ends with the connection')
  })

  t.test('nor does a Clean Start that ends the Session (section 3.1.4)', async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, delayed(100, 100))
    await client.vanish()
    await open(test)
    t.strictSame(await watcher.payloads(), ['gone'])
  })

  t.test('a new connection in time cancels the message [MQTT-3.1.3-9]', async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, delayed(10, 15))
    await client.vanish()
    await test.clock.advance(9_000)
    const [again] = await open(test, { cleanStart: false, ...expiry(15) })
    await test.clock.advance(20_000)
    t.strictSame(await watcher.payloads(), [])
    await again.vanish()
    await test.clock.advance(20_000)
    t.strictSame(await watcher.payloads(), [])
  })

  t.test('so does a take-over [MQTT-3.1.3-9]', async t => {
    const { test, watcher } = await watched(t)
    const [old] = await open(test, delayed(10, 15))
    await open(test, { cleanStart: false, ...expiry(15) })
    t.equal(old.isEnded, true)
    await test.clock.advance(20_000)
    t.strictSame(await watcher.payloads(), [])
  })

  t.test('a DISCONNECT with 0x04 waits for it, too, and for the interval that it brings', async t => {
    const { test, watcher } = await watched(t)
    const [client] = await open(test, delayed(10, 15))
    await client.disconnect(ReasonCode.disconnectWithWillMessage, { sessionExpiryInterval: 5 }).take()
    await test.clock.advance(4_900)
    t.strictSame(await watcher.payloads(), [])
    await test.clock.advance(700)
    t.strictSame(await watcher.payloads(), ['gone'])
  })

  t.test('the will of the next connection is another one', async t => {
    const { test, watcher } = await watched(t)
    await (await open(test, delayed(10, 15)))[0].vanish()
    const [again] = await open(test, { ...delayed(20, 100), will: will({ payload: Buffer.from('second'), properties: { willDelayInterval: 20 } }) })
    await test.clock.advance(15_000)
    t.strictSame(await watcher.payloads(), [], 'neither is due while it is connected')
    await again.vanish()
    await test.clock.advance(19_000)
    t.strictSame(await watcher.payloads(), [])
    await test.clock.advance(2_000)
    t.strictSame(await watcher.payloads(), ['second'])
  })
  t.end()
})

t.test('a Will Message is authorized at CONNECT, and again when it is published', async t => {
  let isAllowed = false
  const asked: boolean[] = []
  const test = await startBroker(t, { hooks: { authorizePublish: ({ isWill }) => { asked.push(isWill); return isAllowed } } })
  const [watcher] = await open(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('#')
  const refused = new PacketClient(test.broker, 5).send(connectPacket({ will: will() }))
  exactly(t, await refused.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized }])
  isAllowed = true
  const [client] = await open(test, { will: will() })
  isAllowed = false
  await client.vanish()
  t.strictSame(await watcher.payloads(), [])
  t.strictSame(asked, [true, true, true])
})

for (const [name, fields, reasonCode] of [
  ['a wildcard in its topic', { topicName: 'a/+' }, ReasonCode.topicNameInvalid],
  ['a payload that is not the UTF-8 it announces', { payload: Buffer.from([0xff]), properties: { payloadFormatIndicator: 1 } }, ReasonCode.payloadFormatInvalid],
  ['a topic below $SYS', { topicName: '$SYS/x' }, ReasonCode.notAuthorized],
] as const) {
  t.test(`a Will Message with ${name} is refused at CONNECT`, async t => {
    const { broker } = await startBroker(t)
    const client = new PacketClient(broker, 5).send(connectPacket({ will: will(fields) }))
    exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode }])
    t.equal(client.isEnded, true)
  })
}

t.test('a Will with wildcards in its Response Topic is refused [MQTT-3.3.2-14]', async t => {
  const { broker } = await startBroker(t)
  const client = new PacketClient(broker, 5).send(connectPacket({ will: will({ properties: { responseTopic: 'a/#' } }) }))
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.protocolError }])
  t.equal(client.isEnded, true)
})
