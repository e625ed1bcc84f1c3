import type { Duplex } from 'node:stream'
import type { ConnectionInfo } from '../contract/hooks.ts'
import type { Transport, TransportListener } from './transport.ts'

const transportOf: unique symbol = Symbol('transport')

interface OwnedStream extends Duplex {
  [transportOf]?: StreamTransport
  setNoDelay?: (noDelay: boolean) => unknown
  readonly encrypted?: boolean
}

/** Any Duplex as a transport: `net.Socket`, `tls.TLSSocket`, one end of a pair in memory. Listeners are shared by all. */
export class StreamTransport implements Transport {
  readonly info: ConnectionInfo
  readonly ownsChunks: boolean
  readonly #stream: OwnedStream
  readonly #takesAtOnce: boolean
  #listener: TransportListener | undefined = undefined
  #hasEnded = false
  #isDrainHeard = false

  constructor (stream: Duplex, info: ConnectionInfo) {
    this.info = info
    this.#stream = stream
    this.ownsChunks = 'bytesWritten' in stream && this.#stream.setNoDelay !== undefined // it is a socket
    // Only a plain socket is known to be done with a buffer when nothing is queued: others may hand it on.
    this.#takesAtOnce = this.ownsChunks && this.#stream.encrypted !== true
    this.#stream[transportOf] = this
    this.#stream.setNoDelay?.(true) // writes are gathered already: waiting for more would only add delay
  }

  get queuedBytes (): number { return this.#stream.writableLength }

  get hasTakenAll (): boolean { return this.#takesAtOnce && this.#stream.writableLength === 0 }

  start (listener: TransportListener): void {
    this.#listener = listener
    this.#stream.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose)
    this.#stream.resume() // a listener alone does not start a stream that was paused, as it is behind a PROXY protocol header
  }

  cork (): void { this.#stream.cork() }

  write (chunk: Buffer): void {
    if (this.#stream.writable && !this.#stream.write(chunk) && !this.#isDrainHeard) {
      this.#isDrainHeard = true // most streams never have to say it
      this.#stream.on('drain', onDrain)
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
  drained (): void { this.#listener?.drained() }

  /** @internal The first cause counts; the others are what follows from it. */
  ended (error: Error | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#listener?.ended(error)
  }

  /** @internal */
  closed (): void {
    // Without an end before it: the Client did not close, the network broke.
    this.ended(this.#stream.errored ?? new Error('the stream was destroyed'))
    this.#listener?.closed?.()
    this.#listener = undefined
  }
}

function onData (this: OwnedStream, chunk: Buffer): void { this[transportOf]?.received(chunk) }

function onDrain (this: OwnedStream): void { this[transportOf]?.drained() }

/** The Client has said its last word: what was sent to it may still leave. */
function onEnd (this: OwnedStream): void {
  this[transportOf]?.ended(undefined)
  this.end()
}

function onError (this: OwnedStream, error: Error): void { this[transportOf]?.ended(error) }

function onClose (this: OwnedStream): void { this[transportOf]?.closed() }
