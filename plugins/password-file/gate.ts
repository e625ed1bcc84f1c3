/** Lets a few tasks run at once and a number of them wait. */
export class Gate {
  readonly #waiting: (() => void)[] = []
  readonly #places: number
  readonly #maximumWaiting: number
  #running = 0

  constructor (places: number, maximumWaiting: number) {
    this.#places = places
    this.#maximumWaiting = maximumWaiting
  }

  /** Whether one more would have nowhere to wait. */
  get isFull (): boolean { return this.#running >= this.#places && this.#waiting.length >= this.#maximumWaiting }

  async run<T> (task: () => Promise<T>): Promise<T> {
    if (this.#running < this.#places) this.#running++
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      this.#passOn()
    }
  }

  // The place goes from hand to hand, so that nobody who comes in between takes it.
  #passOn (): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running--
    else next()
  }
}
