import { ErrorCode, MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Message } from '../contract/message.ts'
import { Decoder } from '../packet/codec/decoder.ts'
import type { AcknowledgeType, Packet, ProtocolVersion, QoS } from '../packet/packets.ts'
import { largestPacket } from '../packet/data/reader.ts'
import type { BrokerServices } from '../protocol/client/broker-services.ts'
import { Client } from '../protocol/client/client.ts'
import { handleClosed } from '../protocol/closed.ts'
import { dispatch } from '../protocol/dispatch.ts'
import { answerTo, toMqttError } from '../protocol/client/failure.ts'
import type { ClientLimits, NetworkSink } from '../protocol/client/network-sink.ts'
import { OutboundTopicAliases } from '../protocol/client/topic-alias.ts'
import type { ConnectionServices } from './connection-services.ts'
import { encodeWithin } from './fitting.ts'
import { Output } from './output.ts'
import { roundMs, type Due } from './rounds.ts'
import type { Transport, TransportListener } from './transport.ts'

/** Milliseconds that a connection has to close from its side once we have closed ours. */
const closeLimitMs = 5_000
/** Outputs that are kept for whoever writes next: as many as write in one turn of a busy broker. */
const keptOutputs = 1_024
/** Over this many bytes a backlog waits, so that a slow Client holds little memory and live messages overtake it. */
export const roomMark: number = 256 * 1024

/** Who is told how far its end has come; each of the two once, and in that order. */
export interface ConnectionOwner {
  /** For the protocol it is over: what is left is to close the transport. */
  over (connection: Connection): void
  /** Nothing is left of the transport. */
  gone (connection: Connection): void
}

/**
 * One Network Connection: bytes in, packets to the protocol one at a time; packets out, bytes gathered and written
 * once a turn. It knows nothing of what a packet means.
 */
export class Connection implements NetworkSink, TransportListener, Due {
  readonly client: Client
  dueRound = 0
  place = 0
  isBusy = false
  /** The round that was the last one when something was received. */
  #heardIn: number
  // Without a value that is no number, the engine would keep a box of 16 bytes for each of these.
  /** Since when it is over its limit and takes nothing; undefined when it is not. Kept by `Connections`. */
  congestedAt: number | undefined = undefined
  /** When our side was closed. */
  closedAt: number | undefined = undefined
  /** Reading has stopped, because too much waits to be handled or to be sent. */
  isPaused: boolean = false
  /** Why the broker ended it. */
  error: MqttError | undefined = undefined
  readonly transport: Transport
  readonly #services: ConnectionServices
  readonly #owner: ConnectionOwner
  readonly #decoder: Decoder
  /** What waits to be written; undefined where nothing does. */
  #output: Output | undefined = undefined
  #version: ProtocolVersion = 4
  #maximumPacketSize = largestPacket
  #aliases: OutboundTopicAliases | undefined = undefined
  #isFlushing = false
  /** What the transport had not passed on when it was last asked. */
  #queued = 0
  /** What it was given in all, and how much of that had left when `isStuck` was asked. */
  #handed = 0
  #takenBefore = 0
  /** Chunks that came while a handler's promise was pending; undefined when none is. */
  #held: Buffer[] | undefined = undefined
  #heldBytes = 0
  /** The Client has closed, and what it said before is still being handled. */
  #isEnding = false
  /** Nothing is left of the transport. */
  #isGone = false

  constructor (services: BrokerServices, shared: ConnectionServices, transport: Transport, owner: ConnectionOwner) {
    this.#owner = owner
    this.#services = shared
    this.transport = transport
    this.#decoder = new Decoder(services.topics, services.limits, shared.reader, transport.ownsChunks)
    this.client = new Client(services, this, transport.info)
    this.#heardIn = shared.rounds.current
    this.schedule()
  }

  // --- PacketSink

  get isCongested (): boolean {
    const { limits, pressure } = this.client.services
    const waiting = this.#waiting
    return waiting > limits.maximumOutboxBytes || (waiting > roomMark && pressure.isHigh)
  }

  get hasRoom (): boolean { return this.#waiting < this.#services.roomMark }

  get isClosed (): boolean { return this.closedAt !== undefined }

  publish (message: Message, qos: QoS, retain: boolean, subscriptionIdentifiers: readonly number[], packetIdentifier: number, dup: boolean): boolean {
    const { head } = this.#services
    head.version = this.#version
    head.dup = dup
    head.qos = qos
    head.retain = retain
    head.packetIdentifier = packetIdentifier
    head.subscriptionIdentifiers = subscriptionIdentifiers
    if (!this.#services.frames.write(this.#out, message, head, this.#aliases, this.#maximumPacketSize)) return false
    if (qos !== 0) this.#services.rounds.watch(this) // what stays in flight is not to keep the chunk alive that it came in
    this.client.services.metrics.messagesSent++
    this.#written()
    return true
  }

  acknowledge (type: AcknowledgeType, packetIdentifier: number): void {
    this.#services.frames.writeAcknowledge(this.#out, type, packetIdentifier)
    this.#written()
  }

  send (packet: Packet): void {
    const frame = encodeWithin(packet, this.#version, this.#maximumPacketSize)
    if (frame === undefined) { // the Client waits for this packet and can never have it [MQTT-3.1.2-24]
      this.close()
      return
    }
    this.#out.append(frame)
    this.#written()
  }

  disconnect (reasonCode: ReasonCode): void {
    this.fail(new MqttError(codeOf(reasonCode), reasonCode, 'the broker ended the connection'))
  }

  // --- NetworkSink

  negotiate (limits: ClientLimits): void {
    this.#version = limits.protocolVersion
    this.#maximumPacketSize = limits.maximumPacketSize
    if (limits.topicAliasMaximum > 0) this.#aliases = new OutboundTopicAliases(limits.topicAliasMaximum)
  }

  schedule (): void { this.#services.rounds.schedule(this, this.#due) }

  fail (error: MqttError): void {
    if (this.isClosed) return
    if (error.cause !== undefined && error.code !== ErrorCode.hookFailed) this.client.services.logger.error({ err: error.cause, clientIdentifier: this.client.clientIdentifier }, error.message)
    this.error = error
    this.#version = this.#decoder.protocolVersion ?? this.#version
    const answer = answerTo(this.client, error, this.#decoder.protocolVersion)
    if (answer !== undefined) this.#tell(answer)
    this.close()
  }

  close (): void {
    if (this.isClosed) return
    this.#over()
    while (this.#write() > 0) { /* all that waits, however much the transport holds already */ }
    this.transport.end()
    this.transport.resume() // a paused stream would never see that the other side has closed, too
  }

  // --- TransportListener

  received (chunk: Buffer): void {
    if (this.isClosed) return
    this.#heardIn = this.#services.rounds.current
    this.client.services.metrics.bytesReceived += chunk.length
    if (this.#held !== undefined) {
      this.#hold(chunk)
      return
    }
    this.#decoder.push(chunk)
    this.#handlePackets()
    this.#regulate()
  }

  drained (): void {
    this.#queued = this.transport.queuedBytes
    if (this.isClosed) return
    if (this.#queued > 0) this.#services.rounds.watch(this) // not every stream says when it has drained: one with a large high-water mark does not
    if (this.#queued < roomMark && this.#output !== undefined) this.#schedule()
    if (this.hasRoom) this.client.session?.outbox.pump()
    if (this.isPaused) this.#regulate()
  }

  ended (error: Error | undefined): void {
    if (error instanceof MqttError) this.error ??= error
    const { phase, disconnectReasonCode } = this.client
    this.#isEnding = error === undefined && this.#held !== undefined && phase === 'connected' && disconnectReasonCode === undefined // a DISCONNECT may wait [MQTT-3.14.4-3]
    if (this.#isEnding) return
    if (!this.isClosed) this.#over()
    if (this.#isGone) this.#owner.gone(this)
  }

  closed (): void {
    this.#isGone = true
    if (!this.#isEnding) this.#owner.gone(this)
  }

  /** Whether its time to close from its side is over. */
  get isOverdue (): boolean { return this.closedAt !== undefined && this.client.services.clock.now() - this.closedAt > closeLimitMs }

  /** Whether nothing was heard for the Client's Keep Alive and a half. */
  get isSilent (): boolean {
    if (this.isPaused) this.#heardIn = this.#services.rounds.current // what is not read cannot be heard
    return this.client.silenceLimitMs > 0 && this.#silentIn <= this.#services.rounds.current
  }

  /** Whether it is over its limit and has taken nothing since the last call. */
  isStuck (): boolean {
    this.drained()
    const taken = this.#handed - this.#queued
    const isStuck = this.isCongested && taken <= this.#takenBefore
    this.#takenBefore = taken
    return isStuck
  }

  /** Called by the flusher at the end of the turn. */
  flush (): void {
    this.#isFlushing = false
    if (this.transport.queuedBytes < roomMark && this.#write() > 0) this.drained()
  }

  /** A stream of the host's own making may throw: that ends its own connection, not the flush of all the others. */
  #write (): number {
    try {
      const bytes = this.#empty()
      this.#handed += bytes
      const { metrics } = this.client.services
      metrics.bytesSent += bytes
      if (bytes > 0) metrics.writes++
      return bytes
    } catch (error) {
      this.transport.destroy()
      this.ended(toMqttError(error))
      return 0
    }
  }

  /** Hands what waits to the transport, or a part of much, and returns how many bytes; once nothing is left the output is another connection's. */
  #empty (): number {
    const output = this.#output
    if (output === undefined) return 0
    const bytes = output.flush(this.transport)
    if (output.length === 0 && this.#output === output) { // a stream in memory may have brought an answer that closed it, and so gave it back
      this.#output = undefined
      if (this.#services.outputs.length < keptOutputs) this.#services.outputs.push(output)
    }
    return bytes
  }

  /** What hooks have put into an answer may be no text, or too long for one. */
  #tell (answer: Packet): void {
    try {
      this.send(answer)
    } catch (error) {
      this.client.services.logger.error({ err: error, clientIdentifier: this.client.clientIdentifier }, 'an answer cannot be encoded')
    }
  }

  get #out (): Output { return this.#output ??= this.#services.outputs.pop() ?? new Output(this.#services.pool) }

  /** Bytes that wait here, and in the transport when it was last asked. */
  get #waiting (): number { return this.#queued + (this.#output === undefined ? 0 : this.#output.length) }

  #written (): void {
    this.client.services.metrics.packetsSent++
    this.#schedule()
  }

  #schedule (): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    this.#services.flusher.add(this)
  }

  /** The round in which the next thing falls due for it; what was received since may put that off. */
  get #due (): number {
    const { client } = this
    const { rounds } = this.#services
    if (this.closedAt !== undefined) return rounds.roundAt(this.closedAt + closeLimitMs)
    if (client.phase === 'connecting') return rounds.roundAt(client.connection.connectedAt + client.services.limits.connectTimeoutMs)
    const silentIn = client.silenceLimitMs > 0 ? this.#silentIn : Infinity
    return client.expiresAt === undefined ? silentIn : Math.min(silentIn, rounds.roundAt(client.expiresAt))
  }

  /** The round in which it will have been silent for too long. */
  get #silentIn (): number { return this.#heardIn + 1 + Math.ceil(this.client.silenceLimitMs / roundMs) }

  #over (): void {
    handleClosed(this.client, this.error)
    this.closedAt = this.client.services.clock.now()
    this.#owner.over(this)
    this.schedule()
    this.#held = undefined
  }

  /** Packets of one connection are handled one after the other [MQTT-4.6.0-1]; a promise holds up the next. */
  #handlePackets (): void {
    const { metrics } = this.client.services
    try {
      for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) {
        metrics.packetsReceived++
        const pending = dispatch(this.client, packet)
        if (pending !== undefined) {
          this.#wait(pending)
          return
        }
        if (this.isClosed) return
      }
    } catch (error) {
      this.fail(toMqttError(error))
    }
  }

  #wait (pending: Promise<void>): void {
    this.#held ??= []
    pending.then(() => { this.#goOn() }, (error: unknown) => { this.fail(toMqttError(error)) }).finally(() => {
      if (this.#isEnding && (this.isClosed || this.#held === undefined)) this.ended(undefined)
    })
  }

  #hold (chunk: Buffer): void {
    this.#held?.push(chunk)
    this.#heldBytes += chunk.length
    this.#regulate()
  }

  /** Stops reading while too much waits to be handled, or while the Client does not take the answers to what it sends. */
  #regulate (): void {
    const { maximumPendingBytes, maximumOutboxBytes } = this.client.services.limits
    const isFull = this.#heldBytes > maximumPendingBytes || this.#waiting > maximumOutboxBytes
    if (isFull === this.isPaused || this.isClosed) return
    this.isPaused = isFull
    this.#heardIn = this.#services.rounds.current
    if (isFull) this.transport.pause()
    else this.transport.resume()
  }

  #goOn (): void {
    const held = this.#held
    if (held === undefined || this.isClosed) return
    this.#held = undefined
    this.#heardIn = this.#services.rounds.current // the Keep Alive begins anew once the packet that took its time is done
    this.#handlePackets()
    this.#handleHeld(held)
  }

  #handleHeld (held: Buffer[]): void {
    while (this.#held === undefined && !this.isClosed) {
      const chunk = held.shift()
      if (chunk === undefined) break
      this.#decoder.push(chunk)
      this.#handlePackets()
    }
    this.#held?.push(...held)
    this.#heldBytes = this.#held === undefined ? 0 : held.reduce((bytes, chunk) => bytes + chunk.length, 0)
    this.#regulate()
  }
}

const codes: ReadonlyMap<ReasonCode, ErrorCode> = new Map([
  [ReasonCode.sessionTakenOver, ErrorCode.sessionTakenOver],
  [ReasonCode.quotaExceeded, ErrorCode.quotaExceeded],
  [ReasonCode.serverShuttingDown, ErrorCode.serverShuttingDown],
  [ReasonCode.keepAliveTimeout, ErrorCode.keepAliveTimeout],
  [ReasonCode.notAuthorized, ErrorCode.notAuthorized],
])

function codeOf (reasonCode: ReasonCode): ErrorCode {
  return codes.get(reasonCode) ?? ErrorCode.administrativeAction
}
