import { Duplex } from 'node:stream'

/**
 * The broker's end of a connection that exists in memory only. What the broker writes is handed to `onBytes` at once, which may not
 * keep it, as a socket does that the system takes everything from; what the Client sends is `push`ed. Nothing depends on the
 * network or on time, so two runs are the same run.
 */
export class Wire extends Duplex {
  /** Calls that a socket would make of the system. */
  writes = 0
  /** Its presence, and that of `setNoDelay`, tells the broker that it is like a plain socket. */
  bytesWritten = 0
  onBytes: (bytes: Buffer) => void = () => undefined

  setNoDelay (): this { return this }

  override _read (): void { /* the Client pushes */ }

  override _write (chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.writes++
    this.#take(chunk)
    done()
  }

  override _writev (chunks: { chunk: Buffer }[], done: () => void): void {
    this.writes++
    for (const { chunk } of chunks) this.#take(chunk)
    done()
  }

  #take (chunk: Buffer): void {
    this.bytesWritten += chunk.length
    this.onBytes(chunk)
  }
}
