import type { Changes, DeliveryRecord, SessionRecord, Store } from '../../../lib/contract/store.ts'
import type { Message } from '../../../lib/contract/message.ts'
import type { Subscription } from '../../../lib/contract/subscription.ts'
import { plainDelivery, plainMessage, fetchAll, type Contents } from './store-contents.ts'
import { changesOf, messageOf, sessionRecord, subscriptionTo, TestQueue, type LiveDelivery } from './store-records.ts'

/** Numbers that look random, and are the same for the same seed. */
export function randomOf (seed: number): (below: number) => number {
  let state = seed
  return below => {
    state = (state + 0x6D2B79F5) | 0
    let value = Math.imul(state ^ (state >>> 15), 1 | state)
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value
    return ((value ^ (value >>> 14)) >>> 0) % below
  }
}

interface ModelSession {
  record: SessionRecord
  readonly subscriptions: Map<string, Subscription>
  readonly received: Set<number>
  readonly queue: TestQueue
  deliveries: LiveDelivery[]
}

const filters = ['a', 'a/+', '#', '$share/s/a/#', '🦊/[x]/{y}/*:\\', `long/${'é'.repeat(3_000)}/1`, `long/${'é'.repeat(3_000)}/2`]
const topics = ['a', 'b/c', '🦊', '/', `long/${'é'.repeat(3_000)}/1`, `long/${'é'.repeat(3_000)}/2`]

/** What a store should have, and a broker that does this and that with it. */
export class StoreModel {
  readonly sessions: Map<number, ModelSession> = new Map<number, ModelSession>()
  readonly retained: Map<string, Message> = new Map<string, Message>()
  readonly #random: (below: number) => number
  #nextSession: number
  #time = 1_000

  constructor (seed: number, nextSession: number) {
    this.#random = randomOf(seed)
    this.#nextSession = nextSession
  }

  get nextSession (): number { return this.#nextSession }

  get time (): number { return this.#time }

  get contents (): Contents {
    const sessions = [...this.sessions].map(([number, { record, subscriptions, received, deliveries }]) => [number, {
      record, received: [...received].sort((a, b) => a - b), deliveries: deliveries.map(plainDelivery),
      subscriptions: [...subscriptions.values()].sort((a, b) => Buffer.compare(Buffer.from(a.topicFilter), Buffer.from(b.topicFilter))),
    }] as const)
    const retained = [...this.retained.values()].map(plainMessage)
    return {
      sessions: new Map(sessions.sort(([a], [b]) => a - b)),
      retained: retained.sort((a, b) => Buffer.compare(Buffer.from(a.topicName), Buffer.from(b.topicName))),
    }
  }

  /** Some changes; they are part of the model already. */
  step (): Changes {
    const changes = {
      sessions: new Map<number, SessionRecord | undefined>(), retained: new Map<string, Message | undefined>(),
      subscriptions: new Array<Changes['subscriptions'][number]>(), received: new Array<Changes['received'][number]>(),
      enqueued: new Array<Changes['enqueued'][number]>(), sent: new Array<DeliveryRecord>(), removed: new Array<DeliveryRecord>(),
      aliveAt: this.#time += this.#random(3_000),
    }
    const isTouched = new Set<LiveDelivery>()
    this.#remove(changes.removed, isTouched)
    this.#send(changes.sent, isTouched)
    this.#endSession(changes)
    for (let i = this.#random(2); i >= 0; i--) this.#writeSession(changes.sessions)
    for (const [number, session] of this.sessions) {
      if (this.#random(3) === 0) this.#subscribe(number, session, changes.subscriptions)
      if (this.#random(3) === 0) this.#receive(number, session, changes.received)
    }
    for (let i = this.#random(4); i > 0; i--) this.#publish(changes.enqueued)
    this.#retain(changes.retained)
    return changesOf(changes)
  }

  /** The broker was started again: it knows only what the store has given it. */
  async restart (store: Store): Promise<void> {
    for (const [number, session] of this.sessions) session.deliveries = await fetchAll(store, number)
  }

  #remove (removed: DeliveryRecord[], isTouched: Set<LiveDelivery>): void {
    for (const session of this.sessions.values()) {
      const isKept = (delivery: LiveDelivery): boolean => this.#random(4) > 0 || isTouched.has(delivery)
      const [kept, gone] = [session.deliveries.filter(isKept), new Set(session.deliveries)]
      for (const delivery of kept) gone.delete(delivery)
      removed.push(...gone)
      session.deliveries = kept
    }
  }

  #send (sent: DeliveryRecord[], isTouched: Set<LiveDelivery>): void {
    for (const { deliveries } of this.sessions.values()) {
      const next = deliveries.find(({ packetIdentifier }) => packetIdentifier === 0)
      const last = deliveries.find(({ packetIdentifier, isReleased }) => packetIdentifier !== 0 && !isReleased)
      if (next !== undefined && this.#random(2) === 0) this.#touch(next, isTouched, sent).packetIdentifier = next.position % 65_535 + 1
      if (last !== undefined && last !== next && this.#random(2) === 0) this.#touch(last, isTouched, sent).isReleased = true
    }
  }

  #touch (delivery: LiveDelivery, isTouched: Set<LiveDelivery>, sent: DeliveryRecord[]): LiveDelivery {
    isTouched.add(delivery)
    sent.push(delivery)
    return delivery
  }

  /** One that has nothing left to send. */
  #endSession ({ sessions }: { readonly sessions: Map<number, SessionRecord | undefined> }): void {
    const empty = [...this.sessions].find(([, { deliveries }]) => deliveries.length === 0)
    if (empty === undefined || this.#random(4) > 0) return
    this.sessions.delete(empty[0])
    sessions.set(empty[0], undefined)
  }

  #writeSession (sessions: Map<number, SessionRecord | undefined>): void {
    const isNew = this.sessions.size === 0 || (this.sessions.size < 12 && this.#random(3) === 0)
    const number = isNew ? this.#nextSession++ : [...this.sessions.keys()][this.#random(this.sessions.size)] as number
    const record = sessionRecord(`client ${number}`, { isConnected: this.#random(2) === 0, expiresAt: this.#random(1_000_000) })
    const known = this.sessions.get(number)
    if (known === undefined) this.sessions.set(number, { record, subscriptions: new Map(), received: new Set(), queue: new TestQueue(number), deliveries: [] })
    else known.record = record
    sessions.set(number, record)
  }

  #subscribe (session: number, { subscriptions }: ModelSession, changes: Changes['subscriptions'][number][]): void {
    const topicFilter = this.#oneOf(filters)
    const isRemoval = this.#random(3) === 0
    const subscription = isRemoval ? undefined : subscriptionTo(topicFilter, { qos: this.#random(2) === 0 ? 1 : 2, subscriptionIdentifier: this.#random(5) })
    if (subscription === undefined) subscriptions.delete(topicFilter)
    else subscriptions.set(topicFilter, subscription)
    changes.push({ session, topicFilter, subscription })
  }

  #receive (session: number, { received }: ModelSession, changes: Changes['received'][number][]): void {
    const packetIdentifier = 1 + this.#random(20)
    const isInUse = !received.has(packetIdentifier)
    if (isInUse) received.add(packetIdentifier)
    else received.delete(packetIdentifier)
    changes.push({ session, packetIdentifier, isInUse })
  }

  #publish (enqueued: Changes['enqueued'][number][]): void {
    const message = this.#message(this.#oneOf(topics))
    const receivers = [...this.sessions.values()].filter(() => this.#random(3) === 0)
    const deliveries = receivers.map(session => {
      const delivery = session.queue.next(message, { subscriptionIdentifiers: this.#random(2) === 0 ? [] : [7, 268_435_455], sharedFilter: this.#random(3) === 0 ? '$share/g/#' : undefined })
      const isFirst = session.deliveries.every(({ packetIdentifier }) => packetIdentifier !== 0)
      if (isFirst && this.#random(2) === 0) delivery.packetIdentifier = delivery.position % 65_535 + 1
      session.deliveries.push(delivery)
      return delivery
    })
    if (deliveries.length > 0) enqueued.push({ message, deliveries })
  }

  #retain (retained: Map<string, Message | undefined>): void {
    const topicName = this.#oneOf(topics)
    const message = this.#random(3) === 0 ? undefined : this.#message(topicName)
    if (message === undefined) this.retained.delete(topicName)
    else this.retained.set(topicName, message)
    retained.set(topicName, message)
  }

  #message (topicName: string): Message {
    return messageOf({ topicName, qos: this.#random(2) === 0 ? 1 : 2, payload: Buffer.alloc(this.#random(3) === 0 ? 5_000 : 20, this.#random(256)) })
  }

  #oneOf<T> (items: readonly T[]): T { return items[this.#random(items.length)] as T }
}
