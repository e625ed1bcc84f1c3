import type { Clock } from '../../contract/clock.ts'

/** Milliseconds after which a node that has not said that it knows what this one wants is not waited for any more. */
const patienceMs = 1_000

interface Waiter { readonly position: number, readonly resolve: () => void, readonly cancel: () => void }

/**
 * Waits until all other nodes know what the log told up to a position. A node that is silent for too long is not waited for again until it
 * says something: it is dead, or asleep, and is taken for dead soon.
 */
export class Barrier {
  readonly #clock: Clock
  readonly #known = new Map<number, number>()
  readonly #silent = new Set<number>()
  #waiters: Waiter[] = []

  constructor (clock: Clock) {
    this.#clock = clock
  }

  /** @param position that it knows already */
  joined (generation: number, position: number): void { this.#known.set(generation, position) }

  left (generation: number): void {
    this.#known.delete(generation)
    this.#silent.delete(generation)
    this.#check()
  }

  confirmed (generation: number, position: number): void {
    if (!this.#known.has(generation)) return
    this.#silent.delete(generation)
    this.#known.set(generation, Math.max(position, this.#known.get(generation) ?? 0))
    this.#check()
  }

  /** It has not been heard of. */
  suspect (generation: number): void {
    this.#silent.add(generation)
    this.#check()
  }

  /** Resolves when all others know what the log told up to that position, or have been silent for too long. */
  passed (position: number): Promise<void> {
    if (this.#isPassed(position)) return Promise.resolve()
    return new Promise(resolve => {
      const cancel = this.#clock.after(patienceMs, () => { this.#giveUp(position) })
      this.#waiters.push({ position, resolve, cancel })
    })
  }

  close (): void {
    this.#known.clear()
    this.#check()
  }

  #isPassed (position: number): boolean {
    for (const [generation, known] of this.#known) if (known < position && !this.#silent.has(generation)) return false
    return true
  }

  #giveUp (position: number): void {
    for (const [generation, known] of this.#known) if (known < position) this.#silent.add(generation)
    this.#check()
  }

  #check (): void {
    const passed = this.#waiters.filter(({ position }) => this.#isPassed(position))
    if (passed.length === 0) return
    this.#waiters = this.#waiters.filter(waiter => !passed.includes(waiter))
    for (const { resolve, cancel } of passed) {
      cancel()
      resolve()
    }
  }
}
