import { ReasonCode } from '../../base/reason-codes.ts'
import { readReasonCode } from '../packet-reason-codes.ts'
import { PacketType } from '../packets.ts'
import type { AuthPacket, DisconnectPacket, ProtocolVersion } from '../packets.ts'
import { readProperties, writeProperties } from '../properties.ts'
import type { Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** Decodes DISCONNECT (section 3.14), which is empty before MQTT 5.0. */
export function decodeDisconnect (reader: Reader, version: ProtocolVersion, maximumUserProperties: number): DisconnectPacket {
  if (version !== 5) reader.expectEnd()
  // Both may be left out, first the properties (section 3.14.2.2.1).
  const reasonCode = reader.atEnd ? ReasonCode.success : readReasonCode(reader, PacketType.disconnect)
  const properties = reader.atEnd ? undefined : readProperties(reader, PacketType.disconnect, maximumUserProperties)
  reader.expectEnd()
  return { type: PacketType.disconnect, reasonCode, properties }
}

/** Encodes DISCONNECT in the shortest form. */
export function encodeDisconnect ({ reasonCode, properties }: DisconnectPacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  if (version === 5 && (reasonCode !== ReasonCode.success || properties !== undefined)) writer.writeByte(reasonCode)
  if (version === 5 && properties !== undefined) writeProperties(writer, properties)
  return writer.packet(PacketType.disconnect << 4)
}

/** Decodes AUTH (section 3.15), which is empty or has both Reason Code and properties. */
export function decodeAuth (reader: Reader, maximumUserProperties: number): AuthPacket {
  if (reader.atEnd) return { type: PacketType.auth, reasonCode: ReasonCode.success, properties: undefined }
  const reasonCode = readReasonCode(reader, PacketType.auth)
  const properties = readProperties(reader, PacketType.auth, maximumUserProperties)
  reader.expectEnd()
  return { type: PacketType.auth, reasonCode, properties }
}

/** Encodes AUTH in the shortest form. */
export function encodeAuth ({ reasonCode, properties }: AuthPacket): Buffer {
  const writer = new Writer()
  if (reasonCode !== ReasonCode.success || properties !== undefined) {
    writer.writeByte(reasonCode)
    writeProperties(writer, properties)
  }
  return writer.packet(PacketType.auth << 4)
}
