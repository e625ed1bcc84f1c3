import type { SubscriptionOptions } from '../contract/subscription.ts'

/** A subscriber whose filter matches, with what it asked for. Immutable: lists of matches may be kept. */
export interface Match<S> {
  readonly subscriber: S
  readonly options: SubscriptionOptions
}

/** The subscribers of one Topic Filter. One alone, as most filters have, is held without a Map. */
export class Subscribers<S extends object> {
  #held: Match<S> | Map<S, Match<S>> | undefined = undefined

  get isEmpty (): boolean { return this.#held === undefined }

  get (subscriber: S): SubscriptionOptions | undefined {
    const held = this.#held
    if (held instanceof Map) return held.get(subscriber)?.options
    return held?.subscriber === subscriber ? held.options : undefined
  }

  set (subscriber: S, options: SubscriptionOptions): void {
    const held = this.#held
    const match = { subscriber, options }
    if (held instanceof Map) held.set(subscriber, match)
    else if (held === undefined || held.subscriber === subscriber) this.#held = match
    else this.#held = new Map([[held.subscriber, held], [subscriber, match]])
  }

  delete (subscriber: S): boolean {
    const held = this.#held
    if (held instanceof Map) return this.#deleteOf(held, subscriber)
    if (held?.subscriber !== subscriber) return false
    this.#held = undefined
    return true
  }

  pushTo (into: Match<S>[]): void {
    const held = this.#held
    if (held instanceof Map) for (const match of held.values()) into.push(match)
    else if (held !== undefined) into.push(held)
  }

  #deleteOf (held: Map<S, Match<S>>, subscriber: S): boolean {
    const deleted = held.delete(subscriber)
    if (held.size === 1) for (const match of held.values()) this.#held = match
    return deleted
  }
}
