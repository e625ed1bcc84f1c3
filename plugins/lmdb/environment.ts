import { clearTimeout, setImmediate, setTimeout } from 'node:timers'
import { ErrorCode, silentLogger, type Logger } from '../../lib/index.ts'
import { isNew } from './disk/directory.ts'
import { Files, type FileOptions } from './disk/files.ts'
import type { Demand } from './disk/room.ts'
import { describe } from './errors.ts'
import { numberKey, numberOf, tableNames, type TableName, type Tables } from './layout.ts'
import { Log, logSignature, readLog, removeLog } from './log/log.ts'
import { MergedTable, type LmdbTable, type TableSource } from './merged-table.ts'
import { Pending } from './pending.ts'
import { readFormat } from './state.ts'
import type { Write, WriteBatch } from './write-batch.ts'

/** Milliseconds after which LMDB is given what there is, little as it may be. */
const intervalMs = 1_000
const appliedKey = Buffer.from('log')

/**
 * Everything that was committed: what LMDB has, and what it will get. A commit is durable as soon as the log has it. What has gathered
 * there goes to LMDB behind the commits, in one transaction that changes a page once for many of them.
 */
export class Environment implements TableSource {
  readonly tables: Tables = Object.fromEntries(tableNames.map(name => [name, new MergedTable(name, this)])) as unknown as Tables
  readonly #options: FileOptions
  readonly #files: Files
  /** Undefined where nothing is written, and where the disk had no room for it. */
  #log: Log | undefined = undefined
  /** What this generation of the log has. */
  #gathering = new Pending()
  /** The generation before it, while LMDB has not all of it. */
  #applying: Pending | undefined = undefined
  /** Undefined while nobody works at it. */
  #moving: Promise<void> | undefined = undefined
  #timer: NodeJS.Timeout | undefined = undefined
  #isCommitting = false
  #isDue = false
  /** Where it is only read: what the log was like when it was looked at, and whether that was in this turn of the event loop. */
  #signature = ''
  #isFresh = false
  /** Whether LMDB could not take what the log has: told once, and once more when it could. */
  #isBehind = false
  readonly #logger: Logger

  private constructor (options: FileOptions, files: Files, logger: Logger) {
    this.#options = options
    this.#files = files
    this.#logger = logger
  }

  /**
   * @param logger is told what goes wrong behind the commits
   * @throws Error of the operating system or of LMDB, or MqttError
   */
  static async open (options: FileOptions, logger: Logger = silentLogger): Promise<Environment> {
    if (!options.readOnly && isNew(options.path)) await removeLog(options.path) // it is of a store that is gone
    const environment = new Environment(options, await Files.open(options), logger)
    try {
      if (!options.readOnly) await environment.#resume()
      return environment
    } catch (error) {
      await environment.#files.close()
      throw error
    }
  }

  get pending (): readonly Pending[] {
    if (this.#options.readOnly) this.#look()
    return this.#applying === undefined ? [this.#gathering] : [this.#gathering, this.#applying]
  }

  lmdbTable (name: TableName): LmdbTable { return this.#files.tables[name] }

  /** After a failure nothing can be committed, until {@link recover} was called. */
  get isBroken (): boolean { return this.#files.isBroken }

  /**
   * All of the batch, or nothing of it. Called again only when the promise has settled.
   * @throws MqttError (as a rejection)
   */
  async commit (batch: WriteBatch): Promise<void> {
    this.#isCommitting = true
    try {
      if (this.#log?.wants(batch) === true) await this.#append(this.#log, batch)
      else await this.commitThrough(batch)
    } finally {
      this.#isCommitting = false
      if (this.#isDue) this.#startMoving()
      else if (!this.#gathering.isEmpty) this.#timer ??= setTimeout(this.#expired, intervalMs).unref()
    }
  }

  /** The same in LMDB itself, behind all that was committed before. */
  async commitThrough (batch: WriteBatch): Promise<void> {
    await this.#settle()
    await this.#reserve(batch)
    await this.#files.write(batch.writes, batch.bytes)
  }

  /** @throws MqttError when not all of it could be brought to LMDB; the next one who opens it does that then */
  async close (): Promise<void> {
    clearTimeout(this.#timer)
    try {
      if (this.#log !== undefined) await this.#closeLog(this.#log)
    } finally {
      await this.#files.close()
    }
  }

  /**
   * Makes commits possible again. What was to be committed meanwhile cannot be any more, so that is refused in every case.
   * @throws MqttError
   */
  async recover (): Promise<never> {
    this.#isCommitting = true
    try {
      await this.#moving // which may be opening the files as well
      return await this.#files.recover()
    } finally {
      this.#isCommitting = false
    }
  }

  /** Goes on with what a process has left that did not close the store. */
  async #resume (): Promise<void> {
    const { path, isSynced } = this.#options
    readFormat(this.#files.tables, path) // the log of a newer version is nothing that this one knows
    const { writes, generation } = readLog(path, this.#applied)
    this.#gathering.add(writes)
    if (!this.#gathering.isEmpty) {
      await this.#files.reserve(() => this.#demand(), () => Promise.resolve())
      await this.#write(this.#gathering, generation)
      await this.#files.checkpoint() // before the log is written over: it may be on the disk, as LMDB is not yet
      this.#gathering = new Pending()
    }
    this.#log = await openLog(path, generation + 1, isSynced)
  }

  async #append (log: Log, batch: WriteBatch): Promise<void> {
    if (this.#moving === undefined) await this.#applyAgain()
    if (this.#isDoubtful) await this.#settle()
    if (!log.hasRoomFor(batch)) await this.#rotate()
    await this.#reserve(batch)
    try {
      await log.append(batch)
    } catch (error) {
      this.#gathering.isDoubtful = true
      throw describe(error, this.#options.path)
    }
    this.#gathering.add(batch.writes)
  }

  /** A record may be found again whose writers were told that it failed, until LMDB has the generation that it would be part of. */
  get #isDoubtful (): boolean {
    return this.#gathering.isDoubtful || this.#applying?.isDoubtful === true
  }

  async #rotate (): Promise<void> {
    await this.#moving
    await this.#applyAgain()
    this.#startMoving()
  }

  /** Resolves when LMDB has everything. */
  async #settle (): Promise<void> {
    await this.#rotate()
    await this.#moving
    await this.#applyAgain()
  }

  readonly #expired = (): void => {
    this.#timer = undefined
    this.#isDue = true
    if (!this.#isCommitting) this.#startMoving()
  }

  /** The generation that has gathered goes to LMDB. Not while one is being committed: its record would be in that generation and its writes in the next. */
  #startMoving (): void {
    if (this.#applying !== undefined || this.#gathering.isEmpty) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isDue = false
    this.#applying = this.#gathering
    this.#gathering = new Pending()
    this.#log?.next()
    this.#moving = this.#apply().catch(this.#fellBehind).finally(this.#moved)
  }

  readonly #moved = (): void => {
    this.#moving = undefined
    if (this.#isDue && !this.#isCommitting) this.#startMoving()
  }

  /** Nobody waits for it; the next commit, which may be hours away, tries again and tells whoever does. */
  readonly #fellBehind = (error: unknown): void => {
    if (this.#isBehind) return
    this.#isBehind = true
    const { path } = this.#options
    const reason = describe(error, path)
    this.#logger.error({ err: reason, store: path },
      `LMDB could not take what was committed: ${reason.message}. Nothing is lost, since the log beside it has it all: leave the files as they are, and remove the cause; until then nothing more is committed`)
  }

  #caughtUp (): void {
    if (!this.#isBehind) return
    this.#isBehind = false
    this.#logger.info({ store: this.#options.path }, 'LMDB has taken what was committed')
  }

  /** What could not be applied has to be before anything else is committed. */
  async #applyAgain (): Promise<void> {
    if (this.#applying !== undefined) await this.#apply()
  }

  async #apply (): Promise<void> {
    if (this.#applying === undefined || this.#log === undefined) return
    await this.#write(this.#applying, this.#log.generation - 1)
    this.#files.refresh()
    this.#applying = undefined
    this.#caughtUp()
  }

  /** All of it and the number of the generation, or nothing: what LMDB has is what some commit has left, at any time. */
  async #write (pending: Pending, generation: number): Promise<void> {
    pending.add([{ table: 'meta', key: appliedKey, value: numberKey(generation) }])
    await this.#files.write(pending.writes, pending.bytes)
  }

  async #closeLog (log: Log): Promise<void> {
    try {
      await this.#settle()
    } finally {
      await log.close()
    }
    await removeLog(this.#options.path)
  }

  #reserve (batch: WriteBatch): Promise<void> {
    return this.#files.reserve(() => this.#demand(batch), () => this.#settle())
  }

  /** What LMDB's file has to have room for. */
  #demand (batch?: WriteBatch): Demand {
    const parts = [this.#gathering, this.#applying, batch]
    return {
      places: parts.reduce((sum, part) => sum + (part?.places.count ?? 0), 0),
      bytes: parts.reduce((sum, part) => sum + (part?.bytes ?? 0), 0),
      isGrowing: batch?.isGrowing ?? false,
    }
  }

  /** The generation that LMDB had last. */
  get #applied (): number {
    const number = this.#files.tables.meta.getBinary(appliedKey)
    return number === undefined ? 0 : numberOf(number)
  }

  /** Another process may write: what it has in the log is read again after each turn in which that may have changed. */
  #look (): void {
    if (this.#isFresh) return
    this.#isFresh = true
    setImmediate(() => { this.#isFresh = false }).unref()
    const { path } = this.#options
    for (let applied = -1; applied !== this.#applied;) {
      this.#files.refresh()
      applied = this.#applied
      const signature = `${applied} ${logSignature(path)}`
      if (signature !== this.#signature) this.#gathering = pendingOf(readLog(path, applied).writes)
      this.#signature = signature
      this.#files.refresh()
    }
  }
}

function pendingOf (writes: readonly Write[]): Pending {
  const pending = new Pending()
  pending.add(writes)
  return pending
}

/** Without it the store works all the same. */
async function openLog (path: string, generation: number, isSynced: boolean): Promise<Log | undefined> {
  try {
    return await Log.open(path, generation, isSynced)
  } catch (error) {
    const reason = describe(error, path)
    if (reason.code !== ErrorCode.storeFull) throw reason
    return undefined
  }
}
