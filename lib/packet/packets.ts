import type { ReasonCode } from '../base/reason-codes.ts'
import type { Topic } from '../topic/topic.ts'
import type { Pieces } from './data/pieces.ts'

/** MQTT Control Packet types (section 2.1.2). */
export const PacketType = {
  connect: 1,
  connack: 2,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  suback: 9,
  unsubscribe: 10,
  unsuback: 11,
  pingreq: 12,
  pingresp: 13,
  disconnect: 14,
  auth: 15,
} as const
export type PacketType = (typeof PacketType)[keyof typeof PacketType]

/** Quality of Service (section 4.3): at most once, at least once, exactly once. */
export const QoS = { atMostOnce: 0, atLeastOnce: 1, exactlyOnce: 2 } as const
export type QoS = (typeof QoS)[keyof typeof QoS]

/** Protocol Version in CONNECT (section 3.1.2.2): 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5.0. */
export type ProtocolVersion = 3 | 4 | 5

/** A User Property (section 2.2.2.2). The same name may occur more than once, and the order counts. */
export type UserProperty = readonly [name: string, value: string]

/** Every property of MQTT 5.0 (section 2.2.2.2) by its name; what is absent is undefined. */
export interface Properties {
  payloadFormatIndicator?: 0 | 1
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  /** Several in a PUBLISH to a Client, at most one in SUBSCRIBE. */
  subscriptionIdentifiers?: readonly number[]
  /** Seconds; 0xFFFFFFFF never expires. */
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  /** Seconds. */
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Buffer
  requestProblemInformation?: 0 | 1
  /** Seconds. */
  willDelayInterval?: number
  requestResponseInformation?: 0 | 1
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQos?: 0 | 1
  retainAvailable?: 0 | 1
  userProperties?: readonly UserProperty[]
  /** Bytes. */
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: 0 | 1
  subscriptionIdentifierAvailable?: 0 | 1
  sharedSubscriptionAvailable?: 0 | 1
}

/** The properties that travel with an Application Message unaltered from publisher to subscriber (section 3.3.2.3). */
export type MessageProperties = Pick<Properties,
  'payloadFormatIndicator' | 'messageExpiryInterval' | 'contentType' | 'responseTopic' | 'correlationData' | 'userProperties'>

/** The Will Message in CONNECT (section 3.1.2.5 and 3.1.3.2). */
export interface WillFields {
  readonly topicName: string
  readonly payload: Buffer
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: Properties | undefined
}

export interface ConnectPacket {
  readonly type: typeof PacketType.connect
  readonly protocolVersion: ProtocolVersion
  readonly cleanStart: boolean
  /** Seconds; 0 turns it off. */
  readonly keepAlive: number
  readonly clientIdentifier: string
  readonly will: WillFields | undefined
  readonly username: string | undefined
  readonly password: Buffer | undefined
  readonly properties: Properties | undefined
}

export interface ConnackPacket {
  readonly type: typeof PacketType.connack
  readonly sessionPresent: boolean
  /** Written as the return code of section 3.2.2.3 of 3.1.1 to older Clients. */
  readonly reasonCode: ReasonCode
  readonly properties: Properties | undefined
}

export interface PublishPacket {
  readonly type: typeof PacketType.publish
  readonly dup: boolean
  readonly qos: QoS
  readonly retain: boolean
  /** `emptyTopic` when a Topic Alias stands for it. */
  readonly topic: Topic
  /** 0 for QoS 0, which has none. */
  readonly packetIdentifier: number
  readonly properties: Properties | undefined
  readonly payload: Buffer
  /** @internal The payload as it came, where that was in several chunks. */
  readonly pieces?: Pieces
}

export type AcknowledgeType = typeof PacketType.puback | typeof PacketType.pubrec | typeof PacketType.pubrel | typeof PacketType.pubcomp

/** PUBACK, PUBREC, PUBREL and PUBCOMP have one form (sections 3.4 to 3.7). */
export interface AcknowledgePacket {
  readonly type: AcknowledgeType
  readonly packetIdentifier: number
  readonly reasonCode: ReasonCode
  readonly properties: Properties | undefined
}

/** 0 send when the subscription is made, 1 only if it is new, 2 never (section 3.8.3.1). */
export type RetainHandling = 0 | 1 | 2

/** Subscription Options of one Topic Filter in SUBSCRIBE (section 3.8.3.1). */
export interface SubscriptionRequest {
  readonly topicFilter: string
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly retainHandling: RetainHandling
}

export interface SubscribePacket {
  readonly type: typeof PacketType.subscribe
  readonly packetIdentifier: number
  readonly subscriptions: readonly SubscriptionRequest[]
  readonly properties: Properties | undefined
}

export interface SubackPacket {
  readonly type: typeof PacketType.suback
  readonly packetIdentifier: number
  /** Written as 0x80 to MQTT 3.1.1 Clients when 0x80 or above. */
  readonly reasonCodes: readonly ReasonCode[]
  readonly properties: Properties | undefined
}

export interface UnsubscribePacket {
  readonly type: typeof PacketType.unsubscribe
  readonly packetIdentifier: number
  readonly topicFilters: readonly string[]
  readonly properties: Properties | undefined
}

export interface UnsubackPacket {
  readonly type: typeof PacketType.unsuback
  readonly packetIdentifier: number
  /** Not written to MQTT 3.x Clients, whose UNSUBACK has no payload. */
  readonly reasonCodes: readonly ReasonCode[]
  readonly properties: Properties | undefined
}

export interface PingreqPacket { readonly type: typeof PacketType.pingreq }
export interface PingrespPacket { readonly type: typeof PacketType.pingresp }

export interface DisconnectPacket {
  readonly type: typeof PacketType.disconnect
  readonly reasonCode: ReasonCode
  readonly properties: Properties | undefined
}

export interface AuthPacket {
  readonly type: typeof PacketType.auth
  readonly reasonCode: ReasonCode
  readonly properties: Properties | undefined
}

/** Every MQTT Control Packet, told apart by `type`. */
export type Packet =
  | ConnectPacket | ConnackPacket | PublishPacket | AcknowledgePacket | SubscribePacket | SubackPacket
  | UnsubscribePacket | UnsubackPacket | PingreqPacket | PingrespPacket | DisconnectPacket | AuthPacket
