import type { Limits } from '../../base/limits.ts'
import type { Metrics } from '../../base/metrics.ts'
import type { AuthenticationMethod } from '../../contract/authentication.ts'
import type { Clock } from '../../contract/clock.ts'
import type { ClientInfo, DropReason } from '../../contract/hooks.ts'
import type { Logger } from '../../contract/logger.ts'
import type { Message } from '../../contract/message.ts'
import type { Cluster } from '../../cluster/cluster.ts'
import type { HookRunner } from '../../hooks/hook-runner.ts'
import type { Router } from '../../router/router.ts'
import type { Session } from '../../session/session.ts'
import type { DropTarget } from '../../session/session-services.ts'
import type { Sessions } from '../../session/sessions.ts'
import type { Journal } from '../../store/journal.ts'
import type { TopicTable } from '../../topic/topic.ts'

/** Holds publishers back while the process is over its memory high-water mark. */
export interface Pressure {
  /** QoS 0 to slow consumers is dropped earlier. */
  readonly isHigh: boolean
  /** Resolves when publishers may go on; undefined when they may at once. */
  hold (): Promise<void> | undefined
}

/** What the handlers of all connections share: the parts of one broker. */
export interface BrokerServices {
  readonly limits: Limits
  readonly metrics: Metrics
  readonly clock: Clock
  readonly logger: Logger
  readonly hooks: HookRunner
  readonly router: Router
  readonly sessions: Sessions
  readonly topics: TopicTable
  readonly pressure: Pressure
  /** What has to outlive the process goes here; undefined where nothing does. */
  readonly journal: Journal | undefined
  /** The cluster that this broker is a node of. */
  readonly cluster: Cluster | undefined
  readonly authenticationMethods: ReadonlyMap<string, AuthenticationMethod>
  readonly deniedPublish: 'acknowledge' | 'ignore' | 'close'
  readonly serverReference: string | undefined
  readonly reasonStrings: boolean
  readonly responseInformation: ((client: { readonly clientIdentifier: string }) => string) | undefined
  /** How often `revalidate` was called: what was decided before it may be wrong by now. */
  revalidations: number
  /** Whether the acknowledgement of a message waits for the store; undefined for always. */
  readonly durability: ((message: { readonly topicName: string, readonly client: ClientInfo | undefined }) => 'memory' | 'store') | undefined
  /** From here on a Session is written down; only where there is a journal. */
  keep (session: Session, isDurable: boolean): void
  /** A message did not reach a Session. */
  dropped (target: DropTarget | undefined, message: Message, reason: DropReason): void
  /** `close()` was called: nobody is let in any more. */
  readonly isClosing: boolean
}
