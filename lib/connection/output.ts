import { type BufferPool, largestBuffer, smallestBuffer } from './buffer-pool.ts'
import type { Transport } from './transport.ts'

/** Payloads from this size on are not copied but written from where they are; below it a copy is cheaper than a part of a `writev`. */
const referencedFrom = 8192

/**
 * What a transport keeps is copied into Node's pool below this size, where a view of it is cheap, and else left to it whole: over TLS a message that
 * travels alone (50 pairs, window 1) costs 0.87 (QoS 1) and 0.90 (QoS 0) of the CPU time.
 */
const copiedBelow = 2048

/** Over this many bytes what has gathered leaves in several writes. */
const largestWrite = 1024 * 1024

/**
 * The bytes that one connection sends in this turn of the event loop. Small frames land one behind the other in one buffer,
 * so that the turn ends with one write; large payloads are passed on as they are.
 */
export class Output {
  /** Where frames are written to, from `position` on; valid after `reserve`. */
  buffer: Buffer | undefined = undefined
  position = 0
  /** Where in `buffer` the bytes begin that are in no chunk yet. */
  #start = 0
  #chunks: Buffer[] | undefined = undefined
  #chunkBytes = 0
  /** A small buffer that stays here from one turn to the next, while it is not `buffer`. */
  #spare: Buffer | undefined = undefined
  /** What was written of it last: many turns write as much as the turn before, and a view of a buffer costs 0.1 µs. */
  #view: Buffer | undefined = undefined
  /** The buffer of that view. */
  #viewed: Buffer | undefined = undefined
  readonly #pool: BufferPool

  constructor (pool: BufferPool) {
    this.#pool = pool
  }

  /** Bytes that wait for the turn's end. */
  get length (): number { return this.#chunkBytes + this.position - this.#start }

  /** Makes room for `size` bytes at `position`. */
  reserve (size: number): Buffer {
    const buffer = this.buffer
    if (buffer !== undefined && this.position + size <= buffer.length) return buffer
    return this.#grow(size)
  }

  /** Appends bytes that will not change; large ones by reference. */
  append (bytes: Buffer): void {
    if (bytes.length >= referencedFrom) {
      this.#closeChunk()
      this.#addChunk(bytes)
    } else {
      this.reserve(bytes.length).set(bytes, this.position)
      this.position += bytes.length
    }
  }

  /** Hands everything to the transport in one write, or the oldest part of much; returns how many bytes. */
  flush (transport: Transport): number {
    if (this.#chunkBytes > largestWrite) return this.#flushOldest(transport)
    const bytes = this.length
    if (bytes === 0) return 0
    if (this.#chunks !== undefined) this.#closeChunk()
    const { buffer, position } = this
    const chunks = this.#chunks
    this.#reset() // before anything is written: a stream in memory may bring the answer at once, which sends something, too
    if (chunks !== undefined) writeChunks(transport, chunks)
    else if (buffer !== undefined && transport.keepsBuffers && position < copiedBelow) transport.write(this.#copyOf(buffer, position))
    else if (buffer !== undefined) transport.write(this.#viewOf(buffer, position))
    // What the system has not taken yet must not be written over: that buffer is left to the garbage collector.
    if (buffer !== undefined && transport.hasTakenAll) this.#release(buffer)
    return bytes
  }

  #copyOf (buffer: Buffer, length: number): Buffer {
    const copy = Buffer.allocUnsafe(length)
    buffer.copy(copy, 0, 0, length)
    this.#release(buffer)
    return copy
  }

  #viewOf (buffer: Buffer, length: number): Buffer {
    const view = this.#view
    if (view !== undefined && this.#viewed === buffer && view.length === length) return view
    if (buffer.length > smallestBuffer) return buffer.subarray(0, length)
    this.#viewed = buffer
    return this.#view = buffer.subarray(0, length)
  }

  #release (buffer: Buffer): void {
    if (buffer.length === smallestBuffer && this.#spare === undefined) this.#spare = buffer
    else this.#pool.give(buffer)
  }

  /** A write counts as taken once all of it is: in smaller ones a slow Client can be seen to take something. */
  #flushOldest (transport: Transport): number {
    const chunks = this.#chunks ?? []
    let bytes = 0
    let count = 0
    while (bytes < largestWrite && count < chunks.length) bytes += (chunks[count++] as Buffer).length
    this.#chunkBytes -= bytes
    writeChunks(transport, chunks.splice(0, count))
    return bytes
  }

  #reset (): void {
    this.buffer = undefined
    this.#chunks = undefined
    this.position = this.#start = this.#chunkBytes = 0
  }

  #grow (size: number): Buffer {
    const held = this.position - this.#start
    const before = this.buffer
    if (before === undefined || held + size > largestBuffer || this.#chunks !== undefined) return this.#replace(size)
    const larger = this.#pool.take(Math.max(held + size, before.length + 1))
    before.copy(larger, 0, 0, this.position)
    this.#pool.give(before)
    this.buffer = larger
    return larger
  }

  /** Goes on in another buffer; what the first one holds becomes a chunk. */
  #replace (size: number): Buffer {
    this.#closeChunk()
    this.position = this.#start = 0
    this.buffer = this.#take(size)
    return this.buffer
  }

  #take (size: number): Buffer {
    const spare = this.#spare
    if (spare === undefined || size > smallestBuffer) return size > largestBuffer ? Buffer.allocUnsafeSlow(size) : this.#pool.take(size)
    this.#spare = undefined
    return spare
  }

  #closeChunk (): void {
    if (this.position === this.#start) return
    this.#addChunk((this.buffer as Buffer).subarray(this.#start, this.position))
    this.#start = this.position
  }

  #addChunk (chunk: Buffer): void {
    this.#chunks ??= []
    this.#chunks.push(chunk)
    this.#chunkBytes += chunk.length
  }
}

function writeChunks (transport: Transport, chunks: readonly Buffer[]): void {
  transport.cork()
  for (const chunk of chunks) transport.write(chunk)
  transport.uncork()
}
