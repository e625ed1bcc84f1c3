import { ErrorCode, MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Emitter, EmitterEvents, ImportedSession, InboxEntry, InboxFrame, LogEntry, NodeDescription, NodeState } from '../contract/emitter.ts'
import type { Message } from '../contract/message.ts'
import type { Session } from '../session/session.ts'
import type { Journal } from '../store/journal.ts'
import type { Topic } from '../topic/topic.ts'
import { Adoption, type Adopter } from './adoption.ts'
import { Barrier } from './barrier.ts'
import type { ClusterServices } from './cluster-services.ts'
import { FrameCodec } from './frames.ts'
import { Inbound } from './inbound.ts'
import { deliverTo } from './outbound-batch.ts'
import { Outbound } from './outbound.ts'
import { Peers } from './peers.ts'
import { restoreSession } from './restore-session.ts'

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
export class Cluster implements EmitterEvents, Adopter {
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
  readonly #barrier: Barrier
  readonly #adoption: Adoption
  readonly #frames = new FrameCodec()
  /** Claims that wait for their answer, and adoptions that go on. */
  #coming = 0
  /** The log's end when Sessions came last: what it tells of them up to there is true here. */
  #cameAt = 0
  /** Claims under way, by Client Identifier. */
  readonly #claims = new Map<string, Promise<number>>()
  /** Numbers that were claimed for Sessions which have not begun. */
  readonly #unused = new Set<number>()
  /** Positions of notices that came while Sessions were on their way to this node, by the number of the Session that was to be given up. */
  readonly #notices = new Map<number, number>()
  /** Client Identifiers of Sessions that were given up lately: commits that still touch them are refused. */
  #evicted = new Map<number, string>()
  #evictedBefore = new Map<number, string>()
  #stop: (() => void) | undefined = undefined
  #isBeating = false
  #isClosed = false

  constructor (services: ClusterServices, journal: Journal, emitter: Emitter, description: NodeDescription, events: ClusterEvents) {
    this.#services = services
    this.#journal = journal
    this.emitter = emitter
    this.#description = description
    this.#barrier = new Barrier(services.clock)
    this.#peers = new Peers(services, {
      routesAdded: (generation, position) => { this.outbound.control(generation, this.#frames.confirmation(this.generation, position)) },
      joined: node => {
        this.#barrier.joined(node.generation, this.#peers.position)
        events.joined(node)
      },
      left: generation => {
        this.#barrier.left(generation)
        events.left(generation)
      },
      backlogOf: generation => emitter.backlogOf(generation),
      evict: (sessions, importedAs) => this.#evictAll(sessions, importedAs),
    })
    this.#peers.isToBeHeld = position => this.#coming > 0 && this.#cameAt < position
    this.outbound = new Outbound(services, journal, this.#peers)
    this.#inbound = new Inbound(services, {
      confirmed: ({ generation, position }) => { this.#barrier.confirmed(generation, position) },
      kicked: ({ clientIdentifier, reasonCode }) => { this.disconnectHere(clientIdentifier, reasonCode as ReasonCode) },
      settled: position => { this.outbound.settle(position) },
      taken: origin => { this.outbound.take(origin) },
    })
    this.#adoption = new Adoption(emitter, services, this)
    journal.peer = this.outbound
    services.router.join(this.outbound)
  }

  /** @throws MqttError when the cluster does not take this node */
  async join (): Promise<void> {
    const { routes } = this.#services.router
    if (routes !== undefined) routes.onChange = () => { this.#journal.plan() }
    await this.#becomeNode()
    this.#stop = this.#services.clock.every(Math.max(1, Math.floor(this.emitter.leaseMs / beatsInLease)), () => { void this.#beat() })
  }

  /** The retained messages have been read. */
  retainedRead (): void { this.#peers.retainedRead() }

  /** Whether what was read of a topic's retained message may be older than what the log has told. */
  isRetainedFresh (topicName: string): boolean { return this.#peers.isFresh(topicName) }

  logged (entry: LogEntry): void {
    if (!this.#isClosed) this.#peers.logged(entry)
  }

  received (entry: InboxEntry): void {
    if (this.#isClosed) return
    if (entry.kind === 'frame') this.#inbound.received(entry)
    else {
      this.#evictOne(entry)
      this.#inbound.passed(entry.position)
    }
  }

  /** What this node had is others' now: it lets all of it go, and joins anew. */
  fenced (): void {
    if (this.#isClosed) return
    const { logger, sessions } = this.#services
    logger.error({ generation: this.generation }, 'the other nodes took this one for dead: it closes its clients and joins anew')
    for (const session of [...sessions]) this.#evict(session)
    this.#joinAnew()
  }

  reachable (isReachable: boolean, error: Error | undefined): void {
    this.isReachable = this.outbound.isReachable = isReachable
    const { logger } = this.#services
    if (isReachable) logger.info({ emitter: this.emitter.name }, 'the other nodes can be reached again')
    else logger.error({ err: error, emitter: this.emitter.name }, 'the other nodes cannot be reached; acknowledgements wait')
  }

  /**
   * Makes a Client Identifier this node's own, and its Session with it, wherever that is.
   * @returns the number of the Session, or of the one that is to begin
   * @throws MqttError Server unavailable when the cluster does not answer
   */
  async claim (clientIdentifier: string): Promise<number> {
    if (!this.isReachable && this.#claims.has(clientIdentifier)) throw unavailable() // one claim waits, however often its Client tries
    const claim = this.#claimInTurn(clientIdentifier)
    try {
      return await this.#withinTime(claim)
    } catch (error) {
      claim.then(session => { this.giveBack(clientIdentifier, session) }, () => undefined) // should the answer come later, nobody waits for it
      throw tellable(error)
    }
  }

  /** A number that was claimed is not wanted after all, unless a Session has it. */
  giveBack (clientIdentifier: string, session: number): void {
    if (this.use(session)) this.outbound.release({ clientIdentifier, session })
  }

  /** Whether a number that was claimed is that of no Session yet; it is from then on. */
  use (session: number): boolean { return this.#unused.delete(session) }

  /** Resolves when a QoS 1 or 2 message of that topic may be published; undefined when it may at once. */
  hold (topic: Topic): Promise<void> | undefined {
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
    for (const { generation } of await this.emitter.nodes()) {
      if (generation === this.generation || !await this.#isOnline(generation, clientIdentifier)) continue
      this.outbound.control(generation, this.#frames.kick(clientIdentifier, reasonCode))
      await this.#journal.written()
      return true
    }
    return false
  }

  nodes (): Promise<readonly NodeState[]> { return this.emitter.nodes() }

  disconnectHere (clientIdentifier: string, reasonCode: ReasonCode): boolean {
    const sink = this.#services.sessions.get(clientIdentifier)?.sink
    sink?.disconnect(reasonCode)
    return sink !== undefined
  }

  async whileComing<T> (run: () => Promise<T>): Promise<T> {
    this.#coming++
    this.#peers.isComing = true
    this.#inbound.record()
    try {
      return await run()
    } finally {
      if (--this.#coming === 0) this.#arrived()
      this.#peers.goOn()
    }
  }

  #arrived (): void {
    this.#peers.isComing = false
    this.#notices.clear()
    this.#inbound.stopRecording()
    this.#services.router.routes?.release()
  }

  async exclusively<T> (ask: () => Promise<T>): Promise<T> {
    await this.#journal.pause()
    try {
      return await ask()
    } finally {
      this.#journal.resume()
    }
  }

  /** A Session of another node is this one's from now on. All in one go: nothing that is for it may come between. */
  import (imported: ImportedSession): void {
    if (this.#isTaken(imported.number, imported.since)) {
      this.#services.router.routes?.unwanted(imported.subscriptions.map(({ topicFilter }) => topicFilter))
      return
    }
    const { sessions, clock } = this.#services
    this.#evicted.delete(imported.number)
    this.#evictedBefore.delete(imported.number)
    const before = sessions.get(imported.record.clientIdentifier)
    if (before !== undefined && imported.record.hasEnded !== true) this.#evict(before) // it had been taken from us, and we did not know
    const session = restoreSession(this.#services, this.#journal, imported, imported.heardAt ?? clock.now())
    if (session !== undefined) {
      session.importedAs = ++this.#peers.imports
      session.ownSince = imported.since
      this.#handOver(session, imported)
    }
    this.outbound.recovered(imported.number)
    this.#services.router.routes?.unwanted(imported.subscriptions.map(({ topicFilter }) => topicFilter)) // those of one that had ended, or that are over the limits
    this.#cameAt = this.emitter.logEnd
    this.#peers.goOn()
  }

  redispatch ({ bytes, taken }: InboxFrame): void {
    for (const { message, shares } of this.#inbound.messages(bytes, 0, taken)) {
      for (const topicFilter of shares) this.#services.router.share(topicFilter)?.deliver(message)
    }
  }

  written (): Promise<void> { return this.#journal.written() }

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

  #joinAnew (): void {
    this.#becomeNode(true).catch((error: unknown) => {
      this.#services.logger.error({ err: error }, 'the cluster could not be joined anew; it is tried again')
      this.#services.clock.after(this.emitter.leaseMs / beatsInLease, () => { if (!this.#isClosed) this.#joinAnew() })
    })
  }

  async #becomeNode (isAgain = false): Promise<void> {
    this.#peers.reset()
    this.#peers.generation = -1
    this.#unused.clear()
    this.#notices.clear()
    this.#inbound.reset()
    this.outbound.reset()
    const { generation, nextSession, moves } = await this.emitter.join(this, this.#description)
    this.generation = this.#peers.generation = generation
    this.#peers.moves = Math.max(this.#peers.moves, moves)
    this.#journal.continueAt(nextSession)
    if (isAgain) this.#services.router.routes?.retell()
  }

  /** Claims of one Client Identifier come one after the other. */
  async #claimInTurn (clientIdentifier: string): Promise<number> {
    const before = this.#claims.get(clientIdentifier) ?? Promise.resolve(0)
    const claim = before.catch(() => 0).then(() => this.#claim(clientIdentifier))
    this.#claims.set(clientIdentifier, claim)
    try {
      return await claim
    } finally {
      if (this.#claims.get(clientIdentifier) === claim) this.#claims.delete(clientIdentifier)
    }
  }

  async #claim (clientIdentifier: string): Promise<number> {
    const own = this.#services.sessions.get(clientIdentifier)
    if (own?.isDurable === true && await this.#isStillOwn(own)) return own.number
    const number = await this.whileComing(() => this.#claimElsewhere(clientIdentifier))
    await this.#inOrder(this.#services.sessions.get(clientIdentifier))
    return number
  }

  /** What a Client has published at other nodes has to be handed on before what it publishes here. */
  async #inOrder (session: Session | undefined): Promise<void> {
    if (session === undefined) return
    await this.#inbound.reached(session.ownSince)
    if (this.#services.sessions.get(session.clientIdentifier) !== session) throw takenAway()
  }

  /**
   * Whether a stored Session is this node's own, and not only thought to be. It is not claimed then: what is committed of it before the claim is answered would be
   * of its former time here, and could not be told from what is of the new one.
   */
  async #isStillOwn (session: Session): Promise<boolean> {
    const { sessions } = this.#services
    sessions.save(session)
    await this.#journal.written()
    return sessions.get(session.clientIdentifier) === session
  }

  /** When it resolves, all that was asked for before has been dealt with. */
  async #answerTo<T> (ask: () => Promise<T>): Promise<T> {
    const askedAt = ++this.#peers.asked
    const answer = await ask()
    await this.#peers.sealed?.dealtWith(askedAt)
    return answer
  }

  async #claimElsewhere (clientIdentifier: string): Promise<number> {
    const fresh = this.#journal.newSession()
    const { session, imported } = await this.#answerTo(() => this.emitter.claim({ clientIdentifier, session: fresh }))
    if (imported !== undefined) this.import(imported)
    else this.#evictStranger(clientIdentifier, session)
    if (this.#isTaken(session, imported?.since ?? 0)) throw takenAway()
    if (session === fresh && this.#services.sessions.get(clientIdentifier) === undefined) this.#unused.add(session) // another number is, or was, that of a Session that ends
    return session
  }

  /** A Session of that Client Identifier which is not the one that the cluster knows had been taken from this node. */
  #evictStranger (clientIdentifier: string, number: number): void {
    const session = this.#services.sessions.get(clientIdentifier)
    if (session !== undefined && session.number !== number) this.#evict(session)
  }

  /** What was on its way to the Session, in its order: by way of its former nodes, then through this one's inbox, then what is published here and was not committed yet. */
  #handOver (session: Session, { remainder, since }: ImportedSession): void {
    for (const { bytes, skip } of remainder) {
      for (const { message, isForAll } of this.#inbound.messages(bytes, skip)) deliverTo(session, message, isForAll)
    }
    this.#inbound.replay(session, since)
    for (const message of this.#journal.committing(session.number, this.#peers.sealed?.forAll ?? noMessages)) deliverTo(session, message, true)
    for (const { message, isForAll } of this.outbound.messages) deliverTo(session, message, isForAll)
  }

  /** A notice from before the Session came back to this node does not count. */
  #evictOne ({ clientIdentifier, session: number, position }: InboxEntry & { kind: 'evicted' }): void {
    this.#unused.delete(number)
    const session = this.#services.sessions.get(clientIdentifier)
    if (session?.number === number && session.ownSince >= position) return
    if (this.#coming > 0) this.#notices.set(number, position)
    if (session?.number === number) void this.#giveUp(number, clientIdentifier, position)
  }

  /** Not before this node knows what the new owner wants: until then whatever comes for the Session is refused, and sent after it. */
  async #giveUp (number: number, clientIdentifier: string, position: number): Promise<void> {
    const { generation } = this
    await this.#journal.synced().catch(() => undefined)
    await this.#peers.reached(this.emitter.logEnd)
    if (generation !== this.generation) return // it was another node's notice
    const session = this.#services.sessions.get(clientIdentifier)
    if (session?.number === number && session.ownSince < position) this.#evict(session)
  }

  #evictAll (numbers: readonly number[], importedAs: number): ReadonlySet<string> {
    const unknown = new Set(numbers.filter(number => !this.#wasEvicted(number)))
    const those = unknown.size === 0 ? [] : [...this.#services.sessions].filter(session => unknown.has(session.number) && session.importedAs <= importedAs)
    for (const session of those) this.#evict(session)
    return new Set(numbers.map(number => this.#evicted.get(number) ?? this.#evictedBefore.get(number)).filter(name => name !== undefined))
  }

  #wasEvicted (number: number): boolean { return this.#evicted.has(number) || this.#evictedBefore.has(number) }

  #evict (session: Session): void {
    this.#evicted.set(session.number, session.clientIdentifier)
    this.#peers.sealed?.expel(session.number, session.clientIdentifier)
    this.#services.sessions.abandon(session)
    this.#services.router.forget(session)
    const { number, clientIdentifier } = session
    if (number !== 0) this.outbound.readdress(this.#journal.expel(number, clientIdentifier))
  }

  /** Whether another node has claimed a Session again before this one has heard that its own claim was granted. */
  #isTaken (number: number, since: number): boolean { return (this.#notices.get(number) ?? 0) > since }

  async #isOnline (generation: number, clientIdentifier: string): Promise<boolean> {
    for await (const online of this.emitter.online(generation)) if (online === clientIdentifier) return true
    return false
  }

  async #beat (): Promise<void> {
    if (this.#isBeating) return
    this.#isBeating = true
    this.outbound.flush()
    this.#evictedBefore = this.#evicted
    this.#evicted = new Map()
    try {
      const { metrics, sessions, router } = this.#services
      const pulse = await this.emitter.beat({ clientsConnected: metrics.clientsConnected, sessions: sessions.size, subscriptions: router.subscriptionCount })
      for (const generation of pulse.dead) this.#barrier.suspect(generation)
      if (!this.#isClosed) this.#adoption.heard(pulse)
      this.known = await this.emitter.nodes()
    } catch (error) {
      this.#adoption.deaf()
      this.#services.logger.warn({ err: error }, 'the cluster did not answer a beat')
    } finally {
      this.#isBeating = false
    }
  }
}

const noMessages: ReadonlySet<Message> = new Set()

function takenAway (): MqttError {
  return new MqttError(ErrorCode.sessionTakenOver, ReasonCode.serverBusy, 'the Client has come to another node meanwhile')
}

/** That this node was taken for dead, say, is nothing that its Clients have to know: they may come again at once. */
function tellable (error: unknown): MqttError {
  return error instanceof MqttError && error.reasonCode === ReasonCode.serverBusy ? error : unavailable(error)
}

function unavailable (cause?: unknown): MqttError {
  return new MqttError(ErrorCode.clusterUnavailable, ReasonCode.serverUnavailable, 'the other nodes of the cluster cannot be reached', { cause })
}
