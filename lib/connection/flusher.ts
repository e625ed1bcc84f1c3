import { setImmediate } from 'node:timers'

/** Something that has bytes to write at the end of the turn. */
export interface Flushable { flush (): void }

/**
 * One write for each connection and turn of the event loop: connections with something to send are flushed together in
 * `setImmediate`, after all sockets that were readable in this turn were read. Twice as fast for many publishers and one subscriber as
 * flushing behind each chunk, and no later.
 */
export class Flusher {
  #waiting: Flushable[] = []

  /** Called once by each connection and turn, when its first byte is there. */
  add (flushable: Flushable): void {
    if (this.#waiting.push(flushable) === 1) setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    const waiting = this.#waiting
    this.#waiting = []
    for (let i = 0; i < waiting.length; i++) waiting[i]?.flush()
  }
}
