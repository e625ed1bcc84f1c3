import type {
  Changes, DeliveryRecord, Enqueued, Message, MessageCodec, ReceivedChange, SessionRecord, SubscriptionChange,
} from '../../lib/index.ts'
import { bytesOf, numberKey, positionKey, receivedKey, subscriptionKey, textKey, type Table, type Tables } from './layout.ts'
import { decodeCount, decodeDeliveryHeader, encodeCount, encodeDelivery, encodeInFlight, encodeJson, inline } from './records.ts'
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
    for (const enqueued of changes.enqueued) this.#enqueue(enqueued)
    for (const delivery of changes.sent) this.#inFlight(delivery)
    for (const delivery of changes.removed) this.#remove(delivery)
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
    for (const key of table.getKeys({ start: numberKey(session), end: numberKey(session + 1) })) this.batch.write(table, bytesOf(key), undefined)
  }

  #subscription ({ session, topicFilter, subscription }: SubscriptionChange, { sessions }: Changes): void {
    if (isRemoved(session, sessions)) return
    const key = subscriptionKey(session, topicFilter)
    if (subscription === undefined) this.batch.write(this.#tables.subscriptions, key, undefined)
    else this.#putIfChanged(this.#tables.subscriptions, key, subscription)
  }

  /** A message for one Session stands in its queue; one for several stands by itself, once. */
  #enqueue ({ message, deliveries }: Enqueued): void {
    if (deliveries.length === 0) return
    this.batch.isGrowing = true
    const body = deliveries.length === 1 ? inline : this.#share(message, deliveries.length)
    for (const delivery of deliveries) {
      this.#writeDelivery(this.#tables.deliveries, delivery, encodeDelivery(delivery, body, this.#codec))
      if (delivery.packetIdentifier !== 0) this.#inFlight(delivery)
      delivery.reference = body
    }
  }

  #share (message: Message, count: number): number {
    const body = this.#state.newBody()
    this.batch.write(this.#tables.bodies, numberKey(body), this.#codec.encode(message))
    this.batch.write(this.#tables.shares, numberKey(body), encodeCount(count))
    return body
  }

  #inFlight (delivery: DeliveryRecord): void {
    this.#writeDelivery(this.#tables.inFlight, delivery, encodeInFlight(delivery))
  }

  #remove (delivery: DeliveryRecord): void {
    const { deliveries, inFlight } = this.#tables
    const reference = delivery.reference === 0 ? this.#referenceOf(delivery) : delivery.reference
    if (reference === 0) return
    this.#writeDelivery(deliveries, delivery, undefined)
    this.#writeDelivery(inFlight, delivery, undefined)
    if (reference !== inline) this.#released.set(reference, 1 + (this.#released.get(reference) ?? 0))
  }

  #writeDelivery (table: Table, { session, position }: DeliveryRecord, value: Buffer | undefined): void {
    this.batch.writeDelivery(table, positionKey(session, position), value, session, position)
  }

  #referenceOf ({ session, position }: DeliveryRecord): number {
    const stored = this.#tables.deliveries.getBinary(positionKey(session, position))
    return stored === undefined ? 0 : decodeDeliveryHeader(stored).reference
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

function isRemoved (session: number, sessions: Changes['sessions']): boolean {
  return sessions.has(session) && sessions.get(session) === undefined
}
