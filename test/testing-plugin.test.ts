import t, { type Test } from 'tap'
import { AssertionError } from 'node:assert'
import { scrypt } from 'node:crypto'
import { createServer } from 'node:net'
import { promisify } from 'node:util'
import { ErrorCode, memoryStore, ReasonCode, storeFull, type Plugin } from '../lib/index.ts'
import { createTestBroker, FakeClock, type TestBroker, type TestBrokerOptions } from '../plugins/testing/index.ts'

async function start<Data = unknown> (t: Test, options: TestBrokerOptions<Data> = {}): Promise<TestBroker<Data>> {
  const test = await createTestBroker<Data>(options)
  t.teardown(() => test.close())
  return test
}

/** The message that a failed expectation has. */
async function failureOf (expectation: Promise<unknown>): Promise<string> {
  try {
    await expectation
  } catch (error) {
    if (error instanceof AssertionError) return error.message
    throw error
  }
  return 'it did not fail'
}

const versions = [3, 4, 5] as const
const denies: Plugin = { name: 'denies', hooks: { authenticate: () => ({ allow: false, reasonCode: ReasonCode.notAuthorized, reasonString: 'go away' }) } }

for (const protocolVersion of versions) {
  t.test(`protocol version ${protocolVersion}: clients connect, subscribe, publish and leave`, async t => {
    const test = await start(t)
    const [ada, bob] = [await test.connect({ protocolVersion, clientIdentifier: 'ada' }), await test.connect({ protocolVersion })]
    t.strictSame([...test.broker.clients()].map(client => [client.clientIdentifier, client.protocolVersion]), [['ada', protocolVersion], ['client-2', protocolVersion]])
    t.equal(await bob.subscribe('a/#', { qos: 1 }), ReasonCode.grantedQos1)
    for (const qos of [0, 1, 2] as const) t.equal(await ada.publish('a/b', `${qos}`, { qos }), ReasonCode.success)
    for (const qos of [0, 1, 2] as const) t.match(await bob.expectMessage('a/+', { payload: `${qos}` }), { topicName: 'a/b', text: `${qos}`, qos: Math.min(qos, 1), retain: false })
    await bob.expectNoMessage()
    t.equal(await bob.unsubscribe('a/#'), ReasonCode.success)
    await ada.publish('a/b', 'late')
    await bob.expectNoMessage()
    await ada.disconnect()
    t.equal(test.broker.metrics.clientsConnected, 1)
  })

  t.test(`protocol version ${protocolVersion}: a client that is kept out, and one that is put out`, async t => {
    const test = await start(t, { hooks: { authenticate: ({ username, password }) => username === 'ada' && password?.toString() === 'secret' } })
    await test.client({ protocolVersion, username: 'ada', password: 'wrong' }).expectRefused(ReasonCode.badUserNameOrPassword)
    const client = await test.connect({ protocolVersion, username: 'ada', password: Buffer.from('secret') })
    test.broker.disconnect(client.clientIdentifier, ReasonCode.quotaExceeded)
    await client.expectDisconnect(ReasonCode.quotaExceeded)
    t.equal(client.isEnded, true)
  })
}

t.test('QoS 2 is exactly once, and messages wait for the expectation that wants them', async t => {
  const test = await start(t)
  const client = await test.connect()
  await client.subscribe('#')
  for (const topicName of ['a', 'b', 'c']) t.equal(await client.publish(topicName, topicName, { qos: 2, retain: topicName === 'b' }), ReasonCode.success)
  t.match(await client.expectMessage('c', { qos: 2 }), { text: 'c' })
  t.match(await client.expectMessage(), { text: 'a' })
  await client.expectNoMessage('a')
  t.equal((await client.expectMessage(undefined, { payload: Buffer.from('b'), retain: false })).text, 'b')
  await client.subscribe('b')
  await client.expectMessage('b', { retain: true })
  await client.expectNoMessage()
})

t.test('what is refused is a Reason Code to the client, and told where a message is missing', async t => {
  const test = await start(t, { patienceMs: 0, hooks: { authorizeSubscribe: () => false, authorizePublish: ({ topicName }) => topicName === 'free' || ReasonCode.quotaExceeded } })
  const client = await test.connect()
  t.equal(await client.subscribe('free'), ReasonCode.notAuthorized)
  for (const qos of [1, 2] as const) t.equal(await client.publish('a', '', { qos }), ReasonCode.quotaExceeded)
  t.equal(await client.publish('free', 'x', { qos: 1 }), ReasonCode.noMatchingSubscribers)
  t.match(await failureOf(client.expectMessage('free')), /Its subscriptions:\n(?: {2}.*\n)* {2}free, refused \(notAuthorized, 0x87\)$/m)
})

t.test('a failure says what was expected, and what came instead', async t => {
  const test = await start(t, { patienceMs: 0 })
  const client = await test.connect({ clientIdentifier: 'ada' })
  await client.subscribe('#')
  await client.publish('b', 'x'.repeat(1_000), { qos: 1 })
  await test.broker.publish('c', 'y', { retain: true })
  test.broker.logger.warn({}, 'the disk is nearly full')
  const fault = await failureOf(client.expectMessage('a/+', { payload: 'x', qos: 0, retain: true }))
  t.match(fault, 'ada expected a message to a/+ with "x", QoS 0, retained, but nothing like it came. Time stands still: what waits for it needs clock.advance().\nMessages that came:\n  b with "xxx')
  t.match(fault, /… \(1000 bytes\), QoS 1\n {2}c with "y", QoS 0\nIts subscriptions:\n {2}#, QoS 2\nThe broker logged:\n {2}warn: the disk is nearly full$/)
  t.match(await failureOf(client.expectNoMessage('b')), /^ada expected no message to b, but got one\.\nMessages that came:\n {2}b with/)
  t.match(await failureOf(client.expectMessage(undefined, { retain: true })), /^ada expected a message, retained, but/)
  t.match(await failureOf(client.expectDisconnect()), /^ada expected to be disconnected, but is still connected\. Time stands still/)
  await client.unsubscribe('#')
  t.match(await failureOf(client.expectMessage('d')), /^ada expected a message to d, but it has subscribed to nothing since it connected\./)
  test.broker.disconnect('ada', ReasonCode.quotaExceeded)
  t.match(await failureOf(client.expectDisconnect(ReasonCode.serverBusy)), /^ada expected to be disconnected \(serverBusy, 0x89\), but was disconnected \(quotaExceeded, 0x97\)/)
  t.match(await failureOf(client.publish('a', '', { qos: 1 })), /^ada expected the acknowledgement of its message to a, but was disconnected/)
})

t.test('a failure says how connecting ended', async t => {
  const test = await start(t, { patienceMs: 0, plugins: [denies] })
  t.match(await failureOf(test.client().expectConnected()), /^client-1 expected to be let in, but was refused \(notAuthorized, 0x87\): go away\.$/)
  t.match(await failureOf(test.client().expectRefused(ReasonCode.banned)), /^client-2 expected to be refused \(banned, 0x8a\), but was refused \(notAuthorized/)
  await test.client().expectRefused()
  const open = await start(t, { patienceMs: 0, hooks: { authorizeConnection: ({ connection }) => connection.listener !== 'closed' } })
  t.match(await failureOf(open.client().expectRefused()), /^client-1 expected to be refused, but was let in/)
  await open.client({ listener: 'closed' }).expectRefused()
  t.match(await failureOf(open.client({ listener: 'closed' }).expectConnected()), /^client-3 expected to be let in, but its connection ended without a word/)
})

t.test('a hook that never answers is a client without CONNACK, until time goes on', async t => {
  const test = await start(t, { patienceMs: 0, hookTimeoutMs: 5_000, hooks: { authenticate: () => new Promise<never>(() => undefined) } })
  const client = test.client()
  t.match(await failureOf(client.expectConnected()), /but has no CONNACK yet\. Time stands still/)
  await test.clock.advance(5_000)
  await client.expectRefused(ReasonCode.notAuthorized)
})

t.test('work outside the event loop is waited for', async t => {
  const test = await start(t, { patienceMs: 60_000, hooks: { authenticate: async () => Boolean(await promisify(scrypt)('secret', 'salt', 32)) } })
  await test.connect()
})

t.test('hooks see the socket and the listener that the test gives', async t => {
  const seen: unknown[] = []
  const test = await start(t, { hooks: { authorizeConnection: ({ connection }) => { seen.push(connection.remoteAddress, connection.listener, connection.isPeerAuthorized, connection.peerCertificate?.subject.CN); return true } } })
  await test.connect({ listener: 'edge', socket: { remoteAddress: '192.0.2.1', authorized: true, getPeerCertificate: () => ({ raw: Buffer.alloc(1), subject: { CN: 'device' } }) } })
  t.strictSame(seen, ['192.0.2.1', 'edge', true, 'device'])
})

t.test('a Will Message is published when the network breaks, and not after DISCONNECT', async t => {
  const test = await start(t)
  const watcher = await test.connect()
  await watcher.subscribe('wills/+')
  for (const end of ['disconnect', 'vanish'] as const) await (await test.connect({ clientIdentifier: end, will: { topicName: `wills/${end}`, payload: 'gone', qos: 1, properties: {} } }))[end]()
  t.match(await watcher.expectMessage(), { topicName: 'wills/vanish', text: 'gone' })
  await watcher.expectNoMessage()
})

t.test('time goes on only when the test says so: Keep Alive and session expiry', async t => {
  const test = await start(t)
  const client = await test.connect({ clientIdentifier: 'a', keepAlive: 60, properties: { sessionExpiryInterval: 600 } })
  await client.subscribe('jobs')
  await test.clock.advance(91_000)
  await client.expectDisconnect(ReasonCode.keepAliveTimeout)
  await test.broker.publish('jobs', 'dig', { qos: 1 })
  const again = test.client({ clientIdentifier: 'a', cleanStart: false, properties: { sessionExpiryInterval: 600 } })
  t.equal((await again.expectConnected()).sessionPresent, true)
  await again.expectMessage('jobs', { payload: 'dig' })
  await again.disconnect()
  await test.clock.advance(601_000)
  t.equal((await test.client({ clientIdentifier: 'a', cleanStart: false }).expectConnected()).sessionPresent, false)
})

t.test('a frozen client takes nothing until it thaws, and harms nobody else', async t => {
  const test = await start(t, { limits: { maximumOutboxBytes: 100_000 } })
  const [slow, fast] = [await test.connect(), await test.connect()]
  for (const client of [slow, fast]) await client.subscribe('a')
  slow.freeze()
  for (let i = 0; i < 100; i++) {
    await test.broker.publish('a', Buffer.alloc(10_000))
    await fast.expectMessage('a')
  }
  await slow.expectNoMessage()
  t.ok(test.broker.metrics.messagesDropped > 0)
  slow.thaw()
  await slow.expectMessage('a')
})

t.test('Topic Aliases of the broker are resolved', async t => {
  const test = await start(t)
  const client = await test.connect({ properties: { topicAliasMaximum: 10 } })
  await client.subscribe('a/long/name')
  for (const payload of ['1', '2', '3']) await test.broker.publish('a/long/name', payload)
  for (const payload of ['1', '2', '3']) await client.expectMessage('a/long/name', { payload })
})

t.test('enhanced authentication, and anew', async t => {
  const asked: string[] = []
  const test = await start(t, {
    authenticationMethods: [{
      name: 'TOKEN',
      start: () => ({ next: data => { asked.push(String(data)); return data?.toString() === 'hello' ? { continue: Buffer.from('who?') } : { allow: data?.toString() === 'ada', authenticationData: Buffer.from('welcome') } } }),
    }],
  })
  const properties = { authenticationMethod: 'TOKEN', authenticationData: Buffer.from('hello') }
  const client = test.client({ properties, authenticate: question => { asked.push(question.toString()); return 'ada' } })
  t.match((await client.expectConnected()).properties, { authenticationData: Buffer.from('welcome') })
  await client.reauthenticate('hello')
  t.strictSame(asked, ['hello', 'who?', 'ada', 'hello', 'who?', 'ada'])
  await test.client({ properties, authenticate: async () => Promise.resolve('bob') }).expectRefused(ReasonCode.notAuthorized)
})

t.test('store.slow: acknowledgements come when the clock says', async t => {
  const test = await start(t, { patienceMs: 60_000 })
  await durable(test)
  const publisher = await test.connect()
  test.store.slow(500)
  const acknowledged = { is: false }
  const publishing = publisher.publish('jobs', 'dig', { qos: 1 }).finally(() => { acknowledged.is = true })
  await test.clock.advance(499)
  t.equal(acknowledged.is, false)
  await test.clock.advance(1)
  t.equal(await publishing, ReasonCode.success)
})

t.test('store.fail and store.recover: publishers are told, with the error that the test chose', async t => {
  const test = await start(t)
  await durable(test)
  const publisher = await test.connect()
  test.store.fail()
  t.equal(await publisher.publish('jobs', '1', { qos: 1 }), ReasonCode.implementationSpecificError)
  test.store.fail(storeFull('the test is full'))
  const refused = publisher.publish('jobs', '2', { qos: 1 })
  await test.clock.advance(1_000) // when the broker tries a store again that has failed
  t.equal(await refused, ReasonCode.quotaExceeded)
  test.store.recover()
  const accepted = publisher.publish('jobs', '3', { qos: 1 })
  await test.clock.advance(1_000)
  t.equal(await accepted, ReasonCode.success)
  const worker = await test.connect({ clientIdentifier: 'worker', cleanStart: false })
  t.equal((await worker.expectMessage('jobs')).text, '3')
  await worker.expectNoMessage()
})

t.test('store.gone: nobody is told anything until it is back', async t => {
  const test = await start(t, { patienceMs: 60_000 })
  await durable(test)
  const publisher = await test.connect()
  test.store.gone()
  const publishing = publisher.publish('jobs', '1', { qos: 2 })
  await test.clock.advance(10_000)
  await publisher.expectNoMessage()
  test.store.recover()
  t.equal(await publishing, ReasonCode.success)
})

/** Somebody who is away, and gets what is published to `jobs`. */
async function durable (test: TestBroker): Promise<void> {
  const worker = await test.connect({ clientIdentifier: 'worker', properties: { sessionExpiryInterval: 3_600 } })
  await worker.subscribe('jobs', { qos: 1 })
  await worker.vanish()
}

t.test('a store that is given is used, and another broker goes on with it, at the same time', async t => {
  const [persistence, clock] = [memoryStore(), new FakeClock(5)]
  const first = await start(t, { persistence, clock })
  await durable(first)
  await first.broker.publish('jobs', 'dig', { qos: 1 })
  await first.close()
  t.equal(first.store.name, 'memory')
  const second = await start(t, { persistence, clock })
  await (await second.connect({ clientIdentifier: 'worker', cleanStart: false })).expectMessage('jobs', { payload: 'dig' })
})

t.test('close with faults, frozen clients and connections ends, and leaves nothing; twice is once', async t => {
  const test = await createTestBroker({ closeTimeoutMs: 2_000 })
  await durable(test)
  const client = await test.connect()
  client.freeze()
  test.store.gone()
  void test.broker.publish('jobs', 'x', { qos: 1 }).catch(() => undefined)
  t.equal(test.close(), test.close())
  await test.close()
  t.equal(test.clock.pending, 0)
  t.equal(client.isEnded, true)
  await test[Symbol.asyncDispose]()
})

t.test('close tells what a plugin left behind: its timers, by the place that set them, and its handles', async t => {
  const server = createServer()
  t.teardown(() => { server.close() })
  const leaky: Plugin = {
    name: 'leaky',
    async setup (broker) {
      broker.clock.every(1_000, () => undefined)
      await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
    },
  }
  const fault = await failureOf((await createTestBroker({ plugins: [leaky] })).close())
  t.match(fault, /^The broker is closed, and this is left:\n {2}a timer on broker\.clock, every 1000 ms, at .*testing-plugin\.test\.ts/)
  t.match(fault, /1 × TCPServerWrap is open that was not/)
})

t.test('close throws what a plugin throws in its close', async t => {
  const test = await createTestBroker({ plugins: [{ name: 'broken', close: () => { throw new Error('on purpose') } }] })
  await t.rejects(test.close(), { message: 'on purpose' })
  t.match(test.log.take('error'), [/broken could not be closed/])
})

t.test('an expectation of what is no Topic Filter is a mistake of the test, and said to be one', async t => {
  const test = await start(t)
  const client = await test.connect()
  for (const filter of ['a/#/b', 'a+', '#a', '', 'a\0', '$share/g/a', 7]) {
    const invalid = { code: ErrorCode.optionInvalid, message: /topicFilter.*a Topic Filter/s }
    await t.rejects(client.expectMessage(filter as string), invalid, String(filter))
    await t.rejects(client.expectNoMessage(filter as string), invalid, String(filter))
  }
})

t.test('a test runner may put timers of its own in the place of the real ones', async t => {
  const real = { setImmediate, clearImmediate, setTimeout, clearTimeout }
  const restore = (): void => { Object.assign(globalThis, real) }
  t.teardown(restore)
  Object.assign(globalThis, { setImmediate: () => 0, clearImmediate: () => 0, setTimeout: () => 0, clearTimeout: () => 0 })
  const test = await createTestBroker({ patienceMs: 10 })
  const client = await test.connect({ properties: { sessionExpiryInterval: 60 } })
  await client.subscribe('a', { qos: 1 })
  const acknowledged = await client.publish('a', 'x', { qos: 1 })
  const { text } = await client.expectMessage('a')
  const failure = await failureOf(client.expectMessage('b'))
  await test.close()
  restore()
  t.strictSame([acknowledged, text, failure.startsWith("client-1 expected a message to b")], [ReasonCode.success, 'x', true])
})

t.test('what does not start rejects as createBroker does; a cluster is none', async t => {
  await t.rejects(createTestBroker({ hookTimeoutMs: -1 }), { code: ErrorCode.optionInvalid })
  await t.rejects(createTestBroker({ emitter: {} } as never), { code: ErrorCode.optionInvalid, message: /emitter/ })
})
