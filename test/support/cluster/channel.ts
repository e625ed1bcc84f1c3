/** Has something done in a later turn. */
export type Schedule = (run: () => void) => void

/** One direction between two parties: what goes in comes out later, in order, unless a test holds it back. */
export class Channel {
  readonly #schedule: Schedule
  readonly #items: (() => void)[] = []
  #isHeld = false
  #isClosed = false
  #isScheduled = false

  constructor (schedule: Schedule) { this.#schedule = schedule }

  /** What is on its way. */
  get size (): number { return this.#items.length }

  get isHeld (): boolean { return this.#isHeld }

  push (item: () => void): void {
    if (this.#isClosed) return
    this.#items.push(item)
    this.#wake()
  }

  hold (): void { this.#isHeld = true }

  release (): void {
    this.#isHeld = false
    this.#wake()
  }

  /** Lets so many of those through that are held back, at once. */
  step (count: number = 1): void {
    for (const item of this.#items.splice(0, count)) item()
  }

  /** Loses what is on its way. */
  drop (): void { this.#items.length = 0 }

  close (): void {
    this.#isClosed = true
    this.drop()
  }

  #wake (): void {
    if (this.#isHeld || this.#isScheduled || this.#items.length === 0) return
    this.#isScheduled = true
    this.#schedule(() => { this.#run() })
  }

  #run (): void {
    this.#isScheduled = false
    const count = this.#items.length
    for (let i = 0; i < count && !this.#isHeld; i++) this.#items.shift()?.()
    this.#wake()
  }
}
