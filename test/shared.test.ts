import t, { type Test } from 'tap'
import { ReasonCode, sharedSubscriptionStrategies, type SharedSubscriptionStrategy } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type QoS } from '../lib/packet/packets.ts'
import { exactly, lasting, open, payloadsOf, puback, pubrec, pubrel, receiveAll } from './support/exchanges.ts'
import { connect, forEachVersion, settled, startBroker, type PacketClient, type TestBroker } from './support/harness.ts'

const filter = '$share/group/t/+'

/** Members m0, m1, … of the group. */
async function members (test: TestBroker, count: number, fields: Partial<ConnectPacket> = {}, qos: QoS = 2): Promise<PacketClient[]> {
  const clients: PacketClient[] = []
  for (let i = 0; i < count; i++) {
    const [client] = await open(test, { clientIdentifier: `m${i}`, ...fields })
    await client.subscribe(filter, { qos })
    clients.push(client)
  }
  return clients
}

async function start (t: Test, sharedSubscriptionStrategy: SharedSubscriptionStrategy, drops: string[] = []): Promise<TestBroker> {
  return startBroker(t, { sharedSubscriptionStrategy, hooks: { onDrop: ({ reason, clientIdentifier }) => { drops.push(`${reason} ${clientIdentifier ?? '-'}`) } } })
}

async function publish ({ broker }: TestBroker, payloads: readonly string[], qos: QoS = 1, topicName = 't/a'): Promise<void> {
  for (const payload of payloads) await broker.publish(topicName, payload, { qos })
}

const digits = Array.from({ length: 10 }, (_, digit) => String(digit))

for (const strategy of sharedSubscriptionStrategies) {
  forEachVersion(t, `${strategy}: each message goes to one member, and to every other subscriber (section 4.8.2)`, async (t, protocolVersion) => {
    const test = await start(t, strategy)
    const group = await members(test, 3, { protocolVersion })
    const [other] = await connect(test, { protocolVersion, clientIdentifier: 'other' })
    await other.subscribe('$share/another/t/#')
    const [plain] = await connect(test, { protocolVersion, clientIdentifier: 'plain' })
    await plain.subscribe('t/a')
    for (const qos of [0, 1, 2] as const) await publish(test, digits, qos)
    const got = await Promise.all(group.map(async client => payloadsOf(await receiveAll(client))))
    t.strictSame(got.flat().sort(), [...digits, ...digits, ...digits].sort())
    t.strictSame(payloadsOf(await receiveAll(other)), [...digits, ...digits, ...digits])
    t.strictSame(payloadsOf(await receiveAll(plain)), [...digits, ...digits, ...digits])
  })

  t.test(`${strategy}: a member that has gone, or has unsubscribed, gets nothing more`, async t => {
    const test = await start(t, strategy)
    const [first, second, third] = await members(test, 3) as [PacketClient, PacketClient, PacketClient]
    await first.vanish()
    await second.send({ type: PacketType.unsubscribe, packetIdentifier: 1, topicFilters: [filter], properties: undefined }).take()
    await publish(test, digits)
    t.strictSame(payloadsOf(await receiveAll(third)), digits)
    t.strictSame(await second.payloads(), [])
  })

  t.test(`${strategy}: unacknowledged QoS 1 of a member whose network fails goes to another at once, in order (section 4.8.2)`, async t => {
    const drops: string[] = []
    const test = await start(t, strategy, drops)
    const [first] = await members(test, 1, lasting({ clientIdentifier: 'first', properties: { sessionExpiryInterval: 60, receiveMaximum: 3 } })) as [PacketClient]
    await publish(test, digits)
    const sent = await first.messages()
    t.strictSame(payloadsOf(sent), ['0', '1', '2'], 'the rest waits for the window')
    first.send(puback(sent[0]?.packetIdentifier ?? 0))
    await settled()
    const [second] = await members(test, 1, { clientIdentifier: 'second' }) as [PacketClient]
    await first.vanish()
    t.strictSame(payloadsOf(await receiveAll(second)), digits.slice(1))
    const [again] = await open(test, lasting({ clientIdentifier: 'first' }))
    t.strictSame(payloadsOf(await receiveAll(again)), [], 'the first does not get them again')
    t.strictSame(drops, [])
  })

  t.test(`${strategy}: unacknowledged QoS 1 of a Session that ends goes to another member (section 4.8.2)`, async t => {
    const drops: string[] = []
    const test = await start(t, strategy, drops)
    const [first] = await members(test, 1, lasting({ clientIdentifier: 'first', properties: { sessionExpiryInterval: 60, receiveMaximum: 3 } })) as [PacketClient]
    await publish(test, digits)
    await first.vanish()
    const [second] = await members(test, 1, { clientIdentifier: 'second' }) as [PacketClient]
    t.strictSame(await second.payloads(), [], 'until then the broker waits for the first')
    await test.clock.advance(61_000)
    t.strictSame(payloadsOf(await receiveAll(second)), digits)
    t.strictSame(drops, [])
  })
}

t.test('the Session of a member ends while the others are away: the message waits for one of those (section 4.8.2)', async t => {
  const test = await start(t, 'roundRobin')
  const [first] = await members(test, 1, lasting({ clientIdentifier: 'first', properties: { sessionExpiryInterval: 60, receiveMaximum: 1 } })) as [PacketClient]
  await publish(test, ['1', '2'])
  const [second] = await members(test, 1, lasting({ clientIdentifier: 'second' })) as [PacketClient]
  await second.vanish()
  await first.vanish()
  await test.clock.advance(61_000)
  const [again] = await open(test, lasting({ clientIdentifier: 'second' }))
  t.strictSame(payloadsOf(await receiveAll(again)), ['1', '2'])
})

for (const [name, leave] of [
  ['a DISCONNECT that ends the Session', async (client: PacketClient): Promise<void> => { await client.disconnect(0, { sessionExpiryInterval: 0 }).take() }],
  ['a Protocol Error', async (client: PacketClient): Promise<void> => { await client.write('c001 00').take() }],
] as const) {
  t.test(`${name}: unacknowledged QoS 1 goes to another member`, async t => {
    const test = await start(t, 'sticky')
    const [first, second] = await members(test, 2, { properties: { sessionExpiryInterval: 60 } }) as [PacketClient, PacketClient]
    await publish(test, ['1', '2'])
    t.strictSame(await first.payloads(), ['1', '2'])
    await leave(first)
    t.strictSame(payloadsOf(await receiveAll(second)), ['1', '2'])
  })
}

t.test('a take-over with Clean Start: unacknowledged QoS 1 goes to another member', async t => {
  const test = await start(t, 'sticky')
  const [first, second] = await members(test, 2, { properties: { sessionExpiryInterval: 60 } }) as [PacketClient, PacketClient]
  await publish(test, ['1'])
  t.strictSame(await first.payloads(), ['1'])
  const [again] = await open(test, { clientIdentifier: 'm0' })
  t.strictSame(payloadsOf(await receiveAll(second)), ['1'])
  t.strictSame(payloadsOf(await receiveAll(again)), [])
})

t.test('a QoS 2 message that was sent is completed when its member comes back, and no other gets it [MQTT-4.8.2-4]', async t => {
  const test = await start(t, 'sticky')
  const [first, second] = await members(test, 2, lasting({ properties: { sessionExpiryInterval: 60, receiveMaximum: 2 } })) as [PacketClient, PacketClient]
  await publish(test, ['published', 'received', 'waiting'], 2)
  const [, received] = await first.messages()
  first.send(pubrec(received?.packetIdentifier ?? 0))
  exactly(t, await first.take(), [pubrel(received?.packetIdentifier ?? 0)])
  await first.vanish()
  t.strictSame(payloadsOf(await receiveAll(second)), ['waiting'], 'what was never sent may go to another')
  const [again] = await open(test, lasting({ clientIdentifier: 'm0' }))
  exactly(t, await again.take(), [{ type: PacketType.publish, dup: true, payload: Buffer.from('published') }, pubrel(received?.packetIdentifier ?? 0)])
})

t.test('a QoS 2 message that was sent goes to nobody else when its member\'s Session ends [MQTT-4.8.2-5]', async t => {
  const test = await start(t, 'sticky')
  const [first, second] = await members(test, 2, lasting({ properties: { sessionExpiryInterval: 60 } })) as [PacketClient, PacketClient]
  await publish(test, ['sent'], 2)
  t.strictSame(await first.payloads(), ['sent'])
  await first.vanish()
  await test.clock.advance(61_000)
  t.strictSame(await second.payloads(), [])
})

t.test('a message that a member refuses goes to no other member [MQTT-4.8.2-6]', async t => {
  const test = await start(t, 'sticky')
  const [first, second] = await members(test, 2) as [PacketClient, PacketClient]
  await publish(test, ['1'], 1)
  await publish(test, ['2'], 2)
  const [one, two] = await first.messages()
  first.send(puback(one?.packetIdentifier ?? 0, ReasonCode.implementationSpecificError), pubrec(two?.packetIdentifier ?? 0, ReasonCode.implementationSpecificError))
  t.strictSame(await first.take(), [])
  await first.vanish()
  t.strictSame(await second.payloads(), [])
})

forEachVersion(t, 'the granted QoS of the member that gets the message is respected [MQTT-4.8.2-3]', async (t, protocolVersion) => {
  const test = await start(t, 'roundRobin')
  const clients: PacketClient[] = []
  for (const qos of [0, 1, 2] as const) {
    const [client] = await connect(test, { protocolVersion, clientIdentifier: `q${qos}` })
    await client.subscribe(filter, { qos })
    clients.push(client)
  }
  await publish(test, ['1', '2', '3', '4', '5', '6'], 2)
  t.strictSame(await Promise.all(clients.map(async client => (await receiveAll(client)).map(({ qos }) => qos))), [[0, 0], [1, 1], [2, 2]])
})

t.test('members that are connected come first; when all are away, QoS 1 waits for one of them', async t => {
  const drops: string[] = []
  const test = await start(t, 'roundRobin', drops)
  const [first, second] = await members(test, 2, lasting()) as [PacketClient, PacketClient]
  await first.vanish()
  await publish(test, ['1', '2'])
  t.strictSame(payloadsOf(await receiveAll(second)), ['1', '2'])
  await second.vanish()
  await publish(test, ['3', '4'])
  await publish(test, ['lost'], 0)
  const got = []
  for (const clientIdentifier of ['m0', 'm1']) got.push(...payloadsOf(await receiveAll((await open(test, lasting({ clientIdentifier })))[0])))
  t.strictSame(got.sort(), ['3', '4'])
})

t.test('a Session with a shared and a plain subscription gets a copy for each, with its identifier [MQTT-3.3.4-3]', async t => {
  const test = await start(t, 'roundRobin')
  const [client] = await connect(test)
  await client.subscribe(filter, { qos: 1 }, { subscriptionIdentifiers: [1] })
  await client.subscribe('t/+', { qos: 2 }, { subscriptionIdentifiers: [2] })
  await publish(test, ['x'], 2)
  t.strictSame((await receiveAll(client)).map(({ qos, properties }) => [qos, properties?.subscriptionIdentifiers]).sort(), [[1, [1]], [2, [2]]])
})

t.test('roundRobin takes the members in turn', async t => {
  const test = await start(t, 'roundRobin')
  const group = await members(test, 3)
  await publish(test, ['0', '1', '2', '3', '4', '5'], 0)
  const got = await Promise.all(group.map(client => client.payloads()))
  t.strictSame(got, [['0', '3'], ['1', '4'], ['2', '5']], 'from the one that came first on')
})

t.test('roundRobin passes over nobody when a member leaves', async t => {
  const test = await start(t, 'roundRobin')
  const group = await members(test, 4)
  await publish(test, ['0', '1', '2'], 0)
  await group[0]?.vanish()
  await publish(test, ['3', '4'], 0)
  t.strictSame(await Promise.all(group.slice(1).map(client => client.payloads())), [['1', '4'], ['2'], ['3']])
})

t.test('random leaves nobody out', async t => {
  const test = await start(t, 'random')
  const group = await members(test, 2)
  await publish(test, Array<string>(100).fill('x'), 0)
  const counts = await Promise.all(group.map(async client => (await client.payloads()).length))
  t.ok(counts.every(count => count > 0), counts.join(' '))
})

t.test('sticky stays with one until it leaves', async t => {
  const test = await start(t, 'sticky')
  const group = await members(test, 3)
  await publish(test, digits, 0)
  const counts = await Promise.all(group.map(async client => (await client.payloads()).length))
  t.strictSame([...counts].sort((a, b) => a - b), [0, 0, 10])
  await group[counts.indexOf(10)]?.vanish()
  await publish(test, digits, 0)
  t.strictSame((await Promise.all(group.map(async client => (await client.payloads()).length))).sort((a, b) => a - b), [0, 0, 10])
})

t.test('sticky stays when another one leaves', async t => {
  const test = await start(t, 'sticky')
  const [away] = await open(test, lasting({ clientIdentifier: 'away' }))
  await away.subscribe(filter)
  await away.vanish()
  const [first] = await members(test, 2) as [PacketClient, PacketClient]
  await publish(test, ['0'], 0)
  await open(test, { clientIdentifier: 'away', cleanStart: true })
  await publish(test, ['1'], 0)
  t.strictSame(await first.payloads(), ['0', '1'])
})

t.test('leastInFlight spares a member that does not acknowledge', async t => {
  const test = await start(t, 'leastInFlight')
  const [slow, quick] = await members(test, 2) as [PacketClient, PacketClient]
  const got: string[] = []
  for (const payload of digits) {
    await publish(test, [payload])
    got.push(...payloadsOf(await receiveAll(quick)))
  }
  t.equal((await slow.payloads()).length, 1)
  t.equal(got.length, 9)
})

t.test('hashTopic gives a topic to the same member always, and different topics to several', async t => {
  const test = await start(t, 'hashTopic')
  const group = await members(test, 3)
  for (let round = 0; round < 3; round++) for (const digit of digits) await publish(test, [digit], 0, `t/${digit}`)
  const got = await Promise.all(group.map(client => client.payloads()))
  t.ok(got.filter(({ length }) => length > 0).length > 1)
  for (const payloads of got) for (const digit of new Set(payloads)) t.equal(payloads.filter(payload => payload === digit).length, 3, digit)
})

t.test('hashClient gives the messages of a publisher to the same member always, and different publishers to several', async t => {
  const test = await start(t, 'hashClient')
  const group = await members(test, 3)
  for (const digit of digits) {
    const [publisher] = await connect(test, { clientIdentifier: `publisher ${digit}` })
    for (let i = 0; i < 3; i++) publisher.publish(`t/${i}`, digit)
    await publisher.take()
  }
  const got = await Promise.all(group.map(client => client.payloads()))
  t.ok(got.filter(({ length }) => length > 0).length > 1)
  for (const payloads of got) for (const digit of new Set(payloads)) t.equal(payloads.filter(payload => payload === digit).length, 3, digit)
})

t.test('what no other member may have stays with its Session and is resent as it was [MQTT-4.4.0-1]', async t => {
  const test = await startBroker(t, { sharedSubscriptionStrategy: 'sticky', hooks: { authorizeDeliver: ({ client }) => client.clientIdentifier === 'm0' } })
  const [first, second] = await members(test, 2, lasting()) as [PacketClient, PacketClient]
  await publish(test, ['1'])
  const [message] = await first.messages()
  await first.vanish()
  t.strictSame(await second.payloads(), [])
  const [again] = await open(test, lasting({ clientIdentifier: 'm0' }))
  exactly(t, await again.take(), [{ payload: Buffer.from('1'), dup: true, packetIdentifier: message?.packetIdentifier }])
})

t.test('authorizeDeliver passes over a member that may not have the message', async t => {
  const test = await startBroker(t, { hooks: { authorizeDeliver: ({ client }) => client.clientIdentifier !== 'm0' } })
  const [first, second] = await members(test, 2) as [PacketClient, PacketClient]
  await publish(test, digits)
  t.strictSame(payloadsOf(await receiveAll(second)), digits)
  t.strictSame(await first.payloads(), [])
})
