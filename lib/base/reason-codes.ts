/** MQTT 5.0 Reason Codes (section 2.4), by the names of the specification. */
export const ReasonCode = {
  success: 0x00,
  grantedQos1: 0x01,
  grantedQos2: 0x02,
  disconnectWithWillMessage: 0x04,
  noMatchingSubscribers: 0x10,
  noSubscriptionExisted: 0x11,
  continueAuthentication: 0x18,
  reAuthenticate: 0x19,
  unspecifiedError: 0x80,
  malformedPacket: 0x81,
  protocolError: 0x82,
  implementationSpecificError: 0x83,
  unsupportedProtocolVersion: 0x84,
  clientIdentifierNotValid: 0x85,
  badUserNameOrPassword: 0x86,
  notAuthorized: 0x87,
  serverUnavailable: 0x88,
  serverBusy: 0x89,
  banned: 0x8a,
  serverShuttingDown: 0x8b,
  badAuthenticationMethod: 0x8c,
  keepAliveTimeout: 0x8d,
  sessionTakenOver: 0x8e,
  topicFilterInvalid: 0x8f,
  topicNameInvalid: 0x90,
  packetIdentifierInUse: 0x91,
  packetIdentifierNotFound: 0x92,
  receiveMaximumExceeded: 0x93,
  topicAliasInvalid: 0x94,
  packetTooLarge: 0x95,
  messageRateTooHigh: 0x96,
  quotaExceeded: 0x97,
  administrativeAction: 0x98,
  payloadFormatInvalid: 0x99,
  retainNotSupported: 0x9a,
  qosNotSupported: 0x9b,
  useAnotherServer: 0x9c,
  serverMoved: 0x9d,
  sharedSubscriptionsNotSupported: 0x9e,
  connectionRateExceeded: 0x9f,
  maximumConnectTime: 0xa0,
  subscriptionIdentifiersNotSupported: 0xa1,
  wildcardSubscriptionsNotSupported: 0xa2,
} as const

/** One of the values of {@link ReasonCode}; 0x80 and above say that the operation failed. */
export type ReasonCode = (typeof ReasonCode)[keyof typeof ReasonCode]

/** MQTT 3.1.1 CONNACK return codes (section 3.2.2.3). Everything without a row is 3, Server unavailable. */
const connectReturnCodes: ReadonlyMap<ReasonCode, number> = new Map([
  [ReasonCode.success, 0],
  [ReasonCode.unsupportedProtocolVersion, 1],
  [ReasonCode.clientIdentifierNotValid, 2],
  [ReasonCode.badUserNameOrPassword, 4],
  [ReasonCode.badAuthenticationMethod, 5],
  [ReasonCode.notAuthorized, 5],
  [ReasonCode.banned, 5],
])

/** The MQTT 3.1 and 3.1.1 return code that stands for a CONNACK Reason Code. */
export function connectReturnCode (reasonCode: ReasonCode): number {
  return connectReturnCodes.get(reasonCode) ?? 3
}

const names: ReadonlyMap<number, string> = new Map(Object.entries(ReasonCode).map(([name, code]) => [code, name]))

/** The name of a Reason Code for logs, `0x..` for one that the specification does not know. */
export function reasonCodeName (reasonCode: number): string {
  return names.get(reasonCode) ?? (typeof reasonCode === 'number' ? `0x${reasonCode.toString(16)}` : 'unknown')
}

/** Whether a value is a Reason Code of MQTT 5.0. */
export function isReasonCode (value: unknown): value is ReasonCode {
  return typeof value === 'number' && names.has(value)
}
