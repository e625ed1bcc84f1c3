import type { Topic } from '../../topic/topic.ts'
import { acknowledgeFirstByte } from './acknowledge.ts'
import type { AcknowledgeType, MessageProperties, QoS, ProtocolVersion } from '../packets.ts'
import { decodeUnaltered, encodeUnaltered } from '../properties.ts'
import { publishFirstByte } from './publish.ts'
import { variableByteIntegerLength } from '../data/reader.ts'
import { writeUint16, writeUint32, writeVariableByteInteger } from '../data/writer.ts'

/** What a Message offers to the encoder. */
export interface PublishContent {
  readonly topic: Topic
  /** Bytes of the payload. */
  readonly payloadLength: number
  /** {@link encodeMessageProperties} of what travels unaltered. */
  readonly encodedProperties: Buffer
}

/** What one delivery adds. Mutable and reused: no object for each message. */
export interface PublishHead {
  version: ProtocolVersion
  dup: boolean
  qos: QoS
  retain: boolean
  /** Not written for QoS 0. */
  packetIdentifier: number
  /** Seconds left; -1 for none. */
  messageExpiryInterval: number
  /** 0 for none. */
  topicAlias: number
  /** The alias alone stands for the topic. */
  omitTopic: boolean
  /** Empty for none. */
  subscriptionIdentifiers: readonly number[]
}

// Identifiers of the properties that differ from delivery to delivery (section 2.2.2.2).
const identifier = { messageExpiryInterval: 0x02, subscriptionIdentifier: 0x0b, topicAlias: 0x23 } as const

// Up to this many bytes a loop is faster than a call of set(): 1.4 ns for each byte against 18 ns, measured on Node 20.
const loopThreshold = 12

/**
 * The properties of a Message, encoded once for all its deliveries: everything but Message Expiry Interval, which counts down.
 * @throws MqttError Malformed Packet when a field is over 65,535 bytes
 */
export function encodeMessageProperties (properties: MessageProperties | undefined): Buffer {
  return encodeUnaltered(properties)
}

/**
 * The way back. Binary values are slices of `bytes`.
 * @throws MqttError Malformed Packet for what {@link encodeMessageProperties} did not make
 */
export function decodeMessageProperties (bytes: Buffer): MessageProperties | undefined {
  return decodeUnaltered(bytes)
}

/** Remaining Length (section 2.1.4) of the PUBLISH. */
export function publishRemainingLength (content: PublishContent, head: PublishHead): number {
  const topic = 2 + (head.omitTopic ? 0 : content.topic.byteLength)
  const length = topic + (head.qos === 0 ? 0 : 2) + content.payloadLength
  if (head.version !== 5) return length
  const properties = propertyLength(content, head)
  return length + variableByteIntegerLength(properties) + properties
}

function propertyLength (content: PublishContent, head: PublishHead): number {
  let length = content.encodedProperties.length
  if (head.messageExpiryInterval >= 0) length += 5
  if (head.topicAlias !== 0) length += 3
  for (const subscriptionIdentifier of head.subscriptionIdentifiers) length += 1 + variableByteIntegerLength(subscriptionIdentifier)
  return length
}

/**
 * Bytes of the whole packet: fixed header and Remaining Length.
 * @throws MqttError Packet too large over 256 MiB
 */
export function publishLength (remainingLength: number): number {
  return 1 + variableByteIntegerLength(remainingLength) + remainingLength
}

/** Writes all up to the payload into `target` at `at`; returns the position where the payload begins. */
export function writePublishHead (
  target: Buffer, at: number, content: PublishContent, head: PublishHead, remainingLength: number,
): number {
  target[at] = publishFirstByte(head.dup, head.qos, head.retain)
  let position = writeVariableByteInteger(target, at + 1, remainingLength)
  position = writeTopic(target, position, content, head)
  if (head.qos !== 0) position = writeUint16(target, position, head.packetIdentifier)
  return head.version === 5 ? writePublishProperties(target, position, content, head) : position
}

function writeTopic (target: Buffer, at: number, content: PublishContent, head: PublishHead): number {
  if (head.omitTopic) return writeUint16(target, at, 0)
  const bytes = content.topic.bytes
  return copyBytes(bytes, target, writeUint16(target, at, bytes.length))
}

function writePublishProperties (target: Buffer, at: number, content: PublishContent, head: PublishHead): number {
  let position = writeVariableByteInteger(target, at, propertyLength(content, head))
  position = copyBytes(content.encodedProperties, target, position)
  if (head.messageExpiryInterval >= 0) {
    target[position] = identifier.messageExpiryInterval
    position = writeUint32(target, position + 1, head.messageExpiryInterval)
  }
  if (head.topicAlias !== 0) {
    target[position] = identifier.topicAlias
    position = writeUint16(target, position + 1, head.topicAlias)
  }
  return writeSubscriptionIdentifiers(target, position, head.subscriptionIdentifiers)
}

function writeSubscriptionIdentifiers (target: Buffer, at: number, subscriptionIdentifiers: readonly number[]): number {
  let position = at
  for (const subscriptionIdentifier of subscriptionIdentifiers) {
    target[position] = identifier.subscriptionIdentifier
    position = writeVariableByteInteger(target, position + 1, subscriptionIdentifier)
  }
  return position
}

/** Copies all of `source` into `target` at `at`; returns the position after it. */
export function copyBytes (source: Buffer, target: Buffer, at: number): number {
  const length = source.length
  if (length > loopThreshold) target.set(source, at)
  else for (let i = 0; i < length; i++) target[at + i] = source[i] as number
  return at + length
}

/** Writes a PUBACK, PUBREC, PUBREL or PUBCOMP with Reason Code 0, which takes 4 bytes in every version; returns the position after it. */
export function writeAcknowledge (target: Buffer, at: number, type: AcknowledgeType, packetIdentifier: number): number {
  target[at] = acknowledgeFirstByte(type)
  target[at + 1] = 2
  return writeUint16(target, at + 2, packetIdentifier)
}
