import { duplexPair, type Duplex } from 'node:stream'
import type { Test } from 'tap'
import { createBroker, type Broker, type Plugin } from '../../lib/broker.ts'
import { defaultLimits } from '../../lib/base/limits.ts'
import { ReasonCode } from '../../lib/base/reason-codes.ts'
import type { BrokerOptions } from '../../lib/options.ts'
import { memoryStore } from '../../lib/store/memory-store.ts'
import { Decoder } from '../../lib/packet/decoder.ts'
import { encode } from '../../lib/packet/encoder.ts'
import { PacketType, type ConnackPacket, type ConnectPacket, type Packet, type Properties, type ProtocolVersion, type PublishPacket, type QoS, type SubackPacket, type SubscriptionRequest } from '../../lib/packet/packets.ts'
import { Topic, TopicTable } from '../../lib/topic/topic.ts'
import { FakeClock, settled } from './fake-clock.ts'

export { settled } from './fake-clock.ts'

/** A broker on a clock that stands still, closed when the test ends. */
export interface TestBroker<Data = unknown> { readonly broker: Broker<Data>, readonly clock: FakeClock }

type Options<Data> = BrokerOptions<Data> & { plugins?: readonly Plugin<Data, Data>[] }

export async function startBroker<Data = unknown> (t: Test, options: Options<Data> = {}): Promise<TestBroker<Data>> {
  const clock = options.clock instanceof FakeClock ? options.clock : new FakeClock()
  const persistence = process.env['MYELIN_TEST_STORE'] === 'memory' ? { persistence: memoryStore() } : {}
  const broker = await createBroker<Data>({ clock, sysIntervalMs: 0, closeTimeoutMs: 0, ...persistence, ...options })
  t.teardown(async () => {
    const closing = broker.close()
    await clock.advance(10_000)
    await closing
  })
  return { broker, clock }
}

/** CONNECT fields that a test does not care about. */
export function connectPacket (fields: Partial<ConnectPacket> = {}): ConnectPacket {
  return {
    type: PacketType.connect, protocolVersion: 5, cleanStart: true, keepAlive: 0, clientIdentifier: 'client',
    will: undefined, username: undefined, password: undefined, properties: undefined, ...fields,
  }
}

/** A Client that says exactly what a test tells it to, over one end of a pair of streams in memory. */
export class PacketClient {
  readonly stream: Duplex
  readonly received: Packet[] = []
  version: ProtocolVersion
  isEnded = false
  /** Resolves when what was under way has come to rest. */
  settle: () => Promise<void> = settled
  readonly #decoder: Decoder
  readonly #theirs: Duplex

  constructor (broker: Broker<never> | Broker, version: ProtocolVersion, handle: (stream: Duplex) => void = broker.handle) {
    const [ours, theirs] = duplexPair()
    this.stream = ours
    this.#theirs = theirs
    this.version = version
    this.#decoder = new Decoder(new TopicTable(), { ...defaultLimits, maximumConnectSize: 268_435_460, maximumPacketSize: 268_435_460 })
    this.#decoder.protocolVersion = version
    ours.on('data', (chunk: Buffer) => { this.#receive(chunk) }).on('end', () => { this.isEnded = true }).on('close', () => { this.isEnded = true }).on('error', () => undefined)
    handle(theirs)
  }

  send (...packets: Packet[]): this {
    this.stream.write(Buffer.concat(packets.map(packet => encode(packet, this.version))))
    return this
  }

  write (hex: string): this {
    this.stream.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'))
    return this
  }

  /** What has come since the last call, once everything has come to rest. */
  async take (): Promise<Packet[]> {
    await this.settle()
    return this.received.splice(0)
  }

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

  /** The network breaks: no DISCONNECT. Node 20 tells the other end of a pair nothing. */
  async vanish (): Promise<void> {
    this.stream.destroy()
    this.#theirs.destroy()
    await settled()
  }

  #receive (chunk: Buffer): void {
    this.#decoder.push(chunk)
    for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) this.received.push(packet)
  }
}

/** A Client whose CONNECT was accepted; its CONNACK is the second value. */
export async function connect<Data> ({ broker }: TestBroker<Data>, fields: Partial<ConnectPacket> = {}, settle: (client: PacketClient) => Promise<void> = settled): Promise<[PacketClient, ConnackPacket]> {
  const packet = connectPacket(fields)
  const client = new PacketClient(broker, packet.protocolVersion)
  client.settle = async () => settle(client)
  client.send(packet)
  await client.settle()
  const connack = client.received.shift()
  if (connack?.type !== PacketType.connack || connack.reasonCode !== ReasonCode.success) throw new Error(`CONNECT was not accepted: ${JSON.stringify(connack)}`)
  return [client, connack]
}

/** Runs a test for both protocols that are in use. */
export function forEachVersion (t: Test, name: string, run: (t: Test, version: ProtocolVersion) => Promise<void>): void {
  for (const version of [4, 5] as const) t.test(`${name} (${version === 4 ? '3.1.1' : '5.0'})`, async t => { await run(t, version) })
}
