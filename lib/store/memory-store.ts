import { storeFailed } from '../contract/store-errors.ts'
import type { Message } from '../contract/message.ts'
import type {
  Changes, ClaimedSession, DeliveryRecord, QueueState, ReceivedChange, SessionRecord, Store, StoredSession, StoreState, SubscriptionChange,
} from '../contract/store.ts'
import type { Subscription } from '../contract/subscription.ts'

/**
 * A {@link Store} in the heap: what it keeps outlives the broker, not the process. Another broker may open it after the first was
 * closed or given up, as hot reloads and tests do; messages are shared, never copied.
 */
export function memoryStore (): Store {
  return new MemoryStore()
}

/** The broker's objects go on changing; what was committed does not. */
interface ReadChanges extends Omit<Changes, 'enqueued' | 'sent'> {
  /** Those that are new, and those that were sent since. */
  readonly deliveries: readonly DeliveryRecord[]
}

interface KeptSession {
  record: SessionRecord
  readonly subscriptions: Map<string, Subscription>
  /** By position; a Map keeps the order of insertion, which is that of positions. */
  readonly deliveries: Map<number, DeliveryRecord>
  readonly received: Set<number>
}

class MemoryStore implements Store {
  readonly name = 'memory'
  readonly commitDelayMs = 0
  readonly #sessions = new Map<number, KeptSession>()
  readonly #retained = new Map<string, Message>()
  #nextSession = 1
  #aliveAt: number | undefined = undefined

  open (): StoreState {
    return { nextSession: this.#nextSession, aliveAt: this.#aliveAt }
  }

  * sessions (): Generator<StoredSession> {
    for (const [number, { record, subscriptions, deliveries }] of this.#sessions) {
      yield { number, record, subscriptions: [...subscriptions.values()], queue: queueOf(deliveries.values()) }
    }
  }

  * retained (): Generator<Message> {
    yield * this.#retained.values()
  }

  claim (session: number): ClaimedSession {
    const kept = this.#sessions.get(session)
    if (kept === undefined) return { inFlight: [], received: [] }
    const inFlight = [...kept.deliveries.values()].filter(delivery => delivery.packetIdentifier !== 0)
    return { inFlight: inFlight.map(copyOf), received: [...kept.received] }
  }

  fetch (session: number, position: number, maximumMessages: number, maximumBytes: number): DeliveryRecord[] {
    const page: DeliveryRecord[] = []
    let bytes = 0
    for (const delivery of this.#sessions.get(session)?.deliveries.values() ?? []) {
      if (delivery.position < position) continue
      bytes += delivery.message.size
      if (page.length >= maximumMessages || (page.length > 0 && bytes > maximumBytes)) break
      page.push(copyOf(delivery))
    }
    return page
  }

  /** Everything is read before anything is changed: an item that cannot be read leaves the store as it was. */
  commit (changes: Changes): Promise<void> {
    try {
      this.#write(read(changes))
      return Promise.resolve()
    } catch (cause) {
      return Promise.reject(storeFailed('the changes cannot be read', { cause }))
    }
  }

  close (): void { /* what it keeps is for the next broker */ }

  #write (changes: ReadChanges): void {
    this.#writeSessions(changes.sessions)
    this.#writeSubscriptions(changes.subscriptions)
    this.#writeDeliveries(changes)
    this.#writeReceived(changes.received)
    for (const [topicName, message] of changes.retained) {
      if (message === undefined) this.#retained.delete(topicName)
      else this.#retained.set(topicName, message)
    }
    this.#aliveAt = changes.aliveAt
  }

  #writeSessions (sessions: ReadonlyMap<number, SessionRecord | undefined>): void {
    for (const [number, record] of sessions) {
      this.#nextSession = Math.max(this.#nextSession, number + 1)
      const kept = this.#sessions.get(number)
      if (record === undefined) this.#sessions.delete(number)
      else if (kept !== undefined) kept.record = record
      else this.#sessions.set(number, { record, subscriptions: new Map(), deliveries: new Map(), received: new Set() })
    }
  }

  #writeSubscriptions (subscriptions: readonly SubscriptionChange[]): void {
    for (const { session, topicFilter, subscription } of subscriptions) {
      if (subscription === undefined) this.#sessions.get(session)?.subscriptions.delete(topicFilter)
      else this.#sessions.get(session)?.subscriptions.set(topicFilter, subscription)
    }
  }

  #writeDeliveries ({ deliveries, removed }: ReadChanges): void {
    for (const delivery of deliveries) this.#sessions.get(delivery.session)?.deliveries.set(delivery.position, delivery)
    for (const { session, position } of removed) this.#sessions.get(session)?.deliveries.delete(position)
  }

  #writeReceived (received: readonly ReceivedChange[]): void {
    for (const { session, packetIdentifier, isInUse } of received) {
      if (isInUse) this.#sessions.get(session)?.received.add(packetIdentifier)
      else this.#sessions.get(session)?.received.delete(packetIdentifier)
    }
  }
}

function read ({ sessions, subscriptions, enqueued, sent, removed, received, retained, aliveAt }: Changes): ReadChanges {
  return {
    sessions: new Map(sessions),
    subscriptions: subscriptions.map(({ session, topicFilter, subscription }) => ({ session, topicFilter, subscription })),
    deliveries: [...enqueued.flatMap(({ deliveries }) => deliveries.map(copyOf)), ...sent.map(copyOf)],
    removed: removed.map(copyOf),
    received: received.map(({ session, packetIdentifier, isInUse }) => ({ session, packetIdentifier, isInUse })),
    retained: new Map(retained),
    aliveAt,
  }
}

function copyOf ({
  session, position, message, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference,
}: DeliveryRecord): DeliveryRecord {
  return { session, position, message, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased, reference }
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
