import type { PublishHead } from '../packet/control-packets/publish-encoder.ts'
import type { Reader } from '../packet/data/reader.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { Flusher } from './flusher.ts'
import type { FrameWriter } from './frame-writer.ts'
import type { Output } from './output.ts'
import type { Due, Rounds } from './rounds.ts'

/** What all connections of a broker share to read and to write with. */
export interface ConnectionServices {
  readonly reader: Reader
  readonly pool: BufferPool
  readonly flusher: Flusher
  /** Those that no connection has anything in. */
  readonly outputs: Output[]
  readonly frames: FrameWriter
  readonly rounds: Pick<Rounds<Due>, 'current' | 'roundAt' | 'schedule' | 'watch'>
  /** Filled anew for each PUBLISH that is sent. */
  readonly head: PublishHead
  /** Bytes from which on a backlog waits. */
  readonly roomMark: number
}
