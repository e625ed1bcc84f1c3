import type { MqttError } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { Client } from './client.ts'

/** The Network Connection is over, for whatever reason: gives the Session back and tells observers. Done once. */
export function handleClosed (client: Client, error: MqttError | undefined): void {
  const { phase } = client
  if (phase === 'closed') return
  client.phase = 'closed'
  client.abort()
  if (phase === 'connected') leave(client, error)
  else refuse(client, error)
}

function refuse ({ services, connection }: Client, error: MqttError | undefined): void {
  services.metrics.connectionsRefused++
  if (error !== undefined) services.hooks.notify('refused', { connection, error })
}

function leave (client: Client, error: MqttError | undefined): void {
  const { services, ownSession: session } = client
  const wasTold = session.isConnected // not where the Client could not even be sent its CONNACK
  services.metrics.clientsConnected--
  // A broker that shuts down takes nobody's Will: its Clients are not gone, it is.
  services.sessions.release(session, client.isWillPublished && !services.isClosing)
  services.router.redispatchShared(session)
  const reasonCode = error?.reasonCode ?? client.disconnectReasonCode ?? ReasonCode.unspecifiedError
  if (wasTold) services.hooks.notify('disconnected', { client, reasonCode, error })
}
