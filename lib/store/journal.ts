import type { MqttError } from '../base/errors.ts'
import { Origin, type Message } from '../contract/message.ts'
import type { SessionRecord, Store } from '../contract/store.ts'
import { storeFailed } from '../contract/store-errors.ts'
import type { Subscription } from '../contract/subscription.ts'
import { QoS } from '../packet/packets.ts'
import { AwaitedMessages, type Lane } from './awaited-messages.ts'
import type { CommitSchedule } from './commit-schedule.ts'
import { GroupCommit, type JournalServices } from './group-commit.ts'
import { retainedBy } from './journal-batch.ts'
import type { Expelled, JournalPeer } from './journal-peer.ts'
import { DeliveryState, PendingMessage, PendingState, waiterOf, type JournalDelivery, type Waiter } from './pending-message.ts'

/** Milliseconds after which the store is told that the broker still runs, if nothing else was. */
const beatMs = 5_000

/**
 * Gathers what has to be stored and commits it in groups, one after the other. Whoever waits for something waits for the commit
 * that it is part of. What a commit could not write, but messages, is part of the next one.
 */
export class Journal {
  readonly store: Store
  readonly #services: JournalServices
  readonly #group: GroupCommit
  readonly #schedule: CommitSchedule
  readonly #awaited: AwaitedMessages
  #nextSession = 1
  #isOpen = false

  constructor (store: Store, services: JournalServices) {
    this.store = store
    this.#services = services
    this.#group = new GroupCommit(store, services)
    this.#schedule = this.#group.schedule
    this.#awaited = new AwaitedMessages(services.clock, store, messages => { this.#gatherAll(messages) })
  }

  /** Whether it can be read from and written to. */
  get isOpen (): boolean { return this.#isOpen }

  /** Whether the last commit failed. */
  get isFailing (): boolean { return this.#group.isFailing() }

  /** The cluster that the broker is part of. */
  get peer (): JournalPeer | undefined { return this.#group.peer }

  set peer (peer: JournalPeer | undefined) { this.#group.peer = peer }

  /** @returns when the broker was last known to run, in milliseconds since the epoch; undefined when it never did */
  async open (): Promise<number | undefined> {
    const { nextSession, aliveAt } = await this.store.open(this.#services.logger)
    this.#isOpen = true
    this.#nextSession = nextSession
    return aliveAt
  }

  /** Numbers from here on are not anybody else's: a node has joined a cluster. */
  continueAt (nextSession: number): void { this.#nextSession = nextSession }

  /** A number that no other Session has, had or will have. */
  newSession (): number {
    this.#group.batch.created.add(this.#nextSession)
    return this.#nextSession++
  }

  /** Writes a Session's record, or removes it with all that belongs to it but its deliveries. */
  saveSession (session: number, record: SessionRecord | undefined): void {
    this.#group.batch.saveSession(session, record)
    this.plan()
  }

  subscribe (session: number, topicFilter: string, subscription: Subscription | undefined): void {
    this.#group.batch.subscribe({ session, topicFilter, subscription })
    this.plan()
  }

  /** An inbound QoS 2 Packet Identifier came into use, or was released. */
  receive (session: number, packetIdentifier: number, isInUse: boolean): void {
    this.#group.batch.receive({ session, packetIdentifier, isInUse })
    this.plan()
  }

  /** A message is retained, or, without a payload, has removed the one that was. */
  retain (message: Message): void {
    this.#group.batch.retained.set(message.topicName, retainedBy(message))
    const pending = this.#pendingOf(message)
    pending.isRetained = true
    this.#bind(pending)
  }

  /** A message goes to other nodes, and its publisher is told when it has. */
  send (message: Message): void { this.#bind(this.#pendingOf(message)) }

  #bind (pending: PendingMessage): void {
    pending.isBound = true
    this.#gather(pending)
  }

  /** A retained message has expired. */
  forgetRetained (topicName: string): void {
    this.#group.batch.retained.set(topicName, undefined)
    this.plan()
  }

  /**
   * A message has come for a Session.
   * @param lane of the Session, whose messages are written in their order
   */
  enqueue (delivery: JournalDelivery, lane: Lane): void {
    delivery.state = DeliveryState.gathered
    const pending = this.#pendingOf(delivery.message)
    pending.add(delivery)
    if (this.#canAwait(pending, delivery)) {
      this.#awaited.add(pending, lane)
      return
    }
    if (this.#awaited.mayHave(lane)) this.#gatherAwaited()
    this.#gather(pending)
  }

  /** A Client has gone, and may be at another node in a moment: what it was sent is to be found there under its Packet Identifier. */
  clientGone (lane: Lane): void {
    if (this.peer !== undefined && this.#awaited.mayHave(lane)) this.#gatherAwaited()
  }

  /** A delivery was sent or released; when that is not part of what is written of it anyway, it is written by itself. */
  sent (delivery: JournalDelivery): void {
    if (delivery.state !== DeliveryState.writing && delivery.state !== DeliveryState.stored) return
    this.#group.batch.note(delivery)
    if (delivery.qos === QoS.atLeastOnce) this.#schedule.planSome()
    else this.plan()
  }

  /** A delivery is done with; if it was not written yet, it never will be. */
  remove (delivery: JournalDelivery): void {
    const { state } = delivery
    delivery.state = state === DeliveryState.lost ? state : DeliveryState.done
    delivery.pending?.complete(delivery)
    if (state !== DeliveryState.writing && state !== DeliveryState.stored) return
    this.#group.batch.removed.push(delivery)
    this.#schedule.planSome()
  }

  /** A delivery belongs to a Session that is another node's now. What came through the inbox the new owner has from there, unless a Shared Subscription chose; the rest is to be refused. */
  forget (delivery: JournalDelivery): void {
    const isThere = !delivery.message.isFromHere && delivery.sharedFilter === undefined
    if (!isThere && delivery.state !== DeliveryState.stored) return
    delivery.state = DeliveryState.done
    delivery.pending?.complete(delivery)
  }

  /**
   * A Session is another node's now: what has gathered for it is taken out.
   * @param clientIdentifier undefined when it has none here any more
   * @returns messages that are to be brought to it there
   */
  expel (session: number, clientIdentifier: string | undefined): Expelled {
    return this.#group.batch.expel(session, clientIdentifier, storeFailed('the Session was taken over by another node'))
  }

  /** All Sessions are other nodes': nothing is written of any. @returns messages that were left out */
  expelAll (): readonly Message[] {
    const error = storeFailed('the Sessions were taken over by other nodes')
    return [...this.#group.sealed?.expelAll(error) ?? [], ...this.#group.batch.expelAll(error)]
  }

  /** Whether the next commit has messages for a Session. */
  hasGathered (session: number): boolean {
    return this.#group.batch.messages.some(({ deliveries }) => deliveries.some(delivery => delivery.session === session))
  }

  /** What the next commit says of a topic's retained message; undefined for nothing. */
  retainedNext (topicName: string): { readonly message: Message | undefined } | undefined {
    const { retained } = this.#group.batch
    return retained.has(topicName) ? { message: retained.get(topicName) } : undefined
  }

  /** QoS 1 and 2 messages that have gathered, in the order in which they came. */
  * gathered (): Generator<Message> { for (const { message } of this.#group.batch.messages) yield message }

  /** The same as `written`, even if there is nothing to write: then the store is asked all the same. */
  synced (): Promise<void> {
    this.#group.batch.isBeat = true
    return this.written()
  }

  /** Lets the store know now and then that the broker runs, since the clocks of who is connected start when it is killed. */
  beat (): void {
    if (this.#services.clock.now() - this.#group.aliveAt < beatMs) return
    this.#group.batch.isBeat = true
    this.plan()
  }

  /** There is something to commit, here or with the cluster. */
  plan (): void { this.#schedule.plan() }

  /** Tells `waiter` when all that was recorded so far is durable. */
  wait (waiter: Waiter): void {
    this.#gatherAwaited()
    this.#group.batch.waiters.push(waiter)
    this.plan()
  }

  /**
   * Resolves when all that was recorded so far is durable.
   * @throws MqttError when it could not be written
   */
  written (): Promise<void> {
    return new Promise((resolve, reject) => { this.wait(waiterOf(resolve, reject)) })
  }

  /** Resolves when nothing is being committed; nothing will be before `resume`. */
  pause (): Promise<void> { return this.#schedule.pause() }

  /** What has waited is committed before the next pause, unless the store has failed and is left alone for some time. */
  resume (): void { this.#schedule.resume() }

  /** Resolves when publishers of what is to be stored may go on; undefined when they may at once. */
  hold (): Promise<void> | undefined { return this.#group.hold() }

  /** What has gathered, and what is being committed, is not this broker's to write any more: from here on nothing is. */
  discard (error: MqttError): void { this.#group.discard(error) }

  /** Writes what is left and closes the store. */
  async close (): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    try {
      if (!this.#group.isDiscarded) await this.written()
    } finally {
      this.#schedule.close()
      this.#awaited.close()
      await this.store.close()
    }
  }

  #pendingOf (message: Message): PendingMessage {
    const { pending: known } = message
    if (known instanceof PendingMessage && known.owner === this && known.state !== PendingState.sealed) return known
    const pending = new PendingMessage(message, this)
    message.pending = pending
    return pending
  }

  /** Whether it is worth waiting for acknowledgements: whoever has the message can send one, and its publisher would send it again, as nobody would a Will Message. */
  #canAwait ({ state }: PendingMessage, { qos, packetIdentifier, message, sharedFilter }: JournalDelivery): boolean {
    if (state > PendingState.awaited || qos !== QoS.atLeastOnce || packetIdentifier === 0 || (this.store.patienceMs ?? 0) === 0) return false
    if (message.origin === Origin.will || message.origin === Origin.acknowledged) return false
    return this.peer === undefined || (message.origin > 0 && sharedFilter === undefined) // a node that dies leaves its inbox, and nothing else
  }

  /** It has to be written, and what came before it not later. */
  #gather (pending: PendingMessage): void {
    if (pending.state === PendingState.awaited) this.#gatherAwaited()
    else this.#add(pending)
    this.plan()
  }

  #gatherAwaited (): void { this.#gatherAll(this.#awaited.take()) }

  #gatherAll (messages: readonly PendingMessage[]): void {
    for (const pending of messages) this.#add(pending)
    if (messages.length > 0) this.plan()
  }

  #add (pending: PendingMessage): void {
    if (pending.state === PendingState.gathered) return
    pending.state = PendingState.gathered
    this.#group.batch.messages.push(pending)
    this.#group.batch.bytes += pending.message.size
    this.#services.metrics.uncommittedBytes += pending.message.size
  }
}
