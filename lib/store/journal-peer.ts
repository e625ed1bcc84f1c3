import type { ClusterChanges } from '../contract/cluster-changes.ts'
import type { CommitRefused } from '../contract/emitter.ts'
import type { Message } from '../contract/message.ts'

/** What a cluster adds to the commits of one of its nodes. */
export interface JournalPeer {
  /** Something has gathered that makes a commit worth while. */
  readonly hasWork: boolean
  /** A commit is about to be put together: what was to be done elsewhere, and cannot be there any more, may become part of it. */
  prepare (): void
  /**
   * Takes what has gathered, addressed to those who want it now.
   * @param messages those of the commit
   */
  seal (messages: readonly { readonly message: Message }[]): ClusterBatch
  /** A commit was refused, and is gathered again: resolves when this node knows why, and has given up what is others'. */
  learn (refusal: CommitRefused): Promise<void>
}

/** A message for a Session of this node that is another's now. */
export interface Orphan {
  readonly message: Message
  /** The Shared Subscription that had chosen the Session. */
  readonly sharedFilter: string | undefined
}

/** What is left of a Session that is another node's now. */
export interface Expelled {
  readonly orphans: readonly Orphan[]
  /** Messages that were left out, since their publisher sends them again to the other node. */
  readonly revoked: readonly Message[]
  /** Messages that another member of a Shared Subscription was to have in its place: they are still in the queue of the Session, and go with it. */
  readonly returned: readonly Orphan[]
}

/** The cluster's part of one commit. */
export interface ClusterBatch extends ClusterChanges {
  readonly hasChanges: boolean
  /** It is written. */
  stored (): void
  /** It could not be: what is not a message, and the messages that are kept, are part of the next one. */
  refused (kept: ReadonlySet<Message>): void
  /** It is gathered again, all of it. */
  unseal (): void
}
