import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Claim, CommitRefused, Emitter, ImportedSession, InboxFrame } from '../../contract/emitter.ts'
import type { Message } from '../../contract/message.ts'
import type { Session } from '../../session/session.ts'
import type { Journal } from '../../store/journal.ts'
import type { Adopter } from './adoption.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import type { HandOver } from './hand-over.ts'
import type { Inbound, Notice } from '../inbox/inbound.ts'
import type { Outbound } from '../outbound/outbound.ts'
import { deliverTo } from '../outbound/outgoing-message.ts'
import type { Peers } from '../log/peers.ts'
import { restoreSession } from './restore-session.ts'
import type { Standstill } from '../node/standstill.ts'

/** The parts of a node that know what is on its way to a Session. */
export interface OwnershipParts {
  readonly emitter: Emitter
  readonly journal: Journal
  readonly peers: Peers
  readonly inbound: Inbound
  readonly outbound: Outbound
  readonly standstill: Standstill
  readonly handOver: HandOver
}

/** How Sessions become this node's own, and other nodes'. It happens while the node stands still, or when a commit was refused, which is the same: none is under way. */
export class Ownership implements Adopter {
  readonly #services: ClusterServices
  readonly #parts: OwnershipParts
  /** Claims under way, by Client Identifier. */
  readonly #claims = new Map<string, Promise<number>>()
  /** Numbers that were claimed for Sessions which have not begun. */
  readonly #unused = new Set<number>()

  constructor (services: ClusterServices, parts: OwnershipParts) {
    this.#services = services
    this.#parts = parts
  }

  isBeingClaimed (clientIdentifier: string): boolean { return this.#claims.has(clientIdentifier) }

  /** Whether a number that was claimed is that of no Session yet; it is from then on. */
  use (session: number): boolean { return this.#unused.delete(session) }

  /**
   * Makes a Client Identifier this node's own, and its Session with it, wherever that is. Claims of one Client Identifier come one after the other.
   * @returns the number of the Session, or of the one that is to begin
   */
  async claim (clientIdentifier: string): Promise<number> {
    const before = this.#claims.get(clientIdentifier) ?? Promise.resolve(0)
    const claim = before.catch(() => 0).then(() => this.#claim(clientIdentifier))
    this.#claims.set(clientIdentifier, claim)
    try {
      return await claim
    } finally {
      if (this.#claims.get(clientIdentifier) === claim) this.#claims.delete(clientIdentifier)
    }
  }

  whileStill<T> (change: () => Promise<T>): Promise<T> { return this.#parts.standstill.run(change) }

  /** A Session of another node is this one's from now on. */
  import (imported: ImportedSession): void {
    const { outbound, journal } = this.#parts
    const { sessions, clock, router } = this.#services
    const { number, subscriptions, record: { clientIdentifier, hasEnded } } = imported
    const before = sessions.get(clientIdentifier)
    if (before !== undefined && hasEnded !== true) this.#giveUp(before) // it had been taken from us, and we did not know
    this.#expel(number, undefined) // what was said of its former time here
    const session = restoreSession(this.#services, journal, imported, imported.heardAt ?? clock.now())
    if (session !== undefined) this.#handOver(session, imported)
    outbound.recovered(number)
    router.routes?.told(subscriptions.map(({ topicFilter }) => topicFilter))
  }

  redispatch (generation: number, { position, bytes, taken }: InboxFrame): void {
    for (const { message, shares } of this.#parts.inbound.messages(bytes, 0, taken)) {
      for (const topicFilter of shares) this.#services.router.share(topicFilter)?.deliver(message)
    }
    this.#parts.outbound.handOn(generation, position)
  }

  get generation (): number { return this.#parts.peers.generation }

  written (): Promise<void> { return this.#parts.journal.written() }

  /** Another node has claimed a Session. It is not given up before this node knows what that one wants: until then whatever comes for it is refused, and sent after it. */
  async evicted (notice: Notice): Promise<void> {
    this.#unused.delete(notice.session)
    if (this.#sessionOf(notice) === undefined) return
    const { peers, standstill } = this.#parts
    const { generation } = peers
    await peers.reached(notice.logPosition)
    await standstill.run(() => {
      const session = peers.generation === generation ? this.#sessionOf(notice) : undefined // else its position is one in another inbox
      if (session !== undefined) this.#giveUp(session)
    })
  }

  /** Sessions in a commit are other nodes', or have moved between those without this one knowing: resolves when it does. */
  async learn ({ fenced, moves }: CommitRefused): Promise<void> {
    await this.#parts.peers.caughtUp(moves)
    if (fenced.length === 0) return
    const lost = new Set(fenced)
    for (const session of [...this.#services.sessions].filter(({ number }) => lost.has(number))) {
      lost.delete(session.number)
      this.#giveUp(session)
    }
    for (const number of lost) this.#expel(number, this.#parts.outbound.clientOf(number)) // of one that has ended here
  }

  /** Nothing that this node had is its own any more. @returns messages that are not to be committed */
  loseAll (): readonly Message[] {
    const sessions = [...this.#services.sessions]
    for (const session of sessions) this.#letGo(session)
    this.#services.sessions.disown()
    this.#unused.clear()
    const revoked = this.#parts.journal.expelAll() // first, so that little is left to be looked through for each Session
    for (const session of sessions) this.#expelled(session)
    return revoked
  }

  /** The Session that a notice is about; undefined when it is not here, or has come back since. */
  #sessionOf ({ clientIdentifier, session: number, position }: Notice): Session | undefined {
    const session = this.#services.sessions.get(clientIdentifier)
    return session?.number === number && session.ownSince < position ? session : undefined
  }

  #giveUp (session: Session): void {
    this.#letGo(session)
    this.#expelled(session)
  }

  #letGo (session: Session): void {
    this.#services.sessions.abandon(session)
    this.#services.router.forget(session)
  }

  #expelled ({ number, clientIdentifier }: Session): void {
    if (number !== 0) this.#expel(number, clientIdentifier)
  }

  #expel (number: number, clientIdentifier: string | undefined): void {
    const { outbound, journal } = this.#parts
    this.#services.sessions.disown(number)
    outbound.expelled(number, journal.expel(number, clientIdentifier))
  }

  async #claim (clientIdentifier: string): Promise<number> {
    const own = this.#services.sessions.get(clientIdentifier)
    if (own?.isDurable === true && await this.#isStillOwn(own)) return own.number
    const number = await this.#claimPolitely(clientIdentifier)
    await this.#inOrder(this.#services.sessions.get(clientIdentifier))
    return number
  }

  /** A living node at which the Client is online is asked to let it go first, so that all that it was sent is found here. */
  async #claimPolitely (clientIdentifier: string): Promise<number> {
    const { standstill, handOver, peers } = this.#parts
    const { session, heldBy } = await standstill.run(() => this.#claimElsewhere(clientIdentifier, true))
    if (heldBy === undefined) return session
    await handOver.ask(heldBy, peers.generation, clientIdentifier)
    return (await standstill.run(() => this.#claimElsewhere(clientIdentifier, false))).session
  }

  /** Whether a stored Session is this node's own, and not only thought to be: a commit of it tells. */
  async #isStillOwn (session: Session): Promise<boolean> {
    const { sessions } = this.#services
    sessions.save(session)
    await this.#parts.journal.written()
    return sessions.get(session.clientIdentifier) === session
  }

  async #claimElsewhere (clientIdentifier: string, isPolite: boolean): Promise<Claim> {
    const { sessions } = this.#services
    const fresh = this.#parts.journal.newSession()
    const claim = await this.#parts.emitter.claim({ clientIdentifier, session: fresh, isPolite })
    if (claim.heldBy !== undefined) return claim
    if (claim.imported !== undefined) this.import(claim.imported)
    const here = sessions.get(clientIdentifier)
    if (here !== undefined && here.number !== claim.session) this.#giveUp(here) // another one than the cluster knows had been taken from this node
    if (claim.session === fresh && sessions.get(clientIdentifier) === undefined) this.#unused.add(fresh) // another number is, or was, that of a Session that ends
    return claim
  }

  /** What a Client has published at other nodes has to be handed on before what it publishes here. */
  async #inOrder (session: Session | undefined): Promise<void> {
    if (session === undefined) return
    await this.#parts.inbound.reached(session.ownSince)
    if (this.#services.sessions.get(session.clientIdentifier) !== session) throw takenAway()
  }

  /** What was on its way to the Session, in its order: by way of its former nodes, then what was published here and is not committed yet. */
  #handOver (session: Session, { remainder, since }: ImportedSession): void {
    const { inbound, outbound } = this.#parts
    session.ownSince = since
    for (const { bytes, skip } of remainder) {
      for (const { message, isForAll } of inbound.messages(bytes, skip)) deliverTo(session, message, isForAll)
    }
    for (const { message, isForAll } of outbound.messages) deliverTo(session, message, isForAll)
  }
}

function takenAway (): MqttError {
  return new MqttError(ErrorCode.sessionTakenOver, ReasonCode.serverBusy, 'the Client has come to another node meanwhile')
}
