import type { Send } from '../contract/cluster-changes.ts'
import type { LogEntry } from '../contract/emitter.ts'
import type { Message } from '../contract/message.ts'
import { RemoteNode } from '../router/remote-node.ts'
import type { ClusterServices } from './cluster-services.ts'

/** Bytes that may wait in a node's inbox; over it publishers to it are slowed down, until it has worked off half of them. */
const maximumBacklog = 16 * 1024 * 1024
const resumedBacklog = maximumBacklog / 2

/** What the log leads to elsewhere. */
export interface PeersEvents {
  /** Another node wants more than it did: it waits until it knows that this one knows. */
  routesAdded (generation: number, position: number): void
  joined (node: RemoteNode): void
  left (generation: number): void
  /** Bytes that wait in a node's inbox. */
  backlogOf (generation: number): number
  /**
   * Gives up Sessions that are other nodes' now.
   * @param importedAs those that came later are this node's own again
   * @returns their Client Identifiers
   */
  evict (sessions: readonly number[], importedAs: number): ReadonlySet<string>
}

/** A commit that is under way. */
export interface Sealed {
  /** Sessions that come to this node while it is asked for want them, too: then it is refused, and put together anew. */
  readonly messages: readonly Addressed[]
  /** A Session was given up. */
  expel (session: number, clientIdentifier: string): void
  /** Those that go to every node that wants them. */
  readonly forAll: ReadonlySet<Message>
  /** Resolves when the answer is known; undefined when it is, or when the commit was asked for later than that. */
  dealtWith (askedAt: number): Promise<void> | undefined
}

interface Addressed {
  readonly message: Message
  readonly isForAll: boolean
  forAll (): void
}

interface Waiter { readonly isDone: () => boolean, readonly resolve: () => void }

/** The other nodes, what they want, and what else the log tells. */
export class Peers {
  /** Position of the last entry that was taken in. */
  position = 0
  /** Moves that are known of. */
  moves = 0
  /** Position of the last entry in which this node said that it wants something more. */
  ownRoutesAt = 0
  /** Whether Sessions may be on their way to this node. */
  isComing = false
  /** Commits and claims that were asked for. */
  asked = 0
  /** The commit that is under way. */
  sealed: Sealed | undefined = undefined
  /** Of this node; -1 until it is one: then all that the log tells is about others, those that it was before included. */
  generation = -1
  /** Counts the Sessions that have come from other nodes. */
  imports = 0
  readonly #services: ClusterServices
  readonly #events: PeersEvents
  readonly #nodes = new Map<number, RemoteNode>()
  /** Entries that have to wait. */
  #held: LogEntry[] = []
  /** Whether an entry about Sessions that come to this node has to wait until they are here. */
  #isToBeHeld: (position: number) => boolean = () => false
  #waiters: Waiter[] = []
  #isCongested = false
  /** Topics whose retained message was set here and is not in the log yet, or not read back: whatever else the log says comes before it. */
  readonly #retaining = new Set<string>()
  readonly #echoes = new Map<string, number>()
  /** Topics that the log told of while the retained messages were being read. */
  #fresh: Set<string> | undefined = new Set()

  constructor (services: ClusterServices, events: PeersEvents) {
    this.#services = services
    this.#events = events
  }

  get nodes (): ReadonlyMap<number, RemoteNode> { return this.#nodes }

  set isToBeHeld (rule: (position: number) => boolean) { this.#isToBeHeld = rule }

  logged (entry: LogEntry): void {
    this.#held.push(entry)
    this.goOn()
  }

  /** Takes in what does not have to wait any more. */
  goOn (): void {
    for (let entry = this.#held[0]; entry !== undefined && !this.#mustWait(entry); entry = this.#held[0]) {
      this.#held.shift()
      this.#take(entry)
      this.position = entry.position
    }
    this.#tellWaiters()
  }

  /** Some node takes less than it is sent. */
  get isCongested (): boolean { return this.#isCongested }

  /** Something was sent to those nodes. */
  watchBacklog (sends: readonly Send[]): void {
    for (const { generation } of sends) this.#watch(generation)
  }

  #watch (generation: number): void {
    const node = this.#nodes.get(generation)
    if (node === undefined) return
    const isCongested = this.#events.backlogOf(generation) > (node.isCongested ? resumedBacklog : maximumBacklog)
    if (isCongested === node.isCongested) return
    node.isCongested = isCongested
    this.#isCongested = [...this.#nodes.values()].some(other => other.isCongested)
    this.#services.logger.warn({ generation, node: node.name }, isCongested ? 'a node takes less than it is sent: publishers to it are slowed down' : 'the node has caught up')
  }

  evictAll (sessions: readonly number[], importedAs: number): ReadonlySet<string> { return this.#events.evict(sessions, importedAs) }

  /** Resolves when so many moves are known of. */
  caughtUp (moves: number): Promise<void> { return this.#until(() => this.moves >= moves) }

  /** Resolves when all that the log tells up to that position is known. */
  reached (position: number): Promise<void> { return this.#until(() => this.position >= position) }

  retaining (topicName: string): void { this.#retaining.add(topicName) }

  /** Those topics are part of a commit: each comes back once. */
  retainedSealed (topicNames: ReadonlySet<string>): void {
    for (const topicName of topicNames) {
      this.#retaining.delete(topicName)
      this.#echoes.set(topicName, (this.#echoes.get(topicName) ?? 0) + 1)
    }
  }

  /** They were not committed after all, and will be part of the next commit. */
  retainedTakenBack (topicNames: ReadonlySet<string>): void {
    for (const topicName of topicNames) {
      this.#retaining.add(topicName)
      this.#echoed(topicName)
    }
  }

  /** A topic's retained message was left out of its commit, and does not come back. */
  retainedLost (topicName: string): void { this.#echoed(topicName) }

  /** A topic's retained message joins a commit; if another one of that topic is part of it, only the newer comes back. */
  retainedAbsorbed (topicName: string, into: Set<string>): void {
    if (into.has(topicName)) this.#echoed(topicName)
    into.add(topicName)
  }

  /** The same for one that is not part of a commit yet. */
  retainedDropped (topicName: string): void { this.#retaining.delete(topicName) }

  /** Whether the log has told of the topic while the retained messages were being read, so that what was read may be old. */
  isFresh (topicName: string): boolean { return this.#fresh?.has(topicName) === true }

  /** They have been read. */
  retainedRead (): void { this.#fresh = undefined }

  /** This node begins anew: all others are to be told of again. */
  reset (): void {
    for (const { generation } of [...this.#nodes.values()]) this.#left(generation)
    this.#held = []
    this.#echoes.clear()
    this.position = this.moves = this.ownRoutesAt = 0
    this.#fresh = new Set()
    for (const waiter of this.#waiters.splice(0)) waiter.resolve()
  }

  #until (isDone: () => boolean): Promise<void> {
    return isDone() ? Promise.resolve() : new Promise(resolve => { this.#waiters.push({ isDone, resolve }) })
  }

  #tellWaiters (): void {
    if (this.#waiters.length === 0) return
    const done = this.#waiters.filter(waiter => waiter.isDone())
    this.#waiters = this.#waiters.filter(waiter => !done.includes(waiter))
    for (const { resolve } of done) resolve()
  }

  #mustWait (entry: LogEntry): boolean {
    return entry.kind === 'routes' && entry.generation === this.generation && entry.moves > this.moves && this.#isToBeHeld(entry.position)
  }

  #take (entry: LogEntry): void {
    switch (entry.kind) {
      case 'joined':
        this.#joined(entry.generation, entry.description.name)
        break
      case 'left':
        this.#left(entry.generation)
        break
      case 'routes':
        this.#routes(entry)
        break
      case 'retained':
        this.#retained(entry)
        break
    }
  }

  #joined (generation: number, name: string): void {
    if (generation === this.generation || this.#nodes.has(generation)) return
    const node = new RemoteNode(generation, name)
    this.#nodes.set(generation, node)
    this.#events.joined(node)
  }

  #left (generation: number): void {
    const node = this.#nodes.get(generation)
    if (node === undefined) return
    for (const topicFilter of [...node.routes.keys()]) this.#services.router.setRemote(node, topicFilter, undefined)
    this.#nodes.delete(generation)
    this.#isCongested = [...this.#nodes.values()].some(other => other.isCongested)
    this.#events.left(generation)
  }

  #routes ({ generation, position, routes, moves }: LogEntry & { kind: 'routes' }): void {
    this.moves = Math.max(this.moves, moves)
    const isMore = [...routes.values()].some(connected => connected !== undefined)
    const node = this.#nodes.get(generation)
    if (node === undefined) {
      if (isMore && generation === this.generation) this.ownRoutesAt = position
      return
    }
    for (const [topicFilter, connected] of routes) this.#services.router.setRemote(node, topicFilter, connected)
    if (isMore) this.#events.routesAdded(generation, position)
  }

  #retained ({ generation, topicName, message }: LogEntry & { kind: 'retained' }): void {
    if (generation === this.generation) {
      this.#echoed(topicName)
      return
    }
    if (generation === 0) this.#echoes.delete(topicName)
    this.#fresh?.add(topicName)
    if (!this.#retaining.has(topicName) && !this.#echoes.has(topicName)) this.#retain(topicName, message)
  }

  #retain (topicName: string, message: Message | undefined): void {
    const { router, topics } = this.#services
    if (message === undefined) router.retained.delete(topicName)
    else if (!router.retained.set(message.with({}, topics.named(topicName)))) this.#services.dropped(undefined, message, 'retainedFull')
  }

  #echoed (topicName: string): void {
    const count = (this.#echoes.get(topicName) ?? 0) - 1
    if (count > 0) this.#echoes.set(topicName, count)
    else this.#echoes.delete(topicName)
  }
}
