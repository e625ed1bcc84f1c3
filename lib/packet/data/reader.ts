import { ErrorCode, malformed, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { decodeUtf8 } from '../../base/utf8.ts'

/** No bytes at all; shared, so that an empty payload keeps no chunk alive. */
export const emptyBytes: Buffer = Buffer.alloc(0)

/**
 * A cursor over the body of one packet (section 1.5). Every method moves it on and throws Malformed Packet
 * where a field goes over the end.
 */
export class Reader {
  #bytes: Buffer = emptyBytes
  #position = 0
  #end = 0

  /** Turns to the bytes from `start` to `end`. */
  reset (bytes: Buffer, start: number, end: number): void {
    this.#bytes = bytes
    this.#position = start
    this.#end = end
  }

  /** Lets go of the bytes, which would keep a whole chunk alive. */
  release (): void {
    this.reset(emptyBytes, 0, 0)
  }

  get atEnd (): boolean {
    return this.#position === this.#end
  }

  /** Narrows the cursor to the next `length` bytes; returns how many follow them, to be given to {@link widen}. */
  narrow (length: number): number {
    const end = this.#position + length
    if (end > this.#end) throw truncated()
    const following = this.#end - end
    this.#end = end
    return following
  }

  /** Takes back a {@link narrow}. */
  widen (following: number): void {
    this.#end += following
  }

  /** @throws MqttError Malformed Packet when bytes are left over */
  expectEnd (): void {
    if (this.#position !== this.#end) throw malformed('the packet has bytes after its last field')
  }

  /** The next byte, which is read again; undefined at the end. */
  peekByte (): number | undefined {
    return this.atEnd ? undefined : this.#bytes[this.#position]
  }

  readByte (): number {
    return this.#bytes[this.#advance(1)] as number
  }

  /** Two Byte Integer (section 1.5.2). */
  readUint16 (): number {
    const at = this.#advance(2)
    const bytes = this.#bytes
    return (bytes[at] as number) << 8 | (bytes[at + 1] as number)
  }

  /** Four Byte Integer (section 1.5.3). */
  readUint32 (): number {
    return this.readUint16() * 0x10000 + this.readUint16()
  }

  /** Variable Byte Integer (section 1.5.5). */
  readVariableByteInteger (): number {
    const value = decodeVariableByteInteger(this.#bytes, this.#position, this.#end)
    if (value === incomplete) throw truncated()
    this.#position += variableByteIntegerLength(value)
    return value
  }

  /** Packet Identifier (section 2.2.1), which is never 0. */
  readPacketIdentifier (): number {
    const packetIdentifier = this.readUint16()
    if (packetIdentifier === 0) throw malformed('the Packet Identifier is 0 [MQTT-2.2.1-3]')
    return packetIdentifier
  }

  /** UTF-8 Encoded String (section 1.5.4). */
  readString (): string {
    const length = this.readUint16()
    const start = this.#advance(length)
    return decodeUtf8(this.#bytes, start, start + length)
  }

  /** The bytes of a UTF-8 Encoded String, handed to `decode` where they stand; undefined when there are none. */
  readStringBytes<T> (target: StringTarget<T>): T | undefined {
    const length = this.readUint16()
    if (length === 0) return undefined
    const start = this.#advance(length)
    return target.intern(this.#bytes, start, start + length)
  }

  /** Binary Data (section 1.5.6): a slice, no copy. */
  readBinary (): Buffer {
    return this.#slice(this.readUint16())
  }

  /** The next `length` bytes: a slice, no copy. */
  readBytes (length: number): Buffer {
    return this.#slice(length)
  }

  /** All that is left: a slice, no copy. */
  readRest (): Buffer {
    return this.#slice(this.#end - this.#position)
  }

  #slice (length: number): Buffer {
    const start = this.#advance(length)
    return length === 0 ? emptyBytes : this.#bytes.subarray(start, start + length)
  }

  /** Returns where the field of `length` bytes begins. */
  #advance (length: number): number {
    const start = this.#position
    if (start + length > this.#end) throw truncated()
    this.#position = start + length
    return start
  }
}

/** Something that makes a value of the bytes of a string, as a TopicTable does. */
export interface StringTarget<T> { intern (bytes: Buffer, start: number, end: number): T }

function truncated (): MqttError {
  return malformed('the packet ends within a field')
}

/** What {@link decodeVariableByteInteger} returns while bytes are missing. */
export const incomplete = -1

/** The largest Variable Byte Integer (section 1.5.5). */
const maximumVariableByteInteger = 268_435_455

/** Bytes of the largest Control Packet that there can be (section 2.1.4). */
export const largestPacket: number = 5 + maximumVariableByteInteger

/**
 * The Variable Byte Integer (section 1.5.5) that begins at `at`, or {@link incomplete}.
 * @throws MqttError Malformed Packet when it is longer than it has to be [MQTT-1.5.5-1], or than four bytes
 */
export function decodeVariableByteInteger (bytes: Buffer, at: number, end: number): number {
  let value = 0
  for (let i = 0; i < 4; i++) {
    if (at + i >= end) return incomplete
    const byte = bytes[at + i] as number
    value += (byte & 0x7f) << (7 * i)
    if (byte < 0x80) {
      if (byte === 0 && i > 0) break
      return value
    }
  }
  throw malformed('a Variable Byte Integer is not of the shortest form, or over four bytes [MQTT-1.5.5-1]')
}

/** Where what follows the fixed header begins, in a packet that begins at `start` and whose Remaining Length is sound. */
export function bodyOf (bytes: Buffer, start: number): number {
  let body = start + 2
  while ((bytes[body - 1] as number) > 0x7f) body++
  return body
}

/**
 * How many bytes a Variable Byte Integer takes.
 * @throws MqttError Packet too large when four are not enough, so that no longer packet is ever written
 */
export function variableByteIntegerLength (value: number): number {
  if (value < 0x80) return 1
  if (value < 0x4000) return 2
  if (value < 0x200000) return 3
  if (value <= maximumVariableByteInteger) return 4
  throw new MqttError(ErrorCode.packetTooLarge, ReasonCode.packetTooLarge, `a length of ${value} bytes is more than MQTT allows (section 1.5.5)`)
}
