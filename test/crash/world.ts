import type { Random } from './random.ts'

/** Milliseconds without anything happening after which nothing is expected any more. */
const patienceMs = 30_000
const lookMs = 10

/** Where clients find a broker. */
export interface Served {
  /** undefined while it is away. */
  readonly port: number | undefined
  /** Counts the starts: what was known of one process says nothing about the next. */
  readonly incarnation: number
  /** The port, once it listens. */
  up (): Promise<number>
}

/** What all who take part share: the broker, the dice, and what is found out. */
export class World<Broker extends Served = Served> {
  readonly broker: Broker
  readonly random: Random
  /** What may never happen. */
  readonly faults: string[] = []
  /** Messages in flight that came again in a later connection, with DUP. */
  resent = 0
  #events = 0
  readonly #refusals: ReadonlySet<number>
  /** By incarnation of the broker: the latest event that a commit is known to have covered. */
  readonly #committed: number[] = []

  /** @param refusals the Reason Codes with which the broker may say no */
  constructor (broker: Broker, random: Random, refusals: readonly number[] = []) {
    this.broker = broker
    this.random = random
    this.#refusals = new Set(refusals)
  }

  fault (text: string): void {
    if (this.faults.length < 200) this.faults.push(`${text} (broker ${this.broker.incarnation})`)
  }

  /** The number of an event; every later one has a higher number. */
  event (): number { return ++this.#events }

  /** The broker has acknowledged what was sent to it at that event, for which it had to write: all that it knew by then is stored. */
  committed (incarnation: number, event: number): void {
    this.#committed[incarnation] = Math.max(event, this.#committed[incarnation] ?? 0)
  }

  isCommitted (incarnation: number, event: number): boolean {
    return event < (this.#committed[incarnation] ?? 0)
  }

  /** Whether a broker that has nowhere to store may say no with that Reason Code. */
  mayRefuse (reasonCode: number): boolean { return this.#refusals.has(reasonCode) }

  sleep (ms: number): Promise<void> {
    return new Promise(resolve => { setTimeout(resolve, ms) })
  }

  /** Resolves to false when it gives up, because nothing happens any more for so many milliseconds. */
  async until (condition: () => boolean, patience: number = patienceMs): Promise<boolean> {
    let [events, since] = [this.#events, Date.now()]
    while (!condition()) {
      if (events !== this.#events) [events, since] = [this.#events, Date.now()]
      if (Date.now() - since > patience) return false
      await this.sleep(lookMs)
    }
    return true
  }
}
