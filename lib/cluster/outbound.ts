import type { SessionReference } from '../contract/cluster-changes.ts'
import type { Message } from '../contract/message.ts'
import { QoS } from '../packet/packets.ts'
import type { Outgoing, RemoteNode } from '../router/remote-node.ts'
import type { Journal } from '../store/journal.ts'
import type { JournalPeer, Reopened } from '../store/journal-peer.ts'
import type { ClusterServices } from './cluster-services.ts'
import { FrameCodec } from './frames.ts'
import { OutboundBatch, OutgoingMessage, sortMessages, type Addressed } from './outbound-batch.ts'
import type { Peers } from './peers.ts'

/** Bytes of QoS 0 messages that may wait for the next commit; over it they are dropped, since nobody was promised that they arrive. */
const maximumVolatileBytes = 16 * 1024 * 1024
/** Inbox entries that may be settled before that is a reason for a commit of its own. */
const settledAtOnce = 256

/** What gathers for the other nodes until the next commit. */
export class Outbound implements Outgoing, JournalPeer {
  readonly #services: ClusterServices
  readonly #journal: Journal
  readonly #peers: Peers
  readonly #frames = new FrameCodec()
  #messages: Addressed[] = []
  #volatileBytes = 0
  #released: SessionReference[] = []
  #begun: SessionReference[] = []
  #presence = new Map<string, boolean>()
  #recovered: number[] = []
  #retained = new Set<string>()
  #expired = new Map<string, number>()
  #taken: number[] = []
  #controls = new Map<number, Buffer[]>()
  #settled = 0
  #toldSettled = 0
  #isReachable = true

  constructor (services: ClusterServices, journal: Journal, peers: Peers) {
    this.#services = services
    this.#journal = journal
    this.#peers = peers
  }

  /** Messages that are not part of a commit yet. */
  get messages (): readonly Addressed[] { return this.#messages }

  set isReachable (isReachable: boolean) { this.#isReachable = isReachable }

  get hasWork (): boolean {
    return this.#messages.length + this.#released.length + this.#begun.length + this.#presence.size + this.#recovered.length + this.#controls.size + this.#expired.size + this.#taken.length > 0 ||
      (this.#services.router.routes?.hasChanges === true) || this.#settled - this.#toldSettled >= settledAtOnce
  }

  send (message: Message): void { this.#add(message)?.forAll() }

  sendShared (message: Message, node: RemoteNode, topicFilter: string): void { this.#add(message)?.forShare(node, topicFilter) }

  retained (topicName: string): void {
    this.#retained.add(topicName)
    this.#peers.retaining(topicName)
  }

  /** Every node finds out, and each tells: who is to do it alone may be dead. */
  retainedExpired (topicName: string, expiresAt: number): void {
    this.#expired.set(topicName, expiresAt)
    this.#journal.plan()
  }

  /** A Client is another node's now: messages that were for it here go there, and what it published and was not told of comes again, there. */
  readdress ({ orphans, revoked }: Reopened): void {
    this.#messages = this.#messages.filter(({ message }) => !revoked.includes(message))
    for (const { topicName } of revoked) if (this.#retained.delete(topicName)) this.#peers.retainedDropped(topicName)
    for (const { message, sharedFilter } of orphans) {
      if (sharedFilter === undefined) this.#sendToAll(message)
      else this.#services.router.share(sharedFilter)?.deliver(message)
    }
    if (orphans.length > 0) sortMessages(this.#messages, this.#journal.gathered)
  }

  /** One that is being asked for comes to whoever has the Session: it is put together anew then. */
  #sendToAll (message: Message): void {
    const known = [...this.#peers.sealed?.messages ?? [], ...this.#messages].find(addressed => addressed.message === message)
    if (known === undefined) this.send(message)
    else known.forAll()
  }

  release (session: SessionReference): void {
    this.#released.push(session)
    this.#journal.plan()
  }

  begin (session: SessionReference): void {
    this.#begun.push(session)
    this.#journal.plan()
  }

  presence (clientIdentifier: string, isOnline: boolean): void {
    this.#presence.set(clientIdentifier, isOnline)
    this.#journal.plan()
  }

  /** A Session that came from another node has all that was on its way to it. */
  recovered (session: number): void {
    this.#recovered.push(session)
    this.#journal.plan()
  }

  /** Something for the node itself. */
  control (generation: number, item: Buffer): void {
    const items = this.#controls.get(generation)
    if (items === undefined) this.#controls.set(generation, [item])
    else items.push(item)
    this.#journal.plan()
  }

  /** The way on of a message in the inbox is part of the next commit. */
  take (origin: number): void {
    this.#taken.push(origin)
    this.#journal.plan()
  }

  /** All entries of the inbox up to that position are done with. */
  settle (position: number): void {
    this.#settled = position
    if (position - this.#toldSettled >= settledAtOnce) this.#journal.plan()
  }

  /** Tells what is settled, if it has not been told. */
  flush (): void { if (this.#settled > this.#toldSettled) this.#journal.plan() }

  seal (): OutboundBatch {
    const batch = new OutboundBatch(this.#services, this.#peers, this.#frames, {
      messages: this.#messages, routes: this.#services.router.routes?.take() ?? new Map<string, number>(), controls: this.#controls,
      released: this.#released, begun: this.#begun, presence: this.#presence, recovered: this.#recovered, expired: this.#expired, taken: this.#taken,
      settled: this.#settled > this.#toldSettled ? this.#settled : 0, retained: this.#retained,
    }, this)
    this.#toldSettled = this.#settled
    this.#peers.retainedSealed(this.#retained)
    this.#forget()
    batch.address()
    return batch
  }

  /** A batch could not be written: what still holds of it is told with the next one. */
  takeBack ({ routes, released, begun, presence, recovered, settled, retained, expired, taken }: OutboundBatch): void {
    this.#services.router.routes?.takeBack(routes)
    this.#released = [...released, ...this.#released]
    this.#begun = [...begun, ...this.#begun]
    this.#presence = new Map([...presence, ...this.#presence])
    this.#expired = new Map([...expired, ...this.#expired])
    this.#taken = [...taken, ...this.#taken]
    this.#recovered = [...recovered, ...this.#recovered]
    if (settled > 0) this.#toldSettled = 0
    this.#retained = new Set([...retained, ...this.#retained])
    this.#peers.retainedTakenBack(retained)
  }

  collect (messages: Addressed[], run: () => void): void {
    const own = this.#messages
    this.#messages = messages
    try {
      run()
    } finally {
      this.#messages = own
    }
  }

  /** This node begins anew. */
  reset (): void {
    const retained = this.#retained // they are still in the journal
    this.#forget()
    this.#retained = retained
    this.#settled = this.#toldSettled = 0
  }

  #forget (): void {
    this.#messages = []
    this.#volatileBytes = 0
    this.#released = []
    this.#begun = []
    this.#presence = new Map()
    this.#recovered = []
    this.#retained = new Set()
    this.#expired = new Map()
    this.#taken = []
    this.#controls = new Map()
  }

  /** A message comes here several times in a row when several Shared Subscriptions send it elsewhere. */
  #add (message: Message): Addressed | undefined {
    const last = this.#messages.at(-1)
    if (last?.message === message) return last
    if (message.qos === QoS.atMostOnce && !this.#admits(message)) return undefined
    const addressed = new OutgoingMessage(message, this.#frames.message(message))
    this.#messages.push(addressed)
    if (message.qos > QoS.atMostOnce) this.#journal.send(message)
    else this.#journal.plan()
    return addressed
  }

  #admits (message: Message): boolean {
    this.#volatileBytes += message.size
    if (this.#isReachable && this.#volatileBytes < maximumVolatileBytes) return true
    this.#volatileBytes -= message.size
    this.#services.dropped(undefined, message, 'unreachable')
    return false
  }
}
