import type { MqttError } from '../base/errors.ts'
import { Origin, type Message } from '../contract/message.ts'
import type { Changes, ReceivedChange, SessionRecord, SubscriptionChange } from '../contract/store.ts'
import type { ClusterBatch, Expelled } from './journal-peer.ts'
import { DeliveryState, type JournalDelivery, type PendingMessage, type Waiter } from './pending-message.ts'

/** What gathers until the next commit, and who waits for it. */
export class JournalBatch implements Changes {
  readonly sessions: Map<number, SessionRecord | undefined> = new Map<number, SessionRecord | undefined>()
  /** Numbers of Sessions that no batch before has written. */
  readonly created: Set<number> = new Set<number>()
  readonly retained: Map<string, Message | undefined> = new Map<string, Message | undefined>()
  messages: PendingMessage[] = []
  waiters: Waiter[] = []
  enqueued: PendingMessage[] = []
  sent: JournalDelivery[] = []
  removed: JournalDelivery[] = []
  aliveAt = 0
  /** What it tells other nodes; undefined outside a cluster. */
  cluster: ClusterBatch | undefined = undefined
  /** It is to be committed even if that the broker runs is all there is to say. */
  isBeat = false
  /** Of the messages, roughly. */
  bytes = 0
  readonly #subscriptions = new Map<string, SubscriptionChange>()
  readonly #received = new Map<string, ReceivedChange>()
  /** Messages that another batch has taken over. */
  #kept: ReadonlySet<Message> = new Set<Message>()

  get subscriptions (): SubscriptionChange[] { return [...this.#subscriptions.values()] }

  get received (): ReceivedChange[] { return [...this.#received.values()] }

  /** Whether there is anything to write; to wait is not. */
  get hasChanges (): boolean {
    return this.isBeat || this.cluster?.hasChanges === true || this.enqueued.length + this.sent.length + this.removed.length > 0 ||
      this.sessions.size + this.retained.size + this.#subscriptions.size + this.#received.size > 0
  }

  /** Whether a commit has anything to do. */
  get hasWork (): boolean { return this.hasChanges || this.messages.length + this.waiters.length > 0 }

  /** A Session that was never written needs not be removed. */
  saveSession (session: number, record: SessionRecord | undefined): void {
    if (record === undefined && this.created.delete(session)) this.sessions.delete(session)
    else this.sessions.set(session, record)
  }

  subscribe (change: SubscriptionChange): void {
    this.#subscriptions.set(`${change.session}/${change.topicFilter}`, change)
  }

  receive (change: ReceivedChange): void {
    this.#received.set(`${change.session}/${change.packetIdentifier}`, change)
  }

  /** A stored delivery was sent, or released. */
  note (delivery: JournalDelivery): void {
    if (delivery.isNoted) return
    delivery.isNoted = true
    this.sent.push(delivery)
  }

  /** Leaves out what need not be written any more. From here on nothing is added. */
  seal (now: number): void {
    this.aliveAt = now
    for (const pending of this.messages) pending.seal()
    this.enqueued = this.messages.filter(({ deliveries }) => deliveries.length > 0)
    this.removed = this.removed.filter(({ state }) => state !== DeliveryState.lost)
    for (const delivery of this.sent) delivery.isNoted = false
    this.sent = this.sent.filter(({ state }) => state === DeliveryState.stored)
  }

  /**
   * Takes out what belongs to a Session that is another node's.
   * @param client whose Session that is: what it published and was not acknowledged comes again, to its new node
   */
  expel (session: number, client: string | undefined, error: MqttError): Expelled {
    this.sessions.delete(session)
    for (const [key, change] of this.#subscriptions) if (change.session === session) this.#subscriptions.delete(key)
    for (const [key, change] of this.#received) if (change.session === session) this.#received.delete(key)
    this.sent = this.sent.filter(delivery => delivery.session !== session)
    const returned = this.removed.filter(delivery => delivery.session === session && delivery.isMoved)
    this.removed = this.removed.filter(delivery => delivery.session !== session)
    for (const { message, sharedFilter } of returned) for (const pending of this.messages) if (pending.message === message) pending.withdraw(sharedFilter)
    const revoked = client === undefined ? [] : this.#revoke(({ message }) => message.isSentAgainBy(client), error)
    return { orphans: this.messages.flatMap(pending => pending.leave(session)), revoked, returned }
  }

  /** No Session is this node's own any more. What the host has published is the only thing that nobody else has. @returns the other messages */
  expelAll (error: MqttError): Message[] {
    for (const changes of [this.sessions, this.created, this.#subscriptions, this.#received]) changes.clear()
    this.sent = []
    this.removed = []
    return this.#revoke(({ message }) => !message.isHosts, error)
  }

  /** Nothing of it was written: it is gathered again, with what has come since. */
  unseal (newer: JournalBatch): void {
    const unwritten = new Set(this.messages.flatMap(({ deliveries }) => deliveries))
    for (const pending of this.messages) pending.unseal()
    this.messages = [...this.messages, ...newer.messages] // as arguments of push they could be too many
    this.bytes += newer.bytes
    this.waiters = [...this.waiters, ...newer.waiters]
    this.isBeat ||= newer.isBeat
    this.removed = [...this.removed, ...newer.removed.filter(delivery => !unwritten.has(delivery))]
    this.sent = [...new Set([...this.sent, ...newer.sent])]
    for (const delivery of this.sent) delivery.isNoted = true
    for (const session of newer.created) this.created.add(session)
    addAll(this.sessions, newer.sessions)
    addAll(this.retained, newer.retained)
    addAll(this.#subscriptions, newer.#subscriptions)
    addAll(this.#received, newer.#received)
  }

  #revoke (isRevoked: (pending: PendingMessage) => boolean, error: MqttError): Message[] {
    const revoked = this.messages.filter(isRevoked)
    if (revoked.length > 0) this.messages = this.messages.filter(pending => !isRevoked(pending))
    for (const pending of revoked) {
      if (pending.isRetained) this.#unretain(pending.message)
      for (const delivery of pending.deliveries) delivery.refused()
      pending.refused(error)
    }
    return revoked.map(({ message }) => message)
  }

  /** One that was retained before, by the same commit, is retained again. */
  #unretain (message: Message): void {
    const { topicName } = message
    if (this.retained.get(topicName) !== retainedBy(message)) return
    const before = this.messages.findLast(pending => pending.isRetained && pending.message.topicName === topicName)
    if (before === undefined) this.retained.delete(topicName)
    else this.retained.set(topicName, retainedBy(before.message))
  }

  /** It is written: tells all whom it concerns. What one of them throws keeps it from nobody else. */
  stored (failed: (error: unknown) => void): void {
    if (this.cluster !== undefined) for (const { message } of this.messages) if (message.origin === 0) message.origin = Origin.acknowledged
    this.cluster?.stored()
    for (const { deliveries } of this.enqueued) tellEach(deliveries, delivery => { delivery.stored() }, failed)
    tellEach(this.messages, pending => { pending.stored() }, failed)
    tellEach(this.waiters, waiter => { waiter.stored() }, failed)
  }

  /**
   * It is not: messages are given up, since their publishers are told so.
   * @returns who waits for the next commit
   */
  refused (error: MqttError, failed: (error: unknown) => void): Waiter[] {
    const again: Waiter[] = []
    this.cluster?.refused(this.#kept)
    for (const { deliveries } of this.enqueued) tellEach(deliveries, delivery => { delivery.refused() }, failed)
    tellEach(this.messages, pending => { pending.refused(error) }, failed)
    tellEach(this.waiters, waiter => { if (waiter.refused(error)) again.push(waiter) }, failed)
    return again
  }

  /** What makes room in a store that is full, and is right by itself. */
  get relief (): Changes {
    const removed = this.removed.filter(({ isMoved }) => !isMoved)
    return { sessions: new Map(), subscriptions: [], enqueued: [], sent: [], removed, received: [], retained: new Map(), aliveAt: this.aliveAt }
  }

  /** The store has taken that. */
  relieved (): void { this.removed = this.removed.filter(({ isMoved }) => isMoved) }

  /** Those who have waited for longer are told first: what they do then has its order. */
  waitBefore (waiters: readonly Waiter[]): void { this.waiters = [...waiters, ...this.waiters] }

  /** Takes over messages that another batch had no room for, and whose publishers cannot be told so any more. @returns their bytes */
  keep (failed: JournalBatch): number {
    const kept = failed.messages.filter(({ message }) => message.isPromised)
    failed.#kept = new Set(kept.map(({ message }) => message))
    failed.messages = failed.messages.filter(({ message }) => !message.isPromised)
    failed.enqueued = failed.enqueued.filter(({ message }) => !message.isPromised)
    const unwritten = new Set(kept.flatMap(({ deliveries }) => deliveries))
    this.removed = this.removed.filter(delivery => !unwritten.has(delivery))
    this.messages = [...kept, ...this.messages]
    for (const pending of kept) pending.unseal()
    const bytes = kept.reduce((sum, { message }) => sum + message.size, 0)
    this.bytes += bytes
    return bytes
  }

  /** Takes over what another batch could not write, where nothing newer stands here. Messages to Sessions are not: their publishers are told. */
  inherit (failed: JournalBatch): void {
    this.#inheritSessions(failed)
    addMissing(this.retained, failed.retained)
    addMissing(this.#subscriptions, failed.#subscriptions)
    addMissing(this.#received, failed.#received)
    for (const delivery of failed.removed) this.removed.push(delivery)
    for (const delivery of failed.sent) this.note(delivery)
  }

  #inheritSessions ({ sessions, created }: JournalBatch): void {
    addMissing(this.sessions, sessions)
    for (const session of created) {
      this.created.add(session)
      if (this.sessions.get(session) === undefined) this.saveSession(session, undefined)
    }
  }
}

/** What is retained after a message with RETAIN 1 [MQTT-3.3.1-6]. */
export function retainedBy (message: Message): Message | undefined { return message.payloadLength === 0 ? undefined : message }

function addMissing<K, V> (target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  for (const [key, value] of source) if (!target.has(key)) target.set(key, value)
}

function addAll<K, V> (target: Map<K, V>, source: ReadonlyMap<K, V>): void {
  for (const [key, value] of source) target.set(key, value)
}

function tellEach<T> (items: readonly T[], tell: (item: T) => void, failed: (error: unknown) => void): void {
  for (const item of items) {
    try {
      tell(item)
    } catch (error) {
      failed(error)
    }
  }
}
