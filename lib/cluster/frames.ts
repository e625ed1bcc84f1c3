import type { Message } from '../contract/message.ts'
import { MessageCodec } from '../contract/message-codec.ts'

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

/** What nodes send each other: items one after the other, each with its kind and length. */
export class FrameCodec {
  readonly #messages = new MessageCodec()

  message (message: Message): Buffer {
    return withHead(this.#messages.encode(message, headBytes), Kind.message)
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

  /** The items of a frame, in their order; kinds that a later version may add are left out. */
  * items (frame: Buffer): Generator<FrameItem> {
    for (let at = 0; at < frame.length;) {
      const end = at + headBytes + frame.readUInt32BE(at + 1)
      const item = this.#item(frame[at] ?? 0, frame.subarray(at + headBytes, end))
      if (item !== undefined) yield item
      at = end
    }
  }

  #item (kind: number, body: Buffer): FrameItem | undefined {
    switch (kind) {
      case Kind.message: return { kind: 'message', message: this.#messages.decode(body), isForAll: true, shares: none }
      case Kind.sharedMessage: return this.#sharedMessage(body)
      case Kind.confirmation: return { kind: 'confirmation', generation: body.readDoubleBE(0), position: body.readDoubleBE(8) }
      case Kind.kick: return { kind: 'kick', reasonCode: body[0] ?? 0, clientIdentifier: body.toString('utf8', 1) }
      case Kind.yield: return { kind: 'yield', generation: body.readDoubleBE(0), clientIdentifier: body.toString('utf8', 8) }
      case Kind.yielded: return { kind: 'yielded', clientIdentifier: body.toString() }
      default: return undefined
    }
  }

  #sharedMessage (body: Buffer): MessageItem {
    const start = 5 + body.readUInt32BE(1)
    const shares = JSON.parse(body.toString('utf8', 5, start)) as string[]
    return { kind: 'message', message: this.#messages.decode(body, start), isForAll: body[0] === 1, shares }
  }
}

const none: readonly string[] = []

function withHead (bytes: Buffer, kind: number): Buffer {
  bytes[0] = kind
  bytes.writeUInt32BE(bytes.length - headBytes, 1)
  return bytes
}
