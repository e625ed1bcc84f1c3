import type { Journal } from '../../store/journal.ts'
import type { Gate } from './gate.ts'

/** Changes in one standstill, at most: commits come in between. */
const changesAtOnce = 128

/**
 * Which Sessions are this node's own changes only while it stands still: nothing is being committed, and nothing is taken in of log and inbox. So a commit
 * says what holds for the Sessions that the node had when it was asked for, and what is told about a Session that comes is heard by it.
 */
export class Standstill {
  readonly #journal: Journal
  readonly #gates: readonly Pick<Gate<unknown>, 'shut' | 'open'>[]
  #waiting: (() => Promise<void>)[] = []
  #isTakingTurns = false

  constructor (journal: Journal, gates: readonly Pick<Gate<unknown>, 'shut' | 'open'>[]) {
    this.#journal = journal
    this.#gates = gates
  }

  /** Runs something while the node stands still, together with whatever else waits for that. */
  run<T> (change: () => T | Promise<T>): Promise<T> {
    return new Promise(resolve => {
      this.#waiting.push(async () => {
        const changed = Promise.resolve().then(change)
        resolve(changed)
        await Promise.allSettled([changed])
      })
      if (!this.#isTakingTurns) void this.#takeTurns()
    })
  }

  async #takeTurns (): Promise<void> {
    this.#isTakingTurns = true
    while (this.#waiting.length > 0) await this.#takeTurn()
    this.#isTakingTurns = false
  }

  async #takeTurn (): Promise<void> {
    await this.#journal.pause()
    for (const gate of this.#gates) gate.shut()
    await Promise.all(this.#waiting.splice(0, changesAtOnce).map(change => change()))
    for (const gate of this.#gates) gate.open()
    this.#journal.resume()
  }
}
