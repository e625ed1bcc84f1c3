import assert from 'node:assert/strict'
import type { Message } from '../../../lib/contract/message.ts'
import type { DeliveryRecord, QueueState, SessionRecord, Store } from '../../../lib/contract/store.ts'
import type { Subscription } from '../../../lib/contract/subscription.ts'

/** Everything of a message that has to come back. */
export type PlainMessage = Pick<Message, 'topicName' | 'payload' | 'qos' | 'retain' | 'properties' | 'publisher' | 'expiresAt'>

/** Everything of a delivery that has to come back. */
export type PlainDelivery = Omit<DeliveryRecord, 'message' | 'reference'> & { readonly message: PlainMessage }

/** What a store has of a Session. */
export interface SessionContents {
  readonly record: SessionRecord
  /** By Topic Filter. */
  readonly subscriptions: readonly Subscription[]
  /** In order. */
  readonly received: readonly number[]
  readonly deliveries: readonly PlainDelivery[]
}

/** What a store has, in an order that does not depend on the store. */
export interface Contents {
  readonly sessions: ReadonlyMap<number, SessionContents>
  /** By Topic Name. */
  readonly retained: readonly PlainMessage[]
}

const pageMessages = 3

export function plainMessage ({ topicName, payload, qos, retain, properties, publisher, expiresAt }: Message): PlainMessage {
  return { topicName, payload: Buffer.from(payload), qos, retain, properties, publisher, expiresAt }
}

export function plainDelivery ({ message, ...delivery }: DeliveryRecord): PlainDelivery {
  const { session, position, qos, retain, subscriptionIdentifiers, sharedFilter, total, packetIdentifier, isReleased } = delivery
  return {
    session, position, qos, retain, subscriptionIdentifiers: [...subscriptionIdentifiers], sharedFilter, total, packetIdentifier, isReleased,
    message: plainMessage(message),
  }
}

/** Reads all that a store has, in every way there is, and expects that those agree. */
export async function contentsOf (store: Store): Promise<Contents> {
  const sessions = new Map<number, SessionContents>()
  for await (const { number, record, subscriptions, queue } of store.sessions()) {
    const deliveries = (await fetchAll(store, number)).map(plainDelivery)
    const { inFlight, received } = await store.claim(number)
    assert.deepEqual(inFlight.map(plainDelivery), deliveries.filter(({ packetIdentifier }) => packetIdentifier !== 0), 'what is claimed is what is in flight')
    expectQueue(queue, deliveries, await fetchAll(store, number))
    assert.ok(!sessions.has(number), `Session ${number} comes once`)
    sessions.set(number, { record, subscriptions: sorted(subscriptions, 'topicFilter'), received: [...received].sort((a, b) => a - b), deliveries })
  }
  const retained: PlainMessage[] = []
  for await (const message of store.retained()) retained.push(plainMessage(message))
  return { sessions: new Map([...sessions].sort(([a], [b]) => a - b)), retained: sorted(retained, 'topicName') }
}

/** A Session's whole queue, by pages. */
export async function fetchAll (store: Store, session: number): Promise<DeliveryRecord[]> {
  const all: DeliveryRecord[] = []
  for (let position = 0; ; position = (all.at(-1)?.position ?? 0) + 1) {
    const page = await store.fetch(session, position, pageMessages, Infinity)
    all.push(...page)
    if (page.length < pageMessages) return all
  }
}

function expectQueue ({ first, end, bytes, total }: QueueState, deliveries: readonly PlainDelivery[], records: readonly DeliveryRecord[]): void {
  const waiting = deliveries.filter(({ packetIdentifier }) => packetIdentifier === 0)
  const size = records.reduce((sum, { packetIdentifier, message }) => packetIdentifier === 0 ? sum + message.size : sum, 0)
  assert.equal(total, deliveries.at(-1)?.total ?? 0, 'the total is that of the last delivery')
  if (waiting.length === 0) {
    assert.ok(end <= first && bytes === 0, 'nothing waits')
    return
  }
  assert.equal(first, waiting[0]?.position, 'the queue begins with the first one that waits')
  assert.equal(end, (deliveries.at(-1)?.position ?? 0) + 1, 'the queue ends behind the last one')
  const isWhole = end - first === waiting.length
  assert.ok(isWhole ? bytes === size : bytes >= size, `${bytes} bytes for ${size}`)
}

function sorted<T extends Readonly<Record<Key, string>>, Key extends string> (items: readonly T[], key: Key): T[] {
  return [...items].sort((a, b) => Buffer.compare(Buffer.from(a[key]), Buffer.from(b[key])))
}
