import type { ClientInfo } from '../../contract/hooks.ts'
import type { Session } from '../../session/session.ts'

/** Where a message comes from. */
export interface Origin {
  /** Undefined for the host, which needs nobody's leave. */
  readonly client: ClientInfo | undefined
  /** Undefined for the host; No Local needs to know. */
  readonly session: Session | undefined
  readonly isWill: boolean
}
