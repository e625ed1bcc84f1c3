import type { Limits } from '../base/limits.ts'
import type { Metrics } from '../base/metrics.ts'
import type { Clock } from '../contract/clock.ts'
import type { ClientInfo, DropReason } from '../contract/hooks.ts'
import type { Logger } from '../contract/logger.ts'
import type { Message } from '../contract/message.ts'

/** Whom a message was for. */
export interface DropTarget {
  readonly clientIdentifier: string
  readonly client: ClientInfo | undefined
}

/** What all Sessions of a broker share. */
export interface SessionServices {
  readonly limits: Limits
  readonly metrics: Metrics
  readonly clock: Clock
  readonly logger: Logger
  /** A message did not reach a Session. */
  dropped (target: DropTarget, message: Message, reason: DropReason): void
  /** Whether a retained message is still the one of its topic: an older one must not follow a newer one. */
  isRetained (message: Message): boolean
}
