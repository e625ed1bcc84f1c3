import { malformed, protocolError } from '../../base/errors.ts'
import { emptyTopic, type Topic, type TopicTable } from '../../topic/topic.ts'
import { PacketType } from '../packets.ts'
import type { ProtocolVersion, Properties, PublishPacket, QoS } from '../packets.ts'
import { Pieces } from '../data/pieces.ts'
import { readProperties, writeProperties } from '../properties.ts'
import { bodyOf, decodeVariableByteInteger, incomplete, variableByteIntegerLength, type Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** The flags of a PUBLISH in its first byte (section 3.3.1). */
export const publishFlags = { retain: 0x01, qosShift: 1, dup: 0x08 } as const

/** @throws MqttError Malformed Packet for QoS 3 or DUP with QoS 0 */
export function checkPublishFlags (flags: number): void {
  const qos = qosOf(flags)
  if (qos as number === 3) throw malformed('QoS is 3 [MQTT-3.3.1-4]')
  if (qos === 0 && (flags & publishFlags.dup) !== 0) throw malformed('DUP with QoS 0 [MQTT-3.3.1-2]')
}

/** Decodes PUBLISH (section 3.3), whose flags were checked. */
export function decodePublish (
  reader: Reader, flags: number, version: ProtocolVersion, topics: TopicTable, maximumUserProperties: number,
): PublishPacket {
  const qos = qosOf(flags)
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

/**
 * A PUBLISH whose payload came in several chunks. A class, since the engine makes a new shape for each object literal with a getter: with payloads of
 * 100 KB that took 90 µs a message instead of 50.
 */
class PublishInPieces implements PublishPacket {
  readonly type = PacketType.publish
  readonly dup: boolean
  readonly qos: QoS
  readonly retain: boolean
  readonly topic: Topic
  readonly packetIdentifier: number
  readonly properties: Properties | undefined
  readonly pieces: Pieces

  constructor ({ dup, qos, retain, topic, packetIdentifier, properties, payload }: PublishPacket, following: readonly Buffer[]) {
    this.dup = dup
    this.qos = qos
    this.retain = retain
    this.topic = topic
    this.packetIdentifier = packetIdentifier
    this.properties = properties
    this.pieces = new Pieces([payload, ...following])
  }

  get payload (): Buffer { return this.pieces.join() }
}

/** Decodes a whole PUBLISH that came in several chunks; undefined where it is none, or where not all but its payload stands in the first. */
export function decodePublishInPieces (
  reader: Reader, [first, ...following]: readonly Buffer[], version: ProtocolVersion, topics: TopicTable, maximumUserProperties: number,
): PublishPacket | undefined {
  if (first === undefined || (first[0] as number) >> 4 !== PacketType.publish) return undefined
  const flags = (first[0] as number) & 0x0f
  const body = bodyOf(first, 0)
  if (payloadStart(first, body, flags, version) > first.length) return undefined
  reader.reset(first, body, first.length)
  return new PublishInPieces(decodePublish(reader, flags, version, topics, maximumUserProperties), following)
}

/** Where the payload begins; Infinity where too little is there to tell. */
function payloadStart (bytes: Buffer, body: number, flags: number, version: ProtocolVersion): number {
  if (body + 2 > bytes.length) return Infinity
  const properties = body + 2 + bytes.readUInt16BE(body) + (qosOf(flags) === 0 ? 0 : 2)
  if (version !== 5) return properties
  const length = decodeVariableByteInteger(bytes, properties, bytes.length)
  return length === incomplete ? Infinity : properties + variableByteIntegerLength(length) + length
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

function qosOf (flags: number): QoS {
  return (flags >> publishFlags.qosShift & 3) as QoS
}

/** The first byte of a PUBLISH (section 3.3.1). */
export function publishFirstByte (dup: boolean, qos: QoS, retain: boolean): number {
  return PacketType.publish << 4 | (dup ? publishFlags.dup : 0) | qos << publishFlags.qosShift | (retain ? publishFlags.retain : 0)
}
