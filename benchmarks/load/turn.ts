/** What has something to do at the end of a turn of the event loop. */
export interface Flushable {
  isMarked: boolean
  flush (): void
}

/** Writes for every marked connection once, after all of the turn was read. */
export class Turn {
  #marked: Flushable[] = []

  mark (item: Flushable): void {
    if (item.isMarked) return
    item.isMarked = true
    if (this.#marked.push(item) === 1) setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    const marked = this.#marked
    this.#marked = []
    for (const item of marked) {
      item.isMarked = false
      item.flush()
    }
  }
}
