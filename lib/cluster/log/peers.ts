import { setImmediate } from 'node:timers'
import type { Send } from '../../contract/cluster-changes.ts'
import type { LogEntry } from '../../contract/emitter.ts'
import type { Message } from '../../contract/message.ts'
import { RemoteNode } from '../../router/remote-node.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import { RetainedOrder } from './retained-order.ts'

/** Bytes that may wait in a node's inbox; over it publishers to it are slowed down, until it has worked off half of them. */
const maximumBacklog = 16 * 1024 * 1024
const resumedBacklog = maximumBacklog / 2
/** Retained messages that are looked at in one turn of the event loop. */
const topicsAtOnce = 1_000

/** What the log leads to elsewhere. */
export interface PeersEvents {
  /** Another node wants more than it did: it waits until it knows that this one knows. */
  routesAdded (generation: number, position: number): void
  joined (node: RemoteNode): void
  left (generation: number): void
  /** Bytes that wait in a node's inbox. */
  backlogOf (generation: number): number
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
  /** Of this node; -1 until it is one: then all that the log tells is about others, those that it was before included. */
  generation = -1
  readonly retained: RetainedOrder = new RetainedOrder()
  readonly #services: ClusterServices
  readonly #events: PeersEvents
  readonly #nodes = new Map<number, RemoteNode>()
  #waiters: Waiter[] = []
  #isCongested = false
  /** This node is none any more: the log tells it nothing. */
  #isDeaf = false

  constructor (services: ClusterServices, events: PeersEvents) {
    this.#services = services
    this.#events = events
  }

  logged (entry: LogEntry): void {
    this.#take(entry)
    this.position = entry.position
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

  /** Resolves when so many moves are known of. */
  caughtUp (moves: number): Promise<void> { return this.#until(() => this.moves >= moves) }

  /** Resolves when all that the log tells up to that position is known. */
  reached (position: number): Promise<void> { return this.#until(() => this.position >= position) }

  /** This node is none any more: what the log has not told by now it never will, and nobody waits for that. */
  deafen (): void {
    this.#isDeaf = true
    for (const waiter of this.#waiters.splice(0)) waiter.resolve()
  }

  /** This node begins anew: all others are to be told of again. */
  reset (): void {
    this.generation = -1
    for (const generation of [...this.#nodes.keys()]) this.#left(generation)
    this.retained.reset()
    this.position = this.moves = this.ownRoutesAt = 0
    for (const waiter of this.#waiters.splice(0)) waiter.resolve()
    this.#isDeaf = false
  }

  /**
   * What was retained here is not, after all.
   * @param next what is retained by the next commit, if that says anything of the topic
   */
  unretain (topicName: string, next: { readonly message: Message | undefined } | undefined): void {
    const { retained } = this.#services.router
    const back = next ?? this.retained.drop(topicName)
    if (back !== undefined && retained.get(topicName) !== back.message) this.#retain(topicName, back.message)
  }

  #until (isDone: () => boolean): Promise<void> {
    return this.#isDeaf || isDone() ? Promise.resolve() : new Promise(resolve => { this.#waiters.push({ isDone, resolve }) })
  }

  #tellWaiters (): void {
    if (this.#waiters.length === 0) return
    const done = this.#waiters.filter(waiter => waiter.isDone())
    this.#waiters = this.#waiters.filter(waiter => !done.includes(waiter))
    for (const { resolve } of done) resolve()
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
      case 'retainedAnew':
        if (entry.isComplete) void this.#forgetUntold()
        else this.retained.beginAnew()
        break
      case 'retained':
        if (this.retained.isNews(entry.topicName, entry.message, entry.generation, this.generation)) this.#retain(entry.topicName, entry.message)
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

  /** Takes away what was removed while this node was not told; some at a time, since there may be a million of them. */
  async #forgetUntold (): Promise<void> {
    const { retained } = this.#services.router
    const untold = this.retained.untold()
    let looked = 0
    for (const { topicName } of retained) {
      const isGone = untold(topicName)
      if (isGone === undefined) return
      if (isGone) retained.delete(topicName)
      if (++looked % topicsAtOnce === 0) await new Promise(resolve => { setImmediate(resolve) })
    }
    this.retained.endAnew()
  }

  #retain (topicName: string, message: Message | undefined): void {
    const { router, topics } = this.#services
    if (message === undefined) router.retained.delete(topicName)
    else if (!router.retained.set(message.with({}, topics.named(topicName)))) this.#services.dropped(undefined, message, 'retainedFull')
  }
}
