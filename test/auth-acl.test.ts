import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { ErrorCode, ReasonCode, type Allow, type Broker, type Claims, type Plugin } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { accessRules, mosquittoAcl, type AccessRule, type AccessRulesOptions, type RulesPlugin } from '../plugins/acl/index.ts'
import { connect, connectPacket, forEachVersion, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { deferred, MemoryLogger, startObserved, tryConnect } from './support/observe.ts'

t.setTimeout(120_000) // many Clients, on a machine that may be busy

interface Rules extends TestBroker { readonly acl: RulesPlugin, readonly logger: MemoryLogger, readonly watched: string[] }

/** Whoever comes is who the password says, as JSON. */
const anybody: Plugin = {
  name: 'anybody',
  hooks: { authenticate: ({ password }) => password === undefined ? true : JSON.parse(password.toString()) as Allow<never> },
}

async function start (t: Test, acl: RulesPlugin): Promise<Rules> {
  const logger = new MemoryLogger()
  const test = await startBroker(t, { logger, plugins: [anybody, acl] })
  const watched: string[] = []
  test.broker.subscribe('#', ({ topicName }) => { watched.push(topicName) })
  return { ...test, acl, logger, watched }
}

const startRules = (t: Test, rules: readonly AccessRule[], options: object = {}): Promise<Rules> => start(t, accessRules({ rules, ...options }))

/** CONNECT of somebody whom `authenticate` takes for what these claims say. */
function withClaims (claims: Claims, fields: Partial<ConnectPacket> = {}): Partial<ConnectPacket> {
  return { password: Buffer.from(JSON.stringify({ allow: true, claims })), ...fields }
}

async function mayPublish (client: PacketClient, topicName: string, fields: object = {}): Promise<boolean> {
  const answers = await client.publish(topicName, 'x', { qos: 1, packetIdentifier: 7, ...fields }).take()
  return answers.some(answer => answer.type === PacketType.puback && answer.reasonCode < 0x80)
}

async function maySubscribe (client: PacketClient, topicFilter: string, qos: 0 | 1 | 2 = 0): Promise<boolean> {
  const suback = await client.subscribe(topicFilter, { qos })
  return Number(suback?.reasonCodes[0]) < 0x80
}

async function until (isSo: () => boolean): Promise<void> {
  while (!isSo()) await settled()
}

t.test('the first rule that matches decides; what none matches is denied', async t => {
  const test = await startRules(t, [
    { allow: 'publish', topics: 'a/secret/mine' },
    { deny: 'publish', topics: ['a/secret/#', 'b'] },
    { allow: ['publish', 'subscribe'], topics: ['a/#', 'b'] },
  ])
  const [client] = await connect(test)
  for (const [topic, isAllowed] of [['a/x', true], ['a', true], ['a/secret/mine', true], ['a/secret/yours', false], ['a/secret', false], ['b', false], ['c', false], ['A/x', false]] as const) {
    t.equal(await mayPublish(client, topic), isAllowed, topic)
    t.equal(await mayPublish(client, topic), isAllowed, `${topic}, remembered`)
  }
})

t.test('default: what no rule matches', async t => {
  const rules: AccessRule[] = [{ deny: ['publish', 'subscribe'], topics: 'a/b' }]
  const [client] = await connect(await startRules(t, rules, { default: 'allow' }))
  t.strictSame([await mayPublish(client, 'a/b'), await mayPublish(client, 'a/c')], [false, true])
  t.strictSame([await maySubscribe(client, 'a/c'), await maySubscribe(client, 'a/+'), await maySubscribe(client, '#')], [true, false, false])
  const [nobody] = await connect(await startRules(t, []))
  t.strictSame([await mayPublish(nobody, 'a'), await maySubscribe(nobody, 'a')], [false, false], 'no rules allow nothing')
})

forEachVersion(t, 'a subscription is allowed when all that it can match is', async (t, protocolVersion) => {
  const test = await startRules(t, [
    { allow: 'subscribe', topics: 'a/open/x' },
    { deny: 'subscribe', topics: 'a/+/x' },
    { allow: 'subscribe', topics: ['a/#', 'b/+/c', '$SYS/broker/uptime'] },
  ])
  const [client] = await connect(test, { protocolVersion })
  const allowed = ['a/open/x', 'a', 'a/b', 'a/b/y', 'a/+', 'a/b/c/#', 'b/+/c', 'b/1/c', '$share/g/a/b', '$SYS/broker/uptime']
  const denied = ['#', '+', '+/#', 'a/#', 'a/+/+', 'a/b/x', 'a/b/+', 'a/b/#', 'b/#', 'b/+', 'b/+/#', '$share/g/#', '$share/g/a/b/x', '$SYS/#', '$SYS/broker/+', '/a/b']
  for (const filter of allowed) t.equal(await maySubscribe(client, filter), true, filter)
  for (const filter of denied) t.equal(await maySubscribe(client, filter), false, filter)
})

t.test('wildcards at the front do not reach topics that begin with $ (4.7.2)', async t => {
  const [client] = await connect(await startRules(t, [{ allow: ['publish', 'subscribe'], topics: ['#', '+/x'] }]))
  t.strictSame([await maySubscribe(client, '#'), await maySubscribe(client, '+/#'), await maySubscribe(client, '+')], [true, true, true])
  t.strictSame([await maySubscribe(client, '$SYS/#'), await maySubscribe(client, '$x/y'), await mayPublish(client, '$x'), await mayPublish(client, '$x/x')], [false, false, false, false])
})

t.test('users, groups, clients, listeners, QoS and RETAIN', async t => {
  const test = await startRules(t, [
    { allow: 'publish', topics: 'users', users: ['ada', 'grace'] },
    { allow: 'publish', topics: 'anonymous', users: null },
    { allow: 'publish', topics: 'clients', clients: 'c1' },
    { allow: 'publish', topics: 'named', groups: 'operators' },
    { allow: 'publish', topics: 'claimed', groups: ['x', 'claimed'] },
    { allow: 'publish', topics: 'both', users: 'ada', clients: 'c1' },
    { allow: 'publish', topics: 'listener', listeners: 'inside' },
    { allow: 'publish', topics: 'qos', qos: [0, 1] },
    { allow: 'publish', topics: 'kept', retain: false },
    { allow: 'subscribe', topics: 'qos', qos: 0 },
  ], { groups: { operators: ['ada'], constructor: ['grace'] } })
  const granted = async (client: PacketClient): Promise<string[]> => {
    const topics: string[] = []
    for (const topic of ['users', 'anonymous', 'clients', 'named', 'claimed', 'both', 'listener']) if (await mayPublish(client, topic)) topics.push(topic)
    return topics
  }
  t.strictSame(await granted((await connect(test, { username: 'ada', clientIdentifier: 'c1' }))[0]), ['users', 'clients', 'named', 'both'])
  t.strictSame(await granted((await connect(test, { username: 'grace', clientIdentifier: 'c2' }))[0]), ['users'])
  t.strictSame(await granted((await connect(test, { clientIdentifier: 'c3' }))[0]), ['anonymous'])
  t.strictSame(await granted((await connect(test, withClaims({ groups: ['claimed', 7] }, { username: '' })))[0]), ['claimed'])
  t.strictSame(await granted((await connect(test, withClaims({ groups: 'operators' }, { username: 'x' })))[0]), ['named'])
  const inside = new PacketClient(test.broker, 5, test.broker.listener({ name: 'inside' }))
  inside.send(connectPacket({ clientIdentifier: 'in', username: 'x' }))
  await inside.take()
  t.strictSame(await granted(inside), ['listener'])
  const [client] = await connect(test, { clientIdentifier: 'c4' })
  t.equal(await mayPublish(client, 'qos'), true)
  t.match(await client.publish('qos', 'x', { qos: 2, packetIdentifier: 8 }).take(), [{ type: PacketType.pubrec, reasonCode: ReasonCode.notAuthorized }])
  t.equal(await mayPublish(client, 'qos'), true, 'one verdict does not stand for another')
  t.strictSame([await mayPublish(client, 'kept'), await mayPublish(client, 'kept', { retain: true }), await mayPublish(client, 'kept')], [true, false, true])
  t.strictSame([await maySubscribe(client, 'qos', 0), await maySubscribe(client, 'qos', 1)], [true, false])
})

t.test('addresses: ranges of both families, and a denying rule holds where there is none', async t => {
  const rules: AccessRule[] = [
    { deny: 'publish', topics: 'guarded', addresses: '10.0.0.66' },
    { allow: 'publish', topics: ['in', 'guarded'], addresses: ['10.0.0.0/8', '2001:db8::/32', 'fe80::1'] },
    { allow: 'publish', topics: ['free', 'guarded'] },
  ]
  const test = await startRules(t, rules)
  const rightsOf = async (client: PacketClient, clientIdentifier: string): Promise<boolean[]> => {
    client.send(connectPacket({ clientIdentifier }))
    await client.take()
    return [await mayPublish(client, 'in'), await mayPublish(client, 'guarded'), await mayPublish(client, 'free')]
  }
  const from = (header: string): Promise<boolean[]> => {
    const client = new PacketClient(test.broker, 5, test.broker.listener({ proxyProtocol: true }))
    client.stream.write(`PROXY ${header}\r\n`)
    return rightsOf(client, header.replaceAll(/\W/g, ''))
  }
  t.strictSame(await from('TCP4 10.1.2.3 10.0.0.1 1000 1883'), [true, true, true])
  t.strictSame(await from('TCP4 10.0.0.66 10.0.0.1 1000 1883'), [true, false, true])
  t.strictSame(await from('TCP4 11.1.2.3 10.0.0.1 1000 1883'), [false, true, true])
  t.strictSame(await from('TCP6 2001:db8::7 ::1 1000 1883'), [true, true, true])
  t.strictSame(await from('TCP6 ::ffff:10.1.2.3 ::1 1000 1883'), [true, true, true])
  t.strictSame(await from('UNKNOWN'), [false, false, true])
  const elsewhere = new PacketClient(test.broker, 5, stream => { test.broker.handle(Object.assign(stream, { remoteAddress: 'somewhere' })) })
  t.strictSame(await rightsOf(elsewhere, 'elsewhere'), [false, false, true])
})

t.test('places in filters: Client Identifier, User Name and claims, lists of them too', async t => {
  const test = await startRules(t, [
    { allow: ['publish', 'subscribe'], topics: ['c/${clientId}/#', 'u/user-${username}', '${username}/own/#'] },
    { allow: 'publish', topics: ['d/${claims.devices}/up', 't/${claims.https://example.com/tenant}', 'n/${claims.level}', 'twice/${claims.devices}/${claims.devices}'] },
  ])
  const [client] = await connect(test, withClaims({ devices: ['d1', 'd2', 'd/3', '+', 4], 'https://example.com/tenant': 'acme', level: 3 }, { clientIdentifier: 'c1', username: 'ada' }))
  const allowed = ['c/c1', 'c/c1/x', 'u/user-ada', 'ada/own/x', 'd/d1/up', 'd/d2/up', 'd/4/up', 't/acme', 'n/3', 'twice/d1/d1']
  const denied = ['c/c2', 'u/user-', 'u/ada', 'd/d3/up', 'd/d/3/up', 'd/x/up', 't/other', 'n/4', 'twice/d1/d2', '${username}/own/x', 'c/${clientId}/x']
  for (const topic of allowed) t.equal(await mayPublish(client, topic), true, topic)
  for (const topic of denied) t.equal(await mayPublish(client, topic), false, topic)
  t.strictSame([await maySubscribe(client, 'c/c1/#'), await maySubscribe(client, 'c/+/#'), await maySubscribe(client, '+/own/#')], [true, false, false])
})

t.test('nobody gets others\' topics by a name with +, #, /, $ or U+0000 in it (CVE-2017-7650)', async t => {
  const test = await startRules(t, [
    { allow: ['publish', 'subscribe'], topics: ['in/${clientId}/x', '${clientId}/#', 'u/${username}/x', '${username}/#', 'c/${claims.id}/x', '${claims.id}/#', 'pre-${claims.id}/#'] },
  ])
  const probes = ['in/victim/x', 'victim/x', 'u/victim/x', 'c/victim/x', '#', '+/x', '+/#', 'in/+/x', 'in/#', '$SYS/#', '$SYS/broker/uptime', 'u/+/x', 'c/#', 'c/victim/y/x', 'pre-victim/x', 'pre-/x', '//', '/x', 'in//x']
  const names = ['#', '+', '+/#', 'victim/#', 'victim/y', 'victim/', '/', '$SYS', '$SYS/broker', '$share', '', 'a+', '__proto__', 'constructor']
  for (const name of names) {
    const others: Partial<ConnectPacket>[] = [{ clientIdentifier: name, username: name }, withClaims({ id: name }), withClaims({ id: [name] }), withClaims({ id: { toString: name } }), withClaims({ id: null })]
    for (const fields of others) {
      const [client] = await connect(test, fields)
      for (const probe of probes) t.equal(await maySubscribe(client, probe), false, `${JSON.stringify(name)} subscribes to ${probe}`)
      for (const probe of probes.filter(topic => !/[+#]/.test(topic))) t.equal(await mayPublish(client, probe), false, `${JSON.stringify(name)} publishes to ${probe}`)
      client.disconnect()
    }
  }
})

t.test('a claim is an own one: what every object inherits is none', async t => {
  const test = await startRules(t, [{ allow: 'publish', topics: ['${claims.constructor}', '${claims.__proto__}', '${claims.toString}/x'], groups: 'constructor' }, { allow: 'publish', topics: 'x/${claims.__proto__}' }])
  const [client] = await connect(test)
  t.strictSame([await mayPublish(client, 'x/x'), await mayPublish(client, 'Object')], [false, false])
  const [other] = await connect(test, { clientIdentifier: 'other', password: Buffer.from('{"allow":true,"claims":{"__proto__":"own"}}') })
  t.strictSame([await mayPublish(other, 'x/own'), await mayPublish(other, 'x/y')], [true, false])
})

t.test('a denying rule that cannot be filled in denies whatever it could have meant', async t => {
  const test = await startRules(t, [
    { deny: ['publish', 'subscribe'], topics: ['a/${username}/b', 'd/${claims.blocked}'] },
    { allow: ['publish', 'subscribe'], topics: '#' },
  ])
  const told = async (fields: Partial<ConnectPacket>): Promise<boolean[]> => {
    const [client] = await connect(test, fields)
    return [await mayPublish(client, 'a/ada/b'), await mayPublish(client, 'a/eve/b'), await mayPublish(client, 'a/eve/c'), await mayPublish(client, 'd/1'), await mayPublish(client, 'e')]
  }
  t.strictSame(await told(withClaims({ blocked: '1' }, { username: 'ada' })), [false, true, true, false, true])
  t.strictSame(await told(withClaims({ blocked: [] }, { username: 'ada' })), [false, true, true, true, true], 'a list that has nothing blocks nothing')
  t.strictSame(await told(withClaims({ blocked: ['2', '#'] }, { username: 'ada/b' })), [false, false, false, false, true])
  t.strictSame(await told({}), [false, false, false, false, true])
  const first = await startRules(t, [{ deny: 'subscribe', topics: '${username}/#' }, { allow: 'subscribe', topics: ['#', '$SYS/#'] }])
  const [nameless] = await connect(first)
  t.strictSame([await maySubscribe(nameless, 'a'), await maySubscribe(nameless, '$SYS/#')], [false, false])
})

t.test('lists in claims multiply up to maximumFilters; beyond that a rule counts as one that cannot be filled in', async t => {
  const rules: AccessRule[] = [{ deny: 'publish', topics: 'no/${claims.a}/${claims.b}' }, { allow: 'publish', topics: ['no/#', 'yes/${claims.a}/${claims.b}'] }]
  const test = await startRules(t, rules, { maximumFilters: 4 })
  const [four] = await connect(test, withClaims({ a: ['1', '2'], b: ['1', '2'] }, { clientIdentifier: 'four' }))
  t.strictSame([await mayPublish(four, 'no/1/2'), await mayPublish(four, 'no/1/3'), await mayPublish(four, 'yes/2/1')], [false, true, true])
  const [six] = await connect(test, withClaims({ a: ['1', '2'], b: ['1', '2', '3'] }, { clientIdentifier: 'six' }))
  t.strictSame([await mayPublish(six, 'no/1/2'), await mayPublish(six, 'no/1/4'), await mayPublish(six, 'yes/2/1')], [false, false, false])
})

t.test('deliver: subscribe widely, get what is not denied', async t => {
  const test = await startRules(t, [
    { allow: ['publish', 'subscribe'], topics: '#' },
    { allow: 'deliver', topics: 'secret/${username}/#' },
    { deny: 'deliver', topics: 'secret/#' },
  ])
  await test.broker.publish('secret/eve', 'retained', { retain: true })
  await test.broker.publish('secret/ada', 'hers', { retain: true })
  const [client] = await connect(test, { username: 'ada' })
  await client.subscribe('#')
  t.strictSame(await client.payloads(), ['hers'])
  await client.subscribe('$share/g/#')
  await test.broker.publish('secret/eve/x', 'no')
  await test.broker.publish('open', 'yes')
  t.strictSame(await client.payloads(), ['yes', 'yes'])
})

t.test('authorizeTopic is not even registered while no rule denies a delivery', async t => {
  const hooked: string[] = []
  const broker = { hook: (hooks: object) => { hooked.push(...Object.keys(hooks)); return () => { hooked.pop() } } } as unknown as Broker
  await accessRules({ rules: [{ allow: ['deliver', 'publish'], topics: '#' }] }).setup?.(broker)
  t.strictSame(hooked, [])
  const rules: AccessRule[] = [{ deny: 'deliver', topics: 'x' }]
  const acl = accessRules({ rules })
  await acl.setup?.(broker)
  t.strictSame(hooked, ['authorizeTopic'])
  await acl.close?.()
  t.strictSame(hooked, [])
})

/** Every way into the broker and out of it that is not a plain PUBLISH or SUBSCRIBE: `mine` is allowed, `other` is not. */
const paths: readonly (readonly [name: string, attempt: (test: Rules, topic: 'mine' | 'other') => Promise<boolean>])[] = [
  ['a Will Message at CONNECT', async (test, topicName) => {
    const [, connack] = await tryConnect(test, { will: { topicName, payload: Buffer.from('x'), qos: 0, retain: false, properties: undefined } })
    return connack?.reasonCode === ReasonCode.success
  }],
  ['a PUBLISH by Topic Alias', async (test, topicName) => {
    const [client] = await connect(test)
    await client.publish(topicName, 'x', { properties: { topicAlias: 1 } }).publish('', 'x', { properties: { topicAlias: 1 } }).take()
    return test.watched.length === 2
  }],
  ['a Shared Subscription', async (test, topicName) => {
    const [client] = await connect(test)
    return maySubscribe(client, `$share/group/${topicName}`)
  }],
  ['a restored subscription', async (test, topicName) => {
    const kept = { cleanStart: false, properties: { sessionExpiryInterval: 60 }, username: 'any' }
    const [client] = await connect(test, kept)
    await client.subscribe(topicName, { qos: 1 })
    await client.vanish()
    const [again] = await connect(test, { ...kept, username: undefined })
    await test.broker.publish(topicName, 'x')
    return (await again.messages()).length === 1
  }],
  ['a retained message', async (test, topicName) => {
    await test.broker.publish(`r/${topicName}`, 'x', { retain: true })
    const [client] = await connect(test)
    await client.subscribe('r/#')
    return (await client.messages()).length === 1
  }],
  ['delivery through a Shared Subscription', async (test, topicName) => {
    const [client] = await connect(test)
    await client.subscribe('$share/g/r/#')
    await test.broker.publish(`r/${topicName}`, 'x')
    return (await client.messages()).length === 1
  }],
]
for (const [name, attempt] of paths) {
  t.test(`one gate: ${name}`, async t => {
    const rules: AccessRule[] = [
      { allow: 'subscribe', topics: 'other', users: 'any' },
      { allow: ['publish', 'subscribe'], topics: ['mine', 'r/#'] },
      { deny: 'deliver', topics: 'r/other' },
    ]
    t.equal(await attempt(await startRules(t, rules), 'mine'), true)
    t.equal(await attempt(await startRules(t, rules), 'other'), false)
  })
}

t.test('a Will Message is judged again when it fires', async t => {
  const rules: AccessRule[] = [{ allow: 'publish', topics: 'will' }]
  const test = await startRules(t, rules)
  const [client] = await connect(test, { will: { topicName: 'will', payload: Buffer.from('x'), qos: 0, retain: false, properties: undefined } })
  rules.length = 0
  await test.acl.reload()
  await client.vanish()
  t.strictSame(test.watched, [])
})

t.test('reload: rules in code are looked at anew and apply to whoever is connected', async t => {
  const rules: AccessRule[] = [{ allow: ['publish', 'subscribe'], topics: ['a', 'b'] }]
  const test = await startRules(t, rules)
  const [client] = await connect(test)
  t.strictSame([await maySubscribe(client, 'a'), await maySubscribe(client, 'b'), await mayPublish(client, 'c'), await mayPublish(client, 'a')], [true, true, false, true])
  await client.take()
  rules.splice(0, 1, { allow: 'publish', topics: 'c' }, { allow: 'subscribe', topics: ['a', 'd'] }, { deny: 'deliver', topics: 'd' })
  await test.acl.reload()
  t.strictSame([await mayPublish(client, 'c'), await mayPublish(client, 'a'), await maySubscribe(client, 'd')], [true, false, true])
  for (const topic of ['a', 'b', 'd']) await test.broker.publish(topic, topic)
  t.strictSame(await client.payloads(), ['a'])
  rules.push({ allow: 'publish' } as never)
  await t.rejects(test.acl.reload(), { code: ErrorCode.optionInvalid, message: /rules\[3\]\.topics/ })
  t.equal(await mayPublish(client, 'c'), true, 'what was in force stays')
  await t.rejects(accessRules({ rules: [] }).reload(), { code: ErrorCode.brokerClosed })
})

t.test('what was remembered of a Client does not outlive who it was (re-authentication)', async t => {
  const claims = [{ tenant: 'a' }, { tenant: 'b' }]
  const test = await startBroker(t, {
    authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true, claims: claims.shift() ?? {} }) }) }],
    plugins: [accessRules({ rules: [{ allow: ['publish', 'subscribe'], topics: 't/${claims.tenant}' }, { allow: 'subscribe', topics: 'all' }] })],
  })
  const [client] = await connect(test, { properties: { authenticationMethod: 'token' } })
  t.strictSame([await mayPublish(client, 't/a'), await mayPublish(client, 't/b')], [true, false])
  t.strictSame([await maySubscribe(client, 't/a'), await maySubscribe(client, 'all')], [true, true])
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod: 'token' } })
  t.match(await client.take(), [{ type: PacketType.auth, reasonCode: ReasonCode.success }])
  for (const topic of ['t/a', 'all']) await test.broker.publish(topic, topic)
  t.strictSame(await client.payloads(), ['all'], 'what it had subscribed to is judged anew')
  t.strictSame([await mayPublish(client, 't/a'), await mayPublish(client, 't/b')], [false, true])
})

t.test('a Client that leaves while its subscriptions are judged anew is not answered', async t => {
  const verdict = deferred<boolean>()
  const test = await startObserved(t, {
    authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true }) }) }],
    hooks: { authorizeSubscribe: ({ isRestored }) => isRestored ? verdict.promise : true },
  })
  const [client] = await connect(test, { properties: { authenticationMethod: 'token' } })
  await client.subscribe('a')
  await client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod: 'token' } }).vanish()
  verdict.resolve(true)
  t.strictSame([await client.take(), test.logger.take('error')], [[], []])
})

t.test('a Client that makes topics up is remembered no more than cacheSize of them', async t => {
  const { TopicCache } = await import('../plugins/acl/topic-cache.ts')
  const cache = new TopicCache(3)
  for (let i = 0; i < 1000; i++) cache.set(`t/${i}`, 0, true)
  t.strictSame([cache.get('t/996', 0), cache.get('t/997', 0), cache.get('t/999', 0), cache.get('t/999', 1)], [undefined, true, true, undefined])
  t.end()
})

const wrongRules: readonly (readonly [rule: unknown, message: RegExp])[] = [
  ['allow', /rules\[0\]/],
  [null, /rules\[0\]/],
  [{ topics: 'a' }, /either "allow" or "deny", got "neither"/],
  [{ allow: 'publish', deny: 'publish', topics: 'a' }, /got "both"/],
  [{ allow: 'read', topics: 'a' }, /rules\[0\]\.allow" must be publish, subscribe, deliver/],
  [{ allow: [], topics: 'a' }, /a list that is not empty/],
  [{ allow: 'publish' }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: [] }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: ['a', 7] }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: '' }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: 'a/#/b' }, /# alone/],
  [{ allow: 'publish', topics: 'a+' }, /\+ alone/],
  [{ allow: 'publish', topics: 'a\0' }, /U\+0000/],
  [{ allow: 'publish', topics: '${clientId}+' }, /\+ alone/],
  [{ allow: 'publish', topics: '${clientid}/a' }, /whose places are/],
  [{ allow: 'publish', topics: '${clientId' }, /whose places are/],
  [{ allow: 'publish', topics: '${claims.}' }, /whose places are/],
  [{ allow: 'subscribe', topics: '$share/g/a' }, /without \$share/],
  [{ allow: 'publish', topics: 'a', user: 'ada' }, /rules\[0\]\.user" must be one of/],
  [{ deny: 'publish', topics: 'a', users: [] }, /a list that is not empty/],
  [{ deny: 'publish', topics: 'a', groups: '' }, /rules\[0\]\.groups/],
  [{ deny: 'publish', topics: 'a', clients: [null] }, /rules\[0\]\.clients/],
  [{ deny: 'publish', topics: 'a', addresses: '10.0.0.0/33' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', addresses: '10.0.0' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', addresses: '::1/129' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', qos: 3 }, /rules\[0\]\.qos/],
  [{ deny: 'publish', topics: 'a', retain: 'yes' }, /rules\[0\]\.retain/],
  [{ deny: ['publish', 'deliver'], topics: 'a', retain: true }, /as it is for "deliver"/],
  [{ deny: 'subscribe', topics: 'a', retain: true }, /as it is for "subscribe"/],
]

t.test('what is wrong with a rule is said at once, and a file with it refuses to start', async t => {
  for (const [rule, message] of wrongRules) {
    t.throws(() => accessRules({ rules: [rule as AccessRule] }), { code: ErrorCode.optionInvalid, message }, JSON.stringify(rule))
    const path = join(t.testdir({ 'rules.json': JSON.stringify({ rules: [rule] }) }), 'rules.json')
    await t.rejects(startBroker(t, { plugins: [accessRules({ path })] }), { code: ErrorCode.fileInvalid, message: path }, JSON.stringify(rule))
  }
})

t.test('wrong options are said at once', t => {
  const wrong: readonly object[] = [
    {}, { rules: 'all' }, { rule: [], rules: [] }, { rules: [], default: 'yes' }, { rules: [], groups: [] }, { rules: [], groups: { a: 'ada' } }, { rules: [], groups: { a: [1] } },
    { rules: [], path: 'x' }, { path: '' }, { path: 7 }, { rules: [], watch: true }, { path: 'x', watch: 1 }, { rules: [], name: '' }, { rules: [], cacheSize: 0 }, { rules: [], maximumFilters: 1.5 },
  ]
  for (const options of wrong) t.throws(() => accessRules(options as AccessRulesOptions), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  for (const options of [{}, { path: '' }, { path: 'x', rules: [] }, { path: 'x', watch: 'no' }]) {
    t.throws(() => mosquittoAcl(options as { path: string }), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  }
  t.end()
})

const plugins = { accessRules: (path: string, watch = false) => accessRules({ path, watch }), mosquittoAcl: (path: string, watch = false) => mosquittoAcl({ path, watch }) }
const good = { accessRules: '{"rules":[{"allow":["publish","subscribe"],"topics":"a"}],"groups":{},"default":"deny"}', mosquittoAcl: 'topic a\n' }
const better = { accessRules: '{"rules":[{"allow":"publish","topics":"b"}]}', mosquittoAcl: 'topic write b\n' }
const badFiles: Readonly<Record<keyof typeof plugins, readonly (readonly [content: string | Buffer, message: RegExp])[]>> = {
  accessRules: [
    ['', /is empty/], ['{"rules":[\n{"allow"\n}]}', /line 3: is no JSON/], ['[]', /must be an object/], ['{}', /"rules" must be a list/], ['{"rules":[],"rule":[]}', /"rule" must be one of/],
    ['{"rules":[],"default":"maybe"}', /"default"/], ['{"rules":[],"groups":{"a":"ada"}}', /"groups\.a"/], [Buffer.from([0x7b, 0xff, 0xfe]), /is not UTF-8/], ['{"rules":[{"allow":"publish","topics":"a\0"}]}', /is no JSON/],
  ],
  mosquittoAcl: [
    ['topic a\nnonsense', /line 2: begins with "nonsense"/], ['TOPIC a', /line 1/], ['topic', /needs a filter/], ['topic   ', /needs a filter/], ['pattern', /needs a filter/], ['user', /needs a name/],
    ['topic reed a', /"reed" must be/], ['topic read a/#/b', /no Topic Filter/], ['topic a+b', /no Topic Filter/], ['pattern write %c#', /no Topic Filter/], [' # comment', /line 1/], ['topic\ta', /line 1/],
    [Buffer.from([0x74, 0x80]), /is not UTF-8/], ['topic a\0b', /is no Topic Filter/], ['\u{feff}\u{feff}topic a', /line 1/],
  ],
}

for (const kind of ['accessRules', 'mosquittoAcl'] as const) {
  t.test(`${kind}: a file that is not right refuses to start, and is not taken on reload`, async t => {
    const folder = t.testdir({ rules: good[kind], folder: {} })
    const path = join(folder, 'rules')
    const test = await start(t, plugins[kind](path))
    const [client] = await connect(test)
    for (const [content, message] of badFiles[kind]) {
      writeFileSync(path, content)
      await t.rejects(startBroker(t, { plugins: [plugins[kind](path)] }), { code: ErrorCode.fileInvalid, message }, String(content))
      await t.rejects(test.acl.reload(), { code: ErrorCode.fileInvalid, message })
      t.strictSame([await mayPublish(client, 'a'), await mayPublish(client, 'b')], [true, false], 'what was in force stays')
    }
    for (const name of ['nothing', 'folder']) await t.rejects(startBroker(t, { plugins: [plugins[kind](join(folder, name))] }), { code: ErrorCode.fileInvalid, message: /there is no such file|that is a directory/ })
    writeFileSync(path, better[kind])
    await test.acl.reload()
    t.strictSame([await mayPublish(client, 'a'), await mayPublish(client, 'b')], [false, true])
  })

  t.test(`${kind}: watch reads the file anew, however it was changed`, async t => {
    const folder = t.testdir({ old: { rules: good[kind] }, new: { rules: better[kind] }, rules: good[kind] })
    const path = join(folder, 'rules')
    const link = join(folder, 'current')
    symlinkSync(join(folder, 'old'), link)
    const test = await start(t, plugins[kind](path, true))
    const mounted = await start(t, plugins[kind](join(link, 'rules'), true))
    const isChanged = async (rules: Rules): Promise<boolean> => {
      const [client] = await connect(rules)
      const isNew = await mayPublish(client, 'b')
      client.disconnect()
      return isNew
    }
    const level = (rules: Rules, wanted: string): (() => boolean) => () => {
      void rules.clock.advance(1000)
      return rules.logger.lines.some(({ level }) => level === wanted)
    }
    t.strictSame([await isChanged(test), await isChanged(mounted)], [false, false])
    writeFileSync(join(folder, 'next'), better[kind])
    renameSync(join(folder, 'next'), path)
    symlinkSync(join(folder, 'new'), join(folder, 'next-link'))
    renameSync(join(folder, 'next-link'), link)
    await until(level(test, 'info'))
    await until(level(mounted, 'info'))
    t.strictSame([await isChanged(test), await isChanged(mounted)], [true, true])
    writeFileSync(path, 'nonsense')
    await until(level(test, 'error'))
    t.match(test.logger.take('error'), [/what was read before stays in force/])
    rmSync(path)
    await until(level(test, 'error'))
    t.equal(await isChanged(test), true)
    await test.broker.close()
    t.equal(test.clock.pending, 0)
  })
}

