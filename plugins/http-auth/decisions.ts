import type { ConnectionInfo, QoS } from '../../lib/index.ts'

/** Which of the questions about a topic it is, as a small number: looking an answer up makes no garbage. */
export type Slot = number

export function publishSlot (qos: QoS, retain: boolean): Slot { return qos * 2 + (retain ? 1 : 0) }

export function subscribeSlot (qos: QoS): Slot { return 6 + qos }

interface Decision {
  readonly topics: Map<string, Decision>
  readonly topic: string
  readonly isAllowed: boolean
  readonly until: number
}

/** What was decided about topics, for each connection. Asked for every message, and so without asking the clock, which costs more than all the rest. */
export class Decisions {
  /** Milliseconds since the epoch, as of late: somebody has to keep it up to date. */
  now = 0
  #connections = new WeakMap<ConnectionInfo, readonly Map<string, Decision>[]>()
  /** All of them, the oldest first. */
  readonly #all = new Set<Decision>()
  readonly #maximum: number

  constructor (maximum: number) { this.#maximum = maximum }

  get size (): number { return this.#all.size }

  /** Undefined when nothing was decided, or too long ago. */
  get (connection: ConnectionInfo, slot: Slot, topic: string): boolean | undefined {
    const decision = this.#connections.get(connection)?.[slot]?.get(topic)
    return decision !== undefined && this.now < decision.until ? decision.isAllowed : undefined
  }

  set (connection: ConnectionInfo, slot: Slot, topic: string, isAllowed: boolean, until: number): void {
    const [oldest] = this.#all
    if (oldest !== undefined && this.#all.size >= this.#maximum) this.#remove(oldest)
    const topics = this.#slotsOf(connection)[slot]
    if (topics === undefined || this.#maximum === 0) return
    const former = topics.get(topic)
    if (former !== undefined) this.#all.delete(former)
    const decision = { topics, topic, isAllowed, until }
    topics.set(topic, decision)
    this.#all.add(decision)
  }

  /** Forgets a connection that has ended. */
  forget (connection: ConnectionInfo): void {
    for (const topics of this.#connections.get(connection) ?? []) for (const decision of topics.values()) this.#all.delete(decision)
    this.#connections.delete(connection)
  }

  clear (): void {
    this.#connections = new WeakMap()
    this.#all.clear()
  }

  #slotsOf (connection: ConnectionInfo): readonly Map<string, Decision>[] {
    const slots = this.#connections.get(connection) ?? Array.from({ length: 9 }, () => new Map<string, Decision>())
    this.#connections.set(connection, slots)
    return slots
  }

  #remove (decision: Decision): void {
    this.#all.delete(decision)
    if (decision.topics.get(decision.topic) === decision) decision.topics.delete(decision.topic)
  }
}
