import t from 'tap'
import type { Test } from 'tap'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ReasonCode, type Claims, type Hooks } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { connect, forEachVersion, settled, startBroker } from './support/harness.ts'
import { deferred, startObserved, tryConnect, type ObservedBroker } from './support/observe.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

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

t.test('authorizeTopic', async t => {
  /** A broker that asks what is in `rights`, and notes that it was asked. */
  const startTopics = async (t: Test): Promise<ObservedBroker & { readonly rights: { isAllowed: boolean }, readonly asked: string[] }> => {
    const [rights, asked] = [{ isAllowed: true }, [] as string[]]
    const authorizeTopic = ({ client, topicName }: { client: { clientIdentifier: string }, topicName: string }): boolean => {
      asked.push(`${client.clientIdentifier} ${topicName}`)
      return rights.isAllowed
    }
    return { ...await startObserved(t, { hooks: { authorizeTopic } }), rights, asked }
  }

  await t.test('is asked once for each Client and topic, whichever filter matches', async t => {
    const test = await startTopics(t)
    const [a] = await connect(test, { clientIdentifier: 'a' })
    const [b] = await connect(test, { clientIdentifier: 'b' })
    await a.subscribe('x/#')
    await b.subscribe('+/1')
    for (const payload of ['1', '2', '3']) await test.broker.publish('x/1', payload)
    await test.broker.publish('x/2', '4')
    t.strictSame([await a.payloads(), await b.payloads()], [['1', '2', '3', '4'], ['1', '2', '3']])
    t.strictSame(test.asked.sort(), ['a x/1', 'a x/2', 'b x/1'])
  })

  await t.test('keeps every message from a Client that may not have it, and says so of each', async t => {
    const test = await startTopics(t)
    const [client] = await connect(test, { clientIdentifier: 'a' })
    await client.subscribe('x')
    test.rights.isAllowed = false
    await test.broker.publish('x', '1')
    await test.broker.publish('x', '2', { qos: 1 })
    t.strictSame([await client.payloads(), test.asked], [[], ['a x']])
    t.strictSame(test.events.filter(event => event.startsWith('drop')), ['drop notAuthorized a', 'drop notAuthorized a'])
  })

  const changes: readonly (readonly [name: string, change: (test: ObservedBroker) => unknown])[] = [
    ['after revalidate', ({ broker }) => broker.revalidate()],
    ['when hooks come', ({ broker }) => { broker.hook({ connected: () => undefined }) }],
    ['when hooks go', ({ broker }) => { broker.hook({ connected: () => undefined })() }],
  ]
  for (const [name, change] of changes) {
    await t.test(`is asked again ${name}`, async t => {
      const test = await startTopics(t)
      const [client] = await connect(test, { clientIdentifier: 'a' })
      await client.subscribe('x')
      await test.broker.publish('x', '1')
      test.rights.isAllowed = false
      await test.broker.publish('x', '2')
      await change(test)
      await test.broker.publish('x', '3')
      t.strictSame([await client.payloads(), test.asked.length], [['1', '2'], 2])
    })
  }

  await t.test('is asked again of a Client that has connected anew, also about what has waited', async t => {
    const test = await startTopics(t)
    const [client] = await connect(test, kept)
    await client.subscribe('x', { qos: 1 })
    await test.broker.publish('x', '1', { qos: 1 })
    await client.vanish()
    await test.broker.publish('x', '2', { qos: 1 })
    test.rights.isAllowed = false
    await test.broker.revalidate()
    const [again] = await connect(test, kept)
    await test.broker.publish('x', '3', { qos: 1 })
    t.notOk((await again.payloads()).some(payload => payload !== '1'), 'what it had before comes again, and nothing else')
  })

  await t.test('is asked again when hooks come while it is asked', async t => {
    const test = await startTopics(t)
    const [client] = await connect(test, { clientIdentifier: 'a' })
    await client.subscribe('x')
    test.broker.hook({
      authorizeTopic: () => {
        if (test.asked.length === 1) test.broker.hook({ authorizeTopic: () => false })
        return true
      },
    })
    await test.broker.publish('x', '1')
    await test.broker.publish('x', '2')
    t.strictSame(await client.payloads(), ['1'])
  })

  await t.test('is asked again when the Client has authenticated anew, which is nothing to others that wait for an answer', async t => {
    const verdict = deferred<boolean>()
    const names = ['ann', 'bob']
    const asked: string[] = []
    const test = await startBroker(t, {
      authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true, username: names.shift() ?? '' }) }) }],
      hooks: {
        authenticate: () => true,
        authorizeTopic: ({ client: { username } }) => username === 'ann',
        authorizeSubscribe: ({ topicFilter }) => asked.push(topicFilter) > 0 && (topicFilter === 'slow' ? verdict.promise : true),
      },
    })
    const [client] = await connect(test, { clientIdentifier: 'a', properties: { authenticationMethod: 'token' } })
    const [other] = await connect(test, { clientIdentifier: 'b' })
    await client.subscribe('x')
    await test.broker.publish('x', '1')
    other.send({ type: PacketType.subscribe, packetIdentifier: 1, subscriptions: [{ topicFilter: 'slow', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }], properties: undefined })
    await settled()
    client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod: 'token' } })
    await settled()
    await test.broker.publish('x', '2')
    verdict.resolve(true)
    t.match(await other.takeType(PacketType.suback), [{ reasonCodes: [0] }])
    t.strictSame([await client.payloads(), asked.filter(filter => filter === 'slow')], [['1'], ['slow']])
  })

  await t.test('is asked about what has waited when somebody else comes under the Client Identifier', async t => {
    const authorizeTopic = ({ client: { username, claims } }: { client: { username: string | undefined, claims: Claims } }): boolean => username === 'ann' && claims['role'] === 'reader'
    for (const [username, role, expected] of [['ann', 'reader', ['1']], ['bob', 'reader', []], ['ann', 'guest', []]] as const) {
      const roles = ['reader', role]
      const test = await startObserved(t, { hooks: { authenticate: request => ({ allow: true, username: request.username ?? '', claims: { role: roles.shift() ?? '' } }), authorizeTopic } })
      const [client] = await connect(test, { ...kept, username: 'ann' })
      await client.subscribe('x', { qos: 1 })
      await client.vanish()
      await test.broker.publish('x', '1', { qos: 1 })
      const [again] = await connect(test, { ...kept, username })
      t.strictSame(await again.payloads(), expected, `${username}, ${role}`)
      t.equal(test.events.filter(event => event === 'drop notAuthorized kept').length, 1 - expected.length)
    }
  })

  await t.test('keeps nothing of a Client that has gone', async t => {
    const clients: WeakRef<object>[] = []
    const test = await startBroker(t, { hooks: { authorizeTopic: ({ client }) => clients.push(new WeakRef(client)) > 0 } })
    const connectOnce = async (topicName: string): Promise<void> => {
      const [client] = await connect(test, kept)
      await client.subscribe('#')
      await test.broker.publish(topicName, 'x')
      await client.vanish()
    }
    for (const topicName of ['1', '2', '3']) await connectOnce(topicName)
    for (let i = 0; i < 5; i++) {
      await test.clock.advance(60_000)
      collectGarbage()
    }
    t.ok(clients.slice(0, 2).every(client => client.deref() === undefined))
  })

  await t.test('leaves a message of a Shared Subscription to another member', async t => {
    const test = await startObserved(t, { hooks: { authorizeTopic: ({ client }) => client.clientIdentifier !== 'barred' } })
    const [barred] = await connect(test, { clientIdentifier: 'barred' })
    const [other] = await connect(test, { clientIdentifier: 'other' })
    for (const client of [barred, other]) await client.subscribe('$share/g/a', { qos: 1 })
    for (let i = 0; i < 4; i++) await test.broker.publish('a', `${i}`)
    t.strictSame(await other.payloads(), ['0', '1', '2', '3'])
  })

  await t.test('that throws refuses, is logged, and is asked again with the next message', async t => {
    let isBroken = true
    const authorizeTopic = (): boolean => {
      if (isBroken) throw new Error('no idea')
      return true
    }
    const test = await startObserved(t, { hooks: { authorizeTopic } })
    const [client] = await connect(test)
    await client.subscribe('x')
    await test.broker.publish('x', '1')
    isBroken = false
    await test.broker.publish('x', '2')
    t.strictSame(await client.payloads(), ['2'])
    t.match(test.logger.take('error'), [/authorizeTopic failed: no idea/])
  })

  await t.test('must answer at once: a promise refuses and is logged', async t => {
    const test = await startObserved(t, { hooks: { authorizeTopic: () => Promise.resolve(true) as unknown as boolean } })
    const [client] = await connect(test)
    await client.subscribe('a')
    await test.broker.publish('a', 'x')
    t.strictSame(await client.messages(), [])
    t.match(test.logger.take('error'), [/authorizeTopic.*must answer at once/])
  })
})
