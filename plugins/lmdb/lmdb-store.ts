import { resolve } from 'node:path'
import { checkBoolean, checkNames, checkOneOf, MessageCodec, optionInvalid, silentLogger, storeFailed, storeInUse } from '../../lib/index.ts'
import type { Changes, ClaimedSession, DeliveryRecord, Logger, Message, Store, StoredSession, StoreState } from '../../lib/index.ts'
import { ChangeEncoder } from './changes.ts'
import { currentBoot } from './disk/checkpoint.ts'
import { Environment } from './environment.ts'
import { describe } from './errors.ts'
import { prepareDirectory } from './disk/directory.ts'
import { DirectoryLock } from './disk/lock.ts'
import { Reader } from './reads.ts'
import { State, writeFormat } from './state.ts'
import { WriteBatch } from './write-batch.ts'

/** Where and how {@link lmdbPersistence} keeps what has to outlive the process. */
export interface LmdbOptions {
  /** A directory of its own; it is made if there is none. On a local disk: LMDB cannot use network file systems. */
  readonly path: string
  /**
   * What a commit, and with it every acknowledgement that waits for it, survives: `power`, that the machine stops (it waits
   * until the disk has it), or `process`, that the process does. Default `power`.
   */
  readonly durability?: 'power' | 'process'
  /** Milliseconds in which changes gather to be committed together; 0 (default) takes what one turn of the event loop brought. */
  readonly commitDelayMs?: number
  /** Only to look at what is stored, also while a broker is using it: nothing is locked, made or written. Default false. */
  readonly readOnly?: boolean
}

/**
 * Keeps Sessions, their queues and retained messages in a directory, with LMDB (package `lmdb`, which the host installs).
 *
 * ```ts
 * createBroker({ persistence: lmdbPersistence({ path: './data' }) })
 * ```
 *
 * The directory belongs to one broker at a time. Opening and writing fail with `MQTT_STORE_IN_USE`, `MQTT_STORE_TOO_NEW`,
 * `MQTT_STORE_FULL` or `MQTT_STORE_FAILED`, and a message that says what to do.
 * @throws MqttError `MQTT_OPTION_INVALID`
 */
export function lmdbPersistence (options: LmdbOptions): Store {
  check(options)
  return new LmdbStore(options)
}

/** What there is while the store is open. */
interface Opened {
  readonly environment: Environment
  readonly state: State
  readonly lock: DirectoryLock | undefined
  readonly reader: Reader
}

class LmdbStore implements Store {
  readonly name = 'lmdb'
  /** A commit costs as much as hundreds of messages that are not written. */
  readonly patienceMs = 1
  readonly commitDelayMs: number
  readonly #path: string
  readonly #readOnly: boolean
  readonly #isSynced: boolean
  readonly #codec = new MessageCodec()
  #opened: Opened | undefined = undefined

  constructor ({ path, durability = 'power', commitDelayMs = 0, readOnly = false }: LmdbOptions) {
    this.commitDelayMs = commitDelayMs
    this.#path = resolve(path)
    this.#readOnly = readOnly
    this.#isSynced = durability === 'power' || currentBoot() === undefined
  }

  async open (logger: Logger = silentLogger): Promise<StoreState> {
    try {
      this.#opened = await this.#open(logger)
      return this.#opened.state.storeState
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  async * sessions (): AsyncGenerator<StoredSession> {
    try {
      yield * this.#use.reader.sessions()
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  async * retained (): AsyncGenerator<Message> {
    try {
      yield * this.#use.reader.retained()
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  claim (session: number): ClaimedSession {
    try {
      return this.#use.reader.claim(session)
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): DeliveryRecord[] {
    try {
      return this.#use.reader.fetch(session, position, maximumMessages, maximumBytes)
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  async commit (changes: Changes): Promise<void> {
    try {
      if (this.#readOnly) throw storeFailed(`the store in ${this.#path} was opened only to be read`)
      await this.#write(this.#use, changes)
    } catch (error) {
      throw describe(error, this.#path)
    }
  }

  async close (): Promise<void> {
    const opened = this.#opened
    this.#opened = undefined
    try {
      await opened?.environment.close()
    } catch (error) {
      throw describe(error, this.#path)
    } finally {
      await opened?.lock?.release()
    }
  }

  get #use (): Opened {
    if (this.#opened === undefined) throw storeFailed(`the store in ${this.#path} is not open`)
    return this.#opened
  }

  async #open (logger: Logger): Promise<Opened> {
    if (this.#opened !== undefined) throw storeInUse(`the store in ${this.#path} is open already`)
    prepareDirectory(this.#path, this.#readOnly)
    const lock = this.#readOnly ? undefined : await DirectoryLock.acquire(this.#path)
    try {
      const environment = await Environment.open({ path: this.#path, readOnly: this.#readOnly, isSynced: this.#isSynced }, logger)
      return { environment, state: await this.#load(environment), lock, reader: new Reader(environment, this.#codec) }
    } catch (error) {
      await lock?.release()
      throw error
    }
  }

  async #load (environment: Environment): Promise<State> {
    try {
      const state = new State(environment.tables, this.#path)
      if (state.wantsFormat && !this.#readOnly) {
        const batch = new WriteBatch()
        writeFormat(batch, environment.tables)
        await environment.commitThrough(batch) // a version that knows nothing of the log has to see it
      }
      return state
    } catch (error) {
      await environment.close()
      throw error
    }
  }

  /** Until it waits for something, nothing else runs: from then on the changes are not those of this commit any more. */
  async #write ({ environment, state }: Opened, changes: Changes): Promise<void> {
    if (environment.isBroken) return environment.recover()
    const { tables } = environment
    const encoder = new ChangeEncoder(tables, this.#codec, state)
    encoder.encode(changes)
    const { batch } = encoder
    const record = state.next(changes, batch.writes.length > 0)
    if (record === undefined) return
    state.write(batch, tables, record)
    await environment.commit(batch)
    state.stored(record)
  }
}

function check (options: LmdbOptions): void {
  checkNames(options, ['path', 'durability', 'commitDelayMs', 'readOnly'])
  checkBoolean('readOnly', options.readOnly)
  const { path, durability = 'power', commitDelayMs = 0 } = options
  if (typeof path !== 'string' || path === '' || path.includes('\0')) throw optionInvalid('path', 'the name of a directory', path)
  checkOneOf('durability', durability, ['power', 'process'])
  if (!(typeof commitDelayMs === 'number' && commitDelayMs >= 0 && commitDelayMs <= 60_000)) throw optionInvalid('commitDelayMs', 'a number from 0 to 60000', commitDelayMs)
}
