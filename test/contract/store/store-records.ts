import { Message } from '../../../lib/contract/message.ts'
import type { Changes, DeliveryRecord, Enqueued, SessionRecord } from '../../../lib/contract/store.ts'
import type { Subscription } from '../../../lib/contract/subscription.ts'
import type { MessageProperties, QoS } from '../../../lib/packet/packets.ts'
import { Topic } from '../../../lib/topic/topic.ts'

/** A delivery whose fields go on changing, as those of the broker do. */
export type LiveDelivery = { -readonly [Field in keyof DeliveryRecord]: DeliveryRecord[Field] }

export function changesOf (changes: Partial<Changes>): Changes {
  return {
    sessions: new Map(), subscriptions: [], enqueued: [], sent: [], removed: [], received: [], retained: new Map(), aliveAt: 1_000, ...changes,
  }
}

export function sessionRecord (clientIdentifier: string, more: Partial<SessionRecord> = {}): SessionRecord {
  return { clientIdentifier, sessionExpiryInterval: 3_600, isConnected: false, expiresAt: 1_700_000_000_000, ...more }
}

export function subscriptionTo (topicFilter: string, more: Partial<Subscription> = {}): Subscription {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0, ...more }
}

/** What a message is made of; its defaults are the least that there can be. */
export interface MessageFields {
  readonly topicName?: string
  readonly payload?: Buffer
  readonly qos?: QoS
  readonly retain?: boolean
  readonly properties?: MessageProperties
  readonly publisher?: string
  readonly expiresAt?: number
}

export function messageOf ({ topicName = 'a', payload = Buffer.of(), qos = 1, retain = false, properties, publisher, expiresAt }: MessageFields): Message {
  return new Message({ payload, qos, retain, properties }, new Topic(topicName), publisher, expiresAt)
}

/** Makes the deliveries of one Session, one after the other. */
export class TestQueue {
  readonly session: number
  position: number
  #total: number

  /** @param total of what was queued before */
  constructor (session: number, position = 0, total = 0) {
    this.session = session
    this.position = position
    this.#total = total
  }

  next (message: Message, more: Partial<DeliveryRecord> = {}): LiveDelivery {
    this.#total += message.size
    return {
      session: this.session, position: this.position++, message, qos: message.qos, retain: false, subscriptionIdentifiers: [],
      sharedFilter: undefined, total: this.#total, packetIdentifier: 0, isReleased: false, reference: 0, ...more,
    }
  }

  /** As many messages, each for this Session alone, with their number as the payload. */
  several (count: number): LiveDelivery[] {
    return Array.from({ length: count }, (_, i) => this.next(messageOf({ payload: Buffer.from(String(i)) })))
  }
}

/** Deliveries that share no message. */
export function alone (deliveries: readonly DeliveryRecord[]): Enqueued[] {
  return deliveries.map(delivery => ({ message: delivery.message, deliveries: [delivery] }))
}
