import { readVariableByteInteger } from './packet-reader.ts'

const topicAliasMaximum = 0x22
const userProperty = 0x26

/** Bytes of the properties of CONNACK that have a fixed length (section 2.2.2.2). */
const fixedLengths: ReadonlyMap<number, number> = new Map([
  [0x11, 4], [0x13, 2], [0x21, 2], [topicAliasMaximum, 2], [0x24, 1], [0x25, 1], [0x27, 4], [0x28, 1], [0x29, 1], [0x2a, 1],
])

/** The Topic Alias Maximum of a CONNACK, whose properties begin at `at`; 0 when it has none. */
export function topicAliasMaximumOf (chunk: Buffer, at: number): number {
  const [length, first] = readVariableByteInteger(chunk, at)
  for (let i = first; i < first + length;) {
    const property = chunk.readUInt8(i)
    if (property === topicAliasMaximum) return chunk.readUInt16BE(i + 1)
    i += 1 + lengthOf(property, chunk, i + 1)
  }
  return 0
}

function lengthOf (property: number, chunk: Buffer, at: number): number {
  const fixed = fixedLengths.get(property)
  if (fixed !== undefined) return fixed
  const first = 2 + chunk.readUInt16BE(at)
  return property === userProperty ? first + 2 + chunk.readUInt16BE(at + first) : first
}
