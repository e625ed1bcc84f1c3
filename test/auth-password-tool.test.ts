import t from 'tap'
import { spawn, spawnSync } from 'node:child_process'
import { chmodSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { ReasonCode } from '../lib/index.ts'
import { Call } from './support/command-line.ts'
import { listen } from './support/network/network.ts'
import { answerTo, quick, start } from './support/plugins/password-file.ts'

t.setTimeout(120_000)

/** The exit code of `myelin passwd` and what it complained about. */
async function passwd (args: readonly string[], input = '', isTTY = false): Promise<[code: number, complaint: string]> {
  const call = new Call('passwd', ...args)
  if (isTTY) Object.assign(call.input, { isTTY: true })
  call.input.end(input)
  return [await call.ended, call.complained]
}

t.test('myelin passwd writes what the plugin reads, and keeps the other lines', async t => {
  const path = join(t.testdir({}), 'users')
  t.strictSame(await passwd(['-c', path, 'ann'], 'secret\nanother line\n'), [0, ''])
  t.match(readFileSync(path, 'utf8'), /^ann:scrypt\$16384\$8\$1\$[^\n]+\n$/)
  t.equal(statSync(path).mode & 0o777, 0o600)
  writeFileSync(path, `# people\n\n${readFileSync(path, 'utf8')}old:${quick}`)
  t.strictSame(await passwd(['-b', '-H', 'sha512-pbkdf2', path, 'bob', 'p w']), [0, ''])
  t.strictSame(await passwd(['-b', path, 'ann', 'changed']), [0, ''])
  t.match(readFileSync(path, 'utf8'), new RegExp(`^# people\n\nann:scrypt[^\n]+\nold:${quick.replace(/[$+/]/g, '\\$&')}\nbob:\\$7\\$210000\\$[^\n]+\n$`))
  const setup = await start(t, readFileSync(path, 'utf8'))
  for (const [username, password] of [['ann', 'changed'], ['bob', 'p w'], ['old', 'secret']] as const) t.equal(await answerTo(setup, username, password), ReasonCode.success, username)
})

t.test('what myelin passwd writes as sha512-pbkdf2 is read by Mosquitto, broker and tool', async t => {
  const folder = t.testdir({})
  const path = join(folder, 'users')
  await passwd(['-c', '-b', '-H', 'sha512-pbkdf2', path, 'ann', 'secret'])
  t.equal(spawnSync('mosquitto_passwd', ['-b', path, 'bob', 'x']).status, 0)
  t.match(readFileSync(path, 'utf8'), /^ann:\$7\$[^\n]+\nbob:\$7\$/)
  const socket = createServer()
  const port = await listen(t, socket)
  await new Promise(resolve => { socket.close(resolve) })
  writeFileSync(join(folder, 'conf'), `listener ${port} 127.0.0.1\npassword_file ${path}\nlog_dest stderr\nuser ${userInfo().username}\n`)
  const broker = spawn('mosquitto', ['-c', join(folder, 'conf')], { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin` } })
  t.teardown(() => { broker.kill('SIGKILL') })
  for await (const chunk of broker.stderr) if (String(chunk).includes(' running')) break
  const say = (password: string): number | null => spawnSync('mosquitto_pub', ['-h', '127.0.0.1', '-p', String(port), '-u', 'ann', '-P', password, '-t', 'a', '-m', 'b']).status
  t.equal(say('secret'), 0)
  t.not(say('Secret'), 0)
})

t.test('myelin passwd deletes a user', async t => {
  const path = join(t.testdir({}), 'users')
  writeFileSync(path, `# a\nann:${quick}\nbob:${quick}\nann:${quick}\n`)
  t.strictSame(await passwd(['-D', path, 'ann']), [0, ''])
  t.equal(readFileSync(path, 'utf8'), `# a\nbob:${quick}\n`)
  t.match(await passwd(['-D', path, 'ann']), [1, 'there is no user "ann"'])
  t.equal(readFileSync(path, 'utf8'), `# a\nbob:${quick}\n`)
})

t.test('myelin passwd -U hashes what is plain, and only that', async t => {
  const path = join(t.testdir({}), 'users')
  writeFileSync(path, `# a\nann:plain: one\nbob:${quick}\n`)
  t.strictSame(await passwd(['-U', path]), [0, ''])
  const setup = await start(t, readFileSync(path, 'utf8'))
  t.equal(await answerTo(setup, 'ann', 'plain: one'), ReasonCode.success)
  t.equal(await answerTo(setup, 'bob', 'secret'), ReasonCode.success)
  t.match(readFileSync(path, 'utf8'), /^# a\n/)
  for (const line of ['nothing', ':x', 'ann:']) {
    writeFileSync(path, `ok:plain\n${line}\n`)
    t.match(await passwd(['-U', path]), [1, 'line 2: '])
    t.equal(readFileSync(path, 'utf8'), `ok:plain\n${line}\n`, 'nothing was changed')
  }
})

t.test('at a terminal the password is asked for twice and not shown', async t => {
  const path = join(t.testdir({}), 'users')
  t.strictSame(await passwd(['-c', path, 'ann'], 'secret\nsecret\n', true), [0, 'Password: \nOnce more: \n'])
  const before = readFileSync(path, 'utf8')
  t.match(await passwd([path, 'ann'], 'secret\nother\n', true), [1, 'the passwords differ'])
  t.match(await passwd([path, 'ann'], 'secret\n', true), [2, 'expected a password'])
  t.equal(readFileSync(path, 'utf8'), before)
})

t.test('nobody is asked for a password that there is no place for', async t => {
  const folder = t.testdir({ users: `ann:${quick}\n` })
  const there = join(folder, 'users')
  const nowhere = join(folder, 'none', 'users')
  for (const [args, complaint] of [
    [['-c', nowhere, 'ann'], /^[^\n]*cannot write .*: there is no such directory\n?$/],
    [[nowhere, 'ann'], /^[^\n]*cannot write .*: there is no such file; -c makes one\n?$/],
    [['-c', there, 'ann'], /^[^\n]*is there already: leave -c out to add a user to it\n?$/],
    [['-c', join(there, 'users'), 'ann'], /^[^\n]*cannot write .*ENOTDIR.*\n?$/],
  ] as const) t.match(await passwd(args, 'secret\nsecret\n', true), [1, complaint], args.join(' '))
  t.match(await passwd(['-c', '-b', nowhere, 'ann', 'secret']), [1, 'there is no such directory'], 'one that is given along is refused for the same reason')
  t.notOk(statSync(`${there}.new`, { throwIfNoEntry: false }), 'nothing is left behind')
})

t.test('a user name cannot smuggle a line into the file', async t => {
  const path = join(t.testdir({ users: `ann:${quick}\n` }), 'users')
  for (const name of ['', 'a:b', `a\nroot:${quick}`, 'a\r', 'a\0', '#a', ' a', 'a ', 'x'.repeat(65_536)]) t.match(await passwd([path, name], 'secret\n'), [2, 'user name'], JSON.stringify(name.slice(0, 12)))
  t.equal(readFileSync(path, 'utf8'), `ann:${quick}\n`)
  t.strictSame(await passwd([path, '__proto__'], 'secret\n'), [0, ''])
  t.match(readFileSync(path, 'utf8'), /\n__proto__:scrypt/)
})

t.test('myelin passwd says what it cannot do, and leaves the file as it is', async t => {
  const path = join(t.testdir({ users: `ann:${quick}\n`, 'busy': '', 'busy.new': '' }), 'users')
  const folder = join(path, '..')
  t.match(await passwd([path, 'bob'], ''), [2, 'expected a password'])
  t.match(await passwd([path, 'bob'], '\n'), [2, 'expected a password'])
  t.match(await passwd(['-b', path, 'bob', 'x'.repeat(65_536)]), [2, 'expected a password'])
  t.match(await passwd(['-c', path, 'bob'], 'secret\n'), [1, 'is there already'])
  t.match(await passwd([join(folder, 'none'), 'bob'], 'secret\n'), [1, 'there is no such file; -c makes one'])
  t.match(await passwd([join(folder, 'busy'), 'bob'], 'secret\n'), [1, /another command is writing it; if none is, remove .*busy\.new/])
  t.match(await passwd([folder, 'bob'], 'secret\n'), [1, 'cannot write'])
  for (const args of [[], [path], ['-U', path, 'bob'], ['-b', path, 'bob'], [path, 'bob', 'secret'], ['-c', '-D', path, 'bob'], ['-D', '-b', path, 'bob', 'x'], ['--scram', '-H', 'scrypt', path, 'bob'], ['-H', 'md5', path, 'bob']]) {
    t.equal((await passwd(args))[0], 2, args.slice(0, 2).join(' '))
  }
  t.equal(readFileSync(path, 'utf8'), `ann:${quick}\n`)
  t.notOk(statSync(`${path}.new`, { throwIfNoEntry: false }), 'nothing is left behind')
  const call = new Call('passwd', '--help')
  t.equal(await call.ended, 0)
  t.match(call.printed, /--hash-plain/)
})

t.test('a file keeps its owner and mode, but is never for all to read, and a link stays a link', async t => {
  const folder = t.testdir({ users: `ann:${quick}\n` })
  chmodSync(join(folder, 'users'), 0o644)
  symlinkSync('users', join(folder, 'link'))
  t.strictSame(await passwd([join(folder, 'link'), 'bob'], 'secret\n'), [0, ''])
  t.equal(statSync(join(folder, 'users')).mode & 0o777, 0o640)
  t.match(readFileSync(join(folder, 'users'), 'utf8'), /\nbob:scrypt/)
})
