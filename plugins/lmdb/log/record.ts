import { crc32 } from 'node:zlib'
import { tableNames } from '../layout.ts'
import type { Write } from '../write-batch.ts'

// A record: checksum of what follows, and of all records before it (4 bytes), length of all of it (4), generation (6), boot (4), then for
// each write: table (1), length of the key (2), length of the value (4), key, value.
const lengthOffset = 4
const generationOffset = 8
const bootOffset = 14
const headBytes = 18
const writeBytes = 7
/** In the place of a value's length: the entry is removed. */
const noValue = 0xFFFFFFFF

/** What a record says of itself. */
export interface RecordHead {
  /** Records of one generation are together in one file, and in LMDB all at once. */
  readonly generation: number
  /** Where the log did not wait for the disk: the time since the machine was started, in which all of it can be read. 0 where it did. */
  readonly boot: number
}

/** Bytes of the record of some writes, whose keys and values have so many. */
export function recordLength (writes: readonly Write[], bytes: number): number {
  return headBytes + writes.length * writeBytes + bytes
}

/** @param before the checksum of the record before it; 0 for the first of a file */
export function encodeRecord (writes: readonly Write[], bytes: number, { generation, boot }: RecordHead, before = 0): Buffer {
  const record = Buffer.allocUnsafe(recordLength(writes, bytes))
  record.writeUInt32BE(record.length, lengthOffset)
  record.writeUIntBE(generation, generationOffset, bootOffset - generationOffset)
  record.writeUInt32BE(boot, bootOffset)
  let at = headBytes
  for (const write of writes) at = encodeWrite(write, record, at)
  record.writeUInt32BE(crc32(record.subarray(lengthOffset), before), 0)
  return record
}

export function checksumOf (record: Buffer): number { return record.readUInt32BE(0) }

function encodeWrite ({ table, key, value }: Write, record: Buffer, at: number): number {
  record[at] = tableNames.indexOf(table)
  record.writeUInt16BE(key.length, at + 1)
  at = record.writeUInt32BE(value?.length ?? noValue, at + 3)
  at += key.copy(record, at)
  return value === undefined ? at : at + value.copy(record, at)
}

/**
 * The writes of all records of a generation in a file, up to the first that is not whole: what follows was not acknowledged. It may be anything,
 * a message with the bytes of a record too, so a record knows the one before it, which nobody does who sends a message.
 */
export function * decodeRecords (file: Buffer, isWanted: (head: RecordHead) => boolean): Generator<Write> {
  for (let at = 0, before = 0; ;) {
    const record = recordAt(file, at, before)
    if (record === undefined || !isWanted(headOf(record))) return
    yield * decodeWrites(record)
    at += record.length
    before = checksumOf(record)
  }
}

function recordAt (file: Buffer, at: number, before: number): Buffer | undefined {
  if (at + headBytes > file.length) return undefined
  const length = file.readUInt32BE(at + lengthOffset)
  if (length < headBytes || at + length > file.length) return undefined
  const record = file.subarray(at, at + length)
  return crc32(record.subarray(lengthOffset), before) === checksumOf(record) ? record : undefined
}

function headOf (record: Buffer): RecordHead {
  return { generation: record.readUIntBE(generationOffset, bootOffset - generationOffset), boot: record.readUInt32BE(bootOffset) }
}

function * decodeWrites (record: Buffer): Generator<Write> {
  for (let at = headBytes; at < record.length;) {
    const table = tableNames[record[at] as number]
    if (table === undefined) return
    const start = at + writeBytes
    const end = start + record.readUInt16BE(at + 1)
    const length = record.readUInt32BE(at + 3)
    at = length === noValue ? end : end + length
    yield { table, key: record.subarray(start, end), value: length === noValue ? undefined : record.subarray(end, at) }
  }
}
