import t, { type Test } from 'tap'
import fc from 'fast-check'
import { ReasonCode } from '../lib/index.ts'
import { PacketType, type PublishPacket } from '../lib/packet/packets.ts'
import { emptyTopic, type Topic } from '../lib/topic/topic.ts'
import { exactly, lasting, open } from './support/exchanges.ts'
import { connect, type PacketClient, startBroker, type TestBroker } from './support/harness.ts'

/** A subscriber of `#` and a publisher. */
async function pair (test: TestBroker, protocolVersion: 3 | 4 | 5 = 5): Promise<[PacketClient, PacketClient]> {
  const [subscriber] = await connect(test, { protocolVersion, clientIdentifier: 'subscriber' })
  const [publisher] = await connect(test, { protocolVersion, clientIdentifier: 'publisher' })
  await subscriber.subscribe('#')
  return [subscriber, publisher]
}

const disconnect = (reasonCode: ReasonCode): object[] => [{ type: PacketType.disconnect, reasonCode }]

t.test('Topic Aliases of a Client', t => {
  const alias = (topicAlias: number): Partial<PublishPacket> => ({ properties: { topicAlias } })

  t.test('1 to the maximum can be set, used at every QoS, and set anew [MQTT-3.3.2-12]', async t => {
    const [subscriber, publisher] = await pair(await startBroker(t, { limits: { topicAliasMaximum: 3 } }))
    publisher.publish('one', '1', alias(1)).publish('three', '2', alias(3)).publish('', '3', alias(1))
      .publish('', '4', { ...alias(3), qos: 1, packetIdentifier: 1 }).publish('', '5', { ...alias(3), qos: 2, packetIdentifier: 2 })
      .publish('other', '6', alias(1)).publish('', '7', alias(1)).publish('', '8', alias(3))
    t.strictSame((await subscriber.messages()).map(({ topic, payload }) => `${topic.name} ${payload.toString()}`),
      ['one 1', 'three 2', 'one 3', 'three 4', 'three 5', 'other 6', 'other 7', 'three 8'])
  })

  t.test('above the maximum ends the connection with 0x94 [MQTT-3.3.2-9] [MQTT-3.2.2-17]', async t => {
    const [client] = await connect(await startBroker(t, { limits: { topicAliasMaximum: 3 } }))
    client.publish('a', 'x', alias(4))
    exactly(t, await client.take(), disconnect(ReasonCode.topicAliasInvalid))
  })

  t.test('that was never set is a Protocol Error (section 3.3.2.3.4)', async t => {
    const [client] = await connect(await startBroker(t))
    client.publish('', 'x', alias(1))
    exactly(t, await client.take(), disconnect(ReasonCode.protocolError))
  })

  t.test('does not outlive the connection, though the Session does [MQTT-3.3.2-7]', async t => {
    const test = await startBroker(t)
    const [first] = await connect(test, lasting())
    first.publish('a', 'x', alias(1))
    await first.vanish()
    const [second] = await open(test, lasting())
    second.publish('', 'x', alias(1))
    exactly(t, await second.take(), disconnect(ReasonCode.protocolError))
  })

  t.test('means nothing to another Client', async t => {
    const test = await startBroker(t)
    const [first] = await connect(test, { clientIdentifier: 'first' })
    const [second] = await connect(test, { clientIdentifier: 'second' })
    first.publish('a', 'x', alias(1))
    second.publish('', 'x', alias(1))
    exactly(t, await second.take(), disconnect(ReasonCode.protocolError))
    t.equal(first.isEnded, false)
  })

  t.test('is resolved before authorization, and what is refused sets it all the same', async t => {
    const asked: string[] = []
    const [subscriber, publisher] = await pair(await startBroker(t, { hooks: { authorizePublish: ({ topicName }) => { asked.push(topicName); return topicName !== 'no' } } }))
    publisher.publish('no', '1', alias(1)).publish('', '2', alias(1)).publish('yes', '3', alias(1)).publish('', '4', alias(1))
    t.strictSame(await subscriber.payloads(), ['3', '4'])
    t.strictSame(asked, ['no', 'no', 'yes', 'yes'])
  })

  t.test('is no property of the message: alone it leaves none, beside others it leaves those [MQTT-3.3.2-7]', async t => {
    const seen: unknown[] = []
    const [subscriber, publisher] = await pair(await startBroker(t, { hooks: { onPublish: ({ message }) => { seen.push(message.properties?.contentType, message.properties === undefined); return {} } } }))
    publisher.publish('a', '1', alias(1)).publish('', '2', { properties: { topicAlias: 1, contentType: 'text' } })
    t.strictSame((await subscriber.messages()).map(({ properties }) => properties), [undefined, { contentType: 'text' }])
    t.strictSame(seen, [undefined, true, 'text', false])
  })

  t.test('of a repeated QoS 2 PUBLISH is set again', async t => {
    const [subscriber, publisher] = await pair(await startBroker(t))
    publisher.publish('a', '1', { ...alias(1), qos: 2, packetIdentifier: 1 }).publish('b', '1', { ...alias(1), qos: 2, packetIdentifier: 1, dup: true }).publish('', '2', alias(1))
    t.strictSame((await subscriber.messages()).map(({ topic }) => topic.name), ['a', 'b'])
  })
  t.end()
})

t.test('Topic Aliases of the broker', t => {
  /** Resolves what came, checking that every alias is one the Client allows and was set. */
  function resolve (messages: readonly PublishPacket[], maximum: number, known = new Map<number, Topic>()): { name: string, alias: number, isNamed: boolean }[] {
    return messages.map(({ topic, properties }) => {
      const alias = properties?.topicAlias ?? 0
      if (alias > maximum) throw new Error(`alias ${alias} of ${maximum}`)
      if (topic !== emptyTopic && alias > 0) known.set(alias, topic)
      const found = topic === emptyTopic ? known.get(alias) : topic
      if (found === undefined) throw new Error('neither a Topic Name nor an alias that was set')
      return { name: found.name, alias, isNamed: topic !== emptyTopic }
    })
  }

  t.test('none for a Client that allows none [MQTT-3.1.2-27]', async t => {
    const test = await startBroker(t)
    for (const properties of [undefined, { topicAliasMaximum: 0 }]) {
      const [client] = await connect(test, { properties })
      await client.subscribe('#')
      for (let i = 0; i < 3; i++) await test.broker.publish('a', 'x')
      t.strictSame((await client.messages()).map(({ topic, properties }) => [topic.name, properties?.topicAlias]), [['a', undefined], ['a', undefined], ['a', undefined]])
    }
  })

  t.test('the first message names the topic, those behind it do not [MQTT-3.1.2-26] [MQTT-3.3.2-8] [MQTT-3.3.2-11]', async t => {
    const test = await startBroker(t)
    const [client] = await connect(test, { properties: { topicAliasMaximum: 2 } })
    await client.subscribe('#')
    for (const name of ['a', 'a', 'b', 'a', 'b']) await test.broker.publish(name, 'x')
    t.strictSame(resolve(await client.messages(), 2), [
      { name: 'a', alias: 1, isNamed: true }, { name: 'a', alias: 1, isNamed: false }, { name: 'b', alias: 2, isNamed: true },
      { name: 'a', alias: 1, isNamed: false }, { name: 'b', alias: 2, isNamed: false },
    ])
  })

  async function aliasesOf (t: Test, names: readonly string[]): Promise<string[]> {
    const test = await startBroker(t)
    const [client] = await connect(test, { properties: { topicAliasMaximum: 2 } })
    await client.subscribe('#')
    for (const name of names) await test.broker.publish(name, 'x')
    return resolve(await client.messages(), 2).map(({ name, alias, isNamed }) => `${name}${alias}${isNamed ? '!' : ''}`)
  }

  t.test('topics that come when all are in use are named, and take none away', async t => {
    t.strictSame(await aliasesOf(t, ['a', 'b', 'c', 'a', 'b', 'c', 'c', 'a']), ['a1!', 'b2!', 'c0!', 'a1', 'b2', 'c0!', 'c0!', 'a1'])
  })

  t.test('one that was not used for long makes room, the least recently used first', async t => {
    const come = await aliasesOf(t, ['a', 'b', ...Array<string>(15).fill('a'), 'c', 'c', 'd', ...Array<string>(15).fill('c'), 'd', 'a'])
    t.strictSame(come.filter((text, i) => text !== come[i - 1]), ['a1!', 'b2!', 'a1', 'c0!', 'c2!', 'd0!', 'c2', 'd1!', 'a0!'])
  })

  t.test('any sequence of topics comes out as it went in, within the maximum [MQTT-3.3.2-11] [MQTT-3.1.2-26]', async t => {
    const test = await startBroker(t)
    await fc.assert(fc.asyncProperty(fc.integer({ min: 1, max: 4 }), fc.array(fc.constantFrom('a', 'b', 'c/d', 'e', 'f', 'g'), { maxLength: 40 }), async (maximum, names) => {
      const [client] = await connect(test, { properties: { topicAliasMaximum: maximum } })
      await client.subscribe('#')
      for (const name of names) await test.broker.publish(name, 'x')
      t.strictSame(resolve(await client.messages(), maximum).map(({ name }) => name), names)
    }), { numRuns: 15 })
  })

  t.test('do not survive the connection, and a resent message names its topic [MQTT-3.3.2-7]', async t => {
    const test = await startBroker(t)
    const [first] = await connect(test, { cleanStart: false, properties: { topicAliasMaximum: 2, sessionExpiryInterval: 60 } })
    await first.subscribe('#', { qos: 1 })
    for (let i = 0; i < 3; i++) await test.broker.publish('a', 'x', { qos: 1 })
    t.strictSame(resolve(await first.messages(), 2).map(({ isNamed }) => isNamed), [true, false, false])
    await first.vanish()
    const [second] = await open(test, { cleanStart: false, properties: { topicAliasMaximum: 1 } })
    t.strictSame(resolve(await second.messages(), 1).map(({ name, isNamed }) => `${name} ${isNamed}`), ['a true', 'a false', 'a false'])
  })

  t.test('the broker uses no more than maximumOutboundTopicAliases', async t => {
    const test = await startBroker(t, { limits: { maximumOutboundTopicAliases: 1 } })
    const [client] = await connect(test, { properties: { topicAliasMaximum: 100 } })
    await client.subscribe('#')
    for (const name of ['a', 'b', 'a', 'b']) await test.broker.publish(name, 'x')
    t.strictSame(resolve(await client.messages(), 1).map(({ isNamed }) => isNamed), [true, true, false, true])
  })

  t.test('a message is sent whole where only the alias would make it too large [MQTT-3.1.2-24]', async t => {
    const test = await startBroker(t)
    const [client] = await connect(test, { properties: { topicAliasMaximum: 2, maximumPacketSize: 20 } })
    await client.subscribe('#')
    await test.broker.publish('a', 'x'.repeat(14))
    await test.broker.publish('a', 'y')
    t.strictSame(resolve(await client.messages(), 2), [{ name: 'a', alias: 0, isNamed: true }, { name: 'a', alias: 1, isNamed: true }])
  })
  t.end()
})
