import { ReasonCode } from '../base/reason-codes.ts'
import { PacketType, type UnsubscribePacket } from '../packet/packets.ts'
import type { Client } from './client.ts'

/** UNSUBSCRIBE (section 3.10). Deliveries that have begun are brought to their end [MQTT-3.10.4-3]. */
export function handleUnsubscribe (client: Client, { packetIdentifier, topicFilters }: UnsubscribePacket): void {
  const reasonCodes = topicFilters.map(topicFilter => unsubscribe(client, topicFilter))
  client.sink.send({ type: PacketType.unsuback, packetIdentifier, reasonCodes, properties: undefined }) // [MQTT-3.10.4-4]
}

function unsubscribe (client: Client, topicFilter: string): ReasonCode {
  const { router, hooks } = client.services
  if (!router.unsubscribe(client.ownSession, topicFilter)) return ReasonCode.noSubscriptionExisted
  hooks.notify('unsubscribed', { client, topicFilter })
  return ReasonCode.success
}
