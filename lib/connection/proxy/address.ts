const byte = '(?:25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)'
const ipv4Text = new RegExp(`^${byte}(?:\\.${byte}){3}$`)

/** Whether a text is an IPv4 address in its one usual form: four decimal numbers without leading zeros. */
export function isIPv4 (text: string): boolean {
  return ipv4Text.test(text)
}

/** Whether a text is an IPv6 address without brackets and without a zone. The URL parser knows the grammar, so that `node:net` needs no import. */
export function isIPv6 (text: string): boolean {
  return /^[\da-f:.]{2,45}$/i.test(text) && URL.canParse(`http://[${text}]/`)
}

/** Four bytes as text. */
export function formatIPv4 (bytes: Buffer, offset: number): string {
  return bytes.subarray(offset, offset + 4).join('.')
}

/** Sixteen bytes as text, in the form that Node gives a socket's address (RFC 5952). */
export function formatIPv6 (bytes: Buffer, offset: number): string {
  const isMapped = bytes.readUInt16BE(offset + 10) === 0xffff && bytes.subarray(offset, offset + 10).every(value => value === 0)
  if (isMapped) return `::ffff:${formatIPv4(bytes, offset + 12)}`
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(offset + 2 * index).toString(16))
  return compressZeros(groups.join(':'))
}

/** Writes `::` in place of the longest run of zeros, the first of several. */
function compressZeros (text: string): string {
  let start = 0
  let length = 0
  for (const run of text.matchAll(/\b0(?::0)+\b/g)) {
    if (run[0].length > length) { start = run.index; length = run[0].length }
  }
  return length === 0 ? text : `${text.slice(0, start)}::${text.slice(start + length)}`.replace(/:{3,}/, '::')
}
