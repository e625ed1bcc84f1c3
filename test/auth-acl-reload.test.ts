import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ErrorCode, ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { accessRules, mosquittoAcl, type AccessRule, type AccessRulesOptions } from '../plugins/acl/index.ts'
import { mayPublish, maySubscribe, start, startRules, until, type Rules } from './support/plugins/acl.ts'
import { connect, startBroker } from './support/harness.ts'
import { deferred, startObserved } from './support/observe.ts'

t.setTimeout(120_000) // many Clients, on a machine that may be busy

t.test('reload: rules in code are looked at anew and apply to whoever is connected', async t => {
  const rules: AccessRule[] = [{ allow: ['publish', 'subscribe'], topics: ['a', 'b'] }]
  const test = await startRules(t, rules)
  const [client] = await connect(test)
  t.strictSame([await maySubscribe(client, 'a'), await maySubscribe(client, 'b'), await mayPublish(client, 'c'), await mayPublish(client, 'a')], [true, true, false, true])
  await client.take()
  rules.splice(0, 1, { allow: 'publish', topics: 'c' }, { allow: 'subscribe', topics: ['a', 'd'] }, { deny: 'deliver', topics: 'd' })
  await test.acl.reload()
  t.strictSame([await mayPublish(client, 'c'), await mayPublish(client, 'a'), await maySubscribe(client, 'd')], [true, false, true])
  for (const topic of ['a', 'b', 'd']) await test.broker.publish(topic, topic)
  t.strictSame(await client.payloads(), ['a'])
  rules.push({ allow: 'publish' } as never)
  await t.rejects(test.acl.reload(), { code: ErrorCode.optionInvalid, message: /rules\[3\]\.topics/ })
  t.equal(await mayPublish(client, 'c'), true, 'what was in force stays')
  await t.rejects(accessRules({ rules: [] }).reload(), { code: ErrorCode.brokerClosed })
})

t.test('what was remembered of a Client does not outlive who it was (re-authentication)', async t => {
  const claims = [{ tenant: 'a' }, { tenant: 'b' }]
  const test = await startBroker(t, {
    authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true, claims: claims.shift() ?? {} }) }) }],
    plugins: [accessRules({ rules: [{ allow: ['publish', 'subscribe'], topics: 't/${claims.tenant}' }, { allow: 'subscribe', topics: 'all' }] })],
  })
  const [client] = await connect(test, { properties: { authenticationMethod: 'token' } })
  t.strictSame([await mayPublish(client, 't/a'), await mayPublish(client, 't/b')], [true, false])
  t.strictSame([await maySubscribe(client, 't/a'), await maySubscribe(client, 'all')], [true, true])
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod: 'token' } })
  t.match(await client.take(), [{ type: PacketType.auth, reasonCode: ReasonCode.success }])
  for (const topic of ['t/a', 'all']) await test.broker.publish(topic, topic)
  t.strictSame(await client.payloads(), ['all'], 'what it had subscribed to is judged anew')
  t.strictSame([await mayPublish(client, 't/a'), await mayPublish(client, 't/b')], [false, true])
})

t.test('a Client that leaves while its subscriptions are judged anew is not answered', async t => {
  const verdict = deferred<boolean>()
  const test = await startObserved(t, {
    authenticationMethods: [{ name: 'token', start: () => ({ next: () => ({ allow: true }) }) }],
    hooks: { authorizeSubscribe: ({ isRestored }) => isRestored ? verdict.promise : true },
  })
  const [client] = await connect(test, { properties: { authenticationMethod: 'token' } })
  await client.subscribe('a')
  await client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod: 'token' } }).vanish()
  verdict.resolve(true)
  t.strictSame([await client.take(), test.logger.take('error')], [[], []])
})

const wrongRules: readonly (readonly [rule: unknown, message: RegExp])[] = [
  ['allow', /rules\[0\]/],
  [null, /rules\[0\]/],
  [{ topics: 'a' }, /either "allow" or "deny", got "neither"/],
  [{ allow: 'publish', deny: 'publish', topics: 'a' }, /got "both"/],
  [{ allow: 'read', topics: 'a' }, /rules\[0\]\.allow" must be publish, subscribe, deliver/],
  [{ allow: [], topics: 'a' }, /a list that is not empty/],
  [{ allow: 'publish' }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: [] }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: ['a', 7] }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: '' }, /rules\[0\]\.topics/],
  [{ allow: 'publish', topics: 'a/#/b' }, /# alone/],
  [{ allow: 'publish', topics: 'a+' }, /\+ alone/],
  [{ allow: 'publish', topics: 'a\0' }, /U\+0000/],
  [{ allow: 'publish', topics: '${clientId}+' }, /\+ alone/],
  [{ allow: 'publish', topics: '${clientid}/a' }, /whose places are/],
  [{ allow: 'publish', topics: '${clientId' }, /whose places are/],
  [{ allow: 'publish', topics: '${claims.}' }, /whose places are/],
  [{ allow: 'subscribe', topics: '$share/g/a' }, /without \$share/],
  [{ allow: 'publish', topics: 'a', user: 'ada' }, /rules\[0\]\.user" is unknown, did you mean users\?/],
  [{ deny: 'publish', topics: 'a', users: [] }, /a list that is not empty/],
  [{ deny: 'publish', topics: 'a', groups: '' }, /rules\[0\]\.groups/],
  [{ deny: 'publish', topics: 'a', clients: [null] }, /rules\[0\]\.clients/],
  [{ deny: 'publish', topics: 'a', addresses: '10.0.0.0/33' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', addresses: '10.0.0' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', addresses: '::1/129' }, /rules\[0\]\.addresses/],
  [{ deny: 'publish', topics: 'a', qos: 3 }, /rules\[0\]\.qos/],
  [{ deny: 'publish', topics: 'a', retain: 'yes' }, /rules\[0\]\.retain/],
  [{ deny: ['publish', 'deliver'], topics: 'a', retain: true }, /as it is for "deliver"/],
  [{ deny: 'subscribe', topics: 'a', retain: true }, /as it is for "subscribe"/],
]

t.test('what is wrong with a rule is said at once, and a file with it refuses to start', async t => {
  for (const [rule, message] of wrongRules) {
    t.throws(() => accessRules({ rules: [rule as AccessRule] }), { code: ErrorCode.optionInvalid, message }, JSON.stringify(rule))
    const path = join(t.testdir({ 'rules.json': JSON.stringify({ rules: [rule] }) }), 'rules.json')
    await t.rejects(startBroker(t, { plugins: [accessRules({ path })] }), { code: ErrorCode.fileInvalid, message: path }, JSON.stringify(rule))
  }
})

t.test('wrong options are said at once', t => {
  const wrong: readonly object[] = [
    {}, { rules: 'all' }, { rule: [], rules: [] }, { rules: [], default: 'yes' }, { rules: [], groups: [] }, { rules: [], groups: { a: 'ada' } }, { rules: [], groups: { a: [1] } }, { rules: [], groupsClaim: '' }, { rules: [], groupsClaim: [] }, { rules: [], groupsClaim: ['a', 7] }, { rules: [], groupsClaim: {} },
    { rules: [], path: 'x' }, { path: '' }, { path: 7 }, { rules: [], watch: true }, { path: 'x', watch: 1 }, { rules: [], name: '' }, { rules: [], cacheSize: 0 }, { rules: [], maximumFilters: 1.5 },
  ]
  for (const options of wrong) t.throws(() => accessRules(options as AccessRulesOptions), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  for (const options of [{}, { path: '' }, { path: 'x', rules: [] }, { path: 'x', watch: 'no' }]) {
    t.throws(() => mosquittoAcl(options as { path: string }), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  }
  t.end()
})

const plugins = { accessRules: (path: string, watch = false) => accessRules({ path, watch }), mosquittoAcl: (path: string, watch = false) => mosquittoAcl({ path, watch }) }
const good = { accessRules: '{"rules":[{"allow":["publish","subscribe"],"topics":"a"}],"groups":{},"default":"deny"}', mosquittoAcl: 'topic a\n' }
const better = { accessRules: '{"rules":[{"allow":"publish","topics":"b"}]}', mosquittoAcl: 'topic write b\n' }
const badFiles: Readonly<Record<keyof typeof plugins, readonly (readonly [content: string | Buffer, message: RegExp])[]>> = {
  accessRules: [
    ['', /is empty/], ['{"rules":[\n{"allow"\n}]}', /line 3: is no JSON/], ['[]', /must be an object/], ['{}', /"rules" must be a list/], ['{"rules":[],"rule":[]}', /"rule" is unknown, did you mean rules\?/],
    ['{"rules":[],"default":"maybe"}', /"default"/], ['{"rules":[],"groups":{"a":"ada"}}', /"groups\.a"/], ['{"rules":[],"groupsClaim":null}', /"groupsClaim"/], [Buffer.from([0x7b, 0xff, 0xfe]), /is not UTF-8/], ['{"rules":[{"allow":"publish","topics":"a\0"}]}', /is no JSON/],
  ],
  mosquittoAcl: [
    ['topic a\nnonsense', /line 2: begins with "nonsense"/], ['TOPIC a', /line 1/], ['topic', /needs a filter/], ['topic   ', /needs a filter/], ['pattern', /needs a filter/], ['user', /needs a name/],
    ['topic reed a', /"reed" must be/], ['topic read a/#/b', /no Topic Filter/], ['topic a+b', /no Topic Filter/], ['pattern write %c#', /no Topic Filter/], [' # comment', /line 1/], ['topic\ta', /line 1/],
    [Buffer.from([0x74, 0x80]), /is not UTF-8/], ['topic a\0b', /is no Topic Filter/], ['\u{feff}\u{feff}topic a', /line 1/],
  ],
}

for (const kind of ['accessRules', 'mosquittoAcl'] as const) {
  t.test(`${kind}: a file that is not right refuses to start, and is not taken on reload`, async t => {
    const folder = t.testdir({ rules: good[kind], folder: {} })
    const path = join(folder, 'rules')
    const test = await start(t, plugins[kind](path))
    const [client] = await connect(test)
    for (const [content, message] of badFiles[kind]) {
      writeFileSync(path, content)
      await t.rejects(startBroker(t, { plugins: [plugins[kind](path)] }), { code: ErrorCode.fileInvalid, message }, String(content))
      await t.rejects(test.acl.reload(), { code: ErrorCode.fileInvalid, message })
      t.strictSame([await mayPublish(client, 'a'), await mayPublish(client, 'b')], [true, false], 'what was in force stays')
    }
    for (const name of ['nothing', 'folder']) await t.rejects(startBroker(t, { plugins: [plugins[kind](join(folder, name))] }), { code: ErrorCode.fileInvalid, message: /there is no such file|that is a directory/ })
    writeFileSync(path, better[kind])
    await test.acl.reload()
    t.strictSame([await mayPublish(client, 'a'), await mayPublish(client, 'b')], [false, true])
  })

  t.test(`${kind}: watch reads the file anew, however it was changed`, async t => {
    const folder = t.testdir({ old: { rules: good[kind] }, new: { rules: better[kind] }, rules: good[kind] })
    const path = join(folder, 'rules')
    const link = join(folder, 'current')
    symlinkSync(join(folder, 'old'), link)
    const test = await start(t, plugins[kind](path, true))
    const mounted = await start(t, plugins[kind](join(link, 'rules'), true))
    const isChanged = async (rules: Rules): Promise<boolean> => {
      const [client] = await connect(rules)
      const isNew = await mayPublish(client, 'b')
      client.disconnect()
      return isNew
    }
    const level = (rules: Rules, wanted: string): (() => boolean) => () => {
      void rules.clock.advance(1000)
      return rules.logger.lines.some(({ level }) => level === wanted)
    }
    t.strictSame([await isChanged(test), await isChanged(mounted)], [false, false])
    writeFileSync(join(folder, 'next'), better[kind])
    renameSync(join(folder, 'next'), path)
    symlinkSync(join(folder, 'new'), join(folder, 'next-link'))
    renameSync(join(folder, 'next-link'), link)
    await until(level(test, 'info'))
    await until(level(mounted, 'info'))
    t.strictSame([await isChanged(test), await isChanged(mounted)], [true, true])
    writeFileSync(path, 'nonsense')
    await until(level(test, 'error'))
    t.match(test.logger.take('error'), [/what was read before stays in force/])
    rmSync(path)
    await until(level(test, 'error'))
    t.equal(await isChanged(test), true)
    await test.broker.close()
    t.equal(test.clock.pending, 0)
  })
}

