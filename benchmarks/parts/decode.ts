// What it costs to read packets out of a chunk: `node --expose-gc decode.js`
import { defaultLimits } from '../../lib/base/limits.ts'
import { Decoder } from '../../lib/packet/codec/decoder.ts'
import { encode } from '../../lib/packet/codec/encoder.ts'
import { PacketType, type Packet, type Properties, type ProtocolVersion, type QoS } from '../../lib/packet/packets.ts'
import { Topic, TopicTable } from '../../lib/topic/topic.ts'
import { measure, runAlone, type Cost } from './measure.ts'

/** As many bytes as a socket hands over at once. */
const chunkSize = 65_536

/** The packet over and over, and how many there are. */
function chunkOf (frames: readonly Buffer[]): { chunk: Buffer, count: number } {
  const size = frames.reduce((sum, { length }) => sum + length, 0)
  const times = Math.floor(chunkSize / size)
  return { chunk: Buffer.concat(Array.from({ length: times }, () => frames).flat()), count: times * frames.length }
}

function decodes (name: string, version: ProtocolVersion, packets: readonly Packet[]): Cost {
  const { chunk, count } = chunkOf(packets.map(packet => encode(packet, version)))
  const decoder = new Decoder(new TopicTable(), defaultLimits)
  decoder.protocolVersion = version
  decoder.maximumPacketSize = defaultLimits.maximumPacketSize
  return measure(name, operations => {
    for (let done = 0; done < operations; done += count) {
      decoder.push(chunk)
      while (decoder.next() !== undefined);
    }
  }, count)
}

function publish (topicName: string, qos: QoS, size: number, properties?: Properties): Packet {
  const packetIdentifier = qos === 0 ? 0 : 1
  return { type: PacketType.publish, dup: false, qos, retain: false, topic: new Topic(topicName), packetIdentifier, properties, payload: Buffer.alloc(size, 'x') }
}

const topicName = 'devices/1234/lamp/state'

/** Names that a table of 8,192 topics cannot hold at the same time. */
function manyTopics (): Packet[] {
  return Array.from({ length: 600 }, (_, i) => publish(`devices/${i * 7919}/lamp/state`, 0, 64))
}

function costs (): Cost[] {
  return [
    decodes('decode PUBLISH QoS 0, 64 bytes', 4, [publish(topicName, 0, 64)]),
    decodes('decode PUBLISH QoS 1, 64 bytes', 4, [publish(topicName, 1, 64)]),
    decodes('decode PUBLISH QoS 0, 64 bytes, 600 topics in turn', 4, manyTopics()),
    decodes('decode PUBLISH QoS 0, 4 KiB', 4, [publish(topicName, 0, 4096)]),
    decodes('decode PUBLISH QoS 0, 64 bytes, MQTT 5 with a Topic Alias', 5, [publish('', 0, 64, { topicAlias: 1 })]),
    decodes('decode PUBACK', 4, [{ type: PacketType.puback, packetIdentifier: 7, reasonCode: 0, properties: undefined }]),
    decodes('decode PUBLISH QoS 1 and PUBACK in turn', 4, [publish(topicName, 1, 64), { type: PacketType.puback, packetIdentifier: 7, reasonCode: 0, properties: undefined }]),
  ]
}

runAlone(import.meta.url, costs)
