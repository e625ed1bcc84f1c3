/** Room that the largest header of a masked frame needs (RFC 6455, section 5.2). */
export const frameHeaderRoom = 14

// A mask of zeros would be cheaper, and unfair: servers skip the unmasking then.
const mask = 0x37fa213d

/** The opening handshake of a client (RFC 6455, section 4.1); its key is any key. */
export function upgradeRequest (port: number): string {
  return `GET /mqtt HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n'
}

/**
 * Makes one masked binary frame out of the bytes of a buffer from `frameHeaderRoom` on, in place.
 * @returns where the frame begins
 */
export function frameInPlace (buffer: Buffer, end: number): number {
  const length = end - frameHeaderRoom
  const start = frameHeaderRoom - 4 - (length < 126 ? 2 : length < 0x10000 ? 4 : 10)
  buffer[start] = 0x82
  buffer[start + 1] = 0x80 | (length < 126 ? length : length < 0x10000 ? 126 : 127)
  if (length >= 0x10000) buffer.writeBigUInt64BE(BigInt(length), start + 2)
  else if (length >= 126) buffer.writeUInt16BE(length, start + 2)
  buffer.writeUInt32BE(mask, frameHeaderRoom - 4)
  for (let i = 0; i < length; i++) buffer[frameHeaderRoom + i] = buffer.readUInt8(frameHeaderRoom + i) ^ mask >>> (24 - 8 * (i & 3))
  return start
}

/** Takes the frames of a server off its bytes. */
export class FrameReader {
  readonly #payload: (chunk: Buffer, at: number, end: number) => void
  readonly #header: number[] = []
  #left = 0

  constructor (payload: (chunk: Buffer, at: number, end: number) => void) {
    this.#payload = payload
  }

  read (chunk: Buffer, at: number, end: number): void {
    for (let i = at; i < end;) {
      if (this.#left === 0) {
        this.#headerByte(chunk.readUInt8(i++))
        continue
      }
      const next = Math.min(end, i + this.#left)
      this.#left -= next - i
      this.#payload(chunk, i, next)
      i = next
    }
  }

  #headerByte (byte: number): void {
    const header = this.#header
    header.push(byte)
    if (header.length < 2 || header.length < headerLength(header[1])) return
    const extended = header.slice(2)
    this.#left = extended.length === 0 ? header[1] ?? 0 : extended.reduce((sum, part) => sum * 256 + part, 0)
    if (((header[0] ?? 0) & 15) > 2) throw new Error('the broker sent a WebSocket control frame')
    header.length = 0
  }
}

function headerLength (second = 0): number {
  return second < 126 ? 2 : second === 126 ? 4 : 10
}
