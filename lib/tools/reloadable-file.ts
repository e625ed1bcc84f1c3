import { readFile, stat } from 'node:fs/promises'
import { checkBoolean } from '../base/checks.ts'
import { fileInvalid, optionInvalid } from '../base/errors.ts'
import type { Clock } from '../contract/clock.ts'
import type { MaybePromise } from '../contract/hooks.ts'
import type { Logger } from '../contract/logger.ts'

/** What {@link ReloadableFile} is to read, and how. */
export interface ReloadableFileOptions {
  readonly path: string
  /** Reload when the file has changed, at the latest two seconds later. Default false. */
  readonly watch?: boolean | undefined
  /** Takes the content over. What it throws rejects the reload, so it has to check all before it changes anything. A file that is not UTF-8 is refused. */
  readonly load: (text: string) => MaybePromise<void>
}

/** The same for a file that need not be text. */
export interface ReloadableBytesOptions extends Omit<ReloadableFileOptions, 'load'> {
  /** As `load`. */
  readonly loadBytes: (bytes: Buffer) => MaybePromise<void>
}

const intervalMs = 1000

const reasons: ReadonlyMap<string | undefined, string> = new Map([
  ['ENOENT', 'there is no such file'], ['EACCES', 'not allowed to read it'], ['EISDIR', 'that is a directory'], ['ENOTDIR', 'there is no such directory'],
])

/**
 * A file of rules, users or keys that a plugin lives by. It is read by `open`, which belongs into the plugin's `setup`, again by `reload`, and by itself
 * when it is watched. A file that is bad changes nothing: at the start the broker does not start, later what was read before stays in force.
 *
 * Watching compares what the file system tells of the file once a second, wherever symbolic links lead. So it does not matter whether the file was written,
 * replaced by an editor, or is one of Kubernetes or on a network; and a file that is still being written is left until it has been still for a second.
 */
export class ReloadableFile {
  readonly #options: ReloadableFileOptions | ReloadableBytesOptions
  #reading: Promise<void> = Promise.resolve()
  /** The version that was read last, and the one that was there at the last look. */
  #read = ''
  #seen = ''
  #isLooking = false
  #stop: () => void = () => undefined

  /** @throws MqttError for a `path` that is no text, or a `watch` that is neither true nor false: a plugin with options of these names need not check them */
  constructor (options: ReloadableFileOptions | ReloadableBytesOptions) {
    const { path, watch }: { readonly path: unknown, readonly watch?: unknown } = options
    if (typeof path !== 'string' || path === '') throw optionInvalid('path', 'the path of a file', path)
    checkBoolean('watch', watch)
    this.#options = options
  }

  /**
   * Reads the file, and watches it from then on where that is wanted.
   * @param broker whose clock and logger it uses
   * @throws MqttError `MQTT_FILE_INVALID` for a file that cannot be read; what `load` throws
   */
  async open ({ clock, logger }: { readonly clock: Clock, readonly logger: Logger }): Promise<void> {
    await this.reload()
    if (this.#options.watch === true) this.#stop = clock.every(intervalMs, () => { void this.#look(logger) })
  }

  /** Reads the file anew, one reader at a time. Throws what `open` throws. */
  reload (): Promise<void> {
    this.#reading = this.#reading.catch(() => undefined).then(() => this.#load())
    return this.#reading
  }

  /** Stops watching. */
  close (): void { this.#stop() }

  async #load (): Promise<void> {
    const options = this.#options
    this.#read = this.#seen = await versionOf(options.path) // before it is read: what changes meanwhile will be noticed
    const bytes = await bytesOf(options.path)
    await ('load' in options ? options.load(textOf(options.path, bytes)) : options.loadBytes(bytes))
  }

  async #look (logger: Logger): Promise<void> {
    if (this.#isLooking) return
    this.#isLooking = true
    const version = await versionOf(this.#options.path)
    const isStill = version === this.#seen
    this.#seen = version
    if (version !== this.#read && isStill) await this.#reloadChanged(logger)
    this.#isLooking = false
  }

  async #reloadChanged (logger: Logger): Promise<void> {
    const { path } = this.#options
    try {
      await this.reload()
      logger.info({ path }, `${path} has changed and was read anew`)
    } catch (error) {
      logger.error({ err: error, path }, `${error instanceof Error ? error.message : String(error)}. The file has changed, but what was read before stays in force`)
    }
  }
}

/** Differs when the file was written or replaced. */
async function versionOf (path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true })
    return [dev, ino, size, mtimeNs, ctimeNs].join(' ')
  } catch (error) {
    return codeOf(error) ?? 'unknown'
  }
}

async function bytesOf (path: string): Promise<Buffer> {
  try {
    const status = await stat(path)
    if (!status.isFile() && !status.isDirectory()) throw new Error('it is not a file') // a pipe might have no end
    return await readFile(path)
  } catch (error) {
    throw fileInvalid(path, reasons.get(codeOf(error)) ?? (error instanceof Error ? error.message : String(error)), undefined, { cause: error })
  }
}

function textOf (path: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw fileInvalid(path, 'it is not UTF-8', undefined, { cause })
  }
}

function codeOf (error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}
