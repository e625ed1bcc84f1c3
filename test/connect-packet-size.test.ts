import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import type { Drop, Hooks } from '../lib/index.ts'
import { PacketType, type Packet } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, receiveAll } from './support/exchanges.ts'
import { connect, startBroker } from './support/harness.ts'
import { attempt } from './support/observe.ts'

const ping: Packet = { type: PacketType.pingreq }
const isPong = [{ type: PacketType.pingresp }]
const drops: Pick<Drop, 'reason' | 'clientIdentifier'>[] = []
const hooks: Hooks = { onDrop: ({ reason, clientIdentifier }) => { drops.push({ reason, clientIdentifier }) } }

for (const qos of [0, 1, 2] as const) {
  t.test(`a QoS ${qos} message larger than the Client's Maximum Packet Size is dropped as if it had been delivered, and others get it [MQTT-3.1.2-24] [MQTT-3.1.2-25]`, async t => {
    drops.length = 0
    const test = await startBroker(t, { hooks })
    const [small] = await connect(test, { clientIdentifier: 'small', properties: { maximumPacketSize: 40, receiveMaximum: 1 } })
    const [large] = await connect(test, { clientIdentifier: 'large' })
    await small.subscribe('a')
    await large.subscribe('a')
    await test.broker.publish('a', 'x'.repeat(100), { qos })
    await test.broker.publish('a', 'fits', { qos })
    t.strictSame(payloadsOf(await receiveAll(small)), ['fits'], 'the one behind it is not held up')
    t.strictSame(payloadsOf(await receiveAll(large)), ['x'.repeat(100), 'fits'])
    t.strictSame(drops, [{ reason: 'packetTooLarge', clientIdentifier: 'small' }])
  })
}

t.test('a packet of exactly the Client\'s Maximum Packet Size is sent, one byte more is not [MQTT-3.1.2-24]', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test, { properties: { maximumPacketSize: 20 } })
  await client.subscribe('a')
  await test.broker.publish('a', 'x'.repeat(14)) // 2 fixed header, 3 topic, 1 Property Length
  await test.broker.publish('a', 'x'.repeat(15))
  t.strictSame((await client.payloads()).map(({ length }) => length), [14])
})

t.test('a retained message larger than the Client\'s Maximum Packet Size is not sent [MQTT-3.1.2-24]', async t => {
  const test = await startBroker(t)
  await test.broker.publish('a', 'x'.repeat(50), { retain: true, qos: 1 })
  await test.broker.publish('b', 'x', { retain: true, qos: 1 })
  const [client] = await connect(test, { properties: { maximumPacketSize: 30 } })
  await client.subscribe('+')
  t.strictSame(await client.payloads(), ['x'])
})

t.test('one that waited in the Session and is too large for the next connection is dropped [MQTT-3.1.2-25]', async t => {
  drops.length = 0
  const test = await startBroker(t, { hooks })
  const [first] = await connect(test, lasting())
  await first.subscribe('a')
  await test.broker.publish('a', 'x'.repeat(60), { qos: 1 })
  await first.vanish()
  await test.broker.publish('a', 'y'.repeat(60), { qos: 1 })
  await test.broker.publish('a', 'fits', { qos: 1 })
  const [second] = await open(test, { cleanStart: false, properties: { maximumPacketSize: 30 } })
  t.strictSame(payloadsOf(await receiveAll(second)), ['fits'])
  t.strictSame(drops.map(({ reason }) => reason), ['packetTooLarge', 'packetTooLarge'])
})

t.test('Reason String and User Properties give way to the Maximum Packet Size [MQTT-3.2.2-19] [MQTT-3.2.2-20]', async t => {
  const test = await startBroker(t, {
    hooks: { authorizePublish: () => false, onConnect: () => ({ userProperties: [['k', 'v'.repeat(100)]] }) },
  })
  const [client, connack] = await connect(test, { properties: { maximumPacketSize: 30 } })
  t.equal(connack.properties?.userProperties, undefined)
  client.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  exactly(t, await client.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.notAuthorized, properties: undefined }])
  const [other, full] = await connect(test, { clientIdentifier: 'other', properties: { maximumPacketSize: 300 } })
  t.strictSame(full.properties?.userProperties, [['k', 'v'.repeat(100)]])
  t.equal(other.isEnded, false)
})

t.test('where not even CONNACK fits nothing is sent and the connection ends [MQTT-3.1.2-24]', async t => {
  const test = await startBroker(t)
  exactly(t, await attempt(test, { properties: { maximumPacketSize: 4 } }), { answers: [], isEnded: true })
})

t.test('a packet of exactly the broker\'s Maximum Packet Size is accepted, one byte more is refused by its announced length (section 3.2.2.3.6) [MQTT-3.2.2-15]', async t => {
  const test = await startBroker(t, { limits: { maximumPacketSize: 100 } })
  const [client] = await connect(test)
  client.publish('a', 'x'.repeat(94)).send(ping)
  exactly(t, await client.take(), isPong)
  client.write('3063')
  exactly(t, await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.packetTooLarge }])
  t.equal(client.isEnded, true)
})

t.test('CONNECT has a limit of its own', async t => {
  const test = await startBroker(t, { limits: { maximumConnectSize: 64 } })
  exactly(t, await attempt(test, { clientIdentifier: 'x'.repeat(40) }), { isEnded: false })
  exactly(t, await attempt(test, { clientIdentifier: 'x'.repeat(60) }), { answers: [], isEnded: true })
  const [client] = await connect(test)
  client.publish('a', 'x'.repeat(500)).send(ping)
  exactly(t, await client.take(), isPong, 'it ends with CONNECT')
})
