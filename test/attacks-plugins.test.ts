import t from 'tap'
import { join } from 'node:path'
import { createBroker, ErrorCode, ReasonCode, type Hooks, type Plugin } from '../lib/index.ts'
import { memoryStore } from '../lib/store/memory-store.ts'
import { accessRules, mosquittoAcl } from '../plugins/acl/index.ts'
import { allOf, anyOf, when } from '../plugins/chain/index.ts'
import { jwt } from '../plugins/jwt/index.ts'
import { passwordFile } from '../plugins/password-file/index.ts'
import { rateLimit } from '../plugins/rate-limit/index.ts'
import { connect, connectPacket, PacketClient, startBroker } from './support/harness.ts'
import { login, secret, sign } from './support/plugins/jwt.ts'
import { deferred, tryConnect } from './support/observe.ts'

// What was found in the plugins themselves; behind attacks.test.ts.

t.test('CVE-2018-12551, CVE-2018-12550, moquette#967: a file of users or rules that is malformed, or empty, lets somebody in', async t => {
  const folder = t.testdir({ users: 'honest\n', blank: '', hashless: 'honest:\n', rules: '', typo: '{"rules":[{"alow":"publish","topics":"#"}]}' })
  const plugins = [passwordFile({ path: join(folder, 'users') }), passwordFile({ path: join(folder, 'hashless') }), accessRules({ path: join(folder, 'rules') }), accessRules({ path: join(folder, 'typo') }), passwordFile({ path: join(folder, 'none') })]
  for (const plugin of plugins) await t.rejects(createBroker({ plugins: [plugin as Plugin] }), { code: ErrorCode.fileInvalid })
  const test = await startBroker(t, { plugins: [passwordFile({ path: join(folder, 'blank') })] })
  for (const username of ['honest', '', undefined]) t.equal((await tryConnect(test, { username, password: username === undefined ? undefined : Buffer.alloc(0) }))[1]?.reasonCode === 0, false)
  const ruleless = await startBroker(t, { plugins: [mosquittoAcl({ path: join(folder, 'blank') })] })
  const [client] = await connect(ruleless)
  await client.subscribe('#')
  t.match(await client.publish('a', 'x', { qos: 1, packetIdentifier: 1 }).take(), [{ reasonCode: ReasonCode.notAuthorized }])
  await ruleless.broker.publish('a', 'x')
  t.strictSame(await client.take(), [])
})

t.test('CVE-2026-42209: numbers that together make no sense', async t => {
  for (const limits of [{ connectionRate: 0 }, { receiveMaximum: 0 }, { connectTimeoutMs: 0 }]) await t.rejects(createBroker({ limits }), { code: ErrorCode.optionInvalid })
  for (const publishes of [{ perSecond: 0 }, { perSecond: NaN }, { perSecond: 1, burst: 0 }]) t.throws(() => rateLimit({ publishes }), { code: ErrorCode.optionInvalid })
})

const stored = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } }

t.test('what a token allows holds where others have claims to say, too', async t => {
  const claiming: Plugin = { name: 'claiming', hooks: { authenticate: () => ({ allow: true, claims: { zone: 'b' } }) } }
  for (const plugins of [[0, 1], [1, 0]]) {
    const token = jwt({ secret, method: false, permissions: 'acl' })
    const test = await startBroker(t, { plugins: [allOf(...plugins.map(i => i === 0 ? token : claiming))] })
    const [client, reasonCode] = await login(test, { username: 'u', password: Buffer.from(await sign({ acl: { sub: ['mine/#'] } }, new TextEncoder().encode(secret), { alg: 'HS256' })) })
    t.equal(reasonCode, ReasonCode.success)
    t.strictSame((await client.subscribe('mine/a'))?.reasonCodes, [2])
    t.strictSame((await client.subscribe('others/#'))?.reasonCodes, [ReasonCode.notAuthorized])
  }
})

t.test('a plugin that is not for a connection allows it nothing among plugins of which one has to allow', async t => {
  const rules = (name: string, topics: string): Plugin => accessRules({ name, rules: [{ allow: ['publish', 'subscribe'], topics }] })
  const inside = when(({ transport }) => transport === 'stream', rules('inside', 'inside/#'))
  const outside = when(({ transport }) => transport === 'websocket', rules('outside', 'outside/#'))
  for (const plugin of [anyOf(inside, outside), anyOf(outside, inside), anyOf(anyOf(outside), inside)]) {
    const test = await startBroker(t, { plugins: [plugin] })
    const [client] = await connect(test)
    t.strictSame((await client.subscribe('inside/a'))?.reasonCodes, [2])
    for (const topicFilter of ['outside/a', 'secret']) t.strictSame((await client.subscribe(topicFilter))?.reasonCodes, [ReasonCode.notAuthorized], topicFilter)
  }
  const test = await startBroker(t, { plugins: [anyOf(outside)] })
  const [client] = await connect(test)
  t.strictSame((await client.subscribe('x'))?.reasonCodes, [2], 'where none is for it, there is none')
})

/** A hook whose answers take time: each is that of when it was asked. */
function slow (): { hooks: Hooks, rights: { isAllowed: boolean }, answer: () => void } {
  const rights = { isAllowed: true }
  let gate = deferred()
  const authorizeSubscribe = async (): Promise<boolean> => {
    const { isAllowed } = rights
    await gate.promise
    return isAllowed
  }
  return { hooks: { authorizeSubscribe }, rights, answer: () => { gate.resolve(undefined); gate = deferred() } }
}

t.test('rights that are taken back while a subscription is being asked about do not come too late', async t => {
  const { hooks, rights, answer } = slow()
  const test = await startBroker(t, { hooks })
  const [client] = await connect(test)
  await client.subscribe('secret')
  rights.isAllowed = false
  await test.broker.revalidate()
  answer()
  await client.settle()
  answer()
  const [suback] = await client.take()
  t.match(suback, { reasonCodes: [ReasonCode.notAuthorized] })
  await test.broker.publish('secret', 'x')
  t.strictSame(await client.payloads(), [])
})

t.test('rights that are taken back while a stored Session is being resumed do not come too late', async t => {
  const persistence = memoryStore()
  const first = await startBroker(t, { persistence })
  const [before] = await connect(first, stored)
  await before.subscribe('secret')
  const closing = first.broker.close()
  await first.clock.advance(10_000)
  await closing
  const { hooks, rights, answer } = slow()
  const test = await startBroker(t, { persistence, hooks })
  const client = new PacketClient(test.broker, 5).send(connectPacket(stored))
  await client.settle()
  rights.isAllowed = false
  await test.broker.revalidate()
  answer()
  await client.settle()
  answer()
  t.match(await client.take(), [{ sessionPresent: true }])
  await test.broker.publish('secret', 'x')
  t.strictSame(await client.payloads(), [])
})
