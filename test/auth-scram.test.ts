import t, { type Test } from 'tap'
import fc from 'fast-check'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ErrorCode, ReasonCode, type ClientInfo, type Continue, type Exchange, type ExchangeRequest } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { deriveScramCredentials, formatScramCredentials, scramFile, scramSha256, type ScramCredentials, type ScramFile, type ScramOptions } from '../plugins/scram/index.ts'
import { createTestBroker, type TestClientOptions } from '../plugins/testing/index.ts'
import { saslPrepare } from '../plugins/scram/saslprep.ts'
import { Call } from './support/command-line.ts'
import { connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'

const salt = Buffer.from('W22ZaJ0SNY7soEsUEjb6gQ==', 'base64')
const derived = await deriveScramCredentials('pencil', { salt, iterations: 4096 })
const denial = { allow: false, reasonCode: ReasonCode.notAuthorized }

function requestOf (client?: Partial<ClientInfo>): ExchangeRequest {
  return { clientIdentifier: 'c', username: undefined, client, signal: new AbortController().signal } as unknown as ExchangeRequest
}

function start (options: Partial<ScramOptions<string>> = {}, client?: Partial<ClientInfo>): Exchange<string> {
  const credentials = (username: string): ScramCredentials<string> | undefined => username === 'user' ? { ...derived, data: 'attached' } : undefined
  return scramSha256<string>({ credentials, ...options }).start(requestOf(client))
}

/** The Client's side, written down from RFC 5802 section 3 on its own. */
class ScramClient {
  readonly bare: string
  readonly gs2Header: string
  readonly password: string
  authMessage = ''

  constructor (username: string, password: string, gs2Header = 'n,,') {
    this.bare = `n=${username},r=clientnonce`
    this.gs2Header = gs2Header
    this.password = password
  }

  first (): Buffer { return Buffer.from(this.gs2Header + this.bare) }

  salted (serverFirst: string): Buffer {
    const [, text = '', iterations = ''] = /,s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
    return pbkdf2Sync(this.password, Buffer.from(text, 'base64'), Number(iterations), 32, 'sha256')
  }

  final (serverFirst: string, change: { nonce?: string, binding?: string, extension?: string } = {}): Buffer {
    const nonce = change.nonce ?? /^r=([^,]+)/.exec(serverFirst)?.[1] ?? ''
    const binding = change.binding ?? Buffer.from(this.gs2Header).toString('base64')
    const withoutProof = `c=${binding},r=${nonce}${change.extension ?? ''}`
    this.authMessage = `${this.bare},${serverFirst},${withoutProof}`
    const clientKey = createHmac('sha256', this.salted(serverFirst)).update('Client Key').digest()
    const storedKey = createHash('sha256').update(clientKey).digest()
    const signature = createHmac('sha256', storedKey).update(this.authMessage).digest()
    return Buffer.from(`${withoutProof},p=${Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')}`)
  }

  expectedServerFinal (serverFirst: string): string {
    const serverKey = createHmac('sha256', this.salted(serverFirst)).update('Server Key').digest()
    return `v=${createHmac('sha256', serverKey).update(this.authMessage).digest('base64')}`
  }
}

async function challengeOf (exchange: Exchange<string>, client: ScramClient): Promise<string> {
  const step = await exchange.next(client.first())
  return 'continue' in step ? step.continue.toString() : JSON.stringify(step)
}

async function login (exchange: Exchange<string>, client: ScramClient, change?: Parameters<ScramClient['final']>[1]): Promise<object> {
  return exchange.next(client.final(await challengeOf(exchange, client), change))
}

t.test('the exchange of RFC 7677 section 3, byte for byte', async t => {
  const exchange = start({ nonce: () => '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0' })
  t.equal(exchange.next(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')) instanceof Promise, false, 'an answer at once stays synchronous')
  const again = start({ nonce: () => '%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0' })
  const first = await again.next(Buffer.from('n,,n=user,r=rOprNGfwEbeRWgbNEkqO')) as Continue
  t.equal(first.continue.toString(), 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096')
  const last = await again.next(Buffer.from('c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ='))
  t.strictSame(last, {
    allow: true,
    username: 'user',
    data: 'attached',
    authenticationData: Buffer.from('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4='),
  })
  t.equal(scramSha256({ credentials: () => undefined }).name, 'SCRAM-SHA-256')
})

t.test('a Client with the right password is let in, and sees that the broker knows it', async t => {
  for (const gs2Header of ['n,,', 'y,,', 'n,a=user,']) {
    const exchange = start({ credentials: () => Promise.resolve<ScramCredentials<string>>(derived) })
    const client = new ScramClient('user', 'pencil', gs2Header)
    const serverFirst = await challengeOf(exchange, client)
    const accepted = await exchange.next(client.final(serverFirst, { extension: ',x=future' }))
    t.strictSame(accepted, { allow: true, username: 'user', authenticationData: Buffer.from(client.expectedServerFinal(serverFirst)) }, gs2Header)
    t.strictSame(await exchange.next(client.final(serverFirst)), denial, 'an exchange that is over accepts nobody again')
  }
})

/** A test client that authenticates by SCRAM. */
function scramOf (client: ScramClient): TestClientOptions {
  const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: client.first() }
  return { clientIdentifier: 'c', properties, authenticate: serverFirst => client.final(serverFirst.toString()) }
}

t.test('over a connection: in with the right password, anew as the same user only, out with a wrong one', async t => {
  const credentials = (username: string): ScramCredentials<string> | undefined => ['user', 'other'].includes(username) ? derived : undefined
  const test = await createTestBroker<string>({ authenticationMethods: [scramSha256({ credentials })] })
  t.teardown(() => test.close())
  for (const wrong of [new ScramClient('user', 'wrong'), new ScramClient('nobody', 'pencil')]) await test.client(scramOf(wrong)).expectRefused(ReasonCode.notAuthorized)
  const client = await test.connect(scramOf(new ScramClient('user', 'pencil')))
  t.strictSame([...test.broker.clients()].map(({ username }) => username), ['user'])
  await client.reauthenticate(new ScramClient('user', 'pencil').first())
  await t.rejects(client.reauthenticate(new ScramClient('other', 'pencil').first()), { name: 'AssertionError' })
  await client.expectDisconnect(ReasonCode.notAuthorized)
})

t.test('what proves nothing is Not authorized [MQTT-4.12.0-4]', async t => {
  t.strictSame(await login(start(), new ScramClient('user', 'wrong')), denial, 'wrong password')
  t.strictSame(await login(start(), new ScramClient('nobody', 'pencil')), denial, 'unknown user')
  t.strictSame(await login(start(), new ScramClient('user', 'pencil'), { nonce: 'clientnonce' }), denial, 'another nonce')
  t.strictSame(await login(start(), new ScramClient('user', 'pencil'), { binding: 'eSws' }), denial, 'another GS2 header')
  const exchange = start()
  await challengeOf(exchange, new ScramClient('user', 'pencil'))
  t.strictSame(await exchange.next(undefined), denial, 'no final message')
})

t.test('a first message that is malformed, or asks for what is not offered, is Not authorized', async t => {
  const messages = [
    '', 'n', 'n,,', 'n,,n=user', 'n,,n=,r=x', 'n,,r=x,n=user', 'n=user,r=x', 'n,,n=user,r=', 'n,,n=user,r=a b', 'n,,n=user,r=\u00e9',
    'p=tls-unique,,n=user,r=x', 'n,a=admin,n=user,r=x', 'n,,m=mandatory,n=user,r=x', 'n,,n=us=er,r=x', 'n,,n=us=2cer,r=x', 'n,,n=us\u0000er,r=x',
  ]
  for (const message of messages) t.strictSame(await start().next(Buffer.from(message)), denial, JSON.stringify(message))
  t.strictSame(await start().next(undefined), denial, 'no Authentication Data')
  t.strictSame(await start().next(Buffer.from('n,,n=us\xe9r,r=x', 'latin1')), denial, 'not UTF-8')
  const exchange = start()
  await exchange.next(undefined)
  t.strictSame(await exchange.next(Buffer.from('n,,n=user,r=x')), denial, 'after a refusal nothing begins anew')
})

t.test('no bytes make an exchange throw or let anybody in', async t => {
  const garbage = fc.oneof(fc.uint8Array().map(bytes => Buffer.from(bytes)), fc.string().map(text => Buffer.from(`n,,${text}`)), fc.string().map(text => Buffer.from(`c=biws,${text}`)))
  await t.resolves(fc.assert(fc.asyncProperty(garbage, garbage, async (one, two) => {
    const fresh = start()
    const begun = start()
    await begun.next(Buffer.from('n,,n=user,r=x'))
    return ![await fresh.next(one), await fresh.next(two), await begun.next(one), await begun.next(two)].some(step => 'allow' in step && step.allow)
  })))
})

t.test('an unknown user looks like a known one', async t => {
  const secret = Buffer.alloc(32, 7)
  const ask = (name: string, options: Partial<ScramOptions<string>> = { secret }): Promise<string> => challengeOf(start(options), new ScramClient(name, ''))
  const saltOf = (text: string): string | undefined => /,s=([^,]+),/.exec(text)?.[1]
  t.match(await ask('nobody'), /^r=clientnonce[\x21-\x2b\x2d-\x7e]{24,},s=[A-Za-z\d+/]{22}==,i=15000$/)
  t.match(await ask('nobody', { iterations: 4096 }), /,i=4096$/)
  t.equal(saltOf(await ask('nobody')), saltOf(await ask('nobody')), 'the same salt at each try and on each node')
  t.not(saltOf(await ask('nobody')), saltOf(await ask('somebody')))
  t.not(saltOf(await ask('nobody', {})), saltOf(await ask('nobody', {})), 'a secret of its own for each process')
  t.not(await ask('user'), await ask('user'), 'a nonce of its own for each exchange')
})

t.test('names are decoded and normalised before they are looked up', async t => {
  const asked: string[] = []
  const credentials = (username: string): undefined => { asked.push(username) }
  for (const name of ['a=2Cb=3Dc', '\u2168', 'x\u00ady', 'a\u00a0b']) await challengeOf(start({ credentials }), new ScramClient(name, ''))
  t.strictSame(asked, ['a,b=c', 'IX', 'xy', 'a b'])
})

t.test('re-authentication has to stay the same user', async t => {
  t.match(await login(start({}, { username: 'user' }), new ScramClient('user', 'pencil')), { allow: true, username: 'user' })
  t.strictSame(await start({}, { username: 'other' }).next(new ScramClient('user', 'pencil').first()), denial)
  t.strictSame(await start({}, { username: undefined }).next(new ScramClient('user', 'pencil').first()), denial)
})

t.test('an error of the credentials callback reaches the broker', async t => {
  await t.rejects(async () => start({ credentials: () => { throw new Error('database') } }).next(new ScramClient('user', '').first()), /database/)
  await t.rejects(async () => start({ credentials: () => Promise.reject(new Error('database')) }).next(new ScramClient('user', '').first()), /database/)
})

t.test('credentials that do not fit let nobody in', async t => {
  const broken = { ...derived, storedKey: Buffer.alloc(0) }
  t.strictSame(await login(start({ credentials: () => broken }), new ScramClient('user', 'pencil')), denial)
})

t.test('deriveScramCredentials: a salt of its own, iterations with a floor, passwords by SASLprep', async t => {
  const one = await deriveScramCredentials('pencil')
  const two = await deriveScramCredentials('pencil')
  t.equal(one.salt.length, 16)
  t.equal(one.iterations, 15_000)
  t.notSame(one.salt, two.salt)
  t.strictSame(await deriveScramCredentials('\u2168', { salt, iterations: 4096 }), await deriveScramCredentials('I\u00adX', { salt, iterations: 4096 }))
  for (const iterations of [4095, 4096.5, NaN]) await t.rejects(deriveScramCredentials('x', { iterations }), { code: ErrorCode.optionInvalid })
  for (const password of ['', '\u0007', '\u00ad']) await t.rejects(deriveScramCredentials(password), { code: ErrorCode.optionInvalid })
  t.throws(() => scramSha256({ credentials: () => undefined, iterations: 1 }), { code: ErrorCode.optionInvalid })
})

t.test('SASLprep: the examples of RFC 4013 section 3', t => {
  const examples: [string, string | undefined][] = [['I\u00adX', 'IX'], ['user', 'user'], ['USER', 'USER'], ['\u00aa', 'a'], ['\u2168', 'IX'], ['\u0007', undefined]]
  for (const [text, prepared] of examples) t.equal(saslPrepare(text), prepared, JSON.stringify(text))
  for (const text of ['\ud800', '\ue000', '\ufffe', '\u202e', '\ufffd', '\u{e0041}']) t.equal(saslPrepare(text), undefined, JSON.stringify(text))
  t.end()
})

// Users in a file.

const pencil = formatScramCredentials(derived)

async function startFile (t: Test, content: string, options: { secret?: Buffer } = {}): Promise<TestBroker<{ readonly role: string }> & { plugin: ScramFile, path: string }> {
  const path = join(t.testdir({ users: content }), 'users')
  const plugin = scramFile({ path, ...options })
  return { ...await startBroker<{ readonly role: string }>(t, { plugins: [plugin] }), plugin, path }
}

/** A Client that logs in over the wire; what it was told last is a CONNACK. */
async function scramLogin ({ broker }: { broker: object }, username: string, password: string, beforeFinal: () => unknown = () => undefined): Promise<[PacketClient, number | undefined]> {
  const scram = new ScramClient(username, password)
  const client = new PacketClient(broker as TestBroker['broker'], 5)
  const answer = async (): Promise<unknown> => {
    while (client.received.length === 0 && !client.isEnded) await settled()
    return client.received.shift()
  }
  client.send(connectPacket({ clientIdentifier: username, properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData: scram.first() } }))
  const { properties } = await answer() as { properties: { authenticationData: Buffer } }
  await beforeFinal()
  const authenticationData = scram.final(properties.authenticationData.toString())
  client.send({ type: PacketType.auth, reasonCode: ReasonCode.continueAuthentication, properties: { authenticationMethod: 'SCRAM-SHA-256', authenticationData } })
  const { reasonCode } = await answer() as { reasonCode?: number }
  return [client, reasonCode]
}

t.test('the users of a file log in, and nobody else', async t => {
  const test = await startFile(t, `# people\n\nuser:${pencil}\r\n__proto__:${pencil}\n`)
  for (const name of ['user', '__proto__']) t.equal((await scramLogin(test, name, 'pencil'))[1], ReasonCode.success, name)
  t.strictSame([...test.broker.clients()].map(({ username }) => username), ['user', '__proto__'])
  for (const [name, password] of [['user', 'wrong'], ['nobody', 'pencil'], ['constructor', 'pencil']] as const) t.equal((await scramLogin(test, name, password))[1], ReasonCode.notAuthorized, name)
  t.equal((await scramLogin(await startFile(t, ''), 'user', 'pencil'))[1], ReasonCode.notAuthorized, 'an empty file lets nobody in')
})

t.test('a user that a file does not have is told what one of the others might be told', async t => {
  const many = Array.from({ length: 20 }, (_, i) => `u${i}:${pencil.replace('$4096', `$${i % 2 === 0 ? 4096 : 8192}`)}`).join('\n')
  const secret = Buffer.alloc(32, 1)
  const ask = async ({ plugin }: { plugin: ScramFile }, name: string): Promise<string> => challengeOf((plugin.authenticationMethods[0] as { start (request: ExchangeRequest): Exchange<string> }).start(requestOf()), new ScramClient(name, ''))
  const partsOf = (text: string): string => text.replace(/^r=[^,]+,/, '')
  const [one, two] = [await startFile(t, many, { secret }), await startFile(t, many, { secret })]
  const told = new Set<string | undefined>()
  for (const name of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p']) {
    const challenge = partsOf(await ask(one, name))
    t.match(challenge, /^s=[A-Za-z\d+/]{22}==,i=(?:4096|8192)$/)
    t.equal(partsOf(await ask(one, name)), challenge, 'the same at each try')
    t.equal(partsOf(await ask(two, name)), challenge, 'and at each node')
    told.add(challenge.split(',i=')[1])
  }
  t.strictSame([...told].sort(), ['4096', '8192'])
  t.match(await ask(await startFile(t, ''), 'a'), /,i=15000$/)
})

t.test('a line that is wrong keeps the broker from starting, whatever it is', async t => {
  const wrong = [
    'user', 'user:', ':' + pencil, 'user:pencil', `user:${pencil}x`, `user:${pencil.replace('4096', '4095')}`, `user:${pencil.replace('4096', '99999999')}`, `user:${pencil.replace('$4096', '$-1')}`,
    `user:${pencil.replace('W22ZaJ0SNY7soEsUEjb6gQ==', 'W22Z')}`, `a:b:${pencil}`, `\u2168:${pencil}`, `us\u0000er:${pencil}`, `first:${pencil}`, 'user:SCRAM-SHA-1$4096:x$y:z',
  ]
  for (const line of wrong) {
    await t.rejects(startFile(t, `first:${pencil}\n${line}\n`), { code: ErrorCode.fileInvalid, message: /users, line 2: / }, line.slice(0, 30))
  }
  await t.rejects(startBroker(t, { plugins: [scramFile({ path: join(t.testdir({}), 'none') })] }), { code: ErrorCode.fileInvalid })
  for (const options of [{}, { path: '' }, { path: 'x', watch: 1 }, { path: 'x', secret: 'x' }, { path: 'x', salt: 1 }]) t.throws(() => scramFile(options as never), { code: ErrorCode.optionInvalid })
})

t.test('reload disconnects those whose verifier has gone, and nobody else; a bad file changes nothing', async t => {
  const other = formatScramCredentials(await deriveScramCredentials('other', { iterations: 4096 }))
  const test = await startFile(t, `ann:${pencil}\nbob:${pencil}\ncat:${pencil}\n`)
  const [[ann], [bob], [cat]] = [await scramLogin(test, 'ann', 'pencil'), await scramLogin(test, 'bob', 'pencil'), await scramLogin(test, 'cat', 'pencil')]
  writeFileSync(test.path, 'nonsense\n')
  await t.rejects(test.plugin.reload(), { code: ErrorCode.fileInvalid })
  writeFileSync(test.path, `cat:${pencil}\nann:${other}\n`)
  await test.plugin.reload()
  await settled()
  for (const client of [ann, bob]) t.match(client.received, [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
  t.notOk(cat.isEnded)
  t.equal((await scramLogin(test, 'ann', 'other'))[1], ReasonCode.success)
})

t.test('who loses the verifier during the exchange, or before it is connected, does not stay', async t => {
  const test = await startFile(t, `ann:${pencil}\n`)
  const [, during] = await scramLogin(test, 'ann', 'pencil', async () => { writeFileSync(test.path, ''); await test.plugin.reload() })
  t.equal(during, ReasonCode.notAuthorized)
  const path = join(t.testdir({ users: `ann:${pencil}\n` }), 'users')
  const plugin = scramFile({ path })
  const late = await startBroker(t, { plugins: [plugin], hooks: { onConnect: async () => { writeFileSync(path, ''); await plugin.reload(); return undefined } } })
  const [client, answer] = await scramLogin(late, 'ann', 'pencil')
  t.equal(answer, ReasonCode.success)
  await settled()
  t.match(client.received, [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
})

t.test('myelin passwd --scram writes what scramFile reads', async t => {
  const path = join(t.testdir({}), 'users')
  const passwd = async (input: string, ...args: string[]): Promise<[number, string]> => {
    const call = new Call('passwd', '--scram', ...args)
    call.input.end(input)
    return [await call.ended, call.complained]
  }
  t.strictSame(await passwd('pencil\n', '-c', path, 'us\u00ader'), [0, ''])
  t.match(readFileSync(path, 'utf8'), /^user:SCRAM-SHA-256\$15000:[A-Za-z\d+/]{22}==\$[A-Za-z\d+/]{43}=:[A-Za-z\d+/]{43}=\n$/, 'the name as SASLprep makes it')
  writeFileSync(path, `${readFileSync(path, 'utf8')}bob:plain\n`)
  t.strictSame(await passwd('', '-U', path), [0, ''])
  const test = await startFile(t, readFileSync(path, 'utf8'))
  t.equal((await scramLogin(test, 'user', 'pencil'))[1], ReasonCode.success)
  t.equal((await scramLogin(test, 'bob', 'plain'))[1], ReasonCode.success)
  t.match(await passwd('pen\u0007cil\n', path, 'user'), [2, 'control characters'])
  t.match(await passwd('pencil\n', path, 'us\u202eer'), [2, 'SCRAM does not take that user name'])
})

t.test('a file of users is watched, and no longer when the broker is closed', async t => {
  const path = join(t.testdir({ users: `ann:${pencil}\n` }), 'users')
  const test = await startBroker(t, { plugins: [scramFile({ path, watch: true })] })
  const [client] = await scramLogin(test, 'ann', 'pencil')
  writeFileSync(path, '')
  while (!client.isEnded) await test.clock.advance(1000)
  const closing = test.broker.close()
  await test.clock.advance(10_000)
  await closing
  t.equal(test.clock.pending, 0)
})
