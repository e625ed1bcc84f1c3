import { duplexPair } from 'node:stream'
import t from 'tap'
import { ReasonCode, type Hooks } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { createTestBroker, type TestBroker } from '../plugins/testing/index.ts'
import { connect, forEachVersion, settled, startBroker } from './support/harness.ts'
import { deferred, startObserved, tryConnect } from './support/observe.ts'

const credentials = { username: 'anna', password: Buffer.from('secret') }

t.test('authorizeConnection is asked before anything is read; what it refuses is closed, and told to refused', async t => {
  const banned = { isBanned: true }
  const refused: string[] = []
  const hooks: Hooks = {
    authorizeConnection: ({ connection: { transport } }) => transport === 'stream' && !banned.isBanned,
    authenticate: () => { t.notOk(banned.isBanned, 'authenticate is not reached'); return true },
    refused: ({ error }) => { refused.push(error.code) },
  }
  const test = await startBroker(t, { hooks })
  const [ours, theirs] = duplexPair()
  test.broker.handle(theirs)
  t.equal(theirs.destroyed, true)
  t.strictSame([ours.read(), refused, test.broker.metrics.connections], [null, ['MQTT_NOT_AUTHORIZED'], 0])
  banned.isBanned = false
  await connect(test)
})

t.test('authorizeConnection that throws or returns a promise refuses', async t => {
  const broken = [() => { throw new Error('on purpose') }, (() => Promise.resolve(true)) as never] satisfies Hooks['authorizeConnection'][]
  for (const authorizeConnection of broken) {
    const test = await startObserved(t, { hooks: { authorizeConnection } })
    const [, theirs] = duplexPair()
    test.broker.handle(theirs)
    t.equal(theirs.destroyed, true)
    t.match(test.logger.take('error'), [/authorizeConnection failed/])
  }
})

t.test('authorizeClient is asked once it is known who a Client is, before its Will and its Session are touched', async t => {
  const asked: string[] = []
  const answers = new Map<string, boolean | ReasonCode>([['banned', ReasonCode.banned], ['no', false], ['fast', ReasonCode.connectionRateExceeded]])
  const hooks: Hooks = {
    authenticate: ({ username }) => ({ allow: true, username: `verified ${username ?? ''}`, clientIdentifier: username ?? '' }),
    authorizeClient: ({ client }) => { asked.push(client.username ?? ''); return answers.get(client.clientIdentifier) ?? true },
    authorizePublish: () => { t.fail('the Will Message of a Client that may not come in is not looked at'); return true },
  }
  const test = await startObserved(t, { hooks })
  const will = { topicName: 'w', payload: Buffer.from('x'), qos: 0 as const, retain: false, properties: undefined }
  const attempt = async (username: string): Promise<ReasonCode | undefined> => (await tryConnect(test, { username, will }))[1]?.reasonCode
  t.strictSame([await attempt('banned'), await attempt('no'), await attempt('fast')], [ReasonCode.banned, ReasonCode.notAuthorized, ReasonCode.connectionRateExceeded])
  t.equal((await tryConnect(test, { username: 'yes' }))[1]?.reasonCode, ReasonCode.success)
  t.strictSame(asked, ['verified banned', 'verified no', 'verified fast', 'verified yes'])
  t.strictSame(test.events, ['refused MQTT_NOT_AUTHORIZED 138', 'refused MQTT_NOT_AUTHORIZED 135', 'refused MQTT_NOT_AUTHORIZED 159'])
})

t.test('authorizeClient alone makes no broker that lets nobody in, and may take its time', async t => {
  const gate = deferred<boolean>()
  const test = await startBroker(t, { hooks: { authorizeClient: () => gate.promise } })
  const [client, before] = await tryConnect(test)
  t.equal(before, undefined)
  gate.resolve(true)
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: 0 }])
})

t.test('connectionEnded is told once for each connection, however far it came', async t => {
  const ended: number[] = []
  const hooks: Hooks = { authorizeConnection: ({ connection }) => connection.id !== 1, connectionEnded: ({ connection }) => { ended.push(connection.id) } }
  const test = await startBroker(t, { hooks, limits: { maximumConnections: 2 } })
  for (let i = 0; i < 2; i++) test.broker.handle(duplexPair()[1])
  await settled()
  t.strictSame(ended, [1], 'one that was not wanted')
  const [client] = await connect(test)
  test.broker.handle(duplexPair()[1])
  await settled()
  t.strictSame(ended, [1, 4], 'one too many')
  client.disconnect()
  await settled()
  client.stream.end()
  await settled()
  t.strictSame(ended, [1, 4, 3], 'a Client')
  await test.clock.advance(20_000)
  t.strictSame(ended, [1, 4, 3, 2], 'one that never said anything')
  t.equal(test.broker.metrics.connections, 0)
})

t.test('a refusal because a hook failed is not told as one for wrong credentials', async t => {
  const failing: Hooks['authenticate'][] = [() => { throw new Error('the database is away') }, () => Promise.reject(new Error('the database is away'))]
  for (const authenticate of failing) {
    const test = await startObserved(t, { hooks: { authenticate: authenticate as NonNullable<Hooks['authenticate']> } })
    t.equal((await tryConnect(test, credentials))[1]?.reasonCode, ReasonCode.notAuthorized)
    t.strictSame(test.events, ['refused MQTT_HOOK_FAILED 135'])
    t.equal(test.logger.take('error').length, 1, 'logged once')
  }
})

t.test('claims are told to every later hook; without any there are none', async t => {
  const seen: unknown[] = []
  const hooks: Hooks = {
    authenticate: ({ username }) => username === undefined ? true : { allow: true, claims: { groups: ['admins'] } },
    connected: ({ client }) => { seen.push(client.claims) },
  }
  const test = await createTestBroker({ hooks })
  t.teardown(() => test.close())
  await test.connect()
  await test.connect({ username: 'anna' })
  t.strictSame(seen, [{}, { groups: ['admins'] }])
})

forEachVersion(t, 'a connection ends when what it was let in with expires (0xA0)', async (t, protocolVersion) => {
  const ended: unknown[] = []
  const test: TestBroker = await createTestBroker({
    hooks: {
      authenticate: () => ({ allow: true, expiresAt: test.clock.now() + 60_000 }),
      disconnected: ({ reasonCode, error }) => { ended.push([reasonCode, error?.code]) },
    },
  })
  t.teardown(() => test.close())
  const client = await test.connect({ protocolVersion })
  await test.clock.advance(59_000)
  t.equal(client.isEnded, false)
  await test.clock.advance(1_500)
  await client.expectDisconnect(ReasonCode.maximumConnectTime)
  t.strictSame(ended, [[ReasonCode.maximumConnectTime, 'MQTT_CREDENTIALS_EXPIRED']])
})
