import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { duplexPair } from 'node:stream'
import { createBroker, ErrorCode, memoryStore, ReasonCode, version, type BrokerOptions, type Plugin } from '../lib/index.ts'
import { PacketType, type WillFields } from '../lib/packet/packets.ts'
import { FakeClock } from './support/fake-clock.ts'
import { connect, connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'
import { startObserved, tryConnect } from './support/observe.ts'

const wrongOptions: readonly (readonly [option: string, options: object])[] = [
  ['hook', { hook: {} }],
  ['hooks.onConect', { hooks: { onConect: () => undefined } }],
  ['hooks.onConnect', { hooks: { onConnect: 'no function' } }],
  ['sysIntervalMs', { sysIntervalMs: -1 }],
  ['hookTimeoutMs', { hookTimeoutMs: 0 }],
  ['hookTimeoutMs', { hookTimeoutMs: 2 ** 31 }],
  ['closeTimeoutMs', { closeTimeoutMs: '2000' }],
  ['sharedSubscriptionStrategy', { sharedSubscriptionStrategy: 'fair' }],
  ['deniedPublish', { deniedPublish: 'drop' }],
  ['reasonStrings', { reasonStrings: 'no' as never }],
  ['limits.maximumPacketsize', { limits: { maximumPacketsize: 10 } }],
  ['limits.queuePolicy', { limits: { queuePolicy: 'drop' } }],
  ['limits.receiveMaximum', { limits: { receiveMaximum: 0 } }],
  ['limits.topicAliasMaximum', { limits: { topicAliasMaximum: 65_536 } }],
  ['limits', { limits: 'many' }],
  ['logger', { logger: { error: () => undefined } }],
  ['persistence', { persistence: './data' }],
  ['plugins', { plugins: { name: 'alone' } }],
  ['plugins[1]', { plugins: [{ name: 'one' }, function two () { return { name: 'two' } }] }],
  ['plugins[0]', { plugins: [(() => ({ name: 'nameless' }))] }],
  ['plugins[0]', { plugins: [Promise.resolve({ name: 'later' })] }],
  ['plugins[0]', { plugins: ['acl'] }],
  ['plugins[0].name', { plugins: [{ hooks: {} }] }],
  ['plugins', { plugins: [{ name: 'twice' }, { name: 'twice' }] }],
  ['authenticationMethods', { authenticationMethods: ['A', 'A'].map(name => ({ name, start: () => ({ next: () => ({ allow: true }) }) })) }],
]

for (const [option, options] of wrongOptions) {
  t.test(`createBroker names the option that is wrong: ${JSON.stringify(options)}`, async t => {
    const clock = new FakeClock()
    const error = await createBroker({ clock, ...options }).then(() => undefined, (error: unknown) => error)
    t.match(error, { code: ErrorCode.optionInvalid })
    t.ok(error instanceof Error && error.message.includes(`"${option}"`), String(error))
    t.equal(clock.pending, 0, 'nothing goes on behind an error')
  })
}

t.test('what is no object is no option, and a function that makes a plugin is none', async t => {
  for (const options of [5, null, 'x']) await t.rejects(createBroker(options as never), { code: ErrorCode.optionInvalid, message: /"options" must be an object/ })
  const { broker } = await startBroker(t)
  await t.rejects(broker.use(function guard () { return { name: 'guard' } }), { code: ErrorCode.optionInvalid, message: /call guard\(…\)/ })
})

t.test('options that are undefined are as good as absent', async t => {
  const { broker } = await startBroker(t, { hooks: { authenticate: undefined }, limits: { receiveMaximum: undefined }, serverReference: undefined } as unknown as BrokerOptions)
  t.equal(broker.limits.receiveMaximum, 100)
  t.equal(broker.version, version)
})

function recordingPlugin (name: string, log: string[], fails?: 'setup' | 'close'): Plugin {
  const note = (what: 'setup' | 'close') => async (): Promise<void> => {
    log.push(`${what} ${name} begins`)
    await settled()
    if (what === fails) throw new Error(`${what} of ${name}`)
    log.push(`${what} ${name}`)
  }
  return { name, setup: note('setup'), close: note('close') }
}

t.test('plugins are set up one after the other, in order, and closed in reverse', async t => {
  const log: string[] = []
  const broker = await createBroker({ plugins: [recordingPlugin('a', log), recordingPlugin('b', log)] })
  await broker.use(recordingPlugin('c', log))
  await t.rejects(broker.use(recordingPlugin('a', log)), { code: ErrorCode.optionInvalid })
  await broker.close()
  const [up, down] = [['a', 'b', 'c'].map(name => `setup ${name}`), ['c', 'b', 'a'].map(name => `close ${name}`)]
  t.strictSame(log, [...up, ...down].flatMap(line => [`${line} begins`, line]))
})

t.test('a plugin whose setup fails: its error is thrown, its hooks are gone, those before it are closed', async t => {
  const log: string[] = []
  const clock = new FakeClock()
  await t.rejects(createBroker({ clock, plugins: [recordingPlugin('a', log), recordingPlugin('b', log, 'setup'), recordingPlugin('c', log)] }), { message: 'setup of b' })
  t.strictSame(log, ['setup a begins', 'setup a', 'setup b begins', 'close a begins', 'close a'])
  t.equal(clock.pending, 0)
  const test = await startBroker(t)
  const start = (): never => { throw new Error('unused') }
  const bad: Plugin = { name: 'bad', hooks: { authenticate: () => false }, authenticationMethods: [{ name: 'X', start }], setup: () => { throw new Error('bad') } }
  await t.rejects(test.broker.use(bad), { message: 'bad' })
  await connect(test)
  await test.broker.use({ name: 'bad', authenticationMethods: [{ name: 'X', start }] })
})

t.test('a plugin whose close fails does not keep the others from closing', async t => {
  const log: string[] = []
  const broker = await createBroker({ plugins: [recordingPlugin('a', log), recordingPlugin('b', log, 'close')] })
  await t.rejects(broker.close(), { message: 'close of b' })
  t.equal(log.at(-1), 'close a')
})

t.test('close() says Server shutting down and where to go, and lets what was sent arrive (section 3.14.2)', async t => {
  const test = await startBroker(t, { serverReference: 'other.example:1883' })
  const heard: string[] = []
  test.broker.hook({ published: ({ message }) => { heard.push(message.topicName) } })
  const will = { topicName: 'will', payload: Buffer.alloc(0), qos: 0, retain: false, properties: undefined } as const
  const [modern] = await connect(test, { clientIdentifier: 'modern', will })
  const [old] = await connect(test, { clientIdentifier: 'old', protocolVersion: 4 })
  await modern.subscribe('a')
  void test.broker.publish('a', 'last')
  const closing = test.broker.close()
  t.equal(test.broker.close(), closing, 'idempotent')
  await settled()
  for (const client of [modern, old]) client.stream.end()
  await closing
  t.match(await modern.take(), [{ type: PacketType.publish }, { type: PacketType.disconnect, reasonCode: ReasonCode.serverShuttingDown, properties: { serverReference: 'other.example:1883' } }])
  t.strictSame([await old.take(), old.isEnded], [[], true])
  t.strictSame(heard, ['a'], 'Will Messages are not published')
  t.equal(test.clock.pending, 0, 'no timer is left')
  t.equal(test.broker.metrics.connections, 0)
})

t.test('close() waits for who does not leave only as long as closeTimeoutMs, and lets nobody in meanwhile', async t => {
  const { broker, clock } = await startBroker(t, { closeTimeoutMs: 1000 })
  const [ours, theirs] = duplexPair()
  broker.handle(theirs)
  ours.on('error', () => undefined)
  let isClosed = false
  const closing = broker.close().then(() => { isClosed = true })
  await clock.advance(900)
  t.equal(isClosed, false)
  const [, late] = duplexPair()
  broker.handle(late)
  t.equal(late.destroyed, true)
  await clock.advance(200)
  await closing
  t.equal(theirs.destroyed, true)
  t.equal(clock.pending, 0)
})

t.test('a CONNECT whose hook is pending when the broker closes is not let in', async t => {
  const answers: ((allow: boolean) => void)[] = []
  const test = await startObserved(t, { closeTimeoutMs: 1000, hooks: { authenticate: () => new Promise(resolve => { answers.push(resolve) }) } })
  const [client] = await tryConnect(test)
  const closing = test.broker.close()
  answers[0]?.(true)
  await test.clock.advance(1000)
  await closing
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.serverUnavailable }], 'CONNACK has no 0x8B (section 3.2.2.2)')
  t.strictSame(test.events, ['refused MQTT_SERVER_SHUTTING_DOWN 136'])
})

t.test('a closed broker says so, and `await using` closes one', async t => {
  const clock = new FakeClock()
  const broker = await createBroker({ clock })
  await broker[Symbol.asyncDispose]()
  await t.rejects(broker.publish('a', 'x'), { code: ErrorCode.brokerClosed })
  t.throws(() => broker.subscribe('a'), { code: ErrorCode.brokerClosed })
  await t.rejects(broker.request('a', 'x'), { code: ErrorCode.brokerClosed })
  await t.rejects(broker.use({ name: 'late' }), { code: ErrorCode.brokerClosed })
  t.equal(clock.pending, 0)
})

t.test('nothing keeps the process alive after close(), nor a broker that has no server', async t => {
  const program = `
    import { createServer, connect } from 'node:net'
    import { once } from 'node:events'
    import { createBroker } from './lib/index.ts'
    await createBroker()
    const broker = await createBroker({ closeTimeoutMs: 60_000 })
    const server = createServer(broker.handle).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const socket = connect(server.address().port, '127.0.0.1')
    socket.write(Buffer.from('101300044d51545405020000000006636c69656e74', 'hex'))
    await once(socket, 'data')
    void broker.subscribe('#', () => {})
    server.close()
    await broker.close()
    process.on('exit', () => console.log('exits by itself'))`
  const options = process.execArgv.filter(argument => argument.includes('@tapjs/typescript'))
  const child = spawn(process.execPath, [...options, '--input-type=module', '-e', program], { cwd: new URL('..', import.meta.url), stdio: ['ignore', 'pipe', 'pipe'] })
  t.teardown(() => child.kill())
  const printed: string[] = []
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text: string) => printed.push(text))
  const [code] = await once(child, 'close') as [number]
  t.strictSame([code, printed.join('')], [0, 'exits by itself\n'])
})

const sysNames = [
  'version', 'uptime', 'clients/connected', 'clients/disconnected', 'clients/total', 'clients/maximum', 'clients/expired', 'messages/received', 'messages/sent',
  'messages/stored', 'store/messages/count', 'store/messages/bytes', 'publish/messages/received', 'publish/messages/sent', 'publish/messages/dropped', 'bytes/received',
  'bytes/sent', 'retained messages/count', 'subscriptions/count', 'shared_subscriptions/count', 'store/commits', 'store/failures', 'store/uncommitted/bytes',
  ...['messages/received', 'messages/sent', 'publish/received', 'publish/sent', 'publish/dropped', 'bytes/received', 'bytes/sent', 'connections'].flatMap(name => [1, 5, 15].map(minutes => `load/${name}/${minutes}min`)),
].map(name => `$SYS/broker/${name}`)

async function sysValues (test: TestBroker): Promise<Map<string, string>> {
  const [client] = await connect(test, { clientIdentifier: 'watcher' })
  await client.subscribe('$SYS/#')
  const values = new Map((await client.messages()).map(({ topic, payload }) => [topic.name, payload.toString()]))
  client.disconnect()
  await settled()
  return values
}

t.test('$SYS: all topics are retained, as numbers or text, and kept up to date', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000, persistence: memoryStore() })
  t.strictSame([...(await sysValues(test)).keys()].sort(), [...sysNames].sort())
  const [client] = await connect(test)
  for (const topicFilter of ['a', 'b', '$share/g/c']) await client.subscribe(topicFilter)
  client.publish('a', 'x', { retain: true }).publish('b', 'x')
  await test.clock.advance(1000)
  const values = await sysValues(test)
  const expected = { version: `myelin version ${version}`, uptime: '1 seconds', 'clients/connected': '1', 'subscriptions/count': '3', 'shared_subscriptions/count': '1', 'publish/messages/received': '2', 'clients/total': '1' }
  for (const [name, value] of Object.entries(expected)) t.equal(values.get(`$SYS/broker/${name}`), value, name)
  t.ok(Number(values.get('$SYS/broker/load/publish/received/1min')) > 0)
})

t.test('$SYS: 0 turns it off', async t => {
  const test = await startBroker(t, { sysIntervalMs: 0 })
  await test.clock.advance(60_000)
  t.equal((await sysValues(test)).size, 0)
})

t.test('$SYS: no Client can write it, by PUBLISH, by Topic Alias or by Will Message', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000 })
  const [client] = await connect(test)
  const topicName = '$SYS/broker/version'
  t.match(await client.publish(topicName, 'forged', { retain: true, qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.notAuthorized }])
  client.publish(topicName, 'forged', { retain: true, properties: { topicAlias: 1 } }).publish('', 'forged', { retain: true, properties: { topicAlias: 1 } })
  const [, connack] = await tryConnect(test, { clientIdentifier: 'other', will: { topicName, payload: Buffer.from('forged'), qos: 0, retain: true, properties: undefined } })
  t.equal(connack?.reasonCode, ReasonCode.notAuthorized)
  t.equal((await sysValues(test)).get(topicName), `myelin version ${version}`)
})

t.test('$SYS: a bridge may say whether it is there, by PUBLISH and by Will Message, where the host lets it', async t => {
  const test = await startBroker(t, { hooks: { authorizePublish: ({ topicName }) => !topicName.includes('mallory') } })
  const state = (name: string): string => `$SYS/broker/connection/${name}/state`
  const will = (topicName: string): WillFields => ({ topicName, payload: Buffer.from('0'), qos: 1, retain: true, properties: undefined })
  const [bridge] = await connect(test, { will: will(state('hall')) })
  const codes = [[state('hall'), ReasonCode.noMatchingSubscribers], [state('mallory'), ReasonCode.notAuthorized], ['$SYS/broker/connection/hall', ReasonCode.notAuthorized],
    [state('a/b'), ReasonCode.notAuthorized], [`${state('hall')}/x`, ReasonCode.notAuthorized], [`x${state('hall')}`, ReasonCode.noMatchingSubscribers]] as const
  for (const [topicName, reasonCode] of codes) t.match(await bridge.publish(topicName, '1', { retain: true, qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode }], topicName)
  t.strictSame([...await sysValues(test)], [[state('hall'), '1']])
  await bridge.vanish()
  t.strictSame([...await sysValues(test)], [[state('hall'), '0']])
  const [, connack] = await tryConnect(test, { clientIdentifier: 'other', will: will(state('mallory')) })
  t.equal(connack?.reasonCode, ReasonCode.notAuthorized)
})

t.test('$SYS: subscribers of # and + do not get it [MQTT-4.7.2-1]', async t => {
  const test = await startBroker(t, { sysIntervalMs: 1000 })
  const [client] = await connect(test)
  for (const topicFilter of ['#', '+/#', '+/broker/uptime']) await client.subscribe(topicFilter)
  await test.clock.advance(3000)
  t.strictSame(await client.messages(), [])
})

t.test('the broker knows its Clients, and can send one away', async t => {
  const test = await startObserved(t)
  const [client] = await connect(test, { clientIdentifier: 'one', username: 'anna' })
  t.match([...test.broker.clients()], [{ clientIdentifier: 'one', username: 'anna', protocolVersion: 5 }])
  t.equal(test.broker.disconnect('nobody'), false)
  t.equal(test.broker.disconnect('one'), true)
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.administrativeAction }])
  t.ok(test.events.includes('disconnected 152 one'))
  t.equal(new PacketClient(test.broker, 5).send(connectPacket()).isEnded, false)
})
