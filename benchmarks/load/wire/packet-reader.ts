/** Told of each packet, in place: what it wants to keep it must copy. */
export type PacketListener = (first: number, chunk: Buffer, at: number, end: number) => void

/** @returns the value and where it ends; the value is -1 where bytes are missing */
export function readVariableByteInteger (chunk: Buffer, at: number, end: number = chunk.length): [value: number, next: number] {
  let value = 0
  for (let shift = 0, i = at; i < end && shift < 28; shift += 7, i++) {
    const byte = chunk.readUInt8(i)
    value |= (byte & 127) << shift
    if (byte < 128) return [value, i + 1]
  }
  return [-1, at]
}

/** Cuts a stream of bytes into packets. An incomplete packet waits for the next chunk; nothing else is copied. */
export class PacketReader {
  readonly #listener: PacketListener
  #rest: Buffer | undefined = undefined

  constructor (listener: PacketListener) {
    this.#listener = listener
  }

  /** The chunk is the caller's again when this returns. */
  read (chunk: Buffer, at: number, end: number): void {
    if (this.#rest === undefined) {
      const next = this.#packets(chunk, at, end)
      if (next < end) this.#rest = Buffer.from(chunk.subarray(next, end))
      return
    }
    const joined = Buffer.concat([this.#rest, chunk.subarray(at, end)])
    const next = this.#packets(joined, 0, joined.length)
    this.#rest = next === joined.length ? undefined : joined.subarray(next)
  }

  /** @returns where the first incomplete packet begins */
  #packets (chunk: Buffer, at: number, end: number): number {
    let start = at
    while (end - start >= 2) {
      let length = chunk.readUInt8(start + 1)
      let body = start + 2
      if (length > 127) { // an array for each packet would be dear; most are short
        [length, body] = readVariableByteInteger(chunk, start + 1, end)
        if (length < 0) return start
      }
      if (body + length > end) return start
      this.#listener(chunk.readUInt8(start), chunk, body, body + length)
      start = body + length
    }
    return start
  }
}
