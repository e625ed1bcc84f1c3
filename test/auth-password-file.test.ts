import t from 'tap'
import fc from 'fast-check'
import { spawnSync } from 'node:child_process'
import * as crypto from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createBroker, ErrorCode, ReasonCode, ReloadableFile, systemClock, type AuthenticateRequest, type AuthenticateResult } from '../lib/index.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { hashPassword, passwordFile, type PasswordFile } from '../plugins/password-file/index.ts'
import { hashFault, parsePasswordHash } from '../plugins/password-file/hash.ts'
import { parsePasswordFile } from '../plugins/password-file/lines.ts'
import { settled, startBroker, type TestBroker } from './support/harness.ts'
import { MemoryLogger } from './support/observe.ts'
import { answerTo, login, pbkdf2Hash, quick, quickOf, salt, scryptHash, sha512Hash, start } from './support/plugins/password-file.ts'

t.setTimeout(120_000)

t.test('a user is let in with the right password, whichever way it is hashed', async t => {
  const setup = await start(t, `# people\n\nann:${scryptHash}\r\nbob:$6$${salt}$${sha512Hash}\n  cat:${quick}  \n`)
  for (const username of ['ann', 'bob', 'cat']) {
    t.equal(await answerTo(setup, username, 'secret'), ReasonCode.success, username)
    t.equal(await answerTo(setup, username, 'secret'), ReasonCode.success, `${username}, remembered`)
    t.equal(await answerTo(setup, username, 'Secret'), ReasonCode.badUserNameOrPassword, username)
    t.equal(await answerTo(setup, username, ''), ReasonCode.badUserNameOrPassword, `${username}, empty`)
    t.equal(await answerTo(setup, username, undefined), ReasonCode.badUserNameOrPassword, `${username}, none`)
  }
})

t.test('what mosquitto_passwd writes is read', async t => {
  const path = join(t.testdir({}), 'users')
  const write = (...args: string[]): void => { t.equal(spawnSync('mosquitto_passwd', args).status, 0, args.join(' ')) }
  write('-c', '-b', path, 'seven', 'pass word:€')
  write('-H', 'sha512', '-b', path, 'six', 'pass word:€')
  t.match(readFileSync(path, 'utf8'), /^seven:\$7\$\d+\$[^]*\nsix:\$6\$/)
  const setup = await start(t, readFileSync(path, 'utf8'))
  for (const username of ['seven', 'six']) {
    t.equal(await answerTo(setup, username, 'pass word:€'), ReasonCode.success)
    t.equal(await answerTo(setup, username, 'pass word:'), ReasonCode.badUserNameOrPassword)
  }
})

t.test('argon2id, which Mosquitto 2.1 writes, is read where Node has it, and refused with its reason elsewhere', async t => {
  const content = '\nann:$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc\n'
  if (!('argon2' in crypto)) {
    await t.rejects(start(t, content), { code: ErrorCode.fileInvalid, message: /users, line 2: to check argon2id takes Node 24\.7 or later$/ })
    return
  }
  const setup = await start(t, content)
  t.equal(await answerTo(setup, 'ann', 'password'), ReasonCode.success)
  t.equal(await answerTo(setup, 'ann', 'Password'), ReasonCode.badUserNameOrPassword)
  for (const cost of ['m=4194304,t=2,p=1', 'm=65536,t=99999,p=1', 'm=65536,t=2,p=999', 'm=65536,t=0,p=1']) t.notOk(parsePasswordHash(`$argon2id$v=19$${cost}$c29tc2FsdHNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc`), cost)
})

t.test('an empty password lets nobody in, even if the file has its hash', async t => {
  const setup = await start(t, `ann:${await hashPassword('')}\nbob:${quick}\n`)
  t.equal(await answerTo(setup, 'ann', ''), ReasonCode.badUserNameOrPassword)
  t.equal(await answerTo(setup, 'nobody', ''), ReasonCode.badUserNameOrPassword)
  t.equal(await answerTo(setup, 'bob', 'secret'), ReasonCode.success)
})

t.test('bytes that are no text are a password like any other', async t => {
  const password = Buffer.from([0xff, 0x00, 0xfe])
  const key = crypto.pbkdf2Sync(password, 'saltsaltsalt', 1, 64, 'sha512').toString('base64')
  const setup = await start(t, `ann:$7$1$${salt}$${key}\n`)
  t.equal(await answerTo(setup, 'ann', password), ReasonCode.success)
  t.equal(await answerTo(setup, 'ann', password.toString()), ReasonCode.badUserNameOrPassword)
})

t.test('what is not its own is left to the next plugin', async t => {
  const asked: unknown[] = []
  const next = { name: 'next', hooks: { authenticate: ({ username }: AuthenticateRequest): AuthenticateResult => { asked.push(username); return username !== 'ann' } } }
  const path = join(t.testdir({ users: `ann:${quick}\n` }), 'users')
  const test = await startBroker(t, { plugins: [passwordFile({ path }), next] })
  t.equal(await answerTo(test, 'ann', 'wrong'), ReasonCode.badUserNameOrPassword)
  t.equal(await answerTo(test, 'ann', undefined), ReasonCode.badUserNameOrPassword, 'a user of its own without a password')
  t.strictSame(asked, [])
  t.equal(await answerTo(test, 'bob', 'x'), ReasonCode.success)
  t.equal(await answerTo(test, 'bob', undefined), ReasonCode.success)
  t.equal(await answerTo(test, undefined, undefined), ReasonCode.success)
  t.strictSame(asked, ['bob', 'bob', undefined])
})

t.test('nobody gets in without being in the file', async t => {
  const setup = await start(t, `ann:${quick}\n`)
  for (const username of ['bob', '', '__proto__', 'constructor', 'ann ', ' ann', 'Ann', 'ann:', 'ann\n', `ann:${quick}`, '#', '+', 'x'.repeat(60_000)]) {
    t.equal(await answerTo(setup, username, 'secret'), ReasonCode.badUserNameOrPassword, JSON.stringify(username.slice(0, 20)))
  }
  t.equal(await answerTo(setup, undefined, undefined), ReasonCode.notAuthorized)
  t.equal(await answerTo(await start(t, '# nobody yet\n'), 'ann', 'secret'), ReasonCode.badUserNameOrPassword, 'an empty file lets nobody in')
  const prototype = await start(t, `__proto__:${quick}\n`)
  t.equal(await answerTo(prototype, '__proto__', 'secret'), ReasonCode.success, 'a user of that name is a user')
  t.equal(await answerTo(prototype, 'constructor', 'secret'), ReasonCode.badUserNameOrPassword)
})

t.test('a line that is wrong keeps the broker from starting [CVE-2018-12551]', async t => {
  const wrong: [line: string, fault: RegExp][] = [
    ['ann', /expected "username:hash"/],
    [`:${quick}`, /the user name is empty/],
    [':', /the user name is empty/],
    ['ann:', /the user has no hash/],
    ['ann:topsecret', /no hash of a known kind .* "myelin passwd -U"/],
    ['ann:$5$abc$def', /no hash of a known kind/],
    ['ann:$6$', /expected \$6\$salt\$hash/],
    [`ann:$6$${salt}$c2hvcnQ=`, /expected \$6\$salt\$hash/],
    [`ann:${quick}x`, /expected \$7\$iterations\$salt\$hash/],
    [`ann:$7$0$${salt}$${pbkdf2Hash}`, /expected \$7\$/],
    [`ann:$7$2147483648$${salt}$${pbkdf2Hash}`, /out of all proportion/],
    [`ann:${scryptHash.replace('16384', '1073741824')}`, /out of all proportion/],
    [`ann:${scryptHash.replace('$1$', '$16$').replace('16384', '262144')}`, /out of all proportion/],
    [`ann :${quick}`, /begins or ends with a blank/],
    [`a\u0000n:${quick}`, /control characters/],
    [`${'x'.repeat(65_536)}:${quick}`, /over 65,535 bytes/],
    [`bob:${scryptHash}`, /that user is there already/],
  ]
  for (const [line, fault] of wrong) {
    const error = await start(t, `# first\nbob:${quick}\n${line}\n`).then(() => undefined, (error: unknown) => error as Error)
    t.match(error, { name: 'MqttError', code: ErrorCode.fileInvalid, message: /users, line 3: / }, line.slice(0, 40))
    t.match(error?.message, fault)
    t.notMatch(error?.message, /topsecret|c2hvcnQ/, 'no secret is told')
  }
})

t.test('a file that cannot be read keeps the broker from starting', async t => {
  const folder = t.testdir({ latin: Buffer.from('\xe4nn:x', 'latin1') })
  spawnSync('mkfifo', [join(folder, 'pipe')])
  const faults = [['nothing', /there is no such file/], ['.', /that is a directory/], ['latin', /it is not UTF-8/], ['pipe', /it is not a file/], ['latin/x', /there is no such directory/]] as const
  for (const [name, message] of faults) await t.rejects(createBroker({ plugins: [passwordFile({ path: join(folder, name) })] }), { code: ErrorCode.fileInvalid, message })
})

t.test('a wrong option is told when the function is called', t => {
  const wrong = [{}, { path: '' }, { path: 5 }, { path: 'x', watch: 1 }, { path: 'x', name: 5 }, { path: 'x', maximumConcurrent: 0 }, { path: 'x', maximumWaiting: -1 }, { path: 'x', maximumRemembered: 0.5 }, { path: 'x', wacth: true }]
  for (const options of wrong) t.throws(() => passwordFile(options as never), { code: ErrorCode.optionInvalid }, JSON.stringify(options))
  t.equal(passwordFile({ path: 'x' }).name, 'password-file')
  t.equal(passwordFile({ path: 'x', name: 'guests' }).name, 'guests')
  t.end()
})

t.test('two files are two plugins, whatever data the clients of the broker carry', async t => {
  const folder = t.testdir({ people: `ann:${quickOf('one')}`, devices: `bob:${quickOf('two')}` })
  const test = await startBroker<{ readonly role: string }>(t, { plugins: [passwordFile({ path: join(folder, 'people') }), passwordFile({ path: join(folder, 'devices'), name: 'devices' })] })
  t.equal(await answerTo(test as unknown as TestBroker, 'ann', 'one'), ReasonCode.success)
  t.equal(await answerTo(test as unknown as TestBroker, 'bob', 'two'), ReasonCode.success)
  t.equal(await answerTo(test as unknown as TestBroker, 'bob', 'one'), ReasonCode.badUserNameOrPassword)
})

t.test('a flood of logins is cut off, and checks no more than a few at once', async t => {
  const setup = await start(t, `ann:${quick}\n`, { maximumConcurrent: 2, maximumWaiting: 3 })
  const answers = await Promise.all(Array.from({ length: 1000 }, () => answerTo(setup, 'ann', 'wrong')))
  const count = (code: number): number => answers.filter(answer => answer === code).length
  t.ok(count(ReasonCode.badUserNameOrPassword) >= 5, 'those that had a place')
  t.ok(count(ReasonCode.serverBusy) > 0, 'the others are told to come again')
  t.equal(count(ReasonCode.badUserNameOrPassword) + count(ReasonCode.serverBusy), 1000, 'nobody gets in')
  t.equal(await answerTo(setup, 'ann', 'secret'), ReasonCode.success, 'afterwards all is as before')
})

/** Counts what the check of a login derives, by what it is given. */
function spied (setup: PasswordFile, username: string, password: string): Promise<unknown> {
  const request = { username, password: Buffer.from(password), signal: new AbortController().signal, connection: {} } as AuthenticateRequest
  return Promise.resolve(setup.hooks.authenticate?.(request))
}

t.test('an unknown user takes the way of a known one: it waits for a hash to be computed', async t => {
  const { plugin } = await start(t, `ann:${quick}\nbob:${scryptHash}\n`)
  for (const name of ['ann', 'nobody', '__proto__']) {
    const request = { username: name, password: Buffer.from('wrong'), signal: new AbortController().signal, connection: {} } as AuthenticateRequest
    t.ok(plugin.hooks.authenticate?.(request) instanceof Promise, name)
  }
  t.equal(await spied(plugin, 'nobody', 'secret'), undefined, 'the password of the decoy lets nobody in')
  t.equal(await spied(plugin, 'ann', 'wrong'), false)
})

t.test('what was right is remembered in bounds, and answered at once', async t => {
  const answerOf = (plugin: PasswordFile, username: string): unknown => plugin.hooks.authenticate?.({ username, password: Buffer.from('secret'), signal: new AbortController().signal, connection: {} } as AuthenticateRequest)
  const { plugin } = await start(t, `a:${quick}\nb:${quick}\n`, { maximumRemembered: 1 })
  await answerOf(plugin, 'a')
  t.equal(answerOf(plugin, 'a'), true)
  await answerOf(plugin, 'b')
  t.equal(answerOf(plugin, 'b'), true)
  t.ok(answerOf(plugin, 'a') instanceof Promise, 'the oldest made room')
  const forgetful = await start(t, `a:${quick}\n`, { maximumRemembered: 0 })
  await answerOf(forgetful.plugin, 'a')
  t.ok(answerOf(forgetful.plugin, 'a') instanceof Promise)
})

t.test('a client that has gone is not checked', async t => {
  const { plugin } = await start(t, `a:${quick}\n`)
  t.equal(await plugin.hooks.authenticate?.({ username: 'a', password: Buffer.from('secret'), signal: AbortSignal.abort(), connection: {} } as AuthenticateRequest), false)
})

t.test('reload disconnects those who would not be let in any more, and nobody else', async t => {
  const path = join(t.testdir({ users: `ann:${quickOf('1')}\nbob:${quickOf('2')}\ncat:${quickOf('3')}\n` }), 'users')
  const plugin = passwordFile({ path })
  const test = await startBroker(t, { plugins: [plugin], hooks: { authenticate: ({ username }) => username === 'root' ? true : undefined } })
  const [ann, bob, cat, root] = await Promise.all([login(test, 'ann', '1', 'A'), login(test, 'bob', '2', 'B'), login(test, 'cat', '3', 'C'), login(test, 'root', 'x', 'R')])
  writeFileSync(path, `# bob has gone\ncat:${quickOf('3')}\nann:${quickOf('4')}\n`)
  await plugin.reload()
  await settled()
  for (const [client] of [ann, bob]) t.match(client.received, [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
  t.notOk(cat[0].isEnded, 'whose line has only moved')
  t.notOk(root[0].isEnded, 'who was let in by another hook')
  t.equal(await answerTo(test, 'ann', '1'), ReasonCode.badUserNameOrPassword, 'a password that was remembered is forgotten')
  t.equal(await answerTo(test, 'ann', '4'), ReasonCode.success)
})

t.test('a bad file is refused by reload, and changes nothing', async t => {
  const { plugin, path, ...test } = await start(t, `ann:${quick}\n`)
  const [ann] = await login(test, 'ann', 'secret')
  for (const content of ['ann:secret\n', `bob:${quick}\n:\n`]) {
    writeFileSync(path, content)
    await t.rejects(plugin.reload(), { code: ErrorCode.fileInvalid })
  }
  rmSync(path)
  await t.rejects(plugin.reload(), { code: ErrorCode.fileInvalid, message: /there is no such file/ })
  t.notOk(ann.isEnded)
  t.equal(await answerTo(test, 'ann', 'secret'), ReasonCode.success)
  t.equal(await answerTo(test, 'bob', 'secret'), ReasonCode.badUserNameOrPassword)
  writeFileSync(path, '')
  await plugin.reload()
  await settled()
  t.match(ann.received, [{ reasonCode: ReasonCode.notAuthorized }], 'an empty file has no users')
  t.equal(await answerTo(test, 'ann', 'secret'), ReasonCode.badUserNameOrPassword)
})

t.test('who was checked against the old file, but is connected only after the reload, is disconnected', async t => {
  const path = join(t.testdir({ users: `ann:${quick}\n` }), 'users')
  const plugin = passwordFile({ path })
  const hooks = { onConnect: async () => { writeFileSync(path, ''); await plugin.reload(); return undefined } }
  const test = await startBroker(t, { plugins: [plugin], hooks })
  const [client, answer] = await login(test, 'ann', 'secret')
  t.equal(answer, ReasonCode.success)
  await settled()
  t.match(client.received, [{ type: PacketType.disconnect, reasonCode: ReasonCode.notAuthorized }])
})

t.test('a check that is under way when the hash is replaced lets nobody in', async t => {
  const { plugin, path, ...test } = await start(t, `ann:${quickOf('secret', 'saltsaltsalt', 1_000_000)}\n`) // it takes longer than reading a file, on a busy machine, too
  writeFileSync(path, `ann:${quickOf('other')}\n`)
  const [, answer] = await Promise.all([plugin.reload(), answerTo(test, 'ann', 'secret')])
  t.not(answer, ReasonCode.success)
})

/** Lets seconds pass until a look has told something; each takes as long as the file system does. */
async function told ({ clock, logger }: { clock: TestBroker['clock'], logger: MemoryLogger }): Promise<[level: string, message: string][]> {
  while (logger.lines.length === 0) await clock.advance(1000)
  return logger.lines.splice(0).map(({ level, message }) => [level, message])
}

t.test('a file that is watched is read anew when it has changed and is still', async t => {
  const setup = await start(t, `ann:${quick}\n`, { watch: true })
  const { path, logger, clock } = setup
  writeFileSync(`${path}.tmp`, `bob:${quick}\n`)
  renameSync(`${path}.tmp`, path)
  await clock.advance(1000)
  t.strictSame(logger.lines, [], 'it may still be being written')
  t.match(await told(setup), [['info', /has changed and was read anew$/]])
  t.equal(await answerTo(setup, 'bob', 'secret'), ReasonCode.success)
  t.equal(await answerTo(setup, 'ann', 'secret'), ReasonCode.badUserNameOrPassword)
  writeFileSync(path, 'nonsense\n')
  t.match(await told(setup), [['error', /users, line 1: expected "username:hash"\. The file has changed, but what was read before stays in force$/]])
  await clock.advance(5000)
  t.strictSame(logger.lines, [], 'told once')
  rmSync(path)
  t.match(await told(setup), [['error', /there is no such file/]])
  t.equal(await answerTo(setup, 'bob', 'secret'), ReasonCode.success)
})

t.test('a file behind symbolic links, as Kubernetes replaces it, is watched', async t => {
  const folder = t.testdir({})
  for (const [name, user] of [['v1', 'ann'], ['v2', 'bob']] as const) {
    mkdirSync(join(folder, name))
    writeFileSync(join(folder, name, 'users'), `${user}:${quick}\n`)
  }
  symlinkSync('v1', join(folder, '..data'))
  symlinkSync('..data/users', join(folder, 'users'))
  const logger = new MemoryLogger()
  const test = await startBroker(t, { plugins: [passwordFile({ path: join(folder, 'users'), watch: true })], logger })
  symlinkSync('v2', join(folder, '..data_tmp'))
  renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
  t.match(await told({ ...test, logger }), [['info', /was read anew/]])
  t.equal(await answerTo(test, 'bob', 'secret'), ReasonCode.success)
})

t.test('nothing watches once the broker is closed', async t => {
  const { broker, clock } = await start(t, '', { watch: true })
  const closing = broker.close()
  await clock.advance(10_000)
  await closing
  t.equal(clock.pending, 0)
})

t.test('a file is read by one reader at a time, and the last content counts', async t => {
  const path = join(t.testdir({ file: 'one' }), 'file')
  const events: string[] = []
  const file = new ReloadableFile({ path, load: async text => { events.push(`begin ${text}`); await settled(); events.push(`end ${text}`) } })
  await Promise.all([file.open({ clock: systemClock, logger: new MemoryLogger() }), file.reload()])
  writeFileSync(path, 'two')
  await file.reload()
  t.strictSame(events, ['begin one', 'end one', 'begin one', 'end one', 'begin two', 'end two'])
  file.close()
})

t.test('no text makes the reader of a file do anything but take it or name its line', async t => {
  const line = fc.oneof(fc.string(), fc.string().map(text => `${text}:${quick}`), fc.string().map(text => `ann:${text}`), fc.constantFrom('', '#', ':', `b:${quick}`))
  fc.assert(fc.property(fc.array(line), lines => {
    try {
      const users = parsePasswordFile('f', lines.join('\n'))
      return ![...users.keys()].some(name => name === '' || name !== name.trim() || name.includes(':'))
    } catch (error) {
      return (error as { code?: unknown }).code === ErrorCode.fileInvalid && /^f, line \d+: /.test((error as Error).message)
    }
  }))
  t.equal(hashFault('x').includes('x$'), false)
  t.ok(parsePasswordHash(await hashPassword('x', 'sha512-pbkdf2')))
})
