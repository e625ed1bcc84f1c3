import { PacketType, type Packet, type ProtocolVersion, type PublishPacket } from '../../lib/packet/packets.ts'
import { puback, pubcomp, pubrec } from '../support/exchanges.ts'
import { connectPacket } from '../support/harness.ts'
import { numberIn, payloadOf, type Ledger, type PublishedTopic } from './ledger.ts'
import { Line, type Speaker } from './clients/line.ts'
import { subscribePacket } from './clients/raw-subscriber.ts'
import type { World } from './world.ts'

/** A retained message that is asked for last: when it has come, so have all others. */
export const lastRetained = 'last/retained'

/** A Client without a past that asks what is retained. */
class Visitor implements Speaker {
  readonly line: Line
  readonly found: Map<string, PublishPacket> = new Map<string, PublishPacket>()
  /** The broker was killed before everything had come. */
  isInterrupted = false

  constructor (world: World, version: ProtocolVersion) {
    this.line = new Line(world, connectPacket({ clientIdentifier: 'visitor', protocolVersion: version }), this)
  }

  get isDone (): boolean { return this.isInterrupted || this.hasAll }

  get hasAll (): boolean { return this.found.has(lastRetained) }

  connected (): void {
    for (const topicFilter of ['load/#', lastRetained]) this.line.send(subscribePacket([topicFilter], 2))
  }

  received (packet: Packet): void {
    if (packet.type === PacketType.pubrel) this.line.send(pubcomp(packet.packetIdentifier))
    if (packet.type !== PacketType.publish) return
    // One that was replaced before its turn came is not sent any more: the newer one has come as it was published.
    if (packet.retain || !this.found.has(packet.topic.name)) this.found.set(packet.topic.name, packet)
    if (packet.qos > 0) this.line.send(packet.qos === 1 ? puback(packet.packetIdentifier) : pubrec(packet.packetIdentifier))
  }

  lost (): void { this.isInterrupted = true }
}

/** Looks whether what was acknowledged last is what is retained, or something newer. */
export async function checkRetained (world: World, ledger: Ledger, version: ProtocolVersion): Promise<void> {
  const floor = new Map([...ledger.topics.values()].filter(({ retain }) => retain).map(topic => [topic, topic.acknowledged]))
  const visitor = new Visitor(world, version)
  await visitor.line.open()
  if (!await world.until(() => visitor.isDone)) world.fault('retained messages did not come')
  await visitor.line.vanish()
  if (!visitor.hasAll) return
  for (const [topic, acknowledged] of floor) checkTopic(world, topic, acknowledged, visitor.found.get(topic.name))
}

function checkTopic (world: World, topic: PublishedTopic, acknowledged: number, found: PublishPacket | undefined): void {
  const number = found === undefined ? 0 : numberIn(found.payload)
  const isRight = number >= acknowledged && number <= topic.sent && (found === undefined || (found.qos === topic.qos && found.payload.equals(payloadOf(topic, number))))
  if (!isRight) world.fault(`${topic.name} retains ${number}, and ${acknowledged} was acknowledged`)
}
