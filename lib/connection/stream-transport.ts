import { Socket } from 'node:net'
import { Readable, Writable, type Duplex } from 'node:stream'
import type { ConnectionInfo } from '../contract/hooks.ts'
import type { StraightWrites } from './straight-writes.ts'
import type { Transport, TransportListener } from './transport.ts'

const transportOf: unique symbol = Symbol('transport')

interface OwnedStream extends Duplex {
  [transportOf]?: StreamTransport
  setNoDelay?: (noDelay: boolean) => unknown
  readonly encrypted?: boolean
}

/**
 * Any Duplex as a transport: `net.Socket`, `tls.TLSSocket`, one end of a pair in memory. Listeners are shared by all.
 *
 * While nothing waits in the queues of a socket's stream its bytes go past them, which saves two callbacks in `nextTick` and an event for each turn: a message that
 * travels alone (100 pairs, window 1) costs 0.95 of the CPU time, less on a busy machine; 1 to 1,000 with QoS 1 0.90. Whatever is not as expected goes the stream's own way.
 */
export class StreamTransport implements Transport {
  readonly info: ConnectionInfo
  readonly keepsBuffers: boolean
  readonly ownsChunks: boolean
  readonly #stream: OwnedStream
  readonly #writes: StraightWrites
  readonly #isUntouched: boolean
  /** Bytes of the write that went past the stream's queue, until the system has taken them. */
  #underway = 0
  /** Whether the call that wrote them has returned. */
  #isLate = false
  #listener: TransportListener | undefined = undefined
  #hasEnded = false
  #isDrainHeard = false

  constructor (stream: Duplex, info: ConnectionInfo, writes: StraightWrites) {
    this.info = info
    this.#stream = stream
    this.#writes = writes
    this.ownsChunks = 'bytesWritten' in stream && this.#stream.setNoDelay !== undefined // it is a socket
    // Only a plain socket is known to be done with a buffer when nothing is queued: others may hand it on.
    this.keepsBuffers = !this.ownsChunks || this.#stream.encrypted === true
    this.#isUntouched = isAsNodeMadeIt(stream)
    this.#stream[transportOf] = this
    this.#stream.setNoDelay?.(true) // writes are gathered already: waiting for more would only add delay
  }

  get queuedBytes (): number { return this.#underway + this.#stream.writableLength }

  get hasTakenAll (): boolean { return !this.keepsBuffers && this.queuedBytes === 0 }

  start (listener: TransportListener): void {
    this.#listener = listener
    if (this.#isUntouched) this.#stream.push = pushStraight
    this.#stream.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
    this.#stream.resume() // a listener alone does not start a stream that was paused, as it is behind a PROXY protocol header
  }

  cork (): void { this.#stream.cork() }

  write (chunk: Buffer): void {
    const stream = this.#stream
    if (!stream.writable) return
    if (this.#isUntouched && stream.write === Writable.prototype.write && this.hasTakenAll && stream.writableCorked === 0) {
      this.#underway = chunk.length
      this.#writes.write(stream, chunk, this)
      this.#isLate = this.#underway > 0
    } else if (!stream.write(chunk) && !this.#isDrainHeard) {
      this.#isDrainHeard = true // most streams never have to say it
      stream.on('drain', onDrain)
    }
  }

  uncork (): void { this.#stream.uncork() }

  pause (): void { this.#stream.pause() }

  resume (): void { this.#stream.resume() }

  end (): void { this.#stream.end() }

  destroy (): void { this.#stream.destroy() }

  /** @internal */
  received (chunk: Buffer): void { this.#listener?.received(chunk) }

  /** @internal */
  left (error: Error | null | undefined): void {
    const wasLate = this.#isLate
    this.#underway = 0
    this.#isLate = false
    if (error != null) this.#stream.destroy(error)
    else if (wasLate && !this.#stream.destroyed) this.#listener?.drained() // what is destroyed reports its writes as done, too
  }

  /** @internal */
  drained (): void { this.#listener?.drained() }

  /** @internal The first cause counts; the others are what follows from it. */
  ended (error: Error | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#listener?.ended(error)
  }

  /** @internal */
  closed (): void {
    // Without an end before it: the Client did not close, the network broke. An error for each would cost microseconds, for its stack.
    if (!this.#hasEnded) this.ended(this.#stream.errored ?? new Error('the stream was destroyed'))
    this.#listener?.closed?.()
    this.#listener = undefined
  }
}

/** Nobody has put something between this socket and its stream, as tools do that count or hold back. They may come later, too: `write` and `emit` are looked at each time. */
function isAsNodeMadeIt (stream: Duplex): boolean {
  return stream instanceof Socket && stream.push === Readable.prototype.push && stream._write === Socket.prototype._write
}

/** Takes the place of `push`. The socket itself gives it buffers with something in them; a host may give it whatever a stream takes. */
function pushStraight (this: OwnedStream, chunk: unknown, encoding?: BufferEncoding): boolean {
  const isPlain = chunk instanceof Buffer && chunk.length > 0
  if (!isPlain || !isHeardByUsAlone(this)) return Readable.prototype.push.call(this, chunk, encoding)
  this[transportOf]?.received(chunk)
  return true
}

/** Whether the event of a chunk that comes now would be for us, and for nobody else. */
function isHeardByUsAlone (stream: Duplex): boolean {
  return stream.readableFlowing === true && stream.readableLength === 0 && stream.emit === Socket.prototype.emit &&
    stream.listenerCount('data') === 1 && stream.listenerCount('data', onData) === 1
}

function onData (this: OwnedStream, chunk: Buffer): void { this[transportOf]?.received(chunk) }

function onDrain (this: OwnedStream): void { this[transportOf]?.drained() }

/** The Client has said its last word: what was sent to it may still leave. */
function onEnd (this: OwnedStream): void {
  this[transportOf]?.ended(undefined)
  if (!this.writableEnded) this.end() // else the stream would make an error of it, which nobody sees
}

function onError (this: OwnedStream, error: Error): void { this[transportOf]?.ended(error) }

function onClose (this: OwnedStream): void { this[transportOf]?.closed() }
