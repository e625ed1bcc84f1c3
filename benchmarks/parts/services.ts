import { defaultLimits, type Limits } from '../../lib/base/limits.ts'
import { Metrics } from '../../lib/base/metrics.ts'
import { systemClock } from '../../lib/contract/clock.ts'
import { silentLogger } from '../../lib/contract/logger.ts'
import { Message } from '../../lib/contract/message.ts'
import type { PacketSink } from '../../lib/contract/packet-sink.ts'
import type { QoS } from '../../lib/packet/packets.ts'
import type { SessionServices } from '../../lib/session/session-services.ts'
import type { Topic } from '../../lib/topic/topic.ts'

/** A connection that counts what it is given, and remembers the last Packet Identifiers so that they can be acknowledged. */
export class CountingSink implements PacketSink {
  readonly isCongested: boolean = false
  readonly hasRoom: boolean = true
  published = 0
  acknowledged = 0
  lastIdentifier = 0

  publish (_message: Message, _qos: QoS, _retain: boolean, _subscriptionIdentifiers: readonly number[], packetIdentifier: number): boolean {
    this.published++
    this.lastIdentifier = packetIdentifier
    return true
  }

  acknowledge (): void { this.acknowledged++ }

  send (): void { throw new Error('nothing but messages is sent here') }

  disconnect (): void { throw new Error('the Session gave up') }
}

export function sessionServices (limits: Partial<Limits> = {}): SessionServices {
  return {
    limits: { ...defaultLimits, ...limits }, metrics: new Metrics(), clock: systemClock, logger: silentLogger,
    dropped: (_target, _message, reason) => { throw new Error(`a message was dropped: ${reason}`) },
    isRetained: () => true,
  }
}

const payload = Buffer.alloc(64, 'x')

export function newMessage (topic: Topic, qos: QoS): Message {
  return new Message({ payload, qos, retain: false, properties: undefined }, topic, 'publisher')
}
