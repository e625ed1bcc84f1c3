import type { Clock } from '../contract/clock.ts'

/** Milliseconds between two rounds. */
export const roundMs = 500

/** Rounds for which there is a place: who is due later than that is looked at once on the way. A power of two. */
const span = 128

/** What a round looks at. Its fields are kept by {@link Rounds}. */
export interface Due {
  /** The round in which it is looked at next; 0 where it stands in none. */
  dueRound: number
  /** Where it stands among those of that round. */
  place: number
  /** Whether the next round looks after its traffic. */
  isBusy: boolean
}

/**
 * The rounds that a broker makes twice a second: who is to be looked at in which. So a round costs what falls due in it and
 * what is busy, not what is connected. Rounds are counted, since a process that did not run could not hear anybody either.
 */
export class Rounds<T extends Due> {
  /** The last round that was made. */
  current = 0
  readonly #clock: Clock
  readonly #due: T[][] = Array.from({ length: span }, () => [])
  #busy = new Set<T>()
  #madeAt: number

  constructor (clock: Clock) {
    this.#clock = clock
    this.#madeAt = clock.now()
  }

  /** The first round at or after that time, in milliseconds since the epoch. */
  roundAt (time: number): number {
    return this.current + Math.ceil((time - this.#madeAt) / roundMs)
  }

  /** Has it looked at in that round, or before. */
  schedule (item: T, round: number): void {
    const due = Math.max(this.current + 1, Math.min(round, this.current + span - 1))
    if (item.dueRound !== 0) {
      if (item.dueRound <= due) return
      this.#unschedule(item)
    }
    item.dueRound = due
    item.place = this.#of(due).push(item) - 1
  }

  /** Has its traffic looked after in the next round. */
  watch (item: T): void {
    if (item.isBusy) return
    item.isBusy = true
    this.#busy.add(item)
  }

  /** It has gone. */
  remove (item: T): void {
    if (item.isBusy) this.#busy.delete(item) // or its Client would be held until the next round
    this.#unschedule(item)
  }

  #unschedule (item: T): void {
    if (item.dueRound === 0) return
    const places = this.#of(item.dueRound)
    const last = places.pop() as T
    if (last !== item) {
      places[item.place] = last
      last.place = item.place
    }
    item.dueRound = 0
  }

  /** Makes a round. What is looked at stands in no later round until it is put there. */
  make (look: (item: T) => void, lookAfter: (item: T) => void): void {
    this.current++
    this.#madeAt = this.#clock.now()
    const due = this.#of(this.current)
    for (let item = due.pop(); item !== undefined; item = due.pop()) {
      item.dueRound = 0
      look(item)
    }
    const busy = this.#busy
    this.#busy = new Set()
    for (const item of busy) {
      item.isBusy = false
      lookAfter(item)
    }
  }

  #of (round: number): T[] { return this.#due[round & (span - 1)] as T[] }
}
