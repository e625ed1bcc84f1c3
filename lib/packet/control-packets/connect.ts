import { ErrorCode, malformed, MqttError, protocolError } from '../../base/errors.ts'
import { connectReturnCode, ReasonCode } from '../../base/reason-codes.ts'
import { readReasonCode } from '../packet-reason-codes.ts'
import { PacketType } from '../packets.ts'
import type { ConnackPacket, ConnectPacket, ProtocolVersion, QoS, WillFields } from '../packets.ts'
import { readProperties, willPlace, writeProperties } from '../properties.ts'
import type { Reader } from '../data/reader.ts'
import { Writer } from '../data/writer.ts'

/** What CONNECT begins with (sections 3.1.2.1 and 3.1.2.2). */
export interface ProtocolHead { readonly name: string, readonly level: number }

const connectFlags = { reserved: 0x01, cleanStart: 0x02, will: 0x04, willRetain: 0x20, password: 0x40, username: 0x80 } as const
const willQosShift = 3

/** Bit 7 of the protocol level, by which a Client of MQTT 3.x says that it is a bridge (a convention, not of the specification). */
const bridgeBit = 0x80

const supported: ReadonlyMap<number, string> = new Map([[3, 'MQIsdp'], [4, 'MQTT'], [5, 'MQTT'], [3 | bridgeBit, 'MQIsdp'], [4 | bridgeBit, 'MQTT']])

export function readProtocolHead (reader: Reader): ProtocolHead {
  return { name: reader.readString(), level: reader.readByte() }
}

export function isBridge ({ level }: ProtocolHead): boolean {
  return has(level, bridgeBit)
}

/** The version whose CONNACK the Client of that level understands best; undefined for another protocol's name, unless it says 5. */
export function answerableVersion ({ name, level }: ProtocolHead): ProtocolVersion | undefined {
  if (supported.get(level) === name) return versionOf(level)
  if (name !== 'MQTT' && name !== 'MQIsdp') return level === 5 ? 5 : undefined
  return level > 5 && level < 0x80 ? 5 : 4
}

/** @throws MqttError Unsupported Protocol Version [MQTT-3.1.2-1] [MQTT-3.1.2-2] */
export function supportedVersion ({ name, level }: ProtocolHead): ProtocolVersion {
  if (supported.get(level) !== name) throw unsupported(`${name} of level ${level} is not supported [MQTT-3.1.2-2]`)
  return versionOf(level)
}

function versionOf (level: number): ProtocolVersion {
  return (level & ~bridgeBit) as ProtocolVersion
}

function unsupported (message: string): MqttError {
  return new MqttError(ErrorCode.unsupportedProtocolVersion, ReasonCode.unsupportedProtocolVersion, message)
}

/** Decodes what follows the Protocol Version in CONNECT (section 3.1). */
export function decodeConnect (reader: Reader, protocolVersion: ProtocolVersion, maximumUserProperties: number): ConnectPacket {
  const flags = reader.readByte()
  checkConnectFlags(flags, protocolVersion)
  const keepAlive = reader.readUint16()
  const properties = protocolVersion === 5 ? readProperties(reader, PacketType.connect, maximumUserProperties) : undefined
  const clientIdentifier = reader.readString()
  const will = has(flags, connectFlags.will) ? readWill(reader, flags, protocolVersion, maximumUserProperties) : undefined
  const username = has(flags, connectFlags.username) && !isLeftOut(reader, protocolVersion) ? reader.readString() : undefined
  const password = has(flags, connectFlags.password) && !isLeftOut(reader, protocolVersion) ? Buffer.from(reader.readBinary()) : undefined
  reader.expectEnd()
  const cleanStart = has(flags, connectFlags.cleanStart)
  return { type: PacketType.connect, protocolVersion, cleanStart, keepAlive, clientIdentifier, will, username, password, properties }
}

function has (flags: number, flag: number): boolean {
  return (flags & flag) !== 0
}

/** MQTT 3.1 (section 3.1): the Remaining Length goes before the flags, and a Client may leave out what they announce. */
function isLeftOut (reader: Reader, version: ProtocolVersion): boolean {
  return version === 3 && reader.atEnd
}

function checkConnectFlags (flags: number, version: ProtocolVersion): void {
  if (version !== 3 && has(flags, connectFlags.reserved)) throw malformed('the reserved Connect Flag is set [MQTT-3.1.2-3]')
  const willQos = flags >> willQosShift & 3
  if (willQos === 3) throw malformed('Will QoS is 3 [MQTT-3.1.2-12]')
  if (!has(flags, connectFlags.will)) {
    if (willQos !== 0) throw malformed('Will QoS without Will Flag [MQTT-3.1.2-11]')
    if (has(flags, connectFlags.willRetain)) throw malformed('Will Retain without Will Flag [MQTT-3.1.2-13]')
  }
  // [MQTT-3.1.2-22] of 3.1.1; MQTT 5.0 allows a password alone (section 3.1.2.9).
  if (version !== 5 && has(flags, connectFlags.password) && !has(flags, connectFlags.username)) {
    throw malformed('a password without a User Name [MQTT-3.1.2-22]')
  }
}

// The payload is copied, as password is: it stays as long as the connection, and must not keep the whole chunk alive.
function readWill (reader: Reader, flags: number, version: ProtocolVersion, maximumUserProperties: number): WillFields {
  const properties = version === 5 ? readProperties(reader, willPlace, maximumUserProperties) : undefined
  const topicName = reader.readString()
  const payload = Buffer.from(reader.readBinary())
  return { topicName, payload, qos: (flags >> willQosShift & 3) as QoS, retain: has(flags, connectFlags.willRetain), properties }
}

/** Encodes CONNECT in the version that it names. */
export function encodeConnect (packet: ConnectPacket): Buffer {
  const { protocolVersion, will, username, password } = packet
  const writer = new Writer()
  writer.writeString(protocolVersion === 3 ? 'MQIsdp' : 'MQTT')
  writer.writeByte(protocolVersion)
  writer.writeByte(connectFlagsOf(packet))
  writer.writeUint16(packet.keepAlive)
  if (protocolVersion === 5) writeProperties(writer, packet.properties)
  writer.writeString(packet.clientIdentifier)
  if (will !== undefined) writeWill(writer, will, protocolVersion)
  if (username !== undefined) writer.writeString(username)
  if (password !== undefined) writer.writeBinary(password)
  return writer.packet(PacketType.connect << 4)
}

function connectFlagsOf ({ cleanStart, will, username, password }: ConnectPacket): number {
  return (cleanStart ? connectFlags.cleanStart : 0) |
    (will === undefined ? 0 : connectFlags.will | will.qos << willQosShift | (will.retain ? connectFlags.willRetain : 0)) |
    (password === undefined ? 0 : connectFlags.password) |
    (username === undefined ? 0 : connectFlags.username)
}

function writeWill (writer: Writer, will: WillFields, version: ProtocolVersion): void {
  if (version === 5) writeProperties(writer, will.properties)
  writer.writeString(will.topicName)
  writer.writeBinary(will.payload)
}

/** The Reason Code for each return code of MQTT 3.1.1 (section 3.2.2.3). */
const returnCodes: readonly ReasonCode[] = [
  ReasonCode.success, ReasonCode.unsupportedProtocolVersion, ReasonCode.clientIdentifierNotValid,
  ReasonCode.serverUnavailable, ReasonCode.badUserNameOrPassword, ReasonCode.notAuthorized,
]

/** Decodes CONNACK (section 3.2). */
export function decodeConnack (reader: Reader, version: ProtocolVersion, maximumUserProperties: number): ConnackPacket {
  const flags = reader.readByte()
  if (flags > 1) throw malformed('a reserved Connect Acknowledge Flag is set [MQTT-3.2.2-1]')
  const reasonCode = version === 5 ? readReasonCode(reader, PacketType.connack) : readReturnCode(reader)
  if (flags === 1 && reasonCode !== ReasonCode.success) throw protocolError('Session Present in a refusal [MQTT-3.2.2-6]')
  const properties = version === 5 ? readProperties(reader, PacketType.connack, maximumUserProperties) : undefined
  reader.expectEnd()
  // MQTT 3.1 knows no Session Present.
  return { type: PacketType.connack, sessionPresent: flags === 1 && version !== 3, reasonCode, properties }
}

function readReturnCode (reader: Reader): ReasonCode {
  const value = reader.readByte()
  const reasonCode = returnCodes[value]
  if (reasonCode === undefined) throw malformed(`${value} is no Connect Return code`)
  return reasonCode
}

/** All that there are in MQTT 3.x, by Session Present and return code: written once, since every Client gets one. */
const bareConnacks: readonly (readonly Buffer[])[] = [0, 1].map(flags => returnCodes.map((_, code) => Buffer.from([PacketType.connack << 4, 2, flags, code])))

/** Encodes CONNACK; MQTT 3.1 knows no Session Present, and 3.x has return codes of its own. */
export function encodeConnack (packet: ConnackPacket, version: ProtocolVersion): Buffer {
  const flags = packet.sessionPresent && version !== 3 ? 1 : 0
  const bare = version === 5 ? undefined : bareConnacks[flags]?.[connectReturnCode(packet.reasonCode)]
  if (bare !== undefined) return bare
  const writer = new Writer()
  writer.writeByte(flags)
  writer.writeByte(packet.reasonCode)
  writeProperties(writer, packet.properties)
  return writer.packet(PacketType.connack << 4)
}
