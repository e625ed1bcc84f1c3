import { open, type FileHandle } from 'node:fs/promises'
import { dataFile } from './directory.ts'
import type { WriteBatch } from '../write-batch.ts'

const page = 4_096
const kibibyte = 1_024
const mebibyte = 1_024 * kibibyte
/** Pages that are copied for a place that is touched, nearly always at most: its own and a neighbour's; those above are shared. */
const pagesForPlace = 2
/** What a commit takes for the roots of tables and the like, and for the list of free pages, which is a part of the file at most. */
const baseBytes = 256 * kibibyte
const freeListShare = 256
const maximumFreeListBytes = 2 * mebibyte

/** How LMDB uses its file. */
export interface Usage {
  /** The part of the file that it has ever written to. */
  usedBytes (): number
  /** How much of that is free again. */
  reusableBytes (): number
}

/**
 * Room in the data file, behind what is in use of it, for what the next commit may write. When LMDB has no room to write, what it does
 * to tell so may end the process (it writes behind a buffer of its own), so that must not happen: the disk is found full here, before,
 * when bytes for the future are written.
 *
 * Some of it is only for commits that store no messages, so that a full store can be emptied. It takes messages again when half of it
 * is free, or the disk has more.
 */
export class Room {
  readonly #file: FileHandle
  readonly #usage: Usage
  readonly #settle: () => Promise<void> | undefined
  /** The disk had no more, when it was asked last. */
  #isScarce = false
  #size: number
  /** Not less is free. */
  #free = 0

  private constructor (file: FileHandle, size: number, usage: Usage, settle: () => Promise<void> | undefined) {
    this.#file = file
    this.#size = size
    this.#usage = usage
    this.#settle = settle
  }

  /** @param settle makes sure that pages can be used again that are free */
  static async open (path: string, usage: Usage, settle: () => Promise<void> | undefined): Promise<Room> {
    const file = await open(dataFile(path), 'r+')
    return new Room(file, (await file.stat()).size, usage, settle)
  }

  /**
   * Makes room for a commit; nothing must be written meanwhile.
   * @throws Error of the operating system when there is none
   */
  async reserve ({ places, bytes, isGrowing }: WriteBatch): Promise<void> {
    if (this.#isScarce) await this.#settle()
    const used = this.#size - this.#free
    const taken = baseBytes + Math.min(used / freeListShare, maximumFreeListBytes) + Math.min(places * pagesForPlace * page, used) + 2 * bytes
    const spare = isGrowing ? between(mebibyte, used / 8, 8 * mebibyte) : 0
    if (taken + spare > this.#free) this.#free = this.#size - this.#usage.usedBytes()
    if (taken + spare > this.#free) await this.#extend(taken + spare - this.#free, () => taken + spare / 2 <= this.#free && this.#isHalfEmpty)
    this.#free -= taken
  }

  get #isHalfEmpty (): boolean {
    return this.#usage.reusableBytes() > this.#usage.usedBytes() / 2
  }

  async close (): Promise<void> {
    await this.#file.close()
  }

  async #extend (missing: number, isNeedless: () => boolean): Promise<void> {
    try {
      await this.#write(this.#size + missing)
      this.#isScarce = false
    } catch (error) {
      this.#isScarce = true
      await this.#settle()
      if (!isNeedless()) throw error
    }
  }

  async #write (end: number): Promise<void> {
    const zeros = Buffer.alloc(page * Math.ceil(between(256 * kibibyte, this.#size / 8, 4 * mebibyte) / page))
    while (this.#size < end) {
      const { bytesWritten } = await this.#file.write(zeros, 0, zeros.length, this.#size)
      this.#size += bytesWritten
      this.#free += bytesWritten
    }
  }
}

function between (minimum: number, value: number, maximum: number): number {
  return Math.max(minimum, Math.min(value, maximum))
}
