import type { Message } from '../contract/message.ts'
import type { Delivery } from './delivery.ts'

/** The QoS 1 and 2 messages of one Session that wait for their turn. */
export interface WaitingQueue {
  /** Messages that wait, wherever they are kept. */
  readonly length: number
  /** Whether the message may wait, if need be in the place of older ones; if not, it is dropped with a reason. */
  admit (message: Message): boolean
  /** Takes in a delivery whose message was admitted. */
  push (delivery: Delivery): void
  /** The oldest that has not expired [MQTT-3.3.2-5]; undefined when there is none, or none in memory yet: then `Outbox.pump` is called once there is. */
  shift (): Delivery | undefined
  /** Removes what `chosen` names and hands it to `each`, at once or, where it has to be read first, later; the others keep their order. */
  extract (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void
  /** The same for messages of Shared Subscriptions, where there may be any. */
  extractShared (chosen: (delivery: Delivery) => boolean, each: (delivery: Delivery) => void): void
  /** A connection has come that takes what waits. */
  attach (): void
  /** It has gone. */
  detach (): void
  /** The Session has ended: hands all that is in memory to `each`. */
  clear (each: (delivery: Delivery) => void): void
}
