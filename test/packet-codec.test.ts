import t, { type Test } from 'tap'
import { ErrorCode, MqttError } from '../lib/base/errors.ts'
import { defaultLimits } from '../lib/base/limits.ts'
import { ReasonCode } from '../lib/base/reason-codes.ts'
import { Decoder } from '../lib/packet/codec/decoder.ts'
import { encode } from '../lib/packet/codec/encoder.ts'
import { PacketCodec } from '../lib/packet/codec/packet-codec.ts'
import { PacketType } from '../lib/packet/packets.ts'
import type { MessageProperties, Packet, ProtocolVersion, PublishPacket } from '../lib/packet/packets.ts'
import { copyBytes, encodeMessageProperties, publishLength, publishRemainingLength, writeAcknowledge, writePublishHead } from '../lib/packet/control-packets/publish-encoder.ts'
import type { PublishHead } from '../lib/packet/control-packets/publish-encoder.ts'
import { emptyTopic, Topic, TopicTable } from '../lib/topic/topic.ts'
import { badCases, packetCases, propertyCases } from './support/packets.ts'

function decoderFor (version: ProtocolVersion | undefined, limits = defaultLimits): Decoder {
  const decoder = new Decoder(new TopicTable(), limits, undefined, true)
  decoder.protocolVersion = version
  return decoder
}

function largeDecoder (version: ProtocolVersion = 4): Decoder {
  const decoder = decoderFor(version)
  decoder.maximumPacketSize = 2 << 20
  return decoder
}

/** All packets in the chunks. */
function decodeAll (decoder: Decoder, chunks: readonly Buffer[]): Packet[] {
  const packets: Packet[] = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) packets.push(packet)
  }
  return packets
}

function eachByte (bytes: Buffer): Buffer[] {
  return Array.from(bytes, byte => Buffer.from([byte]))
}

/** The error that the chunks end in. */
function failureOf (decoder: Decoder, chunks: readonly Buffer[]): MqttError {
  try {
    decodeAll(decoder, chunks)
  } catch (error) {
    if (error instanceof MqttError) return error
    throw error
  }
  throw new Error('no error')
}

t.test('every packet is decoded, from one chunk and byte by byte', t => {
  for (const { name, version, bytes, packet } of packetCases) {
    t.strictSame(decodeAll(decoderFor(version), [bytes]), [packet], name)
    t.strictSame(decodeAll(decoderFor(version), eachByte(bytes)), [packet], `${name}, byte by byte`)
  }
  t.end()
})

t.test('every packet is encoded in its shortest form', t => {
  for (const { name, version, bytes, packet, decodeOnly } of packetCases) {
    if (decodeOnly === undefined) t.equal(encode(packet, version).toString('hex'), bytes.toString('hex'), name)
  }
  t.end()
})

t.test('what is malformed, or a Protocol Error, has its own error and Reason Code', t => {
  for (const { name, version, bytes, code, reasonCode } of badCases) {
    t.match(failureOf(decoderFor(version), [bytes]), { code, reasonCode }, name)
    t.match(failureOf(decoderFor(version), eachByte(bytes)), { code, reasonCode }, `${name}, byte by byte`)
  }
  t.end()
})

t.test('each property is accepted in its own packets only, and once (section 2.2.2.2)', t => {
  for (const { name, place, allowed, once, twice } of propertyCases) {
    const at = `${name} in ${place === 0 ? 'the Will' : `packet ${place}`}`
    if (!allowed) {
      t.match(failureOf(decoderFor(5), [once]), { code: ErrorCode.malformedPacket }, `${at} is malformed`)
      continue
    }
    t.equal(decodeAll(decoderFor(5), [once]).length, 1, at)
    const repeats = name === 'userProperties' || (name === 'subscriptionIdentifiers' && place === PacketType.publish)
    if (repeats) t.equal(decodeAll(decoderFor(5), [twice]).length, 1, `${at} may repeat`)
    else t.match(failureOf(decoderFor(5), [twice]), { code: ErrorCode.protocolError }, `${at} must not repeat`)
  }
  t.equal(propertyCases.filter(c => c.allowed).length, 61, 'the rows of table 2-4, but Authentication Data')
  t.end()
})

t.test('packets that come together are told apart, wherever the chunks are cut', t => {
  const v5 = packetCases.filter(c => c.version === 5)
  const stream = Buffer.concat(v5.map(c => c.bytes))
  for (const size of [1, 2, 3, 7, 64, stream.length]) {
    const chunks = Array.from({ length: Math.ceil(stream.length / size) }, (_, i) => stream.subarray(i * size, (i + 1) * size))
    t.strictSame(decodeAll(decoderFor(5), chunks), v5.map(c => c.packet), `chunks of ${size}`)
  }
  t.end()
})

t.test('the version for the answer is known even when CONNECT fails [MQTT-3.1.2-2]', t => {
  const versionAfter = (hex: string): ProtocolVersion | undefined => {
    const decoder = decoderFor(undefined)
    failureOf(decoder, [Buffer.from(hex.replaceAll(' ', ''), 'hex')])
    return decoder.protocolVersion
  }
  t.equal(versionAfter('10 07 00044d515454 06'), 5, 'a later level')
  t.equal(versionAfter('10 07 00044d515454 7f'), 5, 'the last of the later levels')
  t.equal(versionAfter('10 07 00044d515454 80'), 4, 'a level of a bridge')
  t.equal(versionAfter('10 07 00044d515454 00'), 4, 'level 0')
  t.equal(versionAfter('10 09 00064d5149736470 05'), 4, 'MQIsdp of level 5')
  t.equal(versionAfter('10 09 00064d5149736470 03'), 3, 'cut MQTT 3.1')
  t.equal(versionAfter('10 08 00044d515454 05 03'), 5, 'malformed MQTT 5.0')
  t.equal(versionAfter('10 07 00044d515455 05'), 5, 'another protocol that says 5')
    t.equal(versionAfter('10 07 00044d515455 04'), undefined, 'another protocol')
  t.equal(versionAfter('10 06 00044d515454'), undefined, 'cut before the level')
  t.end()
})

t.test('CONNECT opens the stream, and the limit for packets replaces the one for CONNECT', t => {
  const limits = { ...defaultLimits, maximumConnectSize: 100, maximumPacketSize: 1000 }
  const decoder = decoderFor(undefined, limits)
  t.equal(decoder.maximumPacketSize, 100)
  const publish: PublishPacket = { type: 3, dup: false, qos: 0, retain: false, topic: new Topic('a'), packetIdentifier: 0, properties: undefined, payload: Buffer.alloc(993) }
  const connect = packetCases.filter(c => c.name === 'CONNECT 5.0').map(c => c.bytes)
  const packets = decodeAll(decoder, [Buffer.concat([...connect, encode(publish, 5)])])
  t.equal(decoder.protocolVersion, 5)
  t.equal(decoder.maximumPacketSize, 1000)
  t.strictSame(packets[1], publish, 'a packet of exactly the limit')
  t.match(failureOf(decoder, [encode({ ...publish, payload: Buffer.alloc(994) }, 5).subarray(0, 3)]), { code: ErrorCode.packetTooLarge, reasonCode: 0x95 }, 'one byte more')
  t.end()
})

t.test('more User Properties than allowed are refused', t => {
  const pairs = (count: number): Packet => ({ type: 14, reasonCode: 0, properties: { userProperties: Array.from({ length: count }, () => ['k', 'v'] as const) } })
  const limits = { ...defaultLimits, maximumUserProperties: 3 }
  t.equal(decodeAll(decoderFor(5, limits), [encode(pairs(3), 5)]).length, 1)
  t.match(failureOf(decoderFor(5, limits), [encode(pairs(4), 5)]), { code: ErrorCode.quotaExceeded, reasonCode: ReasonCode.quotaExceeded })
  t.end()
})

t.test('an incomplete packet holds what has arrived, not what is announced, and not its chunk where it has less than half of that', t => {
  for (const [size, isCopied] of [[10_000, true], [16_383, true], [50_000, false]] as const) {
    const decoder = largeDecoder()
    const large = Buffer.concat([Buffer.from('30ffff3f000161', 'hex'), Buffer.alloc(size - 7, 1)]) // announces 1 MiB
    decodeAll(decoder, [large])
    t.equal(decoder.pendingBytes, large.length)
    large.fill(0xff, 7)
    const [packet] = decodeAll(decoder, [Buffer.alloc(0xfffff + 4 - large.length, 2)]) as [PublishPacket]
    t.equal(decoder.pendingBytes, 0)
    t.equal(packet.payload.length, 0xfffff - 3)
    t.equal(packet.payload[0], isCopied ? 1 : 0xff, `${size} bytes`)
    t.equal(packet.payload.at(-1), 2)
  }
  const decoder = largeDecoder()
  const chunk = Buffer.concat([Buffer.alloc(21_000, 'c000', 'hex'), Buffer.from('30ffff3f000161', 'hex'), Buffer.alloc(20_000, 1)])
  decodeAll(decoder, [chunk])
  chunk.fill(0xff)
  const [packet] = decodeAll(decoder, [Buffer.alloc(0xfffff - 20_003)]) as [PublishPacket]
  t.equal(packet.payload[0], 1, 'less than half of a chunk')
  t.end()
})

t.test('a payload that came in several chunks is joined only for who wants it in one', t => {
  const sent: PublishPacket = { type: 3, dup: false, qos: 1, retain: false, topic: new Topic('a/b'), packetIdentifier: 7, properties: { contentType: 'x' }, payload: Buffer.alloc(100_000, 'abc') }
  for (const sizes of [[60_000], [20_000, 20_000, 20_000], [3, 60_000], [30, 500, 40_000], [60_000, 1, 1]]) {
    const chunks = chunksOf(encode(sent, 5), sizes)
    const [packet] = decodeAll(largeDecoder(5), chunks) as [PublishPacket]
    const { pieces } = packet
    t.ok(pieces !== undefined && pieces.list.length > 1, `in chunks of ${sizes.join(', ')}`)
    t.equal(pieces?.length, 100_000)
    t.ok(pieces?.list.some(piece => chunks.some(({ buffer }) => buffer === piece.buffer)), 'large chunks are not copied')
    t.ok(packet.payload.equals(sent.payload))
    t.equal(packet.payload, packet.payload, 'once')
    t.match(packet, { dup: false, qos: 1, retain: false, topic: { name: 'a/b' }, packetIdentifier: 7, properties: { contentType: 'x' } })
  }
  t.end()
})

t.test('PacketCodec gives the packet that was encoded, however its bytes are cut, and whatever becomes of a chunk that holds a part of it', t => {
  const codec = new PacketCodec(5)
  const sent: PublishPacket = { type: 3, dup: false, qos: 1, retain: false, topic: new Topic('a/b'), packetIdentifier: 7, properties: { contentType: 'x' }, payload: Buffer.alloc(100_000, 'abc') }
  const packets = chunksOf(codec.encode(sent), [60_000]).flatMap(chunk => {
    const decoded = codec.decode(chunk)
    if (decoded.length === 0) chunk.fill(0)
    return decoded
  })
  t.strictSame(packets, [sent])
  t.strictSame({ ...packets[0] }, sent)
  t.end()
})

t.test('what is not all payload after the first large chunk is joined', t => {
  const properties = { userProperties: Array.from({ length: 30 }, (_, i) => ['k', 'v'.repeat(1000 + i)] as const) }
  const sent: PublishPacket = { type: 3, dup: false, qos: 0, retain: false, topic: new Topic('a'), packetIdentifier: 0, properties, payload: Buffer.alloc(50_000, 'abc') }
  const [packet] = decodeAll(largeDecoder(5), chunksOf(encode(sent, 5), [20_000, 40_000]))
  t.strictSame(packet, sent, 'properties in two chunks')
  const subscriptions = Array.from({ length: 1000 }, (_, i) => ({ topicFilter: `${i}/`.padEnd(50, 'x'), qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 } as const))
  const subscribe: Packet = { type: PacketType.subscribe, packetIdentifier: 1, properties: undefined, subscriptions }
  t.strictSame(decodeAll(largeDecoder(5), chunksOf(encode(subscribe, 5), [20_000, 20_000])), [subscribe], 'SUBSCRIBE')
  t.end()
})

/** Chunks of their own of these sizes, and the rest. */
function chunksOf (bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const starts = [0, ...sizes.map((_, i) => sizes.slice(0, i + 1).reduce((sum, size) => sum + size))]
  return starts.map((start, i) => {
    const part = bytes.subarray(start, starts[i + 1])
    const chunk = Buffer.allocUnsafeSlow(part.length)
    chunk.set(part)
    return chunk
  })
}

t.test('a whole packet in a chunk is not copied, and its topic is shared', t => {
  const chunk = Buffer.from('3005000161686930050001616869', 'hex')
  const [first, second] = decodeAll(decoderFor(4), [chunk]) as [PublishPacket, PublishPacket]
  t.equal(first.payload.buffer, chunk.buffer)
  t.equal(first.topic, second.topic)
  const [alias] = decodeAll(decoderFor(5), [Buffer.from('3006000003230001', 'hex')]) as [PublishPacket]
  t.equal(alias.topic, emptyTopic)
  t.end()
})

t.test('a name that is too long to be allowed is not kept when its packet is gone', t => {
  const table = new TopicTable()
  for (const [length, isKept] of [[4096, true], [4097, false], [65_535, false]] as const) {
    const topic = table.named('x'.repeat(length))
    t.equal(topic.bytes.length, length)
    t.equal(table.named('x'.repeat(length)) === topic, isKept, String(length))
  }
  t.end()
})

t.test('push() before the last chunk is used up is a mistake of the caller', t => {
  const decoder = decoderFor(4)
  decoder.push(Buffer.from('c000c000', 'hex'))
  decoder.next()
  t.throws(() => { decoder.push(Buffer.alloc(1)) }, /used up/)
  t.end()
})

t.test('MQTT 3.x Clients get return codes and no properties', t => {
  const hex = (packet: Packet, version: ProtocolVersion): string => encode(packet, version).toString('hex')
  const properties = { reasonString: 'no' }
  t.equal(hex({ type: 2, sessionPresent: true, reasonCode: 0, properties }, 3), '20020000', 'MQTT 3.1 knows no Session Present')
  t.equal(hex({ type: 2, sessionPresent: false, reasonCode: ReasonCode.clientIdentifierNotValid, properties }, 4), '20020002')
  t.equal(hex({ type: 9, packetIdentifier: 1, reasonCodes: [2, 0x87, 0x80], properties }, 4), '90050001028080', '[MQTT-3.9.3-2]')
  t.equal(hex({ type: 11, packetIdentifier: 1, reasonCodes: [0, 0x11], properties }, 4), 'b0020001')
  t.equal(hex({ type: 4, packetIdentifier: 1, reasonCode: 0x97, properties }, 4), '40020001')
  t.equal(hex({ type: 14, reasonCode: 0x8e, properties }, 4), 'e000')
  t.end()
})

t.test('a field that its length cannot express is refused, not cut', t => {
  const username = 'x'.repeat(65_536)
  const connect: Packet = { type: 1, protocolVersion: 5, cleanStart: true, keepAlive: 0, clientIdentifier: '', will: undefined, username, password: undefined, properties: undefined }
  t.throws(() => encode(connect, 5), { code: ErrorCode.malformedPacket })
  t.equal(publishLength(268_435_455), 268_435_460)
  t.throws(() => publishLength(268_435_456), { code: ErrorCode.packetTooLarge })
  t.throws(() => encodeMessageProperties({ contentType: username }), { code: ErrorCode.malformedPacket })
  t.end()
})

const messageProperties: MessageProperties = {
  payloadFormatIndicator: 1, messageExpiryInterval: 99, contentType: 'text/plain', responseTopic: 'r', correlationData: Buffer.from('x'), userProperties: [['k', 'v']],
}

/** What writePublishHead() and the payload give, in the middle of other bytes. */
function written (t: Test, packet: PublishPacket, head: PublishHead): Buffer {
  const content = { topic: packet.topic, payloadLength: packet.payload.length, encodedProperties: encodeMessageProperties(packet.properties) }
  const remainingLength = publishRemainingLength(content, head)
  const target = Buffer.alloc(publishLength(remainingLength) + 20, 0xee)
  const end = copyBytes(packet.payload, target, writePublishHead(target, 10, content, head, remainingLength))
  t.equal(end - 10, publishLength(remainingLength), 'the length is the one announced')
  t.ok(target.subarray(0, 10).every(byte => byte === 0xee) && target.subarray(end).every(byte => byte === 0xee), 'nothing else is touched')
  return target.subarray(10, end)
}

t.test('the PUBLISH that a subscriber gets is the one that encode() makes', t => {
  for (const version of [3, 4, 5] as const) {
    for (const qos of [0, 1, 2] as const) {
      for (const size of [0, 3, 100, 130, 20_000]) {
        for (const dup of [false, qos > 0]) {
          const retain = size === 3
          const head: PublishHead = { version, dup, qos, retain, packetIdentifier: qos && 0x1234, messageExpiryInterval: -1, topicAlias: 0, omitTopic: false, subscriptionIdentifiers: [] }
          const topic = new Topic('a/b/c'.repeat(1 + size % 7))
          const packet: PublishPacket = { type: 3, dup, qos, retain, topic, packetIdentifier: head.packetIdentifier, properties: undefined, payload: Buffer.alloc(size, 7) }
          t.ok(written(t, packet, head).equals(encode(packet, version)), `version ${version}, QoS ${qos}, ${size} bytes`)
          const delivered = { ...messageProperties, messageExpiryInterval: 70_000, topicAlias: 9, subscriptionIdentifiers: [1, 300, 268_435_455] }
          Object.assign(head, { messageExpiryInterval: 70_000, topicAlias: 9, subscriptionIdentifiers: delivered.subscriptionIdentifiers })
          const [decoded] = decodeAll(decoderFor(version), [written(t, { ...packet, properties: messageProperties }, head)])
          t.strictSame(decoded, { ...packet, properties: version === 5 ? delivered : undefined }, 'with all that a delivery adds')
        }
      }
    }
  }
  t.end()
})

t.test('a Topic Alias stands for the topic (section 3.3.2.3.4)', t => {
  const packet: PublishPacket = { type: 3, dup: false, qos: 0, retain: false, topic: new Topic('a/b'), packetIdentifier: 0, properties: undefined, payload: Buffer.from('hi') }
  const head: PublishHead = { version: 5, dup: false, qos: 0, retain: false, packetIdentifier: 0, messageExpiryInterval: 0, topicAlias: 7, omitTopic: true, subscriptionIdentifiers: [] }
  const [decoded] = decodeAll(decoderFor(5), [written(t, packet, head)])
  t.strictSame(decoded, { ...packet, topic: emptyTopic, properties: { messageExpiryInterval: 0, topicAlias: 7 } })
  t.end()
})

t.test('what a Message carries unaltered is encoded without what each delivery sets', t => {
  t.equal(encodeMessageProperties(undefined).length, 0)
  t.equal(encodeMessageProperties({ messageExpiryInterval: 5 }), encodeMessageProperties(undefined), 'no buffer for nothing')
  const ofPublisher = { topicAlias: 3, subscriptionIdentifiers: [1], contentType: 't' }
  t.equal(encodeMessageProperties(ofPublisher).toString('hex'), '03000174')
  t.end()
})

t.test('acknowledgements of success are the four bytes that encode() makes', t => {
  for (const type of [4, 5, 6, 7] as const) {
    const target = Buffer.alloc(8)
    t.equal(writeAcknowledge(target, 2, type, 0xfedc), 6)
    t.ok(target.subarray(2, 6).equals(encode({ type, packetIdentifier: 0xfedc, reasonCode: 0, properties: undefined }, 5)))
  }
  t.end()
})
