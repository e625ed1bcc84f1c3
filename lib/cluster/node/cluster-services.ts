import type { Limits } from '../../base/limits.ts'
import type { Metrics } from '../../base/metrics.ts'
import type { Clock } from '../../contract/clock.ts'
import type { DropReason } from '../../contract/hooks.ts'
import type { Logger } from '../../contract/logger.ts'
import type { Message } from '../../contract/message.ts'
import type { QueueState } from '../../contract/store.ts'
import type { Router } from '../../router/router.ts'
import type { SessionLog } from '../../session/session-log.ts'
import type { DropTarget, SessionServices } from '../../session/session-services.ts'
import type { Sessions } from '../../session/sessions.ts'
import type { Journal } from '../../store/journal.ts'
import type { TopicTable } from '../../topic/topic.ts'

/** What building a Session of its record needs of the broker. */
export interface RestoreServices extends SessionServices {
  readonly router: Router
  readonly sessions: Sessions
  readonly topics: TopicTable
  /** The log of a Session of that number, which was found in the store. */
  newLog (journal: Journal, number: number, isDurable: boolean, queue?: QueueState): SessionLog
}

/** What the cluster needs of the broker that is a node of it. */
export interface ClusterServices extends RestoreServices {
  readonly limits: Limits
  readonly metrics: Metrics
  readonly clock: Clock
  readonly logger: Logger
  dropped (target: DropTarget | undefined, message: Message, reason: DropReason): void
}
