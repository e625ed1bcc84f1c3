import { encode } from '../packet/codec/encoder.ts'
import { PacketType, type Packet, type Properties, type ProtocolVersion } from '../packet/packets.ts'

type Explained = Packet & { readonly properties: Properties | undefined }

/**
 * The bytes of a packet as this Client may get it: explanations are left out where it does not want them [MQTT-3.1.2-29]
 * or where they would pass its Maximum Packet Size [MQTT-3.2.2-19]; undefined when even the bare packet would [MQTT-3.1.2-24].
 */
export function encodeWithin (packet: Packet, version: ProtocolVersion, maximumPacketSize: number, wantsExplanations: boolean): Buffer | undefined {
  if (wantsExplanations || !isQuiet(packet)) {
    const frame = encode(packet, version)
    if (frame.length <= maximumPacketSize) return frame
  }
  const frame = encode(isExplained(packet) ? withoutExplanations(packet) : packet, version)
  return frame.length <= maximumPacketSize ? frame : undefined
}

/** CONNACK and DISCONNECT may always explain (section 3.1.2.11.7). */
function isQuiet (packet: Packet): boolean {
  return packet.type !== PacketType.connack && packet.type !== PacketType.disconnect && packet.type !== PacketType.publish
}

function isExplained (packet: Packet): packet is Explained {
  return 'properties' in packet && packet.properties !== undefined
}

function withoutExplanations (packet: Explained): Packet {
  const properties = { ...packet.properties }
  delete properties.reasonString
  delete properties.userProperties
  return { ...packet, properties: Object.keys(properties).length === 0 ? undefined : properties } as Packet
}
