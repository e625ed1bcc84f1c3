import type { DeliveryRecord, SessionRecord, Store, StoreState, Subscription, WillRecord } from '../../../lib/index.ts'
import { duration, preview, printable, size, timeOf } from './format.ts'
import type { Selection } from './json.ts'
import { queueOf, retainedOf, sessionsOf, waitingCount, type OpenedSession } from './reading.ts'

const never = 0xffffffff

// Columns have a width and the names from the wire come last, so that a line can be printed before the next one is known.
function row (...cells: readonly (readonly [text: string | number, width: number])[]): string {
  return cells.map(([text, width]) => width < 0 ? String(text).padStart(-width) : String(text).padEnd(width)).join('  ').trimEnd()
}

function stateOf ({ isConnected, hasEnded }: SessionRecord): string {
  if (hasEnded) return 'ended'
  return isConnected ? 'connected' : 'away'
}

/** Seconds that begin to count when the Client has gone. */
function onceAway (seconds: number): string {
  return seconds === 0 ? 'once away' : `${duration(seconds * 1000)} once away`
}

function expiryOf ({ sessionExpiryInterval, expiresAt, hasEnded }: SessionRecord, now: number): string {
  if (hasEnded) return 'now'
  if (sessionExpiryInterval === never) return 'never'
  return expiresAt === undefined ? onceAway(sessionExpiryInterval) : duration(expiresAt - now)
}

function willTimeOf ({ will, willDueAt }: SessionRecord, now: number): string {
  if (will === undefined) return '-'
  return willDueAt === undefined ? onceAway(will.delayInterval) : duration(willDueAt - now)
}

/** What all Sessions come to. */
interface Totals { sessions: number, subscriptions: number, messages: number, bytes: number }

function sessionRow (session: OpenedSession, now: number): string {
  const { record, subscriptions, inFlight, queue } = session
  return row([stateOf(record), 9], [expiryOf(record, now), 17], [willTimeOf(record, now), 17], [subscriptions.length, -13], [inFlight.length, -9],
    [waitingCount(session), -8], [size(queue.bytes), -10], [printable(record.clientIdentifier), 0])
}

async function * sessionLines (store: Store, now: number): AsyncGenerator<string> {
  const totals: Totals = { sessions: 0, subscriptions: 0, messages: 0, bytes: 0 }
  for await (const session of sessionsOf(store)) {
    if (totals.sessions === 0) yield row(['STATE', 9], ['EXPIRES IN', 17], ['WILL IN', 17], ['SUBSCRIPTIONS', -13], ['IN FLIGHT', -9], ['WAITING', -8], ['BYTES', -10], ['CLIENT IDENTIFIER', 0])
    yield sessionRow(session, now)
    totals.sessions++
    totals.subscriptions += session.subscriptions.length
    totals.messages += waitingCount(session)
    totals.bytes += session.queue.bytes
  }
  yield totals.sessions === 0 ? 'No sessions.' : `\n${totals.sessions} sessions, ${totals.subscriptions} subscriptions, ${totals.messages} messages wait (${size(totals.bytes)}).`
}

function subscriptionRow ({ topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }: Subscription): string {
  const options = [
    noLocal ? 'no local' : '', retainAsPublished ? 'retain as published' : '', retainHandling > 0 ? `retain handling ${retainHandling}` : '',
    subscriptionIdentifier > 0 ? `identifier ${subscriptionIdentifier}` : '',
  ].filter(option => option !== '')
  return `  QoS ${qos}  ${printable(topicFilter)}${options.length === 0 ? '' : `  (${options.join(', ')})`}`
}

function willLine (record: SessionRecord, { topicName, qos, retain, payload }: WillRecord, now: number): string {
  return `Will: ${printable(topicName)}, QoS ${qos}${retain ? ', retained' : ''}, in ${willTimeOf(record, now)}: ${preview(Buffer.from(payload, 'base64'))}`
}

function expiresIn (expiresAt: number, now: number): string {
  return expiresAt === Infinity ? 'never' : duration(expiresAt - now)
}

function deliveryRow ({ position, packetIdentifier, isReleased, qos, retain, message }: DeliveryRecord, now: number): string {
  const sent = packetIdentifier === 0 ? '-' : `${packetIdentifier}${isReleased ? ' released' : ''}`
  return '  ' + row([position, -10], [sent, 14], [qos, 3], [retain ? 'yes' : '-', 6], [size(message.payload.length), -10], [expiresIn(message.expiresAt, now), 10],
    [printable(message.topicName), 0])
}

async function * queueLines (store: Store, session: OpenedSession, limit: number, now: number): AsyncGenerator<string> {
  const all = session.inFlight.length + waitingCount(session)
  yield `Queue: ${session.inFlight.length} messages in flight, ${waitingCount(session)} wait (${size(session.queue.bytes)})`
  if (all === 0 || limit === 0) return
  yield '  ' + row(['POSITION', -10], ['IDENTIFIER', 14], ['QOS', 3], ['RETAIN', 6], ['SIZE', -10], ['EXPIRES IN', 10], ['TOPIC', 0])
  for await (const delivery of queueOf(store, session, limit)) yield deliveryRow(delivery, now)
  if (all > limit) yield `  … and ${all - limit} more: --limit ${all} shows them`
}

async function * sessionDetails (store: Store, clientIdentifier: string, limit: number, now: number): AsyncGenerator<string> {
  for await (const session of sessionsOf(store, clientIdentifier)) {
    const { record, subscriptions, received } = session
    yield `Session ${session.number} of ${printable(clientIdentifier)}: ${stateOf(record)}, expires: ${expiryOf(record, now)}`
    if (record.will !== undefined) yield willLine(record, record.will, now)
    if (received.length > 0) yield `QoS 2 messages from the client that it has not released, by Packet Identifier: ${received.join(', ')}`
    yield `Subscriptions: ${subscriptions.length}`
    for (const subscription of subscriptions) yield subscriptionRow(subscription)
    yield * queueLines(store, session, limit, now)
  }
}

async function * retainedLines (store: Store, limit: number, now: number): AsyncGenerator<string> {
  let count = 0
  for await (const { topicName, payload, qos, expiresAt } of retainedOf(store, limit)) {
    if (count++ === 0) yield row(['SIZE', -10], ['QOS', 3], ['EXPIRES IN', 10], ['TOPIC AND PAYLOAD', 0])
    yield row([size(payload.length), -10], [qos, 3], [expiresIn(expiresAt, now), 10], [`${printable(topicName)}  ${preview(payload)}`, 0])
  }
  if (count === 0) yield 'No retained messages.'
}

/** What is kept, for people. */
export async function * textLines (store: Store, state: StoreState, { session, retained = false, limit }: Selection, now: number): AsyncGenerator<string> {
  if (session === undefined) yield `The broker was last known to run at ${timeOf(state.aliveAt) ?? 'no time'}.\n`
  if (session !== undefined) yield * sessionDetails(store, session, limit, now)
  else if (!retained) yield * sessionLines(store, now)
  if (retained) yield * retainedLines(store, limit, now)
}
