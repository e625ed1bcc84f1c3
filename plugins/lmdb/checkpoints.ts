import { open, type FileHandle } from 'node:fs/promises'
import { checkpointFile, currentBoot, encodeCheckpoint, readCheckpoint, readFirstPages } from './checkpoint.ts'
import { describe } from './errors.ts'
import { dataFile } from './files.ts'

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
    const data = await open(dataFile(path), 'r+')
    const file = await open(checkpointFile(path), 'r+').catch(() => open(checkpointFile(path), 'w+'))
    const checkpoints = new Checkpoints(path, hold, data, file)
    try {
      await checkpoints.#make()
      return checkpoints
    } catch (error) {
      await checkpoints.#closeFiles()
      throw error
    }
  }

  /**
   * A commit begins.
   * @throws MqttError when the last checkpoint could not be made; then there has to be another first
   */
  async begin (): Promise<void> {
    if (this.#bytes > maximumBytes) await this.#making
    if (this.#failure !== undefined) throw this.#failure
    this.#isCommitting = true
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
    clearTimeout(this.#timer)
    try {
      await this.#making
      await this.#make()
    } finally {
      this.#snapshot?.done()
      await this.#closeFiles()
    }
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

async function writeAll (file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let written = 0; written < bytes.length;) {
    written += (await file.write(bytes, written, bytes.length - written, position + written)).bytesWritten
  }
}
