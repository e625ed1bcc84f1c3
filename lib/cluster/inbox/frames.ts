import type { Message } from '../../contract/message.ts'
import { MessageCodec } from '../../contract/message-codec.ts'
import { writeUint32 } from '../../packet/data/writer.ts'

/** Byte 0 of each item of a frame; its length follows. */
const Kind = { message: 1, sharedMessage: 2, confirmation: 3, kick: 4, yield: 5, yielded: 6 } as const
const headBytes = 5

/** A message for Sessions of the node that gets it. */
export interface MessageItem {
  readonly kind: 'message'
  readonly message: Message
  /** For all that subscribed. */
  readonly isForAll: boolean
  /** Shared Subscriptions of which one member is to get it. */
  readonly shares: readonly string[]
}

/** A node knows what the log told up to that position. */
export interface ConfirmationItem { readonly kind: 'confirmation', readonly generation: number, readonly position: number }

/** A Client is to be sent away. */
export interface KickItem { readonly kind: 'kick', readonly clientIdentifier: string, readonly reasonCode: number }

/** A node wants the Session of a Client that is online at the one that gets this. */
export interface YieldItem { readonly kind: 'yield', readonly generation: number, readonly clientIdentifier: string }

/** The Client has been let go. */
export interface YieldedItem { readonly kind: 'yielded', readonly clientIdentifier: string }

export type FrameItem = MessageItem | ConfirmationItem | KickItem | YieldItem | YieldedItem

/** Bytes from `start` to `end`. */
export interface Piece { readonly bytes: Buffer, readonly start: number, readonly end: number }

/** Messages are written one behind the other in pieces of that many bytes, so that those which go together are mostly one piece. */
const pageBytes = 64 * 1024

/** What nodes send each other: items one after the other, each with its kind and length. */
export class FrameCodec {
  readonly #messages = new MessageCodec()
  #page: Buffer = Buffer.alloc(0)
  /** Where nothing is written yet. */
  #free = 0

  /** What is written stays as it is for as long as anybody has it. */
  message (message: Message): Piece {
    const length = headBytes + this.#messages.lengthOf(message)
    if (length > this.#page.length - this.#free) this.#turn(length)
    const [bytes, start] = [this.#page, this.#free]
    this.#free = this.#messages.write(message, bytes, start + headBytes)
    writeHead(bytes, start, Kind.message, length)
    return { bytes, start, end: this.#free }
  }

  #turn (length: number): void {
    this.#page = Buffer.allocUnsafeSlow(Math.max(length, pageBytes))
    this.#free = 0
  }

  sharedMessage (message: Message, isForAll: boolean, shares: readonly string[]): Buffer {
    const names = Buffer.from(JSON.stringify(shares))
    const head = headBytes + 1 + 4 + names.length
    const bytes = withHead(this.#messages.encode(message, head), Kind.sharedMessage)
    bytes[headBytes] = isForAll ? 1 : 0
    bytes.writeUInt32BE(names.length, headBytes + 1)
    names.copy(bytes, headBytes + 5)
    return bytes
  }

  confirmation (generation: number, position: number): Buffer {
    const bytes = Buffer.allocUnsafe(headBytes + 16)
    bytes.writeDoubleBE(generation, headBytes)
    bytes.writeDoubleBE(position, headBytes + 8)
    return withHead(bytes, Kind.confirmation)
  }

  kick (clientIdentifier: string, reasonCode: number): Buffer {
    const name = Buffer.from(clientIdentifier)
    const bytes = Buffer.allocUnsafe(headBytes + 1 + name.length)
    bytes[headBytes] = reasonCode
    name.copy(bytes, headBytes + 1)
    return withHead(bytes, Kind.kick)
  }

  yield (generation: number, clientIdentifier: string): Buffer {
    const name = Buffer.from(clientIdentifier)
    const bytes = Buffer.allocUnsafe(headBytes + 8 + name.length)
    bytes.writeDoubleBE(generation, headBytes)
    name.copy(bytes, headBytes + 8)
    return withHead(bytes, Kind.yield)
  }

  yielded (clientIdentifier: string): Buffer {
    return withHead(Buffer.concat([Buffer.alloc(headBytes), Buffer.from(clientIdentifier)]), Kind.yielded)
  }

  /** The items of a frame, in their order; kinds that a later version may add are left out. Payloads are slices of it. */
  * items (frame: Buffer): Generator<FrameItem> {
    for (let at = 0; at < frame.length;) {
      const end = at + headBytes + frame.readUInt32BE(at + 1)
      const item = this.#item(frame[at] ?? 0, frame, at + headBytes, end)
      if (item !== undefined) yield item
      at = end
    }
  }

  #item (kind: number, frame: Buffer, start: number, end: number): FrameItem | undefined {
    switch (kind) {
      case Kind.message: return { kind: 'message', message: this.#messages.read(frame, start, end), isForAll: true, shares: none }
      case Kind.sharedMessage: return this.#sharedMessage(frame, start, end)
      case Kind.confirmation: return { kind: 'confirmation', generation: frame.readDoubleBE(start), position: frame.readDoubleBE(start + 8) }
      case Kind.kick: return { kind: 'kick', reasonCode: frame[start] ?? 0, clientIdentifier: frame.toString('utf8', start + 1, end) }
      case Kind.yield: return { kind: 'yield', generation: frame.readDoubleBE(start), clientIdentifier: frame.toString('utf8', start + 8, end) }
      case Kind.yielded: return { kind: 'yielded', clientIdentifier: frame.toString('utf8', start, end) }
      default: return undefined
    }
  }

  #sharedMessage (frame: Buffer, start: number, end: number): MessageItem {
    const names = start + 5
    const message = names + frame.readUInt32BE(start + 1)
    const shares = JSON.parse(frame.toString('utf8', names, message)) as string[]
    return { kind: 'message', message: this.#messages.read(frame, message, end), isForAll: frame[start] === 1, shares }
  }
}

const none: readonly string[] = []

function withHead (bytes: Buffer, kind: number): Buffer {
  writeHead(bytes, 0, kind, bytes.length)
  return bytes
}

/** @param length of the item, with its head */
function writeHead (bytes: Buffer, at: number, kind: number, length: number): void {
  bytes[at] = kind
  writeUint32(bytes, at + 1, length - headBytes)
}
