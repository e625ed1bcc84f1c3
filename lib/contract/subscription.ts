import type { QoS, RetainHandling } from '../packet/packets.ts'

/** What a Client asked for with one Topic Filter (section 3.8.3.1). Immutable: Sessions with equal options may share one object. */
export interface SubscriptionOptions {
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: RetainHandling
  /** 1 to 268,435,455; 0 stands for none (section 3.8.2.1.2). */
  readonly subscriptionIdentifier: number
}

/** A Topic Filter with its options, as hooks and observers see it. */
export interface Subscription extends SubscriptionOptions {
  /** As the Client wrote it, `$share/{ShareName}/` included. */
  readonly topicFilter: string
}
