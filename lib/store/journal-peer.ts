import type { ClusterChanges } from '../contract/cluster-changes.ts'
import type { CommitRefused } from '../contract/emitter.ts'
import type { Message } from '../contract/message.ts'

/** What a cluster adds to the commits of one of its nodes. */
export interface JournalPeer {
  /** Something has gathered that makes a commit worth while. */
  readonly hasWork: boolean
  /** Takes what has gathered, addressed to those who want it now. */
  seal (): ClusterBatch
}

/** A message for a Session of this node that is another's now. */
export interface Orphan {
  readonly message: Message
  /** The Shared Subscription that had chosen the Session. */
  readonly sharedFilter: string | undefined
}

/** What has become of a commit that was taken apart because Sessions are another node's now. */
export interface Reopened {
  readonly orphans: readonly Orphan[]
  /** Messages that were left out, since their publishers send them again to other nodes. */
  readonly revoked: readonly Message[]
}

/** The cluster's part of one commit. */
export interface ClusterBatch extends ClusterChanges {
  readonly hasChanges: boolean
  /** Sessions that were given up since it was sealed; what it says of them is not to be written, even if they come back. */
  readonly expelled: Iterable<number>
  /** It is written. */
  stored (): void
  /** It could not be: what is not a message is part of the next one. */
  refused (): void
  /**
   * Another node has taken Sessions over: resolves when this one knows of it, and has given them up.
   * @returns Client Identifiers of those Sessions
   */
  catchUp (refusal: CommitRefused): Promise<ReadonlySet<string>>
  /** Takes in what has gathered since, and is sealed. */
  absorb (newer: ClusterBatch): void
  /**
   * Says anew who is to get what.
   * @param order of all messages of the commit
   */
  readdress (reopened: Reopened, order: readonly Message[]): void
}
