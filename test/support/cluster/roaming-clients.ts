import { ReasonCode } from '../../../lib/base/reason-codes.ts'
import { PacketType, type ConnackPacket, type ConnectPacket, type Packet, type PublishPacket, type QoS, type WillFields } from '../../../lib/packet/packets.ts'
import { Topic } from '../../../lib/topic/topic.ts'
import { puback, pubcomp, pubrec, pubrel } from '../exchanges.ts'
import { connectPacket, PacketClient, type TestBroker } from '../harness.ts'

/** Where Clients find brokers. */
export interface Places {
  /** Undefined when it is not there. */
  at (index: number): TestBroker | undefined
  /** Whether it does anything at the moment. */
  isAwake (index: number): boolean
}

/** A Client that goes on with its Session at any node, without waiting for anything. */
export abstract class Roamer {
  readonly clientIdentifier: string
  readonly faults: string[] = []
  protected client: PacketClient | undefined = undefined
  isAccepted = false
  wasAccepted = false
  readonly #places: Places
  #place = 0
  #hasSession = false
  /** The connection before, which the broker may not have missed yet. */
  #former: PacketClient | undefined = undefined

  constructor (places: Places, clientIdentifier: string) {
    this.#places = places
    this.clientIdentifier = clientIdentifier
  }

  get isConnected (): boolean { return this.client !== undefined }

  get place (): number { return this.#place }

  /** Comes to a node, whether it is connected elsewhere or not. */
  async connect (place: number, fields: Partial<ConnectPacket> = {}): Promise<void> {
    const test = this.#places.at(place)
    if (test === undefined) return
    await this.#former?.vanish()
    this.#former = this.client
    this.lost()
    this.#place = place
    const packet = connectPacket({ clientIdentifier: this.clientIdentifier, cleanStart: false, properties: { sessionExpiryInterval: 36_000 }, ...fields })
    if (packet.cleanStart) this.#hasSession = false
    this.client = new PacketClient(test.broker, 5).send(packet)
  }

  /** The network breaks, or the node has gone. */
  async lose (): Promise<void> {
    await this.#former?.vanish()
    await this.client?.vanish()
    this.#former = undefined
    this.lost()
  }

  async leave (): Promise<void> {
    this.client?.disconnect()
    await this.client?.take()
    await this.lose()
  }

  /** What has come; the connection is over when it says so. */
  protected async take (): Promise<Packet[]> {
    if (this.client === undefined || !this.#places.isAwake(this.#place)) return []
    const { client } = this
    const packets: Packet[] = []
    for (const packet of await client.take()) {
      if (packet.type === PacketType.connack) this.#connack(packet)
      else if (packet.type !== PacketType.disconnect) packets.push(packet)
    }
    if (client.isEnded) await this.lose()
    return packets
  }

  /** Whatever belongs to the connection is gone. */
  protected lost (): void {
    this.client = undefined
    this.isAccepted = false
  }

  protected abstract accepted (): void

  /** The Session is a new one. */
  protected begun (): void { /* nothing was known of it */ }

  #connack ({ reasonCode, sessionPresent }: ConnackPacket): void {
    if (reasonCode !== ReasonCode.success) return
    if (this.#hasSession && !sessionPresent) this.faults.push(`the Session of ${this.clientIdentifier} was lost`)
    this.#hasSession = true
    if (!sessionPresent) this.begun()
    this.isAccepted = this.wasAccepted = true
    this.accepted()
  }
}

/** A message that a publisher has not seen through. */
interface Outgoing { readonly packet: PublishPacket, isReleased: boolean }

/** A message as it was published. */
export interface Publication {
  readonly topic: string
  readonly qos: QoS
  readonly number: number
  /** As a subscriber would see it. */
  readonly line: string
}

/** The sender's half of QoS 1 and 2. */
export class RoamingPublisher extends Roamer {
  readonly published: Publication[] = []
  /** Numbers of those that were not taken. */
  readonly refused = new Set<number>()
  readonly #open = new Map<number, Outgoing>()

  get isDone (): boolean { return this.#open.size === 0 }

  publish (subtopic: string, qos: QoS): void {
    const number = this.published.length + 1
    const topic = `t/${this.clientIdentifier}/${subtopic}`
    this.published.push({ topic, qos, number, line: `${topic} ${number} ${qos}` })
    const packet: PublishPacket = {
      type: PacketType.publish, dup: false, qos, retain: false, topic: new Topic(topic), packetIdentifier: qos === 0 ? 0 : number, properties: undefined, payload: Buffer.from(String(number)),
    }
    if (qos > 0) this.#open.set(number, { packet, isReleased: false })
    if (this.isAccepted) this.client?.send(packet)
  }

  async handle (): Promise<void> {
    for (const packet of await this.take()) {
      if (packet.type !== PacketType.puback && packet.type !== PacketType.pubrec && packet.type !== PacketType.pubcomp) this.faults.push(`packet type ${packet.type}`)
      else if (packet.type !== PacketType.pubcomp && packet.reasonCode >= ReasonCode.unspecifiedError) this.#refuse(packet.packetIdentifier)
      else if (packet.type === PacketType.pubrec) this.#release(packet.packetIdentifier)
      else this.#open.delete(packet.packetIdentifier)
    }
  }

  protected accepted (): void {
    for (const { packet, isReleased } of this.#open.values()) this.client?.send(isReleased ? pubrel(packet.packetIdentifier) : { ...packet, dup: true })
  }

  #refuse (number: number): void {
    this.refused.add(number)
    this.#open.delete(number)
  }

  #release (number: number): void {
    const outgoing = this.#open.get(number)
    if (outgoing !== undefined) outgoing.isReleased = true
    this.client?.send(pubrel(number))
  }
}

/** The receiver's half. */
export class RoamingSubscriber extends Roamer {
  /** `topic payload qos`, as the application would see them. */
  readonly delivered: string[] = []
  readonly #filters: readonly string[]
  readonly #unreleased = new Set<number>()
  #unhandled: Packet[] = []
  #isSubscribed = false

  constructor (places: Places, clientIdentifier: string, filters: readonly string[]) {
    super(places, clientIdentifier)
    this.#filters = filters
  }

  /** All its Topic Filters are known. */
  get isReady (): boolean { return this.#isSubscribed }

  /** Handles as many packets as it is told to, leaving the others in its buffer, which goes with the connection. */
  async handle (count: number): Promise<boolean> {
    const packets = await this.take()
    if (this.client === undefined) return false
    this.#unhandled.push(...packets)
    const handled = this.#unhandled.splice(0, count)
    for (const packet of handled) this.#answer(packet)
    return handled.length > 0
  }

  protected override begun (): void {
    this.#isSubscribed = false
    this.#unreleased.clear()
  }

  protected override lost (): void {
    super.lost()
    this.#unhandled = []
  }

  protected accepted (): void {
    if (this.#isSubscribed) return
    const subscriptions = this.#filters.map(topicFilter => ({ topicFilter, qos: 2 as const, noLocal: false, retainAsPublished: false, retainHandling: 2 as const }))
    this.client?.send({ type: PacketType.subscribe, packetIdentifier: 65_000, subscriptions, properties: undefined })
  }

  #answer (packet: Packet): void {
    if (packet.type === PacketType.publish) this.#receive(packet)
    else if (packet.type === PacketType.pubrel) this.#complete(packet.packetIdentifier)
    else if (packet.type === PacketType.suback) this.#isSubscribed = true
    else this.faults.push(`packet type ${packet.type}`)
  }

  #receive (packet: PublishPacket): void {
    const { packetIdentifier: id, qos, dup } = packet
    const isRepeated = qos === 2 && this.#unreleased.has(id)
    if (isRepeated && !dup) this.faults.push(`identifier ${id} used again before it was free [MQTT-4.3.3-1]`)
    if (!isRepeated) this.delivered.push(`${packet.topic.name} ${packet.payload.toString()} ${qos}`)
    if (qos === 2) this.#unreleased.add(id)
    if (qos > 0) this.client?.send(qos === 2 ? pubrec(id) : puback(id))
  }

  #complete (id: number): void {
    this.#unreleased.delete(id)
    this.client?.send(pubcomp(id))
  }
}

/** Somebody whose Will Message is to come once when it has not said goodbye. */
export class Mortal extends Roamer {
  /** The payload of its Will Message is its Client Identifier. */
  async appear (place: number, delayInterval: number): Promise<void> {
    const properties = { willDelayInterval: delayInterval }
    const will: WillFields = { topicName: 'will', payload: Buffer.from(this.clientIdentifier), qos: 2, retain: false, properties }
    await this.connect(place, { will })
  }

  async handle (): Promise<void> { await this.take() }

  protected accepted (): void { /* that is all it wants */ }
}
