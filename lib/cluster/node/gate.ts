import { Fifo } from '../../base/fifo.ts'

/** Lets entries through one by one, in their order, and keeps those that come while it is shut. */
export class Gate<Entry> {
  readonly #pass: (entry: Entry) => void
  readonly #waiting = new Fifo<Entry>()
  #isShut = false

  constructor (pass: (entry: Entry) => void) {
    this.#pass = pass
  }

  enter (entry: Entry): void {
    if (this.#isShut) this.#waiting.push(entry)
    else this.#pass(entry)
  }

  shut (): void { this.#isShut = true }

  open (): void {
    for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift()) this.#pass(entry)
    this.#isShut = false
  }

  /** What waits is nobody's concern any more. */
  clear (): void { this.#waiting.clear() }
}
