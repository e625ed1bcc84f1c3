import stringify from 'fast-json-stable-stringify'
import type { DeliveryRecord, Message, MessageCodec, QoS, RetainHandling, SessionRecord, Subscription } from '../../../lib/index.ts'

/** `DeliveryRecord.reference` of a delivery that has its message with it; else it is the number of a body, or 0 for not stored. */
export const inline = -1

// First byte of a delivery: QoS in the two lowest bits, then these. Scripts know the third one.
const retainBit = 4
const inlineBit = 8
const identifiersBit = 16
const sharedFilterBit = 32
/** The first byte, `total`, and the size of the message; scripts know where they are. The body's number follows. */
const fixedBytes = 1 + 6 + 4
const referenceBytes = 6
const identifierBytes = 4

/** A delivery as it is stored; the message stands at the end of it when `body` is {@link inline}. */
export function encodeDelivery (delivery: DeliveryRecord, body: number, codec: MessageCodec): Buffer {
  const { message, subscriptionIdentifiers, sharedFilter } = delivery
  const filter = sharedFilter === undefined ? undefined : Buffer.from(sharedFilter)
  const length = headerBytes(subscriptionIdentifiers, filter, body)
  const bytes = body === inline ? codec.encode(message, length) : Buffer.allocUnsafe(length)
  bytes[0] = firstByteOf(delivery, body)
  let at = bytes.writeUInt32BE(message.size, bytes.writeUIntBE(delivery.total, 1, 6))
  if (body !== inline) at = bytes.writeUIntBE(body, at, referenceBytes)
  if (subscriptionIdentifiers.length > 0) at = bytes.writeUInt32BE(subscriptionIdentifiers.length, at)
  for (const identifier of subscriptionIdentifiers) at = bytes.writeUInt32BE(identifier, at)
  if (filter !== undefined) filter.copy(bytes, bytes.writeUInt16BE(filter.length, at))
  return bytes
}

function headerBytes ({ length }: readonly number[], filter: Buffer | undefined, body: number): number {
  return fixedBytes + (body === inline ? 0 : referenceBytes) + (length === 0 ? 0 : identifierBytes * (1 + length)) +
    (filter === undefined ? 0 : 2 + filter.length)
}

function firstByteOf ({ qos, retain, subscriptionIdentifiers, sharedFilter }: DeliveryRecord, body: number): number {
  return qos | (retain ? retainBit : 0) | (body === inline ? inlineBit : 0) |
    (subscriptionIdentifiers.length > 0 ? identifiersBit : 0) | (sharedFilter === undefined ? 0 : sharedFilterBit)
}

/** A delivery as a script returns it. */
export interface StoredDelivery {
  readonly session: number
  readonly position: number
  readonly packed: Buffer
  /** See {@link encodeInFlight}; empty while it waits. */
  readonly inFlight: string
}

/** @param decodeMessage the message that stands in the delivery from an index on, or has the number of a body */
export function decodeDelivery (
  { session, position, packed, inFlight }: StoredDelivery, decodeMessage: (reference: number, start: number) => Message,
): DeliveryRecord {
  const first = packed.readUInt8(0)
  const reference = (first & inlineBit) === 0 ? packed.readUIntBE(fixedBytes, referenceBytes) : inline
  let at = reference === inline ? fixedBytes : fixedBytes + referenceBytes
  const subscriptionIdentifiers = (first & identifiersBit) === 0 ? [] : readIdentifiers(packed, at)
  if (subscriptionIdentifiers.length > 0) at += identifierBytes * (1 + subscriptionIdentifiers.length)
  const sharedFilter = (first & sharedFilterBit) === 0 ? undefined : readText(packed, at)
  if (sharedFilter !== undefined) at += 2 + packed.readUInt16BE(at)
  return {
    session, position, message: decodeMessage(reference, at), qos: (first & 3) as QoS, retain: (first & retainBit) !== 0,
    subscriptionIdentifiers, sharedFilter, total: packed.readUIntBE(1, 6), packetIdentifier: Number.parseInt(inFlight || '0', 10),
    isReleased: inFlight.endsWith(releasedMark), reference,
  }
}

function readIdentifiers (bytes: Buffer, start: number): number[] {
  const count = bytes.readUInt32BE(start)
  return Array.from({ length: count }, (_, i) => bytes.readUInt32BE(start + (i + 1) * identifierBytes))
}

function readText (bytes: Buffer, start: number): string {
  return bytes.toString('utf8', start + 2, start + 2 + bytes.readUInt16BE(start))
}

const releasedMark = ':'

/** How far a delivery has come that was sent. */
export function encodeInFlight ({ packetIdentifier, isReleased }: DeliveryRecord): string {
  return `${packetIdentifier}${isReleased ? releasedMark : ''}`
}

// Options of a Subscription as a number: QoS in the two lowest bits, Retain Handling from the fifth one on.
const noLocalBit = 4
const retainAsPublishedBit = 8
const retainHandlingShift = 4

/** The options as a number, and behind a colon the Subscription Identifier if there is one. */
export function encodeOptions ({ qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }: Subscription): string {
  const bits = qos | (noLocal ? noLocalBit : 0) | (retainAsPublished ? retainAsPublishedBit : 0) | (retainHandling << retainHandlingShift)
  return subscriptionIdentifier === 0 ? String(bits) : `${bits}:${subscriptionIdentifier}`
}

export function decodeSubscription (topicFilter: Buffer, options: Buffer): Subscription {
  const [bits = 0, subscriptionIdentifier = 0] = options.toString().split(':').map(Number)
  return {
    topicFilter: topicFilter.toString(), qos: (bits & 3) as QoS, noLocal: (bits & noLocalBit) !== 0,
    retainAsPublished: (bits & retainAsPublishedBit) !== 0, retainHandling: (bits >> retainHandlingShift) as RetainHandling, subscriptionIdentifier,
  }
}

/** Topic Filters and options in turns, as HGETALL has them. */
export function decodeSubscriptions (fields: readonly Buffer[]): Subscription[] {
  const subscriptions: Subscription[] = []
  for (let i = 0; i + 1 < fields.length; i += 2) subscriptions.push(decodeSubscription(fields[i] as Buffer, fields[i + 1] as Buffer))
  return subscriptions
}

/** Equal records are equal texts. */
export function encodeRecord (record: SessionRecord): string { return stringify(record) }

export function decodeRecord (bytes: Buffer): SessionRecord { return JSON.parse(bytes.toString()) as SessionRecord }
