// What it costs to write packets into a connection's output: `node --expose-gc encode.js`
import { systemClock } from '../../lib/contract/clock.ts'
import { Message } from '../../lib/contract/message.ts'
import { BufferPool } from '../../lib/connection/buffer-pool.ts'
import { FrameWriter } from '../../lib/connection/frame-writer.ts'
import { Output } from '../../lib/connection/output.ts'
import type { Transport } from '../../lib/connection/transport.ts'
import { encode } from '../../lib/packet/codec/encoder.ts'
import { PacketType, type MessageProperties, type Packet } from '../../lib/packet/packets.ts'
import type { PublishHead } from '../../lib/packet/control-packets/publish-encoder.ts'
import { OutboundTopicAliases } from '../../lib/protocol/client/topic-alias.ts'
import { Topic } from '../../lib/topic/topic.ts'
import { measure, runAlone, type Cost } from './measure.ts'

/** Frames that leave in one write: what a turn of the event loop brings under load. */
const framesForEachWrite = 32

const nothing = (): void => undefined
const sink: Transport = {
  info: { id: 1, transport: 'stream', listener: undefined, remoteAddress: undefined, connectedAt: 0 } as unknown as Transport['info'],
  queuedBytes: 0, hasTakenAll: true, keepsBuffers: false, ownsChunks: true,
  cork: nothing, write: nothing, uncork: nothing, pause: nothing, resume: nothing, end: nothing, destroy: nothing,
}

function message (size: number, properties?: MessageProperties): Message {
  return new Message({ payload: Buffer.alloc(size, 'x'), qos: 1, retain: false, properties }, new Topic('devices/1234/lamp/state'), 'p')
}

function writes (name: string, given: Message, fields: Partial<PublishHead>, aliases?: OutboundTopicAliases): Cost {
  const frames = new FrameWriter(systemClock)
  const output = new Output(new BufferPool())
  const head: PublishHead = { version: 4, dup: false, qos: 0, retain: false, packetIdentifier: 0, messageExpiryInterval: -1, topicAlias: 0, omitTopic: false, subscriptionIdentifiers: [], ...fields }
  return measure(name, operations => {
    for (let i = 1; i <= operations; i++) {
      frames.write(output, given, head, aliases, Infinity)
      if (i % framesForEachWrite === 0) output.flush(sink)
    }
  })
}

function acknowledges (): Cost {
  const frames = new FrameWriter(systemClock)
  const output = new Output(new BufferPool())
  return measure('write PUBACK', operations => {
    for (let i = 1; i <= operations; i++) {
      frames.writeAcknowledge(output, PacketType.puback, 7)
      if (i % framesForEachWrite === 0) output.flush(sink)
    }
  })
}

function encodes (name: string, packet: Packet): Cost {
  return measure(name, operations => { for (let i = 0; i < operations; i++) encode(packet, 4) })
}

function costs (): Cost[] {
  return [
    writes('write PUBLISH QoS 0, 64 bytes', message(64), {}),
    writes('write PUBLISH QoS 1, 64 bytes', message(64), { qos: 1, packetIdentifier: 7 }),
    writes('write PUBLISH QoS 0, 4 KiB', message(4096), {}),
    writes('write PUBLISH QoS 0, 64 bytes, MQTT 5 with a Topic Alias', message(64), { version: 5 }, new OutboundTopicAliases(8)),
    writes('write PUBLISH QoS 0, 64 bytes, MQTT 5 with two User Properties', message(64, { userProperties: [['a', 'b'], ['c', 'd']] }), { version: 5 }),
    acknowledges(),
    encodes('encode SUBACK', { type: PacketType.suback, packetIdentifier: 7, reasonCodes: [1], properties: undefined }),
  ]
}

runAlone(import.meta.url, costs)
