import type { ReasonCode } from '../base/reason-codes.ts'
import type { AcknowledgeType, Packet, QoS } from '../packet/packets.ts'
import type { Message } from './message.ts'

/** How one message goes to one Client: the merged Subscription Options that decided it (section 3.3.4). */
export interface DeliveryOptions {
  readonly qos: QoS
  readonly retain: boolean
  /** Of all subscriptions that matched [MQTT-3.3.4-3]. */
  readonly subscriptionIdentifiers: readonly number[]
}

/**
 * Where a Session and the protocol send packets: the one way from below to a Network Connection.
 * Nothing here waits: bytes gather and leave together at the end of the event loop's turn.
 */
export interface PacketSink {
  /** More bytes wait than `maximumOutboxBytes`: QoS 0 is dropped, QoS 1 and 2 stay in the Session until `Session.resume()`. */
  readonly isCongested: boolean
  /**
   * Sends a PUBLISH. Returns false, and sends nothing, when it would pass the Client's Maximum Packet Size [MQTT-3.1.2-24].
   * The arguments are taken apart so that a QoS 0 message needs no object of its own.
   */
  publish (message: Message, qos: QoS, retain: boolean, subscriptionIdentifiers: readonly number[], packetIdentifier: number, dup: boolean): boolean
  /** Sends PUBACK, PUBREC, PUBREL or PUBCOMP with Reason Code 0. */
  acknowledge (type: AcknowledgeType, packetIdentifier: number): void
  /** Little enough bytes wait that a backlog may go on; when there is room again `Outbox.pump()` is called. */
  readonly hasRoom: boolean
  send (packet: Packet): void
  /** Ends the connection; an MQTT 5.0 Client is told the Reason Code first. */
  disconnect (reasonCode: ReasonCode): void
}
