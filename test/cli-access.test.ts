import t, { type Test } from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { authenticates } from '../plugins/cli/options/access.ts'
import { checkConfiguration, readConfiguration } from '../plugins/cli/options/configuration.ts'
import { readSettings } from '../plugins/cli/options/settings.ts'
import { hashPassword } from '../plugins/password-file/hash.ts'
import { testCertificate, testKey } from './support/network/certificates.ts'
import { Call, complaint, isolated } from './support/command-line.ts'

t.setTimeout(120_000) // many processes, on a machine that may be busy

const main = join(import.meta.dirname, '..', 'dist/plugins/cli/main.js')
const ada = await hashPassword('ada')
const bob = await hashPassword('bob')

/** Replaces a file as editors do. */
function put (directory: string, name: string, content: unknown): void {
  const temporary = join(directory, `${name}.new`)
  writeFileSync(temporary, typeof content === 'string' ? content : JSON.stringify(content))
  renameSync(temporary, join(directory, name))
}

/** `myelin start` in a process of its own. */
class Process {
  readonly #child: ReturnType<typeof spawn>
  readonly #lines: string[] = []
  #woken: () => void = () => undefined

  constructor (t: Test, directory: string, ...args: string[]) {
    this.#child = spawn(process.execPath, [main, ...isolated, '--log-format', 'json', '--config', join(directory, 'myelin.json'), ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    t.teardown(() => this.#child.kill('SIGKILL'))
    this.#child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      this.#lines.push(...chunk.split('\n').filter(line => line !== ''))
      this.#woken()
    })
  }

  /** The first line of the log that matches, which is taken off with all before it. */
  async logs (pattern: RegExp): Promise<string> {
    for (;;) {
      const index = this.#lines.findIndex(line => pattern.test(line))
      if (index >= 0) return this.#lines.splice(0, index + 1)[index] ?? ''
      await new Promise<void>(resolve => { this.#woken = resolve })
    }
  }

  async urls (): Promise<string[]> {
    return (JSON.parse(await this.logs(/"listening"/)) as { listeners: string[] }).listeners
  }

  hangUp (): void { this.#child.kill('SIGHUP') }

  async reload (): Promise<string> {
    this.hangUp()
    return this.logs(/read anew/)
  }

  async end (): Promise<unknown> {
    this.#child.kill('SIGTERM')
    return (await once(this.#child, 'exit'))[0]
  }
}

function login (t: Test, url: string, username?: string, options: IClientOptions = {}): Promise<MqttClient> {
  const client = connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0, ...username !== undefined && { username, password: username }, ...options })
  client.then(client => { t.teardown(() => client.end(true)) }).catch(() => undefined)
  return client
}

const refused = { code: 0x86 }

/** Resolves when a client is sent away, to the reason. */
function ended (client: MqttClient): Promise<number | undefined> {
  return new Promise(resolve => client.once('disconnect', ({ reasonCode }) => { resolve(reasonCode) }))
}

/** Resolves to the Topic Name of the next message. */
function nextMessage (client: MqttClient): Promise<string> {
  return new Promise(resolve => client.once('message', resolve))
}

const filesAndRules = { access: [{ use: 'passwordFile', path: 'users' }, { use: 'mosquittoAcl', path: 'acl' }] }
const acl = 'user ada\ntopic readwrite a/#\nuser bob\ntopic readwrite a/#\n'

t.test('users and rights in files are applied at SIGHUP to whoever is connected, and a wrong file changes nothing', async t => {
  const directory = t.testdir({ 'myelin.json': JSON.stringify(filesAndRules), users: `ada:${ada}\nbob:${bob}\n`, acl })
  const broker = new Process(t, directory)
  const [url = ''] = await broker.urls()
  const [first, second] = [await login(t, url, 'ada'), await login(t, url, 'bob')]
  await t.rejects(login(t, url, 'eve'), refused)
  await t.rejects(login(t, url), { code: 0x87 })
  const got: string[] = []
  first.on('message', topic => got.push(topic))
  await first.subscribeAsync('a/#', { qos: 1 })
  await second.publishAsync('a/1', '1', { qos: 1 })

  put(directory, 'acl', 'topic readwrit a/#\n')
  broker.hangUp()
  t.match(await broker.logs(/acl/), /line 1.*stays in force/)
  await broker.logs(/"read anew"/)
  await second.publishAsync('a/2', '2', { qos: 1 })

  put(directory, 'acl', 'user ada\ntopic readwrite b/#\ntopic read a/3\nuser bob\ntopic readwrite a/#\n')
  await broker.reload()
  await second.publishAsync('a/not-any-more', '', { qos: 1 })
  await second.publishAsync('a/3', '3', { qos: 1 })
  while (got.at(-1) !== 'a/3') await nextMessage(first)
  t.same(got, ['a/1', 'a/2', 'a/3'], 'what may not be read any more does not come')

  const bobEnds = ended(second)
  put(directory, 'users', `ada:${ada}\n`)
  await broker.reload()
  t.equal(await bobEnds, 0x87)
  await t.rejects(login(t, url, 'bob'), refused)
  t.ok(first.connected, 'whoever is still in the file stays')
  t.equal(await broker.end(), 0)
})

t.test('another list takes the place of the old one as a whole, and ends whom it would not have let in', async t => {
  const rules = { use: 'accessRules', rules: [{ allow: ['publish', 'subscribe'], topics: 'a/#' }] }
  const directory = t.testdir({
    'myelin.json': JSON.stringify({ users: [{ username: 'bob', password: 'bob' }, { username: 'eve', password: 'eve' }], access: [{ use: 'passwordFile', path: 'users' }, rules] }),
    users: `ada:${ada}\n`,
  })
  const broker = new Process(t, directory)
  const [url = ''] = await broker.urls()
  const [first, second, third] = [await login(t, url, 'ada'), await login(t, url, 'bob'), await login(t, url, 'eve')]
  const [granted] = await second.subscribeAsync('a/#', { qos: 1 })
  t.equal(granted?.qos, 1)
  await t.rejects(second.publishAsync('b', '', { qos: 1 }), /Not authorized/)

  for (const wrong of ['{', { access: [{ use: 'passwordFil', path: 'users' }] }, { access: [{ use: 'passwordFile', path: 'nowhere' }] }, { access: [{ use: 'passwordFile', path: 'users', maximumConcurrent: 0 }] }]) {
    put(directory, 'myelin.json', wrong)
    t.match(await broker.reload(), /"level":50.*not read anew, all stays as it was/)
  }
  t.ok(first.connected && second.connected && third.connected)

  const [adaEnds, eveEnds] = [ended(first), ended(third)]
  const next = nextMessage(second)
  put(directory, 'myelin.json', { port: 1, users: [{ username: 'bob', password: 'bob' }, { username: 'zoe', password: 'zoe' }], access: [{ ...rules, rules: [{ allow: ['publish', 'subscribe'], topics: 'b/#' }] }] })
  t.match(await broker.reload(), /"level":30.*"read anew"/, 'the port of the command line wins')
  t.same(await Promise.all([adaEnds, eveEnds]), [0x87, 0x87])
  t.ok(second.connected, 'who is still in the list stays')
  await t.rejects(login(t, url, 'ada'), refused)
  const fourth = await login(t, url, 'zoe')
  await t.rejects(fourth.publishAsync('a/1', '', { qos: 1 }), /Not authorized/)
  await second.subscribeAsync('b/#', { qos: 1 })
  await fourth.publishAsync('b/1', '', { qos: 1 })
  t.equal(await next, 'b/1')

  put(directory, 'myelin.json', { users: [{ username: 'zoe', password: 'zoe' }], logLevel: 'debug' })
  broker.hangUp()
  broker.hangUp()
  t.match(await broker.logs(/read anew/), /"level":40.*wait for the next start: logLevel/)
  await fourth.publishAsync('anything', '', { qos: 1 })
  t.equal(await broker.end(), 0)
})

t.test('a broker that was open closes at SIGHUP, and one that others can reach does not open', async t => {
  const directory = t.testdir({ 'myelin.json': '{}' })
  const broker = new Process(t, directory)
  const [url = ''] = await broker.urls()
  const client = await login(t, url, 'ada')
  const end = ended(client)
  put(directory, 'myelin.json', { users: [{ username: 'ada', password: 'ada' }], allowAnonymous: true })
  await broker.reload()
  t.equal(await end, 0x87, 'it had called itself so, and nobody had asked')
  await login(t, url)
  await login(t, url, 'ada')
  await t.rejects(login(t, url, 'bob'), refused)
  t.equal(await broker.end(), 0)

  const reachable = new Process(t, directory, '--host', '0.0.0.0')
  await reachable.urls()
  put(directory, 'myelin.json', { access: [{ use: 'accessRules', rules: [] }] })
  t.match(await reachable.reload(), /not read anew.*can be reached by others/, 'rules alone ask nobody who it is')
  t.equal(await reachable.end(), 0)
})

t.test('a method of enhanced authentication comes and goes with the list', async t => {
  const directory = t.testdir({ 'myelin.json': JSON.stringify({ access: [{ use: 'jwt', secret: { env: 'MYELIN_TEST_SECRET' } }] }), secret: `${'s'.repeat(32)}\n` })
  process.env['MYELIN_TEST_SECRET'] = 's'.repeat(32)
  t.teardown(() => { delete process.env['MYELIN_TEST_SECRET'] })
  const broker = new Process(t, directory)
  const [url = ''] = await broker.urls()
  const token = (options: IClientOptions = {}): Promise<MqttClient> => login(t, url, undefined, { properties: { authenticationMethod: 'JWT', authenticationData: Buffer.from('x') }, ...options })
  await t.rejects(token(), { code: 0x87 }, 'a token that is none')
  await t.rejects(login(t, url), { code: 0x87 })
  put(directory, 'myelin.json', {})
  await broker.reload()
  await t.rejects(token(), { code: 0x8c }, 'Bad authentication method')
  t.ok((await login(t, url)).connected, 'nobody is asked any more')
  put(directory, 'myelin.json', { access: [{ use: 'jwt', secret: { file: 'secret' } }] })
  await broker.reload()
  await t.rejects(token(), { code: 0x87 }, 'the method is there again')
  t.equal(await broker.end(), 0)
})

t.test('files of TLS are read anew at SIGHUP, unless they are bad', async t => {
  const directory = t.testdir({ 'myelin.json': JSON.stringify({ tlsPort: 0, tlsCert: 'cert.pem', tlsKey: 'key.pem' }), 'cert.pem': testCertificate, 'key.pem': testKey })
  const broker = new Process(t, directory)
  const url = (await broker.urls()).find(url => url.startsWith('mqtts:')) ?? ''
  const handshake = async (): Promise<boolean> => {
    const socket = tlsConnect({ host: '127.0.0.1', port: Number(new URL(url).port), rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    socket.destroy()
    return true
  }
  t.ok(await handshake())
  put(directory, 'key.pem', 'no key')
  t.match(await broker.reload(), /not read anew.*--tls-key/)
  t.ok(await handshake())
  rmSync(join(directory, 'cert.pem'))
  t.match(await broker.reload(), /not read anew.*there is none/)
  t.ok(await handshake())
  put(directory, 'cert.pem', testCertificate)
  put(directory, 'key.pem', testKey)
  t.match(await broker.reload(), /"read anew"/)
  t.ok(await handshake())
  t.equal(await broker.end(), 0)
})

t.test('combinations are built from the file', async t => {
  const directory = t.testdir({
    'myelin.json': JSON.stringify({
      access: [
        { use: 'rateLimit', failedLogins: { attempts: 100 } },
        { when: { listener: 'ws' }, use: 'passwordFile', name: 'web', path: 'web-users' },
        { when: { listener: ['mqtt'], transport: 'stream' }, plugins: [{ anyOf: [{ use: 'passwordFile', path: 'users' }, { use: 'passwordFile', name: 'more', path: 'web-users' }] }] },
        { use: 'requireEncryption', filters: ['secret/#'] },
      ],
    }),
    users: `ada:${ada}\n`,
    'web-users': `bob:${bob}\n`,
  })
  const broker = new Process(t, directory)
  const [tcp = '', ws = ''] = await broker.urls()
  const client = await login(t, tcp, 'ada')
  await login(t, tcp, 'bob')
  await login(t, ws, 'bob')
  await t.rejects(login(t, ws, 'ada'), refused)
  await t.rejects(client.publishAsync('secret/1', 'plain', { qos: 1 }))
  t.equal(await broker.end(), 0)
})

t.test('what is wrong with the list is told by its path, without secrets', async t => {
  const told = (access: unknown): string[] => {
    try {
      checkConfiguration('f.json', { access })
      return []
    } catch (error) {
      return String(error).split('\n  ').slice(1)
    }
  }
  const cases: [access: unknown, text: string][] = [
    ['x', 'access: expected a list of plugins, found "x"'],
    [['x'], 'access[0]: expected a plugin, { "use": … }, or several, { "anyOf": […] }, { "allOf": […] } or { "when": …, "plugins": […] }, found "x"'],
    [[{ use: 'acl' }], 'access[0].use: expected one of passwordFile, scramFile, jwt, clientCertificate, httpAuth, accessRules, mosquittoAcl, rateLimit, requireEncryption, found "acl"'],
    [[{ use: 'passwordFile' }], 'access[0].path: expected a text, found nothing'],
    [[{ use: 'passwordFile', path: 'users', wach: true }], 'access[0].wach: unknown field, did you mean watch?'],
    [[{ anyOf: [{ use: 'passwordFile', path: 'users', watch: 'yes' }] }], 'access[0].anyOf[0].watch: expected true or false, found "yes"'],
    [[{ anyOf: [] }], 'access[0].anyOf: expected a list of plugins that is not empty, found a list'],
    [[{ use: 'jwt', secret: 12_345 }], 'access[0].secret: expected a text, { "env": "NAME" } or { "file": "path" }, found another number'],
    [[{ use: 'httpAuth', url: 'http://x', headers: { authorization: 12_345 } }], 'access[0].headers.authorization: expected a text, { "env": "NAME" } or { "file": "path" }, found another number'],
    [[{ when: { listner: 'ws' }, use: 'passwordFile', path: 'users' }], 'access[0].when.listner: unknown field'],
  ]
  for (const [access, text] of cases) t.match(told(access), [text], JSON.stringify(access))
  const directory = t.testdir({
    'twice.json': JSON.stringify({ access: [{ use: 'passwordFile', path: 'a' }, { use: 'passwordFile', path: 'b' }] }),
    'env.json': JSON.stringify({ access: [{ use: 'jwt', secret: { env: 'MYELIN_NO_SUCH' } }] }),
    'option.json': JSON.stringify({ access: [{ use: 'jwt', secret: 'hunter2hunter2' }] }),
    'certificate.json': JSON.stringify({ access: [{ use: 'clientCertificate' }] }),
    'missing.json': JSON.stringify({ access: [{ use: 'passwordFile', path: 'nowhere' }] }),
    'cut.json': '{ "users": [{ "username": "a", "password": "hunter2" "x": 1 }',
  })
  const start = (file: string): Promise<[number, string]> => complaint(...isolated, '--config', join(directory, file))
  t.match(await start('twice.json'), [2, /access: two plugins have the name "password-file"/])
  t.match(await start('env.json'), [2, /access\[0\]\.secret: the environment variable MYELIN_NO_SUCH is not set/])
  t.match(await start('certificate.json'), [2, /clientCertificate needs --tls-ca/])
  t.match(await start('missing.json'), [1, /nowhere: there is no such file/])
  for (const file of ['option.json', 'cut.json']) {
    const [code, text] = await start(file)
    t.equal(code, 2)
    t.notMatch(text, 'hunter2')
  }
})

t.test('only plugins that authenticate make a broker that others may reach', async t => {
  const directory = t.testdir({
    'users.json': JSON.stringify({ host: '0.0.0.0', access: [{ when: { listener: 'ws' }, plugins: [{ use: 'mosquittoAcl', path: 'acl' }, { use: 'passwordFile', path: 'users' }] }] }),
    'rules.json': JSON.stringify({ host: '0.0.0.0', access: [{ use: 'mosquittoAcl', path: 'acl' }, { use: 'rateLimit' }] }),
  })
  t.ok(authenticates((await readConfiguration(join(directory, 'users.json'))).access ?? []))
  t.equal((await readSettings({ config: join(directory, 'users.json') })).host, '0.0.0.0')
  await t.rejects(readSettings({ config: join(directory, 'rules.json') }), /0\.0\.0\.0 can be reached by others/)
  const schema = new Call('config-schema')
  t.equal(await schema.ended, 0)
  t.match(schema.printed, /"mosquittoAcl"/)
})
