import type { Message } from '../contract/message.ts'
import type { Session } from '../session/session.ts'

/** Whether a Client may get messages of one topic, and what that is founded on: when any of it has changed, the hooks are asked again. */
export interface TopicVerdict {
  /** See `Session.identities`: a Client that has gone is not to be kept alive by what was decided of it. */
  readonly identities: number
  readonly hooks: object
  readonly revalidations: number
  readonly isAllowed: boolean
}

/** Where the verdict of one Session and one topic is remembered. */
export interface Judged { verdict: TopicVerdict | undefined }

/** Whether a message may go to a Session; undefined where nobody asks. Without `judged` nothing is remembered. */
export type DeliveryGate = ((session: Session, message: Message, judged?: Judged) => boolean) | undefined
