import stringify from 'fast-json-stable-stringify'
import type { DeliveryRecord, Message, MessageCodec, QoS } from '../../lib/index.ts'
import { numberBytes } from './layout.ts'

/** What the store says of itself; `format` in the table `meta`. */
export interface FormatRecord {
  readonly schema: number
  /** The version of Myelin that made the store. */
  readonly createdBy: string
}

/** What moves with the commits; `state` in the table `meta`. */
export interface StateRecord {
  readonly aliveAt?: number
  /** The smallest numbers that were never used. */
  readonly nextSession: number
  readonly nextBody: number
}

/** `DeliveryRecord.reference` of a delivery that has its message with it; else it is the number of a body, or 0 for not stored. */
export const inline = -1

// First byte of a delivery: QoS in the two lowest bits, then these.
const retainBit = 4
const inlineBit = 8
const identifiersBit = 16
const sharedFilterBit = 32
/** The first byte, `total`, and the size of the message. */
const fixedBytes = 1 + numberBytes + 4
const identifierBytes = 4

/** What is known of a delivery without its message. */
export interface DeliveryHeader {
  readonly total: number
  /** Of the message. */
  readonly size: number
  /** See `DeliveryRecord.reference`. */
  readonly reference: number
}

/** A delivery as it is stored; the message stands in it when `body` is {@link inline}. */
export function encodeDelivery (delivery: DeliveryRecord, body: number, codec: MessageCodec): Buffer {
  const { message, subscriptionIdentifiers, sharedFilter } = delivery
  const filter = sharedFilter === undefined ? undefined : Buffer.from(sharedFilter)
  const length = headerBytes(delivery, filter, body)
  const bytes = body === inline ? codec.encode(message, length) : Buffer.allocUnsafe(length)
  bytes[0] = firstByteOf(delivery, body)
  bytes.writeUIntBE(delivery.total, 1, numberBytes)
  let at = bytes.writeUInt32BE(message.size, 1 + numberBytes)
  if (body !== inline) at = bytes.writeUIntBE(body, at, numberBytes)
  if (subscriptionIdentifiers.length > 0) at = bytes.writeUInt32BE(subscriptionIdentifiers.length, at)
  for (const identifier of subscriptionIdentifiers) at = bytes.writeUInt32BE(identifier, at)
  if (filter !== undefined) filter.copy(bytes, bytes.writeUInt16BE(filter.length, at))
  return bytes
}

function headerBytes ({ subscriptionIdentifiers }: DeliveryRecord, filter: Buffer | undefined, body: number): number {
  return fixedBytes + (body === inline ? 0 : numberBytes) + (filter === undefined ? 0 : 2 + filter.length) +
    (subscriptionIdentifiers.length === 0 ? 0 : identifierBytes * (1 + subscriptionIdentifiers.length))
}

function firstByteOf ({ qos, retain, subscriptionIdentifiers, sharedFilter }: DeliveryRecord, body: number): number {
  return qos | (retain ? retainBit : 0) | (body === inline ? inlineBit : 0) |
    (subscriptionIdentifiers.length > 0 ? identifiersBit : 0) | (sharedFilter === undefined ? 0 : sharedFilterBit)
}

export function decodeDeliveryHeader (bytes: Buffer): DeliveryHeader {
  return {
    total: bytes.readUIntBE(1, numberBytes),
    size: bytes.readUInt32BE(1 + numberBytes),
    reference: (bytes.readUInt8(0) & inlineBit) === 0 ? bytes.readUIntBE(fixedBytes, numberBytes) : inline,
  }
}

/** Where a delivery stands, and what is kept elsewhere of it. */
export interface DeliveryPlace {
  readonly session: number
  readonly position: number
  readonly inFlight: InFlightRecord | undefined
}

/**
 * @param decodeMessage the message that stands in `bytes` from an index on, or has the number of a body
 */
export function decodeDelivery (
  bytes: Buffer, { session, position, inFlight }: DeliveryPlace, decodeMessage: (reference: number, start: number) => Message,
): DeliveryRecord {
  const first = bytes.readUInt8(0)
  const { total, reference } = decodeDeliveryHeader(bytes)
  let at = reference === inline ? fixedBytes : fixedBytes + numberBytes
  const subscriptionIdentifiers = (first & identifiersBit) === 0 ? [] : readIdentifiers(bytes, at)
  if (subscriptionIdentifiers.length > 0) at += identifierBytes * (1 + subscriptionIdentifiers.length)
  const sharedFilter = (first & sharedFilterBit) === 0 ? undefined : readText(bytes, at)
  if (sharedFilter !== undefined) at += 2 + bytes.readUInt16BE(at)
  const { packetIdentifier, isReleased } = inFlight ?? waiting
  return {
    session, position, message: decodeMessage(reference, at), qos: (first & 3) as QoS, retain: (first & retainBit) !== 0,
    subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference,
  }
}

function readIdentifiers (bytes: Buffer, start: number): number[] {
  const identifiers: number[] = []
  const count = bytes.readUInt32BE(start)
  for (let i = 1; i <= count; i++) identifiers.push(bytes.readUInt32BE(start + i * identifierBytes))
  return identifiers
}

function readText (bytes: Buffer, start: number): string {
  return bytes.toString('utf8', start + 2, start + 2 + bytes.readUInt16BE(start))
}

/** How far a delivery has come that was sent. */
export interface InFlightRecord {
  readonly packetIdentifier: number
  readonly isReleased: boolean
}

const waiting: InFlightRecord = { packetIdentifier: 0, isReleased: false }

export function encodeInFlight ({ packetIdentifier, isReleased }: InFlightRecord): Buffer {
  const bytes = Buffer.allocUnsafe(3)
  bytes[bytes.writeUInt16BE(packetIdentifier, 0)] = isReleased ? 1 : 0
  return bytes
}

export function decodeInFlight (bytes: Buffer): InFlightRecord {
  return { packetIdentifier: bytes.readUInt16BE(0), isReleased: bytes.readUInt8(2) === 1 }
}

export function encodeCount (count: number): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt32BE(count, 0)
  return bytes
}

export function decodeCount (bytes: Buffer): number {
  return bytes.readUInt32BE(0)
}

/** Equal records are equal bytes. */
export function encodeJson (record: unknown): Buffer {
  return Buffer.from(stringify(record))
}

export function decodeJson (bytes: Buffer): unknown {
  return JSON.parse(bytes.toString())
}
