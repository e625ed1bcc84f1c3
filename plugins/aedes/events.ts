import type { AedesClient } from './client.ts'
import type { AedesPublishPacket, ConnackPacket, Subscription } from './packets.ts'

/** The events of Aedes with their arguments. `ping` and `ack` are not there: to listen to them throws. */
export interface AedesEvents {
  client: [client: AedesClient]
  clientReady: [client: AedesClient]
  clientDisconnect: [client: AedesClient]
  keepaliveTimeout: [client: AedesClient]
  clientError: [client: AedesClient, error: Error]
  connectionError: [client: AedesClient, error: Error]
  connackSent: [packet: ConnackPacket, client: AedesClient]
  publish: [packet: AedesPublishPacket, client: AedesClient | null]
  subscribe: [subscriptions: Subscription[], client: AedesClient]
  unsubscribe: [topics: string[], client: AedesClient]
  closed: []
}
