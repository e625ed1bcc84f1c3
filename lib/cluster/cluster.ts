import { ErrorCode, MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Emitter, EmitterEvents, InboxEntry, LogEntry, NodeDescription, NodeState } from '../contract/emitter.ts'
import type { Journal } from '../store/journal.ts'
import type { Topic } from '../topic/topic.ts'
import { Adoption } from './ownership/adoption.ts'
import { Barrier } from './log/barrier.ts'
import type { ClusterServices } from './node/cluster-services.ts'
import { FrameCodec } from './inbox/frames.ts'
import { Gate } from './node/gate.ts'
import { HandOver } from './ownership/hand-over.ts'
import { Inbound } from './inbox/inbound.ts'
import { Outbound } from './outbound/outbound.ts'
import { Ownership } from './ownership/ownership.ts'
import { Peers } from './log/peers.ts'
import { Standstill } from './node/standstill.ts'

/** Milliseconds that a CONNECT waits until its Client Identifier is this node's own, and `close` until the others know. */
const answerTimeoutMs = 5_000
/** Milliseconds between two packets of a publisher to a node that takes less than it is sent. */
const slowdownMs = 10
/** Beats in a lease. */
const beatsInLease = 4

/** Told of what happens in the cluster. */
export interface ClusterEvents {
  joined (node: { readonly generation: number, readonly name: string }): void
  left (generation: number): void
}

/** One node of a cluster: the broker's side of an {@link Emitter}. */
export class Cluster implements EmitterEvents {
  readonly emitter: Emitter
  readonly outbound: Outbound
  /** Whether the other nodes can be reached. */
  isReachable = true
  generation = 0
  /** The nodes, as of the last beat. */
  known: readonly NodeState[] = []
  readonly #services: ClusterServices
  readonly #journal: Journal
  readonly #description: NodeDescription
  readonly #peers: Peers
  readonly #inbound: Inbound
  readonly #ownership: Ownership
  readonly #handOver: HandOver
  readonly #standstill: Standstill
  readonly #barrier: Barrier
  readonly #adoption: Adoption
  readonly #log = new Gate<LogEntry>(entry => { this.#peers.logged(entry) })
  readonly #inbox = new Gate<InboxEntry>(entry => { this.#inbound.received(entry) })
  readonly #frames = new FrameCodec()
  #stop: (() => void) | undefined = undefined
  #rejoining: Promise<void> | undefined = undefined
  #isBeating = false
  #isClosed = false

  constructor (services: ClusterServices, journal: Journal, emitter: Emitter, description: NodeDescription, events: ClusterEvents) {
    this.#services = services
    this.#journal = journal
    this.emitter = emitter
    this.#description = description
    this.#barrier = new Barrier(services.clock)
    this.#peers = this.#newPeers(events)
    this.outbound = new Outbound(services, journal, this.#peers, refusal => this.#ownership.learn(refusal))
    this.#inbound = this.#newInbound()
    this.#standstill = new Standstill(journal, [this.#log, this.#inbox])
    this.#handOver = new HandOver(services, this.outbound)
    this.#ownership = this.#newOwnership()
    this.#adoption = new Adoption(emitter, services, this.#ownership)
    journal.peer = this.outbound
    services.router.join(this.outbound)
  }

  #newPeers (events: ClusterEvents): Peers {
    return new Peers(this.#services, {
      routesAdded: (generation, position) => { this.outbound.confirm(generation, position) },
      joined: node => {
        this.#barrier.joined(node.generation, this.#peers.position)
        events.joined(node)
      },
      left: generation => {
        this.#barrier.left(generation)
        events.left(generation)
      },
      backlogOf: generation => this.emitter.backlogOf(generation),
    })
  }

  #newInbound (): Inbound {
    return new Inbound(this.#services, {
      confirmed: ({ generation, position }) => { this.#barrier.confirmed(generation, position) },
      kicked: ({ clientIdentifier, reasonCode }) => { this.disconnectHere(clientIdentifier, reasonCode as ReasonCode) },
      wanted: item => { this.#handOver.asked(item) },
      yielded: ({ clientIdentifier }) => { this.#handOver.yielded(clientIdentifier) },
      evicted: notice => { void this.#ownership.evicted(notice) },
      settled: position => { this.outbound.settle(position) },
      taken: origin => { this.outbound.take(origin) },
    })
  }

  #newOwnership (): Ownership {
    return new Ownership(this.#services, {
      emitter: this.emitter, journal: this.#journal, outbound: this.outbound,
      peers: this.#peers, inbound: this.#inbound, standstill: this.#standstill, handOver: this.#handOver,
    })
  }

  /** @throws MqttError when the cluster does not take this node */
  async join (): Promise<void> {
    const { routes } = this.#services.router
    if (routes !== undefined) routes.onChange = () => { this.#journal.plan() }
    await this.#standstill.run(() => this.#becomeNode())
    this.#stop = this.#services.clock.every(Math.max(1, Math.floor(this.emitter.leaseMs / beatsInLease)), () => { void this.#beat() })
  }

  /** The retained messages have been read. */
  retainedRead (): void { this.#peers.retained.read() }

  /** Whether what was read of a topic's retained message may be older than what the log has told. */
  isRetainedFresh (topicName: string): boolean { return this.#peers.retained.isTold(topicName) }

  logged (entry: LogEntry): void {
    if (!this.#isClosed) this.#log.enter(entry)
  }

  received (entry: InboxEntry): void {
    if (!this.#isClosed) this.#inbox.enter(entry)
  }

  /** What this node had is others' now: it lets all of it go, and joins anew. */
  fenced (): void {
    if (this.#isClosed) return
    this.#services.logger.error({ generation: this.generation }, 'the other nodes took this one for dead: it closes its clients and joins anew')
    const rejoining = this.#joinAnew().finally(() => { if (this.#rejoining === rejoining) this.#rejoining = undefined }) // it may have begun again by then
    this.#rejoining = rejoining
  }

  /** Resolves when this node, which joins anew, knows what the others want; undefined when it is one. What is published meanwhile has to wait. */
  get rejoining (): Promise<void> | undefined { return this.#rejoining }

  reachable (isReachable: boolean, error: Error | undefined): void {
    this.isReachable = this.outbound.isReachable = isReachable
    const { logger, metrics } = this.#services
    if (!isReachable) metrics.clusterOutages++
    if (isReachable) logger.info({ emitter: this.emitter.name }, 'the other nodes can be reached again')
    else logger.error({ err: error, emitter: this.emitter.name }, 'the other nodes cannot be reached; acknowledgements wait')
  }

  /**
   * Makes a Client Identifier this node's own, and its Session with it, wherever that is.
   * @returns the number of the Session, or of the one that is to begin
   * @throws MqttError Server unavailable when the cluster does not answer
   */
  async claim (clientIdentifier: string): Promise<number> {
    if (!this.isReachable && this.#ownership.isBeingClaimed(clientIdentifier)) throw unavailable() // one claim waits, however often its Client tries
    const claim = this.#ownership.claim(clientIdentifier)
    try {
      return await this.#withinTime(claim)
    } catch (error) {
      claim.then(session => { this.giveBack(clientIdentifier, session) }, () => undefined) // should the answer come later, nobody waits for it
      throw tellable(error)
    }
  }

  /** A number that was claimed is not wanted after all, unless a Session has it. A Client that was online elsewhere is said to be online here since, and may not have been let in. */
  giveBack (clientIdentifier: string, session: number): void {
    if (this.use(session)) this.outbound.release({ clientIdentifier, session })
    if (this.#services.sessions.get(clientIdentifier)?.isConnected !== true) this.outbound.presence(clientIdentifier, false)
  }

  /** Whether a number that was claimed is that of no Session yet; it is from then on. */
  use (session: number): boolean { return this.#ownership.use(session) }

  /** Resolves when a QoS 1 or 2 message of that topic may be published; undefined when it may at once. */
  hold (topic: Topic): Promise<void> | undefined {
    if (this.#rejoining !== undefined) return this.#rejoining
    if (!this.#peers.isCongested || !this.#services.router.remotesOf(topic).some(({ isCongested }) => isCongested)) return undefined
    return new Promise(resolve => { this.#services.clock.after(slowdownMs, resolve) })
  }

  /** Resolves when every node knows what this one wants, and this one knows what was retained before. */
  async routed (): Promise<void> {
    await this.#journal.synced()
    await this.#peers.reached(this.emitter.logEnd)
    await this.#barrier.passed(this.#peers.ownRoutesAt)
  }

  /** Sends a Client away, at whichever node it is. @returns false when it is at none */
  async kick (clientIdentifier: string, reasonCode: ReasonCode): Promise<boolean> {
    if (this.disconnectHere(clientIdentifier, reasonCode)) return true
    const generation = await this.emitter.placeOf(clientIdentifier)
    if (generation === undefined || generation === this.generation) return false
    this.outbound.control(generation, this.#frames.kick(clientIdentifier, reasonCode))
    await this.#journal.written()
    return true
  }

  nodes (): Promise<readonly NodeState[]> { return this.emitter.nodes() }

  disconnectHere (clientIdentifier: string, reasonCode: ReasonCode): boolean {
    const sink = this.#services.sessions.get(clientIdentifier)?.sink
    sink?.disconnect(reasonCode)
    return sink !== undefined
  }

  /** Writes what is left and stops being a node: the others take over what it has. */
  async close (): Promise<void> {
    this.#stop?.()
    try {
      await this.#withinTime(this.#leave())
    } catch (error) {
      this.#services.logger.warn({ err: error, generation: this.generation }, 'this node could not say that it leaves; the others take over what it had when they miss it')
    } finally {
      this.#isClosed = true
      this.#barrier.close()
      this.#peers.reset()
      this.#journal.peer = undefined
      this.#journal.discard(unavailable())
    }
  }

  async #leave (): Promise<void> {
    this.outbound.flush()
    await this.#journal.written()
    this.#isClosed = true
    await this.emitter.leave()
  }

  /** @throws MqttError Server unavailable when the cluster does not answer */
  #withinTime<T> (answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.#services.clock.after(answerTimeoutMs, () => { reject(unavailable()) })
      answer.then(resolve, reject).finally(cancel)
    })
  }

  /** The journal is still from the first moment on: nothing is written by a node that is none. */
  async #joinAnew (): Promise<void> {
    const paused = this.#journal.pause()
    this.#peers.deafen() // a commit that was refused may wait for what the log would tell
    const revoked = this.#ownership.loseAll()
    await paused
    this.outbound.revoked(revoked)
    await this.#standstill.run(() => this.#untilNode())
    this.#services.router.routes?.retell()
    this.#journal.resume()
  }

  async #untilNode (): Promise<void> {
    while (!this.#isClosed) {
      try {
        await this.#becomeNode()
        return
      } catch (error) {
        this.#services.logger.error({ err: error }, 'the cluster could not be joined anew; it is tried again')
        await new Promise<void>(resolve => { this.#services.clock.after(this.emitter.leaseMs / beatsInLease, resolve) })
      }
    }
  }

  /** What it is told of the others waits until it knows which it is itself. */
  async #becomeNode (): Promise<void> {
    this.#log.clear()
    this.#inbox.clear()
    this.#peers.reset()
    this.#inbound.reset()
    this.outbound.reset()
    const { generation, nextSession, moves } = await this.emitter.join(this, this.#description)
    this.generation = this.#peers.generation = generation
    this.#peers.moves = Math.max(this.#peers.moves, moves)
    this.#journal.continueAt(nextSession)
  }

  async #beat (): Promise<void> {
    if (this.#isBeating) return
    this.#isBeating = true
    this.outbound.flush()
    try {
      await this.#tellAlive()
    } catch (error) {
      this.#adoption.deaf()
      this.#services.logger.warn({ err: error }, 'the cluster did not answer a beat')
    } finally {
      this.#isBeating = false
    }
  }

  /** The answer is how the others are. */
  async #tellAlive (): Promise<void> {
    const { metrics, sessions, router } = this.#services
    const pulse = await this.emitter.beat({ clientsConnected: metrics.clientsConnected, sessions: sessions.size, subscriptions: router.subscriptionCount })
    for (const generation of pulse.dead) this.#barrier.suspect(generation)
    if (!this.#isClosed) this.#adoption.heard(pulse)
    this.known = await this.emitter.nodes()
  }
}

/** That this node was taken for dead, say, is nothing that its Clients have to know: they may come again at once. */
function tellable (error: unknown): MqttError {
  return error instanceof MqttError && error.reasonCode === ReasonCode.serverBusy ? error : unavailable(error)
}

function unavailable (cause?: unknown): MqttError {
  return new MqttError(ErrorCode.clusterUnavailable, ReasonCode.serverUnavailable, 'the other nodes of the cluster cannot be reached', { cause })
}
