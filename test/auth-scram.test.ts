import t from 'tap'
import fc from 'fast-check'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { ErrorCode, ReasonCode, type ClientInfo, type Continue, type Exchange, type ExchangeRequest } from '../lib/index.ts'
import { deriveScramCredentials, scramSha256, type ScramCredentials, type ScramOptions } from '../plugins/scram/index.ts'
import { saslPrepare } from '../plugins/scram/saslprep.ts'

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
