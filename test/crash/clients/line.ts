import { once, EventEmitter } from 'node:events'
import { ReasonCode } from '../../../lib/base/reason-codes.ts'
import { PacketType, type ConnectPacket, type Packet, type Properties } from '../../../lib/packet/packets.ts'
import { Wire } from './wire.ts'
import type { World } from '../world.ts'

/** Milliseconds until a Client that was refused tries again. */
const refusedMs = 100

/** Who speaks over a line. */
export interface Speaker {
  /** CONNACK has come. */
  connected (): void
  received (packet: Packet): void
  /** The connection has ended. */
  lost (): void
}

/** A Client that comes back to its Session whenever its connection ends, as soon as the broker is there again. */
export class Line {
  /** Counts the connections. */
  connection = 0
  /** Of the broker that the connection is to, or was. */
  incarnation = 0
  /** Whether CONNACK has to say that there is a Session; undefined where either is right. */
  hasSession: boolean | undefined = false
  readonly #world: World
  readonly #connect: ConnectPacket
  readonly #speaker: Speaker
  readonly #events = new EventEmitter()
  #wire: Wire | undefined = undefined
  /** Those that it has left open, for the broker to close. */
  readonly #leftOpen = new Set<Wire>()
  #leave: () => void = () => undefined
  #isConnected = false
  #isWanted = false
  #isRefused = false
  #loop: Promise<void> = Promise.resolve()

  constructor (world: World, connect: ConnectPacket, speaker: Speaker) {
    this.#world = world
    this.#connect = connect
    this.#speaker = speaker
  }

  get isConnected (): boolean { return this.#isConnected }

  /** Whether every connection that was taken over by another is closed [MQTT-3.1.4-3]. */
  get isAlone (): boolean { return this.#leftOpen.size === 0 }

  /** Connects, and from then on stays connected. Resolves with the first CONNACK. */
  async open (): Promise<void> {
    if (this.#isWanted) return
    this.#isWanted = true
    await this.#loop
    const connected = once(this.#events, 'connected')
    this.#loop = this.#stayConnected()
    await connected
  }

  send (packet: Packet): void { this.#wire?.send(packet) }

  /** The network breaks, and the Client stays away. */
  async vanish (): Promise<void> {
    this.#isWanted = false
    this.breakOff()
    for (const wire of this.#leftOpen) wire.destroy()
    await this.#loop
  }

  /** The network breaks, and the Client comes back. */
  breakOff (): void { this.#wire?.destroy() }

  /** The Client comes back, and the broker does not know yet that its connection is gone. */
  takeOver (): void {
    if (this.#wire === undefined || !this.#isConnected) return
    this.#leftOpen.add(this.#wire)
    this.#lose()
    this.#leave()
  }

  /** Says goodbye and stays away; resolves when the broker has closed the connection, whether by itself or because it was killed. */
  async disconnect (reasonCode: ReasonCode = ReasonCode.success, properties?: Properties): Promise<void> {
    this.#isWanted = false
    this.send({ type: PacketType.disconnect, reasonCode, properties })
    await this.#loop
  }

  async #stayConnected (): Promise<void> {
    while (this.#isWanted) {
      await this.#connectTo(await this.#world.broker.up())
      if (this.#isRefused) await this.#world.sleep(refusedMs)
      this.#isRefused = false
    }
  }

  async #connectTo (port: number): Promise<void> {
    if (!this.#isWanted) return
    this.incarnation = this.#world.broker.incarnation
    await new Promise<void>(resolve => {
      const received = (packet: Packet): void => { if (this.#wire === wire) this.#receive(packet) }
      const closed = (error: Error | undefined): void => {
        if (error !== undefined) this.#fault(`got what is no packet: ${error.message}`)
        if (this.#leftOpen.delete(wire)) return
        this.#lose()
        resolve()
      }
      const wire = new Wire(port, this.#connect.protocolVersion, { received, closed })
      this.#wire = wire
      this.#leave = resolve
      wire.send(this.#connect)
    })
  }

  #receive (packet: Packet): void {
    this.#world.event()
    if (this.#isConnected) this.#speaker.received(packet)
    else this.#accept(packet)
  }

  #accept (packet: Packet): void {
    if (packet.type === PacketType.connack && this.#world.mayRefuse(packet.reasonCode)) {
      this.#isRefused = true
      this.breakOff()
      return
    }
    if (packet.type !== PacketType.connack) this.#fault(`got packet type ${packet.type} before CONNACK`)
    else if (packet.reasonCode !== ReasonCode.success) this.#fault(`was refused: ${packet.reasonCode} ${packet.properties?.reasonString ?? ''}`)
    else if (packet.sessionPresent !== (this.hasSession ?? packet.sessionPresent)) this.#fault(this.hasSession === true ? 'has lost its Session' : 'found a Session that is not its own')
    this.#isConnected = true
    this.connection++
    this.hasSession = isKept(this.#connect)
    this.#speaker.connected()
    this.#events.emit('connected')
  }

  #lose (): void {
    this.#wire = undefined
    if (!this.#isConnected) {
      if (this.hasSession === false && isKept(this.#connect)) this.hasSession = undefined // CONNECT may have arrived
      return
    }
    this.#isConnected = false
    this.#speaker.lost()
  }

  #fault (text: string): void { this.#world.fault(`${this.#connect.clientIdentifier} ${text}`) }
}

function isKept ({ protocolVersion, cleanStart, properties }: ConnectPacket): boolean {
  return !cleanStart && (protocolVersion < 5 || (properties?.sessionExpiryInterval ?? 0) > 0)
}
