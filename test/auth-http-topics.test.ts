import t from 'tap'
import type { ServerResponse } from 'node:http'
import { ReasonCode, type AuthenticateRequest, type AuthenticationMethod, type ConnectionInfo, type Properties, type PublishRequest } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { Decisions, type Asker } from '../plugins/http-auth/decisions.ts'
import { settled } from './support/harness.ts'
import { allow, login, publish, say, startWithTopics, type Question, type Respond } from './support/plugins/http-auth.ts'

t.setTimeout(120_000)

const ownTopics: Respond = (response, question) => { say({ result: String(question.body['topic']).startsWith('mine/') ? 'allow' : 'deny' })(response, question) }

t.test('the service decides about topics, and is asked once for each', async t => {
  const setup = await startWithTopics(t, ownTopics)
  const [client] = await login(setup)
  setup.service.take()
  t.equal(await publish(client, 'mine/a'), ReasonCode.noMatchingSubscribers)
  t.equal(await publish(client, 'mine/a'), ReasonCode.noMatchingSubscribers)
  t.equal(await publish(client, 'theirs'), ReasonCode.notAuthorized)
  t.equal(await publish(client, 'theirs'), ReasonCode.notAuthorized)
  t.match(setup.service.questions.map(({ url }) => url), ['/topics?v=1', '/topics?v=1'])
  t.strictSame(setup.service.take(), [
    { action: 'publish', topic: 'mine/a', qos: 1, retain: false, username: 'ann', clientid: 'client' },
    { action: 'publish', topic: 'theirs', qos: 1, retain: false, username: 'ann', clientid: 'client' },
  ])
  await publish(client, 'mine/a', true)
  t.match(setup.service.take(), [{ retain: true }], 'what differs is another question')
  for (const [filter, code] of [['mine/#', 1], ['#', ReasonCode.notAuthorized]] as const) {
    client.send({ type: PacketType.subscribe, packetIdentifier: 9, properties: undefined, subscriptions: [{ topicFilter: filter, qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 2 }] })
    while (client.received.length === 0) await settled()
    t.match(client.received.shift(), { type: PacketType.suback, reasonCodes: [code] }, filter)
  }
  t.match(setup.service.take(), [{ action: 'subscribe', topic: 'mine/#', qos: 1 }, { action: 'subscribe', topic: '#' }])
})

t.test('an answer about a topic that is remembered is there at once', async t => {
  const setup = await startWithTopics(t, ownTopics)
  const connection = { remoteAddress: undefined } as ConnectionInfo
  const request = { client: { connection, username: 'ann', clientIdentifier: 'c', signal: new AbortController().signal }, topicName: 'mine/a', message: { qos: 0, retain: false } } as unknown as PublishRequest
  t.ok(setup.plugin.hooks.authorizePublish?.(request) instanceof Promise)
  while (setup.plugin.hooks.authorizePublish?.(request) instanceof Promise) await settled()
  t.equal(setup.plugin.hooks.authorizePublish?.(request), true)
  await setup.clock.advance(60_000)
  t.equal(await setup.plugin.hooks.authorizePublish?.(request), true, 'asked again after its time')
  t.equal(setup.service.take().length, 2)
})

t.test('only an answer that allows allows', async t => {
  const setup = await startWithTopics(t, say({ result: 'ignore' }), { maximumFailures: 1 })
  const [client] = await login(setup)
  t.equal(await publish(client, 'a'), ReasonCode.notAuthorized)
  setup.service.respond = say({}, 500)
  t.equal(await publish(client, 'b'), ReasonCode.implementationSpecificError)
  setup.service.respond = allow
  t.equal(await publish(client, 'b'), ReasonCode.implementationSpecificError, 'the service is left alone')
  await setup.clock.advance(10_000)
  t.equal(await publish(client, 'b'), ReasonCode.noMatchingSubscribers)
  setup.service.respond = say({ result: 'allow', expire_at: 1 })
  t.equal(await publish(client, 'c'), ReasonCode.notAuthorized)
})

t.test('a superuser is not asked about', async t => {
  const setup = await startWithTopics(t, say({ result: 'deny' }))
  setup.service.respond = say({ result: 'allow', is_superuser: true })
  const [client] = await login(setup)
  setup.service.respond = say({ result: 'deny' })
  t.equal(await publish(client, 'anything'), ReasonCode.noMatchingSubscribers)
  t.equal(setup.service.take().length, 1)
  const [other] = await login(setup, { clientIdentifier: 'other' })
  t.equal(other.isEnded, true)
})

t.test('after clear() and revalidate() the service decides anew about subscriptions', async t => {
  const setup = await startWithTopics(t, allow)
  const [client] = await login(setup)
  client.send({ type: PacketType.subscribe, packetIdentifier: 9, properties: undefined, subscriptions: [{ topicFilter: 'a', qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0 }] })
  while (client.received.length === 0) await settled()
  client.received.shift()
  setup.service.respond = say({ result: 'deny' })
  await setup.broker.revalidate()
  await setup.broker.publish('a', 'still')
  t.strictSame(await client.payloads(), ['still'])
  setup.plugin.clear()
  await setup.broker.revalidate()
  await setup.broker.publish('a', 'gone')
  t.strictSame(await client.payloads(), [])
})

t.test('decisions are bounded, and go with their connection', t => {
  const decisions = new Decisions(3)
  const [one, two] = [{}, {}].map(connection => ({ connection, username: 'ann' })) as [Asker, Asker]
  for (const topic of ['a', 'b', 'c', 'd', '__proto__']) decisions.set(one, 0, topic, true, 10)
  t.strictSame(['a', 'b', 'c', 'd', '__proto__', 'constructor'].map(topic => decisions.get(one, 0, topic)), [undefined, undefined, true, true, true, undefined])
  decisions.set(two, 0, 'd', false, 10)
  decisions.now = 9
  t.strictSame([decisions.get(one, 0, 'd'), decisions.get(two, 0, 'd'), decisions.get(two, 1, 'd')], [true, false, undefined])
  decisions.now = 10
  t.equal(decisions.get(two, 0, 'd'), undefined)
  decisions.set(two, 0, 'd', true, 20)
  t.equal(decisions.get(two, 0, 'd'), true)
  decisions.forget(one.connection)
  t.equal(decisions.size, 1)
  t.equal(decisions.get(one, 0, 'd'), undefined)
  decisions.clear()
  t.equal(decisions.size, 0)
  const none = new Decisions(0)
  none.set(one, 0, 'a', true, 10)
  t.equal(none.get(one, 0, 'a'), undefined)
  t.end()
})

t.test('decisions are those of a User Name, also when it is another one at the same connection', t => {
  const decisions = new Decisions(10)
  const connection = {} as ConnectionInfo
  const [ann, eve, nobody] = ['ann', 'eve', undefined].map(username => ({ connection, username })) as [Asker, Asker, Asker]
  decisions.set(ann, 0, 'a', true, 10)
  t.strictSame([ann, eve, nobody, ann].map(asker => decisions.get(asker, 0, 'a')), [true, undefined, undefined, true])
  decisions.set(nobody, 0, 'a', false, 10)
  t.strictSame([nobody, ann, nobody].map(asker => decisions.get(asker, 0, 'a')), [false, undefined, false])
  t.equal(decisions.size, 1, 'those of the former one are gone')
  t.end()
})

/** Whoever says a name is that. */
const saysWho: AuthenticationMethod = { name: 'SAYS', start: () => ({ next: data => ({ allow: true, username: String(data) }) }) }

function as (username: string): Properties { return { authenticationMethod: 'SAYS', authenticationData: Buffer.from(username) } }

t.test('who authenticates anew as somebody else has the rights of whom it is now', async t => {
  const setup = await startWithTopics(t, (response, question) => { say({ result: question.body['username'] === 'ann' ? 'allow' : 'deny' })(response, question) }, {}, { authenticationMethods: [saysWho] })
  const [client] = await login(setup, { username: undefined, password: undefined, properties: as('ann') })
  t.equal(await publish(client, 'a'), ReasonCode.noMatchingSubscribers)
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: as('eve') })
  while (client.received.length === 0) await settled()
  t.match(client.received.shift(), { type: PacketType.auth, reasonCode: ReasonCode.success })
  t.equal(await publish(client, 'a'), ReasonCode.notAuthorized)
  t.match(setup.service.take(), [{ username: 'ann' }, { username: 'eve' }])
})

t.test('a superuser under another name is none', async t => {
  const setup = await startWithTopics(t, say({ result: 'deny' }))
  const connection = { remoteAddress: undefined } as ConnectionInfo
  const { signal } = new AbortController()
  for (const [username, another] of [['root', 'eve'], [undefined, 'eve'], ['root', undefined]] as const) {
    setup.service.respond = say({ result: 'allow', is_superuser: true })
    await setup.plugin.hooks.authenticate?.({ username, clientIdentifier: 'c', connection, signal } as AuthenticateRequest)
    setup.service.respond = say({ result: 'deny' })
    const publishAs = (name: string | undefined): unknown => setup.plugin.hooks.authorizePublish?.({ client: { username: name, clientIdentifier: 'c', connection, signal }, topicName: 'a', message: { qos: 0, retain: false } } as unknown as PublishRequest)
    t.equal(publishAs(username), true)
    t.equal(await publishAs(another), false)
  }
})

t.test('what was asked before clear() is not remembered after it, nor shared with who asks then', async t => {
  const setup = await startWithTopics(t, allow)
  const [client] = await login(setup)
  setup.service.take()
  const open: ServerResponse[] = []
  setup.service.respond = response => { open.push(response) }
  const before = publish(client, 'a')
  await setup.service.asked(1)
  setup.plugin.clear()
  setup.service.respond = say({ result: 'deny' })
  const [other] = await login(setup, { clientIdentifier: 'other' })
  t.equal(other.isEnded, true)
  for (const response of open) allow(response, setup.service.questions[0] as Question)
  t.equal(await before, ReasonCode.noMatchingSubscribers, 'it was asked in time')
  t.equal(await publish(client, 'a'), ReasonCode.notAuthorized)
})

t.test('what a client asked about is forgotten when it goes', async t => {
  const setup = await startWithTopics(t, allow)
  const [client] = await login(setup, { clientIdentifier: 'gone' })
  await publish(client, 'a')
  await client.vanish()
  setup.service.take()
  const [again] = await login(setup, { clientIdentifier: 'gone' })
  await publish(again, 'a')
  t.match(setup.service.take(), [{ action: 'publish' }])
})
