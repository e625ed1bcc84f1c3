import t from 'tap'
import fc from 'fast-check'
import { exportJWK } from 'jose'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { ErrorCode, ReasonCode } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { topicMatches } from '../lib/topic/topic-filter.ts'
import { jwt } from '../plugins/jwt/index.ts'
import { covers } from '../plugins/jwt/permissions.ts'
import { startBroker } from './support/harness.ts'
import {
  strict, now, keyPair, rsa, other, sign, start, until, login, byPassword, byMethod, reauthenticate, Issuer,
} from './support/plugins/jwt.ts'

t.test('a key set at a URL: a new key is fetched when the first token of it comes, a former one ends with it', async t => {
  const issuing = await new Issuer().listen(t)
  const test = await start(t, issuing.options)
  t.equal(issuing.requests, 1, 'at the start')
  t.equal(await byPassword(test, await sign()), ReasonCode.success)
  await test.clock.advance(30_000)
  issuing.keys = [other.jwk]
  t.equal(await byPassword(test, await sign()), ReasonCode.success, 'nobody has noticed yet')
  t.equal(await byPassword(test, await sign({}, other.privateKey, { kid: 'two' })), ReasonCode.success)
  t.equal(issuing.requests, 2)
  t.equal(await byPassword(test, await sign()), ReasonCode.badUserNameOrPassword, 'a token that was known, of a key that is gone')
  await test.clock.advance(600_000)
  await until(() => issuing.requests === 3)
})

t.test('a flood of unknown keys is not a flood of requests', async t => {
  const issuing = await new Issuer().listen(t)
  const test = await start(t, issuing.options)
  const flood = async (): Promise<void> => {
    const tokens = await Promise.all(Array.from({ length: 50 }, (_, index) => sign({}, other.privateKey, { kid: `unknown ${index}` })))
    const verdicts = await Promise.all(tokens.map(token => byPassword(test, token, { clientIdentifier: '' })))
    t.ok(verdicts.every(verdict => verdict === ReasonCode.badUserNameOrPassword))
  }
  await flood()
  t.equal(issuing.requests, 1, 'it was asked a moment ago')
  await test.clock.advance(30_000)
  await flood()
  t.equal(issuing.requests, 2, 'one for all')
})

t.test('an issuer that is down, slow or lies changes nothing for as long as keys are believed', async t => {
  const lies: readonly (readonly [string, (response: ServerResponse) => void, RegExp])[] = [
    ['down', response => { response.destroy() }, /./],
    ['an error', response => { response.writeHead(500).end('{"keys":[]}') }, /the answer was 500/],
    ['sent on elsewhere', response => { response.writeHead(302, { location: '/other' }).end() }, /the answer was 302/],
    ['no JSON', response => { response.end('<html>') }, /not JSON/],
    ['no set', response => { response.end('{"keys":{}}') }, /no list/],
    ['no keys', response => { response.end('{"keys":[]}') }, /no keys/],
    ['nonsense', response => { response.end('{"keys":[5]}') }, /key 1 is none/],
    ['private', response => { response.end(`{"keys":[{"kty":"RSA","d":"PRIVATE"}]}`) }, /key 1 is a secret or a private key/],
    ['a secret', response => { response.end(`{"keys":[{"kty":"oct","k":"PRIVATE"}]}`) }, /key 1 is a secret or a private key/],
    ['too long', response => { response.end(' '.repeat(300_000)) }, /longer than 262144 bytes/],
  ]
  const issuing = await new Issuer().listen(t)
  const test = await start(t, issuing.options)
  for (const [name, lie, told] of lies) {
    issuing.answer = (_request, response) => { lie(response) }
    await test.clock.advance(30_000)
    t.equal(await byPassword(test, await sign({ lie: name }, other.privateKey, { kid: 'two' })), ReasonCode.badUserNameOrPassword, name)
    t.equal(await byPassword(test, await sign({ lie: name })), ReasonCode.success, 'the keys stay')
    const [line = ''] = test.logger.lines.filter(({ level }) => level === 'error').map(({ message }) => message)
    t.match(line, told, line)
    t.match(line, /the keys stay as they were/)
    t.notMatch(JSON.stringify(test.logger.lines.splice(0)), /tenant=secret|PRIVATE/, 'what might be a secret is not told')
  }
})

t.test('an issuer that does not answer in time; one that stays away for longer than staleSeconds', async t => {
  const issuing = await new Issuer().listen(t)
  const test = await start(t, { ...issuing.options, keySet: { staleSeconds: 1_000, refreshSeconds: 900 } })
  const token = await sign({ exp: now + 100_000 })
  t.equal(await byPassword(test, token), ReasonCode.success)
  issuing.answer = () => undefined
  await test.clock.advance(30_000)
  const asked = byPassword(test, await sign({}, other.privateKey, { kid: 'two' }))
  await until(() => issuing.requests === 2)
  await test.clock.advance(3_000)
  t.equal(await asked, ReasonCode.badUserNameOrPassword)
  t.match(test.logger.take('error'), [/no answer within 3000 ms; the keys stay as they were/])
  issuing.answer = (_request, response) => { response.destroy() }
  await test.clock.advance(968_000)
  t.equal(await byPassword(test, token), ReasonCode.serverUnavailable, 'a known token, too')
  issuing.answer = issuing.honest
  await test.clock.advance(30_000)
  await until(() => issuing.requests > 3)
  t.equal(await byPassword(test, token), ReasonCode.success)
})

t.test('a broker starts while its issuer is away, and lets nobody in until it is there', async t => {
  const issuing = await new Issuer().listen(t)
  issuing.answer = (_request, response) => { response.writeHead(503).end() }
  const test = await start(t, { ...issuing.options, keySet: { refreshSeconds: 60, staleSeconds: 60 } })
  t.match(test.logger.take('error'), [/the answer was 503; nobody is let in by a token/])
  t.equal(await byPassword(test, await sign()), ReasonCode.serverUnavailable)
  await t.rejects(test.plugin.reload(), { code: ErrorCode.fileInvalid })
  issuing.answer = issuing.honest
  await test.plugin.reload()
  const [client, reasonCode] = await byMethod(test, await sign())
  t.equal(reasonCode, ReasonCode.success)
  issuing.answer = (_request, response) => { response.destroy() }
  await test.clock.advance(61_000)
  t.match(await reauthenticate(client, await sign({ exp: now + 7200 })), { type: PacketType.disconnect, reasonCode: ReasonCode.serverBusy }, 'to authenticate anew it takes keys')
})

t.test('two keys that fit and no kid: the token is refused; one that fits is enough', async t => {
  const nameless = async (): Promise<string> => sign({}, rsa.privateKey, { kid: undefined as never })
  t.equal(await byPassword(await start(t, { ...strict, jwks: { keys: [rsa.jwk, other.jwk] } }), await nameless()), ReasonCode.badUserNameOrPassword)
  t.equal(await byPassword(await start(t, { ...strict, jwks: { keys: [rsa.jwk, (await keyPair('ES256')).jwk] } }), await nameless()), ReasonCode.success)
})

t.test('a key set in a file: read at the start, by reload, and when it changes', async t => {
  const file = join(t.testdir({ 'keys.json': JSON.stringify({ keys: [rsa.jwk] }) }), 'keys.json')
  const test = await start(t, { ...strict, jwks: file, watch: true })
  const byOther = await sign({}, other.privateKey, { kid: 'two' })
  t.equal(await byPassword(test, await sign()), ReasonCode.success)
  writeFileSync(file, '{"keys": [')
  await t.rejects(test.plugin.reload(), { code: ErrorCode.fileInvalid, message: /keys\.json: it is not JSON/ })
  t.equal(await byPassword(test, await sign()), ReasonCode.success, 'what was read before stays')
  writeFileSync(`${file}.new`, JSON.stringify({ keys: [other.jwk] }))
  renameSync(`${file}.new`, file)
  const isTold = (): boolean => test.logger.lines.some(({ message }) => message.includes('was read anew'))
  while (!isTold()) {
    await test.clock.advance(1_000)
    await turn()
  }
  t.equal(await byPassword(test, byOther), ReasonCode.success)
  t.equal(await byPassword(test, await sign()), ReasonCode.badUserNameOrPassword)
  t.ok(readFileSync(file, 'utf8').length > 0)
})

t.test('a broker does not start with a key set that is missing, malformed, empty, or private', async t => {
  const folder = t.testdir({ 'text': 'keys', 'empty': '{"keys":[]}', 'private': JSON.stringify({ keys: [await exportJWK(rsa.privateKey)] }) })
  for (const name of ['missing', 'text', 'empty', 'private']) {
    await t.rejects(startBroker(t, { plugins: [jwt({ jwks: join(folder, name) })] }), { code: ErrorCode.fileInvalid }, name)
  }
})

t.test('permissions: what the token grants and nothing else; names of the Client that would reach further are not filled in', async t => {
  const acl = { pub: ['up/${clientid}/#', 'log'], sub: ['down/${username}/+'], all: ['both/+/x'] }
  const test = await start(t, { ...strict, permissions: 'acl' }, [{ name: 'next', hooks: { authenticate: () => true } }])
  const asked = async (claims: Record<string, unknown>, clientIdentifier: string, publish: string, subscribe: string): Promise<boolean[]> => {
    const [client] = await login(test, { clientIdentifier, password: Buffer.from(await sign(claims)) })
    client.publish(publish, 'x', { qos: 1, packetIdentifier: 1 })
    const suback = await client.subscribe(subscribe)
    const isRefused = (await client.take()).some(packet => packet.type === PacketType.puback && packet.reasonCode === ReasonCode.notAuthorized)
    await client.vanish()
    return [!isRefused, suback?.reasonCodes[0] !== ReasonCode.notAuthorized]
  }
  t.strictSame(await asked({ acl }, 'c1', 'up/c1/a/b', 'down/ada/+'), [true, true])
  t.strictSame(await asked({ acl }, 'c1', 'up/c2/a', 'down/+/+'), [false, false], 'those of others')
  t.strictSame(await asked({ acl }, 'c1', 'both/1/x', '$share/g/both/+/x'), [true, true])
  t.strictSame(await asked({ acl }, 'c1', 'down/ada/1', 'down/ada/#'), [false, false], 'more than was granted')
  t.strictSame(await asked({ acl }, '#', 'up/c2/a', 'down/ada/1'), [false, true], 'a Client that is called #')
  t.strictSame(await asked({ acl }, 'c1/x', 'up/c1/x/a', 'log'), [false, false], 'a Client whose name has two levels')
  t.strictSame(await asked({ acl, sub: '+' }, 'c1', 'log', 'down/+/+'), [true, false], 'a user who is called +')
  t.strictSame(await asked({ acl: { all: ['${clientid}/#', '${nobody}/#', '#/x', 5] } }, '$SYS', 'a/x', '$SYS/#'), [false, false])
  t.strictSame(await asked({ acl: { all: ['#'] } }, 'c1', 'any/where', '$SYS/#'), [true, false], 'wildcards do not reach $SYS [MQTT-4.7.2-1]')
  t.strictSame(await asked({ acl: { all: ['#'] } }, 'c1', 'any/where', '#'), [true, true])
  for (const nothing of [undefined, null, 5, 'all', [], { pub: { 0: '#' }, all: 5 }]) t.strictSame(await asked({ acl: nothing }, 'c1', 'a', 'a'), [false, false], 'nothing that is a rule')
  const [stranger] = await login(test, {})
  t.match(await stranger.subscribe('#'), { reasonCodes: [2] }, 'who was let in otherwise is not judged')
})

t.test('permissions: a Will Message goes through the same gate', async t => {
  const test = await start(t, { ...strict, permissions: 'acl' })
  const will = { topicName: 'forbidden', payload: Buffer.alloc(0), qos: 0, retain: false, properties: undefined } as const
  const password = Buffer.from(await sign({ acl: { pub: ['allowed'] } }))
  t.equal((await login(test, { password, will }))[1], ReasonCode.notAuthorized)
  t.equal((await login(test, { password, will: { ...will, topicName: 'allowed' } }))[1], ReasonCode.success)
})

t.test('permissions: a Client that authenticates anew with fewer of them loses what it had subscribed to', async t => {
  const test = await start(t, { ...strict, permissions: 'acl' })
  const [client] = await byMethod(test, await sign({ acl: { all: ['#'] } }))
  await client.subscribe('a/#')
  await client.subscribe('b')
  t.match(await reauthenticate(client, await sign({ acl: { sub: ['b'] } })), { reasonCode: ReasonCode.success })
  client.publish('a/1', 'refused at once', { qos: 1, packetIdentifier: 1 })
  t.match(await client.take(), [{ type: PacketType.puback, reasonCode: ReasonCode.notAuthorized }])
  await test.clock.advance(1_000)
  for (const topic of ['a/1', 'b']) await test.broker.publish(topic, topic)
  t.strictSame(await client.payloads(), ['b'])
})

t.test('permissions: many topics of one Client are decided alike, remembered or not', async t => {
  const test = await start(t, { ...strict, permissions: 'acl' })
  const [client] = await byMethod(test, await sign({ acl: { pub: ['a/+'] } }))
  for (let round = 0; round < 2; round++) {
    for (let i = 1; i <= 40; i++) client.publish(`${i % 2 === 0 ? 'a' : 'b'}/${i}`, 'x', { qos: 1, packetIdentifier: i })
    const refused = (await client.take()).filter(packet => 'reasonCode' in packet && packet.reasonCode === ReasonCode.notAuthorized)
    t.equal(refused.length, 20)
    t.ok(refused.every(packet => 'packetIdentifier' in packet && packet.packetIdentifier % 2 === 1))
  }
})

t.test('law: what a covered Topic Filter matches, the one that covers it matches, too', t => {
  const level = fc.constantFrom('a', 'b', '', '$SYS', '+')
  const filter = fc.tuple(fc.array(level, { minLength: 1, maxLength: 4 }), fc.boolean()).map(([levels, isOpen]) => isOpen ? [...levels.slice(1), '#'] : levels)
  const topic = fc.array(fc.constantFrom('a', 'b', '', '$SYS'), { minLength: 1, maxLength: 5 }).map(levels => levels.join('/'))
  let covered = 0
  fc.assert(fc.property(filter, filter, topic, (granted, asked, topicName) => {
    if (!covers(granted, asked)) return true
    covered++
    return !topicMatches(asked.join('/'), topicName) || topicMatches(granted.join('/'), topicName)
  }), { numRuns: 5_000 })
  t.ok(covered > 100, 'the law was put to the test')
  fc.assert(fc.property(filter, topic, (granted, topicName) => covers(granted, topicName.split('/')) === topicMatches(granted.join('/'), topicName)), { numRuns: 5_000 })
  t.end()
})
