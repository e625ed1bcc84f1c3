import type { PublishHead } from '../packet/publish-encoder.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { Flusher } from './flusher.ts'
import type { FrameWriter } from './frame-writer.ts'

/** What all connections of a broker share to write with. */
export interface ConnectionServices {
  readonly pool: BufferPool
  readonly flusher: Flusher
  readonly frames: FrameWriter
  /** Filled anew for each PUBLISH that is sent. */
  readonly head: PublishHead
}
