import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { isReasonCodeOf } from '../../packet/packet-reason-codes.ts'
import { PacketType, type Packet, type Properties, type ProtocolVersion } from '../../packet/packets.ts'
import type { Client } from './client.ts'

/** Characters of a Reason String. */
const longestReason = 1000

/** Their Reason Codes say it all; and what broke inside a hook is for the log alone. */
const unexplained: ReadonlySet<ErrorCode> = new Set([
  ErrorCode.hookFailed, ErrorCode.notAuthenticated, ErrorCode.keepAliveTimeout, ErrorCode.sessionTakenOver, ErrorCode.serverShuttingDown, ErrorCode.administrativeAction,
])

/** An error with what only a refused CONNECT is told (section 3.2.2.3). */
export class ConnectRefused extends MqttError {
  readonly properties: Properties

  constructor (code: ErrorCode, reasonCode: ReasonCode, message: string, properties: Properties = {}) {
    super(code, reasonCode, message)
    this.properties = properties
  }
}

/** Whatever was thrown, as an error that can be answered. */
export function toMqttError (error: unknown): MqttError {
  if (error instanceof MqttError) return error
  return new MqttError(ErrorCode.protocolError, ReasonCode.unspecifiedError, 'an unexpected error', { cause: error })
}

/**
 * The packet that tells a Client of an error before its connection is closed (section 4.13): the only place that decides.
 * @param version undefined while the Client has not said which protocol it speaks
 * @returns undefined where the protocol has no such packet
 */
export function answerTo (client: Client, error: MqttError, version: ProtocolVersion | undefined): Packet | undefined {
  if (version === undefined || client.phase === 'closed') return undefined
  if (client.phase === 'connected') return version === 5 ? disconnect(client, error) : undefined // [MQTT-3.14.0-1]
  return version === 5 || isAnsweredBy3(error) ? connack(client, error) : undefined
}

function disconnect (client: Client, error: MqttError): Packet {
  const { serverReference } = client.services
  const isMoving = error.code === ErrorCode.serverShuttingDown && serverReference !== undefined
  const properties = isMoving ? { serverReference } : explanation(client, error)
  const reasonCode = isReasonCodeOf(PacketType.disconnect, error.reasonCode) ? error.reasonCode : ReasonCode.unspecifiedError // [MQTT-3.14.2-1]
  return { type: PacketType.disconnect, reasonCode, properties }
}

function connack (client: Client, error: MqttError): Packet {
  const own = error instanceof ConnectRefused ? error.properties : {}
  return { type: PacketType.connack, sessionPresent: false, reasonCode: connackCodeOf(error), properties: { ...explanation(client, error), ...own } }
}

/** One whose Session was taken over before it was told that it has one may come again [MQTT-3.2.2-8]. */
function connackCodeOf ({ reasonCode }: MqttError): ReasonCode {
  if (reasonCode === ReasonCode.sessionTakenOver) return ReasonCode.serverBusy
  return isReasonCodeOf(PacketType.connack, reasonCode) ? reasonCode : ReasonCode.unspecifiedError
}

/** Only where it says more than the Reason Code, and on no other packets than CONNACK and DISCONNECT, where every Client may be told [MQTT-3.1.2-29]. */
function explanation (client: Client, error: MqttError): Properties | undefined {
  if (!client.services.reasonStrings || unexplained.has(error.code)) return undefined
  return asReasonString(error.message)
}

/** A string on the wire has a limit, whoever wrote it. */
export function asReasonString (text: string): Properties {
  return { reasonString: text.slice(0, longestReason) }
}

/** A CONNECT that breaks the rules of 3.x is closed without a word [MQTT-3.1.4-1 in 3.1.1]; only a refusal is told. */
function isAnsweredBy3 (error: MqttError): boolean {
  return error.code !== ErrorCode.malformedPacket && error.code !== ErrorCode.protocolError && error.code !== ErrorCode.packetTooLarge &&
    error.code !== ErrorCode.topicNameInvalid && error.code !== ErrorCode.connectTimeout
}
