import { open, type FileHandle } from 'node:fs/promises'
import { dataFile } from './directory.ts'

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

/** What is going to be written. */
export interface Demand {
  /** Places in the tables that are touched, each of which may be a page of its own. */
  readonly places: number
  /** Of keys and values. */
  readonly bytes: number
  /** Messages are stored, so a store that is nearly full has no room for it. */
  readonly isGrowing: boolean
}

/**
 * Room in the data file, behind what is in use of it, for all that was committed and is not there yet. When LMDB has no room to write, what it does
 * to tell so may end the process (it writes behind a buffer of its own), so that must not happen: the disk is found full here, before,
 * when bytes for the future are written.
 *
 * Some of it is only for commits that store no messages, so that a full store can be emptied. It takes messages again when half of it
 * is free, or the disk has more.
 */
export class Room {
  readonly #file: FileHandle
  readonly #usage: Usage
  /** The disk had no more, when it was asked last. */
  #isScarce = false
  #size: number

  private constructor (file: FileHandle, size: number, usage: Usage) {
    this.#file = file
    this.#size = size
    this.#usage = usage
  }

  static async open (path: string, usage: Usage): Promise<Room> {
    const file = await open(dataFile(path), 'r+')
    return new Room(file, (await file.stat()).size, usage)
  }

  /**
   * Makes room.
   * @param demand of all that is not in the file yet
   * @param settle brings that there, and makes sure that pages can be used again that are free
   * @throws Error of the operating system when there is none
   */
  async reserve (demand: () => Demand, settle: () => Promise<void>): Promise<void> {
    if (this.#isScarce) await settle()
    const missing = this.#missing(demand(), 1)
    if (missing > 0) await this.#extend(missing, settle, () => this.#missing(demand(), this.#isHalfEmpty ? 1 / 2 : 1) <= 0)
  }

  async close (): Promise<void> {
    await this.#file.close()
  }

  get #isHalfEmpty (): boolean {
    return this.#usage.reusableBytes() > this.#usage.usedBytes() / 2
  }

  /** @param share of what is spared for commits that store no messages */
  #missing ({ places, bytes, isGrowing }: Demand, share: number): number {
    const used = this.#usage.usedBytes()
    const taken = baseBytes + Math.min(used / freeListShare, maximumFreeListBytes) + Math.min(places * pagesForPlace * page, used) + 2 * bytes
    const spare = isGrowing ? share * between(mebibyte, used / 8, 8 * mebibyte) : 0
    return used + taken + spare - this.#size
  }

  async #extend (missing: number, settle: () => Promise<void>, isNeedless: () => boolean): Promise<void> {
    try {
      await this.#write(this.#size + missing)
      this.#isScarce = false
    } catch (error) {
      this.#isScarce = true
      await settle()
      if (!isNeedless()) throw error
    }
  }

  async #write (end: number): Promise<void> {
    const zeros = Buffer.alloc(page * Math.ceil(between(256 * kibibyte, this.#size / 8, 4 * mebibyte) / page))
    while (this.#size < end) this.#size += (await this.#file.write(zeros, 0, zeros.length, this.#size)).bytesWritten
  }
}

function between (minimum: number, value: number, maximum: number): number {
  return Math.max(minimum, Math.min(value, maximum))
}
