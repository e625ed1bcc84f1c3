import type { Topic } from '../topic/topic.ts'
import { Fifo } from '../base/fifo.ts'
import { DeliveryPlan, type Subscriber } from './delivery-plan.ts'
import type { SubscriptionTree } from './subscription-tree.ts'

const maximumTopics = 8192
/** Of all plans together, some 150 bytes each. */
const maximumRecipients = 262_144
/** Topics that one sweep looks at: it comes round to all of them in a quarter of a minute. */
const sweptAtOnce = 256

/**
 * Which topics have a plan, so that the oldest can be taken away: retained and waiting messages keep their topics, and many
 * subscribers with wildcards are in the plan of every topic.
 */
export class PlanCache {
  readonly #topics = new Fifo<Topic>()
  #recipients = 0
  /** The last of those that do not come again: its plan is asked for more than once while its message is handed on. */
  #fleeting: Topic | undefined = undefined

  /** Puts a plan on its topic, in the place of the one before it. */
  set (topic: Topic, plan: DeliveryPlan): void {
    if (topic.isFleeting) this.#setFleeting(topic)
    else this.#count(topic, plan)
    topic.plan = plan
    while (this.#topics.length > maximumTopics || (this.#recipients > maximumRecipients && this.#topics.length > 1)) this.#forgetOldest()
  }

  /**
   * Takes away what holds no longer, of some topics at a time: where nobody publishes again it would keep Sessions that have ended, and what the host has attached to
   * their Clients.
   */
  sweep (tree: SubscriptionTree<Subscriber>): void {
    for (let count = Math.min(sweptAtOnce, this.#topics.length); count > 0; count--) {
      const topic = this.#topics.peek()
      if (topic === undefined || !isCurrent(topic, tree)) this.#forgetOldest()
      else this.#putLast(topic)
    }
    if (this.#fleeting !== undefined && !isCurrent(this.#fleeting, tree)) this.#fleeting.plan = undefined
  }

  #putLast (topic: Topic): void {
    this.#topics.shift()
    this.#topics.push(topic)
  }

  #setFleeting (topic: Topic): void {
    if (this.#fleeting !== undefined) this.#fleeting.plan = undefined
    this.#fleeting = topic
  }

  #count (topic: Topic, plan: DeliveryPlan): void {
    if (topic.plan instanceof DeliveryPlan) this.#recipients -= topic.plan.recipients.length
    else this.#topics.push(topic)
    this.#recipients += plan.recipients.length
  }

  #forgetOldest (): void {
    const topic = this.#topics.shift()
    if (!(topic?.plan instanceof DeliveryPlan)) return
    this.#recipients -= topic.plan.recipients.length
    topic.plan = undefined
  }
}

function isCurrent ({ plan, name }: Topic, tree: SubscriptionTree<Subscriber>): boolean {
  return plan instanceof DeliveryPlan && plan.isCurrent(tree, name)
}
