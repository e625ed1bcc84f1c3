import { existsSync, statSync } from 'node:fs'
import { open, writeFile, type FileHandle } from 'node:fs/promises'
import { checkpointFile, checkpointFileBytes, currentBoot, encodeCheckpoint, readCheckpoint, readFirstPages } from './checkpoint.ts'
import { describe } from '../errors.ts'
import { dataFile } from './directory.ts'

/** Milliseconds after a commit, and bytes of commits, after which they are brought to the disk. */
const intervalMs = 1_000
const intervalBytes = 32 * 1024 * 1024
/** Bytes of commits that may come while the disk is busy: as long as it is, their pages are not used again, so the file grows. */
const maximumBytes = 256 * 1024 * 1024
/** What a commit writes at least: LMDB copies the pages on the way to what is changed. */
const commitBytes = 32 * 1024

/** A snapshot that is read, which keeps its pages from being overwritten. */
export interface Snapshot {
  done (): void
}

/** Makes checkpoints while the store is open, behind the commits: nobody waits for them. See {@link Checkpoint}. */
export class Checkpoints {
  readonly #path: string
  readonly #hold: () => Snapshot
  readonly #data: FileHandle
  readonly #file: FileHandle
  #number: number
  /** That of the newest checkpoint. */
  #snapshot: Snapshot | undefined = undefined
  #timer: NodeJS.Timeout | undefined = undefined
  /** Of commits since the last checkpoint began. */
  #bytes = 0
  #isDue = false
  #isCommitting = false
  #making: Promise<void> | undefined = undefined
  #failure: Error | undefined = undefined

  private constructor (path: string, hold: () => Snapshot, data: FileHandle, file: FileHandle) {
    this.#path = path
    this.#hold = hold
    this.#data = data
    this.#file = file
    this.#number = readCheckpoint(path)?.number ?? 0
  }

  /**
   * Makes the first one; nothing must have been written since the store was opened.
   * @param hold begins to read the newest snapshot
   */
  static async start (path: string, hold: () => Snapshot): Promise<Checkpoints> {
    await makeFile(path)
    const checkpoints = new Checkpoints(path, hold, await open(dataFile(path), 'r+'), await open(checkpointFile(path), 'r+'))
    try {
      await checkpoints.#make()
      return checkpoints
    } catch (error) {
      await checkpoints.#closeFiles()
      throw error
    }
  }

  /** Makes one of all that was committed, so that LMDB can use the pages again that are free since. */
  async settle (): Promise<void> {
    if (this.#bytes > 0) this.#start()
    await this.#making
  }

  /**
   * The same for who cannot go on without.
   * @throws MqttError
   */
  async force (): Promise<void> {
    await this.settle()
    if (this.#failure !== undefined) throw this.#failure
  }

  /**
   * A commit begins.
   * @throws Error of the operating system, or MqttError: the last checkpoint could not be made, and before anything else there has to be one
   */
  async begin (): Promise<void> {
    if (this.#bytes > maximumBytes) await this.#making
    const failure = this.#failure
    if (failure === undefined) {
      this.#isCommitting = true
      return
    }
    await this.#make()
    this.#failure = undefined
    throw failure
  }

  /** It has ended well. */
  end (bytes: number): void {
    this.#isCommitting = false
    this.#bytes += commitBytes + bytes
    if (this.#isDue || this.#bytes > intervalBytes) this.#start()
    else this.#timer ??= setTimeout(this.#expired, intervalMs).unref()
  }

  /** Makes the last one. */
  async close (): Promise<void> {
    try {
      await this.#rest()
      await this.#make()
    } finally {
      await this.stop()
    }
  }

  /** Makes no more of them. */
  async stop (): Promise<void> {
    await this.#rest()
    this.#snapshot?.done()
    await this.#closeFiles()
  }

  /** Waits for the one that is being made; another does not follow. */
  async #rest (): Promise<void> {
    clearTimeout(this.#timer)
    this.#isCommitting = true
    await this.#making
  }

  readonly #expired = (): void => {
    this.#isDue = true
    if (!this.#isCommitting) this.#start()
  }

  #start (): void {
    if (this.#making !== undefined) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
    this.#bytes = 0
    this.#making = this.#make().catch((error: unknown) => { this.#failure = describe(error, this.#path) }).finally(this.#made)
  }

  readonly #made = (): void => {
    this.#making = undefined
    if ((this.#isDue || this.#bytes > intervalBytes) && !this.#isCommitting) this.#start()
  }

  /** What it begins with is the newest snapshot, since nothing is being written then. */
  async #make (): Promise<void> {
    const snapshot = this.#hold()
    try {
      const firstPages = readFirstPages(this.#path).toString('base64')
      await this.#data.datasync()
      const { bytes, position } = encodeCheckpoint({ number: this.#number + 1, boot: currentBoot() ?? '', firstPages })
      await writeAll(this.#file, bytes, position)
      await this.#file.datasync()
    } catch (error) {
      snapshot.done()
      throw error
    }
    this.#number++
    this.#snapshot?.done()
    this.#snapshot = snapshot
  }

  async #closeFiles (): Promise<void> {
    await this.#data.close()
    await this.#file.close()
  }
}

/** It has its full size from the beginning, so a full disk is no hindrance later. */
async function makeFile (path: string): Promise<void> {
  const name = checkpointFile(path)
  if (!existsSync(name) || statSync(name).size < checkpointFileBytes) await writeFile(name, Buffer.alloc(checkpointFileBytes), { flag: 'a' })
}

async function writeAll (file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
  }
}
