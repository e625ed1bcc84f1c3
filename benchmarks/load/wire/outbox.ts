import type { Socket } from 'node:net'
import type { PublishFrame } from './frames.ts'
import { frameHeaderRoom, frameInPlace } from './websocket.ts'

/** Gathers what one connection sends in a turn of the event loop, so that it is one write. */
export class Outbox {
  /** Whether what is gathered becomes a WebSocket frame. */
  isFraming = false
  #buffer: Buffer = Buffer.allocUnsafe(1024)
  #end = frameHeaderRoom

  get length (): number { return this.#end - frameHeaderRoom }

  add (bytes: Buffer): void {
    this.#reserve(bytes.length)
    this.#buffer.set(bytes, this.#end)
    this.#end += bytes.length
  }

  /** PUBACK, PUBREC, PUBREL or PUBCOMP without a Reason Code. */
  addAcknowledgement (first: number, packetIdentifier: number): void {
    this.#reserve(4)
    const at = this.#end
    this.#buffer[at] = first
    this.#buffer[at + 1] = 2
    this.#buffer[at + 2] = packetIdentifier >> 8
    this.#buffer[at + 3] = packetIdentifier
    this.#end += 4
  }

  addPublish (frame: PublishFrame, packetIdentifier: number, time: number, publisher: number, sequence: number): void {
    const at = this.#end
    this.add(frame.bytes)
    if (frame.identifierAt > 0) this.#buffer.writeUInt16BE(packetIdentifier, at + frame.identifierAt)
    this.#buffer.writeUInt32LE(time, at + frame.headerAt)
    this.#buffer.writeUInt32LE(publisher, at + frame.headerAt + 4)
    this.#buffer.writeUInt32LE(sequence, at + frame.headerAt + 8)
  }

  /** Writes it all; a socket that could not take it at once keeps the buffer, and `written` is called later. */
  write (socket: Socket, written: () => void): void {
    const start = this.isFraming ? frameInPlace(this.#buffer, this.#end) : frameHeaderRoom
    socket.write(this.#buffer.subarray(start, this.#end), written)
    if (socket.writableLength > 0) this.#buffer = Buffer.allocUnsafe(1024)
    this.#end = frameHeaderRoom
  }

  #reserve (bytes: number): void {
    if (this.#end + bytes <= this.#buffer.length) return
    const larger = Buffer.allocUnsafe((this.#end + bytes) * 2)
    larger.set(this.#buffer.subarray(0, this.#end))
    this.#buffer = larger
  }
}
