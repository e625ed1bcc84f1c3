import { open, type RootDatabase, type RootDatabaseOptionsWithPath, type Transaction } from 'lmdb'
import { storeFailed, type MqttError } from '../../lib/index.ts'
import { isInterrupted, removeCheckpoint, restore } from './checkpoint.ts'
import { Checkpoints } from './checkpoints.ts'
import { causeOf, damagedStore, describe, isNoRoom } from './errors.ts'
import { checkFiles, isNew, probeRoom } from './files.ts'
import { tableNames, type Table, type Tables } from './layout.ts'

/** How the files are opened. */
export interface EnvironmentOptions {
  readonly path: string
  readonly readOnly: boolean
  /** A commit waits until the disk has it. */
  readonly isSynced: boolean
}

/** An entry to put, or, without a value, to remove. */
export interface Write {
  readonly table: Table
  readonly key: Buffer
  readonly value: Buffer | undefined
}

const format = { encoding: 'binary', keyEncoding: 'binary' } as const

/** LMDB's files while they are open. What has failed is opened anew, since LMDB does not go on after every error. */
export class Environment {
  readonly #options: EnvironmentOptions
  #root: RootDatabase<Buffer, Buffer> | undefined = undefined
  #tables: Tables | undefined = undefined
  /** Where commits do not wait for the disk. */
  #checkpoints: Checkpoints | undefined = undefined

  private constructor (options: EnvironmentOptions) { this.#options = options }

  /** @throws Error of the operating system or of LMDB, or MqttError */
  static async open (options: EnvironmentOptions): Promise<Environment> {
    const { path, readOnly, isSynced } = options
    checkFiles(path, readOnly)
    if (readOnly) expectWhole(path)
    else if (isNew(path)) await Environment.#make(path)
    else restore(path)
    if (isSynced && !readOnly) removeCheckpoint(path)
    const environment = new Environment(options)
    await environment.#open()
    return environment
  }

  static async #make (path: string): Promise<void> {
    const environment = new Environment({ path, readOnly: false, isSynced: true })
    await environment.#open()
    await environment.close()
  }

  /** After a failure the files could not be opened again; see {@link recover}. */
  get isBroken (): boolean { return this.#tables === undefined }

  /** @throws MqttError when it is broken */
  get tables (): Tables {
    return this.#tables ?? this.#refuse()
  }

  /**
   * All of `writes`, or nothing of them: they are one transaction, that another thread carries out.
   * @throws MqttError (as a rejection)
   */
  async commit (writes: readonly Write[]): Promise<void> {
    try {
      await this.#checkpoints?.begin()
      await (this.#root ?? this.#refuse()).batch(() => { queue(writes) })
    } catch (error) {
      const reason = await this.#reasonFor(error, writes)
      await this.#reopen()
      throw reason
    }
    this.#checkpoints?.end(bytesOf(writes))
  }

  /** @throws Error of the operating system when what was committed last could not be brought to the disk */
  async close (): Promise<void> {
    const [root, checkpoints] = [this.#root, this.#checkpoints]
    this.#root = this.#tables = this.#checkpoints = undefined
    try {
      await checkpoints?.close()
    } finally {
      await root?.close()
    }
  }

  /**
   * Opens the files anew. What was to be committed meanwhile cannot be any more, so that is refused in every case.
   * @throws MqttError
   */
  async recover (): Promise<never> {
    try {
      await this.#open()
    } catch (error) {
      throw describe(error, this.#options.path)
    }
    throw storeFailed(`the store in ${this.#options.path} had to be opened again, and works now`)
  }

  #refuse (): never {
    throw storeFailed(`the store in ${this.#options.path} is not open`)
  }

  async #reopen (): Promise<void> {
    try {
      await this.close()
    } catch {
      // the next checkpoint makes up for it
    }
    try {
      await this.#open()
    } catch {
      // the next commit tries again
    }
  }

  async #open (): Promise<void> {
    const { path, isSynced, readOnly } = this.#options
    const root = openRoot(this.#options)
    try {
      const tables = this.#openTables(root)
      if (!isSynced && !readOnly) this.#checkpoints = await Checkpoints.start(path, () => snapshotOf(root))
      this.#tables = tables
      this.#root = root
    } catch (error) {
      await root.close()
      throw error
    }
  }

  #openTables (root: RootDatabase<Buffer, Buffer>): Tables {
    const known = new Set<string>(tableNames)
    const foreign = [...root.getKeys()].map(nameOf).find(name => !known.has(name))
    if (foreign !== undefined) throw damagedStore(this.#options.path, `it has a table "${foreign}"`)
    return Object.fromEntries(tableNames.map(name => [name, this.#openTable(root, name)])) as unknown as Tables
  }

  #openTable (root: RootDatabase<Buffer, Buffer>, name: string): Table {
    const table = root.openDB<Buffer, Buffer>({ name, ...format }) as Table | undefined
    if (table === undefined) throw damagedStore(this.#options.path, `it has no table "${name}"`)
    return table
  }

  async #reasonFor (error: unknown, writes: readonly Write[]): Promise<MqttError> {
    const cause = await commitErrorOf(error)
    const { path } = this.#options
    return describe(causeOf(cause) === 'EIO' ? roomErrorOf(path, writes) ?? cause : cause, path)
  }
}

function openRoot ({ path, readOnly, isSynced }: EnvironmentOptions): RootDatabase<Buffer, Buffer> {
  const options: RootDatabaseOptionsWithPath = { path, readOnly, noSubdir: false, ...format, eventTurnBatching: false, overlappingSync: false }
  return open<Buffer, Buffer>(isSynced || readOnly ? options : { ...options, noSync: true })
}

// Keys are copied at once, values when they are written. Within a batch there is no promise for each, and none of them can fail.
function queue (writes: readonly Write[]): void {
  for (const { table, key, value } of writes) void (value === undefined ? table.remove(key) : table.put(key, value))
}

function bytesOf (writes: readonly Write[]): number {
  return writes.reduce((sum, { value }) => sum + (value?.length ?? 0), 0)
}

function snapshotOf (root: RootDatabase<Buffer, Buffer>): Transaction {
  root.resetReadTxn()
  return root.useReadTransaction()
}

function expectWhole (path: string): void {
  if (isInterrupted(path)) throw storeFailed(`the machine stopped before all of the store in ${path} was on the disk; start a broker with it once, that repairs it`)
}

/** A table's name, as LMDB has it: with a zero behind. */
function nameOf (key: Uint8Array): string {
  return Buffer.from(key).toString().replace(/\0$/, '')
}

/** What LMDB says of a failed commit it says with a promise that never resolves. */
async function commitErrorOf (error: unknown): Promise<unknown> {
  if (!(error instanceof Error && 'commitError' in error)) return error
  try {
    return await error.commitError
  } catch (cause) {
    return cause
  }
}

/** LMDB calls it an input/output error when a part of what it wrote had no room. */
function roomErrorOf (path: string, writes: readonly Write[]): unknown {
  try {
    probeRoom(path, 1024 * 1024 + 2 * bytesOf(writes))
    return undefined
  } catch (error) {
    return isNoRoom(error) ? error : undefined
  }
}
