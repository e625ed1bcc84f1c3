import { MessageCodec, storeFailed, storeInUse } from '../../../lib/index.ts'
import type { Changes, ClaimedSession, DeliveryRecord, Message, Store, StoredSession, StoreState } from '../../../lib/index.ts'
import { CommitEncoder, readAnswer } from './commit.ts'
import { describe } from '../link/errors.ts'
import { Link, type Argument } from '../link/link.ts'
import { settingsOf, type RedisOptions, type Settings } from '../link/options.ts'
import { Pipe } from '../link/pipe.ts'
import { Reader } from './reads.ts'
import { commitScript } from '../scripts/commit.lua.ts'
import { readState, type References } from './state.ts'

/**
 * Keeps Sessions, their queues and retained messages in Redis 6.2 or newer (package `ioredis`, which the host installs): one server, one with Sentinel,
 * or a cluster. Together with `redisEmitter` any number of brokers share it; alone it is for one broker at a time.
 *
 * ```ts
 * createBroker({ persistence: redisPersistence({ redis: 'redis://127.0.0.1:6379' }) })
 * ```
 *
 * While Redis is away commits wait; they fail with `MQTT_STORE_FULL` or `MQTT_STORE_FAILED` only when Redis refuses them. What a commit survives is what
 * Redis is set to: `appendonly yes` with `appendfsync always` for the loss of power, and replicas for the loss of the machine.
 * @throws MqttError `MQTT_OPTION_INVALID`
 */
export function redisPersistence (options: RedisOptions): Store {
  return new RedisStore(settingsOf(options))
}

/** What there is while the store is open. */
interface Opened {
  readonly link: Link
  readonly pipe: Pipe
  readonly reader: Reader
  readonly references: References
}

/** A `Store` that an emitter can join. */
export class RedisStore implements Store {
  readonly name: string = 'redis'
  readonly isShared: boolean = true
  /** Only messages from the inbox are awaited: they are durable there. */
  readonly patienceMs: number = 5
  readonly commitDelayMs: number
  readonly settings: Settings
  readonly codec: MessageCodec = new MessageCodec()
  /** Set by the emitter: Sessions belong to nodes, and come by claims. */
  hasEmitter = false
  /** Told when the store is closed: set by the emitter, too, which may not have come to leave the cluster. */
  onClose: () => void = () => undefined
  #opened: Opened | undefined = undefined
  #nextSession = 1
  readonly #backlogs = new Map<number, number>()

  constructor (settings: Settings) {
    this.settings = settings
    this.commitDelayMs = settings.commitDelayMs
  }

  /** For what may be asked twice. @throws MqttError unless the store is open */
  get link (): Link { return this.#use.link }

  /** For what is written. @throws MqttError unless the store is open */
  get pipe (): Pipe { return this.#use.pipe }

  async open (): Promise<StoreState> {
    if (this.#opened !== undefined) throw storeInUse('the store is open already')
    const link = new Link(this.settings)
    await link.open()
    try {
      return await this.#begin(link)
    } catch (error) {
      link.close()
      throw describe(error)
    }
  }

  async #begin (link: Link): Promise<StoreState> {
    const { nextSession, aliveAt, lastNumber, logEnd, references } = await readState(link)
    const pipe = new Pipe(link)
    pipe.begin(0, lastNumber)
    pipe.logEnd = logEnd
    this.#opened = { link, pipe, reader: new Reader(link, this.codec), references }
    this.#nextSession = nextSession
    return { nextSession, aliveAt }
  }

  async * sessions (): AsyncGenerator<StoredSession> {
    if (!this.hasEmitter) yield * this.#use.reader.sessions(0)
  }

  retained (): AsyncGenerator<Message> { return this.#use.reader.retained() }

  async claim (session: number): Promise<ClaimedSession> { return this.#use.reader.claim(session) }

  async fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): Promise<DeliveryRecord[]> {
    return this.#use.reader.fetch(session, position, maximumMessages, maximumBytes)
  }

  /** Until it waits for the answer, nothing else runs: from then on the changes are not those of this commit any more. */
  async commit (changes: Changes): Promise<void> {
    const { pipe, references } = this.#use
    const args = this.#encode(changes, references)
    if (args === undefined) return
    const { logEnd, error, backlogs } = readAnswer(await pipe.run(commitScript, args))
    pipe.logEnd = logEnd
    for (const [generation, bytes] of backlogs) this.#noteBacklog(generation, bytes)
    if (error !== undefined) throw error
  }

  /** Bytes of frames in a node's inbox that it had not settled when a commit sent it something last. */
  backlogOf (generation: number): number { return this.#backlogs.get(generation) ?? 0 }

  /** Whatever waits is rejected. */
  close (): void {
    this.onClose()
    this.#opened?.pipe.close()
    this.#opened?.link.close()
    this.#opened = undefined
  }

  get #use (): Opened {
    if (this.#opened === undefined) throw storeFailed('the store is not open')
    return this.#opened
  }

  #noteBacklog (generation: number, bytes: number): void {
    if (bytes > 0) this.#backlogs.set(generation, bytes)
    else this.#backlogs.delete(generation)
  }

  #encode (changes: Changes, references: References): Argument[] | undefined {
    try {
      return new CommitEncoder(this.codec, () => references.next()).encode(changes, this.#note(changes))
    } catch (error) {
      throw describe(error)
    }
  }

  /** What a store that is for one broker has to note; a cluster has other ways to know. */
  #note ({ aliveAt, sessions }: Changes): Argument[] {
    if (this.hasEmitter) return []
    for (const session of sessions.keys()) this.#nextSession = Math.max(this.#nextSession, session + 1)
    return ['HSET', 'n', 4, 'aliveAt', aliveAt, 'session', this.#nextSession]
  }
}
