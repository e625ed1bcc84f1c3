import { clearImmediate, setImmediate } from 'node:timers'
import type { Clock } from '../contract/clock.ts'
import type { Store } from '../contract/store.ts'
import { PendingState, type PendingMessage } from './pending-message.ts'

/** One whose messages have to be written in their order: a Session. */
export interface Lane {
  /** The period in which one of its messages began to be awaited last; 0 before that. */
  awaitedAt: number
}

/** Periods that a message is given; the first of them has begun when it comes. */
const periods = 3

/**
 * Messages that all their subscribers were sent, and whose acknowledgements may well be on their way: most of them need never be
 * written. Time is counted in periods, each of which begins after what had come by then was read.
 */
export class AwaitedMessages {
  #period = periods
  #byAge: (PendingMessage | undefined)[][] = emptyPeriods()
  #newest = this.#byAge.at(-1) ?? []
  readonly #clock: Clock
  readonly #store: Pick<Store, 'patienceMs'>
  readonly #tooOld: (messages: readonly PendingMessage[]) => void
  /** Ends the wait for the next period; undefined when none is planned. */
  #stop: (() => void) | undefined = undefined

  /** @param tooOld told what has been here for too long, and has to be written after all */
  constructor (clock: Clock, store: Pick<Store, 'patienceMs'>, tooOld: (messages: readonly PendingMessage[]) => void) {
    this.#clock = clock
    this.#store = store
    this.#tooOld = tooOld
  }

  add (pending: PendingMessage, lane: Lane): void {
    lane.awaitedAt = this.#period
    this.#stop ??= this.#planPeriod()
    if (pending.state === PendingState.awaited) return
    pending.state = PendingState.awaited
    pending.place = this.#newest
    pending.slot = this.#newest.push(pending) - 1
  }

  /** Whether one of its messages may be among them. */
  mayHave (lane: Lane): boolean { return this.#period - lane.awaitedAt < periods }

  close (): void { this.#stop?.() }

  /** What has come by the end of a period is read before the next one begins. */
  #planPeriod (): () => void {
    let immediate: NodeJS.Immediate | undefined
    const cancel = this.#clock.after(this.#store.patienceMs ?? 0, () => { immediate = setImmediate(this.#nextPeriod) })
    return () => {
      cancel()
      clearImmediate(immediate)
    }
  }

  readonly #nextPeriod = (): void => {
    this.#period++
    this.#byAge.push(this.#newest = [])
    this.#tooOld(openOf(this.#byAge.shift() ?? []))
    this.#stop = this.#byAge.every(({ length }) => length === 0) ? undefined : this.#planPeriod()
  }

  /** All of them. */
  take (): PendingMessage[] {
    const all = this.#byAge.flat()
    this.#byAge = emptyPeriods()
    this.#newest = this.#byAge.at(-1) ?? []
    return openOf(all)
  }
}

function emptyPeriods (): PendingMessage[][] {
  return Array.from({ length: periods }, () => [])
}

/** Those that nobody has acknowledged: they leave by themselves when somebody does. */
function openOf (messages: readonly (PendingMessage | undefined)[]): PendingMessage[] {
  return messages.filter(pending => pending !== undefined)
}
