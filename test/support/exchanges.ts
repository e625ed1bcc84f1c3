import type { Test } from 'tap'
import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { PacketType, type AcknowledgePacket, type AcknowledgeType, type ConnackPacket, type ConnectPacket, type Packet, type Properties, type PublishPacket, type SubscribePacket, type WillFields } from '../../lib/packet/packets.ts'
import { connectPacket, PacketClient, settled, type TestBroker } from './harness.ts'

function acknowledgement (type: AcknowledgeType, packetIdentifier: number, reasonCode: ReasonCode, properties: Properties | undefined): AcknowledgePacket {
  return { type, packetIdentifier, reasonCode, properties }
}

export const puback = (id: number, reasonCode: ReasonCode = 0, properties?: Properties): AcknowledgePacket => acknowledgement(PacketType.puback, id, reasonCode, properties)
export const pubrec = (id: number, reasonCode: ReasonCode = 0, properties?: Properties): AcknowledgePacket => acknowledgement(PacketType.pubrec, id, reasonCode, properties)
export const pubrel = (id: number, reasonCode: ReasonCode = 0, properties?: Properties): AcknowledgePacket => acknowledgement(PacketType.pubrel, id, reasonCode, properties)
export const pubcomp = (id: number, reasonCode: ReasonCode = 0, properties?: Properties): AcknowledgePacket => acknowledgement(PacketType.pubcomp, id, reasonCode, properties)

/** A Will Message that a test does not care much about. */
export function will (fields: Partial<WillFields> = {}): WillFields {
  return { topicName: 'will', payload: Buffer.from('gone'), qos: 0, retain: false, properties: undefined, ...fields }
}

/** Asks for QoS 1 of each. */
export function subscribePacket (...topicFilters: string[]): SubscribePacket {
  const subscriptions = topicFilters.map(topicFilter => ({ topicFilter, qos: 1 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const }))
  return { type: PacketType.subscribe, packetIdentifier: 1, subscriptions, properties: undefined }
}

/** A Client of either kind of Session that outlives its connection: Clean Start 0 and an expiry in 5.0, Clean Session 0 in 3.x. */
export function lasting (fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> {
  return { cleanStart: false, properties: { sessionExpiryInterval: 3600 }, ...fields }
}

/** Connects, and leaves what came behind CONNACK to be taken. */
export async function open<Data> ({ broker }: TestBroker<Data>, fields: Partial<ConnectPacket> = {}): Promise<[PacketClient, ConnackPacket]> {
  const packet = connectPacket(fields)
  const client = new PacketClient(broker, packet.protocolVersion)
  client.send(packet)
  await settled()
  const connack = client.received.shift()
  if (connack?.type !== PacketType.connack || connack.reasonCode !== ReasonCode.success) throw new Error(`CONNECT was not accepted: ${JSON.stringify(connack)}`)
  return [client, connack]
}

/** Acknowledges whatever comes until nothing does, and returns the messages. */
export async function receiveAll (client: PacketClient): Promise<PublishPacket[]> {
  const messages: PublishPacket[] = []
  for (let packets = await client.take(); packets.length > 0; packets = await client.take()) {
    for (const packet of packets) {
      if (packet.type === PacketType.publish) messages.push(packet)
      const answer = answerTo(packet)
      if (answer !== undefined) client.send(answer)
    }
  }
  return messages
}

export function payloadsOf (messages: readonly PublishPacket[]): string[] {
  return messages.map(({ payload }) => payload.toString())
}

/** What a Client has to say to a packet of the broker, if anything. */
export function answerTo (packet: Packet): Packet | undefined {
  if (packet.type === PacketType.publish && packet.qos === 1) return puback(packet.packetIdentifier)
  if (packet.type === PacketType.publish && packet.qos === 2) return pubrec(packet.packetIdentifier)
  if (packet.type === PacketType.pubrec && packet.reasonCode < 0x80) return pubrel(packet.packetIdentifier)
  if (packet.type === PacketType.pubrel) return pubcomp(packet.packetIdentifier)
  return undefined
}

/** As `t.match`, which is content when more comes than was expected; here arrays have to be as long as their pattern. */
export function exactly (t: Test, found: unknown, pattern: object, message = 'is exactly what was expected'): void {
  if (isAsLong(found, pattern)) t.match(found, pattern, message)
  else t.strictSame(found, pattern, message)
}

function isAsLong (found: unknown, pattern: unknown): boolean {
  if (Array.isArray(pattern)) return Array.isArray(found) && found.length === pattern.length && pattern.every((one, index) => isAsLong(found[index], one))
  if (typeof pattern !== 'object' || pattern === null || typeof found !== 'object' || found === null) return true
  return Object.entries(pattern).every(([name, value]) => isAsLong((found as Record<string, unknown>)[name], value))
}
