import { ReasonCode } from '../../base/reason-codes.ts'
import { PacketType, type UnsubscribePacket } from '../../packet/packets.ts'
import { checkTopicFilter } from '../../topic/topic-filter.ts'
import type { Client } from '../client/client.ts'

/**
 * UNSUBSCRIBE (section 3.10). Deliveries that have begun are brought to their end [MQTT-3.10.4-3].
 * @throws MqttError for a filter that is not well formed, before any subscription ends
 */
export function handleUnsubscribe (client: Client, packet: UnsubscribePacket): Promise<void> | undefined {
  packet.topicFilters.forEach(checkTopicFilter)
  const reasonCodes = packet.topicFilters.map(topicFilter => unsubscribe(client, topicFilter))
  if (client.session?.isDurable === true) return acknowledgeOnceStored(client, packet, reasonCodes)
  acknowledge(client, packet, reasonCodes)
  return undefined
}

/** UNSUBACK promises that nothing comes back with the broker. What cannot be stored now will be with the next commit. */
async function acknowledgeOnceStored (client: Client, packet: UnsubscribePacket, reasonCodes: readonly ReasonCode[]): Promise<void> {
  const isStored = await client.services.journal?.written().then(() => true, () => false)
  if (client.phase !== 'connected') return
  acknowledge(client, packet, isStored === false ? reasonCodes.map(() => ReasonCode.unspecifiedError) : reasonCodes)
}

function acknowledge (client: Client, { packetIdentifier }: UnsubscribePacket, reasonCodes: readonly ReasonCode[]): void {
  client.sink.send({ type: PacketType.unsuback, packetIdentifier, reasonCodes, properties: undefined }) // [MQTT-3.10.4-4]
}

function unsubscribe (client: Client, topicFilter: string): ReasonCode {
  const { router, hooks } = client.services
  if (!router.unsubscribe(client.ownSession, topicFilter)) return ReasonCode.noSubscriptionExisted
  hooks.notify('unsubscribed', { client, topicFilter })
  return ReasonCode.success
}
