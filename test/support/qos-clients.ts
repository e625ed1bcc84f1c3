import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { PacketType, type Packet, type PublishPacket, type QoS } from '../../lib/packet/packets.ts'
import { Topic } from '../../lib/topic/topic.ts'
import { lasting, open, puback, pubcomp, pubrec, pubrel } from './exchanges.ts'
import type { PacketClient, TestBroker } from './harness.ts'

/** A message that a publisher has not seen through. */
interface Outgoing { readonly packet: PublishPacket, isReleased: boolean }

/** The sender's half of QoS 1 and 2, written down from section 4.3 on its own; it keeps its state through lost connections. */
export class Publisher {
  readonly #broker: () => TestBroker
  readonly #open = new Map<number, Outgoing>()
  #client: PacketClient | undefined
  #count = 0

  /** @param broker the one that is running */
  constructor (broker: () => TestBroker) {
    this.#broker = broker
  }

  /** Messages that the broker did not take: MQTT 5.0 says so. */
  readonly refused = new Set<number>()

  get isDone (): boolean { return this.#open.size === 0 }

  publish (topicName: string, qos: QoS): void {
    const id = ++this.#count
    const packet: PublishPacket = {
      type: PacketType.publish, dup: false, qos, retain: false, topic: new Topic(topicName), packetIdentifier: id, properties: undefined, payload: Buffer.from(String(id)),
    }
    this.#open.set(id, { packet, isReleased: false })
    this.#client?.send(packet)
  }

  async connect (): Promise<void> {
    if (this.#client !== undefined) return
    this.#client = (await open(this.#broker(), lasting({ clientIdentifier: 'publisher' })))[0]
    for (const { packet, isReleased } of this.#open.values()) this.#client.send(isReleased ? pubrel(packet.packetIdentifier) : { ...packet, dup: true })
  }

  /** Whatever is on its way in either direction may be lost. */
  async lose (): Promise<void> {
    await this.#client?.vanish()
    this.#client = undefined
  }

  async handle (): Promise<void> {
    for (const packet of await this.#client?.take() ?? []) {
      if ((packet.type === PacketType.puback || packet.type === PacketType.pubrec) && packet.reasonCode >= ReasonCode.unspecifiedError) this.#refuse(packet.packetIdentifier)
      else if (packet.type === PacketType.pubrec) this.#release(packet.packetIdentifier)
      else if (packet.type === PacketType.puback || packet.type === PacketType.pubcomp) this.#open.delete(packet.packetIdentifier)
      else throw new Error(`the publisher got packet type ${packet.type}`)
    }
  }

  #refuse (id: number): void {
    this.refused.add(id)
    this.#open.delete(id)
  }

  #release (id: number): void {
    const outgoing = this.#open.get(id)
    if (outgoing !== undefined) outgoing.isReleased = true
    this.#client?.send(pubrel(id))
  }
}

/** The receiver's half: what it was given, and what the broker does that it may not. */
export class Subscriber {
  /** `topic payload qos`, as the application would see them. */
  readonly delivered: string[] = []
  readonly faults: string[] = []
  readonly #broker: () => TestBroker
  readonly #unreleased = new Set<number>()
  /** Sent in this connection and not done with. */
  readonly #unacknowledged = new Set<number>()
  #receiveMaximum = 65_535
  #client: PacketClient | undefined
  #unhandled: Packet[] = []

  /** @param broker the one that is running */
  constructor (broker: () => TestBroker) {
    this.#broker = broker
  }

  async connect (receiveMaximum = 65_535): Promise<void> {
    if (this.#client !== undefined) return
    this.#receiveMaximum = receiveMaximum
    const [client] = await open(this.#broker(), lasting({ clientIdentifier: 'subscriber', properties: { sessionExpiryInterval: 3600, receiveMaximum } }))
    this.#client = client
  }

  /** Comes with another connection before the one that it has is gone. */
  async takeOver (receiveMaximum: number): Promise<void> {
    const before = this.#client
    this.#client = undefined
    this.#unacknowledged.clear()
    this.#unhandled = []
    await this.connect(receiveMaximum)
    await before?.vanish()
  }

  async subscribe (): Promise<void> {
    for (const filter of ['a', 'b']) await this.#client?.subscribe(filter, { qos: 2 })
  }

  async lose (): Promise<void> {
    await this.#client?.vanish()
    this.#client = undefined
    this.#unacknowledged.clear()
    this.#unhandled = []
  }

  /** Handles as many packets as it is told to, leaving the others in its buffer, which goes with the connection. */
  async handle (count: number): Promise<boolean> {
    for (const packet of await this.#client?.take() ?? []) {
      this.#check(packet)
      this.#unhandled.push(packet)
    }
    const packets = this.#unhandled.splice(0, count)
    for (const packet of packets) this.#answer(packet)
    return packets.length > 0
  }

  #check (packet: Packet): void {
    if (packet.type !== PacketType.publish) return
    this.#unacknowledged.add(packet.packetIdentifier)
    if (this.#unacknowledged.size > this.#receiveMaximum) this.faults.push(`more than ${this.#receiveMaximum} in flight [MQTT-3.3.4-9]`)
  }

  #answer (packet: Packet): void {
    if (packet.type === PacketType.publish) this.#receive(packet)
    else if (packet.type === PacketType.pubrel) this.#complete(packet.packetIdentifier)
    else this.faults.push(`packet type ${packet.type}`)
  }

  #receive (packet: PublishPacket): void {
    const { packetIdentifier: id, qos, dup } = packet
    const isRepeated = qos === 2 && this.#unreleased.has(id)
    if (isRepeated && !dup) this.faults.push(`identifier ${id} used again before it was free [MQTT-4.3.3-1]`)
    if (!isRepeated) this.delivered.push(`${packet.topic.name} ${packet.payload.toString()} ${qos}`)
    if (qos === 2) this.#unreleased.add(id)
    else this.#unacknowledged.delete(id)
    this.#client?.send(qos === 2 ? pubrec(id) : puback(id))
  }

  #complete (id: number): void {
    this.#unreleased.delete(id)
    this.#unacknowledged.delete(id)
    this.#client?.send(pubcomp(id))
  }
}

/**
 * Both come back, and everything comes to its end.
 * @param pass lets some time pass, where what waits for that is part of it
 */
export async function finish (publisher: Publisher, subscriber: Subscriber, pass: () => Promise<void> = () => Promise.resolve()): Promise<void> {
  await publisher.connect()
  for (let i = 0; i < 3 || !publisher.isDone; i++) {
    await publisher.handle()
    await pass()
  }
  await subscriber.connect()
  for (let idle = 0; idle < 2;) {
    idle = await subscriber.handle(1000) ? 0 : idle + 1
    await pass()
  }
}

/** The first delivery of each message of a topic. */
export function firstOf (delivered: readonly string[], topic: string): number[] {
  return [...new Set(delivered.filter(line => line.startsWith(`${topic} `)))].map(line => Number(line.split(' ')[1]))
}
