import type { ConnectionInfo } from '../contract/hooks.ts'

/** A Network Connection's byte stream, whatever carries it (section 4.2). It knows nothing of packets. */
export interface Transport {
  readonly info: ConnectionInfo
  /** Bytes that were written and have not left yet. */
  readonly queuedBytes: number
  /** Everything written has been taken by the system, so its buffers may be written to again; false where that cannot be known. */
  readonly hasTakenAll: boolean
  /** A write may be read after it has returned, and `hasTakenAll` never tells: TLS, a stream in memory. */
  readonly keepsBuffers: boolean
  /** The chunks that it hands over are nobody else's. A stream in memory may hand over the very bytes that a Client has written, and will write over. */
  readonly ownsChunks: boolean
  /** Holds back what is written until `uncork`, so that several chunks leave in one system call. */
  cork (): void
  write (chunk: Buffer): void
  uncork (): void
  /** Stops and starts reading. */
  pause (): void
  resume (): void
  /** Closes once everything that was written has left. */
  end (): void
  /** Closes at once. */
  destroy (): void
}

/** What a transport tells its connection. */
export interface TransportListener {
  received (chunk: Buffer): void
  /** Everything that was written has left, after `queuedBytes` had grown past what the system takes at once. */
  drained (): void
  /** Called once: the peer has said its last word. `error` when the network, or the peer's framing, failed. */
  ended (error: Error | undefined): void
  /** Called after `ended`, once the transport is gone: until then it may hold what the peer does not take. */
  closed? (): void
}
