import type { SessionServices } from './session-services.ts'

/** How much waits in one Session, held against the limits of `maximumQueued…` and counted in the metrics. */
export class QueueQuota {
  readonly #services: SessionServices
  #messages = 0
  #bytes = 0

  constructor (services: SessionServices) {
    this.#services = services
  }

  get messages (): number { return this.#messages }

  get bytes (): number { return this.#bytes }

  /** Whether the Session may have one more message of that size; 'times' as many as allowed. */
  fits (size: number, times = 1): boolean {
    const { maximumQueuedMessages, maximumQueuedBytes } = this.#services.limits
    return this.#messages < maximumQueuedMessages * times && this.#bytes + size <= maximumQueuedBytes * times
  }

  /** Whether the Session has more than it may. */
  get isOver (): boolean {
    const { maximumQueuedMessages, maximumQueuedBytes } = this.#services.limits
    return this.#messages > maximumQueuedMessages || this.#bytes > maximumQueuedBytes
  }

  /** Whether all Sessions together may have one more message of that size. */
  totalFits (size: number): boolean {
    const { limits, metrics } = this.#services
    return metrics.queuedBytes + size <= limits.maximumTotalQueuedBytes
  }

  count (messages: number, bytes: number): void {
    this.#messages += messages
    this.#bytes += bytes
    this.#services.metrics.queuedMessages += messages
    this.#services.metrics.queuedBytes += bytes
  }

  clear (): void { this.count(-this.#messages, -this.#bytes) }
}
