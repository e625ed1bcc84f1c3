import t from 'tap'
import fc from 'fast-check'
import { mkdirSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { ErrorCode, ReasonCode } from '../lib/index.ts'
import { clientCertificate, type ClientCertificateOptions } from '../plugins/client-certificate/index.ts'
import { parseCertificate } from '../plugins/client-certificate/certificate.ts'
import { DerError } from '../plugins/client-certificate/der.ts'
import { parseAuthorities, parseRevocationLists } from '../plugins/client-certificate/revocations.ts'
import { ask, chain, derOf, device, devices, rootCa, start, strangers, TestAuthority } from './support/plugins/test-authority.ts'

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
    [{ identity: 'cn' }, /identity/], [{ crl: 'x' }, /"ca"/], [{ ca: '' }, /ca/], [{ ca: undefined }, /ca/], [{ require: true }, /is unknown, did you mean required/], [{ watch: 1 }, /watch/],
  ]
  for (const [options, message] of wrong) t.throws(() => clientCertificate(options), { code: ErrorCode.optionInvalid, message })
  t.end()
})
