import { messagesInFrame } from '../../../lib/contract/emitter.ts'
import { ErrorCode, MqttError } from '../../../lib/base/errors.ts'
import { ReasonCode } from '../../../lib/base/reason-codes.ts'
import type { ImportedSession, InboxFrame, LogEntry, Membership, NodeDescription, NodeState, NodeStatus, Pulse } from '../../../lib/contract/emitter.ts'
import { importSession } from './memory-hub-claim.ts'
import type { HubNode, HubState, Listener } from './memory-hub-state.ts'

/** How long an adopter has the Sessions of a dead node for itself, from each page on. */
const adoptionMs = 30_000

/** Others took the node that asked for dead. */
export class Fenced extends MqttError {
  constructor (generation: number) {
    super(ErrorCode.storeFailed, ReasonCode.implementationSpecificError, `node ${generation} was taken for dead`)
  }
}

/** @throws Fenced when it is none any more */
export function expectNode (state: HubState, generation: number): HubNode {
  const node = state.nodes.get(generation)
  if (node?.state !== 'alive') throw new Fenced(generation)
  return node
}

export interface Joined {
  readonly membership: Membership
  readonly snapshot: readonly LogEntry[]
}

/** @param logEnd up to where the node knows of retained messages */
export function join (state: HubState, listener: Listener, description: NodeDescription, logEnd: number): Joined {
  const generation = ++state.generation
  const now = state.clock.now()
  const snapshot = snapshotOf(state, logEnd)
  state.nodes.set(generation, {
    generation, description, joinedAt: now, heardAt: now, status: { clientsConnected: 0, sessions: 0, subscriptions: 0 }, state: 'alive',
    routes: new Map(), owned: new Set(), online: new Set(), adopter: undefined,
  })
  state.inboxes.set(generation, { end: 0, settled: 0, entries: [], holds: new Map(), taken: new Set() })
  state.tell({ kind: 'joined', position: state.logEnd + 1, generation, description })
  state.listeners.set(generation, listener)
  return { membership: { generation, nextSession: generation * 2 ** 32, moves: state.moves }, snapshot }
}

function snapshotOf (state: HubState, logEnd: number): LogEntry[] {
  const position = state.logEnd
  const nodes = [...state.nodes.values()].flatMap(node => wantsOf(node, position, state.moves))
  return [...nodes, ...state.log.slice(logEnd).filter(({ kind }) => kind === 'retained')]
}

/** What a node is told that has missed entries of the log. */
export function resync (state: HubState, generation: number): LogEntry[] {
  const position = state.logEnd
  const nodes = Array.from({ length: state.generation }, (_, i): LogEntry => ({ kind: 'left', position, generation: i + 1 })).filter(entry => entry.generation !== generation)
  const others = [...state.nodes.values()].filter(node => node.generation !== generation).flatMap(node => wantsOf(node, position, state.moves))
  const retained = [...state.retained].map(([topicName, message]): LogEntry => ({ kind: 'retained', position, generation: 0, topicName, message }))
  const [begin, end] = [false, true].map((isComplete): LogEntry => ({ kind: 'retainedAnew', position, generation: 0, isComplete })) as [LogEntry, LogEntry]
  return [...nodes, ...others, begin, ...retained, end]
}

function wantsOf ({ generation, description, routes }: HubNode, position: number, moves: number): LogEntry[] {
  return [{ kind: 'joined', position, generation, description }, { kind: 'routes', position, generation, routes: new Map(routes), moves }]
}

export function beat (state: HubState, generation: number, status: NodeStatus): Pulse {
  const node = expectNode(state, generation)
  node.heardAt = state.clock.now()
  node.status = status
  const others = [...state.nodes.values()].filter(other => other !== node)
  return {
    dead: others.filter(other => other.state !== 'left' && !state.isAlive(other)).map(other => other.generation),
    left: others.filter(other => other.state === 'left').map(other => other.generation),
  }
}

export function nodesOf (state: HubState): NodeState[] {
  return [...state.nodes.values()].map(node => {
    const { generation, description, status, joinedAt, heardAt } = node
    return { ...description, ...status, generation, joinedAt, heardAt, isAlive: state.isAlive(node) }
  })
}

/** The node, if it is not alive and this one may clear it away. */
function remainsOf (state: HubState, generation: number, dead: number): HubNode | undefined {
  const node = state.nodes.get(dead)
  if (node === undefined || dead === generation || state.isAlive(node)) return undefined
  const { adopter } = node
  return adopter === undefined || adopter.generation === generation || adopter.until <= state.clock.now() ? node : undefined
}

export interface AdoptedPage {
  readonly sessions: readonly ImportedSession[]
  readonly isLast: boolean
}

/** Undefined when the node is not to be adopted, or another node is at it. */
export function adoptPage (state: HubState, generation: number, dead: number, limit: number): AdoptedPage | undefined {
  expectNode(state, generation)
  const node = remainsOf(state, generation, dead)
  if (node === undefined) return undefined
  if (node.state === 'alive') node.state = 'dead'
  node.adopter = { generation, until: state.clock.now() + adoptionMs }
  const sessions = [...node.owned].slice(0, limit).flatMap(number => adoptSession(state, generation, number))
  const isLast = node.owned.size === 0
  if (isLast) wantNothing(state, node)
  return { sessions, isLast }
}

/** Nobody sends it anything any more: whoever has decided to, and does not know of this, is refused, and decides anew. */
function wantNothing (state: HubState, { generation, routes }: HubNode): void {
  const told = new Map([...routes.keys()].map(topicFilter => [topicFilter, undefined]))
  routes.clear()
  state.moves++
  state.tell({ kind: 'routes', position: state.logEnd + 1, generation, routes: told, moves: state.moves })
}

/** A Session that is not stored has died with its node. */
function adoptSession (state: HubState, generation: number, number: number): ImportedSession[] {
  const kept = state.sessions.get(number)
  if (kept === undefined) return []
  if (kept.record !== undefined) return [importSession(state, generation, kept)]
  state.remove(kept)
  return []
}

export function inboxOf (state: HubState, generation: number, dead: number): InboxFrame[] {
  expectNode(state, generation)
  const inbox = remainsOf(state, generation, dead) && state.inboxes.get(dead)
  if (inbox === undefined) return []
  const frames = inbox.entries.filter((entry): entry is InboxFrame => entry.kind === 'frame' && entry.position > inbox.settled)
  return frames.map(frame => ({ ...frame, taken: placesIn(frame, inbox.taken) }))
}

function placesIn ({ position }: InboxFrame, origins: ReadonlySet<number>): Set<number> {
  return new Set([...origins].filter(origin => Math.floor(origin / messagesInFrame) === position).map(origin => origin % messagesInFrame))
}

/** Does nothing while another node is at it, or has left Sessions to adopt. */
export function bury (state: HubState, generation: number, dead: number): void {
  expectNode(state, generation)
  const node = remainsOf(state, generation, dead)
  if (node !== undefined && node.state !== 'alive' && node.owned.size === 0) clear(state, node)
}

function clear (state: HubState, { generation, online }: HubNode): void {
  for (const clientIdentifier of [...online]) state.appear(generation, clientIdentifier, false)
  state.nodes.delete(generation)
  state.listeners.delete(generation)
  state.trim(generation)
  state.tell({ kind: 'left', position: state.logEnd + 1, generation })
}

/** Who has nothing that others could go on with is gone at once. */
export function leave (state: HubState, generation: number): void {
  const node = expectNode(state, generation)
  const inbox = state.inboxes.get(generation)
  node.state = 'left'
  state.listeners.delete(generation)
  const isDone = inbox?.entries.every(({ kind, position }) => kind !== 'frame' || position <= inbox.settled) ?? true
  if (node.owned.size > 0 || !isDone) return
  wantNothing(state, node)
  clear(state, node)
}
