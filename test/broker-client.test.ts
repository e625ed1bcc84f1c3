import t from 'tap'
import { ErrorCode, type Message } from '../lib/index.ts'
import { connect, settled, startBroker, type TestBroker } from './support/harness.ts'
import { deferred, startObserved } from './support/observe.ts'

/** What a loop over a subscription has got so far, and whether it has ended. */
function collect (messages: AsyncIterable<Message>): { payloads: string[], ended: () => boolean } {
  const payloads: string[] = []
  let hasEnded = false
  void (async () => {
    for await (const { payload } of messages) payloads.push(payload.toString())
    hasEnded = true
  })()
  return { payloads, ended: () => hasEnded }
}

async function subscriptionCount (test: TestBroker): Promise<string | undefined> {
  const counts = test.broker.subscribe('$SYS/broker/subscriptions/count', { retainHandling: 2 })
  await test.clock.advance(1000)
  const { value } = await counts.next()
  counts.unsubscribe()
  return value?.payload.toString()
}

t.test('publish: to Clients and loops alike, with all that belongs to a message', async t => {
  const test = await startBroker(t)
  const [client] = await connect(test)
  await client.subscribe('a/+')
  const loop = collect(test.broker.subscribe('a/b'))
  const bytes = new Uint8Array([104, 105])
  await test.broker.publish('a/b', bytes, { qos: 2, properties: { contentType: 'text', userProperties: [['k', 'v']] } })
  bytes.fill(0)
  t.match(await client.messages(), [{ qos: 2, retain: false, payload: Buffer.from('hi'), properties: { contentType: 'text', userProperties: [['k', 'v']] } }])
  t.strictSame(loop.payloads, ['hi'], 'the host may write to its buffer again')
})

t.test('publish: what is no Topic Name, QoS or payload is refused, by name', async t => {
  const { broker } = await startBroker(t, { hooks: { onPublish: ({ message }) => { if (message.topicName === 'bad') throw new Error('hook') ; return undefined } } })
  for (const topicName of ['', 'a/#', '+', 'a\0b']) await t.rejects(broker.publish(topicName, 'x'), { code: ErrorCode.topicNameInvalid }, topicName)
  await t.rejects(broker.publish('a', 'x', { qos: 3 as 2 }), { code: ErrorCode.optionInvalid, message: /qos/ })
  await t.rejects(broker.publish('a', {} as Buffer), { code: ErrorCode.optionInvalid, message: /payload/ })
  await t.rejects(broker.publish({ topic: 'a', payload: 'x' } as never, undefined as never), { code: ErrorCode.optionInvalid, message: /topicName.*publish\(topicName, payload, options\)/ }, 'as with Aedes')
  await t.rejects(broker.publish('bad', 'x'), { code: ErrorCode.hookFailed })
})

t.test('publish: a QoS 0 message is with its subscribers when the promise resolves', async t => {
  const { broker } = await startBroker(t)
  const loop = broker.subscribe('a')
  await broker.publish('a', 'x')
  t.match(await loop.next(), { done: false, value: { topicName: 'a', payload: Buffer.from('x'), qos: 0, retain: false } })
})

t.test('subscribe: what is no Topic Filter or option is refused, by name', async t => {
  const { broker } = await startBroker(t)
  for (const topicFilter of ['', 'a#', 'a/#/b', '$share/g']) t.throws(() => broker.subscribe(topicFilter), { code: ErrorCode.topicFilterInvalid }, topicFilter)
  for (const topicFilter of [undefined, ['a', 'b']]) t.throws(() => broker.subscribe(topicFilter as never), { code: ErrorCode.optionInvalid, message: /topicFilter/ })
  for (const options of ['no function', null]) t.throws(() => broker.subscribe('a', options as never), { code: ErrorCode.optionInvalid, message: /options/ })
  t.throws(() => broker.subscribe('a', () => undefined, { noLocal: true } as never), { code: ErrorCode.optionInvalid, message: /noLocal/ })
  t.throws(() => broker.subscribe('a', { qos: 3 as 2 }), { code: ErrorCode.optionInvalid, message: /qos/ })
  for (const bufferSize of [0, -1, 1.5, NaN]) t.throws(() => broker.subscribe('a', { bufferSize }), { code: ErrorCode.optionInvalid, message: /bufferSize/ })
  await t.rejects(broker.request('a', 'x', { timeoutMs: -1 }), { code: ErrorCode.optionInvalid, message: /timeoutMs/ })
})

t.test('subscribe: retained messages come first, unless they are not wanted', async t => {
  const { broker } = await startBroker(t)
  await broker.publish('a', 'kept', { retain: true })
  const [with0, with2] = [collect(broker.subscribe('a')), collect(broker.subscribe('a', { retainHandling: 2 }))]
  await broker.publish('a', 'live')
  await settled()
  t.strictSame([with0.payloads, with2.payloads], [['kept', 'live'], ['live']])
})

t.test('subscribe: who does not go on holds bounded memory; QoS 0 is dropped, QoS 1 waits in the queue with its limits', async t => {
  const test = await startObserved(t, { limits: { maximumQueuedMessages: 3 } })
  const loop = test.broker.subscribe('a', { qos: 1, bufferSize: 2 })
  for (let i = 0; i < 4; i++) await test.broker.publish('a', `qos 0 ${i}`)
  t.strictSame(test.events.splice(0), ['drop slowConsumer $local/1', 'drop slowConsumer $local/1'])
  for (let i = 0; i < 4; i++) await test.broker.publish('a', `qos 1 ${i}`, { qos: 1 })
  t.equal(test.broker.metrics.queuedMessages, 3)
  t.strictSame(test.events.splice(0), ['drop queueFull $local/1'])
  const rest = collect(loop)
  await settled()
  t.strictSame(rest.payloads, ['qos 0 0', 'qos 0 1', 'qos 1 0', 'qos 1 1', 'qos 1 2'])
  t.equal(test.broker.metrics.queuedMessages, 0)
})

for (const qos of [1, 2] as const) {
  t.test(`subscribe: going on acknowledges a QoS ${qos} message, and only that`, async t => {
    const { broker } = await startBroker(t, { limits: { maximumInFlight: 1 } })
    const loop = broker.subscribe('a', { qos })
    for (const payload of ['1', '2', '3']) await broker.publish('a', payload, { qos })
    t.match(await loop.next(), { value: { payload: Buffer.from('1') } })
    t.equal(broker.metrics.queuedMessages, 2, 'the second waits for the acknowledgement of the first')
    t.match(await loop.next(), { value: { payload: Buffer.from('2') } })
    t.equal(broker.metrics.queuedMessages, 1)
  })
}

t.test('subscribe: break, throw, unsubscribe, a signal and the broker\'s end each end it and leave nothing behind', async t => {
  const controller = new AbortController()
  const ways: readonly (readonly [name: string, options: { signal?: AbortSignal }, end: (test: TestBroker) => void])[] = [
    ['unsubscribe()', {}, test => t.equal(test.broker.unsubscribe('a'), true)],
    ['a signal', { signal: controller.signal }, () => { controller.abort() }],
    ['close()', {}, test => { void test.broker.close() }],
  ]
  for (const [name, options, end] of ways) {
    const test = await startBroker(t)
    const loop = collect(test.broker.subscribe('a', { qos: 1, ...options }))
    await test.broker.publish('a', 'x', { qos: 1 })
    end(test)
    await settled()
    t.strictSame([loop.payloads, loop.ended()], [['x'], true], name)
  }
  const test = await startBroker(t, { sysIntervalMs: 1000 })
  await test.broker.publish('a', 'x', { retain: true })
  for await (const message of test.broker.subscribe('a')) if (message.topicName === 'a') break
  await t.rejects((async () => { for await (const message of test.broker.subscribe('a')) throw new Error(message.topicName) })(), { message: 'a' })
  t.strictSame(await collectNow(test, AbortSignal.abort()), [], 'a signal that is aborted already')
  t.equal(test.broker.unsubscribe('a'), false)
  t.equal(await subscriptionCount(test), '1', 'only the one that asks')
})

async function collectNow (test: TestBroker, signal: AbortSignal): Promise<string[]> {
  const loop = collect(test.broker.subscribe('a', { signal }))
  await settled()
  return loop.payloads
}

t.test('subscribe: several next() at once are answered in order, and all of them when it ends', async t => {
  const { broker } = await startBroker(t)
  const loop = broker.subscribe('a')
  const answers = [loop.next(), loop.next(), loop.next(), loop.next()]
  for (const payload of ['1', '2']) await broker.publish('a', payload)
  await settled()
  loop.unsubscribe()
  const results = await Promise.all(answers)
  t.strictSame(results.map(({ value }) => value?.payload.toString()), ['1', '2', undefined, undefined])
})

t.test('subscribe with a function: one message at a time, its promise is waited for, its errors are logged', async t => {
  const test = await startObserved(t)
  const first = deferred()
  const begun: string[] = []
  const subscription = test.broker.subscribe('a', ({ payload }) => {
    begun.push(payload.toString())
    if (begun.length === 1) return first.promise
    throw new Error('listener')
  }, { qos: 1 })
  for (const payload of ['1', '2', '3']) await test.broker.publish('a', payload, { qos: 1 })
  await settled()
  t.strictSame(begun, ['1'])
  first.reject(new Error('listener'))
  await settled()
  t.strictSame(begun, ['1', '2', '3'])
  t.equal(test.logger.take('error').length, 3)
  subscription.unsubscribe()
  await test.broker.publish('a', '4')
  t.equal(begun.length, 3)
})

t.test('a subscription of the host has its own name: a Client with the same is somebody else', async t => {
  const test = await startBroker(t)
  const loop = collect(test.broker.subscribe('a'))
  const [client] = await connect(test, { clientIdentifier: '$local/1' })
  await client.subscribe('a')
  await test.broker.publish('a', 'x')
  t.strictSame([await client.payloads(), loop.payloads], [['x'], ['x']])
})

async function responder (test: TestBroker, answers: boolean): Promise<() => Promise<void>> {
  const [client] = await connect(test, { clientIdentifier: 'responder' })
  await client.subscribe('service', { qos: 1 })
  return async () => {
    for (const { properties, payload } of await client.messages()) {
      const { responseTopic = '', correlationData } = properties ?? {}
      client.publish(responseTopic, 'for somebody else', { properties: { correlationData: Buffer.from('other') } })
      if (answers) client.publish(responseTopic, `${payload.toString()}!`, correlationData === undefined ? {} : { properties: { correlationData } })
    }
  }
}

t.test('request: the first response with its Correlation Data answers it (section 4.10)', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000 })
  const respond = await responder(test, true)
  const [one, two] = [test.broker.request('service', 'one', { qos: 1 }), test.broker.request('service', 'two', { properties: { contentType: 'text' } })]
  await respond()
  t.strictSame([(await one).payload.toString(), (await two).payload.toString()], ['one!', 'two!'])
  t.equal(await subscriptionCount(test), '2', 'no response topic is left')
})

t.test('request: ends with its time, its signal or the broker, and says which', async t => {
  const test = await startBroker(t)
  const respond = await responder(test, false)
  const timed = test.broker.request('service', 'x', { timeoutMs: 300 })
  await respond()
  await Promise.all([t.rejects(timed, { code: ErrorCode.requestTimeout }), test.clock.advance(300)])
  const controller = new AbortController()
  const aborted = test.broker.request('service', 'x', { signal: controller.signal })
  controller.abort(new Error('changed my mind'))
  await t.rejects(aborted, { message: 'changed my mind' })
  const sent = test.broker.metrics.messagesSent
  await t.rejects(test.broker.request('service', 'x', { signal: AbortSignal.abort(new Error('never began')) }), { message: 'never began' })
  t.equal(test.broker.metrics.messagesSent, sent, 'nothing was published')
  const closed = test.broker.request('service', 'x')
  void test.broker.close()
  await t.rejects(closed, { code: ErrorCode.brokerClosed })
})

t.test('request: a loop that serves others in this process answers it, too', async t => {
  const { broker } = await startBroker(t)
  broker.subscribe('service', async ({ payload, properties }) => {
    if (properties?.responseTopic === undefined || properties.correlationData === undefined) return
    await broker.publish(properties.responseTopic, payload, { properties: { correlationData: properties.correlationData } })
  })
  t.match(await broker.request('service', 'echo'), { payload: Buffer.from('echo') })
})
