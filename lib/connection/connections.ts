import { ErrorCode, MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { ConnectionInfo } from '../contract/hooks.ts'
import { Reader } from '../packet/data/reader.ts'
import type { BrokerServices } from '../protocol/client/broker-services.ts'
import type { Client } from '../protocol/client/client.ts'
import { ConnectRefused } from '../protocol/client/failure.ts'
import { Admission, type Admittance } from './admission.ts'
import { BufferPool } from './buffer-pool.ts'
import { forgetSocket } from './connection-info.ts'
import type { ConnectionServices } from './connection-services.ts'
import { Connection, roomMark, type ConnectionOwner } from './connection.ts'
import { Flusher } from './flusher.ts'
import { FrameWriter } from './frame-writer.ts'
import { Rounds } from './rounds.ts'
import type { Transport, TransportListener } from './transport.ts'

/** A transport that has not begun to read. */
export interface StartableTransport extends Transport {
  start (listener: TransportListener): void
}

/** Bytes up to which a socket may not tell that it has drained, so a backlog must not wait for that. */
const drainMark = 64 * 1024

/** All Network Connections of a broker: who may come, and who has been silent for too long. */
export class Connections implements ConnectionOwner {
  readonly #broker: BrokerServices
  readonly #shared: ConnectionServices
  readonly #admission: Admission<Connection>
  readonly #open = new Set<Connection>()
  readonly #rounds: Rounds<Connection>
  #onEmpty: (() => void) | undefined = undefined

  /** @param others how many sockets there are that are no connections yet */
  constructor (broker: BrokerServices, others: () => number) {
    this.#broker = broker
    this.#admission = new Admission(broker.limits, broker.clock, others)
    this.#rounds = new Rounds(broker.clock)
    this.#shared = {
      reader: new Reader(), pool: new BufferPool(), flusher: new Flusher(), frames: new FrameWriter(broker.clock), rounds: this.#rounds, outputs: [],
      head: { version: 4, dup: false, qos: 0, retain: false, packetIdentifier: 0, messageExpiryInterval: -1, topicAlias: 0, omitTopic: false, subscriptionIdentifiers: [] },
      roomMark: Math.min(roomMark, Math.max(broker.limits.maximumOutboxBytes, drainMark)),
    }
  }

  /** Clients whose CONNECT was accepted. */
  * clients (): IterableIterator<Client> {
    for (const { client } of this.#open) if (client.phase === 'connected') yield client
  }

  /** Whether one more socket may come that is no connection yet; if it has to, one that is closing makes room for it. */
  makeRoom (): boolean {
    if (!this.#admission.hasRoom) return false
    this.#giveUp(this.#admission.crowdedOutBy(1))
    return true
  }

  /** Takes a new connection in, or closes it at once where there are too many. */
  accept (transport: StartableTransport): void {
    const { info } = transport
    const admittance = this.#admission.enter(info.remoteAddress)
    this.#broker.metrics.connections++
    if (admittance === 'tooMany') this.#turnAway(transport, tooMany())
    else if (!this.#isWanted(info)) this.#turnAway(transport, unwanted())
    else this.#letIn(transport, admittance)
  }

  #isWanted (info: ConnectionInfo): boolean {
    const { hooks } = this.#broker
    return hooks.chains.authorizeConnection === undefined || hooks.mayConnect({ connection: info })
  }

  #letIn (transport: StartableTransport, admittance: Admittance): void {
    this.#giveUp(this.#admission.crowdedOut(transport.info.remoteAddress))
    const connection = new Connection(this.#broker, this.#shared, transport, this)
    if (admittance === 'tooFast') connection.client.refusal = tooFast()
    this.#open.add(connection)
    transport.start(connection)
  }

  /** Ends every connection, saying why to those who can hear it. */
  closeAll (): void {
    for (const connection of this.#open) {
      const { serverShuttingDown, serverUnavailable } = ReasonCode
      const reasonCode = connection.client.phase === 'connected' ? serverShuttingDown : serverUnavailable // CONNACK has no 0x8B (3.2.2.2)
      connection.fail(new MqttError(ErrorCode.serverShuttingDown, reasonCode, 'the broker is shutting down'))
    }
  }

  /** Resolves when the last connection has gone. */
  drained (): Promise<void> {
    if (this.#open.size === 0) return Promise.resolve()
    return new Promise(resolve => { this.#onEmpty = resolve })
  }

  destroyAll (): void {
    for (const { transport } of this.#open) transport.destroy()
  }

  /** Ends what has been silent for too long. Called every `roundMs`: a timer for each connection would cost a kilobyte each. */
  sweep (): void {
    const now = this.#broker.clock.now()
    this.#rounds.make(connection => { this.#check(connection, now) }, connection => { this.#checkSlow(connection, now) })
  }

  #check (connection: Connection, now: number): void {
    const fault = this.#faultOf(connection, now)
    if (connection.isOverdue) this.#giveUp(connection)
    else if (fault === undefined) connection.schedule()
    else connection.fail(fault)
  }

  /** Why it is to be ended now, if it is. */
  #faultOf (connection: Connection, now: number): MqttError | undefined {
    const { limits } = this.#broker
    const { client } = connection
    if (connection.isClosed) return undefined
    if (client.phase === 'connecting') return now - client.connection.connectedAt >= limits.connectTimeoutMs ? connectTimeout(limits.connectTimeoutMs) : undefined
    if (connection.isSilent) return silent(client)
    return client.expiresAt !== undefined && now >= client.expiresAt ? expired() : undefined
  }

  #checkSlow (connection: Connection, now: number): void {
    if (connection.isClosed) return
    connection.client.session?.outbox.keepInFlight()
    if (!connection.isStuck()) connection.congestedAt = undefined
    else if (connection.congestedAt === undefined) connection.congestedAt = now
    else if (now - connection.congestedAt >= this.#broker.limits.slowConsumerTimeoutMs) connection.fail(tooSlow())
  }

  /** Its socket may be the host's own making, or destroyed before it came here, and never report its end. */
  #giveUp (connection: Connection | undefined): void {
    if (connection === undefined) return
    connection.transport.destroy()
    this.gone(connection)
  }

  // --- ConnectionOwner

  over (connection: Connection): void { this.#admission.over(connection.transport.info.remoteAddress, connection) }

  gone (connection: Connection): void {
    if (!this.#open.delete(connection)) return
    this.#rounds.remove(connection)
    this.#left(connection.transport.info, connection)
    connection.client.part()
    forgetSocket(connection.transport.info)
    if (this.#open.size === 0) this.#onEmpty?.()
  }

  #turnAway (transport: StartableTransport, error: MqttError): void {
    this.#broker.metrics.connectionsRefused++
    this.#broker.hooks.notify('refused', { connection: transport.info, error })
    transport.start(nobody) // so that a late error of the stream has a listener
    transport.destroy()
    this.#left(transport.info, undefined)
  }

  #left (info: ConnectionInfo, connection: Connection | undefined): void {
    this.#admission.leave(info.remoteAddress, connection)
    this.#broker.metrics.connections--
    this.#broker.hooks.notify('connectionEnded', { connection: info })
  }
}

const nobody: TransportListener = { received: () => undefined, drained: () => undefined, ended: () => undefined }

function tooMany (): MqttError {
  return new MqttError(ErrorCode.quotaExceeded, ReasonCode.quotaExceeded, 'there are as many connections as maximumConnections or maximumConnectionsPerAddress allows')
}

function unwanted (): MqttError {
  return new MqttError(ErrorCode.notAuthorized, ReasonCode.notAuthorized, 'authorizeConnection refused the connection')
}

function tooFast (): MqttError {
  return new ConnectRefused(ErrorCode.connectionRateExceeded, ReasonCode.connectionRateExceeded, 'connections come faster than connectionRate allows')
}

function connectTimeout (limitMs: number): MqttError {
  return new MqttError(ErrorCode.connectTimeout, ReasonCode.protocolError, `no CONNECT within ${limitMs} ms (connectTimeoutMs)`)
}

function silent (client: Client): MqttError {
  return new MqttError(ErrorCode.keepAliveTimeout, ReasonCode.keepAliveTimeout, `nothing was heard for ${client.silenceLimitMs} ms, 1.5 times the Keep Alive`)
}

function expired (): MqttError {
  return new MqttError(ErrorCode.credentialsExpired, ReasonCode.maximumConnectTime, 'what the Client was let in with has expired')
}

function tooSlow (): MqttError {
  return new MqttError(ErrorCode.quotaExceeded, ReasonCode.quotaExceeded, 'the Client takes nothing of what waits for it (slowConsumerTimeoutMs)')
}
