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

/** How many bytes {@link writeDelivery} needs. */
export function deliveryLength ({ message, subscriptionIdentifiers, sharedFilter, reference }: DeliveryRecord, codec: MessageCodec): number {
  return fixedBytes + (reference === inline ? codec.lengthOf(message) : numberBytes) +
    (sharedFilter === undefined ? 0 : 2 + Buffer.byteLength(sharedFilter)) +
    (subscriptionIdentifiers.length === 0 ? 0 : identifierBytes * (1 + subscriptionIdentifiers.length))
}

/** Writes a delivery into `target` at `at`, with its message when its `reference` is {@link inline}; returns the position after it. */
export function writeDelivery (delivery: DeliveryRecord, target: Buffer, at: number, codec: MessageCodec): number {
  const { message, subscriptionIdentifiers, sharedFilter, reference } = delivery
  target[at] = firstByteOf(delivery)
  at = target.writeUInt32BE(message.size, target.writeUIntBE(delivery.total, at + 1, numberBytes))
  if (reference !== inline) at = target.writeUIntBE(reference, at, numberBytes)
  if (subscriptionIdentifiers.length > 0) at = target.writeUInt32BE(subscriptionIdentifiers.length, at)
  for (const identifier of subscriptionIdentifiers) at = target.writeUInt32BE(identifier, at)
  if (sharedFilter !== undefined) at = writeText(target, at, sharedFilter)
  return reference === inline ? codec.write(message, target, at) : at
}

function writeText (target: Buffer, at: number, text: string): number {
  const length = target.write(text, at + 2)
  return target.writeUInt16BE(length, at) + length
}

function firstByteOf ({ qos, retain, subscriptionIdentifiers, sharedFilter, reference }: DeliveryRecord): number {
  return qos | (retain ? retainBit : 0) | (reference === inline ? inlineBit : 0) |
    (subscriptionIdentifiers.length > 0 ? identifiersBit : 0) | (sharedFilter === undefined ? 0 : sharedFilterBit)
}

/** @param start where the delivery begins */
export function decodeDeliveryHeader (bytes: Buffer, start: number): DeliveryHeader {
  return {
    total: bytes.readUIntBE(start + 1, numberBytes),
    size: bytes.readUInt32BE(start + 1 + numberBytes),
    reference: referenceOf(bytes, start),
  }
}

/** {@link inline}, or the number of a body. */
export function referenceOf (bytes: Buffer, start: number): number {
  return ((bytes[start] as number) & inlineBit) === 0 ? bytes.readUIntBE(start + fixedBytes, numberBytes) : inline
}

/** What is kept elsewhere of a delivery. */
export type DeliveryState = Pick<DeliveryRecord, 'session' | 'position' | 'packetIdentifier' | 'isReleased'>

/**
 * The delivery that begins at `start`.
 * @param decodeMessage the message that stands in `bytes` from an index on to the delivery's end, or has the number of a body
 */
export function decodeDelivery (
  bytes: Buffer, start: number, { session, position, packetIdentifier, isReleased }: DeliveryState, decodeMessage: (reference: number, at: number) => Message,
): DeliveryRecord {
  const first = bytes.readUInt8(start)
  const { total, reference } = decodeDeliveryHeader(bytes, start)
  let at = start + (reference === inline ? fixedBytes : fixedBytes + numberBytes)
  const subscriptionIdentifiers = (first & identifiersBit) === 0 ? [] : readIdentifiers(bytes, at)
  if (subscriptionIdentifiers.length > 0) at += identifierBytes * (1 + subscriptionIdentifiers.length)
  const sharedFilter = (first & sharedFilterBit) === 0 ? undefined : readText(bytes, at)
  if (sharedFilter !== undefined) at += 2 + bytes.readUInt16BE(at)
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
