/** Remembers so many values, each until a time; over that the oldest goes. */
export class BoundedCache<T> {
  readonly #entries = new Map<string, { readonly value: T, readonly until: number }>()
  readonly #maximum: number

  constructor (maximum: number) { this.#maximum = maximum }

  get (key: string, now: number): T | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined || now < entry.until) return entry?.value
    this.#entries.delete(key)
    return undefined
  }

  set (key: string, value: T, until: number): void {
    this.#entries.delete(key)
    const [oldest] = this.#entries.keys()
    if (oldest !== undefined && this.#entries.size >= this.#maximum) this.#entries.delete(oldest)
    if (this.#maximum > 0) this.#entries.set(key, { value, until })
  }

  clear (): void { this.#entries.clear() }
}
