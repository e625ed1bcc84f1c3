import { storeFailed } from '../../../lib/index.ts'
import type {
  Claim, ClaimRequest, Emitter, EmitterEvents, ImportedSession, InboxFrame, Membership, MqttError, NodeDescription, NodeState, NodeStatus, PresenceEvent, Pulse, Store,
} from '../../../lib/index.ts'
import { Claims } from './claims.ts'
import { framesFrom, InboxListener } from './inbox-reader.ts'
import { LogListener } from './log-reader.ts'
import { encodeState, giveUp, join, nodeStates, onlineAt, ownerOf, placeOf, type Joined } from './membership.ts'
import { invalid } from '../link/options.ts'
import { presenceFrom } from './presence-reader.ts'
import { RedisStore } from '../store/redis-store.ts'
import { beatScript } from '../scripts/beat.lua.ts'
import { buryScript, clearScript } from '../scripts/bury.lua.ts'
import { leaveScript } from '../scripts/leave.lua.ts'
import { StreamReader } from './stream-reader.ts'

/**
 * Makes brokers that share a {@link redisPersistence} one: each is given both.
 *
 * ```ts
 * const persistence = redisPersistence({ redis: 'redis://127.0.0.1:6379' })
 * createBroker({ persistence, emitter: redisEmitter(persistence) })
 * ```
 *
 * It uses two connections besides that of the persistence, to wait for what comes.
 * @throws MqttError `MQTT_OPTION_INVALID` when it is given another store
 */
export function redisEmitter (persistence: Store): RedisEmitter {
  if (!(persistence instanceof RedisStore)) throw invalid('persistence', 'one made by redisPersistence', persistence)
  persistence.hasEmitter = true
  return new RedisEmitter(persistence)
}

/** Numbers of Sessions that a generation has. */
const sessionsInGeneration = 2 ** 32

/** What this process is as a node, until it leaves or is fenced. */
class Node {
  readonly joined: Joined
  readonly description: NodeDescription
  readonly log: LogListener
  readonly claims: Claims
  readonly readers: readonly StreamReader[]
  /** It was told, or has told, that it is none any more. */
  isOver = false

  constructor (store: RedisStore, joined: Joined, description: NodeDescription, events: EmitterEvents) {
    const { settings, codec, link, pipe } = store
    const { generation } = joined
    this.joined = joined
    this.description = description
    this.claims = new Claims(pipe, settings.leaseMs)
    this.log = new LogListener(generation, codec, { logged: entry => { if (!this.isOver) events.logged(entry) } })
    const inbox = new InboxListener(generation, {
      received: entry => { if (!this.isOver) events.received(entry) },
      lost: () => { void giveUp(link, generation) },
    })
    this.readers = [new StreamReader(settings, 'lg', this.log), new StreamReader(settings, `in:${generation}`, inbox)]
  }

  async start (): Promise<void> {
    const [log, inbox] = this.readers
    await Promise.all([log?.start(this.log.position), inbox?.start(0)])
  }

  end (): void {
    this.isOver = true
    for (const reader of this.readers) reader.close()
  }
}

/** See {@link redisEmitter}. */
export class RedisEmitter implements Emitter {
  readonly name: string = 'redis'
  readonly store: RedisStore
  readonly leaseMs: number
  #node: Node | undefined = undefined

  constructor (store: RedisStore) {
    this.store = store
    this.leaseMs = store.settings.leaseMs
    store.onClose = () => { this.abandon() }
  }

  get logEnd (): number { return this.store.pipe.logEnd }

  async join (events: EmitterEvents, description: NodeDescription): Promise<Membership> {
    const { link, pipe } = this.store
    const known = this.#node?.log.position ?? pipe.logEnd // what is retained was read then, or later
    this.abandon()
    const joined = await join(link, this.leaseMs, description)
    const node = this.#node = new Node(this.store, joined, description, events)
    pipe.watcher = { fenced: () => { this.#fenced(node, events) }, reachable: (isReachable, error) => { if (!node.isOver) events.reachable(isReachable, error) } }
    pipe.begin(joined.generation)
    pipe.logEnd = joined.position
    await this.#start(node, known)
    return { generation: joined.generation, nextSession: joined.generation * sessionsInGeneration, moves: joined.moves }
  }

  async #start (node: Node, known: number): Promise<void> {
    try {
      await node.log.begin(this.store.link, node.joined, known)
      await node.start()
    } catch (error) {
      this.abandon()
      throw error
    }
  }

  claim (request: ClaimRequest): Promise<Claim> { return this.#use.claims.claim(request) }

  async beat (status: NodeStatus): Promise<Pulse> {
    const { description, joined } = this.#use
    const state = encodeState(description, joined.joinedAt, status)
    const [dead, left] = await this.store.pipe.run(beatScript, [this.leaseMs, state]) as [Buffer[], Buffer[]]
    return { dead: dead.map(Number), left: left.map(Number) }
  }

  adopt (generation: number): AsyncIterable<readonly ImportedSession[]> { return this.#use.claims.adopt(generation) }

  async * inboxOf (generation: number): AsyncGenerator<InboxFrame> {
    const { pipe, link } = this.store
    const [isOurs, settled] = await pipe.run(clearScript, [generation, this.leaseMs]) as [number, Buffer]
    if (isOurs === 1) yield * framesFrom(link, generation, Number(settled) + 1)
  }

  async bury (generation: number): Promise<void> {
    while (await this.store.pipe.run(buryScript, [generation, this.leaseMs]) === 1) await Promise.resolve() // the next page
  }

  nodes (): Promise<readonly NodeState[]> { return nodeStates(this.store.link, this.leaseMs) }

  online (generation: number): AsyncIterable<string> { return onlineAt(this.store.link, generation) }

  presence (signal: AbortSignal): AsyncIterable<PresenceEvent> { return presenceFrom(this.store, signal) }

  backlogOf (generation: number): number { return this.store.backlogOf(generation) }

  ownerOf (clientIdentifier: string): Promise<number | undefined> { return ownerOf(this.store.link, clientIdentifier) }

  placeOf (clientIdentifier: string): Promise<number | undefined> { return placeOf(this.store.link, clientIdentifier) }

  /** When the answer to it was lost, the repetition finds that this node is none any more: that is what was wanted. */
  async leave (): Promise<void> {
    const node = this.#use
    const gone = { isFenced: false }
    this.store.pipe.watcher = { fenced: () => { gone.isFenced = true }, reachable: () => undefined }
    node.end()
    try {
      await this.store.pipe.run(leaveScript, [])
    } catch (error) {
      if (!gone.isFenced) throw error
    } finally {
      this.#node = undefined
    }
  }

  /** Lets its connections go without a word: what a process does that is killed. */
  abandon (): void {
    this.#node?.end()
    this.#node = undefined
  }

  get #use (): Node {
    if (this.#node === undefined || this.#node.isOver) throw notANode()
    return this.#node
  }

  #fenced (node: Node, events: EmitterEvents): void {
    if (node.isOver) return
    node.end()
    events.fenced()
  }
}

function notANode (): MqttError { return storeFailed('this process is not a node of the cluster') }
