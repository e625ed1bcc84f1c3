import type { ClaimedSession, DeliveryRecord, Message, Store, StoredSession } from '../../../lib/index.ts'

// As much of a queue as is in memory at once.
const pageMessages = 100
const pageBytes = 2 ** 20

/** A Session with what its Client would go on with. */
export interface OpenedSession extends StoredSession, ClaimedSession {}

/** The Sessions of a Client Identifier, or all of them, one at a time. */
export async function * sessionsOf (store: Store, clientIdentifier?: string): AsyncGenerator<OpenedSession> {
  for await (const session of store.sessions()) {
    if (clientIdentifier !== undefined && session.record.clientIdentifier !== clientIdentifier) continue
    yield { ...session, ...await store.claim(session.number) }
  }
}

/** The first messages that wait in a queue, read by pages. */
export async function * waitingOf (store: Store, { number, queue }: StoredSession, limit: number): AsyncGenerator<DeliveryRecord> {
  let position = queue.first
  let left = limit
  while (left > 0 && position < queue.end) {
    const page = await store.fetch(number, position, Math.min(left, pageMessages), pageBytes)
    const last = page.at(-1)
    if (last === undefined) return
    yield * page
    position = last.position + 1
    left -= page.length
  }
}

/** Messages of a queue, those in flight first. */
export async function * queueOf (store: Store, session: OpenedSession, limit: number): AsyncGenerator<DeliveryRecord> {
  const inFlight = session.inFlight.slice(0, limit)
  yield * inFlight
  yield * waitingOf(store, session, limit - inFlight.length)
}

/** How many messages wait; at most, since some may have been taken out of the middle. */
export function waitingCount ({ queue }: StoredSession): number {
  return Math.max(0, queue.end - queue.first)
}

/** The first retained messages. */
export async function * retainedOf (store: Store, limit: number): AsyncGenerator<Message> {
  if (limit <= 0) return
  let left = limit
  for await (const message of store.retained()) {
    yield message
    if (--left <= 0) return
  }
}
