import type { SubscriptionOptions } from '../contract/subscription.ts'

/**
 * Subscription Options that many subscriptions have in common, as one object each: 64 bytes less for a subscription. Those
 * with a Subscription Identifier are their own, so there are no more than 36.
 */
export class SharedOptions {
  readonly #known: (SubscriptionOptions | undefined)[] = []

  /** Options that equal the given ones, which may have more properties. */
  of (options: SubscriptionOptions): SubscriptionOptions {
    if (options.subscriptionIdentifier !== 0) return optionsOf(options)
    const key = options.qos | options.retainHandling << 2 | Number(options.noLocal) << 4 | Number(options.retainAsPublished) << 5
    return this.#known[key] ??= optionsOf(options)
  }
}

function optionsOf ({ qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }: SubscriptionOptions): SubscriptionOptions {
  return { qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }
}
