import { ErrorCode } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Allow, AuthenticateRequest, AuthenticateResult, Deny } from '../../contract/hooks.ts'
import { isReasonCodeOf } from '../../packet/packet-reason-codes.ts'
import { PacketType, type ConnectPacket } from '../../packet/packets.ts'
import type { Client } from '../client/client.ts'
import { asReasonString, ConnectRefused } from '../client/failure.ts'

/**
 * Asks who a Client is by its User Name, Password and connection. When nobody registered a hook or a method, everybody is let in;
 * when all abstain, nobody is.
 * @throws ConnectRefused when it is to be kept out
 */
export async function authenticate (client: Client, packet: ConnectPacket): Promise<Allow> {
  const { hooks, authenticationMethods } = client.services
  if (hooks.chains.authenticate === undefined && authenticationMethods.size === 0) return { allow: true }
  return toAllow(await hooks.authenticate(requestOf(client, packet)), packet)
}

function requestOf (client: Client, packet: ConnectPacket): AuthenticateRequest {
  const { clientIdentifier, username, password, protocolVersion, cleanStart, will, properties } = packet
  return {
    clientIdentifier, username, password, protocolVersion, cleanStart, will,
    userProperties: properties?.userProperties ?? [], connection: client.connection, get signal () { return client.signal },
  }
}

function toAllow (result: AuthenticateResult, packet: ConnectPacket): Allow {
  if (result === true) return { allow: true }
  if (typeof result === 'object' && result.allow) return result
  throw refusal(typeof result === 'object' ? result : { allow: false }, packet)
}

/** The error for a refusal; without a Reason Code of its own it says what was wrong: the credentials, or that there were none. */
export function refusal (deny: Deny, { username, password }: Pick<ConnectPacket, 'username' | 'password'>): ConnectRefused {
  const hasCredentials = username !== undefined || password !== undefined
  const byDefault = hasCredentials ? ReasonCode.badUserNameOrPassword : ReasonCode.notAuthorized
  const reasonCode = isConnackError(deny.reasonCode) ? deny.reasonCode : byDefault // a refusal must not read Success
  const { reasonString, serverReference } = deny
  const properties = { ...reasonString !== undefined && asReasonString(reasonString), ...serverReference !== undefined && { serverReference } }
  return new ConnectRefused(ErrorCode.notAuthenticated, reasonCode, reasonString ?? 'the Client was not let in', properties)
}

function isConnackError (reasonCode: ReasonCode | undefined): reasonCode is ReasonCode {
  return reasonCode !== undefined && reasonCode >= ReasonCode.unspecifiedError && isReasonCodeOf(PacketType.connack, reasonCode)
}
