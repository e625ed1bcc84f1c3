import t from 'tap'
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { generate, parser } from 'mqtt-packet'
import { MqttError } from '../lib/base/errors.ts'
import { defaultLimits } from '../lib/base/limits.ts'
import { ReasonCode } from '../lib/base/reason-codes.ts'
import { Decoder } from '../lib/packet/codec/decoder.ts'
import { encode } from '../lib/packet/codec/encoder.ts'
import { PacketType, type Packet, type Properties, type ProtocolVersion } from '../lib/packet/packets.ts'
import { Topic, TopicTable } from '../lib/topic/topic.ts'
import { versionedPacket } from './support/arbitrary-packets.ts'
import { badCases, packetCases } from './support/packets.ts'

const topics = new TopicTable(64)

function decoderFor (version: ProtocolVersion | undefined): Decoder {
  const decoder = new Decoder(topics, defaultLimits, undefined, true)
  decoder.protocolVersion = version
  return decoder
}

/** The packet, with its payload in one. */
function joined (packet: Packet): Packet {
  if (packet.type !== PacketType.publish || packet.pieces === undefined) return packet
  const { type, dup, qos, retain, topic, packetIdentifier, properties, payload } = packet
  return { type, dup, qos, retain, topic, packetIdentifier, properties, payload }
}

/** Whether its topic got a slot of the table depends on what came before. */
function settled (packet: Packet): Packet {
  if (packet.type === PacketType.publish) packet.topic.isFleeting = false
  return packet
}

/** All packets of the chunks; checks what must hold for any bytes. */
function decodeAll (decoder: Decoder, chunks: readonly Buffer[], packets: Packet[] = []): Packet[] {
  let received = 0
  for (const chunk of chunks) {
    received += chunk.length
    decoder.push(chunk)
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) packets.push(settled(packet))
    assert.ok(packets.length <= received / 2, 'a packet takes two bytes')
    assert.ok(decoder.pendingBytes <= decoder.maximumPacketSize, 'no more is held than one packet may have')
    assert.ok(decoder.pendingBytes <= received)
  }
  return packets
}

function cut (bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...at.map(place => place % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b)
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end))
}

/** The packets up to the first error, and that error. */
function attempt (decoder: Decoder, chunks: readonly Buffer[]): { packets: Packet[], error: string | undefined } {
  const packets: Packet[] = []
  try {
    return { packets: decodeAll(decoder, chunks, packets), error: undefined }
  } catch (error) {
    assert.ok(error instanceof MqttError, `${String(error)} is no MqttError`)
    return { packets, error: error.code }
  }
}

function eachByte (bytes: Buffer): Buffer[] {
  return Array.from(bytes, byte => Buffer.from([byte]))
}

t.test('every packet survives encoding and decoding, however its bytes are cut', t => {
  fc.assert(fc.property(versionedPacket, fc.array(fc.nat(), { maxLength: 6 }), ({ version, packet }, at) => {
    const bytes = encode(packet, version)
    assert.deepStrictEqual(decodeAll(decoderFor(version), [bytes]), [packet])
    assert.deepStrictEqual(decodeAll(decoderFor(version), cut(bytes, at)).map(joined), [packet])
    if (bytes.length < 1000) assert.deepStrictEqual(decodeAll(decoderFor(version), eachByte(bytes)), [packet])
  }), { numRuns: 1500 })
  t.pass('holds')
  t.end()
})

t.test('a sequence of packets survives, however its bytes are cut', t => {
  const sequence = fc.array(versionedPacket.filter(({ version }) => version === 5), { maxLength: 8 })
  fc.assert(fc.property(sequence, fc.array(fc.nat(), { maxLength: 12 }), (sequence, at) => {
    const bytes = Buffer.concat(sequence.map(({ packet }) => encode(packet, 5)))
    assert.deepStrictEqual(decodeAll(decoderFor(5), cut(bytes, at)).map(joined), sequence.map(({ packet }) => packet))
  }), { numRuns: 150 })
  t.pass('holds')
  t.end()
})

t.test('a large PUBLISH survives, however its bytes are cut, and holds at most twice its bytes', t => {
  const size = fc.integer({ min: 16_000, max: 200_000 })
  const place = fc.oneof(fc.nat(50), fc.nat(3000), fc.nat(200_000))
  fc.assert(fc.property(fc.constantFrom<ProtocolVersion>(4, 5), size, fc.array(place, { maxLength: 6 }), (version, size, at) => {
    const payload = Buffer.alloc(size, 'abcdefg')
    const head = { type: PacketType.publish, dup: false, qos: 1, retain: false, topic: new Topic('some/topic'), packetIdentifier: 9, properties: undefined } as const
    const bytes = Buffer.concat([encode({ ...head, payload: Buffer.alloc(9) }, version), encode({ ...head, payload }, version)])
    const decoder = decoderFor(version)
    decoder.maximumPacketSize = bytes.length
    const [, packet] = decodeAll(decoder, cut(bytes, at).map(chunk => new Uint8Array(chunk)).map(({ buffer }) => Buffer.from(buffer)))
    assert.ok(packet?.type === PacketType.publish && packet.topic.name === 'some/topic' && packet.packetIdentifier === 9)
    const kept = new Set((packet.pieces?.list ?? [packet.payload]).map(({ buffer }) => buffer))
    assert.ok([...kept].reduce((sum, { byteLength }) => sum + byteLength, 0) <= 2 * (bytes.length + Buffer.poolSize)) // small copies, at the beginning and at the end, stand in pools of Node's
    assert.ok(packet.payload.equals(payload))
  }), { numRuns: 300 })
  t.pass('holds')
  t.end()
})

const version = fc.constantFrom<ProtocolVersion | undefined>(undefined, 3, 4, 5)
const seeds = [...packetCases, ...badCases].map(({ bytes }) => bytes)

t.test('any bytes give packets or an MqttError, the same however they are cut', t => {
  const noise = fc.uint8Array({ maxLength: 200 }).map(value => Buffer.from(value))
  const framed = fc.tuple(fc.nat(255), noise.filter(value => value.length < 128)).map(([first, body]) => Buffer.concat([Buffer.from([first, body.length]), body]))
  const changes = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 })
  const changed = fc.tuple(fc.constantFrom(...seeds), changes).map(([seed, changes]) => {
    const bytes = Buffer.from(seed)
    for (const [at, value] of changes) bytes[at % bytes.length] = value
    return bytes
  })
  const stream = fc.array(fc.oneof(noise, framed, changed, changed, changed), { maxLength: 4 }).map(parts => Buffer.concat(parts))
  fc.assert(fc.property(version, stream, fc.array(fc.nat(), { maxLength: 6 }), (version, bytes, at) => {
    const whole = attempt(decoderFor(version), eachByte(bytes))
    const pieces = attempt(decoderFor(version), cut(bytes, at))
    assert.equal(pieces.error, whole.error)
    for (const packet of whole.packets) if (version !== undefined && packet.type !== 1) {
      assert.deepStrictEqual(decodeAll(decoderFor(version), [encode(packet, version)]), [packet], 'what was accepted can be written again')
    }
  }), { numRuns: 3000 })
  t.pass('holds')
  t.end()
})

/** What mqtt-packet reads from the bytes. */
function readByOther (bytes: Buffer, version: ProtocolVersion): Parameters<typeof generate>[0] {
  const found: Parameters<typeof generate>[0][] = []
  const other = parser({ protocolVersion: version })
  other.on('packet', (packet: Parameters<typeof generate>[0]) => found.push(packet))
  other.on('error', (error: Error) => { throw error })
  other.parse(bytes)
  const [packet] = found
  if (packet === undefined) throw new Error('mqtt-packet found no packet')
  return packet
}

// mqtt-packet keeps User Properties in an object: names that repeat, or look like an index, lose their order.
function areKeysOfObject (properties: Properties | undefined): boolean {
  const names = (properties?.userProperties ?? []).map(([name]) => name)
  return new Set(names).size === names.length && names.every(name => !/^\d|^__proto__$/.test(name))
}

// mqtt-packet writes no CONNECT without Client Identifier, no password without User Name, and knows no DISCONNECT for
// Bad authentication method, which section 2.4 has and section 3.14.2.1 has not.
function isKnownToOther (packet: Packet): boolean {
  if (packet.type === 12 || packet.type === 13) return true
  if (!areKeysOfObject(packet.properties)) return false
  if (packet.type === 15) return packet.properties !== undefined // the short form of section 3.15.2.1 is an error to it
  if (packet.type === 14) return packet.reasonCode !== ReasonCode.badAuthenticationMethod
  if (packet.type !== 1) return true
  return packet.clientIdentifier !== '' && areKeysOfObject(packet.will?.properties) && !(packet.username === undefined && packet.password !== undefined)
}

t.test('mqtt-packet reads what Myelin writes, and Myelin reads what mqtt-packet makes of that', t => {
  fc.assert(fc.property(versionedPacket.filter(({ packet }) => isKnownToOther(packet)), ({ version, packet }) => {
    const bytes = generate(readByOther(encode(packet, version), version), { protocolVersion: version })
    assert.deepStrictEqual(decodeAll(decoderFor(version), [bytes]), [packet])
  }), { numRuns: 1000 })
  t.pass('holds')
  t.end()
})
