import { MqttError, ErrorCode } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Message } from './message.ts'
import type { Store, StoredSession } from './store.ts'

/**
 * How brokers that share a store become one. Each of them is a node; a node that starts again is another one, with a generation of its own.
 *
 * Three things connect the nodes. The **log** tells all of them the same in the same order: who is there, which Topic Filters each wants, what is
 * retained. Each node has an **inbox**, into which the others put messages, and which keeps them until they are settled. Each
 * Session has an **owner**: the one node that may write it. A claim makes a Session a node's own; it is one atomic step, after which
 * whatever the former owner commits for that Session is refused.
 *
 * What a node tells the others is part of what it commits (`ClusterChanges`), so that a message is in the inboxes of other
 * nodes, in the queues of its own Sessions and known as received by one atomic step. All that a node asks for (commits and claims) takes effect, and is
 * answered, in the order in which it was asked.
 */
export interface Emitter {
  /** Told in errors and logs. */
  readonly name: string
  /** The store that it is one with. */
  readonly store: Store
  /** Milliseconds after which a node that has not been heard of is taken for dead. */
  readonly leaseMs: number
  /**
   * Makes this process a node. Called once the store is open, and again after `fenced`. By the time it resolves `events` was told of all other nodes and what they want.
   * @throws MqttError when the others do not understand this version, or have settings that do not go together with these
   */
  join (events: EmitterEvents, description: NodeDescription): Promise<Membership>
  /**
   * Makes a Session this node's own, or a Client Identifier that has none: the node that has it is told to give it up. No commit is under way meanwhile; other claims may be.
   */
  claim (request: ClaimRequest): Promise<Claim>
  /** Says that this node lives, and asks who does not. To be called a few times in each lease. */
  beat (status: NodeStatus): Promise<Pulse>
  /**
   * Makes the Sessions of a node that is dead, or has left, this node's own, page by page; each page is owned when it is yielded. There is at least one
   * page, which may be empty; none at all when another node is at it. The dead node is fenced before the first page. While a page is asked for, no commit is under way.
   */
  adopt (generation: number): AsyncIterable<readonly ImportedSession[]>
  /** What a dead node's inbox still holds: all that it had not settled. */
  inboxOf (generation: number): AsyncIterable<InboxFrame>
  /** Removes all that is left of a node whose Sessions were adopted. */
  bury (generation: number): Promise<void>
  /** Position of the last log entry when the last commit or claim was answered. */
  readonly logEnd: number
  /** The nodes as they last said they are, this one too. */
  nodes (): Promise<readonly NodeState[]>
  /** Client Identifiers that are online at a node, in no order. */
  online (generation: number): AsyncIterable<string>
  /**
   * Who comes online and goes offline anywhere, from now on, until the signal is aborted: each time once, in the order in which it happened. A Client that moves to another node stays online. Clients of a node
   * that dies go offline when it is buried. Someone who is slow to listen may miss some.
   */
  presence (signal: AbortSignal): AsyncIterable<PresenceEvent>
  /** Bytes of frames in a node's inbox that it had not settled when this one committed something for it last. */
  backlogOf (generation: number): number
  /** The node that has a Client Identifier; undefined for none. */
  ownerOf (clientIdentifier: string): Promise<number | undefined>
  /** The node at which a Client is online; undefined for none. */
  placeOf (clientIdentifier: string): Promise<number | undefined>
  /** Stops being a node; what it owns is for the others to adopt, at once. Nothing was asked for since the last commit. */
  leave (): Promise<void>
}

/** What an emitter tells its broker. Entries of the log come in order, entries of the inbox come in order. */
export interface EmitterEvents {
  logged (entry: LogEntry): void
  received (entry: InboxEntry): void
  /** Others took this node for dead: nothing that it owned is its own any more. */
  fenced (): void
  /** Whether others can be reached; told when it changes. */
  reachable (isReachable: boolean, error: Error | undefined): void
}

/** What a node says of itself when it joins. */
export interface NodeDescription {
  /** Of the host's choice, for people: in logs, errors and `cluster.nodes()`. */
  readonly name: string
  /** Of Myelin. */
  readonly version: string
}

/** What a node says of itself now and then. */
export interface NodeStatus {
  readonly clientsConnected: number
  readonly sessions: number
  readonly subscriptions: number
}

export interface NodeState extends NodeDescription, NodeStatus {
  readonly generation: number
  /** Milliseconds since the epoch, by the clock that all nodes share. */
  readonly joinedAt: number
  readonly heardAt: number
  readonly isAlive: boolean
}

/** A Client has come online, or gone offline. */
export interface PresenceEvent {
  readonly clientIdentifier: string
  readonly isOnline: boolean
  /** The node that it is, or was, connected to. */
  readonly generation: number
}

export interface Membership {
  /** Counts up with each node that joins. */
  readonly generation: number
  /** Numbers of Sessions from here on are this node's to give. */
  readonly nextSession: number
  /** Moves that were told of. */
  readonly moves: number
}

export type LogEntry = { readonly position: number, readonly generation: number } & (
  | { readonly kind: 'joined', readonly description: NodeDescription }
  | { readonly kind: 'left' }
  /**
   * What a node wants now: by Topic Filter a number that says nothing, by `$share/{ShareName}/{filter}` the number of connected members, or undefined when it wants
   * no more. `moves` counts the claims that took Sessions with subscriptions from one node to another, this entry's included.
   */
  | { readonly kind: 'routes', readonly routes: ReadonlyMap<string, number | undefined>, readonly moves: number }
  /** By this node or another, or, where entries of the log were missed, by whoever it was: generation 0. Undefined when it was removed. */
  | { readonly kind: 'retained', readonly topicName: string, readonly message: Message | undefined }
  /**
   * Where entries of the log were missed: all that is retained is told anew, between a beginning and an end, as generation 0. What is not told of in between,
   * or since, is retained no more.
   */
  | { readonly kind: 'retainedAnew', readonly isComplete: boolean }
)

/** What another node has sent. */
export interface InboxFrame {
  readonly kind: 'frame'
  /** Counts up in each inbox. */
  readonly position: number
  readonly bytes: Buffer
  /** In the inbox of a dead node: places of messages in the frame which that node had taken, see `ClusterChanges`. Else absent. */
  readonly taken?: ReadonlySet<number>
}

export type InboxEntry = InboxFrame | {
  /** Another node has claimed it. */
  readonly kind: 'evicted'
  readonly position: number
  readonly clientIdentifier: string
  readonly session: number
  /** What the other node wants for it is told in the log up to there. */
  readonly logPosition: number
}

export interface ClaimRequest {
  readonly clientIdentifier: string
  /** The number of the Session that begins when there is none. */
  readonly session: number
  /**
   * Whether a stored Session whose Client is online at a living node is left there, and only told of: that node may have something to write of it first. Default
   * false.
   */
  readonly isPolite?: boolean
}

export interface Claim {
  /** The number of the Session, old or new. */
  readonly session: number
  /** A Session that another node had; undefined when there was none that is stored, or it was this node's own. */
  readonly imported: ImportedSession | undefined
  /** The living node at which the Client is online, after a polite claim of which nothing came. */
  readonly heldBy?: number
}

/** A Session that comes from another node. */
export interface ImportedSession extends StoredSession {
  /** Messages that its former owners had been sent and had not settled, oldest first: some may be for this Session. */
  readonly remainder: readonly Remainder[]
  /** Position of the last entry in this node's own inbox when the Session became its own: later ones are for the Session, too. */
  readonly since: number
  /** Milliseconds since the epoch: when the former owner was last heard of, if it is dead; undefined if it may live. */
  readonly heardAt: number | undefined
}

export interface Remainder {
  readonly bytes: Buffer
  /** Messages at the beginning of the frame that the Session has already. */
  readonly skip: number
}

/** Who is to be adopted. */
export interface Pulse {
  /** Nodes that have not been heard of for a lease. */
  readonly dead: readonly number[]
  /** Nodes that have left, with Sessions that nobody has adopted yet. */
  readonly left: readonly number[]
}

/** How many messages a frame may have, at most: a message's origin is its frame's position times this, plus its place. */
export const messagesInFrame = 65_536

/** Why a commit, of which nothing was written then, has to be put together anew. */
export class CommitRefused extends MqttError {
  /** Sessions in it that another node owns now. */
  readonly fenced: readonly number[]
  /** The moves that have to be known. */
  readonly moves: number

  constructor (fenced: readonly number[], moves: number) {
    super(ErrorCode.sessionTakenOver, ReasonCode.sessionTakenOver, 'another node has taken Sessions over')
    this.fenced = fenced
    this.moves = moves
  }
}
