import type { Clock } from '../../../lib/contract/clock.ts'
import type {
  Claim, ClaimRequest, Emitter, EmitterEvents, ImportedSession, InboxFrame, Membership, NodeDescription, NodeState, NodeStatus, PresenceEvent, Pulse,
} from '../../../lib/contract/emitter.ts'
import type { Message } from '../../../lib/contract/message.ts'
import { storeFailed } from '../../../lib/contract/store-errors.ts'
import type { Changes, ClaimedSession, DeliveryRecord, Store, StoredSession, StoreState } from '../../../lib/contract/store.ts'
import { Channel, type Schedule } from './channel.ts'
import { FakeClock } from '../fake-clock.ts'
import { claim, storedSession } from './memory-hub-claim.ts'
import { anew, commit, copyOf, readChanges } from './memory-hub-commit.ts'
import { adoptPage, beat, bury, expectNode, Fenced, inboxOf, join, leave, nodesOf, resync } from './memory-hub-members.ts'
import { HubState, type Listener, type PresenceListener } from './memory-hub-state.ts'

export interface HubOptions {
  /** Of the hub: for beats and leases. Default: one that stands still. */
  readonly clock?: Clock
  /** Each thing that is under way arrives in a turn of its own. Default: setImmediate. */
  readonly schedule?: Schedule
  readonly leaseMs?: number
  /** Sessions in a page of `adopt`. */
  readonly pageSessions?: number
}

/**
 * What brokers of a cluster share, in the heap of one process: does what an adapter's scripts do, and lets a test hold back, lose or end
 * whatever is between a node and the others.
 */
export class MemoryHub {
  readonly clock: Clock
  readonly state: HubState
  readonly nodes: MemoryNode[] = []
  readonly #schedule: Schedule
  readonly #pageSessions: number

  constructor ({ clock = new FakeClock(), schedule = setImmediate, leaseMs = 8_000, pageSessions = 100 }: HubOptions = {}) {
    this.clock = clock
    this.state = new HubState(clock, leaseMs)
    this.#schedule = schedule
    this.#pageSessions = pageSessions
  }

  /** Commits fail with it until it is undefined again. */
  set failure (error: Error | undefined) { this.state.failure = error }

  /** What one more broker is given. */
  node (): MemoryNode {
    const node = new MemoryNode(this.state, this.#schedule, this.#pageSessions)
    this.nodes.push(node)
    return node
  }
}

/** One process' end: `createBroker({ persistence: node.persistence, emitter: node.emitter })`. */
export class MemoryNode {
  readonly state: HubState
  readonly pageSessions: number
  readonly persistence: Store
  readonly emitter: Emitter
  /** What it asks for and is not executed yet, what was executed and is not answered yet. */
  readonly requests: Channel
  readonly answers: Channel
  readonly log: Channel
  readonly inbox: Channel
  events: EmitterEvents | undefined = undefined
  /** 0 until it joins. */
  generation = 0
  logEnd = 0
  readonly backlogs = new Map<number, number>()

  constructor (state: HubState, schedule: Schedule, pageSessions: number) {
    this.state = state
    this.pageSessions = pageSessions
    this.requests = new Channel(schedule)
    this.answers = new Channel(schedule)
    this.log = new Channel(schedule)
    this.inbox = new Channel(schedule)
    this.persistence = new HubStore(this)
    this.emitter = new HubEmitter(this)
  }

  get channels (): Channel[] { return [this.requests, this.answers, this.log, this.inbox] }

  /** The process is gone: it is told nothing, and what was not executed never is. */
  kill (): void { for (const channel of this.channels) channel.close() }

  /** Nothing gets through in either direction: `requests.step()` and `requests.drop()` say what becomes of what it asks for. */
  cut (): void {
    for (const channel of this.channels) channel.hold()
    this.events?.reachable(false, storeFailed('the others cannot be reached'))
  }

  mend (): void {
    this.events?.reachable(true, undefined)
    for (const channel of this.channels) channel.release()
  }

  /** While that runs the node is told nothing, and so much happens that the log has lost it. */
  async outrun (run: () => Promise<void>): Promise<void> {
    this.log.hold()
    await run()
    this.log.drop()
    const { events } = this
    if (events !== undefined) for (const entry of resync(this.state, this.generation)) this.log.push(() => { this.#tell(events, entry) })
    this.log.release()
  }

  /** Executes something, in its turn, as the node that this is now. */
  async ask<T> (run: (state: HubState, generation: number) => T): Promise<T> {
    const { generation } = this
    return new Promise((resolve, reject) => {
      this.requests.push(() => {
        const tell = outcomeOf(() => run(this.state, generation), resolve, error => { this.#failed(generation, error, reject) })
        const { logEnd } = this.state
        this.answers.push(() => {
          this.logEnd = logEnd
          tell()
        })
      })
    })
  }

  /** Like {@link ask}, for what only a node may ask. */
  async askAsNode<T> (run: (state: HubState, generation: number) => T): Promise<T> {
    return this.ask((state, generation) => {
      if (generation !== 0) expectNode(state, generation)
      return run(state, generation)
    })
  }

  async join (events: EmitterEvents, description: NodeDescription): Promise<Membership> {
    this.events = events
    return new Promise(resolve => {
      this.requests.push(() => {
        const { membership, snapshot } = join(this.state, this.#listener(events), description, this.logEnd)
        const { logEnd } = this.state
        for (const entry of snapshot) this.log.push(() => { this.#tell(events, entry) })
        this.log.push(() => {
          Object.assign(this, { generation: membership.generation, logEnd })
          resolve(membership)
        })
      })
    })
  }

  /** @returns the way to stop */
  listen (told: (event: PresenceEvent) => void): () => void {
    const listener: PresenceListener = event => { this.log.push(() => { told(event) }) }
    this.state.presenceListeners.add(listener)
    return () => { this.state.presenceListeners.delete(listener) }
  }

  #listener (events: EmitterEvents): Listener {
    return {
      logged: entry => { this.log.push(() => { this.#tell(events, entry) }) },
      received: entry => { this.inbox.push(() => { if (this.events === events) events.received(entry) }) },
    }
  }

  /** Readers of the log look up what is retained when they come to it. */
  #tell (events: EmitterEvents, entry: Parameters<EmitterEvents['logged']>[0]): void {
    if (this.events !== events) return
    if (entry.kind !== 'retained') events.logged(entry)
    else events.logged({ ...entry, message: ownCopy(this.state.retained.get(entry.topicName)) })
  }

  #failed (generation: number, error: unknown, reject: (error: unknown) => void): void {
    reject(error)
    if (!(error instanceof Fenced) || generation < 0 || this.generation !== generation) return
    this.generation = -1 // neither a node nor a store without nodes
    this.events?.fenced()
  }
}

function ownCopy (message: Message | undefined): Message | undefined {
  return message && anew(message)
}

function outcomeOf<T> (run: () => T, resolve: (value: T) => void, reject: (error: unknown) => void): () => void {
  try {
    const value = run()
    return () => { resolve(value) }
  } catch (error) {
    return () => { reject(error) }
  }
}

class HubStore implements Store {
  readonly name = 'memory hub'
  readonly commitDelayMs = 0
  readonly patienceMs = 5
  readonly isShared = true
  readonly #node: MemoryNode

  constructor (node: MemoryNode) { this.#node = node }

  async open (): Promise<StoreState> { return this.#node.ask(({ nextSession, aliveAt }) => ({ nextSession, aliveAt })) }

  /** Those that were stored without an emitter: with one they come by claims. */
  async * sessions (): AsyncGenerator<StoredSession> {
    yield * await this.#node.ask(({ sessions }) => [...sessions.values()].filter(({ owner, record }) => owner === 0 && record !== undefined).map(storedSession))
  }

  async * retained (): AsyncGenerator<Message> {
    yield * await this.#node.ask(({ retained }) => [...retained.values()].map(anew))
  }

  async claim (session: number): Promise<ClaimedSession> {
    return this.#node.ask(({ sessions }) => {
      const { deliveries, received } = sessions.get(session) ?? { deliveries: new Map<number, DeliveryRecord>(), received: [] }
      return { inFlight: [...deliveries.values()].filter(({ packetIdentifier }) => packetIdentifier !== 0).map(forReader), received: [...received] }
    })
  }

  async fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): Promise<readonly DeliveryRecord[]> {
    return this.#node.ask(({ sessions }) => {
      const waiting = [...sessions.get(session)?.deliveries.values() ?? []].filter(delivery => delivery.position >= position)
      let bytes = 0
      const end = waiting.findIndex(({ message: { size } }, i) => i >= maximumMessages || ((bytes += size) > maximumBytes && i > 0))
      return waiting.slice(0, end < 0 ? waiting.length : end).map(forReader)
    })
  }

  async commit (changes: Changes): Promise<void> {
    const read = attempt(() => readChanges(changes))
    const backlogs = await this.#node.askAsNode((state, generation) => {
      commit(state, generation, read)
      return read.cluster?.sends.map(({ generation }) => [generation, state.backlogOf(generation)] as const) ?? []
    })
    for (const [generation, bytes] of backlogs) this.#node.backlogs.set(generation, bytes)
  }

  close (): void { /* what it keeps is for others */ }
}

function forReader (delivery: DeliveryRecord): DeliveryRecord {
  return copyOf(delivery, anew(delivery.message))
}

function attempt<T> (read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw storeFailed('the changes cannot be read', { cause })
  }
}

class HubEmitter implements Emitter {
  readonly name = 'memory hub'
  readonly #node: MemoryNode

  constructor (node: MemoryNode) { this.#node = node }

  get store (): Store { return this.#node.persistence }

  get leaseMs (): number { return this.#node.state.leaseMs }

  get logEnd (): number { return this.#node.logEnd }

  async join (events: EmitterEvents, description: NodeDescription): Promise<Membership> { return this.#node.join(events, description) }

  async claim (request: ClaimRequest): Promise<Claim> {
    const read = { ...request }
    return this.#node.askAsNode((state, generation) => claim(state, generation, read))
  }

  async beat (status: NodeStatus): Promise<Pulse> { return this.#node.askAsNode((state, generation) => beat(state, generation, { ...status })) }

  async * adopt (dead: number): AsyncGenerator<readonly ImportedSession[]> {
    const { pageSessions } = this.#node
    for (let isLast = false; !isLast;) {
      const page = await this.#node.askAsNode((state, generation) => adoptPage(state, generation, dead, pageSessions))
      if (page === undefined) return
      yield page.sessions
      isLast = page.isLast
    }
  }

  async * inboxOf (dead: number): AsyncGenerator<InboxFrame> {
    yield * await this.#node.askAsNode((state, generation) => inboxOf(state, generation, dead))
  }

  async bury (dead: number): Promise<void> { return this.#node.askAsNode((state, generation) => { bury(state, generation, dead) }) }

  async nodes (): Promise<readonly NodeState[]> { return this.#node.ask(nodesOf) }

  async * online (generation: number): AsyncGenerator<string> {
    yield * await this.#node.ask(({ nodes }) => [...nodes.get(generation)?.online ?? []])
  }

  /** What is not read waits. */
  async * presence (signal: AbortSignal): AsyncGenerator<PresenceEvent> {
    const events: PresenceEvent[] = []
    let wake = (): void => undefined
    const stop = this.#node.listen(event => {
      events.push(event)
      wake()
    })
    signal.addEventListener('abort', () => { wake() })
    while (!signal.aborted) {
      yield * events.splice(0)
      await new Promise<void>(resolve => {
        wake = resolve
        if (events.length > 0 || signal.aborted) resolve()
      })
    }
    stop()
  }

  backlogOf (generation: number): number { return this.#node.backlogs.get(generation) ?? 0 }

  async ownerOf (clientIdentifier: string): Promise<number | undefined> { return this.#node.ask(state => state.sessionOf(clientIdentifier)?.owner) }

  async placeOf (clientIdentifier: string): Promise<number | undefined> { return this.#node.ask(state => state.onlineAt(clientIdentifier)?.generation) }

  async leave (): Promise<void> {
    await this.#node.askAsNode(leave)
    Object.assign(this.#node, { generation: -1, events: undefined })
  }
}
