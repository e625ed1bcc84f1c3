import type { QoS } from '../../lib/packet/packets.ts'

/** A topic that one publisher alone publishes to: 1, 2, 3 and so on. */
export interface PublishedTopic {
  readonly name: string
  readonly qos: 1 | 2
  readonly retain: boolean
  /** The number of the last message. */
  sent: number
  /** The highest number that was acknowledged, and how many were. */
  acknowledged: number
  acknowledgedCount: number
  /** Those that the broker has said no to. */
  readonly refused: Set<number>
}

export function newTopic (name: string, qos: 1 | 2, retain = false): PublishedTopic {
  return { name, qos, retain, sent: 0, acknowledged: 0, acknowledgedCount: 0, refused: new Set() }
}

/** The number, and bytes that go with it; now and then so many that they make chunks and pages of their own. */
export function payloadOf ({ name }: { readonly name: string }, number: number): Buffer {
  const length = number % 101 === 0 ? 40_000 : number * 37 % 900
  return Buffer.from(`${number} ${'abcdefghij'.charAt((number + name.length) % 10).repeat(length)}`)
}

/** The number in a payload; 0 where there is none. */
export function numberIn (payload: Buffer): number {
  const end = payload.indexOf(' ')
  return Number(payload.subarray(0, end < 0 ? payload.length : end).toString('latin1')) || 0
}

/** All that was published, and what became of it. */
export class Ledger {
  readonly topics: Map<string, PublishedTopic> = new Map<string, PublishedTopic>()

  add (topic: PublishedTopic): PublishedTopic {
    this.topics.set(topic.name, topic)
    return topic
  }

  get published (): number { return this.#sum(({ sent }) => sent) }

  get acknowledged (): number { return this.#sum(({ acknowledgedCount }) => acknowledgedCount) }

  get refused (): number { return this.#sum(({ refused }) => refused.size) }

  #sum (count: (topic: PublishedTopic) => number): number {
    return [...this.topics.values()].reduce((sum, topic) => sum + count(topic), 0)
  }
}

/** A message as a subscriber is given it. */
export interface Given {
  readonly topicName: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

/** What one subscriber got, or all members of a Shared Subscription together. */
export class Receiver {
  readonly name: string
  /** Maximum QoS of its subscriptions. */
  readonly qos: 1 | 2
  /** Copies of Will Messages by topic. */
  readonly wills: Map<string, number> = new Map<string, number>()
  /** The last fence that came, by its topic: what was sent to the subscriber before it has come. */
  readonly fences: Map<string, number> = new Map<string, number>()
  received = 0
  /** Copies of QoS 1 messages beyond the first, which are allowed. */
  repeated = 0
  doubled = 0
  outOfOrder = 0
  readonly #ledger: Ledger
  readonly #isOrdered: boolean
  readonly #prefixes: readonly string[]
  readonly #fault: (text: string) => void
  /** By topic: how often each number came, and the highest. */
  readonly #counts = new Map<string, number[]>()

  /** @param prefixes of the topics that it has subscribed to */
  constructor (name: string, qos: 1 | 2, prefixes: readonly string[], services: { ledger: Ledger, fault: (text: string) => void, isOrdered?: boolean }) {
    this.name = name
    this.qos = qos
    this.#prefixes = prefixes
    this.#ledger = services.ledger
    this.#isOrdered = services.isOrdered ?? true
    this.#fault = text => { services.fault(`${name} ${text}`) }
  }

  receive (given: Given): void {
    const { topicName, payload } = given
    if (topicName.startsWith('fence/')) this.fences.set(topicName, numberIn(payload))
    else if (topicName.startsWith('will/')) this.wills.set(topicName, 1 + (this.wills.get(topicName) ?? 0))
    else this.#count(given)
  }

  /** Messages that it should have and has not. */
  missing (): string[] {
    return this.#own.flatMap(({ name, sent, refused }) => {
      const counts = this.#counts.get(name) ?? []
      return Array.from({ length: sent }, (_, index) => index + 1).filter(number => counts[number] === undefined && !refused.has(number)).map(number => `${name} ${number}`)
    })
  }

  /** Whether so many have come that none can be missing. */
  get isComplete (): boolean {
    const expected = this.#own.reduce((sum, { sent, refused }) => sum + sent - refused.size, 0)
    return this.received - this.repeated - this.doubled >= expected && this.missing().length === 0
  }

  get #own (): PublishedTopic[] {
    return [...this.#ledger.topics.values()].filter(({ name }) => this.#prefixes.some(prefix => name.startsWith(prefix)))
  }

  #count (given: Given): void {
    const topic = this.#ledger.topics.get(given.topicName)
    const number = numberIn(given.payload)
    if (topic === undefined || !isIntact(given, topic, number)) this.#fault(`got what nobody has sent: ${given.topicName} ${number}`)
    else if (given.retain || given.qos !== Math.min(topic.qos, this.qos)) this.#fault(`got ${topic.name} ${number} with QoS ${given.qos}, RETAIN ${String(given.retain)}`)
    else this.#enter(topic, number)
  }

  #enter (topic: PublishedTopic, number: number): void {
    this.received++
    const counts = this.#countsOf(topic.name)
    const count = counts[number] = 1 + (counts[number] ?? 0)
    if (count === 1) this.#placeFirst(topic, number, counts)
    else if (topic.qos === 2 && this.qos === 2) this.#double(topic, number, count)
    else this.repeated++
  }

  /** The first copies of a topic's messages come in the order of their numbers [MQTT-4.6.0-5]. */
  #placeFirst ({ name }: PublishedTopic, number: number, counts: readonly number[]): void {
    if (!this.#isOrdered || number === counts.length - 1) return
    this.outOfOrder++
    this.#fault(`got ${name} ${number} after ${counts.length - 1}`)
  }

  #double ({ name }: PublishedTopic, number: number, count: number): void {
    this.doubled++
    this.#fault(`got ${name} ${number} ${count} times [MQTT-4.3.3-2]`)
  }

  #countsOf (topicName: string): number[] {
    const counts = this.#counts.get(topicName) ?? []
    this.#counts.set(topicName, counts)
    return counts
  }
}

function isIntact ({ payload }: Given, topic: PublishedTopic, number: number): boolean {
  return number >= 1 && number <= topic.sent && payload.equals(payloadOf(topic, number))
}
