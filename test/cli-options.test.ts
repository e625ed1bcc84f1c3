import t from 'tap'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { defaultLimits, ReasonCode, sharedSubscriptionStrategies, type AuthenticateRequest } from '../lib/index.ts'
import { flagName, readArguments } from '../plugins/cli/options/arguments.ts'
import { banner } from '../plugins/cli/broker/banner.ts'
import { publishHelp } from '../plugins/cli/pub.ts'
import { subscribeHelp } from '../plugins/cli/sub.ts'
import { passwdHelp } from '../plugins/cli/passwd.ts'
import { inspectHelp } from '../plugins/cli/inspect/inspect.ts'
import { checkConfiguration, readConfiguration } from '../plugins/cli/options/configuration.ts'
import { shownDefault, usageOf } from '../plugins/cli/options/help.ts'
import { readValue, showValue, type Kind, type Option } from '../plugins/cli/options/kinds.ts'
import { prettyLine } from '../plugins/cli/broker/logger.ts'
import { brokerOptions, libraryName, limitOptions, startGroups, startOptions, type Configuration, type OptionGroup, type Settings } from '../plugins/cli/options/start-options.ts'
import { withPeers } from '../plugins/cli/peers.ts'
import { readSettings } from '../plugins/cli/options/settings.ts'
import { UserList } from '../plugins/cli/broker/users.ts'
import { hashPassword, parsePasswordHash } from '../plugins/password-file/hash.ts'
import { Call, complaint } from './support/command-line.ts'

const root = join(import.meta.dirname, '..')

t.test('an option is read by its kind', t => {
  const cases: [kind: Kind, text: string, value: unknown][] = [
    ['bytes', '65536', 65_536], ['bytes', '64KiB', 65_536], ['bytes', '1 MiB', 2 ** 20], ['bytes', '2GiB', 2 ** 31], ['bytes', '1MB', undefined],
    ['bytes', '-1', undefined], ['bytes', '99999999999999GiB', undefined], ['milliseconds', '500', 500], ['milliseconds', '500ms', 500],
    ['milliseconds', '10s', 10_000], ['milliseconds', '5m', 300_000], ['seconds', '60', 60], ['seconds', '1h', 3600], ['seconds', '500ms', undefined],
    ['port', '0', 0], ['port', 'off', 'off'], ['port', '65536', undefined], ['count', '12', 12], ['count', '1.5', undefined], ['text', '', undefined], ['payload', '', ''],
  ]
  for (const [kind, text, value] of cases) t.equal(readValue({ kind, help: '' }, text), value, `${kind} ${text}`)
  for (const [kind, value, text] of [['bytes', 2 ** 20, '1MiB'], ['bytes', 1000, '1000'], ['milliseconds', 1500, '1500ms'], ['seconds', 0, '0'], ['count', 2048, '2048']] as const) {
    t.equal(showValue(kind, value), text)
  }
  t.end()
})

t.test('a command line is read by the table of options', t => {
  t.same(readArguments(startOptions, ['--port=1884', '--ws-port', 'off', '--ws-origin', 'https://a.example', '--ws-origin', 'https://b.example', '--proxy-protocol', '--queue-policy', 'disconnect', '-c', 'x.json', '--no-allow-anonymous']), {
    port: 1884, wsPort: 'off', wsOrigin: ['https://a.example', 'https://b.example'], proxyProtocol: true, queuePolicy: 'disconnect', config: 'x.json', allowAnonymous: false,
  })
  t.end()
})

t.test('a wrong command line is told in one line, exit code 2', async t => {
  const cases: [args: string[], text: string][] = [
    [['--prot', '1884'], 'unknown option --prot, did you mean --port?'],
    [['--maximum-packet'], 'unknown option --maximum-packet, did you mean --maximum-packet-size?'],
    [['--xyzzy-quux'], 'unknown option --xyzzy-quux'],
    [['--users', 'x'], 'unknown option --users'],
    [['--port'], '--port needs a value: a port from 0 to 65535, or "off"'],
    [['--host', '--port', '1884'], '--host needs a value: a text'],
    [['--port', '99999'], '--port: expected a port from 0 to 65535, or "off", found "99999"'],
    [['--maximum-packet-size', '1MB'], '--maximum-packet-size: expected a size such as 65536, "64KiB" or "1MiB", found "1MB"'],
    [['--queue-policy', 'drop'], '--queue-policy: expected one of dropOldest, dropNewest, disconnect, found "drop"'],
    [['--proxy-protocol=yes'], '--proxy-protocol takes no value, got "yes"'],
    [['start', 'now'], 'unexpected argument "now"'],
    [['strat'], 'unknown command "strat", did you mean start?'],
    [['--tls-port', '0'], '--tls-port and --wss-port need --tls-cert and --tls-key'],
    [['--tls-require-client-certificate'], '--tls-require-client-certificate needs --tls-ca'],
    [['--ws-origin', 'example.org'], '--ws-origin: expected an origin such as https://example.org or "*", found "example.org"'],
    [['--ws-path', 'mqtt'], '--ws-path: expected a path such as /mqtt, found "mqtt"'],
    [['--port', 'off', '--ws-port', 'off'], 'nothing to listen on: every port is off'],
    [['--unix', '/'.padEnd(200, 'x')], `--unix: expected a path of at most ${process.platform === 'linux' ? 107 : 103} bytes, found 200`],
    [['--maximum-packet-size', '5'], '--maximum-packet-size must be a whole number from 20 to 268435460, got 5'],
    [['--connect-timeout', '0'], '--connect-timeout must be a whole number from 1 to 2147483647, got 0'],
    [['--config', 'nowhere.json'], 'cannot read the configuration file nowhere.json: there is none'],
    [['pub', '-m', 'x'], 'pub: -t <topic> is missing'],
    [['pub', '-t', 'x'], 'pub: give one of -m <payload>, -l (lines of standard input) and -f <file>'],
    [['pub', '-t', 'x', '-m', 'y', '--url', 'http://x'], '--url: expected mqtt://, mqtts://, ws:// or wss:// with a host, found "http://x"'],
    [['sub'], 'sub: -t <topic filter> is missing'],
    [['pub', '-t', 'a/#', '-m', 'x'], '-t: expected a Topic Name, without the wildcards + and #, found "a/#"'],
    [['pub', '-t', '', '-m', 'x'], '-t: expected a Topic Name, without the wildcards + and #, found ""'],
    [['sub', '-t', 'a', '-t', 'a/#/b'], '-t: expected a Topic Filter, with + and # alone in a level and # in the last one only, found "a/#/b"'],
    [['sub', '-t', '$share//x'], '-t: expected a Topic Filter, with + and # alone in a level and # in the last one only, found "$share//x"'],
    [['pub', '-t', 'a', '-m', 'x', '-q', '3'], '-q: expected one of 0, 1, 2, found "3"'],
    [['pub', '-t', 'a', '-m', 'x', '-p', '99999'], '-p: expected a port from 1 to 65535, found "99999"'],
    [['pub', '-t', 'a', '-m', 'x', '-p', '0'], '-p: expected a port from 1 to 65535, found "0"'],
    [['pub', '-t', 'a', '-m', 'x', '--host', 'a b'], '--host: expected a name or an address, found "a b"'],
    [['pub', '-t', 'a', '-m', 'x', '--host', 'mqtt://a'], '--host: expected a name or an address, found "mqtt://a"'],
    [['pub', '-t', 'a', '-m', 'x', '--url', 'mqtt://a', '--port', '1'], '--url has the host and the port: leave --host and --port out'],
    [['sub', '-t', 'a', '--ca', 'file'], '--ca and --insecure are for TLS: they need --url with mqtts:// or wss://'],
    [['sub', '-t', 'a', '--insecure', '--url', 'ws://a'], '--ca and --insecure are for TLS: they need --url with mqtts:// or wss://'],
    [['sub', '-t', 'a', '-V', '4', '-P', 'secret'], '--password needs --username: MQTT 3.1 and 3.1.1 know no password without one'],
    [['sub', '-t', 'a', '-C', '0'], '-C: expected a whole number, 1 or more, found "0"'],
    [['sub', '-t', 'a', '-W', '25d'], '--timeout: expected at most 24 days'],
    [['--port', '1883', '--wss-port', '1883'], '--port and --wss-port are both 1883: each needs a port of its own'],
    [['--redis-prefix', 'a'], '--redis-prefix needs --redis'],
    [['--node-name', 'a'], '--node-name needs --redis'],
    [['--tls-cert', 'a', '--tls-key', 'b'], '--tls-cert and --tls-key need --tls-port or --wss-port'],
    [['--unix', '/nowhere/at/all'], '--unix: there is no directory /nowhere/at'],
    [['--config', '/'], 'cannot read the configuration file /: that is a directory'],
    [['--durability', 'none'], '--durability: expected one of power, process, found "none"'],
    [['--data'], '--data needs a value: a directory, or "off"'],
  ]
  for (const [args, text] of cases) t.same(await complaint(...args), [2, `myelin: ${text}\n`], args.join(' '))
})

t.test('a host that others can reach is refused without authentication', async t => {
  const text = (host: string): string => `myelin: ${host} can be reached by others: give "users", or "access" with a plugin that authenticates, in a configuration file (--config), or let anyone in with --allow-anonymous\n`
  for (const host of ['0.0.0.0', '::', '192.0.2.1', 'example.org']) t.same(await complaint('--host', host), [2, text(host)])
  for (const host of ['127.0.0.1', '127.1.2.3', '::1', 'localhost']) t.equal((await readSettings({ host })).host, host)
  t.equal((await readSettings({ host: '0.0.0.0', allowAnonymous: true })).host, '0.0.0.0')
  t.ok(await readSettings({ host: '0.0.0.0', users: [{ username: 'a', password: 'b' }] }))
  t.ok(await readSettings({ host: '::', port: 'off', wsPort: 'off', tlsPort: 0, tlsCert: 'c', tlsKey: 'k', tlsCa: 'a', tlsRequireClientCertificate: true }))
  await t.rejects(readSettings({ host: '::', wsPort: 'off', tlsPort: 0, tlsCert: 'c', tlsKey: 'k', tlsCa: 'a', tlsRequireClientCertificate: true }), 'the plain port is a way around the certificate')
})

t.test('a configuration file is typed, checked and read', async t => {
  const directory = t.testdir({
    'good.json': JSON.stringify({ $schema: './x.json', port: 1884, maximumPacketSize: '2MiB', connectTimeout: 500, maximumKeepAlive: '1h', tlsCert: 'cert.pem', data: 'kept' } satisfies Configuration),
    'off.json': JSON.stringify({ data: 'off', durability: 'process' } satisfies Configuration),
    'syntax.json': '{\n  "port": 1884,\n  "host" 1\n}',
    'cut.json': '{',
  })
  t.same(await readConfiguration(join(directory, 'good.json')), { port: 1884, maximumPacketSize: 2 ** 21, connectTimeout: 500, maximumKeepAlive: 3600, tlsCert: join(directory, 'cert.pem'), data: join(directory, 'kept') })
  t.same(await readConfiguration(join(directory, 'off.json')), { data: 'off', durability: 'process' }, '"off" is no path')
  t.match(await complaint('--config', join(directory, 'syntax.json')), [2, /^myelin: .*syntax\.json is not JSON: line 3, column 1\d: .*\n$/])
  t.match(await complaint('--config', join(directory, 'cut.json')), [2, /^myelin: .*cut\.json is not JSON: .*\n$/])
  const settings = await readSettings({ config: join(directory, 'good.json'), port: 1885, tlsPort: 'off' })
  t.equal(settings.port, 1885, 'the command line wins over the file')
  t.equal(settings.maximumPacketSize, 2 ** 21)
  t.equal(settings.wsPort, 8080, 'the default where neither says anything')
  t.equal((await readSettings({})).data, './data')
})

t.test('all that is wrong in a configuration file is told at once, by its path', t => {
  const wrong = {
    port: 188_300, maximumPacketsize: 1, maximumQueuedBytes: '99999999999999GiB', wsOrigin: 'https://example.org', allowAnonymous: 'yes', queuePolicy: 'drop', connectTimeout: '10 seconds', config: 'x', host: null,
    users: [{ username: 'a' }, { username: 'b', password: 12345 }, { username: 'c', passwordHash: 'secret' }, { username: 'd', password: 'x', admin: true }, { username: 'd', password: 'y' }, 'e'],
  }
  const expected = [
    'f.json is not a configuration:',
    'port: expected a port from 0 to 65535, or "off", found 188300',
    'maximumPacketsize: unknown field, did you mean maximumPacketSize?',
    'maximumQueuedBytes: expected a size such as 65536, "64KiB" or "1MiB", found "99999999999999GiB"',
    'wsOrigin: expected a list of texts, found "https://example.org"',
    'allowAnonymous: expected true or false, found "yes"',
    'queuePolicy: expected one of dropOldest, dropNewest, disconnect, found "drop"',
    'connectTimeout: expected a duration such as 500 (milliseconds), "10s" or "5m", found "10 seconds"',
    'config: unknown field',
    'host: expected a text, found null',
    'users[0]: expected either "passwordHash" or "password", found an object',
    'users[1].password: expected a text, found another number',
    'users[2].passwordHash: expected what `myelin hash-password` prints: scrypt$N$r$p$salt$key, found another text',
    'users[3].admin: unknown field',
    'users[5]: expected { "username", "passwordHash" } or { "username", "password" }, found "e"',
  ]
  const told = (data: unknown): string[] => {
    try {
      checkConfiguration('f.json', data)
      return []
    } catch (error) {
      return String(error).replace('CommandError: ', '').split('\n  ')
    }
  }
  t.same(told(wrong).sort(), expected.sort())
  t.same(told({ users: [{ username: 'd', password: 'x' }, { username: 'd', password: 'y' }] }), ['f.json is not a configuration:', 'users[1].username: expected each user once, found "d"'])
  t.same(told([]), ['f.json is not a configuration:', 'the file: expected an object, found a list'])
  t.end()
})

t.test('one table makes flags, help, schema and documentation', async t => {
  const schemaCall = new Call('config-schema')
  t.equal(await schemaCall.ended, 0)
  const { properties } = JSON.parse(schemaCall.printed) as { properties: Record<string, { description: string, default?: unknown }> }
  const help = new Call('--help')
  t.equal(await help.ended, 0)
  const options = Object.entries<Option>(startOptions)
  t.same(Object.keys(properties).sort(), ['$schema', ...options.filter(([, { only }]) => only !== 'commandLine').map(([name]) => name)].sort())
  for (const [name, option] of options.filter(([, { only }]) => only !== 'file')) t.match(help.printed, ` ${usageOf(name, option)}`)
  for (const [name, { help }] of options.filter(([, { only }]) => only === undefined)) t.equal(properties[name]?.description, help)
  t.same(Object.entries<Option>(limitOptions).map(([name, option]) => libraryName(name, option)).sort(), Object.keys(defaultLimits).sort())
  t.same(brokerOptions.sharedSubscriptionStrategy.choices, sharedSubscriptionStrategies)
  t.equal(properties['maximumPacketSize']?.default, defaultLimits.maximumPacketSize)
  t.ok(help.printed.split('\n').every(line => line.length <= 100))
})

const cell = (text: string): string => text.replaceAll('|', '\\|')

function documentationOf ({ options }: OptionGroup): string {
  const rows = Object.entries(options).map(([name, option]) => [
    option.only === 'file' ? `\`${name}\` (file only)` : `\`${usageOf(name, option)}\``, shownDefault(name, option) ?? '', option.help,
  ].map(cell).join(' | '))
  return ['| Option | Default | What it does |', '| --- | --- | --- |', ...rows.map(row => `| ${row} |`)].join('\n')
}

t.test('docs/command-line.md is what the tables say', t => {
  const file = join(root, 'docs/command-line.md')
  const text = readFileSync(file, 'utf8')
  const groups = new Map([...startGroups, ...publishHelp.groups, ...subscribeHelp.groups, ...passwdHelp.groups, ...inspectHelp.groups].map(group => [group.title, group]))
  const expected = text.replace(/<!-- (\w+) -->\n[^]*?<!-- end -->/g, (block, title: string) => {
    const group = groups.get(title)
    return group === undefined ? block : `<!-- ${title} -->\n${documentationOf(group)}\n<!-- end -->`
  })
  // As with tap's own snapshots: TAP_SNAPSHOT=1 writes what is expected.
  if (process.env['TAP_SNAPSHOT'] === '1') writeFileSync(file, expected)
  t.equal(readFileSync(file, 'utf8'), expected)
  t.same([...text.matchAll(/<!-- (\w+) -->/g)].map(([, title]) => title).filter(title => title !== 'end').sort(), [...groups.keys()].sort())
  for (const [, json = ''] of text.matchAll(/```json\n([^]*?)```/g)) t.ok(checkConfiguration('example', JSON.parse(json)), 'the examples are right')
  t.end()
})

function request (username?: string, password?: string): AuthenticateRequest {
  return { username, password: password === undefined ? undefined : Buffer.from(password), signal: new AbortController().signal } as AuthenticateRequest
}

t.test('users are let in by plain password or hash', async t => {
  const passwordHash = await hashPassword('sesame')
  const users = new UserList([{ username: 'plain', password: 'secret' }, { username: 'hashed', passwordHash }])
  t.equal(users.authenticate(request('plain', 'secret')), true)
  t.equal(users.authenticate(request('plain', 'wrong')), false)
  t.equal(await users.authenticate(request('hashed', 'sesame')), true)
  t.equal(users.authenticate(request('hashed', 'sesame')), true, 'at once the second time')
  t.equal(await users.authenticate(request('hashed', 'wrong')), false)
  t.equal(await users.authenticate(request('nobody', 'secret')), undefined, 'another one may know this user')
  t.equal(await users.authenticate({ ...request('hashed', 'wrong'), signal: AbortSignal.abort() }), false)
  t.equal(users.authenticate(request('__proto__', '')) === true, false)
  t.equal(users.authenticate(request('plain')), false)
  t.equal(users.authenticate(request('hashed')), false)
  t.equal(users.authenticate(request(undefined, 'secret')), undefined)
  t.equal(users.authenticate(request()), undefined)
})

t.test('a flood of passwords to check is cut off, not queued without end', async t => {
  const users = new UserList([{ username: 'hashed', passwordHash: await hashPassword('sesame') }], { maximumWaiting: 1 })
  const answers = await Promise.all(Array.from({ length: 4 }, async () => users.authenticate(request('hashed', 'sesame'))))
  t.same(answers, [true, true, true, { allow: false, reasonCode: ReasonCode.serverBusy }])
})

t.test('a password hash that asks for too much is none', t => {
  const tail = `${Buffer.alloc(16).toString('base64')}$${Buffer.alloc(32).toString('base64')}`
  t.ok(parsePasswordHash(`scrypt$16384$8$1$${tail}`))
  for (const parameters of ['16383$8$1', '1$8$1', '16384$0$1', '16384$8$0', '1073741824$8$1', '16384$8$9999']) t.notOk(parsePasswordHash(`scrypt$${parameters}$${tail}`), parameters)
  t.notOk(parsePasswordHash('secret'))
  t.end()
})

t.test('hash-password reads a password from standard input', async t => {
  const call = new Call('hash-password')
  call.input.end('sesame\nanother\n')
  t.equal(await call.ended, 0)
  t.ok(parsePasswordHash(call.printed.trim()))
  const empty = new Call('hash-password')
  empty.input.end()
  t.equal(await empty.ended, 2)
})

t.test('each command has its help', async t => {
  for (const [args, text] of [[['help'], 'Limits:'], [['help', 'pub'], '--retain'], [['sub', '-h'], '--verbose'], [['config-schema', '--help'], 'JSON Schema'], [['hash-password', '--help'], 'passwordHash'], [['passwd', '-h'], '--hash-plain']] as const) {
    const call = new Call(...args)
    t.equal(await call.ended, 0)
    t.match(call.printed, text)
  }
})

t.test('a package that is missing is named with the way to install it', async t => {
  const missing = Object.assign(new Error("Cannot find package 'zod' imported from x"), { code: 'ERR_MODULE_NOT_FOUND' })
  await t.rejects(withPeers(() => Promise.reject(missing)), { message: 'the command line needs the package zod: npm install pino zod mqtt lmdb fast-json-stable-stringify', exitCode: 1 })
  await t.rejects(withPeers(() => Promise.reject(missing), ', or do without'), { message: 'the command line needs the package zod: npm install pino zod mqtt lmdb fast-json-stable-stringify, or do without' })
  const other = new Error('other')
  await t.rejects(withPeers(() => Promise.reject(other)), other)
})

t.test('a log line for people', t => {
  t.equal(prettyLine('{"level":30,"time":0,"msg":"connected","clientIdentifier":"a b","connection":1,"err":{"message":"gone"}}'), '1970-01-01T00:00:00.000Z info  connected clientIdentifier="a b" connection=1 err=gone\n')
  t.equal(prettyLine(JSON.stringify({ level: 50, time: 0, msg: 'a\nb', name: '\u009b31m\n' })), '1970-01-01T00:00:00.000Z error a b name=" 31m\\n"\n', 'a name from the wire stays in its line')
  t.end()
})

t.test('the banner says who may connect and where data is kept', async t => {
  const settings: Settings = await readSettings({})
  t.match(banner('1', ['mqtt://127.0.0.1:1883'], settings), /Anonymous clients may connect, from this machine only[^]*myelin sub -v/)
  t.match(banner('1', ['mqtt://0.0.0.0:1884'], { ...settings, host: '0.0.0.0', allowAnonymous: true }), /Anyone who can reach[^]*sub --url mqtt:\/\/127.0.0.1:1884/)
  t.match(banner('1', ['mqtts://127.0.0.1:8883'], { ...settings, users: [{ username: 'a', password: 'b' }] }), 'need a user name and a password')
  t.match(banner('1', [], settings), `are kept in ${join(process.cwd(), 'data')}; they survive a power cut.`)
  t.match(banner('1', [], { ...settings, data: 'off' }), 'are kept in memory only (--data off).')
  t.match(banner('1', [], { ...settings, port: 'off', wsPort: 'off', tlsRequireClientCertificate: true }), 'need a certificate')
  t.end()
})

t.test('flags are names in kebab-case', t => {
  t.equal(flagName('maximumPacketSize'), 'maximum-packet-size')
  t.end()
})
