import t from 'tap'
import fc from 'fast-check'
import type { Duplex } from 'node:stream'
import { ReasonCode, type Message, type MessageProperties } from '../lib/index.ts'
import { encode } from '../lib/packet/codec/encoder.ts'
import { PacketType, type UserProperty } from '../lib/packet/packets.ts'
import { Topic } from '../lib/topic/topic.ts'
import { exactly, lasting, open, payloadsOf, puback, pubrec, pubrel, receiveAll } from './support/exchanges.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'

/** A subscriber of `#` and a publisher. */
async function pair (test: TestBroker, protocolVersion: 3 | 4 | 5 = 5): Promise<[PacketClient, PacketClient]> {
  const [subscriber] = await connect(test, { protocolVersion, clientIdentifier: 'subscriber' })
  const [publisher] = await connect(test, { protocolVersion, clientIdentifier: 'publisher' })
  await subscriber.subscribe('#')
  return [subscriber, publisher]
}

const all: MessageProperties = {
  payloadFormatIndicator: 1, contentType: 'text/ä', responseTopic: 'answer/to', correlationData: Buffer.from([0, 255]),
  userProperties: [['b', '2'], ['a', '1'], ['b', '2'], ['', ''], ['b', '1']],
}

const disconnect = (reasonCode: ReasonCode): object[] => [{ type: PacketType.disconnect, reasonCode }]

/** Gives a handler streams that it takes for TLS sockets, whose chunks are nobody else's. */
function likeSocket (handle: (stream: Duplex) => void): (stream: Duplex) => void {
  return stream => { handle(Object.assign(stream, { bytesWritten: 0, encrypted: true, setNoDelay: () => undefined })) }
}

forEachVersion(t, 'a Client in the same process may write over its payload once that is acknowledged', async (t, version) => {
  const [subscriber, publisher] = await pair(await startBroker(t), version)
  subscriber.stream.pause()
  const bytes = encode({ type: PacketType.publish, dup: false, qos: 1, retain: false, topic: new Topic('a'), packetIdentifier: 1, properties: undefined, payload: Buffer.alloc(50_000, 'a') }, version)
  const payload = new Uint8Array(bytes.subarray(-50_000))
  publisher.stream.write(bytes.subarray(0, -50_000))
  publisher.stream.write(payload)
  t.match(await publisher.take(), [{ type: PacketType.puback }])
  payload.fill(0)
  subscriber.stream.resume()
  t.ok((await subscriber.messages())[0]?.payload.equals(Buffer.alloc(50_000, 'a')))
})

forEachVersion(t, 'a payload that comes in several chunks reaches hooks, subscribers, queues and who comes later unchanged (section 3.3.3)', async (t, version) => {
  const payload = Buffer.alloc(100_000, 'abcdefg')
  const seen: Buffer[] = []
  const onPublish = ({ message }: { message: Message }): undefined => {
    t.equal(message.pieces?.list.length, 3)
    if (message.qos === 2) seen.push(message.payload)
  }
  const test = await startBroker(t, { hooks: { onPublish } })
  const [subscriber] = await pair(test, version)
  const publisher = new PacketClient(test.broker, version, likeSocket(test.broker.handle)).send(connectPacket({ protocolVersion: version, clientIdentifier: 'in pieces' }))
  const keeping = version === 5 ? { properties: { sessionExpiryInterval: 99 } } : {}
  const [absent] = await connect(test, { protocolVersion: version, clientIdentifier: 'absent', cleanStart: false, ...keeping })
  await absent.subscribe('#')
  absent.stream.destroy()
  for (const qos of [1, 2] as const) {
    const bytes = encode({ type: PacketType.publish, dup: false, qos, retain: qos === 1, topic: new Topic('a'), packetIdentifier: qos, properties: undefined, payload }, version)
    for (let at = 0; at < bytes.length; at += 40_000) {
      publisher.stream.write(new Uint8Array(bytes.subarray(at, at + 40_000)))
      await settled()
    }
  }
  t.same((await subscriber.messages()).map(message => message.payload.equals(payload)), [true, true])
  t.ok(seen.length === 1 && seen[0]?.equals(payload), 'a hook')
  const [late] = await connect(test, { protocolVersion: version, clientIdentifier: 'late' })
  await late.subscribe('a')
  t.ok((await late.messages())[0]?.payload.equals(payload), 'retained')
  const [back] = await connect(test, { protocolVersion: version, clientIdentifier: 'absent', cleanStart: false, ...keeping })
  t.same((await back.messages()).map(message => message.payload.equals(payload)), [true, true], 'queued')
})

for (const qos of [0, 1, 2] as const) {
  forEachVersion(t, `a QoS ${qos} PUBLISH is acknowledged as its QoS says and reaches the subscriber [MQTT-3.3.4-1] [MQTT-4.5.0-1]`, async (t, version) => {
    const [subscriber, publisher] = await pair(await startBroker(t), version)
    publisher.publish('a', 'x', { qos, packetIdentifier: qos === 0 ? 0 : 7 })
    exactly(t, await publisher.take(), [[], [puback(7)], [pubrec(7)]][qos] ?? [])
    exactly(t, await subscriber.messages(), [{ topic: { name: 'a' }, qos, retain: false, dup: false }])
  })
}

forEachVersion(t, 'payloads of any kind and size pass unchanged (section 3.3.3)', async (t, version) => {
  const [subscriber, publisher] = await pair(await startBroker(t), version)
  const payloads = [Buffer.alloc(0), Buffer.from([0]), Buffer.from('c328ff', 'hex'), Buffer.alloc(127, 1), Buffer.alloc(16_384, 2), Buffer.alloc(300_000, 3)]
  for (const payload of payloads) publisher.publish('a', '', { payload })
  await settled()
  t.strictSame((await subscriber.messages()).map(({ payload }) => payload), payloads)
})

forEachVersion(t, 'Topic Names pass unchanged: no normalization, no trimming, no letter case, U+FEFF kept [MQTT-4.7.3-4] [MQTT-1.5.4-3] [MQTT-3.3.2-1] [MQTT-3.3.2-3]', async (t, version) => {
  const test = await startBroker(t)
  const [subscriber, publisher] = await pair(test, version)
  const [exact] = await connect(test, { protocolVersion: version, clientIdentifier: 'exact' })
  await exact.subscribe('\u00e9')
  const names = ['\u00e9', 'e\u0301', '\ufeffa', 'A', 'a', ' a ', '/', 'a/', '/a', 'a//b', '🚲', 'x'.repeat(4096)]
  for (const name of names) publisher.publish(name, name)
  t.strictSame((await subscriber.messages()).map(({ topic }) => topic.name), names)
  t.strictSame(await exact.payloads(), ['\u00e9'])
})

forEachVersion(t, 'Topic Names and Topic Filters of 256 levels pass (section 4.7.3)', async (t, version) => {
  const [subscriber, publisher] = await pair(await startBroker(t), version)
  const filters = ['/'.repeat(255), `${'+/'.repeat(255)}+`, `${'l/'.repeat(255)}l`, `${'l/'.repeat(200)}#`]
  for (const filter of filters) t.match(await subscriber.subscribe(filter), { reasonCodes: [2] })
  for (const name of [filters[0], filters[2]] as string[]) publisher.publish(name, 'x', { retain: true })
  t.strictSame((await subscriber.messages()).map(({ topic }) => topic.name), [filters[0], filters[2]])
  t.match(await subscriber.subscribe(`${'/'.repeat(250)}#`), { reasonCodes: [2] })
  t.strictSame((await subscriber.messages()).map(({ topic }) => topic.name), [filters[0]])
})

forEachVersion(t, 'a Topic Name with wildcards, or over the limits, ends the connection [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-3]', async (t, version) => {
  const test = await startBroker(t)
  for (const name of ['#', '+', 'a/#', 'a+b', 'x'.repeat(4097), Array(257).fill('l').join('/')]) {
    const [client] = await connect(test, { protocolVersion: version })
    client.publish(name, 'x')
    exactly(t, await client.take(), version === 5 ? disconnect(ReasonCode.topicNameInvalid) : [], name)
    t.equal(client.isEnded, true, name)
  }
})

t.test('$SYS is the broker\'s own: a PUBLISH there is refused with 0x87', async t => {
  const [subscriber, publisher] = await pair(await startBroker(t))
  await subscriber.subscribe('$SYS/#')
  publisher.publish('$SYS/x', '1', { qos: 1, packetIdentifier: 1 }).publish('$SYS/x', '1', { qos: 2, packetIdentifier: 2 }).publish('$SYS/x', '0').publish('$other', 'x', { qos: 1, packetIdentifier: 3 })
  exactly(t, await publisher.take(), [
    { type: PacketType.puback, packetIdentifier: 1, reasonCode: ReasonCode.notAuthorized },
    { type: PacketType.pubrec, packetIdentifier: 2, reasonCode: ReasonCode.notAuthorized },
    { type: PacketType.puback, packetIdentifier: 3, reasonCode: ReasonCode.noMatchingSubscribers },
  ])
  t.strictSame(await subscriber.payloads(), [])
})

t.test('a message that nobody gets is acknowledged with 0x10 (sections 3.4.2.1 and 3.5.2.1)', async t => {
  const [client] = await connect(await startBroker(t))
  client.publish('a', 'x', { qos: 1, packetIdentifier: 1 }).publish('a', 'x', { qos: 2, packetIdentifier: 2 }).send(pubrel(2))
  exactly(t, await client.take(), [{ reasonCode: ReasonCode.noMatchingSubscribers }, { reasonCode: ReasonCode.noMatchingSubscribers }, { type: PacketType.pubcomp, reasonCode: ReasonCode.success }])
})

t.test('properties', t => {
  t.test('all that belongs to the message passes unaltered, User Properties in their order [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]', async t => {
    const [subscriber, publisher] = await pair(await startBroker(t))
    for (const qos of [0, 1, 2] as const) publisher.publish('a', 'x', { qos, packetIdentifier: qos, properties: all })
    publisher.publish('a', 'x', { properties: { payloadFormatIndicator: 0, correlationData: Buffer.alloc(0) } }).publish('a', 'x')
    const messages = await subscriber.messages()
    t.strictSame(messages.map(({ properties }) => properties), [all, all, all, { payloadFormatIndicator: 0, correlationData: Buffer.alloc(0) }, undefined])
  })

  t.test('any User Properties pass in their order, through a queue and retained, too [MQTT-3.3.2-17] [MQTT-3.3.2-18]', async t => {
    const test = await startBroker(t)
    const [, publisher] = await pair(test)
    const [sleeper] = await connect(test, lasting({ clientIdentifier: 'sleeper' }))
    await sleeper.subscribe('p', { qos: 1 })
    await sleeper.vanish()
    const text = fc.string({ unit: 'grapheme', maxLength: 5 }).filter(value => !value.includes('\0'))
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 6 }), async (userProperties: UserProperty[]) => {
      publisher.publish('p', 'x', { qos: 1, packetIdentifier: 1, retain: true, properties: { userProperties } })
      await settled()
      const [again] = await open(test, lasting({ clientIdentifier: 'sleeper' }))
      const [queued] = await receiveAll(again)
      await again.subscribe('p', { qos: 1 })
      const [retained] = await receiveAll(again)
      await again.vanish()
      t.strictSame([queued?.properties?.userProperties, retained?.properties?.userProperties], [userProperties, userProperties])
    }), { numRuns: 20 })
  })

  t.test('a payload that is not the UTF-8 its indicator announces is refused with 0x99 (section 3.3.2.3.2)', async t => {
    const [subscriber, publisher] = await pair(await startBroker(t))
    const payload = Buffer.from('c328', 'hex')
    publisher.publish('a', '', { payload, qos: 1, packetIdentifier: 1, properties: { payloadFormatIndicator: 1 } })
      .publish('a', '', { payload, qos: 2, packetIdentifier: 2, properties: { payloadFormatIndicator: 1 } })
      .publish('a', '', { payload, properties: { payloadFormatIndicator: 0 } })
    exactly(t, await publisher.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.payloadFormatInvalid }, { type: PacketType.pubrec, reasonCode: ReasonCode.payloadFormatInvalid }])
    t.equal((await subscriber.messages()).length, 1)
  })

  t.test('a Response Topic with wildcards is a Protocol Error [MQTT-3.3.2-14]', async t => {
    const test = await startBroker(t)
    for (const responseTopic of ['a/+', '#', '']) {
      const [client] = await connect(test)
      client.publish('a', 'x', { properties: { responseTopic } })
      exactly(t, await client.take(), disconnect(ReasonCode.protocolError))
    }
  })

  t.test('a Subscription Identifier from a Client is a Protocol Error [MQTT-3.3.4-6]', async t => {
    const [client] = await connect(await startBroker(t))
    client.publish('a', 'x', { properties: { subscriptionIdentifiers: [1] } })
    exactly(t, await client.take(), disconnect(ReasonCode.protocolError))
    t.equal(client.isEnded, true)
  })

  t.test('3.x subscribers get the message without properties, and 3.x messages have none', async t => {
    const test = await startBroker(t)
    const clients = await Promise.all(([3, 4, 5] as const).map(async protocolVersion => (await connect(test, { protocolVersion, clientIdentifier: `v${protocolVersion}` }))[0]))
    for (const client of clients) await client.subscribe('#')
    for (const client of clients) client.publish('a', `from ${client.version}`, { qos: 2, packetIdentifier: 1, properties: client.version === 5 ? all : undefined })
    for (const client of clients) {
      const messages = await receiveAll(client)
      t.strictSame(payloadsOf(messages).sort(), ['from 3', 'from 4', 'from 5'])
      t.strictSame(messages.map(({ properties }) => properties).filter(properties => properties !== undefined), client.version === 5 ? [all] : [])
    }
  })
  t.end()
})

t.test('Message Expiry Interval', t => {
  t.test('is passed on less the time that the message waited [MQTT-3.3.2-6]', async t => {
    const test = await startBroker(t)
    const [subscriber] = await connect(test, lasting())
    const [live, publisher] = await pair(test)
    await subscriber.subscribe('a', { qos: 1 })
    await subscriber.vanish()
    publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1, properties: { messageExpiryInterval: 10 } }).publish('a', 'for ever', { qos: 1, packetIdentifier: 2 })
    t.strictSame((await live.messages()).map(({ properties }) => properties?.messageExpiryInterval), [10, undefined])
    await test.clock.advance(4_000)
    const [again] = await open(test, lasting())
    t.strictSame((await receiveAll(again)).map(({ properties }) => properties?.messageExpiryInterval), [6, undefined])
  })

  t.test('once it has passed the message is dropped and the host is told [MQTT-3.3.2-5]', async t => {
    const reasons: string[] = []
    const test = await startBroker(t, { hooks: { onDrop: ({ reason, message }) => { reasons.push(`${reason} ${message.payload.toString()}`) } } })
    const [subscriber] = await connect(test, lasting())
    await subscriber.subscribe('a', { qos: 1 })
    await subscriber.vanish()
    await test.broker.publish('a', 'early', { qos: 1, properties: { messageExpiryInterval: 5 } })
    await test.broker.publish('a', 'late', { qos: 1, properties: { messageExpiryInterval: 6 } })
    await test.clock.advance(5_000)
    const [again] = await open(test, lasting())
    const messages = await receiveAll(again)
    t.strictSame(payloadsOf(messages), ['late'])
    t.equal(messages[0]?.properties?.messageExpiryInterval, 1)
    t.strictSame(reasons, ['expired early'])
  })

  t.test('0 still reaches who is there', async t => {
    const [subscriber, publisher] = await pair(await startBroker(t))
    publisher.publish('a', 'now', { properties: { messageExpiryInterval: 0 } })
    t.strictSame(await subscriber.payloads(), ['now'])
  })

  t.test('a message in flight is not expired: it is resent [MQTT-4.3.3-7]', async t => {
    const test = await startBroker(t)
    const [subscriber] = await connect(test, lasting())
    await subscriber.subscribe('a', { qos: 2 })
    await test.broker.publish('a', 'x', { qos: 2, properties: { messageExpiryInterval: 5 } })
    t.equal((await subscriber.messages()).length, 1)
    await subscriber.vanish()
    await test.clock.advance(60_000)
    const [again] = await open(test, lasting())
    exactly(t, await receiveAll(again), [{ dup: true, qos: 2 }])
  })

  t.test('waits for a full in-flight window, too [MQTT-3.3.2-5]', async t => {
    const test = await startBroker(t)
    const [subscriber] = await connect(test, { properties: { receiveMaximum: 1 } })
    await subscriber.subscribe('a', { qos: 1 })
    for (const [payload, messageExpiryInterval] of [['1', 5], ['2', 5], ['3', 50]] as const) await test.broker.publish('a', payload, { qos: 1, properties: { messageExpiryInterval } })
    const [first] = await subscriber.messages()
    await test.clock.advance(20_000)
    subscriber.send(puback(first?.packetIdentifier ?? 0))
    exactly(t, await subscriber.messages(), [{ payload: Buffer.from('3'), properties: { messageExpiryInterval: 30 } }])
  })
  t.end()
})

t.test('DUP of what came in says nothing about what goes out [MQTT-3.3.1-3]', async t => {
  for (const version of [4, 5] as const) {
    const [subscriber, publisher] = await pair(await startBroker(t), version)
    publisher.publish('a', '1', { qos: 1, packetIdentifier: 1, dup: true }).publish('a', '2', { qos: 2, packetIdentifier: 2, dup: true })
    t.strictSame((await subscriber.messages()).map(({ dup, qos }) => [dup, qos]), [[false, 1], [false, 2]])
  }
})
