import type { MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Client } from './client/client.ts'

/** The Network Connection is over, for whatever reason: gives the Session back and tells observers. Done once. */
export function handleClosed (client: Client, error: MqttError | undefined): void {
  const { phase } = client
  if (phase === 'closed') return
  client.phase = 'closed'
  client.abort()
  if (phase === 'connected') leave(client, error)
  else refuse(client, error)
}

function refuse ({ services, connection, session }: Client, error: MqttError | undefined): void {
  services.metrics.connectionsRefused++
  if (session !== undefined) services.sessions.release(session, false) // its Session was being stored
  if (error !== undefined) services.hooks.notify('refused', { connection, error })
}

function leave (client: Client, error: MqttError | undefined): void {
  const { services, ownSession: session } = client
  services.metrics.clientsConnected--
  // A broker that shuts down takes nobody's Will: its Clients are not gone, it is.
  services.sessions.release(session, client.isWillPublished && !services.isClosing)
  services.router.redispatchShared(session)
  services.router.connectionChanged(session)
  services.cluster?.outbound.presence(client.clientIdentifier, false)
  const reasonCode = error?.reasonCode ?? client.disconnectReasonCode ?? ReasonCode.unspecifiedError
  if (client.wasTold) services.hooks.notify('disconnected', { client, reasonCode, error })
}
