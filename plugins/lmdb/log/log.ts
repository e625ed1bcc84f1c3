import { existsSync, readFileSync, statSync } from 'node:fs'
import { open, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { crc32 } from 'node:zlib'
import { currentBoot } from '../disk/checkpoint.ts'
import { causeOf } from '../errors.ts'
import type { Write, WriteBatch } from '../write-batch.ts'
import { checksumOf, decodeRecords, encodeRecord, recordLength, type RecordHead } from './record.ts'

/** Of each of the two files, from the beginning on, so that writing to them changes nothing else on the disk. */
const fileBytes = 1024 * 1024
/** Of a record: with what is more, LMDB's pages and its waiting are shared by enough. */
const maximumBytes = 256 * 1024
/** The same for entries that have a page each, however many commits are gathered. */
const maximumScattered = 64
/** Of a generation: they are handed over to LMDB in one go, in which nothing else runs. */
const maximumEntries = 8_192

/**
 * What was committed and is not in LMDB yet. One write behind the others costs a tenth of what it takes to change the pages of a tree, and
 * the disk is waited for once instead of twice.
 *
 * There are two files: a generation of records is in one of them while the generation before it goes from the other to LMDB, which notes
 * its number with it. Records of higher numbers are what a store that was not closed has to go on with.
 */
export class Log {
  readonly #files: readonly FileHandle[]
  readonly #isSynced: boolean
  readonly #boot: number
  #generation: number
  /** Where the next record is written. */
  #end = 0
  /** Of the record before that. */
  #checksum = 0
  /** In all records of the generation. */
  #entries = 0

  private constructor (files: readonly FileHandle[], generation: number, isSynced: boolean) {
    this.#files = files
    this.#generation = generation
    this.#isSynced = isSynced
    this.#boot = isSynced ? 0 : bootTag()
  }

  /**
   * Begins a generation in files that have nothing any more that LMDB has not.
   * @throws Error of the operating system
   */
  static async open (path: string, generation: number, isSynced: boolean): Promise<Log> {
    const files: FileHandle[] = []
    try {
      for (const name of namesIn(path)) files.push(await openFile(name))
      await syncDirectory(path)
      return new Log(files, generation, isSynced)
    } catch (error) {
      for (const file of files) await file.close()
      await removeLog(path)
      throw error
    }
  }

  /** Of the records that are written. */
  get generation (): number { return this.#generation }

  /** Whether it is of use to write it twice. */
  wants ({ writes, bytes, scattered }: WriteBatch): boolean {
    return scattered <= maximumScattered && writes.length <= maximumEntries && recordLength(writes, bytes) <= maximumBytes
  }

  /** Whether it can be part of this generation. */
  hasRoomFor ({ writes, bytes }: WriteBatch): boolean {
    return this.#entries + writes.length <= maximumEntries && this.#end + recordLength(writes, bytes) <= fileBytes
  }

  /** @throws Error of the operating system; then the batch was not written */
  async append ({ writes, bytes }: WriteBatch): Promise<void> {
    const record = encodeRecord(writes, bytes, { generation: this.#generation, boot: this.#boot }, this.#checksum)
    try {
      await writeAll(this.#file, record, this.#end)
      if (this.#isSynced) await this.#file.datasync()
    } catch (error) {
      await this.#strike(record.length)
      throw error
    }
    this.#end += record.length
    this.#entries += writes.length
    this.#checksum = checksumOf(record)
  }

  /** The next generation begins, in the file of the last but one, which LMDB has. */
  next (): void {
    this.#generation++
    this.#end = this.#checksum = this.#entries = 0
  }

  async close (): Promise<void> {
    for (const file of this.#files) await file.close()
  }

  get #file (): FileHandle { return this.#files[this.#generation % 2] as FileHandle }

  /** A record whose writers are told that it failed must not be found, even if the disk has it after all. */
  async #strike (length: number): Promise<void> {
    try {
      await writeAll(this.#file, Buffer.alloc(length), this.#end)
    } catch {
      // LMDB has noted the end of the generation before anything else is committed, which strikes it out as well
    }
  }
}

/** What the files of a store have that LMDB has not, in its order, and the highest generation of it. */
export function readLog (path: string, applied: number): { readonly writes: readonly Write[], readonly generation: number } {
  const boots = new Set([0, bootTag()])
  const writes: Write[] = []
  let generation = applied
  for (const wanted of [applied + 1, applied + 2]) {
    const count = writes.length
    writes.push(...decodeRecords(contentOf(namesIn(path)[wanted % 2] as string), (head: RecordHead) => head.generation === wanted && boots.has(head.boot)))
    if (writes.length > count) generation = wanted
  }
  return { writes, generation }
}

/** Nothing where there is no such file, or was one until now: a broker that is closed removes it. */
function contentOf (name: string): Buffer {
  try {
    return readFileSync(name)
  } catch (error) {
    if (causeOf(error) !== 'ENOENT') throw error
    return Buffer.alloc(0)
  }
}

/** Changes with the files. */
export function logSignature (path: string): string {
  return namesIn(path).map(name => statSync(name, { throwIfNoEntry: false })?.mtimeMs).join(' ')
}

/** LMDB has all of it. */
export async function removeLog (path: string): Promise<void> {
  for (const name of namesIn(path)) await rm(name, { force: true })
}

function namesIn (path: string): readonly string[] {
  return ['even', 'odd'].map(name => join(path, `log-${name}`))
}

function bootTag (): number { return crc32(currentBoot() ?? '') }

async function openFile (name: string): Promise<FileHandle> {
  const file = await open(name, existsSync(name) ? 'r+' : 'wx+', 0o600)
  try {
    const { size } = await file.stat()
    if (size < fileBytes) await writeAll(file, Buffer.alloc(fileBytes - size), size)
    await file.sync()
    return file
  } catch (error) {
    await file.close()
    throw error
  }
}

/** So that the files are found again. Windows knows no such thing. */
async function syncDirectory (path: string): Promise<void> {
  if (process.platform === 'win32') return
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

async function writeAll (file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
  }
}
