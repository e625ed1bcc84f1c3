import { connect, type Socket } from 'node:net'
import { defaultLimits } from '../../../lib/base/limits.ts'
import { Decoder } from '../../../lib/packet/codec/decoder.ts'
import { encode } from '../../../lib/packet/codec/encoder.ts'
import type { Packet, ProtocolVersion } from '../../../lib/packet/packets.ts'
import { TopicTable } from '../../../lib/topic/topic.ts'

/** What comes out of a wire. */
export interface WireEnd {
  received (packet: Packet): void
  /** Nothing comes any more; with the error where the bytes were no packets. */
  closed (error: Error | undefined): void
}

/** One TCP connection that carries Control Packets, without an opinion about them. */
export class Wire {
  readonly #socket: Socket
  readonly #decoder: Decoder
  readonly #version: ProtocolVersion
  readonly #end: WireEnd
  #isClosed = false

  constructor (port: number, version: ProtocolVersion, end: WireEnd) {
    this.#version = version
    this.#end = end
    this.#decoder = new Decoder(new TopicTable(64), { ...defaultLimits, maximumConnectSize: 268_435_460, maximumPacketSize: 268_435_460 })
    this.#decoder.protocolVersion = version
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true })
    this.#socket.on('data', (chunk: Buffer) => { this.#receive(chunk) })
    this.#socket.on('error', () => { /* close follows */ })
    this.#socket.on('close', () => { this.#close(undefined) })
  }

  send (packet: Packet): void {
    if (!this.#isClosed) this.#socket.write(encode(packet, this.#version))
  }

  /** What is on its way in either direction may be lost. */
  destroy (): void {
    this.#close(undefined)
  }

  #receive (chunk: Buffer): void {
    try {
      this.#decoder.push(chunk)
      for (let packet = this.#decoder.next(); packet !== undefined && !this.#isClosed; packet = this.#decoder.next()) this.#end.received(packet)
    } catch (error) {
      this.#close(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #close (error: Error | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#socket.destroy()
    this.#end.closed(error)
  }
}
