import type { MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Message } from '../contract/message.ts'
import type { DeliveryRecord, Enqueued } from '../contract/store.ts'

/** Somebody who has to wait until something is durable. */
export interface Waiter {
  stored (): void
  /** Nothing of the commit was written. Returns true to wait for the next one, in its old place among those who do. */
  refused (error: MqttError): boolean
}

/** How far a delivery has come on its way into the store, and out again. */
export const DeliveryState = { unrecorded: 0, gathered: 1, writing: 2, stored: 3, done: 4, lost: 5 } as const
export type DeliveryState = (typeof DeliveryState)[keyof typeof DeliveryState]

/** A delivery that is written down; whoever it belongs to is told what becomes of it. */
export interface JournalDelivery extends DeliveryRecord {
  state: DeliveryState
  /** Its message, as long as nobody has acknowledged the delivery. */
  pending: PendingMessage | undefined
  /** It stands in the list of those that were sent. */
  isNoted: boolean
  /** What takes its place elsewhere is part of the same commit, so that it must not be removed without that. */
  readonly isMoved: boolean
  stored (): void
  /** It could not be written. */
  refused (): void
}

/**
 * How far a message has come: `awaited` while its subscribers may acknowledge it before it is written, `gathered` when it is part of
 * the next commit, `sealed` when nothing is added to it any more.
 */
export const PendingState = { fresh: 0, awaited: 1, gathered: 2, sealed: 3 } as const
export type PendingState = (typeof PendingState)[keyof typeof PendingState]

/** The deliveries of a message that has none, and the place of one that is not awaited; nothing is ever added to them. */
const nobody: JournalDelivery[] = []
const nowhere: (PendingMessage | undefined)[] = []

/**
 * A message on its way into the store, because Sessions have to get it or because it is retained. When all its subscribers have it
 * before it was written, it need not be, and its publisher is told at once.
 */
export class PendingMessage implements Enqueued {
  readonly message: Message
  deliveries: JournalDelivery[] = nobody
  /** What its publisher will be told. */
  reasonCode: ReasonCode = ReasonCode.success
  /** No acknowledgement makes writing it needless: it is retained, or goes to other nodes. */
  isBound = false
  /** The commit that it is part of retains it. */
  isRetained = false
  state: PendingState = PendingState.fresh
  /** Where it stands among those that are awaited. */
  place: (PendingMessage | undefined)[] = nowhere
  slot = 0
  /** Whose it is: a message may come to another journal, too. */
  readonly owner: object
  #waiter: Waiter | undefined = undefined
  /** Deliveries that nobody has acknowledged yet. */
  #open = 0

  constructor (message: Message, owner: object) {
    this.message = message
    this.owner = owner
  }

  isToldTo (waiter: Waiter): boolean { return this.#waiter === waiter }

  get isSettled (): boolean { return this.#open === 0 && !this.isBound }

  /** The publisher, who is told once. */
  tell (waiter: Waiter): void { this.#waiter = waiter }

  add (delivery: JournalDelivery): void {
    if (this.deliveries === nobody) this.deliveries = [delivery] // room for one: there is seldom more
    else this.deliveries.push(delivery)
    delivery.pending = this
    this.#open++
  }

  /** A subscriber has the message. */
  complete (delivery: JournalDelivery): void {
    delivery.pending = undefined
    this.#open--
    if (!this.isSettled) return
    if (this.state === PendingState.awaited) this.#leave()
    this.stored()
  }

  /** It need not be awaited any longer: nothing keeps it from being collected. */
  #leave (): void {
    this.place[this.slot] = undefined
    this.message.pending = undefined
    this.state = PendingState.sealed
    this.deliveries = nobody
  }

  /** The commit that it was part of was not written: it is gathered again. */
  unseal (): void {
    this.message.pending ??= this
    this.state = PendingState.gathered
    for (const delivery of this.deliveries) if (delivery.state === DeliveryState.writing) delivery.state = DeliveryState.gathered
  }

  /** Takes out deliveries of a Session that is another node's. @returns those that its Client has not got, and the new owner does not find in this node's inbox */
  leave (session: number): JournalDelivery[] {
    const gone = this.deliveries.filter(delivery => delivery.session === session)
    if (gone.length === 0) return gone
    const orphans = gone.filter(({ state, sharedFilter }) => state === DeliveryState.gathered && (this.message.isFromHere || sharedFilter !== undefined))
    if (orphans.length > 0) this.isBound = true // whoever published it waits until another node has it
    this.deliveries = this.deliveries.filter(delivery => delivery.session !== session)
    for (const delivery of gone) {
      delivery.state = DeliveryState.lost
      if (delivery.pending === this) this.complete(delivery)
    }
    return orphans
  }

  /** Takes out the delivery to a member of a Shared Subscription. */
  withdraw (sharedFilter: string | undefined): void {
    const withdrawn = this.deliveries.filter(delivery => delivery.sharedFilter === sharedFilter)
    this.deliveries = this.deliveries.filter(delivery => delivery.sharedFilter !== sharedFilter)
    for (const delivery of withdrawn) {
      if (delivery.pending === this) this.complete(delivery)
      delivery.refused()
    }
  }

  /** Leaves out deliveries that were done with before they were written. */
  seal (): void {
    this.message.pending = undefined
    this.state = PendingState.sealed
    this.deliveries = this.deliveries.filter(({ state }) => state === DeliveryState.gathered)
    for (const delivery of this.deliveries) delivery.state = DeliveryState.writing
  }

  /**
   * Resolves when it is durable, or needs not be.
   * @throws MqttError when it could not be written
   */
  written (): Promise<void> {
    return this.isSettled ? Promise.resolve() : new Promise((resolve, reject) => { this.tell(waiterOf(resolve, reject)) })
  }

  stored (): void {
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.stored()
  }

  refused (error: MqttError): void {
    const waiter = this.#waiter
    this.#waiter = undefined
    waiter?.refused(error)
  }
}

/** Somebody who waits with a promise. */
export function waiterOf (stored: () => void, reject: (error: MqttError) => void): Waiter {
  return {
    stored,
    refused: error => {
      reject(error)
      return false
    },
  }
}
