import { ReasonCode } from '../../../lib/base/reason-codes.ts'
import { PacketType, type AcknowledgePacket, type Packet, type ProtocolVersion, type PublishPacket, type QoS } from '../../../lib/packet/packets.ts'
import { Topic } from '../../../lib/topic/topic.ts'
import { lasting, pubrel } from '../../support/exchanges.ts'
import { connectPacket } from '../../support/harness.ts'
import { Line, type Speaker } from './line.ts'
import type { World } from '../world.ts'

/** A message to be published. */
export interface Outgoing {
  readonly topicName: string
  readonly payload: Buffer
  readonly qos: 1 | 2
  readonly retain: boolean
  /** Sessions that are away get it too, so that the broker has to write it. */
  readonly isStored: boolean
  /** Called when the broker has it. */
  readonly done: () => void
  /** Called when the broker does not take it. */
  readonly refused?: () => void
}

/** Whoever publishes for a load. */
export interface Publisher {
  /** Messages that may be open at a time. */
  readonly window: number
  /** Whether `publish` may be called. */
  readonly isReady: boolean
  publish (outgoing: Outgoing): void
  close (): Promise<void>
}

interface Sent {
  readonly outgoing: Outgoing
  readonly packet: PublishPacket
  readonly event: number
  /** PUBREC has come. */
  isReleased: boolean
  /** In more than one connection, so that acknowledgements may have been lost. */
  isRepeated: boolean
}

/** The sender's half of QoS 1 and 2 (section 4.3) over TCP; it keeps its state through lost connections. */
export class RawPublisher implements Publisher, Speaker {
  readonly window = 40
  readonly line: Line
  readonly #world: World
  readonly #name: string
  readonly #version: ProtocolVersion
  readonly #open = new Map<number, Sent>()
  #lastIdentifier = 0

  constructor (world: World, name: string, version: ProtocolVersion) {
    this.#world = world
    this.#name = name
    this.#version = version
    this.line = new Line(world, connectPacket({ ...lasting(), clientIdentifier: name, protocolVersion: version }), this)
  }

  get isReady (): boolean { return this.line.isConnected }

  publish (outgoing: Outgoing): void {
    const { topicName, payload, qos, retain } = outgoing
    const packetIdentifier = this.#nextIdentifier()
    const packet: PublishPacket = { type: PacketType.publish, dup: false, qos, retain, topic: new Topic(topicName), packetIdentifier, properties: undefined, payload }
    this.#open.set(packetIdentifier, { outgoing, packet, event: this.#world.event(), isReleased: false, isRepeated: false })
    this.line.send(packet)
  }

  /** Sends again what is open, in its order [MQTT-4.4.0-1] [MQTT-4.6.0-1]. */
  connected (): void {
    for (const sent of this.#open.values()) {
      sent.isRepeated = true
      this.line.send(sent.isReleased ? pubrel(sent.packet.packetIdentifier) : { ...sent.packet, dup: true })
    }
  }

  received (packet: Packet): void {
    if (packet.type === PacketType.puback) this.#acknowledged(packet, 1)
    else if (packet.type === PacketType.pubrec) this.#acknowledged(packet, 2)
    else if (packet.type === PacketType.pubcomp) this.#completed(packet)
    else if (packet.type !== PacketType.disconnect) this.#fault(`got packet type ${packet.type}`)
  }

  lost (): void { /* its state stays */ }

  async close (): Promise<void> { await this.line.vanish() }

  /** PUBACK or PUBREC. */
  #acknowledged ({ packetIdentifier, reasonCode }: AcknowledgePacket, qos: QoS): void {
    const sent = this.#open.get(packetIdentifier)
    if (sent?.packet.qos !== qos || sent.isReleased) {
      this.#fault(`got a QoS ${qos} acknowledgement for ${packetIdentifier}, for which it does not wait`)
      return
    }
    if (this.#world.mayRefuse(reasonCode)) {
      this.#open.delete(packetIdentifier)
      sent.outgoing.refused?.()
      return
    }
    if (reasonCode !== ReasonCode.success) this.#fault(`was told ${reasonCode} about ${sent.outgoing.topicName}`)
    if (sent.outgoing.isStored && !sent.isRepeated) this.#world.committed(this.line.incarnation, sent.event)
    if (qos === 1) this.#close(sent)
    else this.#release(sent)
  }

  #release (sent: Sent): void {
    sent.isReleased = true
    this.line.send(pubrel(sent.packet.packetIdentifier))
  }

  #completed ({ packetIdentifier, reasonCode }: AcknowledgePacket): void {
    const sent = this.#open.get(packetIdentifier)
    if (sent?.isReleased !== true) {
      this.#fault(`got PUBCOMP for ${packetIdentifier}, for which it does not wait`)
      return
    }
    const isExpected = reasonCode === ReasonCode.success || (reasonCode === ReasonCode.packetIdentifierNotFound && sent.isRepeated)
    if (!isExpected) this.#fault(`got PUBCOMP with ${reasonCode}`)
    this.#close(sent)
  }

  #close ({ packet, outgoing }: Sent): void {
    this.#open.delete(packet.packetIdentifier)
    outgoing.done()
  }

  #nextIdentifier (): number {
    do this.#lastIdentifier = this.#lastIdentifier % 65_535 + 1
    while (this.#open.has(this.#lastIdentifier))
    return this.#lastIdentifier
  }

  #fault (text: string): void { this.#world.fault(`${this.#name} (MQTT ${this.#version}) ${text}`) }
}
