import t, { type Test } from 'tap'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { ReasonCode, type Claims } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { connect, settled, startBroker } from './support/harness.ts'
import { deferred, startObserved, type ObservedBroker } from './support/observe.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const kept = { clientIdentifier: 'kept', cleanStart: false, properties: { sessionExpiryInterval: 3600 } }

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
