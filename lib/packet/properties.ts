import { ErrorCode, malformed, MqttError, protocolError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { PacketType, type Properties, type UserProperty } from './packets.ts'
import { emptyBytes, Reader } from './data/reader.ts'
import { Writer } from './data/writer.ts'

/** Where properties stand: in a packet of a type, or in the Will of CONNECT, which has the type that MQTT leaves unused. */
export type PropertyPlace = PacketType | typeof willPlace

/** The Will Properties (section 3.1.3.2) as a place. */
export const willPlace = 0

// `bit` is a Byte that may be 0 or 1 only: all properties of type Byte are.
type PropertyType = 'bit' | 'uint16' | 'uint32' | 'variable' | 'string' | 'binary' | 'pair'

type PropertyValue = number | string | Buffer | UserProperty

interface PropertyRow {
  readonly identifier: number
  readonly name: keyof Properties
  readonly type: PropertyType
  /** A bit for each {@link PropertyPlace}. */
  readonly places: number
}

const { connect, connack, publish, puback, pubrec, pubrel, pubcomp, subscribe, suback, unsubscribe, unsuback, disconnect, auth } = PacketType
const results: readonly PropertyPlace[] = [connack, puback, pubrec, pubrel, pubcomp, suback, unsuback, disconnect, auth]

function row (identifier: number, name: keyof Properties, type: PropertyType, places: readonly PropertyPlace[]): PropertyRow {
  return { identifier, name, type, places: places.reduce((bits: number, place) => bits | 1 << place, 0) }
}

const topicAlias = row(0x23, 'topicAlias', 'uint16', [publish])
/** Bytes of that property. */
const aliasLength = 3

/** All properties of MQTT 5.0 (table 2-4 of section 2.2.2.2). */
const rows: readonly PropertyRow[] = [
  row(0x01, 'payloadFormatIndicator', 'bit', [publish, willPlace]),
  row(0x02, 'messageExpiryInterval', 'uint32', [publish, willPlace]),
  row(0x03, 'contentType', 'string', [publish, willPlace]),
  row(0x08, 'responseTopic', 'string', [publish, willPlace]),
  row(0x09, 'correlationData', 'binary', [publish, willPlace]),
  row(0x0b, 'subscriptionIdentifiers', 'variable', [publish, subscribe]),
  row(0x11, 'sessionExpiryInterval', 'uint32', [connect, connack, disconnect]),
  row(0x12, 'assignedClientIdentifier', 'string', [connack]),
  row(0x13, 'serverKeepAlive', 'uint16', [connack]),
  row(0x15, 'authenticationMethod', 'string', [connect, connack, auth]),
  row(0x16, 'authenticationData', 'binary', [connect, connack, auth]),
  row(0x17, 'requestProblemInformation', 'bit', [connect]),
  row(0x18, 'willDelayInterval', 'uint32', [willPlace]),
  row(0x19, 'requestResponseInformation', 'bit', [connect]),
  row(0x1a, 'responseInformation', 'string', [connack]),
  row(0x1c, 'serverReference', 'string', [connack, disconnect]),
  row(0x1f, 'reasonString', 'string', results),
  row(0x21, 'receiveMaximum', 'uint16', [connect, connack]),
  row(0x22, 'topicAliasMaximum', 'uint16', [connect, connack]),
  topicAlias,
  row(0x24, 'maximumQos', 'bit', [connack]),
  row(0x25, 'retainAvailable', 'bit', [connack]),
  row(0x26, 'userProperties', 'pair', [connect, publish, willPlace, subscribe, unsubscribe, ...results]),
  row(0x27, 'maximumPacketSize', 'uint32', [connect, connack]),
  row(0x28, 'wildcardSubscriptionAvailable', 'bit', [connack]),
  row(0x29, 'subscriptionIdentifierAvailable', 'bit', [connack]),
  row(0x2a, 'sharedSubscriptionAvailable', 'bit', [connack]),
]

const byIdentifier: readonly (PropertyRow | undefined)[] = Array.from({ length: 0x2b }, (_, identifier) => rows.find(r => r.identifier === identifier))

const notZero: ReadonlySet<keyof Properties> = new Set<keyof Properties>(['receiveMaximum', 'maximumPacketSize', 'subscriptionIdentifiers'])

/** What of a PUBLISH belongs to the Application Message and never changes on its way (section 3.3.2.3). */
const messageRows: readonly PropertyRow[] = rows.filter(r =>
  ['payloadFormatIndicator', 'contentType', 'responseTopic', 'correlationData', 'userProperties'].includes(r.name))

/**
 * Reads Property Length and properties (section 2.2.2); undefined when there are none.
 * @throws MqttError Malformed Packet, Protocol Error, Topic Alias invalid, or Quota exceeded for too many User Properties
 */
export function readProperties (reader: Reader, place: PropertyPlace, maximumUserProperties: number): Properties | undefined {
  const length = reader.readVariableByteInteger()
  if (length === 0) return undefined
  if (length === aliasLength && place === publish && reader.peekByte() === topicAlias.identifier) return readTopicAlias(reader)
  const following = reader.narrow(length)
  const properties: Properties = {}
  while (!reader.atEnd) readProperty(reader, place, properties, maximumUserProperties)
  reader.widen(following)
  checkAuthentication(properties)
  return properties
}

/** A Topic Alias alone, which is what most PUBLISH packets with properties have. */
function readTopicAlias (reader: Reader): Properties {
  reader.readByte()
  const value = reader.readUint16()
  checkValue(value, topicAlias)
  return { topicAlias: value }
}

function readProperty (reader: Reader, place: PropertyPlace, properties: Properties, maximumUserProperties: number): void {
  const identifier = reader.readVariableByteInteger()
  const found = byIdentifier[identifier]
  if (found === undefined || (found.places & 1 << place) === 0) {
    throw malformed(`property 0x${identifier.toString(16)} is unknown or not of this packet (section 2.2.2.2)`)
  }
  if (found.type === 'pair') readUserProperty(reader, properties, found, maximumUserProperties)
  else if (found.type === 'variable') readSubscriptionIdentifier(reader, place, properties, found)
  else readSingle(reader, properties, found)
}

function readSingle (reader: Reader, properties: Properties, found: PropertyRow): void {
  const values = properties as Record<string, unknown>
  if (values[found.name] !== undefined) throw twice(found)
  const value = readValue(reader, found)
  checkValue(value, found)
  values[found.name] = value
}

function readValue (reader: Reader, found: PropertyRow): PropertyValue {
  switch (found.type) {
    case 'bit': return reader.readByte()
    case 'uint16': return reader.readUint16()
    case 'uint32': return reader.readUint32()
    case 'string': return reader.readString()
    case 'binary': return reader.readBinary()
    case 'variable': return reader.readVariableByteInteger()
    case 'pair': return [reader.readString(), reader.readString()]
  }
}

function checkValue (value: PropertyValue, found: PropertyRow): void {
  if (found.type === 'bit' && value !== 0 && value !== 1) throw protocolError(`${found.name} is neither 0 nor 1`)
  if (value !== 0) return
  if (notZero.has(found.name)) throw protocolError(`${found.name} is 0`)
  if (found.name === 'topicAlias') { // [MQTT-3.3.2-8]
    throw new MqttError(ErrorCode.topicAliasInvalid, ReasonCode.topicAliasInvalid, 'Topic Alias is 0 [MQTT-3.3.2-8]')
  }
}

function readUserProperty (reader: Reader, properties: Properties, found: PropertyRow, maximum: number): void {
  const list = (properties.userProperties ??= []) as UserProperty[]
  if (list.length >= maximum) {
    throw new MqttError(ErrorCode.quotaExceeded, ReasonCode.quotaExceeded, `more than ${maximum} User Properties`)
  }
  list.push(readValue(reader, found) as UserProperty)
}

function readSubscriptionIdentifier (reader: Reader, place: PropertyPlace, properties: Properties, found: PropertyRow): void {
  const list = (properties.subscriptionIdentifiers ??= []) as number[]
  if (list.length > 0 && place !== publish) throw twice(found)
  const value = readValue(reader, found) as number
  checkValue(value, found)
  list.push(value)
}

function twice (found: PropertyRow): MqttError {
  return protocolError(`${found.name} comes more than once`)
}

/** Section 3.1.2.11.10: data needs a method. */
function checkAuthentication (properties: Properties): void {
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('Authentication Data without Authentication Method (section 3.1.2.11.10)')
  }
}

/** Writes Property Length and properties (section 2.2.2). */
export function writeProperties (writer: Writer, properties: Properties | undefined): void {
  const bytes = encodeRows(rows, properties)
  writer.writeVariableByteInteger(bytes.length)
  writer.writeBytes(bytes)
}

/** The properties, without a Property Length, that go with the Application Message unaltered; no bytes for none. */
export function encodeUnaltered (properties: Properties | undefined): Buffer {
  return encodeRows(messageRows, properties)
}

/**
 * What {@link encodeUnaltered} made.
 * @throws MqttError Malformed Packet for anything else
 */
export function decodeUnaltered (bytes: Buffer): Properties | undefined {
  if (bytes.length === 0) return undefined
  const reader = new Reader()
  reader.reset(bytes, 0, bytes.length)
  const properties: Properties = {}
  while (!reader.atEnd) readProperty(reader, publish, properties, Infinity)
  return properties
}

function encodeRows (wanted: readonly PropertyRow[], properties: Properties | undefined): Buffer {
  if (properties === undefined) return emptyBytes
  let writer: Writer | undefined
  for (const one of wanted) {
    const value = properties[one.name]
    if (value === undefined) continue
    writer ??= new Writer()
    if (Array.isArray(value)) for (const item of value) writeProperty(writer, one, item)
    else writeProperty(writer, one, value)
  }
  return writer?.body() ?? emptyBytes
}

function writeProperty (writer: Writer, one: PropertyRow, value: unknown): void {
  writer.writeByte(one.identifier)
  switch (one.type) {
    case 'bit': writer.writeByte(value as number); break
    case 'uint16': writer.writeUint16(value as number); break
    case 'uint32': writer.writeUint32(value as number); break
    case 'variable': writer.writeVariableByteInteger(value as number); break
    case 'string': writer.writeString(value as string); break
    case 'binary': writer.writeBinary(value as Buffer); break
    case 'pair': writePair(writer, value as UserProperty)
  }
}

function writePair (writer: Writer, [name, value]: UserProperty): void {
  writer.writeString(name)
  writer.writeString(value)
}
