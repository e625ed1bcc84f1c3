import { malformed } from '../../base/errors.ts'
import { variableByteIntegerLength } from './reader.ts'

// Room for the longest fixed header, which is known last and stands first.
const headRoom = 5

/** Gathers the fields of one packet and puts the fixed header before them. For what is sent often see publish-encoder.ts. */
export class Writer {
  #bytes: Buffer = Buffer.allocUnsafe(128)
  #length = headRoom

  writeByte (value: number): void {
    const at = this.#advance(1)
    this.#bytes[at] = value
  }

  /** Two Byte Integer (section 1.5.2). */
  writeUint16 (value: number): void {
    const at = this.#advance(2)
    writeUint16(this.#bytes, at, value)
  }

  /** Four Byte Integer (section 1.5.3). */
  writeUint32 (value: number): void {
    const at = this.#advance(4)
    writeUint32(this.#bytes, at, value)
  }

  /** Variable Byte Integer (section 1.5.5). */
  writeVariableByteInteger (value: number): void {
    const at = this.#advance(variableByteIntegerLength(value))
    writeVariableByteInteger(this.#bytes, at, value)
  }

  /** UTF-8 Encoded String (section 1.5.4). */
  writeString (value: string): void {
    this.writeBinary(Buffer.from(value))
  }

  /**
   * Binary Data (section 1.5.6).
   * @throws MqttError Malformed Packet when it is over 65,535 bytes
   */
  writeBinary (value: Buffer): void {
    if (value.length > 0xffff) throw malformed(`a field of ${value.length} bytes is over 65,535`)
    this.writeUint16(value.length)
    this.writeBytes(value)
  }

  /** Bytes without a length before them. */
  writeBytes (value: Buffer): void {
    const at = this.#advance(value.length)
    this.#bytes.set(value, at)
  }

  /** A copy of what was written, without a fixed header. */
  body (): Buffer {
    return Buffer.from(this.#bytes.subarray(headRoom, this.#length))
  }

  /**
   * The packet: fixed header (section 2.1) and what was written. No other method may be called after it.
   * @throws MqttError Packet too large over 256 MiB
   */
  packet (firstByte: number): Buffer {
    const remainingLength = this.#length - headRoom
    const start = headRoom - 1 - variableByteIntegerLength(remainingLength)
    this.#bytes[start] = firstByte
    writeVariableByteInteger(this.#bytes, start + 1, remainingLength)
    return this.#bytes.subarray(start, this.#length)
  }

  /** Makes room; returns where the field of `count` bytes begins. */
  #advance (count: number): number {
    const start = this.#length
    this.#length += count
    if (this.#length > this.#bytes.length) this.#bytes = grown(this.#bytes, start, this.#length)
    return start
  }
}

function grown (bytes: Buffer, used: number, needed: number): Buffer {
  const larger = Buffer.allocUnsafe(needed * 2)
  bytes.copy(larger, 0, 0, used)
  return larger
}

/** Writes a Two Byte Integer; returns the position after it. */
export function writeUint16 (target: Buffer, at: number, value: number): number {
  target[at] = value >>> 8
  target[at + 1] = value
  return at + 2
}

/** Writes a Four Byte Integer; returns the position after it. */
export function writeUint32 (target: Buffer, at: number, value: number): number {
  return writeUint16(target, writeUint16(target, at, value >>> 16), value & 0xffff)
}

/** Writes a Variable Byte Integer in its shortest form [MQTT-1.5.5-1]; returns the position after it. */
export function writeVariableByteInteger (target: Buffer, at: number, value: number): number {
  let rest = value
  while (rest > 0x7f) {
    target[at++] = rest & 0x7f | 0x80
    rest >>>= 7
  }
  target[at] = rest
  return at + 1
}
