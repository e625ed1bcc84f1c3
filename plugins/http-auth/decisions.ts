import type { ClientInfo, ConnectionInfo, QoS } from '../../lib/index.ts'

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

/** Whose topics were decided about: all that the service was told of the Client and that may change while it is connected. */
export type Asker = Pick<ClientInfo, 'connection' | 'username'>

/** What was decided for one connection and the User Name that it has had at the time. */
interface Known {
  readonly username: string | undefined
  readonly slots: readonly Map<string, Decision>[]
}

/** What was decided about topics, for each connection and who is behind it. Asked for every message, and so without asking the clock, which costs more than all the rest. */
export class Decisions {
  /** Milliseconds since the epoch, as of late: somebody has to keep it up to date. */
  now = 0
  #connections = new WeakMap<ConnectionInfo, Known>()
  /** All of them, the oldest first. */
  readonly #all = new Set<Decision>()
  readonly #maximum: number
  /** What was found last, which is mostly what is asked for next; undefined as soon as anything changes. */
  #last: Decision | undefined = undefined
  #lastConnection: ConnectionInfo | undefined = undefined
  #lastUsername: string | undefined = undefined
  #lastSlot: Slot = 0

  constructor (maximum: number) { this.#maximum = maximum }

  get size (): number { return this.#all.size }

  /** Undefined when nothing was decided, or too long ago. */
  get (asker: Asker, slot: Slot, topic: string): boolean | undefined {
    const last = this.#last
    const isLast = last?.topic === topic && this.#lastConnection === asker.connection && this.#lastSlot === slot && this.#lastUsername === asker.username
    const decision = isLast ? last : this.#find(asker, slot, topic)
    return decision !== undefined && this.now < decision.until ? decision.isAllowed : undefined
  }

  set (asker: Asker, slot: Slot, topic: string, isAllowed: boolean, until: number): void {
    const [oldest] = this.#all
    if (oldest !== undefined && this.#all.size >= this.#maximum) this.#remove(oldest)
    const topics = this.#slotsOf(asker)[slot]
    if (topics === undefined || this.#maximum === 0) return
    const former = topics.get(topic)
    if (former !== undefined) this.#all.delete(former)
    const decision = { topics, topic, isAllowed, until }
    this.#last = undefined
    topics.set(topic, decision)
    this.#all.add(decision)
  }

  /** Forgets a connection that has ended. */
  forget (connection: ConnectionInfo): void {
    this.#last = undefined
    this.#lastConnection = undefined
    for (const topics of this.#connections.get(connection)?.slots ?? []) for (const decision of topics.values()) this.#all.delete(decision)
    this.#connections.delete(connection)
  }

  clear (): void {
    this.#last = undefined
    this.#connections = new WeakMap()
    this.#all.clear()
  }

  #find ({ connection, username }: Asker, slot: Slot, topic: string): Decision | undefined {
    const known = this.#connections.get(connection)
    this.#lastConnection = connection
    this.#lastUsername = username
    this.#lastSlot = slot
    return this.#last = known?.username === username ? known?.slots[slot]?.get(topic) : undefined
  }

  #slotsOf ({ connection, username }: Asker): readonly Map<string, Decision>[] {
    const known = this.#connections.get(connection)
    if (known?.username === username && known !== undefined) return known.slots
    this.forget(connection) // it has authenticated anew, as somebody else
    const slots = Array.from({ length: 9 }, () => new Map<string, Decision>())
    this.#connections.set(connection, { username, slots })
    return slots
  }

  #remove (decision: Decision): void {
    this.#last = undefined
    this.#all.delete(decision)
    if (decision.topics.get(decision.topic) === decision) decision.topics.delete(decision.topic)
  }
}
