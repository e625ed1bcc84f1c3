import { malformed } from '../base/errors.ts'
import type { MessageProperties, QoS } from '../packet/packets.ts'
import { copyBytes, decodeMessageProperties } from '../packet/control-packets/publish-encoder.ts'
import { emptyBytes, Reader } from '../packet/data/reader.ts'
import { writeUint16, writeUint32 } from '../packet/data/writer.ts'
import { emptyTopic, TopicTable } from '../topic/topic.ts'
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
  readonly #publishers = new TopicTable(1024)
  readonly #reader = new Reader()
  /** The publisher of the last message, who often has the next one, too. */
  #publisher: string | undefined = undefined
  #publisherBytes: Buffer = emptyBytes

  /** @param headRoom bytes to leave free at the beginning, for what the store adds */
  encode (message: Message, headRoom = 0): Buffer {
    const bytes = Buffer.allocUnsafe(headRoom + this.lengthOf(message))
    this.write(message, bytes, headRoom)
    return bytes
  }

  /** How many bytes `write` needs. */
  lengthOf ({ topic, expiresAt, publisher, encodedProperties, payloadLength }: Message): number {
    return fixedBytes + topic.byteLength + (expiresAt === Infinity ? 0 : expiryBytes) +
      (publisher === undefined ? 0 : publisherBytes + this.#bytesOf(publisher).length) + encodedProperties.length + payloadLength
  }

  /** Writes the message into `target` at `at`; returns the position after it. */
  write (message: Message, target: Buffer, at: number): number {
    const { topic, expiresAt, publisher, encodedProperties, payload } = message
    target[at] = firstByteOf(message)
    let position = writeField(target, at + 1, topic.bytes)
    if (expiresAt !== Infinity) position = writeExpiry(target, position, message)
    if (publisher !== undefined) position = writeField(target, position, this.#bytesOf(publisher))
    position = copyBytes(encodedProperties, target, writeUint32(target, position, encodedProperties.length))
    return copyBytes(payload, target, position)
  }

  /**
   * The message that stands in `bytes` from `start` to their end, with bytes of its own.
   * @throws MqttError Malformed Packet for bytes that `encode` did not make
   */
  decode (bytes: Buffer, start = 0): Message {
    return this.read(Buffer.from(bytes.subarray(start)), 0, bytes.length - start)
  }

  /**
   * The message that stands in `bytes` from `start` to `end`. Its payload and Correlation Data are slices of them: see `Message.keep`.
   * @throws MqttError Malformed Packet for bytes that `encode` did not make
   */
  read (bytes: Buffer, start: number, end: number): Message {
    const reader = this.#reader
    reader.reset(bytes, start, end)
    const first = reader.readByte()
    const topic = reader.readStringBytes(this.#topics) ?? emptyTopic
    const expiresAt = (first & expiryBit) === 0 ? Infinity : readTime(reader)
    const expiry = (first & expiryBit) === 0 ? undefined : reader.readUint32()
    const publisher = (first & publisherBit) === 0 ? undefined : (reader.readStringBytes(this.#publishers) ?? emptyTopic).name
    const properties = withExpiry(readProperties(reader), expiry)
    const payload = reader.readRest()
    reader.release()
    return new Message({ payload, qos: qosOf(first), retain: (first & retainBit) !== 0, properties }, topic, publisher, expiresAt)
  }

  #bytesOf (publisher: string): Buffer {
    if (publisher !== this.#publisher) {
      this.#publisher = publisher
      this.#publisherBytes = Buffer.from(publisher)
    }
    return this.#publisherBytes
  }
}

function readProperties (reader: Reader): MessageProperties | undefined {
  const length = reader.readUint32()
  return length === 0 ? undefined : decodeMessageProperties(reader.readBytes(length))
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
