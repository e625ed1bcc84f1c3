import t from 'tap'
import { ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { connect, connectPacket, forEachVersion, PacketClient, startBroker } from './support/harness.ts'

forEachVersion(t, 'a message reaches a subscriber', async (t, protocolVersion) => {
  const test = await startBroker(t)
  const [subscriber] = await connect(test, { protocolVersion, clientIdentifier: 'subscriber' })
  const [publisher] = await connect(test, { protocolVersion, clientIdentifier: 'publisher' })
  t.match(await subscriber.subscribe('a/+', { qos: 1 }), { reasonCodes: [1] })
  publisher.publish('a/b', 'hello', { qos: 1, packetIdentifier: 7 })
  t.match(await publisher.take(), [{ type: PacketType.puback, packetIdentifier: 7, reasonCode: ReasonCode.success }])
  t.strictSame(await subscriber.payloads(), ['hello'])
})

t.test('CONNECT that is refused is answered and closed [MQTT-3.2.2-7]', async t => {
  const { broker } = await startBroker(t, { hooks: { authenticate: () => false } })
  const client = new PacketClient(broker, 5)
  client.send(connectPacket())
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized, sessionPresent: false }])
  t.equal(client.isEnded, true)
})
