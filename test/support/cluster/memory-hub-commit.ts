import { CommitRefused } from '../../../lib/contract/emitter.ts'
import type { ClusterChanges } from '../../../lib/contract/cluster-changes.ts'
import type { Message } from '../../../lib/contract/message.ts'
import type { Changes, DeliveryRecord, ReceivedChange, SessionRecord, SubscriptionChange } from '../../../lib/contract/store.ts'
import type { HubState } from './memory-hub-state.ts'

/** The broker's objects go on changing; what was committed does not. */
export interface ReadChanges extends Omit<Changes, 'enqueued' | 'sent'> {
  readonly enqueued: readonly DeliveryRecord[]
  readonly sent: readonly DeliveryRecord[]
}

export function readChanges ({ sessions, subscriptions, enqueued, sent, removed, received, retained, aliveAt, cluster }: Changes): ReadChanges {
  return {
    sessions: new Map(sessions),
    subscriptions: subscriptions.map(({ session, topicFilter, subscription }) => ({ session, topicFilter, subscription })),
    enqueued: enqueued.flatMap(({ message, deliveries }) => deliveries.map(delivery => copyOf(delivery, message))), sent: sent.map(delivery => copyOf(delivery)),
    removed: removed.map(delivery => copyOf(delivery)),
    received: received.map(({ session, packetIdentifier, isInUse }) => ({ session, packetIdentifier, isInUse })),
    retained: new Map([...retained].map(([topicName, message]) => [topicName, message && anew(message)])),
    aliveAt, cluster: cluster && readCluster(cluster),
  }
}

function readCluster ({ routes, sends, moves, settled, taken, handedOn, released, begun, presence, expired, recovered, publishers }: ClusterChanges): ClusterChanges {
  return {
    routes: new Map(routes), sends: sends.map(({ generation, bytes }) => ({ generation, bytes: Buffer.from(bytes) })), moves, settled,
    released: released.map(reference => ({ ...reference })), begun: begun.map(reference => ({ ...reference })), presence: new Map(presence),
    expired: new Map(expired), recovered: [...recovered], taken: [...taken], handedOn: new Map(handedOn), publishers: [...publishers],
  }
}

/** Brokers note things on their messages; so each gets its own. */
export function anew (message: Message): Message {
  return message.with({})
}

export function copyOf ({
  session, position, message, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference,
}: DeliveryRecord, body: Message = message): DeliveryRecord {
  return { session, position, message: body, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference }
}

/** What the script of a commit does. */
export function commit (state: HubState, generation: number, changes: ReadChanges): void {
  if (state.failure !== undefined) throw state.failure
  refuse(state, generation, changes)
  for (const { clientIdentifier, session } of changes.cluster?.begun ?? []) state.begin(generation, session, clientIdentifier)
  writeSessions(state, generation, changes.sessions)
  for (const { session } of changes.cluster?.released ?? []) release(state, generation, session)
  writeSubscriptions(state, changes.subscriptions)
  writeDeliveries(state, changes)
  writeReceived(state, changes.received)
  writeRetained(state, generation, changes.retained)
  state.aliveAt = changes.aliveAt
  if (changes.cluster !== undefined && generation > 0) writeCluster(state, generation, changes.cluster)
}

function refuse (state: HubState, generation: number, changes: ReadChanges): void {
  const begun = changes.cluster?.begun.filter(({ clientIdentifier }) => isElsewhere(state, generation, clientIdentifier)).map(({ session }) => session) ?? []
  const foreign = touched(changes).filter(number => isForeign(state, generation, number, changes))
  const fenced = [...new Set([...begun, ...foreign, ...changes.cluster?.publishers.filter(number => hasMoved(state, generation, number, changes)) ?? []])]
  const moves = changes.cluster?.moves ?? Infinity
  if (fenced.length > 0 || moves < state.moves) throw new CommitRefused(fenced, state.moves)
}

function touched ({ sessions, subscriptions, enqueued, sent, removed, received, cluster }: ReadChanges): number[] {
  return [...sessions.keys(), ...[...subscriptions, ...enqueued, ...sent, ...removed, ...received].map(({ session }) => session), ...cluster?.recovered ?? []]
}

/** A Session that nobody has claimed may begin where its Client Identifier is nobody else's; to remove what is gone is no offence. */
function isForeign (state: HubState, generation: number, number: number, { sessions, subscriptions, enqueued, received, cluster }: ReadChanges): boolean {
  const kept = state.sessions.get(number)
  if (kept !== undefined) return kept.owner !== generation
  if (generation === 0 || cluster?.begun.some(({ session }) => session === number) === true) return false
  const record = sessions.get(number)
  if (record !== undefined) return isElsewhere(state, generation, record.clientIdentifier)
  return !sessions.has(number) && [...subscriptions, ...enqueued, ...received].some(({ session }) => session === number)
}

function hasMoved (state: HubState, generation: number, number: number, { cluster }: ReadChanges): boolean {
  return state.sessions.get(number)?.owner !== generation && cluster?.begun.some(({ session }) => session === number) !== true
}

function isElsewhere (state: HubState, generation: number, clientIdentifier: string): boolean {
  return (state.sessionOf(clientIdentifier)?.owner ?? generation) !== generation
}

function writeSessions (state: HubState, generation: number, sessions: ReadonlyMap<number, SessionRecord | undefined>): void {
  for (const [number, record] of sessions) {
    if (generation === 0) state.nextSession = Math.max(state.nextSession, number + 1)
    const kept = state.sessions.get(number)
    if (kept === undefined && record !== undefined) state.begin(generation, number, record.clientIdentifier, record)
    else if (record !== undefined && kept !== undefined) kept.record = record
    else if (kept !== undefined) state.remove(kept)
  }
}

function writeSubscriptions (state: HubState, subscriptions: readonly SubscriptionChange[]): void {
  for (const { session, topicFilter, subscription } of subscriptions) {
    if (subscription === undefined) state.sessions.get(session)?.subscriptions.delete(topicFilter)
    else state.sessions.get(session)?.subscriptions.set(topicFilter, subscription)
  }
}

function writeDeliveries (state: HubState, { enqueued, sent, removed }: ReadChanges): void {
  for (const delivery of enqueued) enqueue(state, delivery)
  for (const delivery of sent) resend(state, delivery)
  for (const { session, position } of removed) state.sessions.get(session)?.deliveries.delete(position)
}

function enqueue (state: HubState, delivery: DeliveryRecord): void {
  const kept = state.sessions.get(delivery.session)
  if (kept === undefined) return
  kept.deliveries.set(delivery.position, { ...delivery, message: anew(delivery.message) })
  sort(kept.deliveries)
  kept.highWater = Math.max(kept.highWater, delivery.message.origin)
}

/** Messages of one commit come in any order, those of a Session have theirs by their positions. */
function sort (deliveries: Map<number, DeliveryRecord>): void {
  const [last, before] = [...deliveries.keys()].slice(-2).reverse()
  if (last === undefined || before === undefined || last > before) return
  const sorted = [...deliveries].sort(([a], [b]) => a - b)
  deliveries.clear()
  for (const [position, delivery] of sorted) deliveries.set(position, delivery)
}

function resend (state: HubState, { session, position, packetIdentifier, isReleased }: DeliveryRecord): void {
  const deliveries = state.sessions.get(session)?.deliveries
  const delivery = deliveries?.get(position)
  if (delivery !== undefined) deliveries?.set(position, { ...delivery, packetIdentifier, isReleased })
}

function writeReceived (state: HubState, received: readonly ReceivedChange[]): void {
  for (const { session, packetIdentifier, isInUse } of received) {
    if (isInUse) state.sessions.get(session)?.received.add(packetIdentifier)
    else state.sessions.get(session)?.received.delete(packetIdentifier)
  }
}

function writeRetained (state: HubState, generation: number, retained: ReadonlyMap<string, Message | undefined>): void {
  for (const [topicName, message] of retained) {
    if (message === undefined) state.retained.delete(topicName)
    else state.retained.set(topicName, message)
    state.tell({ kind: 'retained', position: state.logEnd + 1, generation, topicName, message })
  }
}

function writeCluster (state: HubState, generation: number, { routes, sends, settled, taken, handedOn, presence, expired, recovered }: ClusterChanges): void {
  for (const origin of taken) state.inboxes.get(generation)?.taken.add(origin)
  writeRoutes(state, generation, routes)
  for (const { generation: receiver, bytes } of sends) state.send(receiver, position => ({ kind: 'frame', position, bytes }))
  for (const [clientIdentifier, isOnline] of presence) state.appear(generation, clientIdentifier, isOnline)
  for (const [topicName, time] of expired) if (state.retained.get(topicName)?.expiresAt === time) writeRetained(state, generation, new Map([[topicName, undefined]]))
  for (const number of recovered) letGo(state, number)
  state.settle(generation, settled)
  for (const [gone, position] of handedOn) state.settle(gone, position)
}

function writeRoutes (state: HubState, generation: number, changed: ReadonlyMap<string, number | undefined>): void {
  if (changed.size === 0) return
  const routes = state.nodes.get(generation)?.routes
  for (const [topicFilter, count] of changed) {
    if (count === undefined) routes?.delete(topicFilter)
    else routes?.set(topicFilter, count)
  }
  state.tell({ kind: 'routes', position: state.logEnd + 1, generation, routes: changed, moves: state.moves })
}

/** Another node may have claimed it meanwhile. What is stored of it is removed later. */
function release (state: HubState, generation: number, session: number): void {
  const kept = state.sessions.get(session)
  if (kept?.owner !== generation) return
  if (kept.record === undefined) state.remove(kept)
  else state.free(kept)
}

function letGo (state: HubState, number: number): void {
  const kept = state.sessions.get(number)
  if (kept !== undefined) state.letGo(kept)
}
