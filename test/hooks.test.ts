import t from 'tap'
import { ErrorCode, ReasonCode, type AuthenticateRequest, type AuthenticateResult, type Hooks, type MessagePatch, type PublishRequest } from '../lib/index.ts'
import { silentLogger } from '../lib/contract/logger.ts'
import { PacketType, type Packet, type SubscriptionRequest } from '../lib/packet/packets.ts'
import { connect, forEachVersion, settled, startBroker } from './support/harness.ts'
import { deferred, MemoryLogger, startObserved, tryConnect } from './support/observe.ts'

const credentials = { username: 'anna', password: Buffer.from('secret') }

const failures: readonly (readonly [name: string, fail: () => Promise<never>, waitMs: number])[] = [
  ['throws', () => { throw new Error('broken') }, 0],
  ['rejects', () => Promise.reject(new Error('broken')), 0],
  ['does not answer within hookTimeoutMs', () => new Promise<never>(() => undefined), 200],
]

function plain (topicFilter: string): SubscriptionRequest {
  return { topicFilter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }
}

function later<T> (value: T): () => Promise<T> { return () => Promise.resolve(value) }

t.test('authenticate: at once or with a promise', async t => {
  const cases: readonly (readonly [answer: AuthenticateResult, reasonCode: ReasonCode])[] = [
    [true, ReasonCode.success],
    [{ allow: true }, ReasonCode.success],
    [false, ReasonCode.badUserNameOrPassword],
    [undefined, ReasonCode.badUserNameOrPassword],
    [{ allow: false, reasonCode: ReasonCode.banned }, ReasonCode.banned],
  ]
  for (const [answer, reasonCode] of cases) {
    for (const authenticate of [() => answer, later(answer)]) {
      const [client, connack] = await tryConnect(await startBroker(t, { hooks: { authenticate } }), credentials)
      t.equal(connack?.reasonCode, reasonCode)
      t.equal(client.isEnded, reasonCode !== ReasonCode.success, 'a refusal closes')
    }
  }
})

t.test('authenticate: a refusal says why, and where else to go (sections 3.2.2.3.9 and 4.11)', async t => {
  const deny = { allow: false, reasonCode: ReasonCode.useAnotherServer, reasonString: 'full', serverReference: 'b.example' } as const
  const test = await startBroker(t, { hooks: { authenticate: () => deny } })
  const [, connack] = await tryConnect(test)
  t.match(connack, { reasonCode: ReasonCode.useAnotherServer, properties: { reasonString: 'full', serverReference: 'b.example' } })
})

t.test('authenticate: the first decisive plugin wins; all abstain is denied', async t => {
  const asked: string[] = []
  const answers = new Map<string, AuthenticateResult>()
  const plugins = ['a', 'b', 'c'].map(name => ({ name, hooks: { authenticate: () => { asked.push(name); return answers.get(name) } } }))
  const test = await startBroker(t, { plugins })
  const attempt = async (): Promise<ReasonCode | undefined> => (await tryConnect(test))[1]?.reasonCode
  t.equal(await attempt(), ReasonCode.notAuthorized, 'all abstain')
  t.strictSame(asked.splice(0), ['a', 'b', 'c'])
  answers.set('b', true).set('c', false)
  t.equal(await attempt(), ReasonCode.success)
  t.strictSame(asked.splice(0), ['a', 'b'])
  answers.set('a', { allow: false, reasonCode: ReasonCode.banned })
  t.equal(await attempt(), ReasonCode.banned)
  t.strictSame(asked.splice(0), ['a'])
})

for (const [name, fail, waitMs] of failures) {
  t.test(`a hook that ${name} denies, and is logged once`, async t => {
    for (const hookName of ['authenticate', 'onConnect'] as const) {
      const test = await startObserved(t, { hookTimeoutMs: 200, hooks: { [hookName]: fail } })
      const [client, before] = await tryConnect(test)
      if (waitMs > 0) t.equal(before, undefined)
      await test.clock.advance(waitMs)
      const connack = before ?? (await client.takeType(PacketType.connack))[0]
      t.equal(connack?.reasonCode, hookName === 'authenticate' ? ReasonCode.notAuthorized : ReasonCode.implementationSpecificError)
      t.equal(client.isEnded, true)
      t.equal(test.logger.take('error').length, 1, hookName)
    }
  })

  forEachVersion(t, `a hook that ${name} denies PUBLISH and SUBSCRIBE`, async (t, protocolVersion) => {
    for (const hookName of ['authorizePublish', 'onPublish', 'authorizeSubscribe', 'onSubscribe'] as const) {
      const test = await startObserved(t, { hookTimeoutMs: 200, hooks: { [hookName]: fail } })
      const [client] = await connect(test, { protocolVersion })
      const isSubscribe = hookName.endsWith('Subscribe')
      if (isSubscribe) client.send({ type: PacketType.subscribe, packetIdentifier: 1, subscriptions: [plain('a')], properties: undefined })
      else client.publish('a', 'x', { qos: 1, packetIdentifier: 1, retain: true })
      await test.clock.advance(waitMs)
      const code = hookName.startsWith('on') ? ReasonCode.implementationSpecificError : ReasonCode.notAuthorized
      const [answer] = await client.take()
      if (isSubscribe) t.match(answer, { reasonCodes: [protocolVersion === 5 ? code : 0x80] }, hookName)
      else t.match(answer, { type: PacketType.puback, reasonCode: protocolVersion === 5 ? code : 0 }, hookName)
      t.equal(test.logger.take('error').length, 1, hookName)
      test.broker.publish('a', 'live').catch(() => undefined)
      t.strictSame(await client.payloads(), [], 'nothing was granted')
    }
  })
}

t.test('authenticate sees what CONNECT says; what is absent is undefined, never a text', async t => {
  const seen: AuthenticateRequest[] = []
  const test = await startBroker(t, { hooks: { authenticate: request => { seen.push(request); return true } } })
  await connect(test, { clientIdentifier: '', protocolVersion: 4 })
  await connect(test, { ...credentials, cleanStart: false, properties: { userProperties: [['k', 'v']] } })
  t.match(seen[0], { clientIdentifier: '', username: undefined, password: undefined, protocolVersion: 4, cleanStart: true, will: undefined, userProperties: [] })
  t.match(seen[1], { ...credentials, protocolVersion: 5, cleanStart: false, userProperties: [['k', 'v']] })
  t.match(seen[1]?.connection, { id: 2, transport: 'stream', request: undefined })
})

t.test('what authenticate attaches is typed and there in every later hook', async t => {
  interface Account { readonly tenant: string }
  const seen: string[] = []
  const note = (hook: string, client: { readonly data: Account, readonly username: string | undefined, readonly clientIdentifier: string } | undefined): void => {
    seen.push(`${hook} ${client?.data.tenant ?? '-'} ${client?.username ?? '-'} ${client?.clientIdentifier ?? '-'}`)
  }
  const hooks: Hooks<Account> = {
    authenticate: () => ({ allow: true, data: { tenant: 'acme' }, username: 'token-user', clientIdentifier: 'acme-1' }),
    onConnect: ({ client }) => { note('onConnect', client); return undefined },
    connected: ({ client }) => { note('connected', client) },
    authorizeSubscribe: ({ client }) => { note('authorizeSubscribe', client); return true },
    onSubscribe: ({ client }) => { note('onSubscribe', client); return undefined },
    subscribed: ({ client }) => { note('subscribed', client) },
    authorizePublish: ({ client }) => { note('authorizePublish', client); return true },
    onPublish: ({ client }) => { note('onPublish', client); return undefined },
    authorizeTopic: ({ client }) => { note('authorizeTopic', client); return true },
    authorizeDeliver: ({ client }) => { note('authorizeDeliver', client); return true },
    published: ({ client }) => { note('published', client) },
    unsubscribed: ({ client }) => { note('unsubscribed', client) },
    disconnected: ({ client }) => { note('disconnected', client) },
  }
  const test = await startBroker<Account>(t, { hooks })
  const [client, connack] = await connect(test)
  t.equal(connack.properties?.assignedClientIdentifier, 'acme-1', '[MQTT-3.2.2-16]')
  await client.subscribe('a')
  client.publish('a', 'x')
  client.send({ type: PacketType.unsubscribe, packetIdentifier: 1, topicFilters: ['a'], properties: undefined })
  await settled()
  t.strictSame([...test.broker.clients()].map(({ data }) => data.tenant), ['acme'])
  client.disconnect()
  await settled()
  const all = ['onConnect', 'connected', 'authorizeSubscribe', 'onSubscribe', 'subscribed', 'authorizePublish', 'onPublish', 'authorizeTopic', 'authorizeDeliver', 'published', 'unsubscribed', 'disconnected']
  t.strictSame(seen, all.map(hook => `${hook} acme token-user acme-1`))
})

t.test('authorize: every plugin must allow, the first refusal wins, in order, at once or with promises', async t => {
  const asked: string[] = []
  const answers = new Map<string, boolean | ReasonCode>()
  const plugins = ['a', 'b', 'c'].map(name => {
    const answer = (): boolean | ReasonCode => { asked.push(name); return answers.get(name) ?? true }
    return { name, hooks: { authorizePublish: name === 'b' ? () => Promise.resolve(answer()) : answer, authorizeSubscribe: name === 'a' ? () => Promise.resolve(answer()) : answer } }
  })
  const [client] = await connect(await startBroker(t, { plugins }))
  const publish = async (): Promise<Packet | undefined> => (await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take())[0]
  t.match(await publish(), { reasonCode: ReasonCode.noMatchingSubscribers })
  t.match(await client.subscribe('x', { qos: 1 }), { reasonCodes: [1] })
  t.strictSame(asked.splice(0), ['a', 'b', 'c', 'a', 'b', 'c'])
  answers.set('b', ReasonCode.quotaExceeded).set('c', false)
  t.match(await publish(), { reasonCode: ReasonCode.quotaExceeded })
  t.match(await client.subscribe('z'), { reasonCodes: [ReasonCode.quotaExceeded] })
  t.strictSame(asked, ['a', 'b', 'a', 'b'], 'who comes after a refusal is not asked')
})

t.test('authorize: what is neither true nor a Reason Code refuses', async t => {
  for (const answer of [undefined, null, 1, 'yes', 0x7f]) {
    const [client] = await connect(await startBroker(t, { hooks: { authorizeSubscribe: () => answer as unknown as boolean } }))
    t.match(await client.subscribe('a'), { reasonCodes: [ReasonCode.notAuthorized] }, String(answer))
  }
})

t.test('one SUBSCRIBE gets one SUBACK, its codes in the order of its filters, however the answers come [MQTT-3.8.4-6]', async t => {
  const slow = deferred<boolean>()
  const authorizeSubscribe = ({ topicFilter }: { topicFilter: string }): boolean | Promise<boolean> => topicFilter === 'slow' ? slow.promise : topicFilter !== 'no'
  const [client] = await connect(await startBroker(t, { hooks: { authorizeSubscribe } }))
  const subscriptions = ['a', 'slow', 'no', 'x'.repeat(4097)].map(plain)
  client.send({ type: PacketType.subscribe, packetIdentifier: 9, subscriptions, properties: undefined })
  t.strictSame(await client.take(), [], 'it waits')
  slow.resolve(true)
  t.match(await client.take(), [{ type: PacketType.suback, packetIdentifier: 9, reasonCodes: [1, 1, ReasonCode.notAuthorized, ReasonCode.topicFilterInvalid] }])
})

t.test('while a hook is pending the connection\'s packets wait in order, its socket is paused, and nobody else notices', async t => {
  const gate = deferred<boolean>()
  const authorizePublish = ({ client, topicName }: PublishRequest): boolean | Promise<boolean> => client.clientIdentifier === 'slow' && topicName === 'a/0' ? gate.promise : true
  const test = await startBroker(t, { hooks: { authorizePublish }, limits: { maximumPendingBytes: 1000 } })
  const [slow] = await connect(test, { clientIdentifier: 'slow' })
  const [fast] = await connect(test, { clientIdentifier: 'fast' })
  await fast.subscribe('a/+')
  const before = test.broker.metrics.bytesReceived
  const packet = 'x'.repeat(500)
  for (let i = 0; i < 400; i++) slow.publish(`a/${i}`, packet)
  slow.send({ type: PacketType.pingreq })
  await settled()
  t.ok(test.broker.metrics.bytesReceived - before < 100_000, 'half of it is not even read')
  t.ok(slow.stream.writableLength > 50_000, 'the sender feels it')
  fast.publish('a/own', 'own')
  t.strictSame(await fast.payloads(), ['own'])
  gate.resolve(true)
  await settled()
  const names = (await fast.messages()).map(({ topic }) => topic.name)
  for (let i = 0; i < 20; i++) names.push(...(await fast.messages()).map(({ topic }) => topic.name))
  t.strictSame(names, Array.from({ length: 400 }, (_, i) => `a/${i}`))
  t.match(await slow.take(), [{ type: PacketType.pingresp }])
})

t.test('the signal is aborted when the Client leaves, and nothing follows from a late answer', async t => {
  const gates = { authenticate: deferred<boolean>(), authorizePublish: deferred<boolean>() }
  const signals: AbortSignal[] = []
  const test = await startObserved(t, {
    hooks: {
      authenticate: ({ signal, clientIdentifier }) => clientIdentifier === 'new' ? (signals.push(signal), gates.authenticate.promise) : true,
      authorizePublish: ({ client }) => { signals.push(client.signal); return gates.authorizePublish.promise },
    },
  })
  const [fresh] = await tryConnect(test, { clientIdentifier: 'new' })
  const [known] = await connect(test, { clientIdentifier: 'known' })
  known.publish('a', 'x')
  await settled()
  t.strictSame(signals.map(({ aborted }) => aborted), [false, false])
  await fresh.vanish()
  await known.vanish()
  t.strictSame(signals.map(({ aborted }) => aborted), [true, true])
  gates.authenticate.resolve(true)
  gates.authorizePublish.resolve(true)
  await settled()
  t.strictSame([...test.broker.clients()], [])
  t.equal(test.broker.metrics.clientsConnected, 0)
  t.strictSame(test.logger.lines, [])
})

t.test('onPublish: patches build on each other and change topic, payload, QoS, RETAIN and properties', async t => {
  const patches: MessagePatch[] = [{ topicName: 'b', payload: Buffer.from('2'), qos: 1 }, { retain: true, properties: { contentType: 'text' } }, {}]
  const seen: string[] = []
  const plugins = patches.map((patch, i) => ({
    name: `patch ${i}`,
    hooks: { onPublish: ({ message }: { message: { topicName: string, payload: Buffer } }) => { seen.push(`${message.topicName} ${message.payload.toString()}`); return i === 1 ? Promise.resolve(patch) : patch } },
  }))
  const test = await startBroker(t, { plugins })
  const [client] = await connect(test)
  await client.subscribe('#')
  await client.publish('a', '1').take()
  t.strictSame(seen, ['a 1', 'b 2', 'b 2'])
  await client.subscribe('b')
  t.match(await client.messages(), [{ qos: 1, retain: true, topic: { name: 'b' }, payload: Buffer.from('2'), properties: { contentType: 'text' } }])
})

forEachVersion(t, 'what was not allowed is counted, and in the log at debug, whatever the Client is told', async (t, protocolVersion) => {
  const details: object[] = []
  const logger = { ...silentLogger, debug: (detail: object) => { details.push(detail) } }
  const hooks: Hooks = { authorizePublish: ({ topicName }) => topicName === 'late' ? Promise.resolve(false) : topicName === 'mine', authorizeSubscribe: () => false }
  const test = await startBroker(t, { logger, hooks })
  const [client] = await connect(test, { protocolVersion, clientIdentifier: 'c' })
  for (const topicName of ['mine', 'yours', 'late']) await client.publish(topicName, 'x').take()
  await client.subscribe('#')
  t.match(details, [{ clientIdentifier: 'c', topicName: 'yours', reasonCode: ReasonCode.notAuthorized }, { topicName: 'late' }, { clientIdentifier: 'c', topicFilter: '#' }])
  t.equal(details.length, 3)
  t.match(test.broker.metrics, { messagesDenied: 2, subscriptionsDenied: 1 })
})

t.test('onPublish: a patch to what is no Topic Name refuses the message', async t => {
  const logger = new MemoryLogger()
  const [client] = await connect(await startBroker(t, { logger, hooks: { onPublish: () => ({ topicName: 'a/#' }) } }))
  t.match(await client.publish('a', '1', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.topicNameInvalid }])
  t.match(logger.take('error'), [/onPublish returned a patch that makes no message/], 'the publisher has done nothing wrong')
})

t.test('onSubscribe and onConnect patch what is granted and told', async t => {
  const connectPatch = { keepAlive: 30, sessionExpiryInterval: 60, responseInformation: 'r/', userProperties: [['region', 'eu']] as const }
  const test = await startBroker(t, { hooks: { onSubscribe: () => ({ qos: 0 }), onConnect: () => ({ ...connectPatch, keepAlive: 99 }) }, plugins: [{ name: 'later', hooks: { onConnect: () => Promise.resolve({ keepAlive: 30 }) } }] })
  const [client, connack] = await connect(test, { properties: { requestResponseInformation: 1 } })
  t.match(connack.properties, { serverKeepAlive: 30, sessionExpiryInterval: 60, responseInformation: 'r/', userProperties: [['region', 'eu']] })
  t.match(await client.subscribe('a', { qos: 2 }), { reasonCodes: [0] })
  await test.broker.publish('a', 'x', { qos: 1 })
  t.match(await client.messages(), [{ qos: 0 }])
  await test.clock.advance(44_000)
  t.equal(client.isEnded, false)
  await test.clock.advance(2_000)
  t.equal(client.isEnded, true, '1.5 times the Keep Alive of the patch')
})

t.test('what observers throw or reject with is logged and changes nothing', async t => {
  for (const fail of [() => { throw new Error('observer') }, () => { void 0; return Promise.reject(new Error('observer')) as unknown as undefined }]) {
    const logger = new MemoryLogger()
    const names = ['onDrop', 'connected', 'refused', 'disconnected', 'subscribed', 'unsubscribed', 'published', 'sessionEnded'] as const
    const test = await startBroker(t, { logger, hooks: { ...Object.fromEntries(names.map(name => [name, fail])), authenticate: ({ username }) => username !== 'bad' } })
    await tryConnect(test, { username: 'bad' })
    const [client] = await connect(test)
    t.match(await client.subscribe('a'), { reasonCodes: [2] })
    t.strictSame(await client.publish('a', 'x').payloads(), ['x'])
    client.send({ type: PacketType.unsubscribe, packetIdentifier: 1, topicFilters: ['a'], properties: undefined })
    t.match(await client.take(), [{ type: PacketType.unsuback, reasonCodes: [0] }])
    const [away] = await connect(test, { clientIdentifier: 'away', properties: { sessionExpiryInterval: 10 } })
    await away.subscribe('b', { qos: 1 })
    await away.vanish()
    await test.broker.publish('b', 'x')
    await test.clock.advance(11_000)
    const failed = logger.take('error')
    for (const name of names) t.ok(failed.some(line => line.includes(` ${name} `)), name)
  }
})

t.test('hook() registers, the returned function takes out; unknown names and what is no function throw', async t => {
  const { broker, ...test } = await startBroker(t)
  const unhook = broker.hook({ authorizeSubscribe: () => false })
  const [client] = await connect({ broker, ...test })
  t.match(await client.subscribe('a'), { reasonCodes: [ReasonCode.notAuthorized] })
  unhook()
  t.match(await client.subscribe('a'), { reasonCodes: [2] })
  unhook()
  t.throws(() => broker.hook({ autorizePublish: () => false } as Hooks), { code: ErrorCode.optionInvalid, message: /hooks\.autorizePublish/ })
  t.throws(() => broker.hook({ onPublish: true } as unknown as Hooks), { code: ErrorCode.optionInvalid, message: /hooks\.onPublish/ })
  await t.rejects(startBroker(t, { hooks: { authorise: () => false } as Hooks }), { code: ErrorCode.optionInvalid, message: /hooks\.authorise/ })
})

const denials = [['acknowledge', PacketType.puback, false], ['ignore', undefined, false], ['close', undefined, true]] as const
for (const [deniedPublish, answer, isEnded] of denials) {
  t.test(`deniedPublish ${deniedPublish}: what a 3.1.1 Client may not publish; 5.0 is told 0x87`, async t => {
    const test = await startBroker(t, { deniedPublish, hooks: { authorizePublish: () => false } })
    const subscription = test.broker.subscribe('#', () => { t.fail('nothing is routed') })
    const [old] = await connect(test, { protocolVersion: 4 })
    const [answered] = await old.publish('a', 'x', { qos: 1, packetIdentifier: 3 }).take()
    t.equal(answered?.type, answer)
    t.equal(old.isEnded, isEnded)
    const [modern] = await connect(test, { clientIdentifier: 'modern' })
    t.match(await modern.publish('a', 'x', { qos: 1, packetIdentifier: 3 }).take(), [{ type: PacketType.puback, packetIdentifier: 3, reasonCode: ReasonCode.notAuthorized }])
    t.match(await modern.publish('a', 'x', { qos: 2, packetIdentifier: 4 }).take(), [{ type: PacketType.pubrec, packetIdentifier: 4, reasonCode: ReasonCode.notAuthorized }])
    t.equal(modern.isEnded, false, 'it stays connected')
    subscription.unsubscribe()
  })
}
