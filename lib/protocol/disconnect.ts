import { protocolError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { DisconnectPacket } from '../packet/packets.ts'
import type { Client } from './client/client.ts'

/**
 * DISCONNECT from a Client (section 3.14): with Reason Code 0 the Will Message is forgotten [MQTT-3.14.4-3]. Who says good-bye
 * right behind its last message still gets the acknowledgement of that.
 */
export function handleDisconnect (client: Client, { reasonCode, properties }: DisconnectPacket): Promise<void> | undefined {
  const session = client.ownSession
  const expiry = properties?.sessionExpiryInterval
  if (expiry !== undefined) {
    if (session.sessionExpiryInterval === 0 && expiry > 0) throw protocolError('DISCONNECT raises a Session Expiry Interval of 0 (3.14.2.2.2)')
    session.sessionExpiryInterval = Math.min(expiry, client.services.limits.maximumSessionExpiryInterval)
  }
  client.isWillPublished = reasonCode !== ReasonCode.success
  client.disconnectReasonCode = reasonCode
  const answered = client.whenAnswered()?.then(() => { client.sink.close() })
  if (answered === undefined) client.sink.close()
  return answered
}
