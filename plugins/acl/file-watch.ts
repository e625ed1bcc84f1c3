import { stat } from 'node:fs/promises'
import type { Clock } from '../../lib/index.ts'

const intervalMs = 1000

/**
 * Looks at a file once a second, so it does not matter how it is changed: in place, by a new file of that name, or by a symbolic link on
 * the way to it. What is still being written is left alone: a change counts when the file looks the same twice.
 */
export class FileWatch {
  readonly #path: string
  readonly #changed: () => void
  readonly #stop: () => void
  #told: string
  #last: string
  #isLooking = false

  private constructor (path: string, clock: Clock, changed: () => void, stamp: string) {
    this.#path = path
    this.#changed = changed
    this.#told = stamp
    this.#last = stamp
    this.#stop = clock.every(intervalMs, () => { void this.#look() })
  }

  /** To be called before the file is read for the first time. */
  static async start (path: string, clock: Clock, changed: () => void): Promise<FileWatch> {
    return new FileWatch(path, clock, changed, await stampOf(path))
  }

  close (): void { this.#stop() }

  async #look (): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    const stamp = await stampOf(this.#path)
    this.#isLooking = false
    if (stamp === this.#last && stamp !== this.#told) {
      this.#told = stamp
      this.#changed()
    }
    this.#last = stamp
  }
}

/** Differs when the file does; a file that is not there has one, too. */
async function stampOf (path: string): Promise<string> {
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return `${ino} ${size} ${mtimeNs} ${ctimeNs}`
  } catch {
    return 'missing'
  }
}
