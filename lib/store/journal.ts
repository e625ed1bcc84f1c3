import { clearImmediate, setImmediate } from 'node:timers'
import { ErrorCode, type MqttError } from '../base/errors.ts'
import type { Limits } from '../base/limits.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Clock } from '../contract/clock.ts'
import type { Logger } from '../contract/logger.ts'
import { CommitRefused } from '../contract/emitter.ts'
import { Origin, type Message } from '../contract/message.ts'
import type { SessionRecord, Store } from '../contract/store.ts'
import { storeFailed } from '../contract/store-errors.ts'
import type { Subscription } from '../contract/subscription.ts'
import { QoS } from '../packet/packets.ts'
import { AwaitedMessages, type Lane } from './awaited-messages.ts'
import { JournalBatch, retainedBy } from './journal-batch.ts'
import type { Expelled, JournalPeer } from './journal-peer.ts'
import { StoreWriter } from './store-writer.ts'
import { DeliveryState, PendingMessage, PendingState, waiterOf, type JournalDelivery, type Waiter } from './pending-message.ts'

/** Milliseconds after which a store that refused a commit is asked again. */
const retryMs = 1_000
/** Milliseconds after which the store is told that the broker still runs, if nothing else was. */
const beatMs = 5_000

/** What the journal is built with. */
export interface JournalServices {
  readonly clock: Clock
  readonly logger: Logger
  readonly metrics: Metrics
  readonly limits: Pick<Limits, 'maximumUncommittedBytes'>
}

/**
 * Gathers what has to be stored and commits it in groups, one after the other. Whoever waits for something waits for the commit
 * that it is part of. What a commit could not write, but messages, is part of the next one.
 */
export class Journal {
  readonly store: Store
  readonly #services: JournalServices
  readonly #writer: StoreWriter
  #batch = new JournalBatch()
  /** What is being committed. */
  #sealed: JournalBatch | undefined = undefined
  readonly #awaited: AwaitedMessages
  #nextSession = 1
  /** Ends the wait for the next commit; undefined when none is planned. */
  #cancel: (() => void) | undefined = undefined
  /** Nobody waits for what has gathered. */
  #isPatient = true
  #isOpen = false
  /** From here on nothing is written. */
  #isClosed = false
  #isDiscarded = false
  #isCommitting = false
  /** Who wants that nothing is being committed. */
  #pauses = 0
  #whenIdle: (() => void)[] = []
  #resume: (() => void)[] = []
  /** The cluster that the broker is part of. */
  peer: JournalPeer | undefined = undefined

  constructor (store: Store, services: JournalServices) {
    this.store = store
    this.#services = services
    this.#writer = new StoreWriter(store, services)
    this.#awaited = new AwaitedMessages(services.clock, store, messages => { this.#gatherAll(messages) })
  }

  /** Whether it can be read from and written to. */
  get isOpen (): boolean { return this.#isOpen }

  /** Whether the last commit failed. */
  get isFailing (): boolean { return this.#writer.isFailing }

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
    this.#batch.created.add(this.#nextSession)
    return this.#nextSession++
  }

  /** Writes a Session's record, or removes it with all that belongs to it but its deliveries. */
  saveSession (session: number, record: SessionRecord | undefined): void {
    this.#batch.saveSession(session, record)
    this.plan()
  }

  subscribe (session: number, topicFilter: string, subscription: Subscription | undefined): void {
    this.#batch.subscribe({ session, topicFilter, subscription })
    this.plan()
  }

  /** An inbound QoS 2 Packet Identifier came into use, or was released. */
  receive (session: number, packetIdentifier: number, isInUse: boolean): void {
    this.#batch.receive({ session, packetIdentifier, isInUse })
    this.plan()
  }

  /** A message is retained, or, without a payload, has removed the one that was. */
  retain (message: Message): void {
    this.#batch.retained.set(message.topicName, retainedBy(message))
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
    this.#batch.retained.set(topicName, undefined)
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
    this.#batch.note(delivery)
    if (delivery.qos === QoS.atLeastOnce) this.#planSome()
    else this.plan()
  }

  /** A delivery is done with; if it was not written yet, it never will be. */
  remove (delivery: JournalDelivery): void {
    const { state } = delivery
    delivery.state = state === DeliveryState.lost ? state : DeliveryState.done
    delivery.pending?.complete(delivery)
    if (state !== DeliveryState.writing && state !== DeliveryState.stored) return
    this.#batch.removed.push(delivery)
    this.#planSome()
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
    return this.#batch.expel(session, clientIdentifier, storeFailed('the Session was taken over by another node'))
  }

  /** All Sessions are other nodes': nothing is written of any. @returns messages that were left out */
  expelAll (): readonly Message[] {
    const error = storeFailed('the Sessions were taken over by other nodes')
    return [...this.#sealed?.expelAll(error) ?? [], ...this.#batch.expelAll(error)]
  }

  /** Whether the next commit has messages for a Session. */
  hasGathered (session: number): boolean {
    return this.#batch.messages.some(({ deliveries }) => deliveries.some(delivery => delivery.session === session))
  }

  /** What the next commit says of a topic's retained message; undefined for nothing. */
  retainedNext (topicName: string): { readonly message: Message | undefined } | undefined {
    const { retained } = this.#batch
    return retained.has(topicName) ? { message: retained.get(topicName) } : undefined
  }

  /** QoS 1 and 2 messages that have gathered, in the order in which they came. */
  * gathered (): Generator<Message> { for (const { message } of this.#batch.messages) yield message }

  /** The same as `written`, even if there is nothing to write: then the store is asked all the same. */
  synced (): Promise<void> {
    this.#batch.isBeat = true
    return this.written()
  }

  /** Lets the store know now and then that the broker runs, since the clocks of who is connected start when it is killed. */
  beat (): void {
    if (this.#services.clock.now() - this.#writer.aliveAt < beatMs) return
    this.#batch.isBeat = true
    this.plan()
  }

  /** Tells `waiter` when all that was recorded so far is durable. */
  wait (waiter: Waiter): void {
    this.#gatherAwaited()
    this.#batch.waiters.push(waiter)
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
  pause (): Promise<void> {
    this.#pauses++
    return this.#isCommitting ? new Promise(resolve => { this.#whenIdle.push(resolve) }) : Promise.resolve()
  }

  /** What has waited is committed before the next pause, unless the store has failed and is left alone for some time. */
  resume (): void {
    if (--this.#pauses === 0 && !this.#isClosed && this.#hasWork && (!this.isFailing || this.#cancel === undefined)) void this.#commit()
  }

  get #hasWork (): boolean { return this.#batch.hasWork || this.peer?.hasWork === true }

  /** Resolves when publishers of what is to be stored may go on; undefined when they may at once. */
  hold (): Promise<void> | undefined {
    return this.#batch.bytes < this.#services.limits.maximumUncommittedBytes ? undefined : new Promise(resolve => { this.#resume.push(resolve) })
  }

  /** What has gathered, and what is being committed, is not this broker's to write any more: from here on nothing is. */
  discard (error: MqttError): void {
    this.#isDiscarded = true
    const batch = this.#batch
    this.#batch = new JournalBatch()
    this.#services.metrics.uncommittedBytes -= batch.bytes
    for (const pending of batch.messages) pending.seal()
    batch.enqueued = batch.messages
    batch.refused(error, this.#failed)
  }

  /** Writes what is left and closes the store. */
  async close (): Promise<void> {
    if (!this.#isOpen) return
    this.#isOpen = false
    try {
      if (!this.#isDiscarded) await this.written()
    } finally {
      this.#isClosed = true
      this.#awaited.close()
      this.#cancel?.()
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
    this.#batch.messages.push(pending)
    this.#batch.bytes += pending.message.size
    this.#services.metrics.uncommittedBytes += pending.message.size
  }

  /** There is something to commit, here or with the cluster. */
  plan (): void {
    if (this.#isPatient && !this.isFailing) this.#stopWaiting()
    this.#isPatient = false
    this.#planOnce(this.store.commitDelayMs)
  }

  /** The same for what costs nobody more than a message that comes twice, should the process end before: more of it is cheaper together. */
  #planSome (): void {
    if (this.peer === undefined) this.#planOnce(Math.max(this.store.commitDelayMs, this.store.patienceMs ?? 0))
    else this.plan()
  }

  #planOnce (delayMs: number): void {
    if (this.#cancel === undefined && !this.#isCommitting && !this.#isClosed && this.#pauses === 0) this.#planIn(delayMs)
  }

  #stopWaiting (): void {
    this.#cancel?.()
    this.#cancel = undefined
  }

  #planIn (delayMs: number): void {
    const commit = (): void => { void this.#commit() }
    if (delayMs > 0) {
      this.#cancel = this.#services.clock.after(delayMs, commit)
      return
    }
    const immediate = setImmediate(commit)
    this.#cancel = () => { clearImmediate(immediate) }
  }

  async #commit (): Promise<void> {
    this.#stopWaiting()
    if (this.#pauses > 0 || this.#isCommitting) return
    this.#isCommitting = true
    let batch = this.#seal()
    let error = await this.#writer.write(batch)
    while (error instanceof CommitRefused && !this.#isDiscarded) {
      await this.#unseal(batch, error)
      batch = this.#seal()
      error = await this.#writer.write(batch)
    }
    if (error !== undefined || this.isFailing) await this.#writer.ended(batch, error)
    this.#isCommitting = false
    this.#sealed = undefined
    this.#services.metrics.uncommittedBytes -= batch.bytes
    if (error === undefined) batch.stored(this.#failed)
    else this.#giveUp(batch, error)
    for (const goOn of this.#whenIdle.splice(0)) goOn()
    for (const resume of this.#resume.splice(0)) resume()
    if (!this.#hasWork) this.#isPatient = true // what was asked for meanwhile may have been taken back
    else if (this.#isPatient) this.#planSome()
    else this.plan()
  }

  /** From here on nothing is added to what is written next. */
  #seal (): JournalBatch {
    this.peer?.prepare()
    const batch = this.#sealed = this.#batch
    this.#batch = new JournalBatch()
    this.#isPatient = true
    batch.cluster = this.peer?.seal(batch.messages)
    batch.seal(this.#services.clock.now())
    return batch
  }

  /** Other nodes have something against it: it is gathered again, and what is theirs is taken out. */
  async #unseal (batch: JournalBatch, refusal: CommitRefused): Promise<void> {
    batch.unseal(this.#batch)
    this.#batch = batch
    this.#sealed = undefined
    batch.cluster?.unseal()
    await this.peer?.learn(refusal)
  }

  readonly #failed = (error: unknown): void => {
    this.#services.logger.error({ err: error }, 'an unexpected error after a commit')
  }

  #giveUp (batch: JournalBatch, error: MqttError): void {
    if (error.code === ErrorCode.storeFull) this.#services.metrics.uncommittedBytes += this.#batch.keep(batch)
    this.#batch.inherit(batch)
    if (!this.#isClosed) this.#planIn(retryMs) // before anybody can ask for it sooner
    this.#batch.waitBefore(batch.refused(error, this.#failed))
  }
}
