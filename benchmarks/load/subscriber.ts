import type { Connection, Role } from './connection.ts'
import { headerLength } from './wire/frames.ts'
import type { Load } from './load.ts'
import { readVariableByteInteger } from './wire/packet-reader.ts'
import type { Publisher } from './publisher.ts'
import { Sequence } from './measures/sequence.ts'

const publish = 3
const pubrel = 6
const pubackFirst = 0x40
const pubrecFirst = 0x50
const pubcompFirst = 0x70

/** Takes messages, acknowledges them, and tells their publishers that there is room again. */
export class Subscriber implements Role {
  readonly #load: Load
  readonly #publishers: readonly Publisher[]
  readonly #sequences: Map<number, Sequence> | undefined
  #connection: Connection | undefined = undefined

  /** @param isOrdered whether every message of a publisher comes here, so that losses show */
  constructor (load: Load, publishers: readonly Publisher[], isOrdered: boolean) {
    this.#load = load
    this.#publishers = publishers
    this.#sequences = isOrdered ? new Map() : undefined
  }

  set connection (connection: Connection) { this.#connection = connection }

  /** Messages of a publisher that have come or were skipped. */
  expectedOf (publisher: number): number { return this.#sequences?.get(publisher)?.expected ?? 0 }

  packet (type: number, first: number, chunk: Buffer, at: number, end: number): void {
    if (type === publish) this.#publish(first, chunk, at, end)
    else if (type === pubrel) this.#answer(pubcompFirst, chunk.readUInt16BE(at))
    else throw new Error(`unexpected packet of type ${type}`)
  }

  #publish (first: number, chunk: Buffer, at: number, end: number): void {
    const qos = first >> 1 & 3
    let payload = at + 2 + chunk.readUInt16BE(at)
    if (qos > 0) {
      this.#answer(qos === 1 ? pubackFirst : pubrecFirst, chunk.readUInt16BE(payload))
      payload += 2
    }
    if (this.#load.options.version === 5) payload = afterProperties(chunk, payload)
    this.#message(chunk, payload, end)
  }

  #message (chunk: Buffer, payload: number, end: number): void {
    const { totals, latency, now, isMeasuring } = this.#load
    if (end - payload < headerLength) throw new Error('a message without a header')
    const from = chunk.readUInt32LE(payload + 4)
    const credit = this.#creditOf(from, chunk.readUInt32LE(payload + 8))
    totals.received++
    totals.receivedBytes += end - payload
    if (isMeasuring) latency.add(chunk.readUInt32LE(payload), now)
    const publisher = this.#publishers[from]
    if (publisher === undefined) return
    publisher.delivered += credit
    publisher.wake()
  }

  #creditOf (publisher: number, sequence: number): number {
    if (this.#sequences === undefined) return 1
    let seen = this.#sequences.get(publisher)
    if (seen === undefined) this.#sequences.set(publisher, seen = new Sequence())
    return seen.add(sequence, this.#load.totals)
  }

  #answer (first: number, packetIdentifier: number): void {
    if (this.#connection === undefined) return
    this.#connection.outbox.addAcknowledgement(first, packetIdentifier)
    this.#load.turn.mark(this.#connection)
  }
}

function afterProperties (chunk: Buffer, at: number): number {
  const length = chunk.readUInt8(at)
  if (length < 128) return at + 1 + length
  const [value, next] = readVariableByteInteger(chunk, at)
  return next + value
}

/** A subscriber that wants nothing of what it gets: for connections that are only there. */
export const bystander: Role = { packet: () => undefined }
