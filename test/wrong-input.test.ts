import t, { type Test } from 'tap'
import { didYouMean } from '../lib/base/nearest.ts'
import {
  createBroker, ErrorCode, MqttError, PacketCodec, ReasonCode, topic, topicMatches, type AuthenticateResult, type Broker, type BrokerOptions, type Hooks, type Message, type MessagePatch, type PublishOptions,
} from '../lib/index.ts'
import { FakeClock } from '../plugins/testing/fake-clock.ts'
import { connect, settled, startBroker, type PacketClient } from './support/harness.ts'
import { startObserved, tryConnect } from './support/observe.ts'

/** What TypeScript would not let through, and JavaScript does. */
function wrong (value: unknown): never { return value as never }

const reading = topic('readings/{id}')

t.test('a mistyped name is told with the one that it most likely stands for', t => {
  const cases: readonly (readonly [word: string, candidates: readonly string[], asked: string])[] = [
    ['qs', ['qos', 'retain'], 'qos'], ['noLocl', ['noLocal', 'qos'], 'noLocal'], ['persistance', ['plugins', 'persistence'], 'persistence'],
    ['strat', ['sub', 'start'], 'start'], ['prot', ['host', 'port'], 'port'], ['timeout', ['timeoutMs'], 'timeoutMs'], ['MAXIMUMINFLIGHT', ['maximumInFlight'], 'maximumInFlight'],
  ]
  for (const [word, candidates, asked] of cases) t.equal(didYouMean(word, candidates), `, did you mean ${asked}?`)
  for (const [word, candidates] of [['foo', ['qos', 'port']], ['', ['qos']], ['x'.repeat(1e6), ['retain']], ['xyzzy', []]] as const) t.equal(didYouMean(word, candidates), '')
  t.end()
})

const publishCases: readonly (readonly [options: unknown, message: RegExp])[] = [
  [{ qso: 1 }, /^option "qso" is unknown, did you mean qos\? There are qos, retain, properties$/],
  [{ qos: 1, retian: true }, /"retian" is unknown, did you mean retain\?/],
  [{ headers: {} }, /"headers" is unknown\. There are/],
  [{ retain: 'yes' }, /"retain" must be true or false/],
  [{ qos: 3 }, /"qos" must be 0, 1 or 2/],
  ['qos', /"options" must be an object/],
  [[1], /"options" must be an object/],
  [7, /"options" must be an object/],
  [{ properties: 'text' }, /"properties" must be an object/],
  [{ properties: { contenType: 'x' } }, /"properties.contenType" is unknown, did you mean contentType\?/],
  [{ properties: { topicAlias: 3, userProprties: [] } }, /"properties.userProprties" is unknown, did you mean userProperties\?/],
]

t.test('publish: an option or property that there is not, or a wrong one, rejects and names it', async t => {
  const { broker } = await startBroker(t)
  for (const [options, message] of publishCases) {
    const expected = { code: ErrorCode.optionInvalid, message }
    await t.rejects(broker.publish('a', 'x', wrong(options)), expected)
    await t.rejects(broker.publish(reading, { id: '7' }, 'x', wrong(options)), expected)
    await t.rejects(broker.request('a', 'x', wrong(options)), { code: ErrorCode.optionInvalid })
  }
  await t.rejects(broker.publish(reading, wrong(undefined), 'x'), { code: ErrorCode.topicNameInvalid })
})

t.test('publish: a message may be passed on with what it came with', async t => {
  const { broker } = await startBroker(t)
  const passed: Message[] = []
  broker.subscribe('a', message => broker.publish('b', message.payload, message as PublishOptions))
  broker.subscribe('b', message => { passed.push(message) }, { qos: 1 })
  await broker.publish('a', 'x', { qos: 1, properties: { contentType: 'text/plain' } })
  await settled()
  t.match(passed, [{ topicName: 'b', qos: 1, properties: { contentType: 'text/plain' } }])
})

t.test('publish: what somebody has put on Object.prototype is nobody\'s option', async t => {
  const { broker } = await startBroker(t)
  const prototype = Object.prototype as unknown as Record<string, unknown>
  prototype['polluted'] = 1
  t.teardown(() => { Reflect.deleteProperty(prototype, 'polluted') })
  await t.resolves(broker.publish('a', 'x', { properties: { contentType: 'y' } }))
})

t.test('subscribe and request: an option that there is not, or a wrong one, throws and names it', async t => {
  const { broker } = await startBroker(t)
  const cases: readonly (readonly [options: unknown, message: RegExp])[] = [
    [{ bufersize: 1 }, /"bufersize" is unknown, did you mean bufferSize\?/], [{ retainHandling: 3 }, /retainHandling/], [{ signal: {} }, /"signal" must be an AbortSignal/],
    [null, /"options" must be an object/], [{ qos: -1 }, /qos/], [{ bufferSize: Number.NaN }, /bufferSize/],
  ]
  for (const [options, message] of cases) {
    const expected = { code: ErrorCode.optionInvalid, message }
    t.throws(() => broker.subscribe('a', wrong(options)), expected)
    t.throws(() => broker.subscribe(reading, wrong(options)), expected)
  }
  t.throws(() => broker.subscribe(reading, wrong({ onInvald: () => undefined })), { message: /"onInvald" is unknown, did you mean onInvalid\?/ })
  t.throws(() => broker.subscribe('a', wrong(undefined), { qos: 1 }), { code: ErrorCode.optionInvalid, message: /"listener" must be a function/ })
  await t.rejects(broker.request('a', 'x', wrong({ timeout: 10 })), { code: ErrorCode.optionInvalid, message: /"timeout" is unknown, did you mean timeoutMs\?/ })
  await t.rejects(broker.request('a', 'x', wrong({ signal: true })), { code: ErrorCode.optionInvalid, message: /signal/ })
})

t.test('createBroker, attach and hook: an option that there is not rejects and asks', async t => {
  const cases: readonly (readonly [options: object, message: RegExp])[] = [
    [{ persistance: {} }, /"persistance" is unknown, did you mean persistence\?/],
    [{ limits: { reciveMaximum: 1 } }, /"limits.reciveMaximum" is unknown, did you mean receiveMaximum\?/],
    [{ limits: { toString: 1 } }, /"limits.toString" is unknown/],
    [{ hooks: { authorisePublish: () => true } }, /"hooks.authorisePublish" is unknown, did you mean authorizePublish\?/],
  ]
  for (const [options, message] of cases) await t.rejects(createBroker(options as BrokerOptions), { code: ErrorCode.optionInvalid, message })
})

/** A hook with a wrong answer: what it answers, and what is logged. */
async function logged (t: Test, hooks: unknown, ask: (broker: Broker) => Promise<unknown>): Promise<string[]> {
  const { broker, logger } = await startObserved(t, { hooks: hooks as Hooks })
  await ask(broker)
  await settled()
  return logger.take('error')
}

/** Undefined for a Client that was not let in. */
async function connected (broker: Broker): Promise<PacketClient | undefined> {
  return connect({ broker, clock: new FakeClock() }).then(([client]) => client, () => undefined)
}

const answers: readonly (readonly [answer: unknown, message: string])[] = [
  [{ alow: true }, 'option "answer.alow" is unknown, did you mean allow?'],
  [{ allow: true, expiresAT: 5 }, 'option "answer.expiresAT" is unknown, did you mean expiresAt?'],
  [{ allow: 'no' }, 'option "answer.allow" must be true or false, got "no"'],
  [{ allow: true, expiresAt: Number.NaN }, 'option "answer.expiresAt" must be milliseconds since the epoch'],
  [{ allow: true, expiresAt: new Date() }, 'option "answer.expiresAt" must be milliseconds since the epoch'],
  [{ allow: true, clientIdentifier: 7 }, 'option "answer.clientIdentifier" must be a text, got 7'],
  [{ allow: true, claims: 'all' }, 'option "answer.claims" must be an object, got "all"'],
  [{ allow: false, reasonCode: 1 }, 'option "answer.reasonCode" must be a Reason Code of 0x80 or above'],
  [null, 'option "answer" must be true, false, undefined'],
  ['yes', 'option "answer" must be true, false, undefined'],
  [1, 'option "answer" must be true, false, undefined'],
]

t.test('authenticate: an answer that nobody understands lets nobody in, and is logged', async t => {
  for (const [answer, message] of answers) {
    for (const authenticate of [() => answer as AuthenticateResult, () => Promise.resolve(answer as AuthenticateResult)]) {
      const test = await startObserved(t, { hooks: { authenticate } })
      const [, connack] = await tryConnect(test)
      t.equal(connack?.reasonCode, ReasonCode.notAuthorized)
      const [line = '', ...others] = test.logger.take('error')
      t.ok(line.startsWith(`the hook authenticate failed: ${message}`), line)
      t.strictSame(others, [])
    }
  }
  const either = { allow: true, username: 'ada', reasonCode: ReasonCode.banned } as unknown as AuthenticateResult
  const [, connack] = await tryConnect(await startBroker(t, { hooks: { authenticate: () => either } }))
  t.equal(connack?.reasonCode, ReasonCode.success, 'an answer may have what is for the other case')
})

t.test('an exchange: a step that nobody understands lets nobody in, and is logged', async t => {
  for (const [step, message] of [...answers.filter(([, message]) => message.includes('answer.')), [undefined, 'option "answer" must be { continue'], [{ continue: 'text' }, 'option "answer.continue" must be a Buffer']] as const) {
    const test = await startObserved(t, { authenticationMethods: [{ name: 'm', start: () => ({ next: () => step as never }) }] })
    const [, connack] = await tryConnect(test, { properties: { authenticationMethod: 'm' } })
    t.equal(connack?.reasonCode, ReasonCode.notAuthorized)
    const [line = ''] = test.logger.take('error')
    t.ok(line.startsWith(`the hook authentication method failed: ${message}`), line)
  }
})

t.test('authorize…: an answer that is none refuses, and is logged', async t => {
  for (const answer of [undefined, null, 'yes', { allow: true }, 1, Number.NaN] as const) {
    for (const name of ['authorizeClient', 'authorizePublish', 'authorizeSubscribe', 'authorizeConnection', 'authorizeTopic', 'authorizeDeliver']) {
      const lines = await logged(t, { [name]: () => answer }, async broker => {
        const client = await connected(broker)
        await client?.subscribe('a')
        client?.publish('a', 'x')
      })
      t.ok(lines[0]?.startsWith(`the hook ${name} failed: option "answer" must be true`), `${name}: ${String(lines)}`)
    }
  }
})

t.test('on…: a patch with what there is not changes nothing, refuses and is logged', async t => {
  const cases: readonly (readonly [name: keyof Hooks, patch: unknown, message: string])[] = [
    ['onConnect', { keepalive: 5 }, 'option "patch.keepalive" is unknown, did you mean keepAlive?'],
    ['onConnect', { responseInformation: 5 }, 'option "patch.responseInformation" must be a text'],
    ['onConnect', { userProperties: [['a', 1]] }, 'option "patch.userProperties" must be a list of [name, value]'],
    ['onConnect', true, 'option "patch" must be an object, got true'],
    ['onSubscribe', { noLocl: true }, 'option "patch.noLocl" is unknown, did you mean noLocal?'],
    ['onSubscribe', { qos: 7 }, 'option "patch.qos" must be a whole number from 0 to 2, got 7'],
    ['onSubscribe', 'qos', 'option "patch" must be an object'],
    ['onPublish', { reatin: true }, 'option "patch.reatin" is unknown, did you mean retain?'],
    ['onPublish', { properties: { contenttyp: 'x' } }, 'option "properties.contenttyp" is unknown, did you mean contentType?'],
    ['onPublish', { retain: 'no' }, 'retain must be true or false'],
    ['onPublish', true, 'option "patch" must be an object, got true'],
  ]
  for (const [name, patch, message] of cases) {
    const lines = await logged(t, { [name]: () => patch }, async broker => {
      const client = await connected(broker)
      if (name === 'onSubscribe') t.strictSame((await client?.subscribe('a'))?.reasonCodes, [ReasonCode.implementationSpecificError])
      if (name === 'onPublish') await t.rejects(broker.publish('a', 'x'), { code: ErrorCode.hookFailed })
      if (name === 'onConnect') t.equal(client, undefined)
    })
    t.equal(lines.length, 1)
    t.match(lines[0], message)
  }
})

t.test('onPublish: a message that is answered is a patch', async t => {
  const { broker } = await startBroker(t, { hooks: { onPublish: ({ message }) => message as MessagePatch } })
  await t.resolves(broker.publish('a', 'x'))
})

/** As `{ ...message, … }` does where no linter looks. */
function spread (message: Message | undefined, changes: object): never { return Object.assign({}, message, changes) as never }

t.test('a message may be spread into a patch, and into options: what else it has is nobody\'s mistake', async t => {
  const { broker } = await startBroker(t, { hooks: { onPublish: ({ message }) => spread(message, { retain: false }) } })
  const passed: Message[] = []
  broker.subscribe('a', message => broker.publish('b', message.payload, spread(message, { qos: 0 })))
  broker.subscribe('b', message => { passed.push(message) }, { qos: 1 })
  await broker.publish('a', 'x', { qos: 1, retain: true, properties: { contentType: 'text/plain' } })
  await settled()
  t.match(passed, [{ topicName: 'b', qos: 0, retain: false, properties: { contentType: 'text/plain' } }])
  await t.rejects(broker.publish('a', 'x', wrong({ topic: 'b' })), { code: ErrorCode.optionInvalid, message: /"topic" is unknown/ })
  await t.rejects(broker.publish('a', 'x', spread(passed[0], { qso: 1 })), { code: ErrorCode.optionInvalid, message: /"qso" is unknown, did you mean qos\?/ })
})

t.test('errors say what was given, not all of it, and not what is in it', async t => {
  const cases: readonly (readonly [given: unknown, shown: string])[] = [
    ['x'.repeat(1e6), `"${'x'.repeat(200)}…"`], [Object.create(null), 'an object'], [() => 1, 'a function'], [[], 'an empty list'], [[1], 'a list'], [Symbol('s'), 'Symbol(s)'], [null, 'null'],
  ]
  for (const [given, shown] of cases) {
    const error: unknown = await createBroker({ hookTimeoutMs: given as number }).catch((error: unknown) => error)
    t.ok(error instanceof MqttError && error.message.endsWith(`got ${shown}`), shown)
  }
})

t.test('topicMatches: a filter that is none matches nothing by mistake, it is refused', t => {
  for (const [filter, topicName] of [['a/+', 'a/b'], ['#', 'a'], ['a/#', 'a'], ['$share/group/a/+', 'a/b']] as const) t.ok(topicMatches(filter, topicName), filter)
  for (const [filter, topicName] of [['+', '$SYS'], ['a/+', 'a'], ['a', 'b']] as const) t.notOk(topicMatches(filter, topicName), filter)
  for (const filter of ['#/a', 'a+', '+a', 'a/#/b', '', '$share/group']) t.throws(() => topicMatches(filter, 'a'), { code: ErrorCode.topicFilterInvalid }, filter)
  t.throws(() => topicMatches(wrong(7), 'a'), { code: ErrorCode.optionInvalid, message: /"topicFilter" must be a text, got 7/ })
  t.throws(() => topicMatches('a', wrong(undefined)), { code: ErrorCode.optionInvalid, message: /"topicName" must be a text/ })
  t.end()
})

t.test('PacketCodec: what is no Control Packet is refused by its type', t => {
  const codec = new PacketCodec(5)
  for (const packet of [undefined, null, 7, {}, { type: 0 }, { type: 16 }, { type: 'connect' }]) {
    t.throws(() => codec.encode(wrong(packet)), { code: ErrorCode.optionInvalid, message: /"packet.type" must be one of PacketType/ })
  }
  t.end()
})
