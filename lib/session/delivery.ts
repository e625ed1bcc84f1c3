import type { DeliveryOptions } from '../contract/packet-sink.ts'
import type { Message } from '../contract/message.ts'
import type { QoS } from '../packet/packets.ts'

/** The Shared Subscription that chose a Session for a message (section 4.8.2), and that can choose another. */
export interface Share {
  /** `$share/{ShareName}/{filter}`. */
  readonly topicFilter: string
  /** Whether another member than `session` could have the message; one that is away only if `isOfflineToo`. */
  canRedispatch (message: Message, session: object, isOfflineToo: boolean): boolean
  /** Gives the message to another member than `session`, to one that is away if need be; false when there is none. */
  redispatch (message: Message, session: object): boolean
}

/** One QoS 1 or 2 message on its way to one Session: waiting, or in flight under a Packet Identifier. */
export class Delivery {
  readonly message: Message
  readonly qos: QoS
  readonly retain: boolean
  readonly subscriptionIdentifiers: readonly number[]
  readonly share: Share | undefined
  /** 0 until it is sent. */
  packetIdentifier = 0
  /** PUBREC has come: from here on PUBREL is resent, never PUBLISH (section 4.3.3). */
  isReleased = false
  /** In flight since an earlier connection, and not yet resent in this one: the Client's Receive Maximum does not count it. */
  isUnsent = false

  constructor (message: Message, options: DeliveryOptions, qos: QoS, share: Share | undefined) {
    this.message = message
    this.qos = qos
    this.retain = options.retain
    this.subscriptionIdentifiers = options.subscriptionIdentifiers
    this.share = share
  }
}
