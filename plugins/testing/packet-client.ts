import { duplexPair, type Duplex } from 'node:stream'
import {
  PacketCodec, PacketType, ReasonCode, Topic,
  type Broker, type ConnectPacket, type Packet, type Properties, type ProtocolVersion, type PublishPacket, type QoS, type SubackPacket, type SubscriptionRequest,
} from '../../lib/index.ts'
import { settled } from './fake-clock.ts'

/** CONNECT with the fields that a test does not care about. */
export function connectPacket (fields: Partial<ConnectPacket> = {}): ConnectPacket {
  return {
    type: PacketType.connect, protocolVersion: 5, cleanStart: true, keepAlive: 0, clientIdentifier: 'client',
    will: undefined, username: undefined, password: undefined, properties: undefined, ...fields,
  }
}

/** A Client that says exactly what a test tells it to, over one end of a pair of streams in memory. It answers nothing by itself. */
export class PacketClient {
  readonly stream: Duplex
  readonly received: Packet[] = []
  readonly version: ProtocolVersion
  isEnded = false
  /** Gets each packet that comes. Default: into `received`. */
  onPacket: (packet: Packet) => void = packet => { this.received.push(packet) }
  /** Resolves when what was under way has come to rest. */
  settle: () => Promise<void> = settled
  readonly #codec: PacketCodec
  readonly #theirs: Duplex

  /** @param handle what gets the broker's end of the pair */
  constructor (broker: Broker<never> | Broker, version: ProtocolVersion, handle: (stream: Duplex) => void = broker.handle) {
    const [ours, theirs] = duplexPair()
    this.stream = ours
    this.#theirs = theirs
    this.version = version
    this.#codec = new PacketCodec(version)
    ours.on('data', (chunk: Buffer) => { for (const packet of this.#codec.decode(chunk)) this.onPacket(packet) })
      .on('end', () => { this.isEnded = true }).on('close', () => { this.isEnded = true }).on('error', () => undefined)
    theirs.on('close', () => { ours.push(null) }) // Node 20 tells the other end of a pair nothing
    handle(theirs)
  }

  send (...packets: Packet[]): this {
    this.stream.write(Buffer.concat(packets.map(packet => this.#codec.encode(packet))))
    return this
  }

  /** Sends bytes, in hexadecimal digits with spaces where they help. */
  write (hex: string): this {
    this.stream.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
    return this
  }

  /** What has come since the last call, once everything has come to rest. */
  async take (): Promise<Packet[]> {
    await this.settle()
    return this.received.splice(0)
  }

  /** The packets of one type among them; the others are forgotten. */
  async takeType<T extends Packet['type']> (type: T): Promise<Extract<Packet, { type: T }>[]> {
    return (await this.take()).filter((packet): packet is Extract<Packet, { type: T }> => packet.type === type)
  }

  async messages (): Promise<PublishPacket[]> { return this.takeType(PacketType.publish) }

  /** The payloads of the messages that have come, as text. */
  async payloads (): Promise<string[]> { return (await this.messages()).map(({ payload }) => payload.toString()) }

  async subscribe (topicFilter: string, options: Partial<SubscriptionRequest> = {}, properties?: Properties): Promise<SubackPacket | undefined> {
    const subscription = { topicFilter, qos: 2 as QoS, noLocal: false, retainAsPublished: false, retainHandling: 0 as const, ...options }
    this.send({ type: PacketType.subscribe, packetIdentifier: 65_000, subscriptions: [subscription], properties })
    await this.settle()
    const index = this.received.findIndex(({ type }) => type === PacketType.suback)
    return index < 0 ? undefined : this.received.splice(index, 1)[0] as SubackPacket
  }

  publish (topicName: string, payload: string, fields: Partial<PublishPacket> = {}): this {
    return this.send({
      type: PacketType.publish, dup: false, qos: 0, retain: false, topic: new Topic(topicName), packetIdentifier: 0,
      properties: undefined, payload: Buffer.from(payload), ...fields,
    })
  }

  disconnect (reasonCode: ReasonCode = ReasonCode.success, properties?: Properties): this {
    return this.send({ type: PacketType.disconnect, reasonCode, properties })
  }

  /** The network breaks: no DISCONNECT, on neither side. */
  async vanish (): Promise<void> {
    this.stream.destroy()
    this.#theirs.destroy()
    await settled()
  }
}
