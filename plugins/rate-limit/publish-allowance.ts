import type { Message } from '../../lib/index.ts'
import type { PublishLimits } from './options.ts'
import { TokenBucket } from './token-bucket.ts'

/** What one Client may still publish. */
export class PublishAllowance {
  readonly limits: PublishLimits
  readonly #messages: TokenBucket | undefined
  readonly #bytes: TokenBucket | undefined

  constructor (limits: PublishLimits, now: number) {
    const { perSecond, burst, bytesPerSecond, burstBytes } = limits
    this.limits = limits
    this.#messages = perSecond === undefined ? undefined : new TokenBucket({ perSecond, burst: burst ?? Math.max(1, perSecond) }, now)
    this.#bytes = bytesPerSecond === undefined ? undefined : new TokenBucket({ perSecond: bytesPerSecond, burst: burstBytes ?? bytesPerSecond }, now)
  }

  /** Takes what a message costs where that needs no clock; false when it does. */
  takeAtOnce (message: Message): boolean {
    const messages = this.#messages
    const bytes = this.#bytes
    if (messages?.has(1) === false) return false
    if (bytes !== undefined) {
      const count = bytesOf(message)
      if (!bytes.has(count)) return false
      bytes.spend(count)
    }
    messages?.spend(1)
    return true
  }

  /** Takes what a message costs; returns the milliseconds until that is paid for, 0 for none. */
  take (message: Message, now: number): number {
    const waitMs = this.#messages?.take(1, now) ?? 0
    return this.#bytes === undefined ? waitMs : Math.max(waitMs, this.#bytes.take(bytesOf(message), now))
  }

  /** A message was not published after all. */
  giveBack (message: Message): void {
    this.#messages?.giveBack(1)
    this.#bytes?.giveBack(bytesOf(message))
  }
}

// With the properties, which would else be the way to send for nothing.
function bytesOf (message: Message): number {
  return message.payloadLength + message.topicName.length + (message.properties === undefined ? 0 : message.encodedProperties.length)
}
