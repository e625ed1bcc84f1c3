import { malformed } from '../base/errors.ts'
import type { MessageProperties, QoS } from '../packet/packets.ts'
import { copyBytes, decodeMessageProperties } from '../packet/publish-encoder.ts'
import { Reader } from '../packet/reader.ts'
import { writeUint16, writeUint32 } from '../packet/writer.ts'
import { TopicTable } from '../topic/topic.ts'
import { Message } from './message.ts'

// First byte: QoS in the two lowest bits, then these.
const retainBit = 4
const publisherBit = 8
const expiryBit = 16
/** First byte, Topic Name length and Property Length; `expiresAt` and the Message Expiry Interval; the publisher's length. */
const fixedBytes = 1 + 2 + 4
const expiryBytes = 8 + 4
const publisherBytes = 2

/**
 * Messages as bytes, for stores: everything of a message but who is to get it. Topics that come again are shared, as those of
 * the wire are.
 */
export class MessageCodec {
  readonly #topics = new TopicTable(1024)
  readonly #reader = new Reader()

  /** @param headRoom bytes to leave free at the beginning, for what the store adds */
  encode (message: Message, headRoom = 0): Buffer {
    const { encodedProperties, payload, publisher } = message
    const name = publisher === undefined ? undefined : Buffer.from(publisher)
    const bytes = Buffer.allocUnsafe(headRoom + lengthOf(message, name))
    bytes[headRoom] = firstByteOf(message)
    let at = writeField(bytes, headRoom + 1, message.topic.bytes)
    if (message.expiresAt !== Infinity) at = writeExpiry(bytes, at, message)
    if (name !== undefined) at = writeField(bytes, at, name)
    at = copyBytes(encodedProperties, bytes, writeUint32(bytes, at, encodedProperties.length))
    copyBytes(payload, bytes, at)
    return bytes
  }

  /**
   * The message that stands in `bytes` from `start` to their end, with a payload of its own.
   * @throws MqttError Malformed Packet for bytes that `encode` did not make
   */
  decode (bytes: Buffer, start = 0): Message {
    const reader = this.#reader
    reader.reset(bytes, start, bytes.length)
    const first = reader.readByte()
    const topic = this.#topics.named(reader.readString())
    const expiresAt = (first & expiryBit) === 0 ? Infinity : readTime(reader)
    const expiry = (first & expiryBit) === 0 ? undefined : reader.readUint32()
    const publisher = (first & publisherBit) === 0 ? undefined : reader.readString()
    const properties = withExpiry(decodeMessageProperties(Buffer.from(reader.readBytes(reader.readUint32()))), expiry)
    const payload = Buffer.from(reader.readRest())
    reader.release()
    return new Message({ payload, qos: qosOf(first), retain: (first & retainBit) !== 0, properties }, topic, publisher, expiresAt)
  }
}

function lengthOf ({ topic, expiresAt, encodedProperties, payload }: Message, publisher: Buffer | undefined): number {
  return fixedBytes + topic.bytes.length + (expiresAt === Infinity ? 0 : expiryBytes) +
    (publisher === undefined ? 0 : publisherBytes + publisher.length) + encodedProperties.length + payload.length
}

function firstByteOf ({ qos, retain, publisher, expiresAt }: Message): number {
  return qos | (retain ? retainBit : 0) | (publisher === undefined ? 0 : publisherBit) | (expiresAt === Infinity ? 0 : expiryBit)
}

function writeField (target: Buffer, at: number, value: Buffer): number {
  return copyBytes(value, target, writeUint16(target, at, value.length))
}

function writeExpiry (target: Buffer, at: number, { expiresAt, properties }: Message): number {
  target.writeDoubleBE(expiresAt, at)
  return writeUint32(target, at + 8, properties?.messageExpiryInterval ?? 0)
}

function readTime (reader: Reader): number {
  const time = Buffer.alloc(8)
  time.writeUInt32BE(reader.readUint32(), 0)
  time.writeUInt32BE(reader.readUint32(), 4)
  return time.readDoubleBE(0)
}

function withExpiry (properties: MessageProperties | undefined, messageExpiryInterval: number | undefined): MessageProperties | undefined {
  return messageExpiryInterval === undefined ? properties : { ...properties, messageExpiryInterval }
}

function qosOf (first: number): QoS {
  const qos = first & 3
  if (qos === 3) throw malformed('a stored message has a QoS of 3')
  return qos as QoS
}
