import { createHash } from 'node:crypto'
import { closeSync, existsSync, fdatasyncSync, fsyncSync, openSync, readFileSync, readSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { dataFile, pageSizeOf } from './directory.ts'
import { decodeJson, encodeJson } from '../records.ts'

/**
 * What a store comes back to when the machine stopped while commits did not wait for the disk.
 *
 * LMDB overwrites no page of a snapshot that somebody reads, and the first two pages of its file name the newest snapshot. So as
 * long as a snapshot that is wholly on the disk is being read, the store can come back to it, with the first two pages of that
 * time. They are kept in a file of two places, written by turns: one of them is whole when the machine stops.
 */
export interface Checkpoint {
  /** Counts up. */
  readonly number: number
  /** The time since the machine was started. When that is another, not all that was written may have reached the disk. */
  readonly boot: string
  /** Base64. */
  readonly firstPages: string
}

/** What a place takes: more than two pages of 64 KiB. */
const placeBytes = 256 * 1024
export const checkpointFileBytes: number = 2 * placeBytes

export function checkpointFile (path: string): string {
  return join(path, 'checkpoint')
}

/** Identifies the time since the machine was started; undefined where that cannot be told. */
export function currentBoot (): string | undefined {
  const file = '/proc/sys/kernel/random/boot_id'
  return existsSync(file) ? readFileSync(file, 'latin1').trim() : undefined
}

/** The pages that name the newest snapshot. They are good as long as nothing is being written. */
export function readFirstPages (path: string): Buffer {
  return using(dataFile(path), 'r', file => readStart(file, 2 * pageSizeOf(path)))
}

function readStart (file: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  readSync(file, bytes, 0, length, 0)
  return bytes
}

/** The newest checkpoint of a store; undefined when it has none. */
export function readCheckpoint (path: string): Checkpoint | undefined {
  if (!existsSync(checkpointFile(path))) return undefined
  const bytes = readFileSync(checkpointFile(path))
  const [even, odd] = [0, placeBytes].map(start => decode(bytes.subarray(start, start + placeBytes)))
  return even === undefined || (odd !== undefined && odd.number > even.number) ? odd : even
}

/** What to write of a checkpoint, and where. */
export function encodeCheckpoint (checkpoint: Checkpoint): { readonly bytes: Buffer, readonly position: number } {
  const content = encodeJson(checkpoint)
  return { bytes: Buffer.concat([Buffer.from(digestOf(content) + '\n'), content, Buffer.from('\n')]), position: checkpoint.number % 2 * placeBytes }
}

function decode (place: Buffer): Checkpoint | undefined {
  const [digest = '', content = ''] = place.toString('latin1').split('\n', 2)
  return digestOf(Buffer.from(content, 'latin1')) === digest ? decodeJson(Buffer.from(content)) as Checkpoint : undefined
}

function digestOf (content: Buffer): string {
  return createHash('sha256').update(content).digest('hex')
}

/** Whether the machine was started anew since the newest snapshot was written, and that is not the one of the checkpoint. */
export function isInterrupted (path: string): boolean {
  const checkpoint = readCheckpoint(path)
  return checkpoint !== undefined && using(dataFile(path), 'r', file => differs(file, checkpoint))
}

/** Brings the store back to its checkpoint if that is necessary, and makes sure that it is on the disk. */
export function restore (path: string): void {
  const checkpoint = readCheckpoint(path)
  if (checkpoint === undefined) return
  const pages = pagesOf(checkpoint)
  using(dataFile(path), 'r+', file => {
    if (differs(file, checkpoint)) writeSync(file, pages, 0, pages.length, 0)
    fdatasyncSync(file)
  })
}

function differs (file: number, checkpoint: Checkpoint): boolean {
  const pages = pagesOf(checkpoint)
  return checkpoint.boot !== currentBoot() && !pages.equals(readStart(file, pages.length))
}

/** From here on every commit waits for the disk. */
export function removeCheckpoint (path: string): void {
  if (!existsSync(checkpointFile(path))) return
  rmSync(checkpointFile(path))
  using(path, 'r', fsyncSync)
}

function pagesOf ({ firstPages }: Checkpoint): Buffer {
  return Buffer.from(firstPages, 'base64')
}

function using<T> (path: string, flags: string, use: (file: number) => T): T {
  const file = openSync(path, flags)
  try {
    return use(file)
  } finally {
    closeSync(file)
  }
}
