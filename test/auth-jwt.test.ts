import t, { type Test } from 'tap'
import fc from 'fast-check'
import { exportJWK, generateKeyPair, SignJWT, type CryptoKey, type JWK, type JWTHeaderParameters } from 'jose'
import { generateKeyPairSync, KeyObject } from 'node:crypto'
import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { ErrorCode, ReasonCode, type AuthenticateRequest, type ClientInfo, type Plugin } from '../lib/index.ts'
import { PacketType, type ConnectPacket, type Packet } from '../lib/packet/packets.ts'
import { topicMatches } from '../lib/topic/topic-filter.ts'
import { asymmetricAlgorithms, jwt, type JwtOptions } from '../plugins/jwt/index.ts'
import { covers } from '../plugins/jwt/permissions.ts'
import { connectPacket, PacketClient, startBroker, type TestBroker } from './support/harness.ts'
import { dial, listen } from './support/network.ts'
import { MemoryLogger } from './support/observe.ts'

/** Seconds: the time of a FakeClock that nobody has moved. */
const now = 1_000_000_000
const secret = 'a secret of thirty-two bytes, or more'
const issuer = 'https://id.example/'
const audience = 'mqtt'

interface KeyPair { readonly publicKey: KeyObject, readonly privateKey: CryptoKey, readonly jwk: JWK }

async function keyPair (alg: string, kid = 'one'): Promise<KeyPair> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return { publicKey: KeyObject.from(publicKey), privateKey, jwk: { ...await exportJWK(publicKey), kid, alg } }
}

const rsa = await keyPair('RS256')
const other = await keyPair('RS256', 'two')
/** Bound to no algorithm. */
const anyRsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

type Key = Parameters<SignJWT['sign']>[0]

/** A token that is right in all that is not said otherwise; `undefined` leaves a claim out. */
async function sign (claims: Record<string, unknown> = {}, key: Key = rsa.privateKey, header: Partial<JWTHeaderParameters> = {}): Promise<string> {
  const all = { sub: 'ada', iss: issuer, aud: audience, exp: now + 3600, ...claims }
  return new SignJWT(JSON.parse(JSON.stringify(all)) as Record<string, unknown>).setProtectedHeader({ alg: 'RS256', kid: 'one', ...header }).sign(key)
}

/** Signed like `sign`, with a payload that no library would write. */
function encoded (value: object | string): string {
  return Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')
}

const strict: JwtOptions = { jwks: { keys: [rsa.jwk] }, issuer, audience }

interface JwtTest extends TestBroker { readonly logger: MemoryLogger, readonly plugin: ReturnType<typeof jwt> }

async function start (t: Test, options: JwtOptions = strict, others: readonly Plugin[] = []): Promise<JwtTest> {
  const logger = new MemoryLogger()
  const plugin = jwt(options)
  return { ...await startBroker(t, { logger, plugins: [plugin, ...others] }), logger, plugin }
}

/** Waits for what needs threads of its own: signatures, files and sockets. */
async function until (isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await turn()
}

/** The packets that come next; none when the connection has ended. */
async function answers (client: PacketClient): Promise<Packet[]> {
  await until(() => client.received.length > 0 || client.isEnded)
  return client.take()
}

async function login ({ broker }: TestBroker, fields: Partial<ConnectPacket>): Promise<[PacketClient, ReasonCode | undefined]> {
  const client = new PacketClient(broker, fields.protocolVersion ?? 5)
  client.send(connectPacket(fields))
  const [connack] = await answers(client)
  return [client, connack?.type === PacketType.connack ? connack.reasonCode : undefined]
}

async function byPassword (test: TestBroker, token: string, fields: Partial<ConnectPacket> = {}): Promise<ReasonCode | undefined> {
  const [, reasonCode] = await login(test, { username: 'whoever', password: Buffer.from(token), ...fields })
  return reasonCode
}

function clientOf ({ broker }: TestBroker): ClientInfo {
  const [client] = broker.clients()
  if (client === undefined) throw new Error('nobody is connected')
  return client
}

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
  ['another issuer', () => sign({ iss: 'https://id.example' }), /"iss"/],
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
    const [line] = test.logger.lines.filter(({ message }) => message.startsWith('a token was refused: '))
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

const authenticationMethod = 'JWT'

async function byMethod (test: TestBroker, token: string): Promise<[PacketClient, ReasonCode | undefined]> {
  return login(test, { properties: { authenticationMethod, authenticationData: Buffer.from(token) } })
}

async function reauthenticate (client: PacketClient, token: string): Promise<Packet | undefined> {
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.reAuthenticate, properties: { authenticationMethod, authenticationData: Buffer.from(token) } })
  return (await answers(client))[0]
}

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

/** An issuer whose key set a test changes. */
class Issuer {
  requests = 0
  keys: unknown[] = [rsa.jwk]
  answer = (_request: IncomingMessage, response: ServerResponse): void => { response.end(JSON.stringify({ keys: this.keys })) }
  readonly honest = this.answer
  url = ''

  async listen (t: Test): Promise<this> {
    const server = createHttpServer((request, response) => {
      this.requests++
      this.answer(request, response)
    })
    t.teardown(() => { server.closeAllConnections() })
    this.url = `http://127.0.0.1:${await listen(t, server)}/keys?tenant=secret`
    return this
  }

  get options (): JwtOptions { return { jwks: this.url, issuer, audience } }
}

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
    [{ secret, audiences: 'x' }, /"audiences" must be one of .*, got "an unknown name"/],
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
