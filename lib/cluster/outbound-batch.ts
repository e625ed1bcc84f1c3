import type { ClusterChanges, Send, SessionReference } from '../contract/cluster-changes.ts'
import { messagesInFrame, type CommitRefused } from '../contract/emitter.ts'
import type { Message } from '../contract/message.ts'
import { QoS } from '../packet/packets.ts'
import { recipientOf } from '../router/delivery-plan.ts'
import type { RemoteNode } from '../router/remote-node.ts'
import type { Session } from '../session/session.ts'
import type { ClusterBatch, Reopened } from '../store/journal-peer.ts'
import type { ClusterServices } from './cluster-services.ts'
import type { FrameCodec } from './frames.ts'
import type { Peers } from './peers.ts'

/** Over it a frame is cut in two. */
const frameBytes = 512 * 1024

/** A message that goes to other nodes: which, is decided when it is committed. */
export interface Addressed {
  readonly message: Message
  readonly bytes: Buffer
  /** To every node that wants the topic. */
  readonly isForAll: boolean
  /** To those nodes, for a member of each of those Shared Subscriptions. */
  readonly shares: ReadonlyMap<RemoteNode, readonly string[]> | undefined
  forAll (): void
  forShare (node: RemoteNode, topicFilter: string): void
  /** @returns Shared Subscriptions that the node has no member of any more: it does not get the message for them */
  withdraw (node: RemoteNode): readonly string[]
}

/** What has gathered by the time of a commit. */
export interface Gathered extends Pick<ClusterChanges, 'routes' | 'presence' | 'settled' | 'expired' | 'taken'> {
  readonly messages: Addressed[]
  readonly controls: Map<number, Buffer[]>
  readonly released: SessionReference[]
  readonly begun: SessionReference[]
  readonly recovered: number[]
  /** Topics whose retained message is part of the commit. */
  readonly retained: Set<string>
}

/** Who gets back what could not be told. */
export interface OutboundOwner {
  takeBack (batch: OutboundBatch): void
  /** What `run` sends is one of these messages. */
  collect (messages: Addressed[], run: () => void): void
}

/** What one commit tells the other nodes. */
export class OutboundBatch implements ClusterBatch {
  routes: ClusterChanges['routes']
  presence: ClusterChanges['presence']
  settled: number
  expired: ClusterChanges['expired']
  taken: ClusterChanges['taken']
  readonly retained: Gathered['retained']
  released: SessionReference[]
  begun: SessionReference[]
  recovered: number[]
  sends: Send[] = []
  moves: number | undefined = undefined
  /** Sessions that had come from other nodes by then: what the commit says of those that came later is of their former time here. */
  sealedAt: number
  readonly #expelled = new Map<number, string>()
  #messages: Addressed[]
  readonly #controls: Map<number, Buffer[]>
  readonly #services: ClusterServices
  readonly #peers: Peers
  readonly #frames: FrameCodec
  readonly #owner: OutboundOwner
  #clients: ReadonlySet<string> = new Set()
  #askedAt = 0
  #answer: Answer | undefined = undefined

  constructor (services: ClusterServices, peers: Peers, frames: FrameCodec, gathered: Gathered, owner: OutboundOwner) {
    this.#services = services
    this.#peers = peers
    this.#frames = frames
    this.#owner = owner
    this.#messages = gathered.messages
    this.#controls = gathered.controls
    this.routes = gathered.routes
    this.presence = gathered.presence
    this.settled = gathered.settled
    this.expired = gathered.expired
    this.taken = gathered.taken
    this.retained = gathered.retained
    this.released = gathered.released
    this.begun = gathered.begun
    this.recovered = gathered.recovered
    this.sealedAt = peers.imports
    peers.sealed = this
  }

  get messages (): readonly Addressed[] { return this.#messages }

  /** Sessions that were given up while the commit was asked for. */
  get expelled (): Iterable<number> { return this.#expelled.keys() }

  expel (session: number, clientIdentifier: string): void { this.#expelled.set(session, clientIdentifier) }

  get forAll (): ReadonlySet<Message> { return new Set(this.#messages.filter(({ isForAll }) => isForAll).map(({ message }) => message)) }

  dealtWith (askedAt: number): Promise<void> | undefined { return this.#askedAt < askedAt ? this.#answer?.promise : undefined }

  get hasChanges (): boolean {
    return this.settled > 0 || this.sends.length + this.routes.size + this.presence.size + this.expired.size + this.taken.length > 0 ||
      this.released.length + this.begun.length + this.recovered.length > 0
  }

  stored (): void {
    this.#close()
    if (this.sends.length > 0) this.#peers.watchBacklog(this.sends)
  }

  refused (): void {
    this.#close()
    this.#owner.takeBack(this)
  }

  async catchUp ({ fenced, moves }: CommitRefused): Promise<ReadonlySet<string>> {
    this.#answered()
    await this.#peers.caughtUp(moves) // what comes meanwhile for Sessions that are others' is refused, too
    const gone = new Set([...fenced, ...this.expelled])
    this.#clients = new Set([...this.#peers.evictAll([...gone], this.sealedAt), ...this.#expelled.values()])
    this.released = this.released.filter(({ session }) => !gone.has(session))
    this.begun = this.begun.filter(({ session }) => !gone.has(session))
    this.recovered = this.recovered.filter(session => !gone.has(session))
    return this.#clients
  }

  absorb (newer: OutboundBatch): void {
    this.#messages.push(...newer.#messages)
    for (const [generation, items] of newer.#controls) this.#controls.set(generation, [...this.#controls.get(generation) ?? [], ...items])
    this.routes = new Map([...this.routes, ...newer.routes])
    this.presence = new Map([...this.presence, ...newer.presence])
    this.expired = new Map([...this.expired, ...newer.expired])
    this.settled = Math.max(this.settled, newer.settled)
    this.taken = [...this.taken, ...newer.taken]
    for (const topicName of newer.retained) this.#peers.retainedAbsorbed(topicName, this.retained)
    this.released.push(...newer.released)
    this.begun.push(...newer.begun)
    this.recovered.push(...newer.recovered)
    this.sealedAt = this.#peers.imports
    this.#peers.sealed = this
  }

  readdress ({ orphans, revoked }: Reopened, order: readonly Message[]): void {
    this.#messages = this.#messages.filter(({ message }) => !revoked.includes(message))
    for (const { topicName } of revoked) if (this.retained.delete(topicName)) this.#peers.retainedLost(topicName)
    for (const { message, sharedFilter } of orphans) {
      if (sharedFilter === undefined) this.#adopt(message)
      else this.#share(message, sharedFilter)
    }
    sortMessages(this.#messages, order)
    this.address()
  }

  /** Says who gets what, as the routes are now. The commit is asked for at once. */
  address (): void {
    this.#askedAt = ++this.#peers.asked
    this.#answer = newAnswer()
    this.routes = this.#services.router.routes?.tellable(this.routes, this.#peers.isComing) ?? this.routes
    for (const addressed of [...this.#messages]) this.#chooseAnew(addressed)
    const frames = new Frames()
    for (const [generation, items] of this.#controls) for (const item of items) frames.add(generation, item)
    for (const addressed of this.#messages) this.#address(addressed, frames)
    this.sends = frames.sends
    this.moves = this.#messages.some(({ message }) => message.qos > QoS.atMostOnce) ? this.#peers.moves : undefined
  }

  #answered (): void {
    this.#answer?.resolve()
    this.#answer = undefined
  }

  #close (): void {
    this.#answered()
    if (this.#peers.sealed === this) this.#peers.sealed = undefined
  }

  /** A message that no other node wanted, until one has taken its Session over. */
  #adopt (message: Message): void {
    const known = this.#messages.find(addressed => addressed.message === message)
    if (known !== undefined) {
      known.forAll()
      return
    }
    const addressed = new OutgoingMessage(message, this.#frames.message(message))
    addressed.forAll()
    this.#messages.push(addressed)
  }

  /** A node that was to give it to a member of a Shared Subscription may have none any more. */
  #chooseAnew (addressed: Addressed): void {
    for (const node of [...addressed.shares?.keys() ?? []]) {
      for (const topicFilter of addressed.withdraw(node)) this.#share(addressed.message, topicFilter)
    }
  }

  /** To a member, wherever it is, as part of this commit. */
  #share (message: Message, topicFilter: string): void {
    this.#owner.collect(this.#messages, () => { this.#services.router.share(topicFilter)?.deliver(message) })
  }

  #address ({ message, bytes, isForAll, shares }: Addressed, frames: Frames): void {
    const nodes = isForAll ? this.#services.router.remotesOf(message.topic) : none
    for (const node of nodes) {
      if (node.isCongested && message.qos === QoS.atMostOnce) this.#services.dropped(undefined, message, 'slowConsumer')
      else if (shares?.has(node) !== true) frames.add(node.generation, bytes)
    }
    for (const [node, filters] of shares ?? []) frames.add(node.generation, this.#frames.sharedMessage(message, nodes.includes(node), filters))
  }
}

const none: readonly RemoteNode[] = []

interface Answer { readonly promise: Promise<void>, readonly resolve: () => void }

function newAnswer (): Answer {
  let resolve = (): void => undefined
  const promise = new Promise<void>(done => { resolve = done })
  return { promise, resolve }
}

/** Messages that no other node wanted at first come behind those that another one did: they have to go in the order in which they came. */
export function sortMessages (messages: Addressed[], order: readonly Message[]): void {
  const places = new Map(order.map((message, place) => [message, place]))
  messages.sort((a, b) => (places.get(a.message) ?? -1) - (places.get(b.message) ?? -1))
}

/** A message for everybody, to a Session that was not there when it was handed out. QoS 0 is not kept for anybody. */
export function deliverTo (session: Session, message: Message, isForAll: boolean): void {
  const recipient = isForAll && message.qos > QoS.atMostOnce ? recipientOf(session, message) : undefined
  if (recipient !== undefined) session.deliver(message, message.retain && recipient.retainAsPublished ? recipient.asRetained : recipient, undefined)
}

export class OutgoingMessage implements Addressed {
  readonly message: Message
  readonly bytes: Buffer
  isForAll = false
  shares: Map<RemoteNode, string[]> | undefined = undefined

  constructor (message: Message, bytes: Buffer) {
    this.message = message
    this.bytes = bytes
  }

  forAll (): void { this.isForAll = true }

  forShare (node: RemoteNode, topicFilter: string): void {
    this.shares ??= new Map()
    const filters = this.shares.get(node)
    if (filters === undefined) this.shares.set(node, [topicFilter])
    else filters.push(topicFilter)
  }

  withdraw (node: RemoteNode): string[] {
    const filters = this.shares?.get(node)?.filter(topicFilter => node.routes.has(topicFilter)) ?? []
    const gone = this.shares?.get(node)?.filter(topicFilter => !node.routes.has(topicFilter)) ?? []
    if (filters.length === 0) this.shares?.delete(node)
    else this.shares?.set(node, filters)
    return gone
  }
}

/** Items for each node, put together into frames that are not too large. */
class Frames {
  readonly #open = new Map<number, { items: Buffer[], bytes: number }>()
  readonly #full: Send[] = []

  add (generation: number, item: Buffer): void {
    const frame = this.#open.get(generation) ?? { items: [], bytes: 0 }
    if (frame.bytes > 0 && (frame.bytes + item.length > frameBytes || frame.items.length >= messagesInFrame - 1)) {
      this.#full.push({ generation, bytes: Buffer.concat(frame.items) })
      frame.items = []
      frame.bytes = 0
    }
    frame.items.push(item)
    frame.bytes += item.length
    this.#open.set(generation, frame)
  }

  get sends (): Send[] {
    return [...this.#full, ...[...this.#open].map(([generation, { items }]) => ({ generation, bytes: Buffer.concat(items) }))]
  }
}
