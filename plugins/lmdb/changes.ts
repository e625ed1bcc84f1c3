import type {
  Changes, DeliveryRecord, Enqueued, Message, MessageCodec, ReceivedChange, SessionRecord, SubscriptionChange,
} from '../../lib/index.ts'
import { numberKey, positionKey, receivedKey, subscriptionKey, textKey, type Table, type Tables } from './layout.ts'
import { segmentsFrom } from './queue-reads.ts'
import { decodeCount, encodeCount, encodeJson, inline, referenceOf } from './records.ts'
import { segmentsOf, type Segment, type SegmentEntry } from './segments.ts'
import type { State } from './state.ts'
import { WriteBatch } from './write-batch.ts'

const nothing = Buffer.of(0)

/** Turns the broker's changes into entries to put and to remove. Everything is encoded here, so what cannot be is found before anything is written. */
export class ChangeEncoder {
  readonly batch: WriteBatch = new WriteBatch()
  readonly #tables: Tables
  readonly #codec: MessageCodec
  readonly #state: State
  /** Body → deliveries that are done with it. */
  readonly #released = new Map<number, number>()

  constructor (tables: Tables, codec: MessageCodec, state: State) {
    this.#tables = tables
    this.#codec = codec
    this.#state = state
  }

  encode (changes: Changes): void {
    for (const [session, record] of changes.sessions) this.#session(session, record)
    for (const change of changes.subscriptions) this.#subscription(change, changes)
    for (const enqueued of changes.enqueued) this.#store(enqueued)
    for (const queue of bySession(changes.enqueued.flatMap(({ deliveries }) => deliveries))) this.#enqueue(queue)
    const gone = new Set(changes.removed)
    for (const queue of bySession([...changes.sent, ...gone])) this.#note(queue, gone)
    for (const change of changes.received) this.#receive(change, changes)
    for (const [topicName, message] of changes.retained) this.#retain(topicName, message)
    for (const [body, count] of this.#released) this.#release(body, count)
  }

  /** Nothing is written that stands there already. */
  #putIfChanged (table: Table, key: Buffer, record: unknown): void {
    const value = encodeJson(record)
    if (table.getBinary(key)?.equals(value) !== true) this.batch.write(table, key, value)
  }

  #session (session: number, record: SessionRecord | undefined): void {
    const { sessions, subscriptions, received } = this.#tables
    this.#state.sawSession(session)
    if (record !== undefined) {
      this.#putIfChanged(sessions, numberKey(session), record)
      return
    }
    this.batch.write(sessions, numberKey(session), undefined)
    this.#clear(subscriptions, session)
    this.#clear(received, session)
  }

  #clear (table: Table, session: number): void {
    for (const key of table.getKeys({ start: numberKey(session), end: numberKey(session + 1) })) this.batch.write(table, key, undefined)
  }

  #subscription ({ session, topicFilter, subscription }: SubscriptionChange, { sessions }: Changes): void {
    if (isRemoved(session, sessions)) return
    const key = subscriptionKey(session, topicFilter)
    if (subscription === undefined) this.batch.write(this.#tables.subscriptions, key, undefined)
    else this.#putIfChanged(this.#tables.subscriptions, key, subscription)
  }

  /** A message for one Session stands in its queue; one for several stands by itself, once. */
  #store ({ message, deliveries }: Enqueued): void {
    if (deliveries.length === 0) return
    this.batch.isGrowing = true
    const body = deliveries.length === 1 ? inline : this.#share(message, deliveries.length)
    for (const delivery of deliveries) delivery.reference = body
  }

  #enqueue (queue: readonly DeliveryRecord[]): void {
    const session = queue[0]?.session ?? 0
    for (const entry of segmentsOf(queue, this.#codec)) this.#writeEntry(session, entry)
  }

  #share (message: Message, count: number): number {
    const body = this.#state.newBody()
    this.batch.write(this.#tables.bodies, numberKey(body), this.#codec.encode(message))
    this.batch.write(this.#tables.shares, numberKey(body), encodeCount(count))
    return body
  }

  /** Goes from one segment that is concerned to the next; those that lie far apart are looked up. */
  #note (queue: readonly DeliveryRecord[], gone: ReadonlySet<DeliveryRecord>): void {
    for (let next = 0, before = -1; next < queue.length && next > before;) {
      before = next
      next = this.#noteNeighbours(queue, next, gone)
    }
  }

  /** @returns index of the delivery to go on with; the same one where nothing is stored from there on */
  #noteNeighbours (queue: readonly DeliveryRecord[], next: number, gone: ReadonlySet<DeliveryRecord>): number {
    const { session, position } = queue[next] as DeliveryRecord
    for (const segment of segmentsFrom(this.#tables, session, position)) {
      const here = next
      while (next < queue.length && (queue[next] as DeliveryRecord).position <= segment.last) next++
      if (here === next) break
      this.#noteIn(segment, new Map(queue.slice(here, next).map(delivery => [delivery.position, delivery])), gone)
    }
    return next
  }

  #noteIn (segment: Segment, deliveries: ReadonlyMap<number, DeliveryRecord>, gone: ReadonlySet<DeliveryRecord>): void {
    const wasNoted = segment.note !== undefined
    for (const index of segment.indexesFrom(segment.first)) {
      const delivery = deliveries.get(segment.positionAt(index))
      if (delivery === undefined) continue
      if (gone.has(delivery)) this.#removeFrom(segment, index)
      else segment.sent(index, delivery)
    }
    this.#rewrite(segment, wasNoted)
  }

  #removeFrom (segment: Segment, index: number): void {
    segment.remove(index)
    const body = referenceOf(segment.bytes, segment.startOf(index))
    if (body !== inline) this.#released.set(body, 1 + (this.#released.get(body) ?? 0))
  }

  /** What has become of its deliveries is all that is written, until too little of it is left. */
  #rewrite (segment: Segment, wasNoted: boolean): void {
    const { session, first, note } = segment
    const { deliveries, inFlight } = this.#tables
    const entry = segment.compacted()
    if (entry === segment) {
      if (note !== undefined) this.#write(inFlight, session, first, note)
      return
    }
    this.#write(deliveries, session, first, undefined)
    if (wasNoted) this.#write(inFlight, session, first, undefined)
    if (entry !== undefined) this.#writeEntry(session, entry)
  }

  #writeEntry (session: number, { first, bytes, note }: SegmentEntry): void {
    this.#write(this.#tables.deliveries, session, first, bytes)
    if (note !== undefined) this.#write(this.#tables.inFlight, session, first, note)
  }

  #write (table: Table, session: number, first: number, value: Buffer | undefined): void {
    this.batch.write(table, positionKey(session, first), value)
  }

  #release (body: number, count: number): void {
    const key = numberKey(body)
    const { bodies, shares } = this.#tables
    const stored = shares.getBinary(key)
    if (stored === undefined) return
    const left = decodeCount(stored) - count
    this.batch.write(shares, key, left > 0 ? encodeCount(left) : undefined)
    if (left <= 0) this.batch.write(bodies, key, undefined)
  }

  #receive ({ session, packetIdentifier, isInUse }: ReceivedChange, { sessions }: Changes): void {
    if (!isRemoved(session, sessions)) this.batch.write(this.#tables.received, receivedKey(session, packetIdentifier), isInUse ? nothing : undefined)
  }

  #retain (topicName: string, message: Message | undefined): void {
    if (message !== undefined) this.batch.isGrowing = true
    this.batch.write(this.#tables.retained, textKey(topicName), message === undefined ? undefined : this.#codec.encode(message))
  }
}

/** Deliveries of each Session, in their order. */
function bySession (deliveries: readonly DeliveryRecord[]): Iterable<readonly DeliveryRecord[]> {
  const queues = new Map<number, DeliveryRecord[]>()
  for (const delivery of deliveries) {
    const queue = queues.get(delivery.session)
    if (queue === undefined) queues.set(delivery.session, [delivery])
    else queue.push(delivery)
  }
  for (const queue of queues.values()) queue.sort((a, b) => a.position - b.position)
  return queues.values()
}

function isRemoved (session: number, sessions: Changes['sessions']): boolean {
  return sessions.has(session) && sessions.get(session) === undefined
}
