import { ReasonCode } from '../../base/reason-codes.ts'
import { readReasonCode } from '../packet-reason-codes.ts'
import { PacketType } from '../packets.ts'
import type { AcknowledgePacket, AcknowledgeType, ProtocolVersion } from '../packets.ts'
import { readProperties, writeProperties } from '../properties.ts'
import type { Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** Decodes PUBACK, PUBREC, PUBREL or PUBCOMP (sections 3.4 to 3.7). */
export function decodeAcknowledge (
  reader: Reader, type: AcknowledgeType, version: ProtocolVersion, maximumUserProperties: number,
): AcknowledgePacket {
  const packetIdentifier = reader.readPacketIdentifier()
  if (version !== 5) reader.expectEnd()
  // Both may be left out, first the properties (section 3.4.2.1).
  const reasonCode = reader.atEnd ? ReasonCode.success : readReasonCode(reader, type)
  const properties = reader.atEnd ? undefined : readProperties(reader, type, maximumUserProperties)
  reader.expectEnd()
  return { type, packetIdentifier, reasonCode, properties }
}

/** Encodes PUBACK, PUBREC, PUBREL or PUBCOMP in the shortest form. */
export function encodeAcknowledge ({ type, packetIdentifier, reasonCode, properties }: AcknowledgePacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  writer.writeUint16(packetIdentifier)
  if (version === 5 && (reasonCode !== ReasonCode.success || properties !== undefined)) writer.writeByte(reasonCode)
  if (version === 5 && properties !== undefined) writeProperties(writer, properties)
  return writer.packet(acknowledgeFirstByte(type))
}

/** The first byte of an acknowledgement; PUBREL has the flags 0010 [MQTT-3.6.1-1]. */
export function acknowledgeFirstByte (type: AcknowledgeType): number {
  return type << 4 | (type === PacketType.pubrel ? 2 : 0)
}
