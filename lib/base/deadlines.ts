interface Entry<T> { readonly at: number, readonly item: T }

/**
 * What falls due, in order of time: a binary heap, so that a million waiting sessions cost nothing until
 * theirs has come. Entries are not removed: who takes one checks that it still holds.
 */
export class Deadlines<T> {
  readonly #heap: Entry<T>[] = []

  get length (): number { return this.#heap.length }

  add (at: number, item: T): void {
    const heap = this.#heap
    let child = heap.push({ at, item }) - 1
    while (child > 0) {
      const parent = (child - 1) >> 1
      if (this.#at(parent) <= this.#at(child)) return
      this.#swap(parent, child)
      child = parent
    }
  }

  /** Takes the next item that is due at `now`, if there is one. */
  take (now: number): T | undefined {
    const first = this.#heap[0]
    if (first === undefined || first.at > now) return undefined
    const last = this.#heap.pop()
    if (last !== undefined && this.#heap.length > 0) {
      this.#heap[0] = last
      this.#sink()
    }
    return first.item
  }

  #sink (): void {
    const size = this.#heap.length
    for (let parent = 0, child = 1; child < size; child = parent * 2 + 1) {
      if (child + 1 < size && this.#at(child + 1) < this.#at(child)) child++
      if (this.#at(parent) <= this.#at(child)) return
      this.#swap(parent, child)
      parent = child
    }
  }

  #at (index: number): number { return this.#heap[index]?.at ?? Infinity }

  #swap (a: number, b: number): void {
    const heap = this.#heap
    const held = heap[a] as Entry<T>
    heap[a] = heap[b] as Entry<T>
    heap[b] = held
  }
}
