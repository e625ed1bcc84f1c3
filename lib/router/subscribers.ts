import type { SubscriptionOptions } from '../contract/subscription.ts'

/** A subscriber whose filter matches, with what it asked for. Immutable: lists of matches may be kept. */
export interface Match<S> {
  readonly subscriber: S
  readonly options: SubscriptionOptions
}

/** The subscribers of one Topic Filter. One alone, as most filters have, is held without a Map or an object of its own. */
export class Subscribers<S extends object> {
  #held: S | Map<S, SubscriptionOptions> | undefined = undefined
  /** Of the one alone. */
  #options: SubscriptionOptions | undefined = undefined

  get isEmpty (): boolean { return this.#held === undefined }

  get (subscriber: S): SubscriptionOptions | undefined {
    const held = this.#held
    if (held instanceof Map) return held.get(subscriber)
    return held === subscriber ? this.#options : undefined
  }

  set (subscriber: S, options: SubscriptionOptions): void {
    const held = this.#held
    if (held instanceof Map) held.set(subscriber, options)
    else if (held === undefined || held === subscriber) this.#holdOne(subscriber, options)
    else this.#holdTwo(held, subscriber, options)
  }

  delete (subscriber: S): boolean {
    const held = this.#held
    if (held instanceof Map) return this.#deleteOf(held, subscriber)
    if (held !== subscriber) return false
    this.#held = this.#options = undefined
    return true
  }

  pushTo (into: Match<S>[]): void {
    const held = this.#held
    if (held instanceof Map) for (const [subscriber, options] of held) into.push({ subscriber, options })
    else if (held !== undefined && this.#options !== undefined) into.push({ subscriber: held, options: this.#options })
  }

  #holdOne (subscriber: S, options: SubscriptionOptions): void {
    this.#held = subscriber
    this.#options = options
  }

  #holdTwo (first: S, second: S, options: SubscriptionOptions): void {
    this.#held = new Map([[first, this.#options as SubscriptionOptions], [second, options]])
    this.#options = undefined
  }

  #deleteOf (held: Map<S, SubscriptionOptions>, subscriber: S): boolean {
    const deleted = held.delete(subscriber)
    if (held.size === 1) for (const [last, options] of held) this.#holdOne(last, options)
    return deleted
  }
}
