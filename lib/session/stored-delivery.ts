import type { Message } from '../contract/message.ts'
import type { DeliveryOptions } from '../contract/packet-sink.ts'
import type { DeliveryRecord } from '../contract/store.ts'
import type { QoS } from '../packet/packets.ts'
import { DeliveryState, type JournalDelivery, type PendingMessage } from '../store/pending-message.ts'
import { Delivery, type Share } from './delivery.ts'

/** The log of the Session that a delivery belongs to. */
export interface DeliveryLog {
  /** The Session's number. */
  readonly number: number
  stored (position: number): void
  lost (delivery: StoredDelivery): void
}

/** A delivery to a Session that outlives the process: it has a place in the store. */
export class StoredDelivery extends Delivery implements JournalDelivery {
  position = 0
  total = 0
  reference = 0
  state: DeliveryState = DeliveryState.unrecorded
  pending: PendingMessage | undefined = undefined
  isNoted = false
  isMoved = false
  /** It has a Packet Identifier and no connection has seen it: QoS 2 waits until that is stored. */
  isHeld = false
  readonly #log: DeliveryLog

  constructor (message: Message, options: DeliveryOptions, qos: QoS, share: Share | undefined, log: DeliveryLog) {
    super(message, options, qos, share)
    this.#log = log
  }

  /** One that was found in the store. */
  static of (log: DeliveryLog, record: DeliveryRecord, share: Share | undefined): StoredDelivery {
    const delivery = new StoredDelivery(record.message, record, record.qos, share, log)
    delivery.position = record.position
    delivery.total = record.total
    delivery.packetIdentifier = record.packetIdentifier
    delivery.isReleased = record.isReleased
    delivery.reference = record.reference
    delivery.state = DeliveryState.stored
    return delivery
  }

  get session (): number { return this.#log.number }

  get sharedFilter (): string | undefined { return this.share?.topicFilter }

  /** It goes to another Session, where it is written down: that, and not that it is gone here, is what its publisher waits for. */
  move (): void {
    this.pending = undefined
    this.isMoved = true
  }

  stored (): void {
    if (this.state === DeliveryState.writing) this.state = DeliveryState.stored
    this.#log.stored(this.position)
  }

  refused (): void {
    const isDone = this.state === DeliveryState.done
    this.state = DeliveryState.lost
    this.pending = undefined
    if (!isDone) this.#log.lost(this)
  }
}
