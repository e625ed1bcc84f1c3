import type { InboxEntry, LogEntry, NodeDescription, NodeStatus, PresenceEvent } from '../../../lib/contract/emitter.ts'
import { messagesInFrame } from '../../../lib/contract/emitter.ts'
import type { Clock } from '../../../lib/contract/clock.ts'
import type { Message } from '../../../lib/contract/message.ts'
import type { DeliveryRecord, SessionRecord } from '../../../lib/contract/store.ts'
import type { Subscription } from '../../../lib/contract/subscription.ts'

/** What an inbox had for a Session that left its owner with it. */
export interface Stretch {
  readonly generation: number
  /** Origin of the last message that the Session has. */
  readonly from: number
  /** Position of the last frame. */
  readonly to: number
}

export interface KeptSession {
  readonly number: number
  readonly clientIdentifier: string
  owner: number
  /** Undefined while it is not stored. */
  record: SessionRecord | undefined
  readonly subscriptions: Map<string, Subscription>
  /** By position; a Map keeps the order of insertion, which is that of positions. */
  readonly deliveries: Map<number, DeliveryRecord>
  readonly received: Set<number>
  /** The highest origin of its deliveries, in its owner's inbox. */
  highWater: number
  remainder: Stretch[]
}

export interface Listener {
  logged (entry: LogEntry): void
  received (entry: InboxEntry): void
}

/** A listener to who comes and goes. */
export type PresenceListener = (event: PresenceEvent) => void

export interface HubNode {
  readonly generation: number
  readonly description: NodeDescription
  readonly joinedAt: number
  heardAt: number
  status: NodeStatus
  state: 'alive' | 'dead' | 'left'
  readonly routes: Map<string, number>
  readonly owned: Set<number>
  readonly online: Set<string>
  adopter: { readonly generation: number, readonly until: number } | undefined
}

export interface HubInbox {
  /** Position of the last entry. */
  end: number
  settled: number
  entries: InboxEntry[]
  /** Origins of messages that were handed on. */
  readonly taken: Set<number>
  /** By Session: the position after which its remainder begins. */
  readonly holds: Map<number, number>
}

/** Everything that brokers share, in the heap, and the small steps that scripts consist of. */
export class HubState {
  readonly clock: Clock
  readonly leaseMs: number
  readonly sessions = new Map<number, KeptSession>()
  readonly byClient = new Map<string, number>()
  readonly retained = new Map<string, Message>()
  readonly nodes = new Map<number, HubNode>()
  readonly inboxes = new Map<number, HubInbox>()
  readonly listeners = new Map<number, Listener>()
  readonly presenceListeners = new Set<PresenceListener>()
  readonly log: LogEntry[] = []
  generation = 0
  moves = 0
  nextSession = 1
  aliveAt: number | undefined = undefined
  /** Every commit is answered with it, as when there is no room. */
  failure: Error | undefined = undefined

  constructor (clock: Clock, leaseMs: number) {
    this.clock = clock
    this.leaseMs = leaseMs
  }

  get logEnd (): number { return this.log.length }

  tell (entry: LogEntry): void {
    this.log.push(entry)
    for (const listener of this.listeners.values()) listener.logged(entry)
  }

  /** Who is online at another node already, or still, has only moved. */
  appear (generation: number, clientIdentifier: string, isOnline: boolean): void {
    const { online } = this.nodes.get(generation) ?? {}
    if (online === undefined || online.has(clientIdentifier) === isOnline) return
    const former = this.onlineAt(clientIdentifier)
    if (isOnline) online.add(clientIdentifier)
    else online.delete(clientIdentifier)
    if (isOnline && former !== undefined) former.online.delete(clientIdentifier)
    else for (const listener of this.presenceListeners) listener({ clientIdentifier, isOnline, generation })
  }

  onlineAt (clientIdentifier: string): HubNode | undefined {
    return [...this.nodes.values()].find(({ online }) => online.has(clientIdentifier))
  }

  /** Bytes of frames that a node has not settled. */
  backlogOf (generation: number): number {
    const { entries = [], settled = 0 } = this.inboxes.get(generation) ?? {}
    return entries.reduce((sum, entry) => entry.kind === 'frame' && entry.position > settled ? sum + entry.bytes.length : sum, 0)
  }

  /** The Session that a Client Identifier goes on with; one that has ended is not. */
  sessionOf (clientIdentifier: string): KeptSession | undefined {
    const kept = this.sessions.get(this.byClient.get(clientIdentifier) ?? -1)
    return kept?.record?.hasEnded === true ? undefined : kept
  }

  begin (generation: number, number: number, clientIdentifier: string, record?: SessionRecord): KeptSession {
    const highWater = originAfter(this.inboxes.get(generation)?.end ?? 0)
    const kept: KeptSession = {
      number, clientIdentifier, owner: generation, record, highWater, remainder: [], subscriptions: new Map(), deliveries: new Map(), received: new Set(),
    }
    this.sessions.set(number, kept)
    this.byClient.set(clientIdentifier, number)
    this.nodes.get(generation)?.owned.add(number)
    return kept
  }

  remove (kept: KeptSession): void {
    this.sessions.delete(kept.number)
    this.free(kept)
    this.nodes.get(kept.owner)?.owned.delete(kept.number)
    this.letGo(kept)
  }

  /** Its Client Identifier is nobody's, unless another Session has it already. */
  free ({ clientIdentifier, number }: KeptSession): void {
    if (this.byClient.get(clientIdentifier) === number) this.byClient.delete(clientIdentifier)
  }

  /** What its former owners had for a Session is in its queue, or not wanted. */
  letGo (kept: KeptSession): void {
    for (const { generation } of kept.remainder) {
      this.inboxes.get(generation)?.holds.delete(kept.number)
      this.trim(generation)
    }
    kept.remainder = []
  }

  send (generation: number, entry: (position: number) => InboxEntry): void {
    const inbox = this.inboxes.get(generation)
    if (inbox === undefined || !this.nodes.has(generation)) return
    const sent = entry(++inbox.end)
    inbox.entries.push(sent)
    this.listeners.get(generation)?.received(sent)
  }

  settle (generation: number, position: number): void {
    const inbox = this.inboxes.get(generation)
    if (inbox !== undefined) inbox.settled = Math.max(inbox.settled, position)
    this.trim(generation)
  }

  /** Removes what nobody needs of an inbox: all of it, when its node is gone, too. */
  trim (generation: number): void {
    const inbox = this.inboxes.get(generation)
    if (inbox === undefined) return
    const end = Math.min(this.nodes.has(generation) ? inbox.settled : Infinity, ...inbox.holds.values())
    inbox.entries = inbox.entries.filter(({ position }) => position > end)
    if (inbox.holds.size === 0 && !this.nodes.has(generation)) this.inboxes.delete(generation)
  }

  isAlive ({ state, heardAt }: HubNode): boolean {
    return state === 'alive' && this.clock.now() - heardAt <= this.leaseMs
  }

  /** Names of all that is kept but for the log and counters. */
  get left (): string[] {
    return [
      ...[...this.sessions.values()].map(({ number, clientIdentifier }) => `session ${number} of ${clientIdentifier}`),
      ...[...this.byClient].map(([name, number]) => `client ${name}: ${number}`),
      ...[...this.nodes.values()].map(({ generation, state }) => `node ${generation}, ${state}`),
      ...[...this.retained.keys()].map(topicName => `retained ${topicName}`),
      ...[...this.inboxes].map(([generation, { entries, holds }]) => `inbox ${generation}: ${entries.length} entries, ${holds.size} holds`),
    ]
  }
}

/** Origins of all messages up to a frame are not above it. */
export function originAfter (position: number): number {
  return position * messagesInFrame + messagesInFrame - 1
}
