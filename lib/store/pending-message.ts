import type { MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Message } from '../contract/message.ts'
import type { DeliveryRecord, Enqueued } from '../contract/store.ts'

/** Somebody who has to wait until something is durable. */
export interface Waiter {
  stored (): void
  /** Nothing of the commit was written. */
  refused (error: MqttError): void
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
  stored (): void
  /** It could not be written. */
  refused (): void
}

/**
 * A message on its way into the store, because Sessions have to get it or because it is retained. When all its subscribers have it
 * before it was written, it need not be, and its publisher is told at once.
 */
export class PendingMessage implements Enqueued {
  readonly message: Message
  deliveries: JournalDelivery[] = []
  /** What its publisher will be told. */
  reasonCode: ReasonCode = ReasonCode.success
  /** No acknowledgement makes writing it needless. */
  isRetained = false
  /** The batch that it is part of. */
  readonly batch: object
  #waiter: Waiter | undefined = undefined
  /** Deliveries that nobody has acknowledged yet. */
  #open = 0

  constructor (message: Message, batch: object) {
    this.message = message
    this.batch = batch
  }

  get isSettled (): boolean { return this.#open === 0 && !this.isRetained }

  /** The publisher, who is told once. */
  tell (waiter: Waiter): void { this.#waiter = waiter }

  add (delivery: JournalDelivery): void {
    this.deliveries.push(delivery)
    delivery.pending = this
    this.#open++
  }

  /** A subscriber has the message. */
  complete (delivery: JournalDelivery): void {
    delivery.pending = undefined
    this.#open--
    if (this.isSettled) this.stored()
  }

  /** Leaves out deliveries that were done with before they were written. */
  seal (): void {
    this.message.pending = undefined
    this.deliveries = this.deliveries.filter(({ state }) => state === DeliveryState.gathered)
    for (const delivery of this.deliveries) delivery.state = DeliveryState.writing
  }

  /**
   * Resolves when it is durable, or needs not be.
   * @throws MqttError when it could not be written
   */
  written (): Promise<void> {
    return this.isSettled ? Promise.resolve() : new Promise((resolve, reject) => { this.tell({ stored: resolve, refused: reject }) })
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
