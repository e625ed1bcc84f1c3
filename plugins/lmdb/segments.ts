import type { DeliveryRecord, MessageCodec } from '../../lib/index.ts'
import { numberOf, positionKey, positionOf } from './layout.ts'
import { deliveryLength, writeDelivery } from './records.ts'

// What begins a segment of several deliveries; the first byte of one by itself is less.
const severalMark = 0x80
/** The mark, and how many there are. */
const headBytes = 3
/** For each delivery: how far its position is from that of the first, and where it ends. */
const placeBytes = 6
/** In a note, for each delivery: Packet Identifier, then these bits. */
const noteBytes = 3
const releasedBit = 1
const doneBit = 2

const maximumDeliveries = 64
const maximumDistance = 0xFFFF
/** Two pages of LMDB, less what it needs of them. */
const maximumBytes = 8_176
/** Of a segment with that much of it left, or less, what is left is written anew. */
const smallShare = 1 / 8

/** An entry of a queue: what stands in the tables `deliveries` and `inFlight` under one key. */
export interface SegmentEntry {
  readonly first: number
  readonly bytes: Buffer
  readonly note: Buffer | undefined
}

/**
 * Neighbours in a Session's queue that were written together. They are one entry, so that many cost little more than one does. What becomes of
 * them is noted apart, so that messages are not written again for it.
 */
export class Segment implements SegmentEntry {
  readonly key: Buffer
  /** Position of its first delivery. */
  readonly first: number
  readonly bytes: Buffer
  readonly count: number
  #note: Buffer | undefined

  /** @param key of the Session and the first position */
  constructor (key: Buffer, bytes: Buffer, note: Buffer | undefined) {
    this.key = key
    this.first = positionOf(key)
    this.bytes = bytes
    this.count = bytes[0] === severalMark ? bytes.readUInt16BE(1) : 1
    this.#note = note
  }

  get session (): number { return numberOf(this.key) }

  /** Position of the last delivery that is still there: those behind it may be given again. */
  get last (): number {
    let index = this.count - 1
    while (index > 0 && !this.has(index)) index--
    return this.positionAt(index)
  }

  /** What has become of its deliveries; undefined while all of them wait. */
  get note (): Buffer | undefined { return this.#note }

  positionAt (index: number): number {
    return this.first + (this.count === 1 ? 0 : this.bytes.readUInt16BE(headBytes + index * placeBytes))
  }

  startOf (index: number): number {
    if (this.count === 1) return 0
    return index === 0 ? headBytes + this.count * placeBytes : this.endOf(index - 1)
  }

  endOf (index: number): number {
    return this.count === 1 ? this.bytes.length : this.bytes.readUInt32BE(headBytes + index * placeBytes + 2)
  }

  /** Whether that delivery is still there. */
  has (index: number): boolean { return (this.#stateOf(index) & doneBit) === 0 }

  /** 0 while it waits. */
  packetIdentifierOf (index: number): number { return this.#note === undefined ? 0 : this.#note.readUInt16BE(index * noteBytes) }

  isReleased (index: number): boolean { return (this.#stateOf(index) & releasedBit) !== 0 }

  /** Indexes of the deliveries that are still there, from a position on. */
  indexesFrom (position: number): number[] {
    const indexes: number[] = []
    for (let index = 0; index < this.count; index++) if (this.has(index) && this.positionAt(index) >= position) indexes.push(index)
    return indexes
  }

  sent (index: number, { packetIdentifier, isReleased }: DeliveryRecord): void {
    const note = this.#note ??= newNote(this.count)
    note[note.writeUInt16BE(packetIdentifier, index * noteBytes)] = isReleased ? releasedBit : 0
  }

  remove (index: number): void {
    const note = this.#note ??= newNote(this.count)
    note[index * noteBytes + noteBytes - 1] = doneBit
  }

  /** The same without what is done with, if so little is left that it is not worth the room; undefined for nothing. */
  compacted (): SegmentEntry | undefined {
    const left = this.indexesFrom(this.first)
    const bytes = left.reduce((sum, index) => sum + this.endOf(index) - this.startOf(index), 0)
    if (bytes > this.bytes.length * smallShare) return this
    return left.length === 0 ? undefined : this.#only(left)
  }

  #only (indexes: readonly number[]): SegmentEntry {
    const parts = indexes.map(index => ({ position: this.positionAt(index), length: this.endOf(index) - this.startOf(index), index }))
    const entry = assemble(parts, ({ index }, target, at) => at + this.bytes.copy(target, at, this.startOf(index), this.endOf(index)))
    return { ...entry, note: this.#note && Buffer.concat(indexes.map(index => (this.#note as Buffer).subarray(index * noteBytes, (index + 1) * noteBytes))) }
  }

  #stateOf (index: number): number { return this.#note?.[index * noteBytes + noteBytes - 1] ?? 0 }
}

function newNote (count: number): Buffer { return Buffer.alloc(count * noteBytes) }

/** A delivery of a segment in the making. */
interface Part {
  readonly position: number
  /** Bytes that it takes. */
  readonly length: number
}

function assemble<P extends Part> (parts: readonly P[], write: (part: P, target: Buffer, at: number) => number): { readonly first: number, readonly bytes: Buffer } {
  const first = parts[0]?.position ?? 0
  let at = parts.length === 1 ? 0 : headBytes + parts.length * placeBytes
  const bytes = Buffer.allocUnsafe(parts.reduce((sum, { length }) => sum + length, at))
  if (parts.length > 1) bytes.writeUInt16BE(parts.length, bytes.writeUInt8(severalMark, 0))
  for (const [index, part] of parts.entries()) {
    at = write(part, bytes, at)
    if (parts.length > 1) bytes.writeUInt32BE(at, bytes.writeUInt16BE(part.position - first, headBytes + index * placeBytes))
  }
  return { first, bytes }
}

interface NewPart extends Part { readonly delivery: DeliveryRecord }

/** The entries of deliveries that are written together, all of one Session and in their order. */
export function segmentsOf (deliveries: readonly DeliveryRecord[], codec: MessageCodec): SegmentEntry[] {
  const groups: NewPart[][] = []
  let size = Infinity
  for (const delivery of deliveries) {
    const part = { position: delivery.position, length: deliveryLength(delivery, codec), delivery }
    const group = groups.at(-1)
    size += part.length + placeBytes
    if (group !== undefined && group.length < maximumDeliveries && size <= maximumBytes && part.position - (group[0] as Part).position <= maximumDistance) {
      group.push(part)
    } else {
      groups.push([part])
      size = headBytes + part.length + placeBytes
    }
  }
  return groups.map(group => newSegment(group, codec))
}

function newSegment (parts: readonly NewPart[], codec: MessageCodec): SegmentEntry {
  const { first, bytes } = assemble(parts, ({ delivery }, target, at) => writeDelivery(delivery, target, at, codec))
  if (parts.every(({ delivery }) => delivery.packetIdentifier === 0)) return { first, bytes, note: undefined }
  const { session } = (parts[0] as NewPart).delivery
  const segment = new Segment(positionKey(session, first), bytes, undefined)
  for (const [index, { delivery }] of parts.entries()) segment.sent(index, delivery)
  return segment
}
