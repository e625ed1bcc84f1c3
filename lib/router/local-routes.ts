/**
 * What this node wants of the others: each Topic Filter that one of its Sessions has, once, and each Shared Subscription with the number of its
 * members that are connected. Changes gather until they are taken to be told.
 */
export class LocalRoutes {
  readonly #counts = new Map<string, number>()
  #changes = new Map<string, number | undefined>()
  /** Told when there is something to take. */
  onChange: () => void = () => undefined

  /** A Session has subscribed to a filter, or does not any more. */
  count (topicFilter: string, change: 1 | -1): void {
    const before = this.#counts.get(topicFilter) ?? 0
    const after = before + change
    if (after === 0) this.#counts.delete(topicFilter)
    else this.#counts.set(topicFilter, after)
    if (before === 0 || after === 0) this.#changed(topicFilter, after === 0 ? undefined : 1)
  }

  /** Members of a Shared Subscription that are connected; undefined when there are no members at all. */
  set (topicFilter: string, connected: number | undefined): void {
    if (this.#counts.get(topicFilter) === connected) return
    if (connected === undefined) this.#counts.delete(topicFilter)
    else this.#counts.set(topicFilter, connected)
    this.#changed(topicFilter, connected)
  }

  get hasChanges (): boolean { return this.#changes.size > 0 }

  /** What was taken could not be told. */
  takeBack (changes: ReadonlyMap<string, number | undefined>): void {
    this.#changes = new Map([...changes, ...this.#changes])
  }

  /** What has changed since it was taken last. */
  take (): ReadonlyMap<string, number | undefined> {
    const changes = this.#changes
    this.#changes = new Map()
    return changes
  }

  /** The others were told that this node wants these, for a Session that came to it. What it does not want after all, they are to know. */
  told (topicFilters: readonly string[]): void {
    for (const topicFilter of topicFilters) {
      if (!this.#counts.has(topicFilter)) this.#changed(topicFilter, undefined)
      else if (!topicFilter.startsWith('$share/')) this.#changes.delete(topicFilter)
    }
  }

  /** Everything is to be told anew. */
  retell (): void {
    this.#changes = new Map([...this.#counts].map(([topicFilter, count]) => [topicFilter, topicFilter.startsWith('$share/') ? count : 1]))
    if (this.#changes.size > 0) this.onChange()
  }

  #changed (topicFilter: string, value: number | undefined): void {
    this.#changes.set(topicFilter, value)
    this.onChange()
  }
}
