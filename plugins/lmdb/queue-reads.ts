import type { QueueState } from '../../lib/index.ts'
import { numberKey, positionKey, positionOf, type Table, type Tables } from './layout.ts'
import { decodeDeliveryHeader, type DeliveryHeader } from './records.ts'
import { Segment } from './segments.ts'

/** Segments of a Session's queue, from the one on that has `position`, or follows it. */
export function * segmentsFrom ({ deliveries, inFlight }: Tables, session: number, position: number): Generator<Segment> {
  const start = lastKey(deliveries, session, position) ?? positionKey(session, position)
  const noted = lastKey(inFlight, session)
  const notedTo = noted === undefined ? -1 : positionOf(noted)
  for (const { key, value } of deliveries.getRange({ start, end: numberKey(session + 1) })) {
    const own = Buffer.from(key)
    const segment = new Segment(own, value, positionOf(own) <= notedTo ? inFlight.getBinary(own) : undefined)
    if (segment.last >= position) yield segment
  }
}

/** The last key of a Session in a table, that of `position` at most. */
function lastKey (table: Table, session: number, position?: number): Buffer | undefined {
  const start = position === undefined ? numberKey(session + 1) : positionKey(session, position)
  const [key] = table.getKeys({ start, end: numberKey(session), reverse: true, limit: 1 })
  return key
}

/** Three deliveries tell how long a queue is: the last in flight, the first that waits, the last of all. */
export function queueOf (tables: Tables, session: number): QueueState {
  const last = lastOf(tables, session)
  if (last === undefined) return { first: 0, end: 0, bytes: 0, total: 0 }
  const waiting = firstWaiting(tables, session)
  const bytes = waiting === undefined ? 0 : last.total - waiting.total + waiting.size
  return { first: waiting?.position ?? last.position + 1, end: last.position + 1, bytes, total: last.total }
}

type Found = DeliveryHeader & { readonly position: number }

/** What was sent stands before what waits. */
function firstWaiting (tables: Tables, session: number): Found | undefined {
  const sent = lastSent(tables, session)
  for (const segment of segmentsFrom(tables, session, sent)) {
    const index = segment.indexesFrom(sent)[0]
    if (index !== undefined) return foundAt(segment, index)
  }
  return undefined
}

/** The position behind the last delivery that is in flight. What is noted behind that was done with before it was sent. */
function lastSent (tables: Tables, session: number): number {
  for (const key of tables.inFlight.getKeys({ start: numberKey(session + 1), end: numberKey(session), reverse: true })) {
    const [segment] = segmentsFrom(tables, session, positionOf(key))
    const index = segment?.indexesFrom(0).findLast(index => segment.packetIdentifierOf(index) !== 0)
    if (segment !== undefined && index !== undefined) return segment.positionAt(index) + 1
  }
  return 0
}

function lastOf (tables: Tables, session: number): Found | undefined {
  const key = lastKey(tables.deliveries, session)
  if (key === undefined) return undefined
  const [segment] = segmentsFrom(tables, session, positionOf(key))
  return segment === undefined ? undefined : foundAt(segment, segment.indexesFrom(0).at(-1) ?? 0)
}

function foundAt (segment: Segment, index: number): Found {
  return { position: segment.positionAt(index), ...decodeDeliveryHeader(segment.bytes, segment.startOf(index)) }
}
