import { setTimeout as delay } from 'node:timers/promises'
import { PacketType, type Packet, type ProtocolVersion, type PublishPacket, type QoS, type SubackPacket, type SubscribePacket } from '../../../lib/packet/packets.ts'
import { lasting, puback, pubcomp, pubrec } from '../../support/exchanges.ts'
import { connectPacket } from '../../support/harness.ts'
import { numberIn, type Receiver } from '../ledger.ts'
import { Line, type Speaker } from './line.ts'
import type { World } from '../world.ts'

export interface SubscriberOptions {
  readonly name: string
  readonly version: ProtocolVersion
  readonly filters: readonly string[]
  readonly receiver: Receiver
  readonly receiveMaximum?: number
  /** Another member of its Shared Subscription may get what it has not acknowledged. */
  readonly isShared?: boolean
  /** Seconds. */
  readonly sessionExpiryInterval?: number
}

/** A message that it was sent and is not done with. */
interface Open {
  /** Topic Name and number. */
  readonly message: string
  readonly qos: QoS
  /** In which it, or its PUBREL, came last. */
  connection: number
  readonly event: number
  /** The broker is known to have stored that it is in flight: it has to send it again. */
  isOwed: boolean
  /** The application has it. */
  isGiven: boolean
}

/** The receiver's half of QoS 1 and 2 (section 4.3) over TCP, and a strict eye on what the broker sends after a crash. */
export class RawSubscriber implements Speaker {
  readonly line: Line
  readonly name: string
  readonly receiver: Receiver
  /** Milliseconds until it handles a packet: slow ones leave what they have not handled to be sent again. */
  slowness: () => number = () => 0
  readonly #world: World
  readonly #options: SubscriberOptions
  readonly #receiveMaximum: number
  readonly #open = new Map<number, Open>()
  #unhandled: Packet[] = []
  #isHandling = false
  #subscribed: (() => void) | undefined = undefined
  #ponged: (() => void) | undefined = undefined

  constructor (world: World, options: SubscriberOptions) {
    const { name, version, receiver, receiveMaximum = 65_535, sessionExpiryInterval = 86_400 } = options
    this.#world = world
    this.#options = options
    this.name = name
    this.receiver = receiver
    this.#receiveMaximum = version === 5 ? receiveMaximum : 65_535
    const properties = { sessionExpiryInterval, receiveMaximum }
    this.line = new Line(world, connectPacket({ ...lasting({ properties }), clientIdentifier: name, protocolVersion: version }), this)
  }

  /** Makes its Session. */
  async begin (): Promise<void> {
    await this.line.open()
    const { filters, receiver } = this.#options
    const subscribed = new Promise<void>(resolve => { this.#subscribed = resolve })
    this.line.send(subscribePacket([...filters, `fence/${this.name}`], receiver.qos))
    await subscribed
  }

  /** From here on it stays, and keeps up. */
  async settle (): Promise<void> {
    this.slowness = () => 0
    await this.line.open()
  }

  /** Resolves when the broker has handled all that was sent to it. */
  async sync (): Promise<void> {
    await new Promise<void>(resolve => {
      this.#ponged = resolve
      this.line.send({ type: PacketType.pingreq })
    })
  }

  async close (): Promise<void> { await this.line.vanish() }

  connected (): void { /* what it was sent follows */ }

  /** What is owed to it has to come again; of the rest it cannot be known. */
  lost (): void {
    this.#unhandled = []
    for (const [identifier, open] of this.#open) {
      open.isOwed ||= this.#isOwed(open)
      if (!open.isOwed) this.#open.delete(identifier)
    }
  }

  received (packet: Packet): void {
    if (packet.type === PacketType.disconnect) return
    if (packet.type === PacketType.publish) this.#check(packet)
    if (packet.type === PacketType.pubrel) this.#renew(packet.packetIdentifier)
    this.#unhandled.push(packet)
    if (!this.#isHandling) void this.#handleAll()
  }

  /** QoS 2 is written before it is sent, since its Packet Identifier must not be forgotten. */
  #isOwed ({ qos, connection, event }: Open): boolean {
    if (qos === 2) return true
    return this.#options.isShared !== true && connection === this.line.connection && this.#world.isCommitted(this.line.incarnation, event)
  }

  /** On arrival, however late it is handled. */
  #check (packet: PublishPacket): void {
    const { packetIdentifier, qos } = packet
    if (qos === 0) return
    const message = `${packet.topic.name} ${numberIn(packet.payload)}`
    const before = this.#open.get(packetIdentifier)
    if (before !== undefined) this.#checkAgain(packet, message, before)
    else if (!packet.dup) this.#checkNew(message)
    this.#open.delete(packetIdentifier)
    this.#open.set(packetIdentifier, {
      message, qos, connection: this.line.connection, event: this.#world.event(), isOwed: false, isGiven: before?.message === message && before.isGiven,
    })
    this.#checkWindow()
  }

  #renew (packetIdentifier: number): void {
    const open = this.#open.get(packetIdentifier)
    if (open !== undefined) open.connection = this.line.connection
  }

  #checkAgain ({ dup, packetIdentifier }: PublishPacket, message: string, { message: former, connection }: Open): void {
    if (connection === this.line.connection) this.#fault(`got ${message} under ${packetIdentifier}, which ${former} has [MQTT-2.2.1-4] [MQTT-4.4.0-1]`)
    else if (former !== message) this.#fault(`got ${message} under ${packetIdentifier}, and was owed ${former} [MQTT-2.2.1-4]`)
    else if (!dup) this.#fault(`got ${message} again without DUP [MQTT-3.3.1-1]`)
    else this.#world.resent++
  }

  /** What was in flight comes again before anything else does. */
  #checkNew (message: string): void {
    const [oldest] = this.#open.values()
    if (oldest !== undefined && oldest.connection !== this.line.connection) this.#fault(`got ${message} before ${oldest.message}, which it was owed [MQTT-4.6.0-1]`)
  }

  #checkWindow (): void {
    if (this.#receiveMaximum > 100) return
    let inFlight = 0
    for (const { connection } of this.#open.values()) if (connection === this.line.connection) inFlight++
    if (inFlight > this.#receiveMaximum) this.#fault(`has ${inFlight} in flight [MQTT-3.3.4-9]`)
  }

  async #handleAll (): Promise<void> {
    this.#isHandling = true
    for (let packet = this.#unhandled.shift(); packet !== undefined; packet = this.#unhandled.shift()) {
      const ms = this.slowness()
      const { connection } = this.line
      if (ms > 0) await delay(ms)
      if (connection === this.line.connection && this.line.isConnected) this.#handle(packet)
    }
    this.#isHandling = false
  }

  #handle (packet: Packet): void {
    if (packet.type === PacketType.publish) this.#take(packet)
    else if (packet.type === PacketType.pubrel) this.#complete(packet.packetIdentifier)
    else if (packet.type === PacketType.suback) this.#accept(packet)
    else if (packet.type === PacketType.pingresp) this.#ponged?.()
    else this.#fault(`got packet type ${packet.type}`)
  }

  #accept ({ reasonCodes }: SubackPacket): void {
    if (reasonCodes.some(code => code !== this.receiver.qos)) this.#fault(`got SUBACK ${reasonCodes.join()}`)
    this.#subscribed?.()
  }

  #take (packet: PublishPacket): void {
    const { packetIdentifier, qos } = packet
    const open = this.#open.get(packetIdentifier)
    if (open?.isGiven !== true) this.receiver.receive({ topicName: packet.topic.name, payload: packet.payload, qos, retain: packet.retain })
    if (open !== undefined) open.isGiven = true
    if (qos === 1) this.#open.delete(packetIdentifier)
    if (qos > 0) this.line.send(qos === 1 ? puback(packetIdentifier) : pubrec(packetIdentifier))
  }

  #complete (packetIdentifier: number): void {
    this.#open.delete(packetIdentifier)
    this.line.send(pubcomp(packetIdentifier))
  }

  #fault (text: string): void { this.#world.fault(`${this.name} (MQTT ${this.#options.version}) ${text}`) }
}

/** A SUBSCRIBE to those Topic Filters. */
export function subscribePacket (topicFilters: readonly string[], qos: QoS): SubscribePacket {
  const subscriptions = topicFilters.map(topicFilter => ({ topicFilter, qos, noLocal: false, retainAsPublished: false, retainHandling: 0 as const }))
  return { type: PacketType.subscribe, packetIdentifier: 1, subscriptions, properties: undefined }
}
