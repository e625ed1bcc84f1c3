import { isObject } from '../../base/checks.ts'
import { ErrorCode, MqttError, optionInvalid } from '../../base/errors.ts'
import { defaultLimits } from '../../base/limits.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { TopicTable } from '../../topic/topic.ts'
import { Decoder } from './decoder.ts'
import { encode } from './encoder.ts'
import { PacketType, type Packet, type ProtocolVersion } from '../packets.ts'

const types: ReadonlySet<unknown> = new Set(Object.values(PacketType))

const largest = 268_435_460

/** Control Packets as bytes and back, for one Network Connection of a Client: what a test, a probe or a bridge needs to speak MQTT by itself. */
export class PacketCodec {
  readonly protocolVersion: ProtocolVersion
  readonly #decoder: Decoder

  constructor (protocolVersion: ProtocolVersion) {
    if (![3, 4, 5].includes(protocolVersion)) throw optionInvalid('protocolVersion', '3, 4 or 5', protocolVersion)
    this.protocolVersion = protocolVersion
    this.#decoder = new Decoder(new TopicTable(64), { ...defaultLimits, maximumConnectSize: largest, maximumPacketSize: largest })
    this.#decoder.protocolVersion = protocolVersion
  }

  /** @throws MqttError for what cannot be encoded */
  encode (packet: Packet): Buffer {
    const type: unknown = isObject(packet) ? packet.type : undefined
    if (!types.has(type)) throw optionInvalid('packet.type', 'one of PacketType', type)
    try {
      return encode(packet, this.protocolVersion)
    } catch (cause) {
      if (cause instanceof MqttError) throw cause
      throw new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `option "packet" cannot be encoded: ${String(cause)}`, { cause })
    }
  }

  /**
   * The packets that are whole with these bytes; what is left waits for the next ones. Payloads are slices of `chunk`.
   * @throws MqttError for what is no packet, after which nothing more can be decoded
   */
  decode (chunk: Buffer): Packet[] {
    if (!Buffer.isBuffer(chunk)) throw optionInvalid('chunk', 'a Buffer', chunk)
    const packets: Packet[] = []
    this.#decoder.push(chunk)
    for (let packet = this.#decoder.next(); packet !== undefined; packet = this.#decoder.next()) packets.push(packet)
    return packets
  }
}
