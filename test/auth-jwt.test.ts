import t from 'tap'
import { exportJWK, type CryptoKey } from 'jose'
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { ErrorCode, ReasonCode, type AuthenticateRequest, type Plugin } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { asymmetricAlgorithms, jwt } from '../plugins/jwt/index.ts'
import {
  now, secret, issuer, audience, keyPair, rsa, other, anyRsa, sign, encoded, strict, start, login, byPassword, clientOf, byMethod, reauthenticate,
} from './support/plugins/jwt.ts'
import { dial, listen } from './support/network/network.ts'

t.test('each algorithm lets in a real client with a token that jose has signed, and nobody else', async t => {
  const wrong = await start(t, { secret })
  for (const alg of ['HS256', 'HS384', 'HS512', ...asymmetricAlgorithms]) {
    const bytes = new TextEncoder().encode(secret.repeat(2))
    const pair = alg.startsWith('HS') ? undefined : /^[RP]S/.test(alg) ? anyRsa : await keyPair(alg)
    const test = await start(t, { ...pair === undefined ? { secret: bytes } : { key: pair.publicKey }, algorithms: [alg], issuer, audience })
    const url = `mqtt://127.0.0.1:${await listen(t, createServer(test.broker.handle))}`
    const token = await sign({ groups: ['crew'] }, pair?.privateKey ?? bytes, { alg })
    await dial(t, url, { username: 'x', password: token })
    t.match(clientOf(test), { username: 'ada', claims: { sub: 'ada', groups: ['crew'] } }, alg)
    await t.rejects(dial(t, url, { username: 'x', password: `${token.slice(0, -6)}AAAAAA` }), { code: 4 }, alg)
    t.equal(await byPassword(wrong, token), ReasonCode.badUserNameOrPassword, `${alg} with another key`)
  }
})

t.test('plugins for several issuers take their own tokens each', async t => {
  const second = jwt({ name: 'second', method: 'second', key: other.publicKey, issuer: 'https://second.example/' })
  const test = await start(t, strict, [second])
  t.equal(await byPassword(test, await sign()), ReasonCode.success)
  t.equal(await byPassword(test, await sign({ iss: 'https://second.example/' }, other.privateKey)), ReasonCode.success)
  t.equal(await byPassword(test, await sign({ iss: 'https://second.example/' })), ReasonCode.badUserNameOrPassword, 'by the key of the first')
  t.equal(await byPassword(test, await sign({}, other.privateKey)), ReasonCode.badUserNameOrPassword, 'by the key of the second')
})

t.test('a public key may be PEM, a JWK or a KeyObject', async t => {
  for (const key of [spki, rsa.jwk, rsa.publicKey]) t.equal(await byPassword(await start(t, { key }), await sign()), ReasonCode.success)
})

t.test('what does not look like a token is left to the next plugin, and refused when nobody takes it', async t => {
  const others: Plugin[] = [{ name: 'next', hooks: { authenticate: ({ username }) => username === 'by password' ? true : undefined } }]
  const test = await start(t, strict, others)
  for (const password of ['', 'secret', 'a.b.c', 'eyJhbGciOiJub25lIn0', 'eyJ.eyJ.x.y.z', `${await sign()} `]) {
    const [, reasonCode] = await login(test, { username: 'by password', password: Buffer.from(password), clientIdentifier: `c${password.length}` })
    t.equal(reasonCode, ReasonCode.success, password)
    t.equal(await byPassword(test, password), ReasonCode.badUserNameOrPassword)
  }
  t.equal((await login(test, {}))[1], ReasonCode.notAuthorized, 'neither name nor password')
  t.equal(await byPassword(test, await sign({ exp: now - 1 }), { username: 'by password' }), ReasonCode.badUserNameOrPassword, 'a wrong token is refused here')
})

const noneHeader = encoded({ alg: 'none' })
const claimsOfAda = encoded({ sub: 'ada', iss: issuer, aud: audience, exp: now + 3600 })

/** Signs any bytes with the right key. */
async function signed (header: object, payload: string, key: CryptoKey = rsa.privateKey): Promise<string> {
  const input = `${encoded(header)}.${encoded(payload)}`
  const signature = await crypto.subtle.sign('RSASSA-PKCS1-v1_5', key, Buffer.from(input))
  return `${input}.${Buffer.from(signature).toString('base64url')}`
}

const rs256 = { alg: 'RS256', kid: 'one' }
const spki = rsa.publicKey.export({ type: 'spki', format: 'pem' }) as string
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text)
const rightClaims = `"sub":"ada","iss":"${issuer}","aud":"${audience}","exp":${now + 3600}`

/** What an attacker would send, and what the log then says; the last is for the operator. */
const attacks: readonly (readonly [name: string, token: () => string | Promise<string>, told: RegExp])[] = [
  ['alg none', () => `${noneHeader}.${claimsOfAda}.`, /signature|"alg"/],
  ['alg None, in other letters', () => `${encoded({ alg: 'NoNe' })}.${claimsOfAda}.AAAA`, /"alg"/],
  ['no alg', () => `${encoded({ kid: 'one' })}.${claimsOfAda}.AAAA`, /"alg"/],
  ['a signature that was cut off', async () => `${(await sign()).split('.').slice(0, 2).join('.')}.`, /signature/],
  ['another payload under a signature', async () => (await sign({ sub: 'eve' })).replace(/\.[^.]+\./, `.${claimsOfAda}.`), /signature/],
  ['HS256 with the public key as PEM', () => sign({}, bytesOf(spki), { alg: 'HS256' }), /"alg"/],
  ['HS256 with the public key as JSON', () => sign({}, bytesOf(JSON.stringify(rsa.jwk)), { alg: 'HS256' }), /"alg"/],
  ['HS256 with the modulus', () => sign({}, bytesOf(rsa.jwk.n ?? ''), { alg: 'HS256' }), /"alg"/],
  ['another key', () => sign({}, other.privateKey), /signature/],
  ['another key under its own kid', () => sign({}, other.privateKey, { kid: 'two' }), /no applicable key/],
  ['kid that climbs folders', () => sign({}, other.privateKey, { kid: '../../../../dev/null' }), /no applicable key/],
  ['kid __proto__', () => sign({}, other.privateKey, { kid: '__proto__' }), /no applicable key/],
  ['kid constructor', () => sign({}, other.privateKey, { kid: 'constructor' }), /no applicable key/],
  ['kid that is no text', () => `${encoded({ alg: 'RS256', kid: { toString: 'one' } })}.${claimsOfAda}.AAAA`, /key|kid|header/i],
  ['a key in the header', async () => sign({}, other.privateKey, { jwk: await exportJWK(other.publicKey) }), /signature/],
  ['critical headers', () => signed({ ...rs256, crit: ['exp'], exp: now }, `{${rightClaims}}`), /crit|Extension/i],
  ['a payload that is not base64', () => signed({ ...rs256, b64: false, crit: ['b64'] }, `{${rightClaims}}`), /./],
  ['expired', () => sign({ exp: now }), /"exp"/],
  ['no exp', () => sign({ exp: undefined }), /"exp"/],
  ['exp that is no number', () => sign({ exp: '9999999999' }), /"exp"/],
  ['not yet', () => sign({ nbf: now + 1 }), /"nbf"/],
  ['another issuer', () => sign({ iss: 'https://id.example' }), /issuer is another one/],
  ['an issuer that is a list', () => sign({ iss: [issuer] }), /another one|"iss"/],
  ['no issuer', () => sign({ iss: undefined }), /"iss"/],
  ['another audience', () => sign({ aud: 'web' }), /"aud"/],
  ['a list of other audiences', () => sign({ aud: ['web', 'mqt', 'mqtt2'] }), /"aud"/],
  ['an audience that is an object', () => sign({ aud: { mqtt: true } }), /"aud"/],
  ['no sub', () => sign({ sub: undefined }), /"sub" names nobody/],
  ['sub that is a number', () => sign({ sub: 5 }), /"sub" names nobody/],
  ['sub with NUL', () => sign({ sub: 'ada\0eve' }), /"sub" names nobody/],
  ['sub that is inherited', () => signed(rs256, `{"iss":"${issuer}","aud":"${audience}","exp":${now + 3600},"__proto__":{"sub":"ada"}}`), /"sub" names nobody/],
  ['claims that are a list', () => signed(rs256, '[]'), /object/],
  ['claims that are no JSON', () => signed(rs256, `{${rightClaims}`), /object/],
  ['a list in a list in a list', () => signed(rs256, '['.repeat(5000) + ']'.repeat(5000)), /longer than/],
  ['too long', () => signed(rs256, `{${rightClaims},"x":"${'x'.repeat(9000)}"}`), /longer than 8192/],
]

t.test('no attacker gets in, none is told why, and the log tells the operator without the token', async t => {
  for (const [name, make, told] of attacks) {
    const test = await start(t)
    const token = await make()
    const [client, reasonCode] = await login(test, { username: 'ada', password: Buffer.from(token) })
    t.equal(reasonCode, ReasonCode.badUserNameOrPassword, name)
    t.ok(client.isEnded, 'the connection is closed')
    const [line] = test.logger.lines.filter(({ message }) => /^a token (was refused|is left to the next plugin): /.test(message))
    t.match(line?.message, told, `${name}: ${line?.message ?? ''}`)
    const log = JSON.stringify(test.logger.lines)
    t.notOk(token.split('.').some(part => part.length > 10 && log.includes(part)), 'no part of the token is in the log')
  }
})

t.test('where the header of a token points to, nobody goes', async t => {
  const evil = await keyPair('RS256', 'evil')
  const server = createHttpServer((_request, response) => response.end(JSON.stringify({ keys: [evil.jwk] })))
  let requests = 0
  server.on('request', () => { requests++ })
  const url = `http://127.0.0.1:${await listen(t, server)}/keys`
  const test = await start(t)
  for (const header of [{ jku: url }, { x5u: url }]) t.equal(await byPassword(test, await sign({}, evil.privateKey, { kid: 'evil', ...header })), ReasonCode.badUserNameOrPassword)
  t.equal(requests, 0)
})

t.test('what is odd and yet right', async t => {
  const test = await start(t)
  t.equal(await byPassword(test, await sign({ aud: ['web', 'mqtt'] })), ReasonCode.success, 'a list with the audience')
  t.equal(await byPassword(test, await signed(rs256, `{"sub":"eve",${rightClaims}}`)), ReasonCode.success)
  t.equal(clientOf(test).username, 'ada', 'of a claim that is there twice the last counts, for all alike')
  t.equal(await byPassword(test, await signed(rs256, `{${rightClaims},"deep":${'['.repeat(2500)}${']'.repeat(2500)}}`)), ReasonCode.success, 'deep, but within the limit')
  t.equal(await byPassword(test, await signed(rs256, `{${rightClaims},"__proto__":{"admin":true},"constructor":1}`)), ReasonCode.success)
  t.equal(clientOf(test).claims['admin'], undefined)
  t.throws(() => { (clientOf(test).claims as Record<string, unknown>)['sub'] = 'eve' }, TypeError, 'nobody changes claims')
})

t.test('clocks may differ by clockToleranceSeconds, typ is looked at where it is told, exp may be missing where that is allowed', async t => {
  const tolerant = await start(t, { ...strict, clockToleranceSeconds: 10 })
  t.equal(await byPassword(tolerant, await sign({ exp: now - 9, nbf: now + 10 })), ReasonCode.success)
  t.equal(await byPassword(tolerant, await sign({ exp: now - 10 })), ReasonCode.badUserNameOrPassword)
  const typed = await start(t, { ...strict, type: 'at+jwt' })
  t.equal(await byPassword(typed, await sign()), ReasonCode.badUserNameOrPassword)
  t.equal(await byPassword(typed, await sign({}, rsa.privateKey, { typ: 'at+jwt' })), ReasonCode.success)
  const eternal = await start(t, { ...strict, requireExpiry: false })
  t.equal(await byPassword(eternal, await sign({ exp: undefined })), ReasonCode.success)
  t.equal(await byPassword(eternal, await sign({ exp: now })), ReasonCode.badUserNameOrPassword)
})

t.test('a token of 1 MB is refused unread, wherever it came from', async t => {
  const huge = `eyJ${'x'.repeat(1_000_000)}.eyJ9.AAAA`
  const test = await start(t, { ...strict, from: () => huge })
  t.equal((await login(test, {}))[1], ReasonCode.notAuthorized)
  t.match(test.logger.take('info'), [/longer than 8192 bytes/])
})

t.test('the name in the token counts, whatever the Client calls itself', async t => {
  const test = await start(t, { ...strict, username: 'preferred_username', clientIdentifier: 'client_id' })
  const claims = { preferred_username: 'Ada Lovelace', client_id: 'engine' }
  const [client, reasonCode] = await login(test, { username: 'root', clientIdentifier: 'somebody-else', password: Buffer.from(await sign(claims)) })
  t.equal(reasonCode, ReasonCode.success)
  t.match(clientOf(test), { username: 'Ada Lovelace', clientIdentifier: 'engine' })
  await client.vanish()
  t.equal(await byPassword(test, await sign({ ...claims, client_id: undefined })), ReasonCode.badUserNameOrPassword, 'a token without the claim')
  t.equal(await byPassword(test, await sign({ ...claims, client_id: '' })), ReasonCode.badUserNameOrPassword)
})

t.test('a token may be the User Name, or come with the upgrade of a WebSocket', async t => {
  const token = await sign()
  const byName = await start(t, { ...strict, from: 'username' })
  t.equal((await login(byName, { username: token }))[1], ReasonCode.success)
  t.equal(clientOf(byName).username, 'ada', 'the token is not kept as the name')
  const { broker } = await start(t, { ...strict, from: ['password', 'header', { query: 'token' }, { cookie: 'session' }] })
  const server = createHttpServer()
  broker.attach(server)
  const url = `ws://127.0.0.1:${await listen(t, server)}/mqtt`
  const headersOf = (headers: Record<string, string>): object => ({ wsOptions: { headers } })
  for (const options of [headersOf({ authorization: `Bearer ${token}` }), headersOf({ authorization: `bearer  ${token}` }), headersOf({ cookie: `a=b; session=${token}; c=d` })]) {
    await t.resolves(dial(t, url, options))
  }
  await t.resolves(dial(t, `${url}?a=b&token=${token}`))
  await t.resolves(dial(t, url, { username: 'x', password: token }))
  for (const options of [{}, headersOf({ authorization: `Basic ${token}` }), headersOf({ cookie: `xsession=${token}` }), headersOf({ authorization: 'Bearer opaque' })]) {
    await t.rejects(dial(t, url, options), { code: 5 })
  }
  await t.rejects(dial(t, `${url}?token=`), { code: 5 })
})

t.test('a connection ends with Maximum connect time when its token expires, clock tolerance included', async t => {
  const test = await start(t, { ...strict, clockToleranceSeconds: 5 })
  const [client] = await login(test, { password: Buffer.from(await sign({ exp: now + 60 })) })
  await test.clock.advance(64_000)
  t.equal(client.isEnded, false)
  await test.clock.advance(2_000)
  t.match(await client.take(), [{ type: PacketType.disconnect, reasonCode: ReasonCode.maximumConnectTime }])
  t.equal(client.isEnded, true)
})

t.test('a Client that authenticates anew has the new claims, and stays until the new token expires (section 4.12.1)', async t => {
  const test = await start(t)
  const [client, reasonCode] = await byMethod(test, await sign({ exp: now + 60, role: 'guest' }))
  t.equal(reasonCode, ReasonCode.success)
  t.match(await reauthenticate(client, await sign({ exp: now + 600, role: 'crew' })), { type: PacketType.auth, reasonCode: ReasonCode.success })
  t.match(clientOf(test), { username: 'ada', claims: { role: 'crew' } })
  await test.clock.advance(599_000)
  t.equal(client.isEnded, false)
  await test.clock.advance(2_000)
  t.match(await client.take(), [{ reasonCode: ReasonCode.maximumConnectTime }])
})

t.test('a Client that authenticates anew as somebody else, or with what is no token, is sent away', async t => {
  const cases: readonly (readonly [string, Record<string, unknown>])[] = [
    ['another sub', { sub: 'eve' }], ['another issuer', { iss: 'https://other.example/' }], ['expired', { exp: now }], ['another Client Identifier', { cid: 'other' }],
  ]
  const options = { ...strict, issuer: [issuer, 'https://other.example/'], clientIdentifier: 'cid' }
  for (const [name, claims] of cases) {
    const test = await start(t, options)
    const [client, reasonCode] = await byMethod(test, await sign({ cid: 'own' }))
    t.equal(reasonCode, ReasonCode.success)
    t.match(await reauthenticate(client, await sign({ cid: 'own', ...claims })), { type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }, name)
    t.equal(client.isEnded, true)
  }
  const test = await start(t)
  for (const token of ['', 'nonsense', 'eyJ.eyJ.']) {
    const [client] = await byMethod(test, await sign())
    t.match(await reauthenticate(client, token), { type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized })
    t.equal((await byMethod(test, token))[1], ReasonCode.notAuthorized)
  }
})

t.test('a real client authenticates by AUTH; the method may have another name, or be absent', async t => {
  const test = await start(t, { ...strict, method: 'K8S-JWT' })
  const url = `mqtt://127.0.0.1:${await listen(t, createServer(test.broker.handle))}`
  const properties = { authenticationMethod: 'K8S-JWT', authenticationData: Buffer.from(await sign()) }
  await dial(t, url, { protocolVersion: 5, properties })
  t.equal(clientOf(test).username, 'ada')
  await t.rejects(dial(t, url, { protocolVersion: 5, properties: { ...properties, authenticationData: Buffer.from(await sign({ exp: now })) } }), { code: ReasonCode.notAuthorized })
  t.equal((await byMethod(await start(t, { ...strict, method: false }), await sign()))[1], ReasonCode.badAuthenticationMethod)
})

t.test('a token that was verified is known at once when it comes again, and only so many are remembered', async t => {
  const { plugin, clock } = await start(t, { ...strict, cachedTokens: 2 })
  const ask = (token: string): unknown => plugin.hooks?.authenticate?.({ password: Buffer.from(token), connection: {} } as unknown as AuthenticateRequest)
  const isKnown = (token: string): boolean => !(ask(token) instanceof Promise)
  const tokens = await Promise.all(['a', 'b', 'c'].map(sub => sign({ sub, exp: now + 60 })))
  for (const token of tokens) await ask(token)
  t.strictSame(tokens.map(isKnown), [false, true, true], 'the oldest was forgotten')
  await clock.advance(60_000)
  t.match(await ask(tokens[2] ?? ''), { allow: false }, 'a token that has expired meanwhile')
  const uncached = await start(t, { ...strict, cachedTokens: 0 })
  const token = await sign()
  const answer = (): unknown => uncached.plugin.hooks?.authenticate?.({ password: Buffer.from(token), connection: {} } as unknown as AuthenticateRequest)
  t.match(await answer(), { allow: true })
  t.ok(answer() instanceof Promise)
})

t.test('options that are wrong throw at once, and never tell a secret', async t => {
  const { privateKey } = await keyPair('RS256')
  const wrong: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{}, /"secret, key, jwks" must be one of the three, got "none"/],
    [{ secret, jwks: 'x' }, /got "secret and jwks"/],
    [{ secret: 'hunter2' }, /32 bytes or more for HS256, got "7 bytes"/],
    [{ secret: secret.slice(0, 40), algorithms: ['HS512'] }, /64 bytes or more/],
    [{ secret: spki }, /no public key/],
    [{ secret, algorithms: ['RS256'] }, /algorithms/],
    [{ secret, algorithms: [] }, /algorithms/],
    [{ secret, algorithms: ['none'] }, /algorithms/],
    [{ key: spki, algorithms: ['HS256'] }, /algorithms/],
    [{ key: spki, algorithms: ['ES256'] }, /algorithms/],
    [{ key: 'hunter2' }, /public key/],
    [{ key: await exportJWK(privateKey) }, /a public key: whoever verifies needs no other/],
    [{ key: '-----BEGIN PRIVATE KEY-----hunter2' }, /a public key/],
    [{ key: { kty: 'oct', k: 'hunter2' } }, /public key/],
    [{ jwks: { keys: [{ kty: 'oct', k: 'hunter2' }] } }, /key 1 is a secret/],
    [{ jwks: 'https://user:hunter2@id.example/' }, /without user name and password/],
    [{ jwks: 'http://' }, /a URL/],
    [{ secret, issuer: undefined }, /issuer/],
    [{ secret, audience: [] }, /audience/],
    [{ secret, audiences: 'x' }, /"audiences" is unknown, did you mean audience\? There are /],
    [{ secret, keySet: { cooldown: 5 } }, /keySet\.cooldown/],
    [{ secret, keySet: { cooldownSeconds: 0 } }, /keySet\.cooldownSeconds/],
    [{ secret, from: 'cookie' }, /from/],
    [{ secret, from: { header: 'x' } }, /from/],
    [{ secret, from: [] }, /from/],
    [{ secret, clockToleranceSeconds: -1 }, /clockToleranceSeconds/],
    [{ secret, requireExpiry: undefined }, /requireExpiry/],
    [{ secret, method: '' }, /method/],
    [{ secret, maximumTokenBytes: 0 }, /maximumTokenBytes/],
    [{ secret, cachedTokens: Infinity }, /cachedTokens/],
  ]
  for (const [options, told] of wrong) {
    try {
      jwt(options)
      t.fail(JSON.stringify(options))
    } catch (error) {
      t.match(error, { code: ErrorCode.optionInvalid, message: told })
      t.notMatch(String(error), /hunter2/)
    }
  }
})
