import t, { type Test } from 'tap'
import { ErrorCode, ReasonCode, type Allow, type AuthenticateResult, type AuthorizeResult, type Broker, type ConnectionInfo, type Hooks, type MaybePromise, type Plugin } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { allOf, anyOf, chain, when, type ConnectionCondition } from '../plugins/chain/index.ts'
import { connect, connectPacket, PacketClient, startBroker, type TestBroker } from './support/harness.ts'
import { startObserved, tryConnect } from './support/observe.ts'

t.setTimeout(120_000) // many brokers, on a machine that may be busy

type Ask<T> = () => MaybePromise<T>
const broken = (): never => { throw new Error('broken') }
const late = <T>(value: T): Ask<T> => () => Promise.resolve(value)
const thenable = <T>(value: T): Ask<T> => () => ({ then: (resolve: (value: T) => void) => { resolve(value) } }) as unknown as Promise<T>
const plugin = (name: string, hooks: Hooks): Plugin => ({ name, hooks: hooks as Hooks<unknown, never> })

async function authenticated (t: Test, combined: Plugin): Promise<Partial<Record<'code', ReasonCode>> & { test: TestBroker }> {
  const test = await startBroker(t, { plugins: [combined] })
  const [, connack] = await tryConnect(test, { clientIdentifier: 'c', username: 'u' })
  return connack === undefined ? { test } : { code: connack.reasonCode, test }
}

t.test('chain: plugins are set up in order, closed in reverse, reloaded together, and asked in order', async t => {
  const log: string[] = []
  const member = (name: string): Plugin & { reload (): Promise<void> } => ({
    name,
    hooks: { authorizePublish: () => { log.push(`ask ${name}`); return true } },
    setup: () => { log.push(`set up ${name}`) },
    close: () => { log.push(`close ${name}`) },
    reload: () => { log.push(`reload ${name}`); return name === 'b' ? Promise.reject(new Error('bad file')) : Promise.resolve() },
  })
  const both = chain({ name: 'both', plugins: [member('b'), chain({ name: 'inner', plugins: [member('c')] }), { name: 'plain' }] })
  const test = await startBroker(t, { plugins: [member('a'), both, member('d')] })
  const [client] = await connect(test)
  await client.publish('x', 'y').take()
  await t.rejects(both.reload(), { message: 'bad file' })
  const closing = test.broker.close()
  await test.clock.advance(0)
  await closing
  const expected = ['set up a', 'set up b', 'set up c', 'set up d', 'ask a', 'ask b', 'ask c', 'ask d', 'reload b', 'reload c', 'close d', 'close c', 'close b', 'close a']
  t.strictSame(log, expected)
})

t.test('chain: hooks of each kind mean what they mean in the broker', async t => {
  const patch = (name: string): Hooks => ({ onPublish: ({ message }) => ({ payload: Buffer.from(`${message.payload.toString()}${name}`) }) })
  const combined = chain({ name: 'both', plugins: [plugin('a', { ...patch('a'), authenticate: () => undefined }), plugin('b', { ...patch('b'), authenticate: () => ({ allow: true, username: 'bob' }) })] })
  const test = await startBroker(t, { plugins: [combined] })
  const [client] = await connect(test)
  await client.subscribe('x')
  t.strictSame(await client.publish('x', '-').payloads(), ['-ab'])
  t.strictSame([...test.broker.clients()].map(({ username }) => username), ['bob'])
})

t.test('a member that cannot be set up stops the broker; what was set up before it is closed, and its hooks are gone', async t => {
  const log: string[] = []
  const first: Plugin = { name: 'first', hooks: { authorizePublish: () => false }, close: () => { log.push('closed') } }
  const failing: Plugin = { name: 'failing', setup: broken }
  const test = await startBroker(t)
  for (const combined of [chain({ name: 'x', plugins: [first, failing] }), anyOf(first, failing), allOf(first, failing)]) {
    await t.rejects(test.broker.use(combined), { message: 'broken' })
    t.strictSame(log.splice(0), ['closed'])
  }
  const [client] = await connect(test)
  t.match(await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.noMatchingSubscribers }])
})

const answers: readonly (readonly [answers: Ask<AuthenticateResult>[], anyOf: ReasonCode, allOf: ReasonCode])[] = [
  [[() => true, () => true], 0, 0],
  [[() => true, () => false], 0, 0x86],
  [[() => false, () => true], 0, 0x86],
  [[() => false, () => ({ allow: false, reasonCode: ReasonCode.banned })], 0x86, 0x86],
  [[() => ({ allow: false, reasonCode: ReasonCode.banned }), () => undefined], ReasonCode.banned, ReasonCode.banned],
  [[() => undefined, () => ({ allow: false, reasonCode: ReasonCode.banned })], ReasonCode.banned, 0x86],
  [[() => undefined, () => true], 0, 0x86],
  [[() => true, () => undefined], 0, 0x86],
  [[() => undefined, () => undefined], 0x86, 0x86],
  [[broken, () => true], 0, ReasonCode.notAuthorized],
  [[() => true, broken], 0, ReasonCode.notAuthorized],
  [[broken, broken], 0x86, ReasonCode.notAuthorized],
  [[late<AuthenticateResult>(false), late<AuthenticateResult>(true)], 0, 0x86],
  [[late<AuthenticateResult>(true), late<AuthenticateResult>(false)], 0, 0x86],
  [[late<AuthenticateResult>(true), () => true, late<AuthenticateResult>(true)], 0, 0],
  [[thenable<AuthenticateResult>(true), thenable<AuthenticateResult>(false)], 0, 0x86],
  [[thenable<AuthenticateResult>(false), thenable<AuthenticateResult>(true)], 0, 0x86],
  [[() => Promise.reject(new Error('late')), late<AuthenticateResult>(true)], 0, ReasonCode.notAuthorized],
  [[() => ({ allow: true, username: 'a' }), () => ({ allow: true, username: 'b' })], 0, 0x86],
  [[() => ({ allow: true, clientIdentifier: 'a' }), () => ({ allow: true, clientIdentifier: 'b' })], 0, 0x86],
  [[() => ({ allow: true, username: 'a' }), () => ({ allow: true, username: 'a' })], 0, 0],
]

t.test('authenticate: anyOf is content with one that allows, allOf with all; failing is refusing', async t => {
  for (const [asked, any, all] of answers) {
    const members = asked.map((authenticate, i) => plugin(`p${i}`, { authenticate }))
    const what = asked.map(String).join(', ')
    t.equal((await authenticated(t, anyOf(...members, plugin('other', {})))).code, any, `any of ${what}`)
    t.equal((await authenticated(t, allOf(...members, plugin('other', {})))).code, all, `all of ${what}`)
  }
})

t.test('a member without authenticate has no say in it; where none has it, everybody is let in as ever', async t => {
  for (const combine of [anyOf, allOf]) {
    t.equal((await authenticated(t, combine(plugin('a', {}), plugin('b', { authorizePublish: () => true })))).code, 0)
    t.equal((await authenticated(t, combine(plugin('a', {}), plugin('b', { authenticate: () => false })))).code, 0x86)
  }
})

t.test('allOf: what the plugins say of the Client is put together, the earliest end counts', async t => {
  const one: Allow = { allow: true, username: 'device-1', claims: { a: 1, both: 1 }, expiresAt: 1_000_000_000_900, data: 'one' }
  const two: Allow = { allow: true, claims: { b: 2, both: 2 }, expiresAt: 1_000_000_000_700 }
  const events: string[] = []
  const test = await startBroker(t, { plugins: [allOf(plugin('a', { authenticate: () => one }), plugin('b', { authenticate: late<AuthenticateResult>(two) }), plugin('c', { authenticate: () => true }))] })
  test.broker.hook({ disconnected: ({ reasonCode }) => { events.push(String(reasonCode)) } })
  await tryConnect(test, { username: 'u' })
  t.match([...test.broker.clients()], [{ username: 'device-1', claims: { a: 1, b: 2, both: 2 }, data: 'one' }])
  await test.clock.advance(1000)
  t.strictSame(events, [String(ReasonCode.maximumConnectTime)])
})

const verdicts: readonly (readonly [answers: Ask<AuthorizeResult>[], anyOf: ReasonCode, allOf: ReasonCode])[] = [
  [[() => true, () => false], 0x10, 0x87],
  [[() => false, () => true], 0x10, 0x87],
  [[() => ReasonCode.quotaExceeded, () => false], ReasonCode.quotaExceeded, ReasonCode.quotaExceeded],
  [[late<AuthorizeResult>(ReasonCode.quotaExceeded), () => false], ReasonCode.quotaExceeded, ReasonCode.quotaExceeded],
  [[late<AuthorizeResult>(false), late<AuthorizeResult>(true)], 0x10, 0x87],
  [[thenable<AuthorizeResult>(false), thenable<AuthorizeResult>(true)], 0x10, 0x87],
  [[broken, () => true], 0x10, 0x87],
  [[broken, () => Promise.reject(new Error('late'))], 0x87, 0x87],
  [[() => undefined as never, () => 'yes' as never], 0x87, 0x87],
]

t.test('authorize: anyOf is content with one plugin that allows, allOf with all', async t => {
  for (const [asked, any, all] of verdicts) {
    const members = asked.map((answer, i) => plugin(`p${i}`, { authorizePublish: answer, authorizeSubscribe: answer }))
    for (const [combined, code] of [[anyOf(...members, plugin('other', {})), any], [allOf(...members, plugin('other', {})), all]] as const) {
      const [client] = await connect(await startBroker(t, { plugins: [combined] }))
      t.match(await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take(), [{ type: PacketType.puback, reasonCode: code }], `${combined.name} of ${asked.map(String).join(', ')}`)
      t.match(await client.subscribe('x', { qos: 0 }), { reasonCodes: [code === 0x10 ? 0 : code] })
    }
  }
})

t.test('authorizeConnection and authorizeDeliver: at once, and a promise is a refusal', async t => {
  const outcomes: readonly (readonly [answers: (() => unknown)[], anyOf: boolean])[] = [
    [[() => false, () => true], true], [[broken, () => true], true], [[() => false, broken], false], [[late(true), () => false], false], [[() => Promise.reject(new Error('x')), () => 1], false], [[thenable(true)], false],
  ]
  for (const [asked, isAllowed] of outcomes) {
    const members = asked.map((answer, i) => plugin(`p${i}`, { authorizeConnection: answer as () => boolean }))
    t.equal((await authenticated(t, anyOf(...members))).code, isAllowed ? 0 : undefined, asked.map(String).join(', '))
    const test = await startBroker(t, { plugins: [anyOf(...asked.map((answer, i) => plugin(`p${i}`, { authorizeDeliver: answer as () => boolean })))] })
    const [client] = await connect(test)
    await client.subscribe('x')
    await test.broker.publish('x', 'y')
    t.equal((await client.payloads()).length, isAllowed ? 1 : 0)
  }
})

t.test('anyOf: that nobody allows a topic is not remembered when one of them failed', async t => {
  for (const [failing, payloads] of [[false, ['1', '2']], [true, ['2']]] as const) {
    let isBroken: boolean = failing
    const authorizeTopic = (): boolean => isBroken ? broken() : true
    const test = await startBroker(t, { plugins: [anyOf(plugin('a', { authorizeTopic: () => false }), plugin('b', { authorizeTopic }))] })
    const [client] = await connect(test)
    await client.subscribe('x')
    await test.broker.publish('x', '1')
    isBroken = false
    await test.broker.publish('x', '2')
    t.strictSame(await client.payloads(), payloads)
  }
})

t.test('anyOf: of one plugin all hooks must allow, those that it adds later too', async t => {
  const late: (() => void)[] = []
  const adding: Plugin = { name: 'adding', hooks: { authorizePublish: () => true }, setup: (broker: Broker) => { late.push(() => { late.push(broker.hook({ authorizePublish: () => false })) }) } }
  const [client] = await connect(await startBroker(t, { plugins: [anyOf(adding, plugin('b', { authorizePublish: () => false }))] }))
  const code = async (): Promise<unknown> => (await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take()).map(packet => 'reasonCode' in packet && packet.reasonCode)[0]
  t.equal(await code(), ReasonCode.noMatchingSubscribers)
  late[0]?.()
  t.equal(await code(), ReasonCode.notAuthorized)
  late[1]?.()
  t.equal(await code(), ReasonCode.noMatchingSubscribers)
})

/** A Client of a listener, from an address. */
async function from (test: TestBroker, listener: string, address = '10.0.0.1', fields = {}): Promise<PacketClient> {
  const client = new PacketClient(test.broker, 5, test.broker.listener({ name: listener, proxyProtocol: true }))
  client.stream.write(`PROXY TCP4 ${address} 10.0.0.254 1000 1883\r\n`)
  client.send(connectPacket({ clientIdentifier: `${listener}-${address}`, ...fields }))
  await client.settle()
  return client
}

t.test('when: for other connections the plugin is not there', async t => {
  const log: string[] = []
  const note = (name: string) => (): undefined => { log.push(name) }
  const hooks: Hooks = {
    authorizeConnection: () => { log.push('authorizeConnection'); return true },
    authenticate: () => { log.push('authenticate'); return true },
    authorizePublish: () => { log.push('authorizePublish'); return true },
    authorizeSubscribe: () => { log.push('authorizeSubscribe'); return true },
    authorizeDeliver: () => { log.push('authorizeDeliver'); return true },
    onConnect: note('onConnect'), onPublish: note('onPublish'), onSubscribe: note('onSubscribe'), onDrop: note('onDrop'), connected: note('connected'), refused: note('refused'),
    disconnected: note('disconnected'), subscribed: note('subscribed'), unsubscribed: note('unsubscribed'), published: note('published'), sessionEnded: note('sessionEnded'),
  }
  const run = async (listener: string): Promise<string[]> => {
    const test = await startBroker(t, { plugins: [when({ listener: 'inside' }, plugin('p', hooks)), plugin('rest', { authenticate: ({ username }) => username !== 'nobody' })] })
    const client = await from(test, listener)
    await client.subscribe('x')
    client.send({ type: PacketType.unsubscribe, packetIdentifier: 1, topicFilters: ['x'], properties: undefined })
    await client.subscribe('x')
    await client.publish('x', 'y').take()
    client.disconnect()
    await client.take()
    const refused = new PacketClient(test.broker, 5, test.broker.listener({ name: listener }))
    await refused.write('00').take()
    return log.splice(0)
  }
  const told = await run('inside')
  t.strictSame([...new Set(told)].sort(), Object.keys(hooks).filter(name => name !== 'onDrop').sort())
  t.strictSame(await run('outside'), ['sessionEnded'])
})

t.test('when: its authenticate says "not mine" of others, its refusals are not theirs, what fails refuses', async t => {
  const strict = plugin('strict', { authenticate: () => false, authorizePublish: () => false })
  const code = async (plugins: Plugin[], listener: string): Promise<unknown> => {
    const client = await from(await startBroker(t, { plugins }), listener)
    const [connack] = await client.take()
    return connack?.type === PacketType.connack ? connack.reasonCode : undefined
  }
  t.equal(await code([when({ listener: 'internet' }, strict)], 'inside'), ReasonCode.notAuthorized, 'all abstain')
  t.equal(await code([when({ listener: 'internet' }, strict), plugin('all', { authenticate: () => true })], 'inside'), 0)
  t.equal(await code([when({ listener: 'internet' }, strict), plugin('all', { authenticate: () => true })], 'internet'), ReasonCode.notAuthorized)
  t.equal(await code([when(broken, plugin('open', { authenticate: () => true }))], 'inside'), ReasonCode.notAuthorized)
})

t.test('when: conditions', async t => {
  const cases: readonly (readonly [condition: ConnectionCondition | ((connection: ConnectionInfo) => boolean), isFor: boolean])[] = [
    [{ listener: 'inside' }, true], [{ listener: ['a', 'inside'] }, true], [{ listener: 'a' }, false],
    [{ address: '10.0.0.0/8' }, true], [{ address: ['192.168.0.0/16', '10.0.0.1'] }, true], [{ address: '10.0.0.2' }, false], [{ address: '2001:db8::/32' }, false],
    [{ transport: 'stream' }, true], [{ transport: 'websocket' }, false], [{ listener: 'inside', address: '11.0.0.0/8' }, false],
    [({ listener }) => listener === 'inside', true], [() => false, false],
  ]
  for (const [condition, isFor] of cases) {
    const test = await startBroker(t, { plugins: [when(condition, plugin('p', { authorizePublish: () => false }))] })
    const client = await from(test, 'inside')
    await client.take()
    const [puback] = await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take()
    t.match(puback, { reasonCode: isFor ? ReasonCode.notAuthorized : ReasonCode.noMatchingSubscribers }, JSON.stringify(condition))
  }
  const unknown = await startBroker(t, { plugins: [when({ address: '0.0.0.0/0' }, plugin('p', { authorizePublish: () => false }))] })
  const [client] = await connect(unknown)
  t.match(await client.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.noMatchingSubscribers }], 'a connection without an address has none')
})

t.test('when: hooks that a plugin adds in setup do not get round it; a plugin that adds plugins is refused', async t => {
  const sneaky: Plugin = { name: 'sneaky', setup: (broker: Broker) => { broker.hook({ authorizePublish: () => broker.limits.maximumPacketSize === 0 }) } }
  const test = await startBroker(t, { plugins: [when({ listener: 'internet' }, sneaky)] })
  const [inside] = await connect(test)
  t.match(await inside.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.noMatchingSubscribers }])
  const internet = await from(test, 'internet')
  await internet.take()
  t.match(await internet.publish('x', 'y', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.notAuthorized }])
  const adding: Plugin = { name: 'adding', setup: async (broker: Broker) => { await broker.use({ name: 'more' }) } }
  await t.rejects(startBroker(t, { plugins: [when({ listener: 'x' }, adding)] }), { code: ErrorCode.optionInvalid })
})

t.test('authentication methods: when keeps them to its connections, allOf takes none', async t => {
  const token: Plugin = { name: 'token', authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true }) }) }] }
  const test = await startBroker(t, { plugins: [when({ listener: 'inside' }, chain({ name: 'x', plugins: [anyOf(token)] }))] })
  const code = async (listener: string): Promise<unknown> => (await (await from(test, listener, '10.0.0.1', { properties: { authenticationMethod: 'token' } })).take()).map(packet => 'reasonCode' in packet && packet.reasonCode)[0]
  t.strictSame([await code('inside'), await code('outside')], [0, ReasonCode.notAuthorized])
  t.throws(() => allOf(plugin('a', {}), token), { code: ErrorCode.optionInvalid })
})

t.test('a hook that is not known is an error, whatever plugin has it', async t => {
  const odd = plugin('odd', { authorisePublish: () => false } as Hooks)
  const none = plugin('none', { authorizePublish: 'no' as never })
  for (const wrong of [odd, none]) {
    for (const combined of [chain({ name: 'c', plugins: [wrong] }), anyOf(wrong), allOf(wrong), when({ listener: 'x' }, wrong), when(() => true, anyOf(chain({ name: 'c', plugins: [wrong] })))]) {
      await t.rejects(startBroker(t, { plugins: [combined] }), { code: ErrorCode.optionInvalid, message: /hooks\.authori[sz]ePublish/ }, combined.name)
    }
  }
})

t.test('wrong options are said at once', t => {
  const a = plugin('a', {})
  const wrong: readonly (() => unknown)[] = [
    () => chain({ name: '', plugins: [a] }), () => chain({ name: 'x', plugins: [] }), () => chain({ name: 'x', plugins: [a, a] }), () => chain({ name: 'x', plugins: [a], order: 1 } as never), () => chain({ name: 'x', plugins: ['a'] as never }),
    () => anyOf(), () => allOf(), () => anyOf(a, a), () => anyOf({} as never), () => when({}, a), () => when(null as never, a), () => when({ listeners: 'x' } as never, a), () => when({ listener: [] }, a), () => when({ listener: '' }, a),
    () => when({ address: '10.0.0.0/40' }, a), () => when({ transport: 'tcp' as never }, a), () => when({ address: 7 as never }, a),
  ]
  for (const call of wrong) t.throws(call, { code: ErrorCode.optionInvalid }, String(call))
  t.end()
})

t.test('a hook of a combinator that never answers is late as any other is', async t => {
  for (const combine of [anyOf, allOf]) {
    const test = await startObserved(t, { hookTimeoutMs: 200 })
    await test.broker.use(combine(plugin('a', { authenticate: () => new Promise<never>(() => undefined) }), plugin('b', { authenticate: () => true })))
    const [client, before] = await tryConnect(test)
    t.equal(before, undefined)
    await test.clock.advance(200)
    t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.notAuthorized }])
  }
})
