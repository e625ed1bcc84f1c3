import { messagesInFrame, type Claim, type ClaimRequest, type ImportedSession, type Remainder } from '../../../lib/contract/emitter.ts'
import type { DeliveryRecord, QueueState } from '../../../lib/contract/store.ts'
import { originAfter, type HubState, type KeptSession, type Stretch } from './memory-hub-state.ts'

/** What the script of a claim does. */
export function claim (state: HubState, generation: number, { clientIdentifier, session, isPolite }: ClaimRequest): Claim {
  const kept = state.sessionOf(clientIdentifier)
  if (kept?.owner === generation) return { session: kept.number, imported: undefined }
  if (isPolite === true && kept?.record !== undefined && isOnlineThere(state, kept)) return { session, imported: undefined, heldBy: kept.owner }
  const former = kept && { ...kept }
  const claimed = take(state, generation, session, clientIdentifier, kept)
  if (former !== undefined) evict(state, generation, former)
  return claimed
}

function take (state: HubState, generation: number, session: number, clientIdentifier: string, kept: KeptSession | undefined): Claim {
  if (kept?.record !== undefined) return { session: kept.number, imported: importSession(state, generation, kept) }
  const isOnline = kept !== undefined && state.onlineAt(clientIdentifier)?.generation === kept.owner
  if (kept !== undefined) state.remove(kept)
  state.begin(generation, session, clientIdentifier)
  if (isOnline) state.appear(generation, clientIdentifier, true)
  return { session, imported: undefined }
}

function isOnlineThere (state: HubState, { owner, clientIdentifier }: KeptSession): boolean {
  return state.nodes.get(owner)?.state === 'alive' && state.onlineAt(clientIdentifier)?.generation === owner
}

/** Who is online stays online, at the new node. */
function evict (state: HubState, generation: number, { owner, clientIdentifier, number }: KeptSession): void {
  if (state.onlineAt(clientIdentifier)?.generation === owner) state.appear(generation, clientIdentifier, true)
  if (state.nodes.get(owner)?.state === 'alive') state.send(owner, position => ({ kind: 'evicted', position, clientIdentifier, session: number, logPosition: state.logEnd }))
}

/** Makes a stored Session that another node owns this node's own. */
export function importSession (state: HubState, generation: number, kept: KeptSession): ImportedSession {
  const former = state.nodes.get(kept.owner)
  const since = state.inboxes.get(generation)?.end ?? 0
  hold(state, kept, [...kept.remainder, ...stretchOf(state, kept)])
  former?.owned.delete(kept.number)
  state.nodes.get(generation)?.owned.add(kept.number)
  kept.owner = generation
  kept.highWater = originAfter(since)
  move(state, generation, kept)
  return {
    ...storedSession(kept), since, remainder: kept.remainder.flatMap(stretch => framesOf(state, stretch)),
    heardAt: former === undefined || former.state === 'alive' ? undefined : former.heardAt,
  }
}

/** What its owner has been sent and has not settled, less what the Session has. */
function stretchOf (state: HubState, { owner, highWater }: KeptSession): Stretch[] {
  const { settled = 0, end = 0 } = state.inboxes.get(owner) ?? {}
  const from = Math.max(highWater, originAfter(settled))
  return originAfter(end) > from ? [{ generation: owner, from, to: end }] : []
}

function hold (state: HubState, kept: KeptSession, remainder: Stretch[]): void {
  kept.remainder = remainder
  for (const { generation, from } of remainder) {
    const holds = state.inboxes.get(generation)?.holds
    holds?.set(kept.number, Math.min(holds.get(kept.number) ?? Infinity, lastWhole(from)))
  }
}

/** Position of the last frame of which all messages are up to `origin`. */
function lastWhole (origin: number): number {
  return Math.floor((origin + 1) / messagesInFrame) - 1
}

function framesOf (state: HubState, { generation, from, to }: Stretch): Remainder[] {
  const first = lastWhole(from) + 1
  return (state.inboxes.get(generation)?.entries ?? []).flatMap(entry => {
    if (entry.kind !== 'frame' || entry.position < first || entry.position > to) return []
    return [{ bytes: entry.bytes, skip: entry.position === first ? (from + 1) % messagesInFrame : 0 }]
  })
}

/** The node wants what the Session wants before anybody can publish again. */
function move (state: HubState, generation: number, { subscriptions }: KeptSession): void {
  const { routes } = state.nodes.get(generation) ?? {}
  if (routes === undefined || subscriptions.size === 0) return
  state.moves++
  const told = new Map<string, number>()
  for (const topicFilter of subscriptions.keys()) {
    const count = routes.get(topicFilter) ?? 0
    routes.set(topicFilter, count)
    told.set(topicFilter, count)
  }
  state.tell({ kind: 'routes', position: state.logEnd + 1, generation, routes: told, moves: state.moves })
}

export function storedSession ({ number, record, subscriptions, deliveries }: KeptSession): Omit<ImportedSession, 'remainder' | 'since' | 'heardAt'> {
  if (record === undefined) throw new Error(`Session ${number} is not stored`)
  return { number, record, subscriptions: [...subscriptions.values()], queue: queueOf(deliveries.values()) }
}

function queueOf (deliveries: Iterable<DeliveryRecord>): QueueState {
  let [first, end, bytes, sum] = [0, 0, 0, 0]
  for (const { position, packetIdentifier, message, total } of deliveries) {
    if (bytes === 0) first = packetIdentifier === 0 ? position : position + 1
    if (packetIdentifier === 0) bytes += message.size
    end = position + 1
    sum = total
  }
  return { first, end, bytes, total: sum }
}
