import { protocolError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { DisconnectPacket } from '../packet/packets.ts'
import type { Client } from './client.ts'

/** DISCONNECT from a Client (section 3.14): with Reason Code 0 the Will Message is forgotten [MQTT-3.14.4-3]. */
export function handleDisconnect (client: Client, { reasonCode, properties }: DisconnectPacket): void {
  const session = client.ownSession
  const expiry = properties?.sessionExpiryInterval
  if (expiry !== undefined) {
    if (session.sessionExpiryInterval === 0 && expiry > 0) throw protocolError('DISCONNECT raises a Session Expiry Interval of 0 (3.14.2.2.2)')
    session.sessionExpiryInterval = Math.min(expiry, client.services.limits.maximumSessionExpiryInterval)
  }
  client.isWillPublished = reasonCode !== ReasonCode.success
  client.disconnectReasonCode = reasonCode
  client.sink.close()
}
