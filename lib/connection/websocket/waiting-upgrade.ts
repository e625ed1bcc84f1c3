import type { Duplex } from 'node:stream'

/** Bytes that a peer may send before it has its answer, which no Client has reason to. */
const maximumKeptBytes = 64 * 1024

/** A socket while somebody looks at its upgrade: nothing that comes is lost, nothing it does throws, and a peer that leaves is noticed. */
export class WaitingUpgrade {
  /** The peer has left, or the socket was handed on. */
  isOver = false
  readonly #socket: Duplex
  readonly #all: Set<WaitingUpgrade>
  readonly #kept: Buffer[] = []
  #keptBytes = 0

  /** `head` is what came with the request. Enters itself in `all`, for as long as it waits. */
  constructor (socket: Duplex, head: Buffer, all: Set<WaitingUpgrade>) {
    this.#socket = socket
    this.#all = all.add(this)
    this.#keep(head)
    socket.on('data', this.#keep).on('end', this.#leave).on('error', this.#leave).on('close', this.#leave)
  }

  /** Ends the wait. The socket is the caller's now, with these bytes before those that it will read. */
  release (): { readonly socket: Duplex, readonly head: Buffer } {
    this.#end()
    this.#socket.off('data', this.#keep).off('end', this.#leave).off('error', this.#leave).off('close', this.#leave).pause()
    return { socket: this.#socket, head: Buffer.concat(this.#kept) }
  }

  #end (): void {
    this.isOver = true
    this.#all.delete(this)
  }

  readonly #keep = (chunk: Buffer): void => {
    this.#kept.push(chunk)
    this.#keptBytes += chunk.length
    if (this.#keptBytes > maximumKeptBytes) this.#socket.pause()
  }

  /** The listeners stay, for an error that comes late. */
  readonly #leave = (): void => {
    this.#end()
    this.#socket.destroy()
  }
}
