import t, { type Test } from 'tap'
import fc from 'fast-check'
import { ErrorCode, ReasonCode } from '../lib/index.ts'
import { PacketType, type Packet, type ProtocolVersion } from '../lib/packet/packets.ts'
import { exactly, open, payloadsOf, puback, pubcomp, pubrec, pubrel, receiveAll, will } from './support/exchanges.ts'
import { connect, forEachVersion, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { badCases, packetCases, propertyCases } from './support/packets.ts'

/** Two bytes of length and the bytes of a text, or of what is none. */
function text (value: string | Buffer): string {
  const bytes = Buffer.from(value as string)
  return bytes.length.toString(16).padStart(4, '0') + bytes.toString('hex')
}

/** First byte, Remaining Length and body. */
function frame (first: string, ...body: string[]): string {
  const bytes = body.join('').replaceAll(' ', '')
  if (bytes.length / 2 > 127) throw new Error('one byte of Remaining Length is not enough')
  return first + (bytes.length / 2).toString(16).padStart(2, '0') + bytes
}

/** Property Length and properties. */
function list (...properties: string[]): string {
  const bytes = properties.join('').replaceAll(' ', '')
  return (bytes.length / 2).toString(16).padStart(2, '0') + bytes
}

const head = (version: ProtocolVersion, flags: string): string => `${text(version === 3 ? 'MQIsdp' : 'MQTT')}0${version}${flags}003c${version === 5 ? '00' : ''}`
const empty = (version: ProtocolVersion): string => version === 5 ? '00' : ''

/** A broker, and a bystander that must not be touched by what others do. */
async function withBystander (t: Test): Promise<{ test: TestBroker, stillWell: () => Promise<void> }> {
  const test = await startBroker(t)
  const [bystander] = await open(test, { clientIdentifier: 'bystander' })
  await bystander.subscribe('bystander')
  return {
    test,
    stillWell: async () => {
      await test.broker.publish('bystander', 'well?')
      t.strictSame(await bystander.payloads(), ['well?'], 'only that connection ends')
      t.equal(test.broker.metrics.clientsConnected, 1)
    },
  }
}

/** What a connected Client gets for some bytes: DISCONNECT in 5.0, nothing in 3.x; the connection ends in any case. */
async function rejects (t: Test, test: TestBroker, version: ProtocolVersion, bytes: string | Buffer, reasonCode: ReasonCode, name: string): Promise<void> {
  const [client] = await connect(test, { protocolVersion: version })
  client.write(bytes.toString(typeof bytes === 'string' ? undefined : 'hex'))
  exactly(t, await client.take(), version === 5 ? [{ type: PacketType.disconnect, reasonCode }] : [], name)
  t.equal(client.isEnded, true, name)
}

/** What bytes get that come first on a connection. */
async function refuses (t: Test, { broker }: TestBroker, version: ProtocolVersion, bytes: string | Buffer, reasonCode: ReasonCode | undefined, name: string): Promise<void> {
  const client = new PacketClient(broker, version).write(bytes.toString(typeof bytes === 'string' ? undefined : 'hex'))
  exactly(t, await client.take(), reasonCode === undefined ? [] : [{ type: PacketType.connack, reasonCode, sessionPresent: false }], name)
  t.equal(client.isEnded, true, name)
}

const { malformedPacket, protocolError } = ReasonCode

t.test('every malformed packet gets its Reason Code in DISCONNECT, or a plain close in 3.x [MQTT-4.13.1-1] [MQTT-4.13.2-1]', async t => {
  const { test, stillWell } = await withBystander(t)
  for (const { name, version, bytes, reasonCode } of badCases) {
    if (version !== undefined) await rejects(t, test, version, bytes, reasonCode, name)
  }
  await stillWell()
})

t.test('every malformed CONNECT gets its Reason Code in CONNACK, or a plain close in 3.x [MQTT-3.1.4-1]', async t => {
  const { test, stillWell } = await withBystander(t)
  for (const { name, version, bytes, code, reasonCode } of badCases) {
    if (version !== undefined) continue
    const level = bytes.includes('\0\x04MQTT', 0, 'latin1') ? bytes[8] ?? 0 : 0
    const isUnsupported = code === ErrorCode.unsupportedProtocolVersion
    if (level >= 5) await refuses(t, test, 5, bytes, reasonCode, name)
    else await refuses(t, test, 4, bytes, isUnsupported && /MQTT|MQIsdp/.test(bytes.toString('latin1')) ? reasonCode : undefined, name)
  }
  await stillWell()
})

t.test('another Protocol Name is not served [MQTT-3.1.2-1]', async t => {
  const { test } = await withBystander(t)
  for (const name of ['MQTX', 'mqtt', '', 'MQTTT', 'MQIsdq']) {
    const client = new PacketClient(test.broker, 4).write(frame('10', text(name), '04 02 003c', text('c')))
    const packets = await client.take()
    t.ok(packets.every(packet => packet.type === PacketType.connack && packet.reasonCode === ReasonCode.unsupportedProtocolVersion), name)
    t.equal(client.isEnded, true, name)
  }
})

t.test('a property in a packet it does not belong in is a Malformed Packet, one that comes twice a Protocol Error (section 2.2.2.2)', async t => {
  const { test, stillWell } = await withBystander(t)
  for (const { name, place, allowed, once, twice } of propertyCases) {
    const isFirst = place === 0 || place === PacketType.connect
    const check = isFirst ? refuses : rejects
    if (place === PacketType.connack || place === PacketType.suback || place === PacketType.unsuback) continue // are refused for their type
    if (!allowed) await check(t, test, 5, once, malformedPacket, `${name} in ${place}`)
    else if (name !== 'userProperties') await check(t, test, 5, twice, protocolError, `${name} twice in ${place}`)
  }
  await stillWell()
})

forEachVersion(t, 'packets that only servers send are a Protocol Error (section 2.1.2)', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const packets = version === 5
    ? { CONNACK: '2003 00 00 00', SUBACK: '9004 0001 00 00', UNSUBACK: 'b004 0001 00 00', PINGRESP: 'd000' }
    : { CONNACK: '2002 00 00', SUBACK: '9003 0001 00', UNSUBACK: 'b002 0001', PINGRESP: 'd000' }
  for (const [name, hex] of Object.entries(packets)) await rejects(t, test, version, hex, protocolError, name)
  await stillWell()
})

forEachVersion(t, 'reserved flags that are not as they must be [MQTT-2.1.3-1] [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  for (const [type, required] of [[4, 0], [5, 0], [6, 2], [7, 0], [8, 2], [10, 2], [12, 0], [14, 0], [15, 0]] as const) {
    for (let flags = 0; flags < 16; flags++) {
      if (flags === required && (type !== 15 || version === 5)) continue
      await rejects(t, test, version, type.toString(16) + flags.toString(16), malformedPacket, `type ${type} with flags ${flags}`)
    }
  }
  if (version !== 3) await refuses(t, test, version, frame('11', head(version, '02'), text('c')), version === 5 ? malformedPacket : undefined, 'CONNECT')
  await stillWell()
})

const illFormed = {
  'a surrogate': 'eda080', 'an overlong form': 'c0af', 'a sequence cut short': 'e282', 'a code point over U+10FFFF': 'f4908080', 'a byte that is never UTF-8': 'ff', 'U+0000': '6100',
}

forEachVersion(t, 'text that is not well-formed UTF-8, or has U+0000, is a Malformed Packet wherever it stands [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-1] [MQTT-3.8.3-1] [MQTT-3.10.3-1] [MQTT-4.7.3-2]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const none = empty(version)
  for (const [name, hex] of Object.entries(illFormed)) {
    const bad = text(Buffer.from(hex, 'hex'))
    for (const [place, bytes] of [
      ['a Topic Name', frame('30', bad, none, '78')], ['a Topic Filter of SUBSCRIBE', frame('82', '0001', none, bad, '00')], ['a Topic Filter of UNSUBSCRIBE', frame('a2', '0001', none, bad)],
    ] as const) await rejects(t, test, version, bytes, malformedPacket, `${name} in ${place}`)
  }
  await stillWell()
})

forEachVersion(t, 'the same in CONNECT: Client Identifier, Will Topic, User Name [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const reasonCode = version === 5 ? malformedPacket : undefined
  for (const [name, hex] of Object.entries(illFormed)) {
    const bad = text(Buffer.from(hex, 'hex'))
    for (const [place, bytes] of [
      ['the Client Identifier', frame('10', head(version, '02'), bad)], ['the User Name', frame('10', head(version, '82'), text('c'), bad)],
      ['the Will Topic', frame('10', head(version, '06'), text('c'), empty(version), bad, text('m'))],
    ] as const) await refuses(t, test, version, bytes, reasonCode, `${name} in ${place}`)
  }
  await stillWell()
})

t.test('the same in every property that is text [MQTT-1.5.7-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19]', async t => {
  const { test, stillWell } = await withBystander(t)
  for (const [name, hex] of Object.entries(illFormed)) {
    const bad = text(Buffer.from(hex, 'hex'))
    for (const [place, bytes] of [
      ['a Response Topic', frame('30', text('a'), list('08', bad))], ['a Content Type', frame('30', text('a'), list('03', bad))],
      ['the name of a User Property', frame('30', text('a'), list('26', bad, text('v')))], ['the value of a User Property', frame('82', '0001', list('26', text('k'), bad), text('a'), '00')],
      ['a Reason String', frame('40', '0001 00', list('1f', bad))], ['an Authentication Method', frame('f0', '18', list('15', bad))],
    ] as const) await rejects(t, test, 5, bytes, malformedPacket, `${name} in ${place}`)
  }
  await stillWell()
})

forEachVersion(t, 'Connect Flags and fields that do not agree [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11] [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19] [MQTT-3.1.3-1] [MQTT-3.1.4-1]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const reasonCode = version === 5 ? malformedPacket : undefined
  const id = text('c')
  if (version !== 3) await refuses(t, test, version, frame('10', head(version, '03'), id), reasonCode, 'the reserved flag')
  for (const [name, flags, ...fields] of [
    ['Will QoS without Will Flag', '0a', id], ['Will QoS 3', '1e', id, empty(version), text('w'), text('m')], ['Will Retain without Will Flag', '22', id],
    ['Will Flag without fields', '06', id], ['Will Flag without a payload', '06', id, empty(version), text('w')],
    ['User Name Flag without a name', '82', id], ['a name without its flag', '02', id, text('u')],
    ['Password Flag without a password', 'c2', id, text('u')], ['a password without its flag', '82', id, text('u'), text('p')],
    ['no Client Identifier', '02'], ['a Client Identifier cut short', '02', '000561'],
  ] as const) await refuses(t, test, version, frame('10', head(version, flags), ...fields), reasonCode, name)
  await refuses(t, test, version, frame('10', text('MQTT'), `0${version}`), reasonCode, 'the end after the version')
  await stillWell()
})

t.test('a Password without User Name is for 5.0 only [MQTT-3.1.2-22 in 3.1.1]', async t => {
  const { test } = await withBystander(t)
  await refuses(t, test, 4, frame('10', head(4, '42'), text('c'), text('p')), undefined, '3.1.1')
  const five = new PacketClient(test.broker, 5).write(frame('10', head(5, '42'), text('c'), text('p')))
  exactly(t, await five.take(), [{ type: PacketType.connack, reasonCode: 0 }])
})

forEachVersion(t, 'a Packet Identifier of 0 where there must be one [MQTT-2.2.1-3]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const none = empty(version)
  for (const [name, bytes] of [
    ['PUBLISH QoS 1', frame('32', text('a'), '0000', none)], ['PUBLISH QoS 2', frame('34', text('a'), '0000', none)], ['SUBSCRIBE', frame('82', '0000', none, text('a'), '00')],
    ['UNSUBSCRIBE', frame('a2', '0000', none, text('a'))], ['PUBREL', frame('62', '0000')],
  ] as const) await rejects(t, test, version, bytes, malformedPacket, name)
  await stillWell()
})

forEachVersion(t, 'PUBLISH with QoS 3, DUP with QoS 0, an empty Topic Name; SUBSCRIBE and UNSUBSCRIBE without filters, or with reserved options [MQTT-3.3.1-2] [MQTT-3.3.1-4] [MQTT-4.7.3-1] [MQTT-3.8.3-2] [MQTT-3.8.3-5] [MQTT-3.10.3-2]', async (t, version) => {
  const { test, stillWell } = await withBystander(t)
  const none = empty(version)
  for (const [name, bytes, reasonCode] of [
    ['QoS 3', frame('36', text('a'), '0001', none), malformedPacket], ['DUP with QoS 0', frame('38', text('a'), none), malformedPacket],
    ['no Topic Name', frame('30', text(''), none), protocolError],
    ['SUBSCRIBE without filters', frame('82', '0001', none), protocolError], ['UNSUBSCRIBE without filters', frame('a2', '0001', none), protocolError],
    ['option bit 6', frame('82', '0001', none, text('a'), '40'), malformedPacket], ['option bit 7', frame('82', '0001', none, text('a'), '80'), malformedPacket],
    ['granted QoS 3', frame('82', '0001', none, text('a'), '03'), version === 5 ? protocolError : malformedPacket],
  ] as const) await rejects(t, test, version, bytes, reasonCode, name)
  if (version === 4) for (const bit of ['04', '08', '10', '20']) await rejects(t, test, 4, frame('82', '0001', text('a'), bit), malformedPacket, `option ${bit} of 5.0`)
  await stillWell()
})

t.test('lengths that are not the shortest, run past the end or have five bytes [MQTT-1.5.5-1] [MQTT-2.2.2-1]', async t => {
  const { test, stillWell } = await withBystander(t)
  for (const [name, bytes] of [
    ['Remaining Length of five bytes', 'c08080808001'], ['Remaining Length in two bytes for 0', 'c08000'], ['Property Length in two bytes for 0', frame('30', text('a'), '8000')],
    ['Property Length of five bytes', frame('30', text('a'), '8080808001')], ['Property Length past the end', frame('30', text('a'), '05 01 01')],
    ['a property past the Property Length', frame('30', text('a'), '01 0100')], ['no Property Length in SUBSCRIBE', frame('82', '0001')], ['no Property Length in UNSUBSCRIBE', frame('a2', '0001')],
    ['a Topic Name past the end', frame('30', '0005 61')], ['a filter past the end', frame('a2', '0001 00 0005 61')], ['Subscription Identifier of five bytes', frame('82', '0001', list('0b 8080808001'), text('a'), '00')],
    ['a PINGREQ with a payload', 'c00100'], ['packet type 0', '0000'],
  ] as const) await rejects(t, test, 5, bytes, malformedPacket, name)
  await stillWell()
})

t.test('a DISCONNECT that is none publishes the Will Message [MQTT-3.1.2-8] [MQTT-3.14.2-1]', async t => {
  const { test } = await withBystander(t)
  const [watcher] = await open(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('will')
  for (const hex of ['e003 00 2101', 'e001 85', 'e100', 'e003 00 00 00']) {
    const [client] = await connect(test, { will: will() })
    exactly(t, await client.write(hex).take(), [{ type: PacketType.disconnect, reasonCode: malformedPacket }])
    t.strictSame(await watcher.payloads(), ['gone'])
  }
})

t.test('what stands before the error was handled, what stands behind it is not', async t => {
  const { test } = await withBystander(t)
  const [watcher] = await open(test, { clientIdentifier: 'watcher' })
  await watcher.subscribe('#')
  const [client] = await connect(test)
  client.write(frame('30', text('a'), '00', '31') + 'c00100' + frame('30', text('a'), '00', '32'))
  await client.take()
  t.strictSame(await watcher.payloads(), ['1'])
})

t.test('any byte of any packet may be wrong, and any bytes may come: the broker lives, and so do the others', async t => {
  const { test, stillWell } = await withBystander(t)
  const clientPackets = packetCases.filter(({ packet }) => ![PacketType.connack, PacketType.suback, PacketType.unsuback, PacketType.pingresp].includes(packet.type as never))
  const oneWrong = fc.tuple(fc.constantFrom(...clientPackets), fc.nat(), fc.integer({ min: 1, max: 255 })).map(([{ bytes, version }, at, change]) => {
    const copy = Buffer.from(bytes)
    copy[at % copy.length] = (copy[at % copy.length] ?? 0) ^ change
    return { version, bytes: copy }
  })
  const anything = fc.record({ version: fc.constantFrom<ProtocolVersion>(3, 4, 5), bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }).map(bytes => Buffer.from(bytes)) })
  await fc.assert(fc.asyncProperty(fc.oneof(oneWrong, anything), fc.boolean(), async ({ version, bytes }, isConnected) => {
    const client = isConnected ? (await connect(test, { protocolVersion: version, clientIdentifier: 'fuzz' }))[0] : new PacketClient(test.broker, version)
    client.stream.removeAllListeners('data').resume()
    client.write(bytes.toString('hex'))
    await settled()
    await client.vanish()
  }), { numRuns: 500 })
  await stillWell()
})

forEachVersion(t, 'packets may be cut anywhere, or come together [MQTT-4.2-1]', async (t, protocolVersion) => {
  const { broker } = await startBroker(t)
  const client = new PacketClient(broker, protocolVersion)
  const bytes = frame('10', head(protocolVersion, '02'), text('c')) + frame('82', '0001', empty(protocolVersion), text('a'), '00')
  for (const byte of Buffer.from(bytes.replaceAll(' ', ''), 'hex')) {
    client.stream.write(Buffer.from([byte]))
    await settled()
  }
  client.publish('a', '1').publish('a', '2').send({ type: PacketType.pingreq }, { type: PacketType.pingreq })
  exactly(t, await client.take(), [
    { type: PacketType.connack }, { type: PacketType.suback }, { type: PacketType.publish }, { type: PacketType.publish }, { type: PacketType.pingresp }, { type: PacketType.pingresp },
  ])
})

// --- MQTT 3.1

t.test('3.1: CONNECT with MQIsdp and level 3, messages of every QoS, retained messages, a Will Message, PINGREQ and UNSUBSCRIBE work', async t => {
  const { test } = await withBystander(t)
  const client = new PacketClient(test.broker, 3).write(frame('10', head(3, '06'), text('old'), text('will'), text('gone')))
  exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: 0, sessionPresent: false }])
  exactly(t, await client.subscribe('t', { qos: 2 }), { reasonCodes: [2] })
  client.publish('t', '0').publish('t', '1', { qos: 1, packetIdentifier: 1, retain: true }).publish('t', '2', { qos: 2, packetIdentifier: 2 })
  const packets: Packet[] = await client.take()
  t.strictSame(packets.filter(({ type }) => type === PacketType.publish).map(packet => packet.type === PacketType.publish && packet.qos), [0, 1, 2])
  exactly(t, packets.filter(({ type }) => type !== PacketType.publish), [puback(1), pubrec(2)])
  const messages = packets.filter(packet => packet.type === PacketType.publish)
  exactly(t, await client.send(pubrel(2), puback(messages[1]?.packetIdentifier ?? 0), pubrec(messages[2]?.packetIdentifier ?? 0)).take(), [pubcomp(2), pubrel(messages[2]?.packetIdentifier ?? 0)])
  client.send(pubcomp(messages[2]?.packetIdentifier ?? 0), { type: PacketType.unsubscribe, packetIdentifier: 9, topicFilters: ['t'], properties: undefined }, { type: PacketType.pingreq }).publish('t', 'unheard')
  exactly(t, await client.take(), [{ type: PacketType.unsuback, packetIdentifier: 9 }, { type: PacketType.pingresp }])
  const [five] = await open(test, { clientIdentifier: 'five' })
  await five.subscribe('#')
  await client.vanish()
  t.strictSame(payloadsOf(await receiveAll(five)).sort(), ['1', 'gone'])
})

t.test('3.1: DUP on a repeated SUBSCRIBE, UNSUBSCRIBE and PUBREL is accepted (3.1 section 2.1); 3.1.1 has no such flag', async t => {
  const { test } = await withBystander(t)
  const [client] = await connect(test, { protocolVersion: 3 })
  client.publish('t', 'x', { qos: 2, packetIdentifier: 3 })
  await client.take()
  client.write('8a06 0001 000174 00' + 'aa05 0002 000174' + '6a02 0003')
  exactly(t, await client.take(), [{ type: PacketType.suback, packetIdentifier: 1 }, { type: PacketType.unsuback, packetIdentifier: 2 }, pubcomp(3)])
  await rejects(t, test, 4, '8a06 0001 000174 00', malformedPacket, '3.1.1')
})

t.test('3.1: a CONNECT whose flags announce a User Name and Password that are left out is accepted (3.1 section 3.1)', async t => {
  const { test } = await withBystander(t)
  const client = new PacketClient(test.broker, 3).write(frame('10', head(3, 'c2'), text('c')))
  exactly(t, await client.take(), [{ type: PacketType.connack, reasonCode: 0 }])
})
