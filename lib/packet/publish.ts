import { malformed, protocolError } from '../base/errors.ts'
import { emptyTopic, type TopicTable } from '../topic/topic.ts'
import { PacketType } from './packets.ts'
import type { ProtocolVersion, PublishPacket, QoS } from './packets.ts'
import { readProperties, writeProperties } from './properties.ts'
import type { Reader } from './reader.ts'
import { Writer } from './writer.ts'

/** The flags of a PUBLISH in its first byte (section 3.3.1). */
export const publishFlags = { retain: 0x01, qosShift: 1, dup: 0x08 } as const

/** @throws MqttError Malformed Packet for QoS 3 or DUP with QoS 0 */
export function checkPublishFlags (flags: number): void {
  const qos = flags >> publishFlags.qosShift & 3
  if (qos === 3) throw malformed('QoS is 3 [MQTT-3.3.1-4]')
  if (qos === 0 && (flags & publishFlags.dup) !== 0) throw malformed('DUP with QoS 0 [MQTT-3.3.1-2]')
}

/** Decodes PUBLISH (section 3.3), whose flags were checked. */
export function decodePublish (
  reader: Reader, flags: number, version: ProtocolVersion, topics: TopicTable, maximumUserProperties: number,
): PublishPacket {
  const qos = (flags >> publishFlags.qosShift & 3) as QoS
  const topic = reader.readStringBytes(topics) ?? emptyTopic
  const packetIdentifier = qos === 0 ? 0 : reader.readPacketIdentifier() // [MQTT-2.2.1-2]
  const properties = version === 5 ? readProperties(reader, PacketType.publish, maximumUserProperties) : undefined
  if (topic === emptyTopic && properties?.topicAlias === undefined) {
    throw protocolError('neither Topic Name nor Topic Alias (section 3.3.2.1) [MQTT-4.7.3-1]')
  }
  return {
    type: PacketType.publish,
    dup: (flags & publishFlags.dup) !== 0,
    qos,
    retain: (flags & publishFlags.retain) !== 0,
    topic,
    packetIdentifier,
    properties,
    payload: reader.readRest(),
  }
}

/** Encodes PUBLISH as one buffer. What the broker delivers goes through publish-encoder.ts. */
export function encodePublish (packet: PublishPacket, version: ProtocolVersion): Buffer {
  const { topic, qos, dup, retain } = packet
  const writer = new Writer()
  writer.writeBinary(topic.bytes)
  if (qos > 0) writer.writeUint16(packet.packetIdentifier)
  if (version === 5) writeProperties(writer, packet.properties)
  writer.writeBytes(packet.payload)
  return writer.packet(publishFirstByte(dup, qos, retain))
}

/** The first byte of a PUBLISH (section 3.3.1). */
export function publishFirstByte (dup: boolean, qos: QoS, retain: boolean): number {
  return PacketType.publish << 4 | (dup ? publishFlags.dup : 0) | qos << publishFlags.qosShift | (retain ? publishFlags.retain : 0)
}
