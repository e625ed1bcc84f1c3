import { decodeUtf8 } from '../base/utf8.ts'

/**
 * A Topic Name (section 4.7), decoded and encoded once. Topics that come often are shared through a
 * {@link TopicTable}, so what is known of one (its bytes, who subscribed to it) is found without a look-up.
 */
export class Topic {
  readonly name: string
  /** The name in UTF-8, without the length before it. */
  readonly bytes: Buffer
  /** What the router last found out about this topic; it knows itself when that is out of date. */
  plan: object | undefined = undefined
  /** Whether it was found fit to be published to; the broker's limits are the same for all who use it. */
  isChecked = false

  constructor (name: string, bytes: Buffer = Buffer.from(name)) {
    this.name = name
    this.bytes = bytes
  }
}

/** The topic of a PUBLISH that names none, because a Topic Alias stands for it (section 3.3.2.3.4). */
export const emptyTopic: Topic = new Topic('')

/** Bytes of the longest name that a {@link TopicTable} keeps: a name is read before it is known whether it may be that long. */
const longestKept = 4096

/**
 * The topics that were last used: one slot for each hash, the newer takes the place of the older, so memory is bounded.
 * Finding a known topic costs one pass over its bytes: no string is made, nothing is validated again.
 */
export class TopicTable {
  readonly #slots: (Topic | undefined)[]
  readonly #mask: number

  /** @param size number of slots, a power of two */
  constructor (size = 8192) {
    this.#slots = new Array<Topic | undefined>(size).fill(undefined)
    this.#mask = size - 1
  }

  /**
   * The topic whose name stands in `bytes` from `start` to `end`.
   * @throws MqttError Malformed Packet when that is no well-formed UTF-8
   */
  intern (bytes: Buffer, start: number, end: number): Topic {
    const slot = hash(bytes, start, end) & this.#mask
    const known = this.#slots[slot]
    if (known !== undefined && isSame(known.bytes, bytes, start, end)) return known
    const topic = new Topic(decodeUtf8(bytes, start, end), copyOf(bytes, start, end))
    if (end - start <= longestKept) this.#slots[slot] = topic
    return topic
  }

  /** The topic of that name. */
  named (name: string): Topic {
    const bytes = Buffer.from(name)
    return this.intern(bytes, 0, bytes.length)
  }
}

// A copy: a slice would keep its whole chunk of 64 KiB alive.
function copyOf (bytes: Buffer, start: number, end: number): Buffer {
  return Buffer.from(bytes.subarray(start, end))
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
