import type { Connection, Role } from './connection.ts'
import type { PublishFrame } from './wire/frames.ts'
import { nowUs } from './measures/latency.ts'
import type { Load } from './load.ts'

/** Which messages flow: the same for all publishers of a run. */
export interface Flow {
  isRunning: boolean
  /** Subscribers that get each message. With 0 the acknowledgements alone make room in the window. */
  readonly fan: number
  /** Messages of each publisher; Infinity for as long as the flow runs. */
  readonly limit: number
}

/** The frame of the message with that sequence number. */
export type FrameSource = (sequence: number) => PublishFrame

const puback = 4
const pubrec = 5
const pubcomp = 7
const pubrel = 0x62
/** A publisher gathers no more than this for one write. */
const maximumWrite = 512 * 1024

/** Keeps a window of messages outstanding: not acknowledged (QoS 1 and 2), or not yet with every subscriber. */
export class Publisher implements Role {
  sent = 0
  /** Deliveries, counted over all subscribers. */
  delivered = 0
  acknowledged = 0
  readonly index: number
  readonly #load: Load
  readonly #flow: Flow
  readonly #frames: FrameSource
  /** By Packet Identifier: the type of the packet that is awaited, 0 for none. */
  readonly #awaited: Uint8Array
  /** By Packet Identifier: when it was sent, if anybody wants to know. */
  readonly #sentAt: Uint32Array
  #connection: Connection | undefined = undefined
  #identifier = 0

  constructor (load: Load, flow: Flow, index: number, frames: FrameSource) {
    this.#load = load
    this.#flow = flow
    this.index = index
    this.#frames = frames
    this.#awaited = new Uint8Array(load.options.qos > 0 ? 0x10000 : 0)
    this.#sentAt = new Uint32Array(load.acknowledgement === undefined ? 0 : 0x10000)
  }

  set connection (connection: Connection) { this.#connection = connection }

  /** Looks, at the end of this turn, whether there is room for more. */
  wake (): void {
    if (this.#connection !== undefined) this.#load.turn.mark(this.#connection)
  }

  /** Sends one message, whatever is outstanding: for a fixed rate. */
  sendOne (): void {
    if (this.#connection === undefined || this.#connection.isBlocked) return
    this.#send(this.#connection, nowUs())
    this.wake()
  }

  /** Gives up what is outstanding. */
  forget (): void {
    this.delivered = this.sent * this.#flow.fan
    this.wake()
  }

  beforeWrite (): void {
    const connection = this.#connection
    if (!this.#flow.isRunning || this.#load.options.rate > 0 || connection === undefined) return
    const now = nowUs()
    while (this.#hasRoom() && connection.outbox.length < maximumWrite) this.#send(connection, now)
  }

  packet (type: number, _first: number, chunk: Buffer, at: number): void {
    const identifier = chunk.readUInt16BE(at)
    if (this.#awaited[identifier] !== type) this.#load.totals.badAcknowledgements++
    else if (type === pubrec) this.#release(identifier)
    else this.#settle(identifier)
  }

  #hasRoom (): boolean {
    const { window, qos } = this.#load.options
    const { fan, limit } = this.#flow
    if (this.sent >= limit || (qos > 0 && this.sent - this.acknowledged >= window)) return false
    return fan === 0 || this.sent * fan - this.delivered < window * fan
  }

  #send (connection: Connection, now: number): void {
    const { qos } = this.#load.options
    if (qos > 0) this.#awaited[this.#nextIdentifier()] = qos === 1 ? puback : pubrec
    this.#sentAt[this.#identifier] = now // beyond its end that does nothing
    connection.outbox.addPublish(this.#frames(this.sent), this.#identifier, now, this.index, this.sent)
    this.sent++
    this.#load.totals.sent++
  }

  #nextIdentifier (): number {
    do this.#identifier = this.#identifier % 0xffff + 1
    while (this.#awaited[this.#identifier] !== 0)
    return this.#identifier
  }

  #release (identifier: number): void {
    this.#awaited[identifier] = pubcomp
    this.#connection?.outbox.addAcknowledgement(pubrel, identifier)
    this.wake()
  }

  #settle (identifier: number): void {
    this.#awaited[identifier] = 0
    this.acknowledged++
    this.#load.totals.acknowledged++
    if (this.#load.isMeasuring) this.#load.acknowledgement?.add(this.#sentAt[identifier] ?? 0, this.#load.now)
    this.wake()
  }
}
