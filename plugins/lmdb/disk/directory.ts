import { accessSync, closeSync, constants, existsSync, mkdirSync, openSync, readSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { storeFailed } from '../../../lib/index.ts'
import { causeOf, damagedStore } from '../errors.ts'

/** LMDB's file with everything that is stored. */
export function dataFile (path: string): string {
  return join(path, 'data.mdb')
}

/** LMDB stamps its files with this; where it stands depends on the format. */
const magic = 0xBEEFC0DE
const magicOffsets: readonly number[] = [24, 16]
/** Where, from there, the size of pages stands. */
const pageSizeOffset = 24
const headerBytes = 4096
/** What an empty store takes at most, roughly. */
const firstBytes = 256 * 1024

/**
 * Makes the directory, unless it is only to be read.
 * @throws Error of the operating system, or MqttError
 */
export function prepareDirectory (path: string, readOnly: boolean): void {
  if (readOnly) expectStore(path)
  else mkdirSync(path, { recursive: true, mode: 0o700 })
  accessSync(path, constants.R_OK | constants.X_OK)
  if (!readOnly) accessSync(path, constants.W_OK)
}

/**
 * Makes sure that LMDB can open its files: it may crash when it cannot, so whatever may be wrong is found out before.
 * @throws Error of the operating system
 */
export function checkAccess (path: string, readOnly: boolean): void {
  const lockFile = join(path, 'lock.mdb')
  if (existsSync(dataFile(path))) accessSync(dataFile(path), readOnly ? constants.R_OK : constants.R_OK | constants.W_OK)
  expectWritable(existsSync(lockFile) ? lockFile : path, readOnly)
  if (isNew(path)) probeRoom(path)
}

// Readers note themselves in lock.mdb too, but where nobody can write.
function expectWritable (file: string, readOnly: boolean): void {
  try {
    accessSync(file, constants.W_OK)
  } catch (error) {
    if (!readOnly || causeOf(error) !== 'EROFS') throw error
  }
}

/** Whether nothing is stored there yet. */
export function isNew (path: string): boolean {
  return !existsSync(dataFile(path)) || statSync(dataFile(path)).size === 0
}

function expectStore (path: string): void {
  if (!isNew(path)) return
  throw storeFailed(`there is no store in ${path}; name the directory that a broker keeps its data in`)
}

/** @throws MqttError for what is not LMDB's */
export function checkHeader (path: string): void {
  if (magicOffsetOf(readHeader(path)) === undefined) throw damagedStore(path, `${dataFile(path)} is no file of LMDB`)
}

/** Bytes of LMDB's pages. */
export function pageSizeOf (path: string): number {
  const header = readHeader(path)
  return header.readUInt32LE((magicOffsetOf(header) ?? 0) + pageSizeOffset)
}

function magicOffsetOf (header: Buffer): number | undefined {
  return header.length === headerBytes ? magicOffsets.find(offset => header.readUInt32LE(offset) === magic) : undefined
}

function readHeader (path: string): Buffer {
  const file = openSync(dataFile(path), 'r')
  try {
    const header = Buffer.alloc(headerBytes)
    return header.subarray(0, readSync(file, header, 0, headerBytes, 0))
  } finally {
    closeSync(file)
  }
}

/** Finds out before LMDB does that a new store has no room. */
function probeRoom (path: string): void {
  const name = join(path, 'probe')
  try {
    writeFileSync(name, Buffer.alloc(firstBytes))
  } finally {
    rmSync(name, { force: true })
  }
}
