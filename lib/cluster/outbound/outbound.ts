import type { SessionReference } from '../../contract/cluster-changes.ts'
import type { CommitRefused } from '../../contract/emitter.ts'
import type { Message } from '../../contract/message.ts'
import { QoS } from '../../packet/packets.ts'
import type { Outgoing, RemoteNode } from '../../router/remote-node.ts'
import type { Journal } from '../../store/journal.ts'
import type { ClusterBatch, Expelled, JournalPeer } from '../../store/journal-peer.ts'
import type { ClusterServices } from '../node/cluster-services.ts'
import { FrameCodec } from '../inbox/frames.ts'
import { Gathering } from './gathered.ts'
import { OutboundBatch, type BatchOwner, type Told } from './outbound-batch.ts'
import { inOrder, OutgoingMessage } from './outgoing-message.ts'
import type { Peers } from '../log/peers.ts'
import { Sends } from './sends.ts'

/** Bytes of QoS 0 messages that may wait for the next commit; over it they are dropped, since nobody was promised that they arrive. */
const maximumVolatileBytes = 16 * 1024 * 1024
/** Inbox entries that may be settled before that is a reason for a commit of its own. */
const settledAtOnce = 256

/** What gathers for the other nodes until the next commit. */
export class Outbound implements Outgoing, JournalPeer, BatchOwner {
  /** Whether the other nodes can be reached: while they cannot, QoS 0 does not wait for them. */
  isReachable = true
  readonly #services: ClusterServices
  readonly #journal: Journal
  readonly #peers: Peers
  readonly #onRefused: (refusal: CommitRefused) => Promise<void>
  readonly #frames = new FrameCodec()
  #gathering = new Gathering()
  /** Messages stand where they were added, and not where they belong. */
  #isUnordered = false
  #volatileBytes = 0
  #settled = 0
  #toldSettled = 0

  /** @param onRefused resolves when this node knows why a commit was refused, and has given up what is others' */
  constructor (services: ClusterServices, journal: Journal, peers: Peers, onRefused: (refusal: CommitRefused) => Promise<void>) {
    this.#services = services
    this.#journal = journal
    this.#peers = peers
    this.#onRefused = onRefused
  }

  /** Messages that are not part of a commit yet, in their order. */
  get messages (): readonly OutgoingMessage[] {
    this.#order()
    return this.#gathering.messages
  }

  #order (): void {
    if (this.#isUnordered) this.#gathering.messages = inOrder(this.#gathering.messages, this.#journal.gathered())
    this.#isUnordered = false
  }

  get hasWork (): boolean {
    return !this.#gathering.isEmpty || this.#services.router.routes?.hasChanges === true || this.#settled - this.#toldSettled >= settledAtOnce
  }

  send (message: Message): void {
    const outgoing = this.#outgoing(message)
    if (outgoing !== undefined) outgoing.isForAll = true
  }

  sendShared (message: Message, node: RemoteNode, topicFilter: string): void { this.#outgoing(message)?.forShare(node, topicFilter) }

  retained (topicName: string, before: Message | undefined): void { this.#peers.retained.set(topicName, before) }

  /** Every node finds out, and each tells: who is to do it alone may be dead. */
  retainedExpired (topicName: string, expiresAt: number): void {
    this.#gathering.expired.set(topicName, expiresAt)
    this.#journal.plan()
  }

  release (session: SessionReference): void {
    this.#gathering.released.push(session)
    this.#journal.plan()
  }

  begin (session: SessionReference): void {
    this.#gathering.begun.push(session)
    this.#journal.plan()
  }

  presence (clientIdentifier: string, isOnline: boolean): void {
    this.#gathering.presence.set(clientIdentifier, isOnline)
    this.#journal.plan()
  }

  /** A Client that has just gone is at another node by now, or will be in a moment. */
  staysOnline (clientIdentifier: string): void { this.#gathering.presence.delete(clientIdentifier) }

  /** A Session that came from another node has all that was on its way to it. */
  recovered (session: number): void {
    this.#gathering.recovered.push(session)
    this.#journal.plan()
  }

  /** Something for the node itself. */
  control (generation: number, item: Buffer): void {
    this.#gathering.control(generation, item)
    this.#journal.plan()
  }

  /** This node knows what that one wants, as far as the log told up to the position. */
  confirm (generation: number, position: number): void {
    this.#gathering.confirmed.set(generation, position)
    this.#journal.plan()
  }

  /** The way on of a message in the inbox is part of the next commit. */
  take (origin: number): void {
    this.#gathering.taken.push(origin)
    this.#journal.plan()
  }

  /** What the inbox of a node that is gone has up to that position is handed on by the next commit. */
  handOn (generation: number, position: number): void {
    this.#gathering.handedOn.set(generation, position)
    this.#journal.plan()
  }

  /** All entries of the inbox up to that position are done with. */
  settle (position: number): void {
    this.#settled = position
    if (position - this.#toldSettled >= settledAtOnce) this.#journal.plan()
  }

  /** Tells what is settled, if it has not been told. */
  flush (): void { if (this.#settled > this.#toldSettled) this.#journal.plan() }

  /** A Session is another node's now: messages that were for it here go there, and what its Client published and was not told of comes again, there. */
  expelled (session: number, { orphans, revoked, returned }: Expelled): void {
    const gathering = this.#gathering
    gathering.forget(session)
    if (revoked.length > 0) gathering.messages = gathering.messages.filter(({ message }) => !revoked.includes(message))
    this.revoked(revoked)
    for (const { message, sharedFilter = '' } of returned) {
      for (const outgoing of gathering.messages) if (outgoing.message === message) outgoing.notForShare(sharedFilter)
    }
    for (const { message, sharedFilter } of orphans) {
      if (sharedFilter === undefined) this.send(message)
      else this.#services.router.share(sharedFilter)?.deliver(message)
    }
    this.#isUnordered ||= orphans.length > 0
  }

  /** Messages were left out of the next commit: what is retained does without them. */
  revoked (messages: readonly Message[]): void {
    for (const { retain, topicName } of messages) if (retain) this.#peers.unretain(topicName, this.#journal.retainedNext(topicName))
  }

  /** A node that was to give a message to a member of a Shared Subscription may have none any more: then another one gets it, here or elsewhere. */
  prepare (): void {
    for (const outgoing of [...this.#gathering.messages]) {
      if (outgoing.shares.size > 0) for (const topicFilter of outgoing.withdraw()) this.#shareAnew(outgoing.message, topicFilter)
    }
    this.#order()
  }

  #shareAnew (message: Message, topicFilter: string): void {
    this.#isUnordered = true
    this.#services.router.share(topicFilter)?.deliver(message)
  }

  /** The Client whose Session has ended here; undefined when that was told already. */
  clientOf (released: number): string | undefined {
    return this.#gathering.released.find(({ session }) => session === released)?.clientIdentifier
  }

  seal (messages: readonly { readonly message: Message }[]): ClusterBatch {
    const gathering = this.#gathering
    this.#gathering = new Gathering()
    this.#volatileBytes = 0
    return new OutboundBatch(gathering, this.#told(gathering, messages), this)
  }

  #told (gathering: Gathering, messages: readonly { readonly message: Message }[]): Told {
    const settled = this.#settled > this.#toldSettled ? this.#settled : 0
    this.#toldSettled = this.#settled
    return {
      routes: this.#services.router.routes?.take() ?? new Map<string, number>(), retained: this.#peers.retained.take(), settled, moves: this.#peers.moves,
      sends: new Sends(this.#services, gathering, this.#peers.generation).all, publishers: this.#publishersOf(messages, gathering),
    }
  }

  /** A Session that ends with this commit is its Client's until then. One without a number is known to no other node. */
  #publishersOf (messages: readonly { readonly message: Message }[], { released }: Gathering): number[] {
    const clients = new Set<string>()
    for (const { message } of messages) if (message.publisher !== undefined && message.isSentAgainBy(message.publisher)) clients.add(message.publisher)
    const ended = new Map(released.map(({ clientIdentifier, session }) => [clientIdentifier, session]))
    return [...clients].map(client => this.#services.sessions.get(client)?.number ?? ended.get(client) ?? 0).filter(number => number > 0)
  }

  stored ({ sends }: OutboundBatch): void { this.#peers.watchBacklog(sends) }

  takeBack ({ gathering, told: { routes, retained, settled } }: OutboundBatch): void {
    this.#services.router.routes?.takeBack(routes)
    this.#peers.retained.takeBack(retained)
    if (settled > 0) this.#toldSettled = 0
    gathering.add(this.#gathering)
    this.#gathering = gathering
  }

  learn (refusal: CommitRefused): Promise<void> { return this.#onRefused(refusal) }

  /** This node begins anew, without Sessions. What its host has published is still to be told. */
  reset (): void {
    const { messages } = this.#gathering
    this.#gathering = new Gathering()
    this.#gathering.messages = messages.filter(({ message }) => message.isHosts)
    this.#settled = this.#toldSettled = 0
  }

  /** A message comes here several times in a row when several Shared Subscriptions send it elsewhere. */
  #outgoing (message: Message): OutgoingMessage | undefined {
    const last = this.#gathering.messages.at(-1)
    if (last?.message === message) return last
    if (message.qos === QoS.atMostOnce && !this.#admits(message)) return undefined
    const outgoing = new OutgoingMessage(message, this.#frames.message(message))
    this.#gathering.messages.push(outgoing)
    if (message.qos > QoS.atMostOnce) this.#journal.send(message)
    else this.#journal.plan()
    return outgoing
  }

  #admits (message: Message): boolean {
    this.#volatileBytes += message.size
    if (this.isReachable && this.#volatileBytes < maximumVolatileBytes) return true
    this.#volatileBytes -= message.size
    this.#services.dropped(undefined, message, 'unreachable')
    return false
  }
}
