import { encodeAcknowledge } from '../control-packets/acknowledge.ts'
import { encodeConnack, encodeConnect } from '../control-packets/connect.ts'
import { encodeAuth, encodeDisconnect } from '../control-packets/disconnect.ts'
import { PacketType } from '../packets.ts'
import type { Packet, ProtocolVersion } from '../packets.ts'
import { encodePublish } from '../control-packets/publish.ts'
import { encodeSuback, encodeSubscribe } from '../control-packets/subscribe.ts'
import { encodeUnsuback, encodeUnsubscribe } from '../control-packets/unsubscribe.ts'

/**
 * The bytes of any Control Packet as a Client of that version expects them: MQTT 3.x gets no properties, and
 * return codes where 5.0 has Reason Codes.
 * @throws MqttError Malformed Packet when a string or Binary Data is over 65,535 bytes, Packet too large over 256 MiB
 */
export function encode (packet: Packet, version: ProtocolVersion): Buffer {
  switch (packet.type) {
    case PacketType.connect: return encodeConnect(packet)
    case PacketType.connack: return encodeConnack(packet, version)
    case PacketType.publish: return encodePublish(packet, version)
    case PacketType.puback:
    case PacketType.pubrec:
    case PacketType.pubrel:
    case PacketType.pubcomp: return encodeAcknowledge(packet, version)
    case PacketType.subscribe: return encodeSubscribe(packet, version)
    case PacketType.suback: return encodeSuback(packet, version)
    case PacketType.unsubscribe: return encodeUnsubscribe(packet, version)
    case PacketType.unsuback: return encodeUnsuback(packet, version)
    case PacketType.pingreq:
    case PacketType.pingresp: return Buffer.from([packet.type << 4, 0])
    case PacketType.disconnect: return encodeDisconnect(packet, version)
    case PacketType.auth: return encodeAuth(packet)
  }
}
