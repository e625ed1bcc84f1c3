import type { Duplex } from 'node:stream'
import { WebSocket, type RawData } from 'ws'
import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { ConnectionInfo } from '../../contract/hooks.ts'
import type { Transport, TransportListener } from '../transport.ts'

const drainMark = 64 * 1024
const normalClosure = 1000
const unsupportedData = 1003

/** A WebSocket that knows its transport, so that all of them share their event listeners. */
export class MqttWebSocket extends WebSocket {
  transport: WebSocketTransport | undefined = undefined
}

/**
 * A WebSocket as a byte stream (section 6). A frame may hold several Control Packets or a part of one [MQTT-6.0.0-2], so what arrives is
 * passed on frame by frame and never looked into. What is sent has one Control Packet to a frame at most: there are clients that read one
 * and look at the rest of a frame when the next one comes (Paho C does, up to a Keep Alive later).
 */
export class WebSocketTransport implements Transport {
  readonly info: ConnectionInfo
  readonly keepsBuffers: boolean
  readonly ownsChunks: boolean
  readonly #webSocket: MqttWebSocket
  readonly #socket: Duplex
  /** Only a plain socket is known to be done with a buffer when nothing is queued. */
  #listener: TransportListener | undefined
  #isEnding = false
  #hasEnded = false
  /** Writes that report when they have left; counted only while much is queued, since a report costs a call each. */
  #reporting = 0
  #isDraining = false
  /** Bytes that are still to come of the Control Packet that was begun: large payloads are written by themselves. */
  #missing = 0
  #onSent: ((error?: Error | null) => void) | undefined

  /** `socket` is the one under `webSocket`, which does not show it. Nothing is read before `start`. */
  constructor (webSocket: MqttWebSocket, socket: Duplex, info: ConnectionInfo) {
    this.#webSocket = webSocket
    this.#socket = socket
    this.ownsChunks = 'setNoDelay' in socket
    this.keepsBuffers = !this.ownsChunks || 'encrypted' in socket
    this.info = info
    webSocket.transport = this
    webSocket.on('message', onMessage).on('error', onError).on('close', onClose)
    webSocket.pause()
  }

  get queuedBytes (): number {
    return this.#webSocket.bufferedAmount
  }

  get hasTakenAll (): boolean {
    return !this.keepsBuffers && this.#webSocket.bufferedAmount === 0
  }

  start (listener: TransportListener): void {
    this.#listener = listener
    this.#webSocket.resume()
  }

  cork (): void {
    this.#socket.cork()
  }

  uncork (): void {
    this.#socket.uncork()
  }

  write (chunk: Buffer): void {
    const end = this.#missing > 0 ? this.#missing : endOfPacket(chunk, 0)
    if (end < chunk.length) {
      this.#writeEach(chunk, end)
    } else {
      this.#missing = end - chunk.length
      this.#send(chunk, false)
    }
  }

  /** Several Control Packets, the first of which ends at `end`: a frame for each, and one write for all of them. */
  #writeEach (chunk: Buffer, end: number): void {
    const ends: number[] = []
    for (; end < chunk.length; end = endOfPacket(chunk, end)) ends.push(end)
    ends.push(chunk.length)
    this.#missing = end - chunk.length
    this.#send(framesOf(chunk, ends), true)
  }

  #send (bytes: Buffer, isFramed: boolean): void {
    const webSocket = this.#webSocket
    if (webSocket.readyState !== WebSocket.OPEN) return
    const isLittle = this.#reporting === 0 && webSocket.bufferedAmount + bytes.length <= drainMark
    const onSent = isLittle ? undefined : this.#onSent ??= error => { this.#sent(error) }
    if (!isLittle) this.#reporting++
    if (isFramed) this.#socket.write(bytes, onSent)
    else webSocket.send(bytes, onSent) // a Buffer goes in a binary frame [MQTT-6.0.0-1]
    if (!isLittle && webSocket.bufferedAmount > drainMark) this.#isDraining = true
  }

  pause (): void {
    if (!this.#isEnding && !this.#hasEnded) this.#webSocket.pause()
  }

  resume (): void {
    this.#webSocket.resume()
  }

  end (): void {
    if (!this.#isEnding) this.#close(normalClosure)
  }

  /** Without the closing handshake, or before it is done. */
  destroy (): void {
    this.#webSocket.terminate()
  }

  /** @internal A message; ignored once the connection is over, for example what is left of a chunk. */
  received (data: RawData, isBinary: boolean): void {
    if (this.#isEnding || this.#hasEnded) return
    if (isBinary) { this.#listener?.received(data as Buffer); return }
    this.#close(unsupportedData) // [MQTT-6.0.0-1]
    this.ended(protocolError('a Control Packet came in a WebSocket text frame'))
  }

  /** @internal Told once, by whatever comes first. */
  ended (error: Error | undefined): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#listener?.ended(error)
  }

  /** @internal Once the socket is gone; its error, if any, was not passed on by the WebSocket. */
  closed (): void {
    this.ended(this.#socket.errored ?? undefined)
    this.#listener?.closed?.()
  }

  /** A paused socket would never see the peer's closing frame. */
  #close (code: number): void {
    this.#isEnding = true
    this.#webSocket.close(code)
    this.#webSocket.resume()
  }

  #sent (error: Error | null | undefined): void {
    this.#reporting--
    if (this.#reporting > 0 || !this.#isDraining) return
    this.#isDraining = false
    // A socket that was destroyed reports its writes as done, too.
    if (this.#webSocket.readyState === WebSocket.OPEN && !(error instanceof Error)) this.#listener?.drained()
  }
}

function onMessage (this: WebSocket, data: RawData, isBinary: boolean): void {
  if (this instanceof MqttWebSocket) this.transport?.received(data, isBinary)
}

/** The peer broke the rules of WebSocket; the closing frame that says so is on its way already. */
function onError (this: WebSocket, cause: Error & { code?: string }): void {
  const isTooLarge = cause.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
  const error = new MqttError(isTooLarge ? ErrorCode.packetTooLarge : ErrorCode.protocolError,
    isTooLarge ? ReasonCode.packetTooLarge : ReasonCode.protocolError, `WebSocket: ${cause.message}`, { cause })
  if (this instanceof MqttWebSocket) this.transport?.ended(error)
}

function onClose (this: WebSocket): void {
  if (this instanceof MqttWebSocket) this.transport?.closed()
}

/** Where the Control Packet that begins at `position` ends, by its Remaining Length (section 2.1.4); its fixed header is always whole. */
function endOfPacket (bytes: Buffer, position: number): number {
  let remainingLength = 0
  let byte = 0x80
  for (let shift = 0; byte >= 0x80 && shift < 28; shift += 7) {
    byte = bytes[++position] ?? 0
    remainingLength += (byte & 0x7f) << shift
  }
  return position + 1 + remainingLength
}

const finalBinary = 0x82
const in16Bits = 126
const in64Bits = 127

/** Binary frames of the parts that end at `ends` (RFC 6455, section 5.2), as a server sends them: without a mask. */
function framesOf (bytes: Buffer, ends: readonly number[]): Buffer {
  let start = 0
  let size = bytes.length
  for (const end of ends) {
    size += headLength(end - start)
    start = end
  }
  const frames = Buffer.allocUnsafe(size)
  let position = start = 0
  for (const end of ends) {
    position = writeHead(frames, position, end - start)
    position += bytes.copy(frames, position, start, end)
    start = end
  }
  return frames
}

function headLength (length: number): number { return length < in16Bits ? 2 : length < 0x10000 ? 4 : 10 }

function writeHead (frames: Buffer, position: number, length: number): number {
  frames[position] = finalBinary
  if (length < in16Bits) {
    frames[position + 1] = length
    return position + 2
  }
  frames[position + 1] = length < 0x10000 ? in16Bits : in64Bits
  return length < 0x10000 ? frames.writeUInt16BE(length, position + 2) : frames.writeBigUInt64BE(BigInt(length), position + 2)
}
