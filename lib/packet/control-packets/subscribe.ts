import { malformed, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { readReasonCode } from '../packet-reason-codes.ts'
import { PacketType } from '../packets.ts'
import type { ProtocolVersion, QoS, RetainHandling, SubackPacket, SubscribePacket, SubscriptionRequest } from '../packets.ts'
import { readProperties, writeProperties } from '../properties.ts'
import type { Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** Subscription Options (section 3.8.3.1). */
const optionBits = { qos: 0x03, noLocal: 0x04, retainAsPublished: 0x08, retainHandlingShift: 4 } as const

/** Decodes SUBSCRIBE (section 3.8); that of a bridge means No Local and Retain As Published, which MQTT 3.x cannot say. */
export function decodeSubscribe (reader: Reader, version: ProtocolVersion, maximumUserProperties: number, isBridge = false): SubscribePacket {
  const packetIdentifier = reader.readPacketIdentifier()
  const properties = version === 5 ? readProperties(reader, PacketType.subscribe, maximumUserProperties) : undefined
  const subscriptions: SubscriptionRequest[] = []
  while (!reader.atEnd) subscriptions.push(readSubscription(reader, version, isBridge))
  if (subscriptions.length === 0) throw protocolError('SUBSCRIBE without a Topic Filter [MQTT-3.8.3-2]')
  return { type: PacketType.subscribe, packetIdentifier, subscriptions, properties }
}

function readSubscription (reader: Reader, version: ProtocolVersion, isBridge: boolean): SubscriptionRequest {
  const topicFilter = reader.readString()
  const options = reader.readByte()
  checkOptions(options, version)
  return {
    topicFilter,
    qos: (options & optionBits.qos) as QoS,
    noLocal: (options & optionBits.noLocal) !== 0 || isBridge && !topicFilter.startsWith('$share/'), // [MQTT-3.8.3-4]
    retainAsPublished: (options & optionBits.retainAsPublished) !== 0 || isBridge,
    retainHandling: (options >> optionBits.retainHandlingShift) as RetainHandling,
  }
}

function checkOptions (options: number, version: ProtocolVersion): void {
  if (options > (version === 5 ? 0x3f : 0x03)) throw malformed('a reserved bit of the Subscription Options is set [MQTT-3.8.3-5]')
  if ((options & optionBits.qos) === 3) throw protocolError('Maximum QoS is 3 (section 3.8.3.1)')
  if (options >> optionBits.retainHandlingShift === 3) throw protocolError('Retain Handling is 3 (section 3.8.3.1)')
}

/** Encodes SUBSCRIBE; MQTT 3.x knows no option but QoS. */
export function encodeSubscribe (packet: SubscribePacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  writer.writeUint16(packet.packetIdentifier)
  if (version === 5) writeProperties(writer, packet.properties)
  for (const subscription of packet.subscriptions) {
    writer.writeString(subscription.topicFilter)
    writer.writeByte(version === 5 ? optionsOf(subscription) : subscription.qos)
  }
  return writer.packet(PacketType.subscribe << 4 | 2) // [MQTT-3.8.1-1]
}

function optionsOf ({ qos, noLocal, retainAsPublished, retainHandling }: SubscriptionRequest): number {
  return qos | (noLocal ? optionBits.noLocal : 0) | (retainAsPublished ? optionBits.retainAsPublished : 0) |
    retainHandling << optionBits.retainHandlingShift
}

/** Decodes SUBACK (section 3.9). */
export function decodeSuback (reader: Reader, version: ProtocolVersion, maximumUserProperties: number): SubackPacket {
  const packetIdentifier = reader.readPacketIdentifier()
  const properties = version === 5 ? readProperties(reader, PacketType.suback, maximumUserProperties) : undefined
  const reasonCodes: ReasonCode[] = []
  while (!reader.atEnd) reasonCodes.push(readSubackCode(reader, version))
  if (reasonCodes.length === 0) throw protocolError('SUBACK without a Reason Code (section 3.9.3)')
  return { type: PacketType.suback, packetIdentifier, reasonCodes, properties }
}

function readSubackCode (reader: Reader, version: ProtocolVersion): ReasonCode {
  const reasonCode = readReasonCode(reader, PacketType.suback)
  if (version !== 5 && reasonCode > ReasonCode.unspecifiedError) throw malformed('no SUBACK return code [MQTT-3.9.3-2]')
  return reasonCode
}

/** Encodes SUBACK; MQTT 3.1.1 knows one code for failure, 0x80 [MQTT-3.9.3-2]. */
export function encodeSuback (packet: SubackPacket, version: ProtocolVersion): Buffer {
  const writer = new Writer()
  writer.writeUint16(packet.packetIdentifier)
  if (version === 5) writeProperties(writer, packet.properties)
  for (const reasonCode of packet.reasonCodes) {
    writer.writeByte(version === 5 ? reasonCode : Math.min(reasonCode, ReasonCode.unspecifiedError))
  }
  return writer.packet(PacketType.suback << 4)
}
