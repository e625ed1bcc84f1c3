import { AssertionError } from 'node:assert'
import { clearTimeout, setTimeout } from 'node:timers' // not those of the program, which a test runner may have put others in the place of
import {
  PacketType, ReasonCode, Topic, checkTopicFilter, reasonCodeName, topicMatches,
  type ConnackPacket, type DisconnectPacket, type MaybePromise, type MessageProperties, type Packet, type Properties, type ProtocolVersion, type PublishPacket, type QoS,
  type SubscriptionRequest,
} from '../../lib/index.ts'
import { settled } from './fake-clock.ts'
import { connectPacket, type PacketClient } from './packet-client.ts'

/** How a test client connects. */
export interface TestClientOptions {
  /** Default: `client-1`, `client-2` and so on. */
  clientIdentifier?: string
  /** 3 is MQTT 3.1, 4 is MQTT 3.1.1. Default 5. */
  protocolVersion?: ProtocolVersion
  username?: string
  password?: string | Uint8Array
  /** Default true. */
  cleanStart?: boolean
  /** Seconds; the client never pings by itself. Default 0, which turns it off. */
  keepAlive?: number
  will?: { topicName: string, payload: string | Uint8Array, qos?: QoS, retain?: boolean, properties?: Properties }
  /** Properties of CONNECT, such as `sessionExpiryInterval` or `authenticationMethod`. */
  properties?: Properties
  /** Enhanced authentication (section 4.12): the answer to what the broker asks in AUTH. */
  authenticate?: (data: Buffer) => MaybePromise<string | Uint8Array>
  /** What hooks see as `connection.listener`. */
  listener?: string
  /** What hooks see of the socket: `remoteAddress`, `remotePort`, or `authorized` and `getPeerCertificate` for a certificate. */
  socket?: object
}

/** A message as a test client got it. */
export interface TestMessage {
  readonly topicName: string
  readonly payload: Buffer
  /** The payload as text. */
  readonly text: string
  readonly qos: QoS
  readonly retain: boolean
  readonly dup: boolean
  readonly properties: Properties | undefined
}

/** What an expected message must be. What is absent may be anything. */
export interface MessageFields {
  payload?: string | Uint8Array
  qos?: QoS
  retain?: boolean
}

/** What a client needs of its test broker. */
export interface TestClientServices {
  /** Real milliseconds that an expectation waits before it fails. */
  readonly patienceMs: number
  /** What the broker logged of late, for failures. */
  readonly news: () => readonly string[]
}

/**
 * An MQTT client in memory, made by `test.client()`. It acknowledges what it gets, and does nothing else by itself. Every method lets the broker come to
 * rest first. An expectation that is not met then waits for work outside the event loop (hashing, files), `patienceMs` at most, and throws an `AssertionError` that
 * says what came instead.
 */
export class TestClient {
  readonly clientIdentifier: string
  /** The bare packets, for what this class has no word for. */
  readonly wire: PacketClient
  readonly #options: TestClientOptions
  readonly #services: TestClientServices
  readonly #messages: TestMessage[] = []
  /** Reason Codes by Packet Identifier; 0 is AUTH. */
  readonly #answers = new Map<number, ReasonCode>()
  /** Reason Codes of SUBACK by Topic Filter. */
  readonly #subscriptions = new Map<string, ReasonCode>()
  /** QoS 2 messages that wait for their PUBREL. */
  readonly #unreleased = new Set<number>()
  readonly #aliases = new Map<number, string>()
  readonly #sleeping: (() => void)[] = []
  #connack: ConnackPacket | undefined = undefined
  #disconnect: DisconnectPacket | undefined = undefined
  #lastIdentifier = 0

  /** @internal */
  constructor (clientIdentifier: string, wire: PacketClient, options: TestClientOptions, services: TestClientServices) {
    this.clientIdentifier = clientIdentifier
    this.wire = wire
    this.#options = options
    this.#services = services
    wire.onPacket = packet => {
      this.#receive(packet)
      this.#wake()
    }
    wire.stream.on('end', this.#wake).on('close', this.#wake)
    this.#connect()
  }

  /** Whether the connection has ended, on either side. */
  get isEnded (): boolean { return this.wire.isEnded }

  /** The broker lets the client in. */
  async expectConnected (): Promise<ConnackPacket> {
    return this.#until('to be let in', () => this.#connack?.reasonCode === ReasonCode.success ? this.#connack : undefined)
  }

  /** The broker keeps the client out: with that Reason Code, or in any way. An MQTT 3.x client is told the return code that comes closest. */
  async expectRefused (reasonCode?: ReasonCode): Promise<ConnackPacket | undefined> {
    const refused = (): boolean => this.isEnded && this.#connack?.reasonCode !== ReasonCode.success && (reasonCode === undefined || this.#connack?.reasonCode === reasonCode)
    await this.#until(`to be refused${named(reasonCode)}`, () => refused() ? true : undefined, 'was let in')
    return this.#connack
  }

  /** The broker ends the connection: an MQTT 5.0 client is told that Reason Code, an MQTT 3.x client nothing. */
  async expectDisconnect (reasonCode?: ReasonCode): Promise<void> {
    const isRight = (): boolean => reasonCode === undefined || this.wire.version < 5 || this.#disconnect?.reasonCode === reasonCode
    await this.#until(`to be disconnected${named(reasonCode)}`, () => this.isEnded && isRight() ? true : undefined, 'is still connected')
  }

  /** @returns the Reason Code of PUBACK, or of PUBREC or PUBCOMP; Success for QoS 0, to which nobody answers */
  async publish (topicName: string, payload: string | Uint8Array = '', options: { qos?: QoS, retain?: boolean, properties?: MessageProperties } = {}): Promise<ReasonCode> {
    const { qos = 0, retain = false, properties } = options
    const packetIdentifier = qos === 0 ? 0 : this.#nextIdentifier()
    this.wire.send({ type: PacketType.publish, dup: false, qos, retain, topic: new Topic(topicName), packetIdentifier, properties, payload: bytesOf(payload) })
    if (qos > 0) return this.#answer(packetIdentifier, `the acknowledgement of its message to ${topicName}`)
    await settled()
    return ReasonCode.success
  }

  /** @returns the Reason Code of SUBACK: the QoS that is granted (default: 2 is asked for), or a refusal */
  async subscribe (topicFilter: string, options: Partial<Omit<SubscriptionRequest, 'topicFilter'>> = {}): Promise<ReasonCode> {
    const subscription: SubscriptionRequest = { topicFilter, qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0, ...options }
    const packetIdentifier = this.#nextIdentifier()
    this.wire.send({ type: PacketType.subscribe, packetIdentifier, subscriptions: [subscription], properties: undefined })
    const reasonCode = await this.#answer(packetIdentifier, `SUBACK for ${topicFilter}`)
    this.#subscriptions.set(topicFilter, reasonCode)
    return reasonCode
  }

  /** @returns the Reason Code of UNSUBACK, Success for MQTT 3.x */
  async unsubscribe (topicFilter: string): Promise<ReasonCode> {
    const packetIdentifier = this.#nextIdentifier()
    this.wire.send({ type: PacketType.unsubscribe, packetIdentifier, topicFilters: [topicFilter], properties: undefined })
    const reasonCode = await this.#answer(packetIdentifier, `UNSUBACK for ${topicFilter}`)
    this.#subscriptions.delete(topicFilter)
    return reasonCode
  }

  /**
   * Takes the first message that came and fits; others stay for later expectations.
   * @throws MqttError `MQTT_OPTION_INVALID` for what is no Topic Filter: such an expectation could never be met
   */
  async expectMessage (topicFilter?: string, fields: MessageFields = {}): Promise<TestMessage> {
    if (topicFilter !== undefined) checkTopicFilter('topicFilter', topicFilter)
    return this.#until(describeWish(topicFilter, fields), () => {
      const index = this.#messages.findIndex(message => isWished(message, topicFilter, fields))
      return index < 0 ? undefined : this.#messages.splice(index, 1)[0]
    }, this.#subscriptions.size === 0 ? 'it has subscribed to nothing since it connected' : undefined)
  }

  /**
   * No message (of those that fit the filter) has come that was not taken, and none is on its way.
   * @throws MqttError `MQTT_OPTION_INVALID` for what is no Topic Filter: such an expectation would always be met
   */
  async expectNoMessage (topicFilter?: string): Promise<void> {
    if (topicFilter !== undefined) checkTopicFilter('topicFilter', topicFilter)
    await settled()
    if (this.#messages.some(message => isWished(message, topicFilter, {}))) throw this.#failure(`no message${topicFilter === undefined ? '' : ` to ${topicFilter}`}`, 'got one.')
  }

  /** Authenticates anew (section 4.12.1), with the method of its CONNECT. */
  async reauthenticate (authenticationData?: string | Uint8Array): Promise<void> {
    this.#answers.delete(0)
    this.#sendAuth(ReasonCode.reAuthenticate, authenticationData)
    await this.#answer(0, 'the end of its authentication')
  }

  /** Says DISCONNECT, and ends. */
  async disconnect (reasonCode: ReasonCode = ReasonCode.success): Promise<void> {
    this.wire.disconnect(reasonCode).stream.end()
    await settled()
  }

  /** Takes no byte any more, as a client that hangs: what it is sent backs up to the broker. */
  freeze (): void { this.wire.stream.pause() }

  /** Goes on taking bytes. */
  thaw (): void { this.wire.stream.resume() }

  /** The network breaks: no DISCONNECT, on neither side. */
  async vanish (): Promise<void> { await this.wire.vanish() }

  #connect (): void {
    const { protocolVersion = 5, username, password, cleanStart = true, keepAlive = 0, will, properties } = this.#options
    this.wire.send(connectPacket({
      protocolVersion, username, cleanStart, keepAlive, properties, clientIdentifier: this.clientIdentifier,
      password: password === undefined ? undefined : bytesOf(password),
      will: will === undefined ? undefined : { qos: 0, retain: false, properties: undefined, ...will, payload: bytesOf(will.payload) },
    }))
  }

  #receive (packet: Packet): void {
    switch (packet.type) {
      case PacketType.connack: this.#connack = packet; break
      case PacketType.disconnect: this.#disconnect = packet; break
      case PacketType.publish: this.#take(packet); break
      case PacketType.puback:
      case PacketType.pubcomp: this.#answers.set(packet.packetIdentifier, packet.reasonCode); break
      case PacketType.suback:
      case PacketType.unsuback: this.#answers.set(packet.packetIdentifier, packet.reasonCodes[0] ?? ReasonCode.success); break
      case PacketType.pubrec: this.#release(packet.packetIdentifier, packet.reasonCode); break
      case PacketType.pubrel: this.#complete(packet.packetIdentifier); break
      case PacketType.auth: this.#authenticate(packet.reasonCode, packet.properties?.authenticationData); break
      case PacketType.pingresp: break
      case PacketType.connect:
      case PacketType.subscribe:
      case PacketType.unsubscribe:
      case PacketType.pingreq: throw new Error(`a broker does not send packets of type ${packet.type}`)
    }
  }

  #take ({ topic, payload, qos, retain, dup, properties, packetIdentifier }: PublishPacket): void {
    const topicName = this.#nameOf(topic.name, properties?.topicAlias)
    if (qos === 1) this.#acknowledge(PacketType.puback, packetIdentifier)
    if (qos === 2) this.#acknowledge(PacketType.pubrec, packetIdentifier)
    if (qos === 2 && this.#unreleased.has(packetIdentifier)) return
    if (qos === 2) this.#unreleased.add(packetIdentifier)
    this.#messages.push({ topicName, payload, text: payload.toString(), qos, retain, dup, properties })
  }

  /** The Topic Name that an alias stands for (section 3.3.2.3.4). */
  #nameOf (name: string, alias: number | undefined): string {
    if (alias === undefined) return name
    if (name !== '') this.#aliases.set(alias, name)
    return this.#aliases.get(alias) ?? ''
  }

  #acknowledge (type: typeof PacketType.puback | typeof PacketType.pubrec | typeof PacketType.pubrel | typeof PacketType.pubcomp, packetIdentifier: number): void {
    this.wire.send({ type, packetIdentifier, reasonCode: ReasonCode.success, properties: undefined })
  }

  #release (packetIdentifier: number, reasonCode: ReasonCode): void {
    if (reasonCode < ReasonCode.unspecifiedError) this.#acknowledge(PacketType.pubrel, packetIdentifier)
    else this.#answers.set(packetIdentifier, reasonCode)
  }

  #complete (packetIdentifier: number): void {
    this.#unreleased.delete(packetIdentifier)
    this.#acknowledge(PacketType.pubcomp, packetIdentifier)
  }

  #authenticate (reasonCode: ReasonCode, data: Buffer = Buffer.alloc(0)): void {
    if (reasonCode === ReasonCode.success) this.#answers.set(0, ReasonCode.success)
    else void this.#answerAuth(data)
  }

  async #answerAuth (data: Buffer): Promise<void> {
    const answer = await this.#options.authenticate?.(data)
    if (answer !== undefined) this.#sendAuth(ReasonCode.continueAuthentication, answer)
  }

  #sendAuth (reasonCode: ReasonCode, data: string | Uint8Array | undefined): void {
    const { authenticationMethod } = this.#options.properties ?? {}
    const properties: Properties = {}
    if (authenticationMethod !== undefined) properties.authenticationMethod = authenticationMethod
    if (data !== undefined) properties.authenticationData = bytesOf(data)
    this.wire.send({ type: PacketType.auth, reasonCode, properties })
  }

  #nextIdentifier (): number {
    this.#lastIdentifier = this.#lastIdentifier % 65_535 + 1
    this.#answers.delete(this.#lastIdentifier)
    return this.#lastIdentifier
  }

  async #answer (packetIdentifier: number, what: string): Promise<ReasonCode> {
    return this.#until(what, () => this.#answers.get(packetIdentifier))
  }

  /** What `find` finds, now or when something comes. `instead` is how the client stands when it does not. */
  async #until<T> (what: string, find: () => T | undefined, instead = 'nothing like it came'): Promise<T> {
    const end = performance.now() + this.#services.patienceMs
    await settled()
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      if (this.isEnded || !await this.#news(end - performance.now())) throw this.#failure(what, this.#state(instead))
    }
  }

  /** Whether something came before that many real milliseconds were over. */
  async #news (ms: number): Promise<boolean> {
    return new Promise(resolve => {
      const timer = setTimeout(() => { resolve(false) }, Math.max(ms, 0))
      this.#sleeping.push(() => {
        clearTimeout(timer)
        resolve(true)
      })
    })
  }

  readonly #wake = (): void => { for (const wake of this.#sleeping.splice(0)) wake() }

  #failure (expected: string, state: string): AssertionError {
    const lines = [`${this.clientIdentifier} expected ${expected}, but ${state}`]
    lines.push(...listed('Messages that came:', this.#messages.map(describeMessage)))
    lines.push(...listed('Its subscriptions:', [...this.#subscriptions].map(describeSubscription)))
    lines.push(...listed('The broker logged:', this.#services.news()))
    return new AssertionError({ message: lines.join('\n') })
  }

  #state (instead: string): string {
    if (this.#disconnect !== undefined) return `was disconnected${told(this.#disconnect)}.`
    if (this.#connack !== undefined && this.#connack.reasonCode !== ReasonCode.success) return `was refused${told(this.#connack)}.`
    if (this.isEnded) return 'its connection ended without a word.'
    return `${this.#connack === undefined ? 'has no CONNACK yet' : instead}. Time stands still: what waits for it needs clock.advance().`
  }
}

function bytesOf (payload: string | Uint8Array): Buffer { return Buffer.from(payload as Uint8Array) }

function named (reasonCode: ReasonCode | undefined): string {
  return reasonCode === undefined ? '' : ` (${reasonCodeName(reasonCode)}, 0x${reasonCode.toString(16)})`
}

function told ({ reasonCode, properties }: ConnackPacket | DisconnectPacket): string {
  return `${named(reasonCode)}${properties?.reasonString === undefined ? '' : `: ${properties.reasonString}`}`
}

function listed (heading: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [heading, ...lines.map(line => `  ${line}`)]
}

function isWished ({ topicName, payload, qos, retain }: TestMessage, topicFilter: string | undefined, wish: MessageFields): boolean {
  return (topicFilter === undefined || topicMatches(topicFilter, topicName)) && (wish.payload === undefined || payload.equals(bytesOf(wish.payload))) &&
    (wish.qos === undefined || wish.qos === qos) && (wish.retain === undefined || wish.retain === retain)
}

function describeWish (topicFilter: string | undefined, { payload, qos, retain }: MessageFields): string {
  return `a message${topicFilter === undefined ? '' : ` to ${topicFilter}`}${payload === undefined ? '' : ` with ${shown(payload)}`}` +
    `${qos === undefined ? '' : `, QoS ${qos}`}${retain === undefined ? '' : `, ${retain ? '' : 'not '}retained`}`
}

function describeMessage ({ topicName, payload, qos, retain }: TestMessage): string {
  return `${topicName} with ${shown(payload)}, QoS ${qos}${retain ? ', retained' : ''}`
}

function describeSubscription ([topicFilter, reasonCode]: readonly [string, ReasonCode]): string {
  return `${topicFilter}, ${reasonCode < ReasonCode.unspecifiedError ? `QoS ${reasonCode}` : `refused${named(reasonCode)}`}`
}

function shown (payload: string | Uint8Array): string {
  const text = JSON.stringify(bytesOf(payload).toString())
  return text.length > 200 ? `${text.slice(0, 200)}… (${bytesOf(payload).length} bytes)` : text
}
