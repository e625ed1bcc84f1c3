import type { Duplex } from 'node:stream'

/** Whose write it is. */
export interface Writer {
  /** The bytes of its last straight write have left, or cannot. */
  left (error: Error | null | undefined): void
}

/** Gives bytes to sockets behind the backs of their queues. Almost every write is over when the call returns, so one object serves them all. */
export class StraightWrites {
  #spare: StraightWrite | undefined = undefined

  /** In the socket's queue nothing may wait, and nothing on its way that was written so. */
  write (socket: Duplex, chunk: Buffer, writer: Writer): void {
    const write = this.#spare ?? new StraightWrite()
    this.#spare = undefined // a socket of somebody's own making may bring an answer, and so another write, before this one is over
    write.start(socket, chunk, writer)
    if (write.isOver) this.#spare = write
  }
}

/** A write on its way from a socket to the system. */
class StraightWrite {
  #writer: Writer | undefined = undefined

  start (socket: Duplex, chunk: Buffer, writer: Writer): void {
    this.#writer = writer
    socket._write(chunk, 'buffer' as BufferEncoding, this.#done) // as `Writable` calls it
  }

  get isOver (): boolean { return this.#writer === undefined }

  readonly #done = (error?: Error | null): void => {
    const writer = this.#writer
    this.#writer = undefined
    writer?.left(error)
  }
}
