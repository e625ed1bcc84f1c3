import t from 'tap'
import { ReasonCode, type Broker, type Claims } from '../lib/index.ts'
import { PacketType, type ConnectPacket } from '../lib/packet/packets.ts'
import { accessRules, type AccessRule } from '../plugins/acl/index.ts'
import { mayPublish, maySubscribe, startRules, withClaims, type Rules } from './support/plugins/acl.ts'
import { connect, connectPacket, forEachVersion, PacketClient } from './support/harness.ts'
import { tryConnect } from './support/observe.ts'

t.setTimeout(120_000) // many Clients, on a machine that may be busy

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

/** What Keycloak puts into a token. */
const keycloak: Claims = {
  realm_access: { roles: ['operator', 'tenant-7'] }, resource_access: { 'my.app': { roles: ['writer'] }, app: { roles: ['reader'] } }, 'flat.name': 'flat', flat: { name: 'nested' },
}

t.test('claims within claims: by names with dots between them, or a list of names', async t => {
  const rules: AccessRule[] = [
    { allow: 'publish', topics: ['role/${claims.realm_access.roles}', 'app/${claims.resource_access.app.roles}', 'flat/${claims.flat.name}', 'none/${claims.realm_access}', 'none/${claims.realm_access.roles.0}', 'none/${claims.realm_access.roles.length}'] },
    { allow: 'publish', groups: 'operator', topics: 'operators' }, { allow: 'publish', groups: 'writer', topics: 'writers' },
  ]
  const test = await startRules(t, rules, { groupsClaim: 'realm_access.roles' })
  const [client] = await connect(test, withClaims(keycloak))
  for (const topic of ['role/operator', 'role/tenant-7', 'app/reader', 'flat/flat', 'operators']) t.equal(await mayPublish(client, topic), true, topic)
  for (const topic of ['flat/nested', 'none/operator', 'none/2', 'none/[object Object]', 'writers']) t.equal(await mayPublish(client, topic), false, topic)
  const byList = await startRules(t, rules, { groupsClaim: ['resource_access', 'my.app', 'roles'] })
  const [writer] = await connect(byList, withClaims(keycloak))
  t.strictSame([await mayPublish(writer, 'writers'), await mayPublish(writer, 'operators')], [true, false])
  const byFlatName = await startRules(t, rules, { groupsClaim: ['flat.name'] })
  const [flat] = await connect(byFlatName, withClaims({ 'flat.name': 'operator', flat: { name: 'writer' } }))
  t.strictSame([await mayPublish(flat, 'operators'), await mayPublish(flat, 'writers')], [true, false])
})

t.test('what is no claim within a claim allows nothing, and denies whatever it could have meant', async t => {
  const rules: AccessRule[] = [{ deny: 'publish', topics: 'd/${claims.a.b}' }, { allow: 'publish', topics: ['d/#', 'a/${claims.a.b}', 'c/${claims.a.constructor.name}', 'c/${claims.__proto__.x}'] }]
  const test = await startRules(t, rules, { groupsClaim: 'a.constructor' })
  for (const [index, claims] of [{}, { a: null }, { a: 'text' }, { a: ['b'] }, { a: [{ b: 'x' }] }, { a: {} }, { a: { b: null } }, { a: { b: { c: 'x' } } }, { 'a.b': null, a: { b: 'x' } }].entries()) {
    const [client] = await connect(test, withClaims(claims, { clientIdentifier: String(index) }))
    t.strictSame([await mayPublish(client, 'd/y'), await mayPublish(client, 'a/x'), await mayPublish(client, 'c/Object')], [false, false, false], JSON.stringify(claims))
  }
  const [own] = await connect(test, { clientIdentifier: 'own', password: Buffer.from('{"allow":true,"claims":{"a":{"b":"x","constructor":{"name":"y"}},"__proto__":{"x":"z"}}}') })
  t.strictSame([await mayPublish(own, 'd/y'), await mayPublish(own, 'd/x'), await mayPublish(own, 'c/y'), await mayPublish(own, 'c/z')], [true, false, true, true])
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

t.test('a Client that makes topics up is remembered no more than cacheSize of them', async t => {
  const { TopicCache } = await import('../plugins/acl/topic-cache.ts')
  const cache = new TopicCache(3)
  for (let i = 0; i < 1000; i++) cache.set(`t/${i}`, 0, true)
  t.strictSame([cache.get('t/996', 0), cache.get('t/997', 0), cache.get('t/999', 0), cache.get('t/999', 1)], [undefined, true, true, undefined])
  t.end()
})
