import { encode } from '../packet/codec/encoder.ts'
import type { Packet, Properties, ProtocolVersion } from '../packet/packets.ts'

type Explained = Packet & { readonly properties: Properties | undefined }

/**
 * The bytes of a packet as this Client may get it: explanations are left out where they would pass its Maximum Packet Size [MQTT-3.2.2-19];
 * undefined when even the bare packet would [MQTT-3.1.2-24].
 */
export function encodeWithin (packet: Packet, version: ProtocolVersion, maximumPacketSize: number): Buffer | undefined {
  const whole = encode(packet, version)
  if (whole.length <= maximumPacketSize || !isExplained(packet)) return within(whole, maximumPacketSize)
  return within(encode(withoutExplanations(packet), version), maximumPacketSize)
}

function within (frame: Buffer, maximumPacketSize: number): Buffer | undefined {
  return frame.length <= maximumPacketSize ? frame : undefined
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
