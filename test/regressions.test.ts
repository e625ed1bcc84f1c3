import t from 'tap'
import { defaultLimits } from '../lib/base/limits.ts'
import { Metrics } from '../lib/base/metrics.ts'
import type { Hooks } from '../lib/contract/hooks.ts'
import { silentLogger } from '../lib/contract/logger.ts'
import { Message } from '../lib/contract/message.ts'
import { ReasonCode } from '../lib/index.ts'
import { PacketType, type WillFields } from '../lib/packet/packets.ts'
import { Router } from '../lib/router/router.ts'
import { DeliveryPlan } from '../lib/router/delivery-plan.ts'
import { Session } from '../lib/session/session.ts'
import { StoredDelivery } from '../lib/session/stored-delivery.ts'
import type { SessionServices } from '../lib/session/session-services.ts'
import { Sessions } from '../lib/session/sessions.ts'
import { parseTopicFilter } from '../lib/topic/topic-filter.ts'
import { Topic } from '../lib/topic/topic.ts'
import { FakeClock } from './support/fake-clock.ts'
import { subscribePacket } from './support/exchanges.ts'
import { connect, connectPacket, PacketClient, settled, startBroker } from './support/harness.ts'
import { MemoryLogger } from './support/observe.ts'

// What a review of the core broke. Each test is named by what must hold.

const will: WillFields = { topicName: 'will', payload: Buffer.from('gone'), qos: 0, retain: false, properties: undefined }
const kept = { cleanStart: false, properties: { sessionExpiryInterval: 1000 } }

function messageOf (topic: Topic, expiresAt = Infinity): Message {
  return new Message({ payload: Buffer.from('x'), qos: 1, retain: false, properties: undefined }, topic, undefined, expiresAt)
}

/** What Sessions need of a broker, and the work that they do with it. */
function sessionServices (limits = {}): SessionServices & { readonly clock: FakeClock, readonly drops: string[] } {
  const drops: string[] = []
  return {
    limits: { ...defaultLimits, ...limits }, metrics: new Metrics(), clock: new FakeClock(), logger: silentLogger, drops,
    dropped: (_target, _message, reason) => { drops.push(reason) }, isRetained: () => true,
  }
}

t.test('a Session that ends with a full queue costs time in proportion to it', t => {
  const services = sessionServices()
  const session = new Session('a', services)
  const topic = new Topic('a')
  let looks = 0
  for (let i = 0; i < 1000; i++) session.deliver(messageOf(topic), { qos: 1, retain: false, subscriptionIdentifiers: [] }, undefined)
  session.outbox.drop('notAuthorized', () => ++looks % 2 === 0)
  t.equal(services.drops.length, 500)
  t.equal(looks, 1000)
  session.outbox.clear()
  t.equal(services.metrics.queuedBytes, 0)
  t.equal(services.drops.length, 1000)
  t.end()
})

t.test('a full queue of messages that expire is not searched for each new message', t => {
  const services = sessionServices({ maximumQueuedMessages: 100 })
  let looks = 0
  const { clock } = services
  const now = clock.now.bind(clock)
  clock.now = () => { looks++; return now() }
  const session = new Session('a', services)
  const message = messageOf(new Topic('a'), now() + 60_000)
  for (let i = 0; i < 1100; i++) session.deliver(message, { qos: 1, retain: false, subscriptionIdentifiers: [] }, undefined)
  t.equal(session.outbox.waitingCount, 100)
  t.ok(looks < 2_000, `${looks} looks at the clock for 1,000 messages over the limit`)
  t.end()
})

t.test('nothing waits in a Session that has ended, even if it was still on the way of a message', t => {
  const services = sessionServices()
  const session = new Session('a', services)
  session.outbox.clear()
  session.deliver(messageOf(new Topic('a')), { qos: 1, retain: false, subscriptionIdentifiers: [] }, undefined)
  t.equal(services.metrics.queuedMessages, 0)
  t.strictSame(services.drops, ['sessionEnded'])
  t.end()
})

t.test('deadlines of Sessions that have ended are forgotten, however far away they are', t => {
  const services = sessionServices()
  const sessions = new Sessions(services, { willDue: () => undefined, ended: () => undefined })
  for (let i = 0; i < 3000; i++) {
    const session = sessions.create('a')
    session.sessionExpiryInterval = 4_000_000
    sessions.release(session, false)
    sessions.end(session)
  }
  t.equal(sessions.size, 0)
  t.ok(sessions.scheduledCount <= 1024, `${sessions.scheduledCount} deadlines for no Session`)
  const last = sessions.create('a')
  last.sessionExpiryInterval = 1
  sessions.release(last, false)
  const now = services.clock.now()
  services.clock.now = () => now + 2000
  sessions.sweep()
  t.equal(sessions.size, 0, 'and those that are left still count')
  t.end()
})

t.test('plans of topics are bounded by their recipients, and not kept alive by retained messages', t => {
  const router = new Router({ limits: defaultLimits, sharedSubscriptionStrategy: 'roundRobin', deliveryGate: () => undefined, dropped: () => undefined, journal: undefined })
  const services = sessionServices()
  const options = { qos: 0 as const, noLocal: false, retainAsPublished: false, retainHandling: 0 as const, subscriptionIdentifier: 0 }
  const filter = parseTopicFilter('#', defaultLimits)
  for (let i = 0; i < 300; i++) router.subscribe(new Session(`${i}`, services), filter, '#', options)
  const topics = Array.from({ length: 1200 }, (_, i) => new Topic(`t/${i}`))
  for (const topic of topics) router.route(messageOf(topic), undefined)
  const planned = topics.filter(({ plan }) => plan instanceof DeliveryPlan).length
  t.ok(planned > 500 && planned < 1000, `${planned} of 1,200 topics with 300 recipients each have a plan`)
  t.ok(topics.at(-1)?.plan, 'the newest among them')
  t.end()
})

t.test('`connected` is told before `disconnected`, and of no Client that cannot even have its CONNACK', async t => {
  const events: string[] = []
  const hooks: Hooks = { connected: () => { events.push('connected') }, disconnected: () => { events.push('disconnected') } }
  const { broker } = await startBroker(t, { hooks })
  new PacketClient(broker, 5).send(connectPacket({ properties: { maximumPacketSize: 5 } }))
  await settled()
  t.strictSame(events, [])
  t.strictSame([...broker.clients()], [])
  t.equal(broker.metrics.clientsConnected, 0)
})

t.test('an observer of `connected` can end the connection', async t => {
  const events: unknown[] = []
  const test = await startBroker(t, { hooks: { disconnected: ({ reasonCode }) => { events.push(reasonCode) } } })
  test.broker.hook({ connected: ({ client }) => { events.push(test.broker.disconnect(client.clientIdentifier)) } })
  const client = new PacketClient(test.broker, 5)
  client.send(connectPacket())
  t.match(await client.take(), [{ type: PacketType.connack }, { type: PacketType.disconnect, reasonCode: ReasonCode.administrativeAction }])
  t.strictSame(events, [ReasonCode.administrativeAction, true])
})

t.test('an observer of `subscribed` that ends the connection leaves no subscription behind', async t => {
  const test = await startBroker(t)
  test.broker.hook({ subscribed: ({ client }) => { test.broker.disconnect(client.clientIdentifier) } })
  const [client] = await connect(test)
  client.send(subscribePacket('a', 'b'))
  await settled()
  await test.broker.publish('b', 'x', { qos: 1 })
  t.equal(test.broker.metrics.queuedMessages, 0)
})

t.test('a refusal is no Success and breaks nothing, whatever a hook has put into it', async t => {
  const answers: object[] = [{ reasonCode: 0 }, { reasonCode: 7777 }, { reasonString: 'x'.repeat(70_000) }, { serverReference: 5 }]
  for (const answer of answers) {
    const { broker } = await startBroker(t, { hooks: { authenticate: () => ({ allow: false, ...answer }) } })
    const client = new PacketClient(broker, 5)
    client.send(connectPacket())
    for (const packet of await client.take()) t.match(packet, { type: PacketType.connack, reasonCode: ReasonCode.notAuthorized })
    t.equal(client.isEnded, true)
  }
})

t.test('what broke inside a hook is not told to the Client', async t => {
  const { broker } = await startBroker(t, { hooks: { onConnect: () => { throw new Error('connect ECONNREFUSED 10.0.0.5') } } })
  const client = new PacketClient(broker, 5)
  client.send(connectPacket())
  const [connack] = await client.take()
  t.match(connack, { type: PacketType.connack, reasonCode: ReasonCode.implementationSpecificError })
  t.notOk(JSON.stringify(connack).includes('10.0.0.5'))
})

t.test('a Reason Code that PUBACK or SUBACK cannot have is told as Not authorized [MQTT-3.4.2-1] [MQTT-3.9.3-2]', async t => {
  const test = await startBroker(t, { hooks: { authorizePublish: () => ReasonCode.banned, authorizeSubscribe: () => ReasonCode.badUserNameOrPassword } })
  const [client] = await connect(test)
  t.match(await client.subscribe('a'), { reasonCodes: [ReasonCode.notAuthorized] })
  client.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  t.match(await client.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.notAuthorized }])
})

t.test('a patch that makes no message refuses it, and harms no subscriber', async t => {
  const patches: object[] = [{ payload: 'text' }, { qos: 3 }, { topicName: 5 }, { properties: { contentType: 5 } }, { properties: { messageExpiryInterval: -1 } }]
  for (const patch of patches) {
    const logger = new MemoryLogger()
    const test = await startBroker(t, { logger, hooks: { onPublish: () => patch } })
    const [subscriber] = await connect(test, { clientIdentifier: 'subscriber' })
    await subscriber.subscribe('#')
    const [publisher] = await connect(test, { clientIdentifier: 'publisher', will })
    publisher.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
    t.match(await publisher.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.implementationSpecificError }])
    t.match(logger.take('error'), [/makes no message: ./], 'what is wrong with it is said')
    await publisher.vanish() // its Will Message meets the same hook
    t.strictSame(await subscriber.take(), [])
    t.equal(subscriber.isEnded, false)
  }
})

t.test('the host is told of properties that no packet can have, and no subscriber suffers', async t => {
  const test = await startBroker(t)
  await t.rejects(test.broker.publish('a', 'x', { retain: true, properties: { contentType: 'x'.repeat(70_000) } }))
  await t.rejects(test.broker.publish('a', 'x', { retain: true, properties: { messageExpiryInterval: Number.NaN } }))
  const [client] = await connect(test)
  t.match(await client.subscribe('#'), { reasonCodes: [2] })
  t.strictSame(await client.messages(), [])
})

t.test('a Session with many subscriptions is resumed in time in proportion to them', async t => {
  let asked = 0
  const test = await startBroker(t, { hooks: { authorizeSubscribe: ({ isRestored }) => { if (isRestored) asked++; return true } } })
  const [client] = await connect(test, kept)
  client.send(subscribePacket(...Array.from({ length: 1000 }, (_, i) => `a/${i}`)))
  await settled()
  await client.vanish()
  await connect(test, kept)
  t.equal(asked, 1000)
})

t.test('hooks that come and go while one is awaited make no other be skipped', async t => {
  let allow: (value: boolean) => void = () => undefined
  const test = await startBroker(t)
  const remove = test.broker.hook({ authorizePublish: () => new Promise(resolve => { allow = resolve }) })
  test.broker.hook({ authorizePublish: () => false })
  const [client] = await connect(test)
  client.publish('a', 'x', { qos: 1, packetIdentifier: 1 })
  await settled()
  remove()
  allow(true)
  t.match(await client.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.notAuthorized }])
})

t.test('a message of a Shared Subscription that no other member may have stays with its Session (section 4.8.2)', async t => {
  const test = await startBroker(t, { hooks: { authorizeDeliver: ({ client }) => client.clientIdentifier !== 'b' } })
  const [a] = await connect(test, { clientIdentifier: 'a', ...kept })
  const [b] = await connect(test, { clientIdentifier: 'b', ...kept })
  await a.subscribe('$share/g/t', { qos: 1 })
  await b.subscribe('$share/g/t', { qos: 1 })
  await test.broker.publish('t', 'm', { qos: 1 })
  t.strictSame(await a.payloads(), ['m'])
  await a.vanish()
  const again = new PacketClient(test.broker, 5)
  again.send(connectPacket({ clientIdentifier: 'a', ...kept }))
  t.strictSame(await again.payloads(), ['m'])
})

t.test('a shutdown is told in a CONNACK that is still due as Server unavailable (section 3.2.2.2)', async t => {
  const { broker } = await startBroker(t, { hooks: { authenticate: () => new Promise<boolean>(() => undefined) } })
  const client = new PacketClient(broker, 5)
  client.send(connectPacket())
  await settled()
  void broker.close()
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.serverUnavailable }])
})

t.test('what is in flight does not keep the chunk alive that it came in', t => {
  const session = new Session('a', sessionServices())
  const sink = { isCongested: false, hasRoom: true, publish: () => true, acknowledge: () => undefined, send: () => undefined, disconnect: () => undefined }
  session.attach(sink, 10)
  const chunk = Buffer.alloc(65_536)
  const message = new Message({ payload: chunk.subarray(0, 10), qos: 1, retain: false, properties: undefined }, new Topic('a'), undefined)
  session.deliver(message, { qos: 1, retain: false, subscriptionIdentifiers: [] }, undefined)
  session.outbox.keepInFlight()
  t.not(message.payload.buffer, chunk.buffer)
  t.end()
})

t.test('what was in flight before the broker was started again does not keep alive what it was read with', t => {
  const session = new Session('a', sessionServices())
  const page = Buffer.alloc(8_192)
  const message = new Message({ payload: page.subarray(0, 10), qos: 1, retain: false, properties: undefined }, new Topic('a'), undefined)
  const log = { number: 1, stored: () => undefined, lost: () => undefined }
  const record = { session: 1, position: 1, message, qos: 1, retain: false, subscriptionIdentifiers: [], sharedFilter: undefined, total: 10, packetIdentifier: 7, isReleased: false, reference: 0 } as const
  session.outbox.restoreInFlight([StoredDelivery.of(log, record, undefined)])
  session.outbox.keepInFlight()
  t.not(message.payload.buffer, page.buffer)
  t.end()
})
