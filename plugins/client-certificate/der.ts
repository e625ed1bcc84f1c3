/** One value of DER (X.690): `content` and `raw` are views of the bytes it was read from. */
export interface DerValue {
  readonly tag: number
  readonly content: Buffer
  /** With tag and length. */
  readonly raw: Buffer
}

/** The bytes are not what they should be. */
export class DerError extends Error {}

export const DerTag = {
  boolean: 0x01, integer: 0x02, bitString: 0x03, octetString: 0x04, objectIdentifier: 0x06,
  utf8String: 0x0c, printableString: 0x13, ia5String: 0x16, utcTime: 0x17, generalizedTime: 0x18, bmpString: 0x1e,
  sequence: 0x30, set: 0x31,
} as const

/**
 * Reads DER, strictly: lengths are definite, as short as can be, and within their bytes. What was expected and is not there throws.
 * @throws DerError
 */
export class DerReader {
  readonly #bytes: Buffer
  #at = 0

  constructor (bytes: Buffer) { this.#bytes = bytes }

  get isAtEnd (): boolean { return this.#at >= this.#bytes.length }

  /** The next value, which must have that tag. */
  next (tag: number): DerValue {
    const value = this.#read()
    if (value.tag !== tag) throw new DerError(`tag ${tag} was expected, and ${value.tag} is there`)
    return value
  }

  /** The next value if it has one of those tags, else undefined. */
  optional (...tags: number[]): DerValue | undefined {
    return tags.includes(this.#bytes[this.#at] ?? -1) ? this.#read() : undefined
  }

  /** The next value, whatever it is. */
  any (): DerValue { return this.#read() }

  /** The inside of the next value, which must have that tag. */
  inside (tag: number): DerReader { return new DerReader(this.next(tag).content) }

  /** Nothing may be left. */
  end (): void {
    if (!this.isAtEnd) throw new DerError('there is something behind the end')
  }

  #read (): DerValue {
    const start = this.#at
    const tag = this.#byte()
    if ((tag & 0x1f) === 0x1f) throw new DerError('a tag of more than one byte')
    const length = this.#length()
    const end = this.#at + length
    if (end > this.#bytes.length) throw new DerError('a value is longer than what it is in')
    const value = { tag, content: this.#bytes.subarray(this.#at, end), raw: this.#bytes.subarray(start, end) }
    this.#at = end
    return value
  }

  #length (): number {
    const first = this.#byte()
    if (first < 0x80) return first
    const count = first & 0x7f
    if (count === 0 || count > 4) throw new DerError('a length that is not definite, or too long')
    let length = 0
    for (let i = 0; i < count; i++) length = length * 256 + this.#byte()
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerError('a length that could be shorter')
    return length
  }

  #byte (): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw new DerError('it ends too early')
    return byte
  }
}

/** An object identifier in its usual form: `2.5.4.3`. */
export function objectIdentifierOf (content: Buffer): string {
  const numbers: number[] = []
  let number = 0
  for (const byte of content) {
    number = number * 128 + (byte & 0x7f)
    if (number > 0xffffffff) throw new DerError('a number of an object identifier is too large')
    if (byte >= 0x80) continue
    numbers.push(number)
    number = 0
  }
  const [first = 0, ...rest] = numbers
  const top = Math.min(Math.floor(first / 40), 2)
  return [top, first - top * 40, ...rest].join('.')
}

/** UTCTime or GeneralizedTime (RFC 5280 section 4.1.2.5), in milliseconds since the epoch. */
export function timeOf ({ tag, content }: DerValue): number {
  const text = content.toString('latin1')
  const full = tag === DerTag.utcTime ? (Number(text.slice(0, 2)) < 50 ? '20' : '19') + text : text
  const [, ...parts] = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full) ?? []
  const [year = NaN, month = NaN, ...rest] = parts.map(Number)
  const time = Date.UTC(year, month - 1, ...rest)
  if (Number.isNaN(time)) throw new DerError('a time that is none')
  return time
}

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A text of one of the kinds that are in use; undefined for others. */
export function textOf ({ tag, content }: DerValue): string | undefined {
  if (tag === DerTag.printableString || tag === DerTag.ia5String) return asciiOf(content)
  if (tag === DerTag.bmpString && content.length % 2 === 0) return Buffer.from(content).swap16().toString('utf16le')
  if (tag !== DerTag.utf8String) return undefined
  try {
    return strict.decode(content)
  } catch {
    throw new DerError('a text that is not UTF-8')
  }
}

export function asciiOf (content: Buffer): string {
  if (content.some(byte => byte >= 0x80)) throw new DerError('a text that is not ASCII')
  return content.toString('latin1')
}
