/**
 * What this node wants of the others: each Topic Filter that one of its Sessions has, once, and each Shared Subscription with the number of its
 * members that are connected. Changes gather until they are taken to be told.
 */
export class LocalRoutes {
  readonly #counts = new Map<string, number>()
  #changes = new Map<string, number | undefined>()
  /** What is wanted no more, and is not to be told yet. */
  readonly #kept = new Set<string>()
  /** Told when there is something to take. */
  onChange: () => void = () => undefined

  /** All that is wanted, for nodes that know nothing of it yet. */
  get all (): ReadonlyMap<string, number> { return this.#counts }

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

  /**
   * What of some changes may be told now. A claim that was asked for has made the node want what its Session wants before anybody here knows: no commit
   * that is asked for later may undo that.
   */
  tellable (changes: ReadonlyMap<string, number | undefined>, isComing: boolean): ReadonlyMap<string, number | undefined> {
    const told = new Map<string, number | undefined>()
    for (const [topicFilter, value] of changes) {
      if (value !== undefined) told.set(topicFilter, value)
      else if (isComing) this.#kept.add(topicFilter)
      else if (!this.#counts.has(topicFilter)) told.set(topicFilter, undefined)
    }
    return told
  }

  /** No Sessions are on their way to this node any more. */
  release (): void {
    for (const topicFilter of this.#kept) if (!this.#counts.has(topicFilter)) this.#changed(topicFilter, undefined)
    this.#kept.clear()
  }

  /** The node has been made to want these for a Session that it does not have after all. */
  unwanted (topicFilters: readonly string[]): void {
    for (const topicFilter of topicFilters) if (!this.#counts.has(topicFilter)) this.#changed(topicFilter, undefined)
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
