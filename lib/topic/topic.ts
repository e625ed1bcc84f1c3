import { decodeUtf8 } from '../base/utf8.ts'

/**
 * A Topic Name (section 4.7), decoded and encoded once. Topics that come often are shared through a
 * {@link TopicTable}, so what is known of one (its bytes, who subscribed to it) is found without a look-up.
 */
export class Topic {
  readonly name: string
  /** Bytes of the name in UTF-8. */
  readonly byteLength: number
  #bytes: Buffer | undefined = undefined
  /** What the router last found out about this topic; it knows itself when that is out of date. */
  plan: object | undefined = undefined
  /** Whether it was found fit to be published to; the broker's limits are the same for all who use it. */
  isChecked = false
  /** Whether the next message of that name has another `Topic`, so that it is in vain to remember anything here. */
  isFleeting = false

  constructor (name: string, byteLength: number = Buffer.byteLength(name)) {
    this.name = name
    this.byteLength = byteLength
  }

  /** The name in UTF-8, without the length before it. Made when somebody is to get it: most messages of topics that come now and then are only kept. */
  get bytes (): Buffer { return this.#bytes ??= this.isFleeting ? Buffer.from(this.name) : standingAlone(this.name, this.byteLength) }
}

/** What is remembered for long is not to keep all alive that came from Node's pool beside it. */
function standingAlone (name: string, byteLength: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(byteLength)
  bytes.write(name)
  return bytes
}

/** The topic of a PUBLISH that names none, because a Topic Alias stands for it (section 3.3.2.3.4). */
export const emptyTopic: Topic = new Topic('')

/** Bytes of the longest name that a {@link TopicTable} keeps: a name is read before it is known whether it may be that long. */
const longestKept = 4096

/**
 * Topics that come again: one slot for each hash, so memory is bounded. A free slot goes to the first that comes, a taken one to a topic
 * that comes twice while no other one asked for it: a hundred thousand topics that come now and then drive no busy one out, and leave nothing behind.
 * Finding a known topic costs one pass over its bytes: no string is made, nothing is validated again.
 */
export class TopicTable {
  readonly #slots: (Topic | undefined)[]
  /** Of the topic in each slot: another one is told apart without looking at its bytes, which have left the processor's caches. */
  readonly #hashes: Int32Array
  /** Of the topic that asked for each slot last, and did not get it. */
  readonly #asked: Int32Array
  readonly #mask: number

  /** @param size number of slots, a power of two */
  constructor (size = 8192) {
    this.#slots = new Array<Topic | undefined>(size).fill(undefined)
    this.#hashes = new Int32Array(size)
    this.#asked = new Int32Array(size)
    this.#mask = size - 1
  }

  /**
   * The topic whose name stands in `bytes` from `start` to `end`.
   * @throws MqttError Malformed Packet when that is no well-formed UTF-8
   */
  intern (bytes: Buffer, start: number, end: number): Topic {
    const value = hash(bytes, start, end)
    const slot = value & this.#mask
    const known = this.#slots[slot]
    if (known !== undefined && this.#hashes[slot] === value && isSame(known.bytes, bytes, start, end)) return known
    return this.#admit(new Topic(decodeUtf8(bytes, start, end), end - start), value)
  }

  #admit (topic: Topic, value: number): Topic {
    const slot = value & this.#mask
    const isOpen = this.#slots[slot] === undefined || this.#asked[slot] === value
    this.#asked[slot] = value
    topic.isFleeting = !isOpen || topic.byteLength > longestKept
    if (topic.isFleeting) return topic
    this.#hashes[slot] = value
    return this.#slots[slot] = topic
  }

  /** The topic of that name. */
  named (name: string): Topic {
    const bytes = Buffer.from(name)
    return this.intern(bytes, 0, bytes.length)
  }
}

function hash (bytes: Buffer, start: number, end: number): number {
  let value = end - start
  for (let i = start; i < end; i++) value = (Math.imul(value, 31) + (bytes[i] as number)) | 0
  return value ^ (value >>> 15)
}

function isSame (known: Buffer, bytes: Buffer, start: number, end: number): boolean {
  if (known.length !== end - start) return false
  for (let i = 0; i < known.length; i++) {
    if (known[i] !== bytes[start + i]) return false
  }
  return true
}
