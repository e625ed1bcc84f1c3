import { protocolError } from '../../base/errors.ts'
import type { ReasonCode } from '../../base/reason-codes.ts'
import { readReasonCode } from '../packet-reason-codes.ts'
import { PacketType } from '../packets.ts'
import type { ProtocolVersion, UnsubackPacket, UnsubscribePacket } from '../packets.ts'
import { readProperties, writeProperties } from '../properties.ts'
import type { Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** Decodes UNSUBSCRIBE (section 3.10). */
export function decodeUnsubscribe (reader: Reader, version: ProtocolVersion, maximumUserProperties: number): UnsubscribePacket {
  const packetIdentifier = reader.readPacketIdentifier()
  const properties = version === 5 ? readProperties(reader, PacketType.unsubscribe, maximumUserProperties) : undefined
  const topicFilters: string[] = []
  while (!reader.atEnd) topicFilters.push(reader.readString())
  if (topicFilters.length === 0) throw protocolError('UNSUBSCRIBE without a Topic Filter [MQTT-3.10.3-2]')
  return { type: PacketType.unsubscribe, packetIdentifier, topicFilters, properties }
}

/** Encodes UNSUBSCRIBE. */
export function encodeUnsubscribe (packet: UnsubscribePacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  writer.writeUint16(packet.packetIdentifier)
  if (version === 5) writeProperties(writer, packet.properties)
  for (const topicFilter of packet.topicFilters) writer.writeString(topicFilter)
  return writer.packet(PacketType.unsubscribe << 4 | 2) // [MQTT-3.10.1-1]
}

/** Decodes UNSUBACK (section 3.11), which has no payload before MQTT 5.0. */
export function decodeUnsuback (reader: Reader, version: ProtocolVersion, maximumUserProperties: number): UnsubackPacket {
  const packetIdentifier = reader.readPacketIdentifier()
  if (version !== 5) reader.expectEnd()
  const properties = version === 5 ? readProperties(reader, PacketType.unsuback, maximumUserProperties) : undefined
  const reasonCodes: ReasonCode[] = []
  while (!reader.atEnd) reasonCodes.push(readReasonCode(reader, PacketType.unsuback))
  if (version === 5 && reasonCodes.length === 0) throw protocolError('UNSUBACK without a Reason Code (section 3.11.3)')
  return { type: PacketType.unsuback, packetIdentifier, reasonCodes, properties }
}

/** Encodes UNSUBACK. */
export function encodeUnsuback (packet: UnsubackPacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  writer.writeUint16(packet.packetIdentifier)
  if (version === 5) {
    writeProperties(writer, packet.properties)
    for (const reasonCode of packet.reasonCodes) writer.writeByte(reasonCode)
  }
  return writer.packet(PacketType.unsuback << 4)
}
