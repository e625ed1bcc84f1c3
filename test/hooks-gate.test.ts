import t, { type Test } from 'tap'
import { ReasonCode, type Hooks } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { connect, forEachVersion, settled, startBroker } from './support/harness.ts'
import { deferred, startObserved, tryConnect, type ObservedBroker } from './support/observe.ts'

/** What everybody may do; a test takes it back. */
interface Rights { publish: boolean, subscribe: boolean, deliver: boolean }
interface Gate extends ObservedBroker { readonly rights: Rights, readonly watched: string[] }

const will = { topicName: 'will', payload: Buffer.from('gone'), qos: 0, retain: false, properties: undefined } as const
const kept = { clientIdentifier: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 3600 } }

async function startGate (t: Test): Promise<Gate> {
  const rights = { publish: true, subscribe: true, deliver: true }
  const hooks: Hooks = { authorizePublish: () => rights.publish, authorizeSubscribe: () => rights.subscribe, authorizeDeliver: () => rights.deliver }
  const test = await startObserved(t, { hooks, sysIntervalMs: 1000 })
  const watched: string[] = []
  test.broker.subscribe('#', ({ topicName }) => { watched.push(topicName) })
  return { ...test, rights, watched }
}

/** Every way of a message or subscription through the broker; each resolves to whether it got through. */
const paths: readonly (readonly [name: string, right: keyof Rights, attempt: (gate: Gate, decide: () => void) => Promise<boolean>])[] = [
  ['PUBLISH', 'publish', async (gate, decide) => {
    const [client] = await connect(gate)
    decide()
    await client.publish('a', 'x').take()
    return gate.watched.includes('a')
  }],
  ['a PUBLISH with a Topic Alias', 'publish', async (gate, decide) => {
    const [client] = await connect(gate)
    await client.publish('a', 'x', { properties: { topicAlias: 1 } }).take()
    gate.watched.length = 0
    decide()
    await client.publish('', 'x', { properties: { topicAlias: 1 } }).take()
    return gate.watched.includes('a')
  }],
  ['a Will Message at CONNECT', 'publish', async (gate, decide) => {
    decide()
    const [, connack] = await tryConnect(gate, { will })
    return connack?.reasonCode === ReasonCode.success
  }],
  ['a Will Message when it fires', 'publish', async (gate, decide) => {
    const [client] = await connect(gate, { will })
    decide()
    await client.vanish()
    return gate.watched.includes('will')
  }],
  ['a delayed Will Message when it fires', 'publish', async (gate, decide) => {
    const [client] = await connect(gate, { will: { ...will, properties: { willDelayInterval: 5 } }, properties: { sessionExpiryInterval: 60 } })
    await client.vanish()
    decide()
    await gate.clock.advance(6000)
    return gate.watched.includes('will')
  }],
  ['SUBSCRIBE', 'subscribe', async (gate, decide) => {
    const [client] = await connect(gate)
    decide()
    await client.subscribe('a')
    await gate.broker.publish('a', 'x')
    return (await client.messages()).length > 0
  }],
  ['a Shared Subscription', 'subscribe', async (gate, decide) => {
    const [client] = await connect(gate)
    decide()
    await client.subscribe('$share/g/a')
    await gate.broker.publish('a', 'x')
    return (await client.messages()).length > 0
  }],
  ['a subscription to $SYS', 'subscribe', async (gate, decide) => {
    const [client] = await connect(gate)
    decide()
    await client.subscribe('$SYS/#')
    return (await client.messages()).length > 0
  }],
  ['a restored subscription', 'subscribe', async (gate, decide) => {
    const [client] = await connect(gate, kept)
    await client.subscribe('a', { qos: 1 })
    client.disconnect(ReasonCode.success)
    await settled()
    decide()
    const [again] = await connect(gate, kept)
    await gate.broker.publish('a', 'x')
    return (await again.messages()).length > 0
  }],
  ['what a restored subscription had queued', 'subscribe', async (gate, decide) => {
    const [client] = await connect(gate, kept)
    await client.subscribe('a', { qos: 1 })
    await client.vanish()
    await gate.broker.publish('a', 'x', { qos: 1 })
    decide()
    await connect(gate, kept)
    return gate.broker.metrics.messagesSent > 0
  }],
  ['a retained message that is replayed', 'deliver', async (gate, decide) => {
    await gate.broker.publish('a', 'x', { retain: true })
    const [client] = await connect(gate)
    decide()
    await client.subscribe('a')
    return (await client.messages()).length > 0
  }],
  ['delivery', 'deliver', async (gate, decide) => {
    const [client] = await connect(gate)
    await client.subscribe('a')
    decide()
    await gate.broker.publish('a', 'x')
    return (await client.messages()).length > 0
  }],
  ['delivery through a Shared Subscription', 'deliver', async (gate, decide) => {
    const [client] = await connect(gate)
    await client.subscribe('$share/g/a')
    decide()
    await gate.broker.publish('a', 'x')
    return (await client.messages()).length > 0
  }],
  ['delivery of $SYS', 'deliver', async (gate, decide) => {
    const [client] = await connect(gate)
    await client.subscribe('$SYS/broker/uptime', { retainHandling: 2 })
    decide()
    await gate.clock.advance(2000)
    return (await client.messages()).length > 0
  }],
  ['the queue of a Client that is away', 'deliver', async (gate, decide) => {
    const [client] = await connect(gate, kept)
    await client.subscribe('a', { qos: 1 })
    await client.vanish()
    decide()
    await gate.broker.publish('a', 'x', { qos: 1 })
    await connect(gate, kept)
    return gate.broker.metrics.messagesSent > 0
  }],
]

for (const [name, right, attempt] of paths) {
  t.test(`one gate: ${name} asks for the right`, async t => {
    const allowed = await startGate(t)
    t.equal(await attempt(allowed, () => undefined), true, 'allowed')
    const refused = await startGate(t)
    t.equal(await attempt(refused, () => { refused.rights[right] = false }), false, 'refused')
  })
}

t.test('what is refused on delivery is told to onDrop as notAuthorized and counted', async t => {
  const gate = await startGate(t)
  const [client] = await connect(gate)
  await client.subscribe('a')
  gate.rights.deliver = false
  await gate.broker.publish('a', 'x')
  t.strictSame(gate.events, ['drop notAuthorized client'])
  t.equal(gate.broker.metrics.messagesDropped, 1)
})

t.test('authorizeDeliver must answer at once: a promise refuses and is logged', async t => {
  const test = await startObserved(t, { hooks: { authorizeDeliver: () => Promise.resolve(true) as unknown as boolean } })
  const [client] = await connect(test)
  await client.subscribe('a')
  await test.broker.publish('a', 'x')
  t.strictSame(await client.messages(), [])
  t.match(test.logger.take('error'), [/authorizeDeliver.*must answer at once/])
})

t.test('a member of a Shared Subscription that may not have a message leaves it to another (section 4.8.2)', async t => {
  const test = await startObserved(t, { hooks: { authorizeDeliver: ({ client }) => client.clientIdentifier !== 'barred' } })
  const [barred] = await connect(test, { clientIdentifier: 'barred' })
  const [other] = await connect(test, { clientIdentifier: 'other' })
  for (const client of [barred, other]) await client.subscribe('$share/g/a', { qos: 1 })
  for (let i = 0; i < 4; i++) await test.broker.publish('a', `${i}`)
  t.strictSame(await other.payloads(), ['0', '1', '2', '3'])
  t.strictSame(await barred.payloads(), [])
})

forEachVersion(t, 'revalidate ends live subscriptions that are not allowed any more, and only those', async (t, protocolVersion) => {
  const revoked = new Set<string>()
  const unsubscribed: string[] = []
  const test = await startObserved(t, { hooks: { authorizeSubscribe: ({ topicFilter }) => !revoked.has(topicFilter), unsubscribed: ({ topicFilter }) => { unsubscribed.push(topicFilter) } } })
  const [client] = await connect(test, { protocolVersion })
  for (const topicFilter of ['a', 'b', '$share/g/c']) await client.subscribe(topicFilter)
  revoked.add('a').add('$share/g/c')
  await test.broker.revalidate()
  for (const topicName of ['a', 'b', 'c']) await test.broker.publish(topicName, topicName)
  t.strictSame(await client.payloads(), ['b'])
  t.strictSame(unsubscribed, ['a', '$share/g/c'])
})

t.test('revalidate ends stored subscriptions of Clients that are away and drops what waits because of them', async t => {
  const gate = await startGate(t)
  const [client] = await connect(gate, kept)
  await client.subscribe('a', { qos: 1 })
  await client.vanish()
  await gate.broker.publish('a', 'x', { qos: 1 })
  gate.rights.subscribe = false
  await gate.broker.revalidate()
  t.strictSame(gate.events.filter(event => event.startsWith('drop')), ['drop notAuthorized kept'])
  gate.rights.subscribe = true
  await gate.broker.publish('a', 'y', { qos: 1 })
  const [again, connack] = await connect(gate, kept)
  t.equal(connack.sessionPresent, true)
  t.strictSame(await again.messages(), [])
  t.equal(gate.broker.metrics.queuedMessages, 0)
})

t.test('revalidate asks authorizeDeliver about every message that waits', async t => {
  const barred = new Set<string>()
  const test = await startObserved(t, { hooks: { authorizeDeliver: ({ topicName }) => !barred.has(topicName) } })
  const [client] = await connect(test, { properties: { receiveMaximum: 1 } })
  await client.subscribe('#', { qos: 1 })
  for (const topicName of ['a', 'b', 'c']) await test.broker.publish(topicName, topicName, { qos: 1 })
  barred.add('b')
  await test.broker.revalidate()
  t.strictSame(await client.payloads(), ['a'])
  client.send({ type: PacketType.puback, packetIdentifier: 1, reasonCode: 0, properties: undefined })
  t.strictSame(await client.payloads(), ['c'])
  t.strictSame(test.events, ['drop notAuthorized client'])
})

t.test('revalidate leaves alone what waits because of a subscription that the Client itself has ended [MQTT-3.10.4-3]', async t => {
  const gate = await startGate(t)
  const [client] = await connect(gate, { properties: { receiveMaximum: 1 } })
  await client.subscribe('a', { qos: 1 })
  for (const payload of ['1', '2']) await gate.broker.publish('a', payload, { qos: 1 })
  client.send({ type: PacketType.unsubscribe, packetIdentifier: 5, topicFilters: ['a'], properties: undefined })
  await settled()
  await gate.broker.revalidate()
  client.send({ type: PacketType.puback, packetIdentifier: 1, reasonCode: 0, properties: undefined })
  t.strictSame(await client.payloads(), ['1', '2'])
  t.strictSame(gate.events, [])
})

t.test('revalidate stops retained messages that are still on their way', async t => {
  const gate = await startGate(t)
  for (let i = 0; i < 3; i++) await gate.broker.publish(`a/${i}`, `${i}`, { qos: 1, retain: true })
  const [client] = await connect(gate, { properties: { receiveMaximum: 1 } })
  await client.subscribe('a/+', { qos: 1 })
  gate.rights.subscribe = false
  await gate.broker.revalidate()
  t.equal((await client.messages()).length, 1)
  client.send({ type: PacketType.puback, packetIdentifier: 1, reasonCode: 0, properties: undefined })
  t.strictSame(await client.messages(), [])
  t.equal(gate.events.filter(event => event === 'drop notAuthorized client').length, 2)
})

t.test('a slow hook does not let a QoS 2 message through twice when its Client reconnects meanwhile (section 4.3.3)', async t => {
  const answers = [deferred<boolean>(), deferred<boolean>()]
  let asked = 0
  const test = await startObserved(t, { hooks: { authorizePublish: () => answers[asked++]?.promise ?? false } })
  const routed: string[] = []
  test.broker.subscribe('a', ({ payload }) => { routed.push(payload.toString()) })
  const [first] = await connect(test, kept)
  await first.publish('a', 'once', { qos: 2, packetIdentifier: 1 }).take()
  await first.vanish()
  const [second] = await connect(test, kept)
  await second.publish('a', 'once', { qos: 2, packetIdentifier: 1, dup: true }).take()
  for (const { resolve } of answers) resolve(true)
  t.match(await second.take(), [{ type: PacketType.pubrec, packetIdentifier: 1 }])
  t.strictSame(routed, ['once'])
})

t.test('what a Client said before it closed is heard although a hook takes its time [MQTT-3.14.4-3]', async t => {
  const gate = deferred<boolean>()
  const test = await startObserved(t, { hooks: { authorizePublish: ({ isWill }) => isWill || gate.promise } })
  const heard: string[] = []
  test.broker.subscribe('#', ({ topicName }) => { heard.push(topicName) })
  const [client] = await connect(test, { will })
  client.publish('a', '1').publish('b', '2').disconnect()
  client.stream.end()
  await settled()
  gate.resolve(true)
  await settled()
  t.strictSame(heard, ['a', 'b'], 'both messages, and no Will Message after DISCONNECT')
  t.strictSame(test.events.sort(), ['disconnected 0 client', 'ended client'])
})

t.test('a message that authorizeDeliver keeps from a Client is told to onDrop once', async t => {
  const drops: string[] = []
  const test = await startBroker(t, { hooks: { authorizeDeliver: () => false, onDrop: ({ clientIdentifier, reason }) => { drops.push(`${clientIdentifier ?? ''} ${reason}`) } } })
  const [client] = await connect(test)
  await client.subscribe('a')
  await test.broker.publish('a', 'x', { qos: 1 })
  t.strictSame(drops, ['client notAuthorized'])
})
