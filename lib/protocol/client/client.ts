import type { MqttError } from '../../base/errors.ts'
import type { ReasonCode } from '../../base/reason-codes.ts'
import type { Exchange } from '../../contract/authentication.ts'
import type { Allow, Claims, ClientInfo, ConnectionInfo } from '../../contract/hooks.ts'
import type { ConnectPacket, ProtocolVersion } from '../../packet/packets.ts'
import type { Session } from '../../session/session.ts'
import type { BrokerServices } from './broker-services.ts'
import { nowhere, type NetworkSink } from './network-sink.ts'
import type { Origin } from './origin.ts'
import type { PublishRate } from './publish-rate.ts'
import type { InboundTopicAliases } from './topic-alias.ts'

/** `connecting` until CONNACK accepts; nothing but CONNECT and AUTH is allowed in it. */
export type Phase = 'connecting' | 'connected' | 'closed'

/** The enhanced authentication of one Client (section 4.12). */
export interface Authentication {
  readonly method: string
  /** The CONNECT that waits until the exchange has let the Client in. */
  readonly connect: ConnectPacket
  /** The exchange that is going on; undefined once it has ended. */
  exchange: Exchange | undefined
}

const noClaims: Claims = Object.freeze({})

// One for all: each of its own would have a stack, which holds whoever was on it, the Connection too, for as long as the Client is known.
const connectionEnded = new DOMException('the Network Connection has ended', 'AbortError')

/** The remote party of one Network Connection and its protocol state. */
export class Client implements ClientInfo, Origin {
  readonly services: BrokerServices
  sink: NetworkSink
  readonly connection: ConnectionInfo
  readonly isWill: boolean = false
  phase: Phase = 'connecting'
  protocolVersion: ProtocolVersion = 4
  clientIdentifier = ''
  username: string | undefined = undefined
  data: unknown = undefined
  claims: Claims = noClaims
  /** Milliseconds since the epoch: until when it may stay without authenticating anew; undefined for as long as it likes. */
  expiresAt: number | undefined = undefined
  session: Session | undefined = undefined
  /** The number under which the cluster knows the Session that it has or begins; 0 for none. */
  claimed = 0
  /** Milliseconds of silence after which the connection ends: 1.5 × Keep Alive; 0 for no limit. */
  silenceLimitMs = 0
  topicAliases: InboundTopicAliases | undefined = undefined
  /** Why it will be refused whatever its CONNECT says. */
  refusal: MqttError | undefined = undefined
  publishRate: PublishRate | undefined = undefined
  /** The last QoS 1 or 2 message that it has published had to be stored. */
  needsStore = false
  authentication: Authentication | undefined = undefined
  /** Why the Client left: set by DISCONNECT, or by the broker when it ends the connection. */
  disconnectReasonCode: ReasonCode | undefined = undefined
  /** False after a DISCONNECT with Reason Code 0 [MQTT-3.14.4-3]. */
  isWillPublished = true
  /** CONNACK was sent and observers told. */
  wasTold = false
  /** Acknowledgements that it is to get once something is stored. */
  #owed = 0
  #noneOwed: (() => void) | undefined = undefined
  #abort: AbortController | undefined = undefined

  constructor (services: BrokerServices, sink: NetworkSink, connection: ConnectionInfo) {
    this.services = services
    this.sink = sink
    this.connection = connection
  }

  /** What it publishes comes from itself: so an {@link Origin} need not be made for each message. */
  get client (): this { return this }

  // Made on demand: most Clients never need one.
  get signal (): AbortSignal {
    this.#abort ??= new AbortController()
    if (this.phase === 'closed') this.#abort.abort(connectionEnded)
    return this.#abort.signal
  }

  /** The Session of a connected Client. */
  get ownSession (): Session {
    if (this.session === undefined) throw new Error('a packet was handled before CONNECT was accepted')
    return this.session
  }

  /** It is who `authenticate` says; what that leaves open stays. */
  identify ({ data, username, clientIdentifier, claims, expiresAt }: Allow): void {
    this.data = data ?? this.data
    this.username = username ?? this.username
    this.clientIdentifier = clientIdentifier ?? this.clientIdentifier
    this.claims = claims ?? this.claims
    this.expiresAt = expiresAt
  }

  /** An acknowledgement waits for the store; `answered` must follow, whatever becomes of it. */
  owe (): void { this.#owed++ }

  answered (): void { if (--this.#owed === 0) this.#noneOwed?.() }

  /** Settles once all that was published so far is answered; undefined where it is. */
  whenAnswered (): Promise<void> | undefined {
    return this.#owed === 0 ? undefined : new Promise(resolve => { this.#noneOwed = resolve })
  }

  /** Nothing is left of the connection: a Session that stays keeps who its Client was, not what was half received or still to be sent. */
  part (): void {
    this.sink = nowhere
    this.topicAliases = undefined
    this.authentication = undefined
  }

  /** The connection is over; hooks that still wait for something are told. */
  abort (): void {
    this.#abort?.abort(connectionEnded)
  }
}
