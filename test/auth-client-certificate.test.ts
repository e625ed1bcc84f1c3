import t, { type Test } from 'tap'
import fc from 'fast-check'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { createServer } from 'node:tls'
import { ErrorCode, ReasonCode, type AuthenticateRequest, type AuthenticateResult, type ClientInfo, type Plugin } from '../lib/index.ts'
import { clientCertificate, type CertificateInfo, type ClientCertificateOptions } from '../plugins/client-certificate/index.ts'
import { parseCertificate } from '../plugins/client-certificate/certificate.ts'
import { DerError } from '../plugins/client-certificate/der.ts'
import { parseAuthorities, parseRevocationLists } from '../plugins/client-certificate/revocations.ts'
import { allOf } from '../plugins/chain/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { startBroker, type TestBroker } from './support/harness.ts'
import { dial, listen, type RealClient } from './support/network.ts'
import { deferred, MemoryLogger } from './support/observe.ts'
import { own, trusting } from './support/transports.ts'

const root = t.testdir({})

/** `openssl ca` wants to know where everything is. */
const configuration = (folder: string): string => `
[ca]
default_ca = here
[here]
database = ${folder}/index
serial = ${folder}/serial
crlnumber = ${folder}/crlnumber
new_certs_dir = ${folder}
certificate = ${folder}/cert.pem
private_key = ${folder}/key.pem
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
preserve = yes
unique_subject = no
email_in_dn = yes
[any]
organizationName = optional
commonName = optional
[req]
distinguished_name = name
string_mask = utf8only
utf8 = yes
[name]
`

interface Pair { readonly cert: string, readonly key: string, readonly file: string }

function openssl (...args: string[]): void { execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] }) }

/** An authority of openssl's own making, root or below another one. */
class TestAuthority {
  readonly folder: string
  readonly #config: string
  #count = 0

  constructor (name: string, above?: TestAuthority, key: readonly string[] = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], folder = name) {
    this.folder = join(root, folder)
    mkdirSync(this.folder)
    this.#config = join(this.folder, 'config')
    for (const [file, text] of Object.entries({ config: configuration(this.folder), index: '', serial: '01', crlnumber: '01' })) writeFileSync(join(this.folder, file), text)
    const request = ['req', '-config', this.#config, '-newkey', ...key, '-nodes', '-keyout', join(this.folder, 'key.pem'), '-subj', `/CN=${name}`]
    if (above === undefined) openssl(...request, '-x509', '-days', '30', '-addext', 'basicConstraints=critical,CA:true', '-out', join(this.folder, 'cert.pem'))
    else above.#sign(request, join(this.folder, 'cert.pem'), ['basicConstraints=critical,CA:true'])
  }

  get cert (): string { return readFileSync(join(this.folder, 'cert.pem'), 'utf8') }

  /** A certificate for a Client. */
  issue (subject: string, extensions: readonly string[] = [], ...more: string[]): Pair {
    const file = join(this.folder, `leaf-${++this.#count}`)
    this.#sign(['req', '-config', this.#config, '-utf8', '-multivalue-rdn', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`, '-subj', subject], file, extensions, more)
    return { cert: readFileSync(file, 'utf8'), key: readFileSync(`${file}.key`, 'utf8'), file }
  }

  revoke ({ file }: { file: string }): void { openssl('ca', '-config', this.#config, '-revoke', file) }

  list (...more: string[]): string {
    const file = join(this.folder, 'list.pem')
    openssl('ca', '-config', this.#config, '-gencrl', '-out', file, ...more)
    return readFileSync(file, 'utf8')
  }

  #sign (request: readonly string[], to: string, extensions: readonly string[], more: readonly string[] = []): void {
    openssl(...request, '-out', `${to}.csr`)
    writeFileSync(`${to}.ext`, `basicConstraints=CA:false\n${extensions.join('\n')}`.replace(/basicConstraints=CA:false\n(?=basicConstraints)/, ''))
    openssl('ca', '-config', this.#config, '-batch', '-notext', '-utf8', '-in', `${to}.csr`, '-out', to, '-extfile', `${to}.ext`, ...more)
  }
}

const rootCa = new TestAuthority('Root')
const devices = new TestAuthority('Devices', rootCa)
const strangers = new TestAuthority('Strangers')
const device = devices.issue('/O=Factory/CN=device-1', ['subjectAltName=DNS:Device-1.example,email:one@example.com,URI:urn:device:1'])
const chain = (pair: Pair): { cert: string, key: string } => ({ cert: pair.cert + devices.cert, key: pair.key })

interface CertificateTest extends TestBroker {
  readonly logger: MemoryLogger
  readonly plugin: ReturnType<typeof clientCertificate>
  readonly url: string
  readonly dial: (client?: { cert: string, key: string }, options?: object) => Promise<RealClient>
}

async function start (t: Test, options: ClientCertificateOptions = {}, others: readonly Plugin[] = [], now = Date.now(), combined = (plugin: Plugin): Plugin => plugin): Promise<CertificateTest> {
  const logger = new MemoryLogger()
  const plugin = clientCertificate(options)
  const test = await startBroker(t, { logger, clock: new FakeClock(now), plugins: [combined(plugin), ...others] })
  const server = createServer({ ...own, ca: [rootCa.cert, strangers.cert], requestCert: true, rejectUnauthorized: false }, test.broker.handle)
  const url = `mqtts://localhost:${await listen(t, server)}`
  return { ...test, logger, plugin, url, dial: (client, more) => dial(t, url, { ...trusting(5), ...client, ...more }) }
}

function clientOf ({ broker }: TestBroker): ClientInfo {
  const [client] = broker.clients()
  if (client === undefined) throw new Error('nobody is connected')
  return client
}

const refused = { code: ReasonCode.notAuthorized }

/** What the plugin says of a certificate, as if TLS had verified it. */
function ask (plugin: Plugin, raw: Buffer, isPeerAuthorized = true): AuthenticateResult {
  const connection = { peerCertificate: { raw }, isPeerAuthorized }
  return plugin.hooks?.authenticate?.({ connection } as unknown as AuthenticateRequest) as AuthenticateResult
}

const derOf = ({ cert }: { cert: string }): Buffer => new X509Certificate(cert).raw

t.test('a Client is who its certificate says, and its claims are what is in it', async t => {
  const test = await start(t)
  await test.dial(chain(device), { username: 'root', password: 'x', clientId: 'own' })
  const { username, clientIdentifier, claims } = clientOf(test)
  t.strictSame([username, clientIdentifier], ['device-1', 'own'], 'not who it calls itself')
  const x509 = new X509Certificate(device.cert)
  t.strictSame(claims['certificate'], {
    subject: { O: ['Factory'], CN: ['device-1'] },
    issuer: { CN: ['Devices'] },
    serialNumber: x509.serialNumber.toLowerCase(),
    fingerprint: x509.fingerprint256.replaceAll(':', '').toLowerCase(),
    dns: ['device-1.example'],
    email: ['one@example.com'],
    uri: ['urn:device:1'],
    validFrom: Date.parse(x509.validFrom),
    validTo: Date.parse(x509.validTo),
  })
})

t.test('what of the certificate the name is taken from', t => {
  const byFunction = ({ subject, serialNumber }: CertificateInfo): string => `${String(subject['O'])}:${serialNumber.length > 0}`
  const cases = [['dns', 'device-1.example'], ['email', 'one@example.com'], ['uri', 'urn:device:1'], [byFunction, 'Factory:true']] as const
  for (const [identity, username] of cases) t.match(ask(clientCertificate({ identity }), derOf(device)), { allow: true, username })
  t.match(ask(clientCertificate({ clientIdentifier: true }), derOf(device)), { clientIdentifier: 'device-1' })
  for (const identity of [() => undefined, () => '', () => { throw new Error('no') }]) t.match(ask(clientCertificate({ identity }), derOf(device)), { allow: false })
  t.end()
})

t.test('without a certificate it is left to the next plugin, or refused where one is required', async t => {
  const byPassword: Plugin = { name: 'next', hooks: { authenticate: ({ username }) => username === 'ada' ? true : undefined } }
  const test = await start(t, {}, [byPassword])
  await t.resolves(test.dial(undefined, { username: 'ada' }))
  await t.rejects(test.dial(), refused)
  const strict = await start(t, { required: true }, [byPassword])
  await t.rejects(strict.dial(undefined, { username: 'ada' }), refused)
})

t.test('a certificate that TLS does not believe is refused, and not left to others', async t => {
  const everybody: Plugin = { name: 'everybody', hooks: { authenticate: () => true } }
  const test = await start(t, {}, [everybody])
  const forged = new TestAuthority('Forged')
  const expired = devices.issue('/CN=late', [], '-startdate', '20200101000000Z', '-enddate', '20200201000000Z')
  await t.rejects(test.dial(forged.issue('/CN=device-1')), refused, 'of an authority that nobody knows')
  await t.rejects(test.dial(chain(expired)), refused, 'expired')
  t.match(test.logger.take('info'), [/the TLS server does not believe it/, /the TLS server does not believe it/])
})

t.test('a connection ends when its certificate expires; one that is not valid by the clock of the broker is refused', async t => {
  const { validFrom, validTo } = new X509Certificate(device.cert)
  const test = await start(t, {}, [], Date.parse(validTo) - 10_000)
  const client = await test.dial(chain(device))
  const told = client.event('disconnect')
  await test.clock.advance(11_000)
  t.match(await told, [{ reasonCode: ReasonCode.maximumConnectTime }])
  await t.rejects(test.dial(chain(device)), refused)
  const early = await start(t, {}, [], Date.parse(validFrom) - 10_000)
  await t.rejects(early.dial(chain(device)), refused)
})

t.test('names that are not clear, or none, are refused', async t => {
  const cases: readonly (readonly [name: string, pair: Pair, identity: ClientCertificateOptions['identity'] & string])[] = [
    ['two common names', devices.issue('/CN=device-1/CN=admin'), 'commonName'],
    ['two common names in one field', devices.issue('/CN=device-1+CN=admin'), 'commonName'],
    ['no common name', devices.issue('/O=device-1'), 'commonName'],
    ['a wildcard', devices.issue('/CN=x', ['subjectAltName=DNS:*.example']), 'dns'],
    ['two DNS names', devices.issue('/CN=x', ['subjectAltName=DNS:a.example,DNS:b.example']), 'dns'],
    ['no DNS name', devices.issue('/CN=a.example'), 'dns'],
    ['a line break', devices.issue('/CN=device\n1'), 'commonName'],
  ]
  for (const [name, pair, identity] of cases) {
    const test = await start(t, { identity })
    await t.rejects(test.dial(chain(pair)), refused, name)
    t.match(test.logger.take('info'), [/it names nobody|names, where one was expected/], name)
  }
})

t.test('odd names are what they are: nothing is read into them (CVE-2021-44531, CVE-2021-44532)', t => {
  const odd = devices.issue('/CN=device\\/1, CN=admin')
  t.match(ask(clientCertificate(), derOf(odd)), { username: 'device/1, CN=admin' })
  t.match(ask(clientCertificate(), derOf(devices.issue('/CN=\\+\\/#'))), { username: '+/#' }, 'rules do not fill such a name in')
  t.match(ask(clientCertificate(), derOf(devices.issue('/CN=Zoë ☃'))), { username: 'Zoë ☃' })
  t.match(ask(clientCertificate(), derOf(devices.issue('/CN=__proto__'))), { username: '__proto__' })
  const injected = devices.issue('/CN=x', ['subjectAltName=@names', '[names]', 'URI.1=urn:a\\, DNS:admin.example', 'DNS.1=only.example'])
  t.match(ask(clientCertificate({ identity: 'dns' }), derOf(injected)), { username: 'only.example' }, 'a DNS name inside a URI is none')
  t.end()
})

/** Replaces bytes: the signature does not fit any more, which TLS would find. */
function patched (der: Buffer, from: string, to: string): Buffer {
  const copy = Buffer.from(der)
  copy.write(to, copy.indexOf(from), 'latin1')
  return copy
}

t.test('a name with NUL, or bytes that are no text, is refused', t => {
  const der = derOf(devices.issue('/CN=admin?.evil', ['subjectAltName=DNS:admin!.evil']))
  t.match(ask(clientCertificate(), patched(der, 'admin?', 'admin\0')), { allow: false })
  t.match(ask(clientCertificate(), patched(der, 'admin?', 'admin\xff')), { allow: false })
  t.match(ask(clientCertificate({ identity: 'dns' }), patched(der, 'admin!', 'admin\0')), { allow: false })
  t.match(ask(clientCertificate({ identity: 'dns' }), patched(der, 'admin!', 'admin\xff')), { allow: false })
  t.match(ask(clientCertificate(), der, false), { allow: false })
  t.end()
})

t.test('only certificates that an authority in `ca` has issued itself', async t => {
  const folder = t.testdir({ 'ca.pem': devices.cert })
  const test = await start(t, { ca: join(folder, 'ca.pem') })
  await t.resolves(test.dial(chain(device)))
  await t.rejects(test.dial(strangers.issue('/CN=device-1')), refused, 'TLS trusts these, too')
  await t.rejects(test.dial(rootCa.issue('/CN=device-1')), refused)
  const namesake = new TestAuthority('Namesake')
  openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(namesake.folder, 'key.pem'), '-out', join(namesake.folder, 'cert.pem'), '-subj', '/CN=Devices', '-addext', 'basicConstraints=critical,CA:true')
  t.match(ask(test.plugin, derOf(namesake.issue('/CN=device-1'))), { allow: false }, 'an authority of the same name')
  writeFileSync(join(folder, 'ca.pem'), strangers.cert)
  await test.plugin.reload()
  t.equal([...test.broker.clients()].length, 0, 'who was let in by an authority that is gone, goes')
  await t.rejects(test.dial(chain(device)), refused)
})

t.test('a revoked certificate is refused; a reload of the list ends the connection of a Client that had been let in', async t => {
  const lost = devices.issue('/CN=lost')
  const folder = t.testdir({ 'ca.pem': rootCa.cert + devices.cert, 'list.pem': devices.list() })
  const test = await start(t, { ca: join(folder, 'ca.pem'), crl: join(folder, 'list.pem') })
  const client = await test.dial(chain(lost), { clientId: 'lost' })
  await test.dial(chain(device), { clientId: 'kept' })
  const told = client.event('disconnect')
  devices.revoke(lost)
  writeFileSync(join(folder, 'list.pem'), devices.list())
  await test.plugin.reload()
  t.match(await told, [{ reasonCode: ReasonCode.notAuthorized }])
  await t.rejects(test.dial(chain(lost)), refused)
  t.match(test.logger.take('info').at(-1), /it was revoked/)
  t.strictSame([...test.broker.clients()].map(({ clientIdentifier }) => clientIdentifier), ['kept'])
  await t.rejects(test.dial(rootCa.issue('/CN=device-1')), refused, 'of an authority without a list')
})

t.test('an authority that was revoked takes its certificates with it', async t => {
  const workshop = new TestAuthority('Workshop', rootCa)
  const tool = workshop.issue('/CN=tool')
  const folder = t.testdir({ 'ca.pem': rootCa.cert + workshop.cert, 'list.pem': workshop.list() + rootCa.list() })
  const plugin = clientCertificate({ ca: join(folder, 'ca.pem'), crl: join(folder, 'list.pem') })
  const test = await startBroker(t, { plugins: [plugin], clock: new FakeClock(Date.now()) })
  t.match(ask(plugin, derOf(tool)), { allow: true })
  rootCa.revoke({ file: join(workshop.folder, 'cert.pem') })
  writeFileSync(join(folder, 'list.pem'), workshop.list() + rootCa.list())
  await plugin.reload()
  t.match(ask(plugin, derOf(tool)), { allow: false })
  t.ok(test)
})

t.test('of two authorities of one name the one that was revoked is meant', async t => {
  const [good, bad] = ['one', 'other'].map(folder => new TestAuthority('Namesake', rootCa, undefined, `namesake-${folder}`)) as [TestAuthority, TestAuthority]
  rootCa.revoke({ file: join(bad.folder, 'cert.pem') })
  const folder = t.testdir({ 'ca.pem': rootCa.cert + good.cert + bad.cert, 'list.pem': good.list() + rootCa.list() })
  const plugin = clientCertificate({ ca: join(folder, 'ca.pem'), crl: join(folder, 'list.pem') })
  await startBroker(t, { plugins: [plugin], clock: new FakeClock(Date.now()) })
  t.match(ask(plugin, derOf(good.issue('/CN=tool'))), { allow: true })
  t.match(ask(plugin, derOf(bad.issue('/CN=tool'))), { allow: false })
})

t.test('a revocation is heard of a Client that is on its way in, and of one of whom others have claims to say, too', async t => {
  const lost = devices.issue('/CN=lost')
  const folder = t.testdir({ 'ca.pem': rootCa.cert + devices.cert, 'list.pem': devices.list() })
  const options = { ca: join(folder, 'ca.pem'), crl: join(folder, 'list.pem') }
  const claiming: Plugin = { name: 'claiming', hooks: { authenticate: () => ({ allow: true, claims: { zone: 'b' } }) } }
  const together = await start(t, options, [], undefined, plugin => allOf(plugin, claiming))
  const told = (await together.dial(chain(lost))).event('disconnect')
  const isAsked = deferred()
  const gate = deferred()
  const onConnect = (): Promise<undefined> => { isAsked.resolve(undefined); return gate.promise }
  const test = await start(t, options, [{ name: 'slow', hooks: { onConnect } }])
  const coming = test.dial(chain(lost))
  await isAsked.promise
  devices.revoke(lost)
  writeFileSync(join(folder, 'list.pem'), devices.list())
  await Promise.all([together.plugin.reload(), test.plugin.reload()])
  t.match(await told, [{ reasonCode: ReasonCode.notAuthorized }])
  gate.resolve(undefined)
  await coming
  t.strictSame([...test.broker.clients()], [])
})

function derOfPem (pem: string): Buffer { return Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64') }

t.test('the files may be in DER, as authorities publish them', async t => {
  const lost = devices.issue('/CN=lost')
  const folder = t.testdir({ 'ca.crt': derOfPem(devices.cert), 'list.crl': derOfPem(devices.list()) })
  const test = await start(t, { ca: join(folder, 'ca.crt'), crl: join(folder, 'list.crl') })
  t.match(ask(test.plugin, derOf(lost)), { allow: true })
  devices.revoke(lost)
  const list = derOfPem(devices.list())
  for (const damaged of [list.subarray(0, 100), Buffer.concat([list, list]), Buffer.from([0x30]), derOfPem(devices.cert)]) {
    writeFileSync(join(folder, 'list.crl'), damaged)
    await t.rejects(test.plugin.reload(), { code: ErrorCode.fileInvalid })
  }
  writeFileSync(join(folder, 'list.crl'), list)
  await test.plugin.reload()
  t.match(ask(test.plugin, derOf(lost)), { allow: false })
  t.match(test.logger.take('info').at(-1), /it was revoked/)
})

t.test('a list whose time is over lets nobody in, unless that is accepted', async t => {
  const folder = t.testdir({ 'ca.pem': devices.cert, 'list.pem': devices.list() })
  const options = { ca: join(folder, 'ca.pem'), crl: join(folder, 'list.pem') }
  const test = await start(t, options)
  t.match(ask(test.plugin, derOf(device)), { allow: true })
  writeFileSync(join(folder, 'list.pem'), devices.list('-crl_lastupdate', '20200101000000Z', '-crl_nextupdate', '20200201000000Z'))
  await t.rejects(test.plugin.reload(), { code: ErrorCode.fileInvalid, message: /list\.pem: a revocation list has expired/ })
  t.match(ask(test.plugin, derOf(device)), { allow: true }, 'what was read before stays')
  await t.rejects(start(t, options), { code: ErrorCode.fileInvalid })
  t.match(ask((await start(t, { ...options, acceptExpiredCrl: true })).plugin, derOf(device)), { allow: true })
  const inTime = devices.list('-crlsec', '5')
  writeFileSync(join(folder, 'list.pem'), inTime)
  await test.plugin.reload()
  await test.clock.advance(10_000)
  t.match(ask(test.plugin, derOf(device)), { allow: false })
  t.match(test.logger.take('info').at(-1), /the revocation list of who issued it has expired/)
})

t.test('a broker does not start with files that are missing, damaged, or not what they should be', async t => {
  const list = devices.list()
  const files: Record<string, string> = {
    'ca.pem': devices.cert,
    'empty': '',
    'key': device.key,
    'leaf': device.cert,
    'cut': list.slice(0, 200),
    'damaged': list.replace(/[A-Za-z0-9]{10}(?=\n)/, 'AAAAAAAAAA'),
    'of strangers': strangers.list(),
    'twice': list + list,
    'certificate': devices.cert,
  }
  const folder = t.testdir(files)
  const at = (name: string): string => join(folder, name)
  const bad: readonly ClientCertificateOptions[] = [
    ...['missing', 'empty', 'key', 'leaf', 'cut'].map(name => ({ ca: at(name) })),
    ...['missing', 'empty', 'key', 'cut', 'damaged', 'of strangers', 'twice', 'certificate'].map(name => ({ ca: at('ca.pem'), crl: at(name) })),
  ]
  for (const options of bad) await t.rejects(start(t, options), { code: ErrorCode.fileInvalid, message: /: / }, JSON.stringify(options).replaceAll(folder, ''))
})

t.test('lists are signed by every algorithm that authorities use, and by none that may not', t => {
  const keys: readonly (readonly string[])[] = [['rsa:2048'], ['ec', '-pkeyopt', 'ec_paramgen_curve:P-384'], ['ed25519']]
  for (const [index, key] of keys.entries()) {
    const authority = new TestAuthority(`Signer ${index}`, undefined, key)
    const parse = (text: string): unknown[] => parseRevocationLists(Buffer.from(text), parseAuthorities(Buffer.from(authority.cert)))
    for (const digest of index === 2 ? ['null'] : ['sha256', 'sha384', 'sha512']) t.match(parse(authority.list('-md', digest)), [{ revoked: new Set() }])
  }
  const mute = parseAuthorities(Buffer.from(rootCa.cert)).map(authority => ({ ...authority, maySignRevocations: false }))
  t.throws(() => parseRevocationLists(Buffer.from(rootCa.list()), mute), /signed by none of the authorities/)
  const weak = new TestAuthority('Weak', undefined, ['rsa:2048'])
  t.throws(() => parseRevocationLists(Buffer.from(weak.list('-md', 'sha1')), parseAuthorities(Buffer.from(weak.cert))), /algorithm 1\.2\.840\.113549\.1\.1\.5/)
  t.end()
})

t.test('the list is read anew when it changes, also behind a symbolic link that is turned elsewhere', async t => {
  const lost = devices.issue('/CN=lost')
  const folder = t.testdir({ 'ca.pem': devices.cert, 'one': { 'list.pem': devices.list() } })
  symlinkSync('one', join(folder, 'current'))
  const test = await start(t, { ca: join(folder, 'ca.pem'), crl: join(folder, 'current', 'list.pem'), watch: true })
  const client = await test.dial(chain(lost))
  const told = client.event('disconnect')
  devices.revoke(lost)
  mkdirSync(join(folder, 'two'))
  writeFileSync(join(folder, 'two', 'list.pem'), devices.list())
  symlinkSync('two', join(folder, 'next'))
  renameSync(join(folder, 'next'), join(folder, 'current'))
  while (!test.logger.lines.some(({ message }) => message.includes('read anew'))) {
    await test.clock.advance(1_000)
    await turn()
  }
  t.match(await told, [{ reasonCode: ReasonCode.notAuthorized }])
})

t.test('law: bytes that are cut, or changed, are read or refused, and break nothing', t => {
  const authorities = parseAuthorities(Buffer.from(devices.cert))
  const list = derOfPem(devices.list())
  t.equal(parseRevocationLists(list, authorities).length, 1)
  const change = (der: Buffer, at: number, byte: number): Buffer => {
    const copy = Buffer.from(der)
    copy[at % copy.length] = (copy[at % copy.length] ?? 0) ^ byte
    return copy
  }
  fc.assert(fc.property(fc.nat(), fc.integer({ min: 1, max: 255 }), (at, byte) => {
    t.throws(() => parseRevocationLists(change(list, at, byte), authorities), 'a signature does not survive a change')
  }), { numRuns: 300 })
  const der = derOf(device)
  fc.assert(fc.property(fc.nat(), fc.integer({ min: 0, max: 255 }), fc.nat({ max: der.length }), (at, byte, length) => {
    try {
      parseCertificate(change(der, at, byte).subarray(0, length))
    } catch (error) {
      if (!(error instanceof DerError)) throw error
    }
  }), { numRuns: 3_000 })
  for (const length of [0, 1, 10, der.length - 1]) t.throws(() => parseCertificate(der.subarray(0, length)))
  t.end()
})

t.test('options that are wrong throw at once', t => {
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ identity: 'cn' }, /identity/], [{ crl: 'x' }, /"ca"/], [{ ca: '' }, /ca/], [{ ca: undefined }, /ca/], [{ require: true }, /unknown name/], [{ watch: 1 }, /watch/],
  ]
  for (const [options, message] of wrong) t.throws(() => clientCertificate(options), { code: ErrorCode.optionInvalid, message })
  t.end()
})
