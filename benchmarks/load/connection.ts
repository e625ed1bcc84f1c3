import { connect, type Socket } from 'node:net'
import { connectFrame, disconnectFrame, subscribeFrame } from './wire/frames.ts'
import type { Load } from './load.ts'
import { Outbox } from './wire/outbox.ts'
import { PacketReader } from './wire/packet-reader.ts'
import { topicAliasMaximumOf } from './wire/properties.ts'
import type { Flushable } from './turn.ts'
import { FrameReader, upgradeRequest } from './wire/websocket.ts'

/** What a connection is for: told of packets after the handshake, and asked for more before each write. */
export interface Role {
  packet (type: number, first: number, chunk: Buffer, at: number, end: number): void
  beforeWrite? (): void
}

export interface ConnectionFields {
  readonly clientIdentifier: string
  readonly role?: Role
  readonly cleanStart?: boolean
  readonly topicAliasMaximum?: number
  /** Where it is not the one of the run. */
  readonly port?: number
}

// One buffer for all sockets: what was read is used up before the next one is read.
const shared = Buffer.allocUnsafe(256 * 1024)
/** One loopback address has about 28,000 ports. */
const portsOfAddress = 25_000

const connack = 2
const suback = 9
const disconnect = 14

/** One MQTT client on a raw socket. */
export class Connection implements Flushable {
  isMarked = false
  /** Stops reading for good, as a program that hangs does. */
  isFrozen = false
  isOpen = false
  /** From CONNACK: Topic Aliases the broker takes. */
  topicAliasMaximum = 0
  role: Role | undefined
  readonly outbox: Outbox = new Outbox()
  readonly #load: Load
  readonly #fields: ConnectionFields
  readonly #socket: Socket
  readonly #reader: PacketReader
  readonly #frames: FrameReader | undefined
  #isUpgraded = false
  #isBlocked = false
  #isLeaving = false
  #granted = 0
  #opened: (() => void) | undefined = undefined
  #subscribed: (() => void) | undefined = undefined

  constructor (load: Load, fields: ConnectionFields) {
    this.#load = load
    this.#fields = fields
    this.role = fields.role
    this.#reader = new PacketReader((first, chunk, at, end) => { this.#packet(first, chunk, at, end) })
    this.#frames = load.options.websocket ? new FrameReader((chunk, at, end) => { this.#reader.read(chunk, at, end) }) : undefined
    this.#socket = this.#connect()
  }

  /** Topic Filters that the broker has granted. */
  get granted (): number { return this.#granted }

  /** Whether the socket holds bytes that the kernel did not take. */
  get isBlocked (): boolean { return this.#isBlocked }

  /** Resolves with CONNACK, or when the connection is lost. */
  opened (): Promise<void> {
    return new Promise(resolve => { this.#opened = resolve })
  }

  /** Resolves with the next SUBACK, or when the connection is lost. */
  subscribe (topicFilters: readonly string[], qos: number, packetIdentifier: number = 1): Promise<void> {
    const subscribed = new Promise<void>(resolve => { this.#subscribed = resolve })
    this.outbox.add(subscribeFrame(this.#load.options.version, packetIdentifier, topicFilters, qos))
    this.#load.turn.mark(this)
    return subscribed
  }

  /** DISCONNECT. The Session stays if it was not a clean one. */
  leave (): void {
    this.#isLeaving = true
    this.outbox.add(disconnectFrame)
    this.outbox.write(this.#socket, () => { this.#socket.destroySoon() })
  }

  flush (): void {
    if (this.#isBlocked || this.#socket.destroyed) return
    if (this.isOpen) this.role?.beforeWrite?.()
    if (this.outbox.length === 0) return
    this.outbox.write(this.#socket, this.#written)
    this.#isBlocked = this.#socket.writableLength > 0
  }

  readonly #written = (): void => {
    if (!this.#isBlocked || this.#socket.writableLength > 0) return
    this.#isBlocked = false
    this.#load.turn.mark(this)
  }

  #connect (): Socket {
    const { options, nextAddress } = this.#load
    const callback = (length: number): boolean => this.#read(length)
    const localAddress = nextAddress(portsOfAddress)
    const socket = connect({ host: '127.0.0.1', port: this.#fields.port ?? options.port, noDelay: true, onread: { buffer: shared, callback }, ...localAddress !== undefined && { localAddress } })
    socket.on('connect', () => { this.#greet(socket) })
    socket.on('error', error => { this.#lost(error.message) })
    socket.on('close', () => { this.#lost('closed by the broker') })
    return socket
  }

  #greet (socket: Socket): void {
    const { version, websocket, port } = this.#load.options
    if (websocket) socket.write(upgradeRequest(port), 'latin1')
    this.outbox.isFraming = websocket
    const { clientIdentifier, cleanStart = true, topicAliasMaximum = 0 } = this.#fields
    this.outbox.add(connectFrame({ version, clientIdentifier, cleanStart, sessionExpiryInterval: cleanStart ? 0 : 3600, topicAliasMaximum }))
    if (!websocket) this.#load.turn.mark(this)
  }

  /** @returns false to be read no more */
  #read (length: number): boolean {
    this.#load.readAt()
    try {
      if (this.#frames === undefined) this.#reader.read(shared, 0, length)
      else if (this.#isUpgraded) this.#frames.read(shared, 0, length)
      else this.#upgrade(length)
    } catch (error) {
      this.#socket.destroy(error as Error)
    }
    return !this.isFrozen
  }

  // The broker's answer is one small segment, on a loopback interface: it does not come in parts.
  #upgrade (length: number): void {
    const end = shared.subarray(0, length).indexOf('\r\n\r\n')
    if (end < 0 || shared.toString('latin1', 9, 12) !== '101') throw new Error('no upgrade to WebSocket')
    this.#isUpgraded = true
    this.#load.turn.mark(this)
    this.#frames?.read(shared, end + 4, length)
  }

  #packet (first: number, chunk: Buffer, at: number, end: number): void {
    const type = first >> 4
    if (type === connack) this.#connack(chunk, at)
    else if (type === suback) this.#suback(chunk, at, end)
    else if (type === disconnect) throw new Error('DISCONNECT from the broker')
    else this.role?.packet(type, first, chunk, at, end)
  }

  #connack (chunk: Buffer, at: number): void {
    const code = chunk.readUInt8(at + 1)
    if (code !== 0) throw new Error(`refused by CONNACK with ${code}`)
    if (this.#load.options.version === 5) this.topicAliasMaximum = topicAliasMaximumOf(chunk, at + 2)
    this.isOpen = true
    this.#opened?.()
  }

  #suback (chunk: Buffer, at: number, end: number): void {
    // Nothing that is asked for here has properties in its SUBACK: their length is 0.
    for (let i = at + (this.#load.options.version === 5 ? 3 : 2); i < end; i++) {
      if (chunk.readUInt8(i) >= 0x80) this.#load.totals.fail('a subscription was refused')
      this.#granted++
    }
    this.#subscribed?.()
  }

  #lost (reason: string): void {
    if (!this.#isLeaving) this.#load.lost(`${this.#fields.clientIdentifier}: ${reason}`)
    this.#isLeaving = true
    this.isOpen = false
    this.#opened?.()
    this.#subscribed?.()
  }
}
