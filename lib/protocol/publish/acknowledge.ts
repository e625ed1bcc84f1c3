import { ReasonCode } from '../../base/reason-codes.ts'
import { PacketType, type AcknowledgePacket } from '../../packet/packets.ts'
import type { Client } from '../client/client.ts'
import { acknowledgeStored } from './publish-receipt.ts'

/** PUBACK (section 3.4). Whatever its Reason Code says, the message is done with [MQTT-4.4.0-2]. */
export function handlePuback (client: Client, { packetIdentifier }: AcknowledgePacket): void {
  client.ownSession.outbox.acknowledge(packetIdentifier)
}

/** PUBREC (section 3.5): with an error it ends the exchange, else PUBREL follows [MQTT-4.3.3-4]. */
export function handlePubrec (client: Client, { packetIdentifier, reasonCode }: AcknowledgePacket): void {
  const { outbox } = client.ownSession
  if (reasonCode >= ReasonCode.unspecifiedError) {
    outbox.complete(packetIdentifier)
    return
  }
  if (!outbox.release(packetIdentifier)) answerUnknown(client, PacketType.pubrel, packetIdentifier)
}

/** PUBREL (section 3.6): the Client has our PUBREC, so its identifier is free again [MQTT-4.3.3-12]. */
export function handlePubrel (client: Client, { packetIdentifier }: AcknowledgePacket): void {
  if (client.ownSession.inbox.delete(packetIdentifier)) acknowledgeStored(client, PacketType.pubcomp, packetIdentifier)
  else answerUnknown(client, PacketType.pubcomp, packetIdentifier)
}

/** PUBCOMP (section 3.7). */
export function handlePubcomp (client: Client, { packetIdentifier }: AcknowledgePacket): void {
  client.ownSession.outbox.complete(packetIdentifier)
}

// Not an error during recovery (section 3.6.2.1), so the exchange is brought to its end all the same.
function answerUnknown (client: Client, type: typeof PacketType.pubrel | typeof PacketType.pubcomp, packetIdentifier: number): void {
  client.sink.send({ type, packetIdentifier, reasonCode: ReasonCode.packetIdentifierNotFound, properties: undefined })
}
