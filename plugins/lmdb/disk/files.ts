import { open, type RootDatabase, type RootDatabaseOptionsWithPath, type Transaction } from 'lmdb'
import { storeFailed } from '../../../lib/index.ts'
import { damagedStore, describe } from '../errors.ts'
import { tableNames, type TableName } from '../layout.ts'
import type { LmdbTable } from '../merged-table.ts'
import type { Write } from '../write-batch.ts'
import { isInterrupted, removeCheckpoint, restore } from './checkpoint.ts'
import { Checkpoints } from './checkpoints.ts'
import { checkAccess, checkHeader, isNew } from './directory.ts'
import { Room, type Demand, type Usage } from './room.ts'

/** How the files are opened. */
export interface FileOptions {
  readonly path: string
  readonly readOnly: boolean
  /** A commit waits until the disk has it. */
  readonly isSynced: boolean
}

type LmdbTables = Readonly<Record<TableName, LmdbTable>>

const format = { encoding: 'binary', keyEncoding: 'binary' } as const

/** LMDB's files while they are open. What has failed is opened anew, since LMDB does not go on after every error. */
export class Files {
  readonly #options: FileOptions
  #root: RootDatabase<Buffer, Buffer> | undefined = undefined
  #tables: LmdbTables | undefined = undefined
  #room: Room | undefined = undefined
  /** Where commits do not wait for the disk. */
  #checkpoints: Checkpoints | undefined = undefined

  private constructor (options: FileOptions) { this.#options = options }

  /** @throws Error of the operating system or of LMDB, or MqttError */
  static async open (options: FileOptions): Promise<Files> {
    const { path, readOnly, isSynced } = options
    checkAccess(path, readOnly)
    if (readOnly) expectWhole(path)
    else await Files.#prepare(path, isSynced)
    if (!isNew(path)) checkHeader(path)
    const files = new Files(options)
    try {
      await files.#open()
      return files
    } catch (error) {
      await files.close()
      throw error
    }
  }

  static async #prepare (path: string, isSynced: boolean): Promise<void> {
    if (!isNew(path)) restore(path)
    if (isNew(path) || isSynced) removeCheckpoint(path)
    if (isNew(path) && !isSynced) await Files.#make(path)
  }

  /** Nothing is there to come back to yet, so at first every commit waits for the disk. */
  static async #make (path: string): Promise<void> {
    const files = await Files.open({ path, readOnly: false, isSynced: true })
    await files.close()
  }

  /** After a failure nothing can be written, until {@link recover} was called. */
  get isBroken (): boolean {
    const { isSynced, readOnly } = this.#options
    return this.#tables === undefined || (this.#checkpoints === undefined && !isSynced && !readOnly)
  }

  /** @throws MqttError when nothing can be read either */
  get tables (): LmdbTables {
    return this.#tables ?? this.#refuse()
  }

  /** What is read from here on is what was written last. */
  refresh (): void { this.#root?.resetReadTxn() }

  /**
   * Makes sure that there is room for what will be written.
   * @param settle writes what waits to be
   * @throws MqttError (as a rejection)
   */
  async reserve (demand: () => Demand, settle: () => Promise<void>): Promise<void> {
    try {
      await this.#room?.reserve(demand, async () => {
        await settle()
        await this.#checkpoints?.settle()
      })
    } catch (error) {
      throw describe(error, this.#options.path)
    }
  }

  /**
   * All of it or nothing: it is one transaction, that another thread carries out.
   * @param bytes of keys and values
   * @throws MqttError (as a rejection)
   */
  async write (writes: readonly Write[], bytes: number): Promise<void> {
    await this.#begin()
    try {
      await this.#transact(writes)
    } catch (error) {
      const reason = describe(await commitErrorOf(error), this.#options.path)
      await this.#reopen()
      throw reason
    }
    this.#checkpoints?.end(bytes)
  }

  /**
   * From here on the store does not come back to what was before.
   * @throws Error of the operating system, or MqttError
   */
  async checkpoint (): Promise<void> { await this.#checkpoints?.force() }

  async #begin (): Promise<void> {
    try {
      await this.#checkpoints?.begin()
    } catch (error) {
      throw describe(error, this.#options.path)
    }
  }

  async #transact (writes: readonly Write[]): Promise<void> {
    const { tables } = this
    await (this.#root ?? this.#refuse()).batch(() => { queue(writes, tables) })
  }

  /** @throws Error of the operating system when what was committed last could not be brought to the disk */
  async close (): Promise<void> {
    const checkpoints = this.#checkpoints
    this.#checkpoints = undefined
    try {
      await checkpoints?.close()
    } finally {
      await this.#closeFiles()
    }
  }

  /**
   * Makes writing possible again. What was to be committed meanwhile cannot be any more, so that is refused in every case.
   * @throws MqttError
   */
  async recover (): Promise<never> {
    try {
      if (this.#tables === undefined) this.#expectFiles()
      if (this.isBroken) await this.#open()
    } catch (error) {
      throw describe(error, this.#options.path)
    }
    throw storeFailed(`the store in ${this.#options.path} had to be opened again, and works now`)
  }

  #refuse (): never {
    throw storeFailed(`the store in ${this.#options.path} is not open`)
  }

  /** In between nothing can be read, for as long as it takes to close and open a file. */
  async #reopen (): Promise<void> {
    const checkpoints = this.#checkpoints
    this.#checkpoints = undefined
    try {
      await checkpoints?.stop()
      await this.#closeFiles()
      this.#expectFiles()
      await this.#open()
    } catch {
      // the next commit tries again
    }
  }

  /** LMDB would begin with an empty store where the disk of the old one has gone. */
  #expectFiles (): void {
    const { path } = this.#options
    if (isNew(path)) throw storeFailed(`the files of the store in ${path} are gone; bring the disk back that they are on`)
  }

  async #open (): Promise<void> {
    const { path, isSynced, readOnly } = this.#options
    const root = this.#root ?? openRoot(this.#options)
    this.#root = root
    this.#tables ??= this.#openTables(root)
    if (readOnly) return
    this.#room ??= await Room.open(path, usageOf(root, this.#tables))
    if (!isSynced) this.#checkpoints ??= await Checkpoints.start(path, () => snapshotOf(root))
  }

  async #closeFiles (): Promise<void> {
    const [root, room] = [this.#root, this.#room]
    this.#root = this.#tables = this.#room = undefined
    await room?.close()
    await root?.close()
  }

  #openTables (root: RootDatabase<Buffer, Buffer>): LmdbTables {
    const known = new Set<string>(tableNames)
    const foreign = [...root.getKeys()].map(nameOf).find(name => !known.has(name))
    if (foreign !== undefined) throw damagedStore(this.#options.path, `it has a table "${foreign}"`)
    return Object.fromEntries(tableNames.map(name => [name, this.#openTable(root, name)])) as Record<TableName, LmdbTable>
  }

  #openTable (root: RootDatabase<Buffer, Buffer>, name: TableName): LmdbTable {
    const table = root.openDB<Buffer, Buffer>({ name, ...format }) as LmdbTable | undefined
    if (table === undefined) throw damagedStore(this.#options.path, `it has no table "${name}"`)
    return table
  }
}

function openRoot ({ path, readOnly, isSynced }: FileOptions): RootDatabase<Buffer, Buffer> {
  const options: RootDatabaseOptionsWithPath = { path, readOnly, noSubdir: false, ...format, eventTurnBatching: false, overlappingSync: false }
  return open<Buffer, Buffer>(isSynced || readOnly ? options : { ...options, noSync: true })
}

// Keys are copied at once, values when they are written. Within a batch there is no promise for each, and none of them can fail.
function queue (writes: readonly Write[], tables: LmdbTables): void {
  for (const { table, key, value } of writes) void (value === undefined ? tables[table].remove(key) : tables[table].put(key, value))
}

/** What LMDB tells of a table; of the root also what it tells of all. */
interface Statistics {
  readonly pageSize: number
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

interface RootStatistics extends Statistics {
  readonly lastPageNumber: number
  /** The table of free pages. */
  readonly free: Statistics
}

function usageOf (root: RootDatabase<Buffer, Buffer>, tables: LmdbTables): Usage {
  const statistics = (): RootStatistics => root.getStats() as RootStatistics
  const usedBytes = (): number => {
    const { lastPageNumber, pageSize } = statistics()
    return (lastPageNumber + 1) * pageSize
  }
  return {
    usedBytes,
    reusableBytes () {
      const all = [statistics(), statistics().free, ...tableNames.map(name => tables[name].getStats() as Statistics)]
      return usedBytes() - all.reduce((sum, table) => sum + bytesIn(table), 0)
    },
  }
}

function bytesIn ({ pageSize, treeBranchPageCount, treeLeafPageCount, overflowPages }: Statistics): number {
  return pageSize * (treeBranchPageCount + treeLeafPageCount + overflowPages)
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
