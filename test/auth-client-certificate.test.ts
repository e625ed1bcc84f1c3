import t from 'tap'
import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ReasonCode, type Plugin } from '../lib/index.ts'
import { clientCertificate, type CertificateInfo, type ClientCertificateOptions } from '../plugins/client-certificate/index.ts'
import { allOf } from '../plugins/chain/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { startBroker } from './support/harness.ts'
import { deferred } from './support/observe.ts'
import { ask, chain, clientOf, derOf, device, devices, openssl, type Pair, refused, rootCa, start, strangers, TestAuthority } from './support/plugins/test-authority.ts'

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
