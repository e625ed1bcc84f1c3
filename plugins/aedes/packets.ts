import type { AuthenticateRequest, Message, MessageProperties, ProtocolVersion, QoS, Subscription as Granted, WillFields } from '../../lib/index.ts'

/** A PUBLISH as Aedes shows it to handlers, listeners and `deliver` functions. */
export interface AedesPublishPacket {
  cmd: 'publish'
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  dup: boolean
  /** Of MQTT 5.0 Clients, in Myelin's form. */
  properties: MessageProperties | undefined
  /** `aedes.id` */
  brokerId: string
  /** Counts up with each packet of the broker. */
  brokerCounter: number
}

/** What `aedes.publish` takes. */
export interface PublishPacket {
  cmd?: 'publish'
  topic: string
  /** Default: empty. */
  payload?: string | Uint8Array
  /** Default 0. */
  qos?: QoS
  /** Default false. */
  retain?: boolean
  /** No meaning: the broker sets it for each Client. */
  dup?: boolean
  properties?: MessageProperties
}

/** The CONNECT of a Client. */
export interface ConnectPacket {
  readonly cmd: 'connect'
  readonly clientId: string
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly protocolVersion: ProtocolVersion
  readonly clean: boolean
  readonly will: Will | undefined
}

/** The Will Message of a CONNECT. */
export interface Will {
  readonly topic: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
}

/** The CONNACK that let a Client in. */
export interface ConnackPacket {
  readonly cmd: 'connack'
  readonly returnCode: 0
  readonly sessionPresent: boolean
}

/** One Topic Filter of a SUBSCRIBE. */
export interface Subscription {
  topic: string
  qos: QoS
}

export function connectPacket (request: AuthenticateRequest): ConnectPacket {
  const { clientIdentifier: clientId, username, password, protocolVersion, cleanStart: clean, will } = request
  return { cmd: 'connect', clientId, username, password, protocolVersion, clean, will: will && willOf(will) }
}

function willOf ({ topicName: topic, payload, qos, retain }: WillFields): Will {
  return { topic, payload, qos, retain }
}

export function publishPacket ({ topicName: topic, payload, qos, retain, properties }: Message, brokerId: string, brokerCounter: number): AedesPublishPacket {
  return { cmd: 'publish', topic, payload, qos, retain, dup: false, properties, brokerId, brokerCounter }
}

export function subscriptionOf ({ topicFilter: topic, qos }: Granted): Subscription { return { topic, qos } }

/** Whether a handler has left a packet as the message is. */
export function isUnchanged (packet: AedesPublishPacket, { topicName, payload, qos, retain }: Message): boolean {
  return packet.topic === topicName && packet.payload === payload && packet.qos === qos && packet.retain === retain
}
