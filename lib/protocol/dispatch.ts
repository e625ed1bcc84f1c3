import { protocolError } from '../base/errors.ts'
import { PacketType, type Packet } from '../packet/packets.ts'
import { handlePuback, handlePubcomp, handlePubrec, handlePubrel } from './publish/acknowledge.ts'
import { handleAuth } from './connect/auth.ts'
import type { Client } from './client/client.ts'
import { handleConnect } from './connect/connect.ts'
import { handleDisconnect } from './disconnect.ts'
import { handlePublish } from './publish/publish.ts'
import { handleSubscribe } from './subscribe/subscribe.ts'
import { handleUnsubscribe } from './subscribe/unsubscribe.ts'

/**
 * Gives a packet to the handler of its type, if the phase allows it.
 * @returns a promise when the connection's next packets must wait for it, which happens with slow hooks only
 * @throws MqttError for what ends the connection
 */
export function dispatch (client: Client, packet: Packet): Promise<void> | undefined {
  if (client.phase !== 'connected') return dispatchConnecting(client, packet)
  switch (packet.type) {
    case PacketType.publish: return handlePublish(client, packet)
    case PacketType.puback: handlePuback(client, packet); return undefined
    case PacketType.pubrec: handlePubrec(client, packet); return undefined
    case PacketType.pubrel: handlePubrel(client, packet); return undefined
    case PacketType.pubcomp: handlePubcomp(client, packet); return undefined
    case PacketType.subscribe: return handleSubscribe(client, packet)
    case PacketType.unsubscribe: return handleUnsubscribe(client, packet)
    case PacketType.pingreq: client.sink.send({ type: PacketType.pingresp }); return undefined // [MQTT-3.12.4-1]
    case PacketType.disconnect: return handleDisconnect(client, packet)
    case PacketType.auth: return handleAuth(client, packet)
    case PacketType.connect: throw protocolError('a second CONNECT [MQTT-3.1.0-2]')
    case PacketType.connack:
    case PacketType.suback:
    case PacketType.unsuback:
    case PacketType.pingresp: throw protocolError(`packet type ${packet.type} is for servers to send (2.1.2)`)
  }
}

function dispatchConnecting (client: Client, packet: Packet): Promise<void> | undefined {
  if (client.phase === 'closed') return undefined
  if (packet.type === PacketType.connect && client.authentication === undefined) return handleConnect(client, packet)
  if (packet.type === PacketType.auth && client.authentication !== undefined) return handleAuth(client, packet)
  if (packet.type === PacketType.disconnect && client.authentication !== undefined) { // [MQTT-3.1.2-30] allows it
    client.sink.close()
    return undefined
  }
  throw protocolError('the first packet must be CONNECT [MQTT-3.1.0-1]')
}
