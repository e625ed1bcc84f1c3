import assert from 'node:assert/strict'
import t from 'tap'
import fc from 'fast-check'
import { PacketType, type Packet, type PublishPacket, type QoS } from '../lib/packet/packets.ts'
import { Topic } from '../lib/topic/topic.ts'
import { lasting, open, puback, pubcomp, pubrec, pubrel } from './support/exchanges.ts'
import { startBroker, type PacketClient, type TestBroker } from './support/harness.ts'

/** A message that a publisher has not seen through. */
interface Outgoing { readonly packet: PublishPacket, isReleased: boolean }

/** The sender's half of QoS 1 and 2, written down from section 4.3 on its own; it keeps its state through lost connections. */
class Publisher {
  readonly #test: TestBroker
  readonly #open = new Map<number, Outgoing>()
  #client: PacketClient | undefined
  #count = 0

  constructor (test: TestBroker) {
    this.#test = test
  }

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
    this.#client = (await open(this.#test, lasting({ clientIdentifier: 'publisher' })))[0]
    for (const { packet, isReleased } of this.#open.values()) this.#client.send(isReleased ? pubrel(packet.packetIdentifier) : { ...packet, dup: true })
  }

  /** Whatever is on its way in either direction may be lost. */
  async lose (): Promise<void> {
    await this.#client?.vanish()
    this.#client = undefined
  }

  async handle (): Promise<void> {
    for (const packet of await this.#client?.take() ?? []) {
      if (packet.type === PacketType.pubrec) this.#release(packet.packetIdentifier)
      else if (packet.type === PacketType.puback || packet.type === PacketType.pubcomp) this.#open.delete(packet.packetIdentifier)
      else throw new Error(`the publisher got packet type ${packet.type}`)
    }
  }

  #release (id: number): void {
    const outgoing = this.#open.get(id)
    if (outgoing !== undefined) outgoing.isReleased = true
    this.#client?.send(pubrel(id))
  }
}

/** The receiver's half: what it was given, and what the broker does that it may not. */
class Subscriber {
  /** `topic payload qos`, as the application would see them. */
  readonly delivered: string[] = []
  readonly faults: string[] = []
  readonly #test: TestBroker
  readonly #unreleased = new Set<number>()
  /** Sent in this connection and not done with. */
  readonly #unacknowledged = new Set<number>()
  #receiveMaximum = 65_535
  #client: PacketClient | undefined
  #unhandled: Packet[] = []

  constructor (test: TestBroker) {
    this.#test = test
  }

  async connect (receiveMaximum = 65_535): Promise<void> {
    if (this.#client !== undefined) return
    this.#receiveMaximum = receiveMaximum
    const [client] = await open(this.#test, lasting({ clientIdentifier: 'subscriber', properties: { sessionExpiryInterval: 3600, receiveMaximum } }))
    this.#client = client
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

type Operation =
  | { readonly name: 'publish', readonly topic: string, readonly qos: QoS }
  | { readonly name: 'handle' | 'publisherLost' | 'publisherBack' | 'subscriberLost' | 'wait' }
  | { readonly name: 'receive' | 'subscriberBack', readonly count: number }

const operation: fc.Arbitrary<Operation> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ name: fc.constant('publish' as const), topic: fc.constantFrom('a', 'b'), qos: fc.constantFrom<QoS>(1, 2) }) },
  { weight: 5, arbitrary: fc.record({ name: fc.constantFrom('handle', 'publisherLost', 'publisherBack', 'subscriberLost', 'wait') }) },
  { weight: 6, arbitrary: fc.record({ name: fc.constantFrom('receive', 'receive', 'subscriberBack'), count: fc.integer({ min: 1, max: 4 }) }) },
)

async function run (operation: Operation, publisher: Publisher, subscriber: Subscriber, test: TestBroker): Promise<void> {
  switch (operation.name) {
    case 'publish': publisher.publish(operation.topic, operation.qos); break
    case 'handle': await publisher.handle(); break
    case 'publisherLost': await publisher.lose(); break
    case 'publisherBack': await publisher.connect(); break
    case 'subscriberLost': await subscriber.lose(); break
    case 'subscriberBack': await subscriber.connect(operation.count); break
    case 'receive': await subscriber.handle(operation.count); break
    case 'wait': await test.clock.advance(1_000)
  }
}

/** Both come back, and everything comes to its end. */
async function finish (publisher: Publisher, subscriber: Subscriber): Promise<void> {
  await publisher.connect()
  for (let i = 0; i < 3 || !publisher.isDone; i++) await publisher.handle()
  await subscriber.connect()
  for (let idle = 0; idle < 2;) idle = await subscriber.handle(1000) ? 0 : idle + 1
}

/** The first delivery of each message of a topic. */
function firstOf (delivered: readonly string[], topic: string): number[] {
  return [...new Set(delivered.filter(line => line.startsWith(`${topic} `)))].map(line => Number(line.split(' ')[1]))
}

t.test('whatever connections are lost: every acknowledged message arrives, QoS 2 exactly once, each topic in its order [MQTT-4.3.2-4] [MQTT-4.3.3-10] [MQTT-4.4.0-1] [MQTT-4.5.0-1] [MQTT-4.6.0-6]', async t => {
  const test = await startBroker(t)
  let round = 0
  await fc.assert(fc.asyncProperty(fc.array(operation, { maxLength: 40 }), async operations => {
    for (const clientIdentifier of ['publisher', 'subscriber']) await (await open(test, { clientIdentifier }))[0].disconnect().take()
    const publisher = new Publisher(test)
    const subscriber = new Subscriber(test)
    await subscriber.connect()
    await subscriber.subscribe()
    await publisher.connect()
    for (const one of operations) await run(one, publisher, subscriber, test)
    await finish(publisher, subscriber)

    const { delivered, faults } = subscriber
    const published = operations.filter(one => one.name === 'publish').map(({ topic, qos }, index) => ({ topic, number: index + 1, line: `${topic} ${index + 1} ${qos}`, qos }))
    assert.deepEqual(faults, [])
    for (const topic of ['a', 'b']) assert.deepEqual(firstOf(delivered, topic), published.filter(one => one.topic === topic).map(({ number }) => number), 'all of them, in order')
    assert.deepEqual(published.filter(({ qos, line }) => qos === 2 && delivered.filter(other => other === line).length !== 1), [], 'QoS 2 once')
    round++
  }), { numRuns: 100 })
  t.ok(round >= 100)
})
