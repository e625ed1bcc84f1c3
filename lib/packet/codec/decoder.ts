import { ErrorCode, malformed, MqttError, protocolError } from '../../base/errors.ts'
import type { Limits } from '../../base/limits.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { TopicTable } from '../../topic/topic.ts'
import { decodeAcknowledge } from '../control-packets/acknowledge.ts'
import { answerableVersion, decodeConnack, decodeConnect, isBridge, readProtocolHead, supportedVersion } from '../control-packets/connect.ts'
import { decodeAuth, decodeDisconnect } from '../control-packets/disconnect.ts'
import { HeldBytes } from './held-bytes.ts'
import { PacketType } from '../packets.ts'
import type { ConnectPacket, Packet, PingreqPacket, PingrespPacket, ProtocolVersion } from '../packets.ts'
import { checkPublishFlags, decodePublish, decodePublishInPieces } from '../control-packets/publish.ts'
import { bodyOf, decodeVariableByteInteger, emptyBytes, incomplete, Reader, variableByteIntegerLength } from '../data/reader.ts'
import { decodeSuback, decodeSubscribe } from '../control-packets/subscribe.ts'
import { decodeUnsuback, decodeUnsubscribe } from '../control-packets/unsubscribe.ts'

const pingreq: PingreqPacket = { type: PacketType.pingreq }
const pingresp: PingrespPacket = { type: PacketType.pingresp }

/**
 * Turns the bytes of one Network Connection into Control Packets, wherever they are cut. Whole packets are read
 * where they stand in the chunk; payloads are slices of it. The bytes of an incomplete packet are held in memory
 * that grows with what has arrived, never with what is announced.
 *
 * Once it has thrown, the connection is to be closed and the decoder of no further use.
 */
export class Decoder {
  /**
   * Set when the CONNECT's protocol level was read, even when the rest of it proves malformed; undefined before.
   * Set it to decode a stream that does not begin with CONNECT.
   */
  protocolVersion: ProtocolVersion | undefined = undefined
  /** Bytes of the largest packet accepted, fixed header included: `limits.maximumConnectSize`, after CONNECT `limits.maximumPacketSize`. */
  maximumPacketSize: number
  readonly #topics: TopicTable
  readonly #limits: Limits
  readonly #reader: Reader
  readonly #keepsChunks: boolean
  #chunk = emptyBytes
  #position = 0
  /** The bytes of an incomplete packet; undefined where none is. */
  #held: HeldBytes | undefined = undefined
  /** The size that it will have; 0 while its Remaining Length is not known. */
  #heldSize = 0
  #isBridge = false

  /**
   * @param reader holds nothing between two calls, so all decoders may have the same
   * @param keepsChunks whether a chunk stays as it is when the next one comes: a large PUBLISH may then have its payload in pieces
   */
  constructor (topics: TopicTable, limits: Limits, reader: Reader = new Reader(), keepsChunks = false) {
    this.#topics = topics
    this.#limits = limits
    this.#reader = reader
    this.#keepsChunks = keepsChunks
    this.maximumPacketSize = limits.maximumConnectSize
  }

  /** Bytes held back for an incomplete packet. */
  get pendingBytes (): number {
    return this.#held === undefined ? 0 : this.#held.length
  }

  /** Hands over the next chunk; only when `next()` last returned undefined, so that the earlier chunk is used up. */
  push (chunk: Buffer): void {
    if (this.#position < this.#chunk.length) throw new Error('push() before the last chunk was used up')
    this.#chunk = chunk
    this.#position = 0
  }

  /**
   * The next whole packet, or undefined when bytes are missing.
   * @throws MqttError for what is no packet, or too large a one
   */
  next (): Packet | undefined {
    if (this.#held !== undefined) return this.#resume(this.#held)
    const chunk = this.#chunk
    const start = this.#position
    const size = this.#sizeOf(chunk, start, chunk.length)
    const end = start + size
    if (size === 0 || end > chunk.length) {
      this.#holdRest(size)
      return undefined
    }
    this.#position = end
    return this.#decode(chunk, start, end)
  }

  /** Goes on with the packet that was incomplete, taking no more of the chunk than belongs to it. */
  #resume (held: HeldBytes): Packet | undefined {
    this.#holdFixedHeader(held)
    const size = this.#heldSize
    if (size > 0) this.#hold(held, Math.min(size - held.length, this.#chunk.length - this.#position))
    if (size === 0 || held.length < size) {
      this.#holdRest(size)
      return undefined
    }
    this.#held = undefined
    return this.#decodeHeld(held.take(), size)
  }

  #holdFixedHeader (held: HeldBytes): void {
    while (this.#heldSize === 0 && this.#position < this.#chunk.length) {
      this.#hold(held, 1)
      this.#heldSize = this.#sizeOf(held.copied, 0, held.length)
    }
  }

  /** Keeps what is left of the chunk and lets go of the chunk: an idle connection keeps no 64 KiB alive. */
  #holdRest (size: number): void {
    this.#heldSize = size
    if (this.#position < this.#chunk.length) this.#hold(this.#held ??= new HeldBytes(this.#keepsChunks), this.#chunk.length - this.#position)
    this.#chunk = emptyBytes
    this.#position = 0
    this.#reader.release()
  }

  /** Moves bytes from the chunk to those held. */
  #hold (held: HeldBytes, count: number): void {
    const end = this.#position + count
    held.add(this.#chunk, this.#position, end, this.#heldSize)
    this.#position = end
  }

  /** The size of the packet that begins at `start`, fixed header included; 0 while that is not known. */
  #sizeOf (bytes: Buffer, start: number, end: number): number {
    if (start === end) return 0
    checkFirstByte(bytes[start] as number, this.protocolVersion)
    const remainingLength = decodeVariableByteInteger(bytes, start + 1, end)
    if (remainingLength === incomplete) return 0
    const size = 1 + variableByteIntegerLength(remainingLength) + remainingLength
    if (size > this.maximumPacketSize) throw tooLarge(size, this.maximumPacketSize)
    return size
  }

  #decodeHeld (pieces: readonly Buffer[], size: number): Packet {
    if (pieces.length === 1) return this.#decode(pieces[0] as Buffer, 0, size)
    const packet = decodePublishInPieces(this.#reader, pieces, this.protocolVersion as ProtocolVersion, this.#topics, this.#limits.maximumUserProperties)
    return packet ?? this.#decode(Buffer.concat(pieces, size), 0, size)
  }

  #decode (bytes: Buffer, start: number, end: number): Packet {
    const first = bytes[start] as number
    this.#reader.reset(bytes, bodyOf(bytes, start), end)
    const type = (first >> 4) as PacketType
    if (type === PacketType.connect) return this.#decodeConnect(first & 0x0f)
    return this.#decodeBody(type, first & 0x0f, this.protocolVersion as ProtocolVersion)
  }

  #decodeConnect (flags: number): ConnectPacket {
    const head = readProtocolHead(this.#reader)
    this.protocolVersion ??= answerableVersion(head)
    if (flags !== 0 && this.protocolVersion !== 3) throw malformed(`CONNECT with flags ${flags} [MQTT-2.1.3-1]`) // not before it can be answered; 3.1 does not use them
    this.#isBridge = isBridge(head)
    const packet = decodeConnect(this.#reader, supportedVersion(head), this.#limits.maximumUserProperties)
    this.maximumPacketSize = this.#limits.maximumPacketSize
    return packet
  }

  #decodeBody (type: Exclude<PacketType, typeof PacketType.connect>, flags: number, version: ProtocolVersion): Packet {
    const reader = this.#reader
    const maximum = this.#limits.maximumUserProperties
    switch (type) {
      case PacketType.publish: return decodePublish(reader, flags, version, this.#topics, maximum)
      case PacketType.puback:
      case PacketType.pubrec:
      case PacketType.pubrel:
      case PacketType.pubcomp: return decodeAcknowledge(reader, type, version, maximum)
      case PacketType.connack: return decodeConnack(reader, version, maximum)
      case PacketType.subscribe: return decodeSubscribe(reader, version, maximum, this.#isBridge)
      case PacketType.suback: return decodeSuback(reader, version, maximum)
      case PacketType.unsubscribe: return decodeUnsubscribe(reader, version, maximum)
      case PacketType.unsuback: return decodeUnsuback(reader, version, maximum)
      case PacketType.pingreq: return this.#empty(pingreq)
      case PacketType.pingresp: return this.#empty(pingresp)
      case PacketType.disconnect: return decodeDisconnect(reader, version, maximum)
      case PacketType.auth: return decodeAuth(reader, maximum)
    }
  }

  #empty<T> (packet: T): T {
    this.#reader.expectEnd()
    return packet
  }
}

/** Checks type and flags (sections 2.1.2 and 2.1.3) before anything else of the packet is looked at. */
function checkFirstByte (first: number, version: ProtocolVersion | undefined): void {
  const type = first >> 4
  const flags = first & 0x0f
  if (version === undefined && type !== PacketType.connect) throw protocolError('the first packet is not CONNECT [MQTT-3.1.0-1]')
  if (type === PacketType.connect) return
  if (type === PacketType.publish) checkPublishFlags(flags)
  else if (flags !== requiredFlags(type) && !isRedelivery31(type, flags, version)) throw malformed(`type ${type} with flags ${flags} [MQTT-2.1.3-1]`)
  else if (type === 0 || type === PacketType.auth && version !== 5) throw malformed(`packet type ${type} is reserved (section 2.1.2)`)
}

function requiredFlags (type: number): number {
  return isMarked(type) ? 2 : 0
}

function isMarked (type: number): boolean {
  return type === PacketType.pubrel || type === PacketType.subscribe || type === PacketType.unsubscribe
}

/** MQTT 3.1 Clients set DUP when they repeat PUBREL, SUBSCRIBE or UNSUBSCRIBE, which have QoS 1 there (its section 2.1). */
function isRedelivery31 (type: number, flags: number, version: ProtocolVersion | undefined): boolean {
  return version === 3 && isMarked(type) && flags === 0x0a
}

function tooLarge (size: number, maximum: number): MqttError {
  return new MqttError(ErrorCode.packetTooLarge, ReasonCode.packetTooLarge, `a packet of ${size} bytes, ${maximum} are allowed`)
}
