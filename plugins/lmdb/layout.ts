import { createHash } from 'node:crypto'

/** The version of the layout that this file describes; a store with a higher one is left alone. */
export const schema = 3

/** Which entries of a table: from `start` on, before `end`; in reverse order from `start` down, above `end`. */
export interface Range {
  readonly start?: Buffer
  readonly end?: Buffer
  readonly reverse?: boolean
  readonly limit?: number
}

export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
}

/** What was committed, ordered by key. What `getRange` gives may not be changed; `getBinary` gives a copy. */
export interface Table {
  readonly name: TableName
  getBinary (key: Buffer): Buffer | undefined
  getKeys (range?: Range): Iterable<Buffer>
  getRange (range?: Range): Iterable<Entry>
}

/**
 * Everything that is kept. Numbers in keys are big-endian, so LMDB's order of keys is that of Sessions and, within one, of positions:
 * a Session's part of a table is one range, and its first and last entry are found without reading the others.
 */
export interface Tables {
  /** `format` and `state`, see records.ts, and `log`: the generation of the log that LMDB had last. */
  readonly meta: Table
  /** Session → its record, JSON. */
  readonly sessions: Table
  /** Session, Topic Filter → the Subscription, JSON. */
  readonly subscriptions: Table
  /** Session, position of the first → a segment: deliveries that were written together, with their messages unless those are shared. */
  readonly deliveries: Table
  /** The same key → what has become of them: Packet Identifiers, and which of them are done with. So a message is not written again when it is sent. */
  readonly inFlight: Table
  /** Body → a message that several deliveries share. */
  readonly bodies: Table
  /** Body → how many deliveries share it. */
  readonly shares: Table
  /** Session, Packet Identifier of a QoS 2 message that came in → nothing. */
  readonly received: Table
  /** Topic Name → the retained message. */
  readonly retained: Table
}

export type TableName = keyof Tables

/** Names of the tables, in the order in which they are opened; in the log a table is its place here. */
export const tableNames: readonly TableName[] = [
  'meta', 'sessions', 'subscriptions', 'deliveries', 'inFlight', 'bodies', 'shares', 'received', 'retained',
]

/** Bytes of a Session's number, of a position and of a body's number. */
export const numberBytes = 6

/** The longest text that is part of a key: LMDB takes keys of up to 1,978 bytes. */
const maximumTextBytes = 1_900
/** What begins the hash that stands for a longer text; no UTF-8 has this byte. */
const hashMark = Buffer.of(0xFF)

export function numberKey (number: number): Buffer {
  const key = Buffer.allocUnsafe(numberBytes)
  key.writeUIntBE(number, 0, numberBytes)
  return key
}

export function positionKey (session: number, position: number): Buffer {
  const key = Buffer.allocUnsafe(2 * numberBytes)
  key.writeUIntBE(session, 0, numberBytes)
  key.writeUIntBE(position, numberBytes, numberBytes)
  return key
}

export function receivedKey (session: number, packetIdentifier: number): Buffer {
  const key = Buffer.allocUnsafe(numberBytes + 2)
  key.writeUIntBE(session, 0, numberBytes)
  key.writeUInt16BE(packetIdentifier, numberBytes)
  return key
}

export function subscriptionKey (session: number, topicFilter: string): Buffer {
  return Buffer.concat([numberKey(session), textKey(topicFilter)])
}

/** A Topic Name or Topic Filter as a key, or as part of one. */
export function textKey (text: string): Buffer {
  const bytes = Buffer.from(text)
  return bytes.length <= maximumTextBytes ? bytes : Buffer.concat([hashMark, createHash('sha256').update(bytes).digest()])
}

/** The number that a key is, or begins with. */
export function numberOf (key: Uint8Array): number {
  return bytesOf(key).readUIntBE(0, numberBytes)
}

export function positionOf (key: Uint8Array): number {
  return bytesOf(key).readUIntBE(numberBytes, numberBytes)
}

export function packetIdentifierOf (key: Uint8Array): number {
  return bytesOf(key).readUInt16BE(numberBytes)
}

/** The same bytes as a Buffer, which LMDB's usually are already. */
export function bytesOf (bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
