import { malformed } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { PacketType } from './packets.ts'
import type { Reader } from './data/reader.ts'

const published: readonly ReasonCode[] = [
  ReasonCode.success, ReasonCode.noMatchingSubscribers, ReasonCode.unspecifiedError, ReasonCode.implementationSpecificError,
  ReasonCode.notAuthorized, ReasonCode.topicNameInvalid, ReasonCode.packetIdentifierInUse, ReasonCode.quotaExceeded,
  ReasonCode.payloadFormatInvalid,
]

const released: readonly ReasonCode[] = [ReasonCode.success, ReasonCode.packetIdentifierNotFound]

/** Which Reason Codes each Control Packet may carry (section 2.4). */
const codesOf: ReadonlyMap<PacketType, readonly ReasonCode[]> = new Map<PacketType, readonly ReasonCode[]>([
  [PacketType.connack, [
    ReasonCode.success, ReasonCode.unspecifiedError, ReasonCode.malformedPacket, ReasonCode.protocolError,
    ReasonCode.implementationSpecificError, ReasonCode.unsupportedProtocolVersion, ReasonCode.clientIdentifierNotValid,
    ReasonCode.badUserNameOrPassword, ReasonCode.notAuthorized, ReasonCode.serverUnavailable, ReasonCode.serverBusy,
    ReasonCode.banned, ReasonCode.badAuthenticationMethod, ReasonCode.topicNameInvalid, ReasonCode.packetTooLarge,
    ReasonCode.quotaExceeded, ReasonCode.payloadFormatInvalid, ReasonCode.retainNotSupported, ReasonCode.qosNotSupported,
    ReasonCode.useAnotherServer, ReasonCode.serverMoved, ReasonCode.connectionRateExceeded,
  ]],
  [PacketType.puback, published],
  [PacketType.pubrec, published],
  [PacketType.pubrel, released],
  [PacketType.pubcomp, released],
  [PacketType.suback, [
    ReasonCode.success, ReasonCode.grantedQos1, ReasonCode.grantedQos2, ReasonCode.unspecifiedError,
    ReasonCode.implementationSpecificError, ReasonCode.notAuthorized, ReasonCode.topicFilterInvalid,
    ReasonCode.packetIdentifierInUse, ReasonCode.quotaExceeded, ReasonCode.sharedSubscriptionsNotSupported,
    ReasonCode.subscriptionIdentifiersNotSupported, ReasonCode.wildcardSubscriptionsNotSupported,
  ]],
  [PacketType.unsuback, [
    ReasonCode.success, ReasonCode.noSubscriptionExisted, ReasonCode.unspecifiedError, ReasonCode.implementationSpecificError,
    ReasonCode.notAuthorized, ReasonCode.topicFilterInvalid, ReasonCode.packetIdentifierInUse,
  ]],
  [PacketType.disconnect, [
    ReasonCode.success, ReasonCode.disconnectWithWillMessage, ReasonCode.unspecifiedError, ReasonCode.malformedPacket,
    ReasonCode.protocolError, ReasonCode.implementationSpecificError, ReasonCode.notAuthorized, ReasonCode.serverBusy,
    ReasonCode.serverShuttingDown, ReasonCode.badAuthenticationMethod, ReasonCode.keepAliveTimeout, ReasonCode.sessionTakenOver,
    ReasonCode.topicFilterInvalid, ReasonCode.topicNameInvalid, ReasonCode.receiveMaximumExceeded, ReasonCode.topicAliasInvalid,
    ReasonCode.packetTooLarge, ReasonCode.messageRateTooHigh, ReasonCode.quotaExceeded, ReasonCode.administrativeAction,
    ReasonCode.payloadFormatInvalid, ReasonCode.retainNotSupported, ReasonCode.qosNotSupported, ReasonCode.useAnotherServer,
    ReasonCode.serverMoved, ReasonCode.sharedSubscriptionsNotSupported, ReasonCode.connectionRateExceeded,
    ReasonCode.maximumConnectTime, ReasonCode.subscriptionIdentifiersNotSupported, ReasonCode.wildcardSubscriptionsNotSupported,
  ]],
  [PacketType.auth, [ReasonCode.success, ReasonCode.continueAuthentication, ReasonCode.reAuthenticate]],
])

// For each byte a bit for each packet type: one look-up for each acknowledgement.
const typesOf: Uint16Array = new Uint16Array(256)
for (const [type, codes] of codesOf) {
  for (const code of codes) typesOf[code] = (typesOf[code] as number) | 1 << type
}

/** Whether a Control Packet of that type may carry that Reason Code (section 2.4). */
export function isReasonCodeOf (type: PacketType, value: number): value is ReasonCode {
  return ((typesOf[value] as number) & 1 << type) !== 0
}

/** @throws MqttError Malformed Packet for a value that is no Reason Code of that packet */
export function readReasonCode (reader: Reader, type: PacketType): ReasonCode {
  const value = reader.readByte()
  if (!isReasonCodeOf(type, value)) throw malformed(`0x${value.toString(16)} is no Reason Code of this packet (section 2.4)`)
  return value
}
