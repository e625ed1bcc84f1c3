import { didYouMean } from './nearest.ts'
import { ReasonCode } from './reason-codes.ts'

/** What can go wrong with a packet or a connection, finer than the Reason Codes on the wire. `docs/errors.md` explains each. */
export const ErrorCode = {
  malformedPacket: 'MQTT_MALFORMED_PACKET',
  protocolError: 'MQTT_PROTOCOL_ERROR',
  packetTooLarge: 'MQTT_PACKET_TOO_LARGE',
  unsupportedProtocolVersion: 'MQTT_UNSUPPORTED_PROTOCOL_VERSION',
  clientIdentifierNotValid: 'MQTT_CLIENT_IDENTIFIER_NOT_VALID',
  notAuthenticated: 'MQTT_NOT_AUTHENTICATED',
  notAuthorized: 'MQTT_NOT_AUTHORIZED',
  credentialsExpired: 'MQTT_CREDENTIALS_EXPIRED',
  badAuthenticationMethod: 'MQTT_BAD_AUTHENTICATION_METHOD',
  topicNameInvalid: 'MQTT_TOPIC_NAME_INVALID',
  topicFilterInvalid: 'MQTT_TOPIC_FILTER_INVALID',
  topicAliasInvalid: 'MQTT_TOPIC_ALIAS_INVALID',
  payloadInvalid: 'MQTT_PAYLOAD_INVALID',
  receiveMaximumExceeded: 'MQTT_RECEIVE_MAXIMUM_EXCEEDED',
  quotaExceeded: 'MQTT_QUOTA_EXCEEDED',
  connectionRateExceeded: 'MQTT_CONNECTION_RATE_EXCEEDED',
  serverShuttingDown: 'MQTT_SERVER_SHUTTING_DOWN',
  keepAliveTimeout: 'MQTT_KEEP_ALIVE_TIMEOUT',
  connectTimeout: 'MQTT_CONNECT_TIMEOUT',
  sessionTakenOver: 'MQTT_SESSION_TAKEN_OVER',
  administrativeAction: 'MQTT_ADMINISTRATIVE_ACTION',
  hookFailed: 'MQTT_HOOK_FAILED',
  proxyHeaderInvalid: 'MQTT_PROXY_HEADER_INVALID',
  optionInvalid: 'MQTT_OPTION_INVALID',
  fileInvalid: 'MQTT_FILE_INVALID',
  brokerClosed: 'MQTT_BROKER_CLOSED',
  requestTimeout: 'MQTT_REQUEST_TIMEOUT',
  storeInUse: 'MQTT_STORE_IN_USE',
  storeTooNew: 'MQTT_STORE_TOO_NEW',
  storeFull: 'MQTT_STORE_FULL',
  storeFailed: 'MQTT_STORE_FAILED',
  clusterUnavailable: 'MQTT_CLUSTER_UNAVAILABLE',
} as const

/** One of the values of {@link ErrorCode}. */
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode]

/**
 * Every error that Myelin raises. `code` is for programs, `message` for people, and `reasonCode`
 * is what an MQTT 5.0 client is told (section 2.4).
 */
export class MqttError extends Error {
  override readonly name = 'MqttError'
  readonly code: ErrorCode
  readonly reasonCode: ReasonCode

  constructor (code: ErrorCode, reasonCode: ReasonCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.reasonCode = reasonCode
  }
}

/** The bytes do not follow the format of the specification (sections 1.5, 2 and 3). */
export function malformed (message: string): MqttError {
  return new MqttError(ErrorCode.malformedPacket, ReasonCode.malformedPacket, message)
}

/** The packet is well formed, but must not be sent, or not now (section 4.13). */
export function protocolError (message: string): MqttError {
  return new MqttError(ErrorCode.protocolError, ReasonCode.protocolError, message)
}

/** An option that the broker cannot work with; raised while it is built, never later. */
export function optionInvalid (option: string, expected: string, got: unknown): MqttError {
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError,
    `option "${option}" must be ${expected}, got ${shown(got)}`)
}

/** Whatever it is, without what may be in it, and not all of a long text. */
function shown (value: unknown): string {
  if (typeof value === 'string') return value.length > longestShown ? `"${value.slice(0, longestShown)}…"` : `"${value}"`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  return typeof value === 'object' && value !== null ? 'an object' : String(value)
}

const longestShown = 200

/**
 * An option with a name that there is not: left out in silence it would be missed by nobody until it matters.
 * @param option its whole name, such as `limits.receiveMaximum`
 * @param names there are, without what stands before the last dot
 */
export function optionUnknown (option: string, names: Iterable<string>): MqttError {
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `option "${option}" ${unknownName(option.slice(option.lastIndexOf('.') + 1), names)}`)
}

/** What is to be said of a name that is none of those. */
export function unknownName (name: string, names: Iterable<string>): string {
  return `is unknown${didYouMean(name, names) || '.'} There are ${[...names].join(', ')}`
}

/**
 * A file of rules, users or keys that cannot be read, or is not what it should be: whoever needs it lets nobody in, rather than everybody.
 * @param path of the file
 * @param fault what is wrong, without secrets, and what to do
 * @param line counted from 1, where one is to blame
 */
export function fileInvalid (path: string, fault: string, line?: number, options?: ErrorOptions): MqttError {
  return new MqttError(ErrorCode.fileInvalid, ReasonCode.implementationSpecificError, `${path}${line === undefined ? '' : `, line ${line}`}: ${fault}`, options)
}

/** A promise of somebody else's was not kept within its time: the `cause` of a {@link MqttError}. */
export class NoAnswerInTime extends Error {}
