import type { Message } from '../contract/message.ts'
import type { LocalSubscription, SubscribeOptions } from './local-subscription.ts'
import { InvalidMessage, isRemoval, type TypedMessage, type TypedTopic } from './typed-topic.ts'

/** How the host subscribes to a {@link TypedTopic}. */
export interface TypedSubscribeOptions extends SubscribeOptions {
  /** Told of each message that does not fit; it is acknowledged, and the next one follows. Default: a warning is logged. */
  onInvalid?: (error: InvalidMessage, message: Message) => void
}

/**
 * A subscription of the host to a {@link TypedTopic}. Messages that do not fit are told to `onInvalid` and left out, the empty ones that remove a
 * retained message without a word. For the rest it is like {@link LocalSubscription}.
 */
export class TypedSubscription<Parameters, Output> implements AsyncIterableIterator<TypedMessage<Parameters, Output>> {
  readonly topicFilter: string
  readonly #subscription: LocalSubscription
  readonly #topic: TypedTopic<Parameters, Output, never>
  readonly #onInvalid: (error: InvalidMessage, message: Message) => void

  /** @internal @param onInvalid does not throw */
  constructor (subscription: LocalSubscription, topic: TypedTopic<Parameters, Output, never>, onInvalid: (error: InvalidMessage, message: Message) => void) {
    this.topicFilter = subscription.topicFilter
    this.#subscription = subscription
    this.#topic = topic
    this.#onInvalid = onInvalid
  }

  /** Ends the subscription; a loop over it ends, too. */
  unsubscribe (): void { this.#subscription.unsubscribe() }

  [Symbol.asyncIterator] (): this { return this }

  async next (): Promise<IteratorResult<TypedMessage<Parameters, Output>, undefined>> {
    for (let next = await this.#subscription.next(); next.done !== true; next = await this.#subscription.next()) {
      const parsed = await this.#topic.parse(next.value)
      if (!(parsed instanceof InvalidMessage)) return { done: false, value: parsed }
      if (!isRemoval(next.value)) this.#onInvalid(parsed, next.value)
    }
    return { done: true, value: undefined }
  }

  return (): Promise<IteratorResult<TypedMessage<Parameters, Output>, undefined>> {
    this.unsubscribe()
    return Promise.resolve({ done: true, value: undefined })
  }
}
