import assert from 'node:assert/strict'
import type { SessionRecord } from '../../../lib/contract/store.ts'
import type { Subscription } from '../../../lib/contract/subscription.ts'
import { contentsOf, plainMessage } from './store-contents.ts'
import type { StoreTest } from './store-harness.ts'
import { changesOf, messageOf, sessionRecord, subscriptionTo, type MessageFields } from './store-records.ts'

/** Texts that are hard on whoever makes keys of them. None has a NUL: MQTT forbids it (section 1.5.4). */
const texts = [
  'a', 'A', ' ', '/', '//', 'a/', '/a', 'a/b', 'é', 'e\u0301', '🦊', '\uFFFD', '\uFEFF', '[object Object]', '{}', '[]', '"', '\\', '*', ':', '..', '%00', '\u0001',
  '__proto__', 'constructor', '$share', '$SYS/x', '\uD7FF\uE000', 'a'.repeat(1_900), 'a'.repeat(1_901), 'a'.repeat(1_978), 'a'.repeat(1_979),
  'é'.repeat(1_000), '🦊'.repeat(600), `${'a'.repeat(65_534)}1`, `${'a'.repeat(65_534)}2`,
]

/** Sessions, Subscriptions, inbound Packet Identifiers and retained messages. */
export function testState (it: StoreTest): void {
  testSessions(it)
  testSubscriptions(it)
  testReceived(it)
  testRetained(it)
}

function testSessions (it: StoreTest): void {
  it('a new store is empty', async ({ store }, { nextSession, aliveAt }) => {
    assert.ok(nextSession >= 0)
    assert.equal(aliveAt, undefined)
    assert.deepEqual(await contentsOf(store), { sessions: new Map(), retained: [] })
    assert.deepEqual(await store.claim(1), { inFlight: [], received: [] })
    assert.deepEqual(await store.fetch(1, 0, 10, Infinity), [])
  })

  it('a Session comes back with every field of its record', async (subject, { nextSession }) => {
    const records = sessionRecords()
    await subject.store.commit(changesOf({ sessions: new Map(records.map((record, i) => [nextSession + i, record])) }))
    await subject.restart()
    assert.deepEqual([...(await contentsOf(subject.store)).sessions.values()].map(({ record }) => record), records)
  })

  it('a Session\'s record is replaced, and removed', async subject => {
    await subject.store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')], [3, sessionRecord('c')]]) }))
    await subject.store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a', { hasEnded: true })], [2, undefined], [3, sessionRecord('c')]]) }))
    await subject.restart()
    const records = [...(await contentsOf(subject.store)).sessions].map(([number, { record }]) => [number, record])
    assert.deepEqual(records, [[1, sessionRecord('a', { hasEnded: true })], [3, sessionRecord('c')]])
  })

  it('a Session that is removed takes its Subscriptions and Packet Identifiers with it, and those of no other', async ({ store }) => {
    const numbers = [1, 2, 255, 256, 65_536, 2 ** 32 + 1]
    await store.commit(changesOf({
      sessions: new Map(numbers.map(number => [number, sessionRecord(String(number))])),
      subscriptions: numbers.map(session => ({ session, topicFilter: 'a', subscription: subscriptionTo('a') })),
      received: numbers.map(session => ({ session, packetIdentifier: 65_535, isInUse: true })),
    }))
    for (const [i, gone] of numbers.entries()) {
      await store.commit(changesOf({ sessions: new Map([[gone, undefined]]) }))
      const { sessions } = await contentsOf(store)
      assert.deepEqual([...sessions.keys()], numbers.slice(i + 1))
      assert.ok([...sessions.values()].every(({ subscriptions, received }) => subscriptions.length === 1 && received.length === 1))
    }
    await store.commit(changesOf({ sessions: new Map(numbers.map(number => [number, sessionRecord('anew')])) }))
    const left = [...(await contentsOf(store)).sessions.values()]
    assert.ok(left.every(({ subscriptions, received }) => subscriptions.length + received.length === 0), 'nothing is left of them')
  })

  it('what is written of a Session in the commit that removes it is not kept', async ({ store }) => {
    await store.commit(changesOf({
      sessions: new Map([[1, undefined]]),
      subscriptions: [{ session: 1, topicFilter: 'a', subscription: subscriptionTo('a') }],
      received: [{ session: 1, packetIdentifier: 1, isInUse: true }],
    }))
    await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
    assert.deepEqual((await contentsOf(store)).sessions.get(1), { record: sessionRecord('a'), subscriptions: [], received: [], deliveries: [] })
  })

  it('a Session\'s number is never given again, and the store knows when it was used last', async (subject, { nextSession }) => {
    const number = nextSession + 5
    await subject.store.commit(changesOf({ sessions: new Map([[number, sessionRecord('a')]]), aliveAt: 5_000 }))
    await subject.store.commit(changesOf({ sessions: new Map([[number, undefined]]), aliveAt: 9_000 }))
    for (const isKilled of [false, true, false]) assert.deepEqual(await subject.restart(isKilled), { nextSession: number + 1, aliveAt: 9_000 })
  })
}

function sessionRecords (): SessionRecord[] {
  const will = { topicName: 'a/🦊', qos: 2, retain: true, payload: 'AAEC/w==', delayInterval: 4_294_967_295 } as const
  return [
    { clientIdentifier: 'a', sessionExpiryInterval: 0xFFFF_FFFF, isConnected: true },
    { clientIdentifier: 'b', sessionExpiryInterval: 1, isConnected: false, expiresAt: 1_700_000_000_123, willDueAt: 1_700_000_000_001, will },
    { clientIdentifier: 'c', sessionExpiryInterval: 60, isConnected: false, hasEnded: true },
    {
      clientIdentifier: 'd', sessionExpiryInterval: 60, isConnected: true, will: {
        ...will, messageExpiryInterval: 7, payloadFormatIndicator: 1, contentType: 'text/plain', responseTopic: 'b', correlationData: 'AA==',
        userProperties: [['b', '2'], ['a', '1'], ['b', '2']],
      },
    },
    ...texts.map(text => sessionRecord(text)),
  ]
}

function testSubscriptions (it: StoreTest): void {
  it('a Subscription comes back with every option', async subject => {
    const subscriptions: Subscription[] = [
      subscriptionTo('a', { qos: 0 }), subscriptionTo('b', { qos: 2, noLocal: true }), subscriptionTo('c', { retainAsPublished: true, retainHandling: 1 }),
      subscriptionTo('d', { retainHandling: 2, subscriptionIdentifier: 268_435_455 }),
    ]
    await subject.store.commit(changesOf({
      sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')]]),
      subscriptions: subscriptions.map((subscription, i) => ({ session: 1 + i % 2, topicFilter: subscription.topicFilter, subscription })),
    }))
    await subject.restart()
    const { sessions } = await contentsOf(subject.store)
    assert.deepEqual(sessions.get(1)?.subscriptions, [subscriptions[0], subscriptions[2]])
    assert.deepEqual(sessions.get(2)?.subscriptions, [subscriptions[1], subscriptions[3]])
  })

  it('a Subscription is replaced and removed by its Topic Filter, whatever that consists of', async subject => {
    const write = (subscription: (text: string) => Subscription | undefined): Promise<void> => subject.store.commit(changesOf({
      sessions: new Map([[1, sessionRecord('a')]]), subscriptions: texts.map(topicFilter => ({ session: 1, topicFilter, subscription: subscription(topicFilter) })),
    }))
    const stored = async (): Promise<unknown> => new Set((await contentsOf(subject.store)).sessions.get(1)?.subscriptions)
    await write(text => subscriptionTo(text))
    assert.deepEqual(await stored(), new Set(texts.map(text => subscriptionTo(text))))
    await write(text => text.length % 2 === 0 ? subscriptionTo(text, { qos: 2 }) : undefined)
    await subject.restart()
    assert.deepEqual(await stored(), new Set(texts.filter(text => text.length % 2 === 0).map(text => subscriptionTo(text, { qos: 2 }))))
    await write(() => undefined)
    assert.deepEqual(await stored(), new Set())
  })
}

function testReceived (it: StoreTest): void {
  it('Packet Identifiers of inbound QoS 2 messages are kept until they are released [MQTT-4.3.3-2]', async subject => {
    const numbers = [1, 2, 255, 256, 65_535]
    const write = (isInUse: (number: number) => boolean): Promise<void> => subject.store.commit(changesOf({
      sessions: new Map([[1, sessionRecord('a')], [2, sessionRecord('b')]]),
      received: numbers.map(packetIdentifier => ({ session: 1, packetIdentifier, isInUse: isInUse(packetIdentifier) })),
    }))
    const received = async (session: number): Promise<unknown> => [...(await subject.store.claim(session)).received].sort((a, b) => a - b)
    await write(() => true)
    await subject.restart(true)
    assert.deepEqual(await received(1), numbers)
    assert.deepEqual(await received(2), [])
    await write(number => number > 2)
    await subject.restart()
    assert.deepEqual(await received(1), [255, 256, 65_535])
  })
}

function testRetained (it: StoreTest): void {
  it('a retained message comes back with all that belongs to it', async subject => {
    const messages = retainedFields().map((fields, i) => messageOf({ ...fields, topicName: String(i) }))
    await subject.store.commit(changesOf({ retained: new Map(messages.map(message => [message.topicName, message])) }))
    await subject.restart()
    assert.deepEqual((await contentsOf(subject.store)).retained, messages.map(plainMessage))
  })

  it('a retained message is replaced and removed by its Topic Name, whatever that consists of', async subject => {
    const write = (qos: (text: string) => 1 | 2 | undefined): Promise<void> => subject.store.commit(changesOf({
      retained: new Map(texts.map(topicName => [topicName, retainedOf(topicName, qos(topicName))])),
    }))
    const stored = async (): Promise<unknown> => new Set((await contentsOf(subject.store)).retained.map(({ topicName, qos }) => `${qos} ${topicName}`))
    await write(() => 1)
    assert.deepEqual(await stored(), new Set(texts.map(text => `1 ${text}`)))
    await write(text => text.length % 2 === 0 ? 2 : undefined)
    await subject.restart()
    assert.deepEqual(await stored(), new Set(texts.filter(text => text.length % 2 === 0).map(text => `2 ${text}`)))
    await write(() => undefined)
    assert.deepEqual(await stored(), new Set())
  })
}

function retainedOf (topicName: string, qos: 1 | 2 | undefined): ReturnType<typeof messageOf> | undefined {
  return qos === undefined ? undefined : messageOf({ topicName, qos, retain: true })
}

function retainedFields (): MessageFields[] {
  return [
    {}, { qos: 0, retain: true }, { qos: 2, retain: true, publisher: '' }, { publisher: '🦊' }, { payload: Buffer.from([0, 1, 2, 255]) },
    { payload: Buffer.alloc(1_000_000, 'x') }, { properties: { messageExpiryInterval: 60 }, expiresAt: 1_700_000_000_000.5 },
    {
      properties: {
        payloadFormatIndicator: 1, contentType: 'text/plain', responseTopic: 'b/🦊', correlationData: Buffer.from([0, 255]),
        userProperties: [['b', ''], ['a', '1'], ['b', '']],
      },
    },
  ]
}
