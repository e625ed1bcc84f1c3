import { keptCopy } from '../base/kept-bytes.ts'
import type { MessageProperties, QoS } from '../packet/packets.ts'
import type { Pieces } from '../packet/data/pieces.ts'
import { encodeMessageProperties } from '../packet/control-packets/publish-encoder.ts'
import { emptyBytes } from '../packet/data/reader.ts'
import { Topic } from '../topic/topic.ts'

/** What a PUBLISH, a Will or the host says of a message. */
export interface MessageContent {
  readonly payload: Buffer
  /** @internal The payload as it came, where that was in several chunks. */
  readonly pieces?: Pieces
  readonly qos: QoS
  readonly retain: boolean
  /** What travels with the message (section 3.3.2.3); undefined when there is nothing. */
  readonly properties: MessageProperties | undefined
}

/** Origins of messages that came neither through the inbox nor in a PUBLISH to this node. */
export const Origin = {
  /** It comes out of the store or another node's inbox, where it stays until this one has stored it. */
  session: -1,
  /** A Will Message: nobody is there any more who could send it again. */
  will: -2,
  /** It was published here, and its publisher was told; or it is a Will Message that has waited for a hook, and was written down by itself meanwhile. */
  acknowledged: -3,
} as const

// What a queued message occupies besides its bytes: the objects that hold it.
const overhead = 200
/** The same of a User Property. */
const pairOverhead = 64

/**
 * An Application Message: made once, never changed, shared by every Session that gets it and by the retained messages.
 * Hooks that want another one return a patch.
 */
export class Message {
  readonly topic: Topic
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: MessageProperties | undefined
  /** Milliseconds since the epoch; Infinity for never. */
  readonly expiresAt: number
  readonly publisher: string | undefined
  /** Its way into the store, while it is on it; the journal knows what that is. */
  pending: object | undefined = undefined
  /**
   * Its place in the inbox of this node, if another node has sent it: position of the frame × 65,536 + place in the frame. 0: it was published here. Below that it came
   * another way: see {@link Origin}.
   */
  declare origin: number
  /** @internal The payload while it stands in several chunks; undefined, and no field, of most messages. */
  declare pieces: Pieces | undefined
  /** Empty while there are pieces. */
  #payload: Buffer
  #encodedProperties: Buffer | undefined = undefined
  #isKept = false

  /**
   * @param publisher Client Identifier; undefined when the host published it
   * @param expiresAt milliseconds since the epoch at which the Message Expiry Interval is over (section 3.3.2.3.3)
   */
  constructor (content: MessageContent, topic: Topic, publisher: string | undefined, expiresAt: number = Infinity) {
    this.topic = topic
    this.qos = content.qos
    this.retain = content.retain
    this.properties = travelling(content.properties)
    this.expiresAt = expiresAt
    this.publisher = publisher
    this.#payload = content.pieces === undefined ? content.payload : emptyBytes
    if (content.pieces !== undefined) this.pieces = content.pieces
  }

  get topicName (): string { return this.topic.name }

  /** Never to be written to: every subscriber gets these very bytes. A payload that came in several chunks is joined when it is asked for first. */
  get payload (): Buffer { return this.pieces === undefined ? this.#payload : this.pieces.join() }

  /** Bytes of the payload. */
  get payloadLength (): number { return this.pieces === undefined ? this.#payload.length : this.pieces.length }

  /** The properties that go to subscribers unaltered, as they stand on the wire; made once for all of them. */
  get encodedProperties (): Buffer {
    return this.#encodedProperties ??= this.#isKept ? kept(encodeMessageProperties(this.properties)) : encodeMessageProperties(this.properties)
  }

  /** Whether this node is the only one that knows of it until it is committed. */
  get isFromHere (): boolean { return this.origin <= 0 && this.origin !== Origin.session }

  /**
   * Whether it comes again at the node to which that Client's Session has gone: it was not acknowledged to the Client, or it is the Will Message,
   * which goes with the Session.
   */
  isSentAgainBy (client: string): boolean {
    return this.qos > 0 && (this.origin === 0 || this.origin === Origin.will) && this.publisher === client
  }

  /** Whether nobody can be told any more that it is not kept: then it must not be given up for want of room. */
  get isPromised (): boolean { return this.origin !== 0 }

  /** Whether the host has published it here, and was not told yet. */
  get isHosts (): boolean { return this.origin === 0 && this.publisher === undefined }

  /** Bytes that the message occupies while it is kept, roughly. */
  get size (): number { return this.payloadLength + this.topic.byteLength + overhead + (this.properties === undefined ? 0 : sizeOf(this.properties)) }

  /** Prepares the message to outlive the turn: a slice keeps its whole chunk alive, so what is the smaller part of one is copied out. */
  keep (): this {
    if (this.#isKept) return this
    this.#isKept = true
    this.#payload = this.payload // here, since a private method would cost each message 8 bytes
    if (this.pieces !== undefined) this.pieces = undefined
    this.#payload = kept(this.#payload)
    this.#encodedProperties = undefined
    const { properties } = this
    if (properties?.correlationData !== undefined) Object.assign(this, { properties: { ...properties, correlationData: kept(properties.correlationData) } })
    return this
  }

  /** This message with some of its content changed. */
  with (changes: Partial<MessageContent>, topic: Topic = this.topic, expiresAt: number = this.expiresAt): Message {
    const { payload, qos, retain, properties } = this
    return new Message({ payload, qos, retain, properties, ...changes }, topic, this.publisher, expiresAt)
  }
}

/** Fields of a message that are no part of its content: they come along where one is spread into an object, `{ ...message, retain: false }`. */
export const messageFields: readonly string[] = ['topic', 'expiresAt', 'publisher', 'pending', 'origin', 'pieces']

/** Whether a message was spread into an object. */
export function isOfMessage (value: object): boolean { return 'topic' in value && value.topic instanceof Topic }

function kept (bytes: Buffer): Buffer { return bytes.length * 2 < bytes.buffer.byteLength ? keptCopy(bytes) : bytes }

/** A packet may be nothing but User Properties, so they count as a payload does. */
function sizeOf ({ contentType = '', responseTopic = '', correlationData = emptyBytes, userProperties }: MessageProperties): number {
  let size = contentType.length + responseTopic.length + correlationData.length
  if (userProperties !== undefined) for (const [name, value] of userProperties) size += name.length + value.length + pairOverhead
  return size
}

/** A Topic Alias belongs to its connection, and most messages of Clients that use them have nothing else. */
function travelling (properties: MessageProperties | undefined): MessageProperties | undefined {
  for (const name in properties) if (name !== 'topicAlias') return properties
  return undefined
}

// On the prototype, since only messages of a cluster, and large ones, have others: as a field of its own one costs each message 70 bytes (Node 26, QoS 0, 399 without).
Object.assign(Message.prototype, { origin: 0, pieces: undefined })
