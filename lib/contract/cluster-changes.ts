/** What a commit tells the other nodes. */
export interface ClusterChanges {
  /** What this node wants, see `LogEntry`. */
  readonly routes: ReadonlyMap<string, number | undefined>
  /** Frames for inboxes; those of nodes that are gone are left out. */
  readonly sends: readonly Send[]
  /** The moves that this node knew of when it decided whom to send to; undefined when that does not matter. More of them refuse the commit. */
  readonly moves: number | undefined
  /** All entries of the own inbox up to this position are done with; 0 says nothing. */
  readonly settled: number
  /** Origins of messages in the inbox whose way on is part of this commit: who adopts this node must not hand them on again. Forgotten once they are settled. */
  readonly taken: readonly number[]
  /** By generation of nodes that this one adopts: position up to which what their inboxes have is handed on by this commit or one before. Who adopts them after it begins behind that. */
  readonly handedOn: ReadonlyMap<number, number>
  /**
   * Sessions whose Clients have published what this commit has, and were not told of that. One that is another node's by now counts as fenced: its Client sends it again there, and may
   * have gone on to something newer.
   */
  readonly publishers: readonly number[]
  /**
   * Sessions that have ended, so that their Client Identifiers are free; what is stored of them is removed by their records. Those that this node
   * does not own are left alone.
   */
  readonly released: readonly SessionReference[]
  /**
   * Sessions that begin without a claim, because their Client Identifier was this node's own already, or is a new one. They come after `released`, but for those that end with the same commit. One whose Client
   * Identifier is another node's by now counts as fenced.
   */
  readonly begun: readonly SessionReference[]
  /** By Client Identifier: whether it is online. */
  readonly presence: ReadonlyMap<string, boolean>
  /**
   * Retained messages that have expired: by Topic Name when they did, in milliseconds since the epoch. One that was replaced since, which has another time or none, stays.
   */
  readonly expired: ReadonlyMap<string, number>
  /** Imported Sessions whose remainder is in the queue with this commit. */
  readonly recovered: readonly number[]
}

export interface Send {
  readonly generation: number
  readonly bytes: Buffer
}

export interface SessionReference {
  readonly clientIdentifier: string
  readonly session: number
}
