import type { StandardSchemaV1 } from '@standard-schema/spec'
import fc from 'fast-check'
import { inspect } from 'node:util'
import t from 'tap'
import Type, { type Static, type TSchema } from 'typebox'
import { Compile } from 'typebox/compile'
import * as v from 'valibot'
import { z } from 'zod'
import { ErrorCode, InvalidMessage, jsonCodec, ReasonCode, textCodec, topic, topicMatches, type Message, type PayloadCodec, type StandardSchema, type TypedMessage } from '../lib/index.ts'
import { Message as MessageClass } from '../lib/contract/message.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { Topic } from '../lib/topic/topic.ts'
import { connect, forEachVersion, settled, startBroker } from './support/harness.ts'
import { MemoryLogger, startObserved } from './support/observe.ts'

/** TypeBox has no Standard Schema interface of its own; docs/typed-topics.md shows this. */
function standard<Schema extends TSchema> (schema: Schema): StandardSchema<Static<Schema>> {
  const validator = Compile(schema)
  const issues = (value: unknown): { message: string, path: string[] }[] =>
    validator.Errors(value).map(({ message, instancePath }) => ({ message, path: instancePath.split('/').slice(1) }))
  return {
    '~standard': { version: 1, vendor: 'typebox', validate: value => validator.Check(value) ? { value } : { issues: issues(value) } },
  }
}

const zodTemperature = topic('devices/{id}/temperature', z.object({ celsius: z.number() }))
const libraries = [
  ['zod', zodTemperature],
  ['valibot', topic('devices/{id}/temperature', v.object({ celsius: v.number() }))],
  ['typebox', topic('devices/{id}/temperature', standard(Type.Object({ celsius: Type.Number() })))],
] as const

/** A schema that answers with a promise. */
const lateTemperature = topic('devices/{id}/temperature', z.object({ celsius: z.number().refine(async celsius => Promise.resolve(celsius > -274), 'is too cold') }))

function message (topicName: string, payload: string | Uint8Array, retain = false): Message {
  return new MessageClass({ payload: Buffer.from(payload as Uint8Array), qos: 0, retain, properties: undefined }, new Topic(topicName), undefined)
}

function faultOf (parsed: object): string { return parsed instanceof InvalidMessage ? parsed.message : 'it fits' }

t.test('a pattern is a filter whose wildcards have names', t => {
  const cases = [
    ['devices/{id}/temperature', 'devices/+/temperature'], ['{a}/{b}', '+/+'], ['logs/{path...}', 'logs/#'], ['{all...}', '#'], ['plain', 'plain'], ['/{a}/', '/+/'],
    ['$SYS/{name...}', '$SYS/#'], ['a//{b}', 'a//+'],
  ] as const
  for (const [pattern, filter] of cases) t.equal(topic(pattern).filter, filter)
  for (const pattern of ['', 'a/+', '#', 'a{b}', '{}', '{a', 'a}/b', '{a-b}', '{1}', '{__proto__}', '{a}/{a}', '{a...}/b', '{a}/{a...}', 'a\0', 'x'.repeat(65_536)]) {
    t.throws(() => topic(pattern), { code: ErrorCode.optionInvalid, message: /^option "pattern" must / }, pattern.slice(0, 20))
  }
  t.throws(() => topic('a', {} as never), { code: ErrorCode.optionInvalid, message: /schema/ })
  t.throws(() => topic('a', undefined, { codec: {} as never }), { code: ErrorCode.optionInvalid, message: /codec/ })
  t.end()
})

t.test('match finds the parameters by the rules of section 4.7', t => {
  const device = topic('devices/{id}/temperature')
  t.strictSame(device.match('devices/7/temperature'), { id: '7' })
  t.strictSame(device.match('devices//temperature'), { id: '' }, 'a level may be empty')
  for (const name of ['devices/7/humidity', 'devices/7', 'devices/7/temperature/x', 'Devices/7/temperature', '']) t.equal(device.match(name), undefined, name)
  const log = topic('logs/{path...}')
  t.strictSame([log.match('logs'), log.match('logs/'), log.match('logs/a/b')], [{ path: [] }, { path: [''] }, { path: ['a', 'b'] }])
  const any = topic('{first}/{rest...}')
  t.strictSame([any.match('a'), any.match('$SYS/a'), any.match('/')], [{ first: 'a', rest: [] }, undefined, { first: '', rest: [''] }], '[MQTT-4.7.2-1]')
  t.strictSame(topic('{constructor}').match('__proto__'), { constructor: '__proto__' })
  t.end()
})

t.test('topicName refuses what would leave its level, was forgotten, or names what belongs to the broker', t => {
  const device = topic('devices/{id}/temperature')
  t.equal(device.topicName({ id: '7' }), 'devices/7/temperature')
  for (const id of ['', '+', '#', 'a/b', '../x', 'a\0', 'x+y', '\ud800', 'x'.repeat(65_536), undefined, null, 7, {}, ['a']]) {
    t.throws(() => device.topicName({ id } as never), { code: ErrorCode.topicNameInvalid }, inspect(id).slice(0, 20))
  }
  t.throws(() => topic('{constructor}').topicName({} as never), { code: ErrorCode.topicNameInvalid }, 'what an object inherits is no value')
  const log = topic('logs/{path...}')
  t.strictSame([log.topicName({ path: [] }), log.topicName({ path: ['a', 'b'] })], ['logs', 'logs/a/b'])
  for (const path of ['a/b', [''], ['a/b'], ['#'], undefined, [7]]) t.throws(() => log.topicName({ path } as never), { code: ErrorCode.topicNameInvalid })
  t.throws(() => topic('{all...}').topicName({ all: [] }), { code: ErrorCode.topicNameInvalid })
  for (const values of [{ first: '$SYS', rest: ['x'] }, { first: '$share', rest: [] }]) {
    t.throws(() => topic('{first}/{rest...}').topicName(values), { code: ErrorCode.topicNameInvalid, message: /MQTT-4\.7\.2-1/ })
  }
  t.end()
})

const level = fc.oneof(fc.constantFrom('a', 'b', '$a', '{', '__proto__', ' ', 'é😀'), fc.string({ unit: 'grapheme', minLength: 1, maxLength: 5 })).filter(text => !/[/+#\0]/.test(text))
const literal = level.filter(text => !/[{}]/.test(text))
const anyPattern = fc.tuple(fc.array(fc.oneof(literal, fc.constant('{}')), { minLength: 1, maxLength: 5 }), fc.boolean()).map(([levels, hasRest]) =>
  [...levels.map((text, i) => text === '{}' ? `{p${i}}` : text), ...hasRest ? ['{rest...}'] : []].join('/'))

t.test('law: a Topic Name made of parameters has these parameters', t => {
  fc.assert(fc.property(anyPattern, fc.infiniteStream(level), fc.array(level, { maxLength: 3 }), (pattern, values, rest) => {
    const made = topic(pattern)
    const parameters = Object.fromEntries([...pattern.matchAll(/\{(\w+)(\.\.\.)?\}/g)].map(([, name = '', dots]) => [name, dots === undefined ? String(values.next().value) : rest]))
    fc.pre(!(pattern.startsWith('{') && Object.values(parameters).flat()[0]?.startsWith('$') === true))
    const topicName = made.topicName(parameters)
    t.strictSame(made.match(topicName), parameters)
    if (!topicMatches(made.filter, topicName)) t.fail(`${made.filter} does not match ${topicName}`)
  }), { numRuns: 300 })
  t.end()
})

t.test('law: match agrees with the broker\'s own matching of the filter', t => {
  const topicName = fc.array(fc.constantFrom('a', 'b', '', '$a'), { minLength: 1, maxLength: 5 }).map(levels => levels.join('/'))
  const pattern = fc.array(fc.constantFrom('a', 'b', '', '$a', '{}'), { minLength: 1, maxLength: 4 }).chain(levels => fc.constantFrom([], ['{rest...}']).map(rest =>
    [...levels.map((text, i) => text === '{}' ? `{p${i}}` : text), ...rest].join('/'))).filter(text => text !== '')
  fc.assert(fc.property(pattern, topicName, (text, name) => {
    const made = topic(text)
    const found = made.match(name)
    if ((found !== undefined) !== topicMatches(made.filter, name)) throw new Error(`${text} ${name}`)
    const levels = found === undefined ? [] : text.split('/').flatMap(one => found[/\w+/.exec(one)?.[0] ?? ''] ?? one)
    if (found !== undefined && levels.join('/') !== name) throw new Error(`${text} ${name}: ${levels.join('/')}`)
  }), { numRuns: 1000 })
  t.end()
})

t.test('match of hostile names is linear: as long as a packet can be, at once', t => {
  const made = topic('{a}/{b}/{c}/x/{rest...}')
  for (const name of ['/'.repeat(65_535), 'a/'.repeat(32_767), 'a/b/c/x' + '/'.repeat(65_000), '{a}/{b}/{c}/y']) t.type(made.match(name)?.rest.length ?? 0, 'number')
  t.end()
})

for (const [library, temperature] of libraries) {
  t.test(`${library}: publish and subscribe are typed, and what does not fit is left out and told`, async t => {
    const test = await startObserved(t)
    const invalid: string[] = []
    const messages = test.broker.subscribe(temperature, { qos: 1, onInvalid: (error, { topicName }) => { invalid.push(`${topicName} ${error.code} ${error.issues.length}`) } })
    t.equal(messages.topicFilter, 'devices/+/temperature')
    for (const payload of ['{"celsius":"hot"}', '{', '']) await test.broker.publish('devices/evil/temperature', payload, { qos: 1 })
    await test.broker.publish(temperature, { id: '7' }, { celsius: 21 }, { qos: 1 })
    const { value } = await messages.next()
    t.match(value, { topicName: 'devices/7/temperature', parameters: { id: '7' }, payload: { celsius: 21 }, message: { qos: 1 } })
    t.strictSame(invalid, ['devices/evil/temperature MQTT_PAYLOAD_INVALID 1', ...Array<string>(2).fill('devices/evil/temperature MQTT_PAYLOAD_INVALID 0')])
    messages.unsubscribe()
    t.strictSame(await messages.next(), { done: true, value: undefined })
    await t.rejects(test.broker.publish(temperature, { id: '7' }, { celsius: 'hot' as never }), { name: 'MqttError', code: ErrorCode.payloadInvalid, issues: { length: 1 } })
    await t.rejects(test.broker.publish(temperature, { id: '7/x' }, { celsius: 1 }), { code: ErrorCode.topicNameInvalid })
    t.match(faultOf(await temperature.parse(message('devices/1/temperature', '{"celsius":"hot"}'))), /^the message to "devices\/1\/temperature" does not fit: celsius: /)
  })
}

t.test('a message that does not fit is acknowledged: the loop goes on, whatever onInvalid does', async t => {
  const test = await startObserved(t, { limits: { maximumInFlight: 1 } })
  const seen: number[] = []
  test.broker.subscribe(zodTemperature, ({ payload }) => { seen.push(payload.celsius) }, { qos: 2, onInvalid: () => { throw new Error('on purpose') } })
  const other = test.broker.subscribe(zodTemperature, { qos: 1 })
  const loop = (async () => { for await (const { payload } of other) seen.push(-payload.celsius) })()
  for (const payload of ['null', '{"celsius":1}', '[]', '{"celsius":2}']) await test.broker.publish('devices/7/temperature', payload, { qos: 2 })
  await settled()
  t.strictSame(seen.sort(), [-1, -2, 1, 2])
  t.strictSame(test.logger.lines.map(({ level }) => level).sort(), ['error', 'error', 'warn', 'warn'], 'the default is a warning')
  test.broker.unsubscribe(zodTemperature.filter)
  await loop
  t.throws(() => test.broker.subscribe(zodTemperature, { onInvalid: true as never }), { code: ErrorCode.optionInvalid })
})

t.test('break ends a typed subscription, and so does its signal', async t => {
  const test = await startBroker(t)
  const messages = test.broker.subscribe(zodTemperature)
  await test.broker.publish(zodTemperature, { id: '1' }, { celsius: 1 })
  for await (const { parameters } of messages) { t.equal(parameters.id, '1'); break }
  const controller = new AbortController()
  const ended = test.broker.subscribe(zodTemperature, { signal: controller.signal }).next()
  controller.abort()
  t.strictSame(await ended, { done: true, value: undefined })
  t.equal(test.broker.unsubscribe(zodTemperature.filter), false, 'nothing is left')
})

t.test('schemas that answer with a promise are waited for, one message after the other', async t => {
  const { broker } = await startBroker(t)
  const messages = broker.subscribe(lateTemperature)
  for (const celsius of [1, -300, 2]) await broker.publish('devices/7/temperature', JSON.stringify({ celsius }))
  t.strictSame([(await messages.next()).value?.payload, (await messages.next()).value?.payload], [{ celsius: 1 }, { celsius: 2 }])
  await t.rejects(broker.publish(lateTemperature, { id: '7' }, { celsius: -300 }), { code: ErrorCode.payloadInvalid, message: /is too cold/ })
  await t.resolves(broker.publish(lateTemperature, { id: '7' }, { celsius: 3 }))
})

t.test('a value is published as it was given; what the schema makes of it, it makes at each subscriber', async t => {
  const { broker } = await startBroker(t)
  const seen = topic('seen/{at}', z.object({ when: z.string().transform(text => new Date(text)), count: z.number().default(1) }))
  const [typed, raw] = [broker.subscribe(seen), broker.subscribe('seen/+')]
  await broker.publish(seen, { at: 'x' }, { when: '2030-01-01T00:00:00Z' })
  t.strictSame((await typed.next()).value?.payload, { when: new Date('2030-01-01T00:00:00Z'), count: 1 })
  t.equal((await raw.next()).value?.payload.toString(), '{"when":"2030-01-01T00:00:00Z"}')
})

t.test('without a schema the payload is bytes; a codec makes it something else', async t => {
  const { broker } = await startBroker(t)
  const bytes = topic('raw/{id}')
  const text = topic('raw/{id}', undefined, { codec: textCodec })
  const shout = topic('raw/{id}', z.string().regex(/^[A-Z]+$/), { codec: textCodec })
  const number: PayloadCodec<number> = { encode: value => { const at = Buffer.alloc(8); at.writeDoubleBE(value); return at }, decode: payload => payload.readDoubleBE() }
  const double = topic('raw/{id}', undefined, { codec: number })
  const all = [broker.subscribe(bytes), broker.subscribe(text), broker.subscribe(shout)] as const
  const quiet = broker.subscribe(double)
  await broker.publish(bytes, { id: '1' }, 'HEY')
  t.strictSame(await Promise.all(all.map(async messages => (await messages.next()).value?.payload)), [Buffer.from('HEY'), 'HEY', 'HEY'])
  await broker.publish(double, { id: '1' }, 0.5)
  t.equal((await quiet.next()).value?.payload, 0.5, 'what is too short was left out')
  t.match(faultOf(await text.parse(message('raw/1', Buffer.from([0xff])))), /not well-formed UTF-8/)
  t.match(faultOf(await shout.parse(message('raw/1', 'quiet'))), /does not fit/)
  t.throws(() => jsonCodec.encode(undefined), TypeError)
})

t.test('parse tells a message of another topic, and never throws, whatever the schema does', async t => {
  t.match(faultOf(await zodTemperature.parse(message('else', '{}'))), /"else" is not matched by devices\/\+\/temperature/)
  const broken: StandardSchema = { '~standard': { version: 1, vendor: 'mine', validate: () => { throw new Error('on purpose') } } }
  const late: StandardSchema = { '~standard': { version: 1, vendor: 'mine', validate: () => Promise.reject(new Error('on purpose')) } }
  for (const schema of [broken, late]) {
    const parsed = await topic('a', schema).parse(message('a', '1'))
    t.match(parsed, { code: ErrorCode.payloadInvalid, reasonCode: ReasonCode.payloadFormatInvalid, cause: { message: 'on purpose' }, issues: [] })
  }
})

t.test('attack: any number of faults, and a name of any length, make a short error', async t => {
  const many = topic('{all...}', z.array(z.number()))
  const fault = faultOf(await many.parse(message('x'.repeat(60_000), JSON.stringify(Array<string>(10_000).fill('x')))))
  t.ok(fault.length < 400, `${fault.length} characters`)
  t.match(fault, /; …$/)
})

t.test('attack: deep JSON, names of prototypes and lone surrogates are refused or harmless', async t => {
  const deep = topic('a', z.object({ celsius: z.number() }))
  const payloads = ['['.repeat(100_000), `${'['.repeat(100_000)}${']'.repeat(100_000)}`, '{"__proto__":{"celsius":1}}', '{"constructor":1}', '"\\ud800"']
  for (const payload of payloads) t.ok(await deep.parse(message('a', payload)) instanceof InvalidMessage, payload.slice(0, 20))
})

t.test('the order in which typed values are published is the order of the calls', async t => {
  const { broker } = await startBroker(t)
  const plain = broker.subscribe('devices/#')
  void broker.publish(zodTemperature, { id: '1' }, { celsius: 1 })
  void broker.publish('devices/raw', 'x')
  t.strictSame([(await plain.next()).value?.topicName, (await plain.next()).value?.topicName], ['devices/1/temperature', 'devices/raw'])
})

t.test('share makes a Shared Subscription of it', async t => {
  const { broker } = await startBroker(t)
  const seen: string[] = []
  const shared = zodTemperature.share('workers')
  t.equal(shared.filter, '$share/workers/devices/+/temperature')
  for (const name of ['a', 'b']) broker.subscribe(shared, ({ parameters: { id }, payload: { celsius } }) => { seen.push(`${name} ${id} ${celsius}`) })
  for (const celsius of [1, 2]) await broker.publish(shared, { id: '7' }, { celsius })
  await settled()
  t.strictSame(seen.map(line => line.slice(2)), ['7 1', '7 2'], 'each message once')
  for (const name of ['', 'a/b', '+', '#']) t.throws(() => zodTemperature.share(name), { code: ErrorCode.optionInvalid })
})

for (const [kind, temperature] of [['at once', zodTemperature], ['with a promise', lateTemperature]] as const) {
  forEachVersion(t, `validate refuses what does not fit as Payload format invalid, ${kind}`, async (t, protocolVersion) => {
    const test = await startBroker<{ readonly name: string }>(t)
    const unhook = test.broker.hook(temperature.validate())
    const [client] = await connect(test, { protocolVersion })
    const [watcher] = await connect(test, { protocolVersion, clientIdentifier: 'watcher' })
    await watcher.subscribe('#')
    for (const [topicName, payload] of [['devices/7/temperature', '{"celsius":"hot"}'], ['devices/7/temperature', ''], ['devices/7/temperature', '{']] as const) {
      const answers = await client.publish(topicName, payload, { qos: 1, packetIdentifier: 1 }).take()
      t.match(answers, [{ type: PacketType.puback, reasonCode: protocolVersion === 5 ? ReasonCode.payloadFormatInvalid : ReasonCode.success }])
    }
    t.strictSame(await watcher.payloads(), [])
    await client.publish('devices/7/temperature', '{"celsius":1}', { retain: true }).publish('devices/7/name', 'free').publish('devices/7/temperature', '', { retain: true }).take()
    t.strictSame(await watcher.payloads(), ['{"celsius":1}', 'free', ''], 'what fits, what has another topic, what removes')
    unhook()
    await client.publish('devices/7/temperature', 'free again').take()
    t.strictSame(await watcher.payloads(), ['free again'])
  })
}

t.test('what removes a retained message is no value: left out without a word', async t => {
  const logger = new MemoryLogger()
  const { broker } = await startBroker(t, { logger })
  const messages = broker.subscribe(zodTemperature)
  await broker.publish(zodTemperature.topicName({ id: '7' }), '', { retain: true })
  await broker.publish(zodTemperature, { id: '8' }, { celsius: 1 })
  t.equal((await messages.next()).value?.parameters.id, '8')
  t.strictSame(logger.lines, [])
})

t.test('match in authorizePublish: a device writes to its own topic only', async t => {
  const test = await startBroker(t, { hooks: { authorizePublish: ({ client, topicName }) => zodTemperature.match(topicName)?.id === client.clientIdentifier } })
  const [client] = await connect(test, { clientIdentifier: '7' })
  const code = async (topicName: string): Promise<unknown> => (await client.publish(topicName, '{}', { qos: 1, packetIdentifier: 1 }).take())[0]
  t.match(await code('devices/7/temperature'), { reasonCode: ReasonCode.noMatchingSubscribers })
  for (const name of ['devices/8/temperature', 'devices/7/temperature/7', 'devices//temperature']) t.match(await code(name), { reasonCode: ReasonCode.notAuthorized }, name)
})

t.test('the types say what the values are', async t => {
  const { broker } = await startBroker(t)
  const use = (...values: unknown[]): void => { t.ok(values) }
  const check = async (): Promise<void> => {
    const id: string | undefined = zodTemperature.match('x')?.id
    const rest: readonly string[] | undefined = topic('{a}/{b...}').match('x')?.b
    // @ts-expect-error there is no such parameter
    use(zodTemperature.match('x')?.device)
    // @ts-expect-error a rest is an array
    topic('{b...}').topicName({ b: 'x' })
    // @ts-expect-error a level is a text
    zodTemperature.topicName({ id: 7 })
    // @ts-expect-error a parameter is missing
    void broker.publish(zodTemperature, {}, { celsius: 1 })
    // @ts-expect-error the payload is another one
    void broker.publish(zodTemperature, { id: '7' }, { kelvin: 1 })
    // @ts-expect-error without a schema it is bytes or a text
    void broker.publish(topic('a'), {}, 7)
    // @ts-expect-error a codec must know what the schema lets in
    topic('a', z.number(), { codec: textCodec })
    for await (const { payload, parameters } of broker.subscribe(zodTemperature)) {
      const celsius: number = payload.celsius
      // @ts-expect-error the payload has no such field
      use(payload.kelvin)
      use(celsius, parameters.id)
    }
    broker.subscribe(libraries[1][1], ({ payload }) => { const celsius: number = payload.celsius; use(celsius) })
    const bytes: TypedMessage<{ readonly id: string }, Buffer> | undefined = (await broker.subscribe(topic('raw/{id}')).next()).value
    const any: Readonly<Record<string, string | readonly string[]>> | undefined = topic('a/' + String(id)).match('x')
    const theirs: StandardSchemaV1<string, number> = z.string().transform(Number)
    const ours: StandardSchema<string, number> = theirs
    const back: StandardSchemaV1<string, number> = ours
    use(rest, bytes, any, back)
  }
  t.type(check, 'function')
})
