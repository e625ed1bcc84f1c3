import type { AuthenticateRequest, Limits, Message, MessagePatch, MessageProperties, ProtocolVersion, QoS, Subscription as Granted, WillFields } from '../../lib/index.ts'

/** A PUBLISH as Aedes shows it to handlers, listeners and `deliver` functions. */
export interface AedesPublishPacket {
  cmd: 'publish'
  topic: string
  payload: Buffer
  qos: QoS
  retain: boolean
  dup: boolean
  /** Of MQTT 5.0 Clients, in Myelin's form; absent where a message has none. */
  properties?: MessageProperties
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
  const packet: AedesPublishPacket = { cmd: 'publish', topic, payload, qos, retain, dup: false, brokerId, brokerCounter }
  if (properties !== undefined) packet.properties = properties
  return packet
}

export function subscriptionOf ({ topicFilter: topic, qos }: Granted): Subscription { return { topic, qos } }

/** Whether a handler has left a packet as the message is. */
export function isUnchanged (packet: AedesPublishPacket, { topicName, payload, qos, retain }: Message): boolean {
  return packet.topic === topicName && packet.payload === payload && packet.qos === qos && packet.retain === retain
}

/** What a handler has changed in a packet; undefined when it has left it alone. */
export function patchOf (packet: AedesPublishPacket, message: Message): MessagePatch | undefined {
  if (isUnchanged(packet, message)) return undefined
  const { topic: topicName, payload, qos, retain } = packet
  return { topicName, payload: Buffer.from(payload), qos, retain }
}

/** Why a packet that a handler has changed can be published no more. The types of TypeScript do not keep that out. */
export function faultOf (packet: AedesPublishPacket, message: Message, limits: TopicLimits): Error | undefined {
  if (isUnchanged(packet, message)) return undefined
  const { topic, payload, qos, retain }: { readonly [name in keyof AedesPublishPacket]: unknown } = packet
  const fault = topic === message.topicName ? undefined : topicFault(topic, limits)
  if (fault !== undefined) return new Error(`a handler has changed the topic of a packet to ${typeof topic === 'string' ? JSON.stringify(topic) : typeof topic}, which ${fault}`)
  if (typeof payload !== 'string' && !(payload instanceof Uint8Array)) return new Error('a handler has changed the payload of a packet to something that is no Buffer')
  if (qos !== 0 && qos !== 1 && qos !== 2) return new Error('a handler has changed the qos of a packet to something other than 0, 1 and 2')
  return typeof retain === 'boolean' ? undefined : new Error('a handler has changed the retain of a packet to something other than true and false')
}

type TopicLimits = Pick<Limits, 'maximumTopicLength' | 'maximumTopicLevels'>

function topicFault (topic: unknown, { maximumTopicLength, maximumTopicLevels }: TopicLimits): string | undefined {
  if (typeof topic !== 'string' || topic === '') return 'is no text, or an empty one'
  if (/[+#\0]/.test(topic)) return 'has a wildcard or U+0000 in it'
  const isShort = Buffer.byteLength(topic) <= Math.min(maximumTopicLength, 65_535) && topic.split('/').length <= maximumTopicLevels
  return isShort ? undefined : 'is longer, or has more levels, than limits allow'
}
