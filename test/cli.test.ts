import t from 'tap'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { get } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import v8, { type HeapInfo } from 'node:v8'
import { connectAsync } from 'mqtt'
import { letSmallHeapGrow } from '../plugins/cli/broker/small-heap.ts'
import type { Configuration } from '../plugins/cli/options/start-options.ts'
import { hashPassword } from '../plugins/password-file/hash.ts'
import { testAuthority, testCertificate, testKey } from './support/network/certificates.ts'
import { Call, complaint, inMemory, isolated } from './support/command-line.ts'
import { FakeClock, settled } from './support/fake-clock.ts'

const root = join(import.meta.dirname, '..')

t.setTimeout(120_000) // many processes, on a machine that may be busy

t.test('a broker starts on free ports, and pub and sub go through it over TCP and WebSocket', async t => {
  const broker = new Call(...isolated, '--log-level', 'debug')
  const tcp = await broker.prints(/mqtt:\/\/127\.0\.0\.1:\d+/)
  const ws = await broker.prints(/ws:\/\/127\.0\.0\.1:\d+\/mqtt/)
  for (const [url, version] of [[tcp, '5'], [tcp, '4'], [tcp, '3'], [ws, '5']] as const) {
    t.equal(await new Call('pub', '--url', url, '-V', version, '-t', 'kept/a', '-m', `${version} ${url}`, '-r', '-q', '1').ended, 0)
    const sub = new Call('sub', '--url', url, '-V', version, '-t', 'kept/+', '-t', 'other', '-v', '-C', '1', '-q', '2', '-W', '10')
    t.equal(await sub.ended, 0)
    t.equal(sub.printed, `kept/a ${version} ${url}\n`)
  }
  const sub = new Call('sub', '--url', tcp, '-t', 'kept/#', '-t', 'lines', '-q', '1')
  await sub.prints(/ws:/)
  const pub = new Call('pub', '--url', ws, '-t', 'lines', '-l', '-q', '1')
  pub.input.end('one\ntwo\n')
  t.equal(await pub.ended, 0)
  t.equal(await sub.prints(/one\ntwo\n/), 'one\ntwo\n')
  t.equal(await sub.stop(), 0)
  const directory = t.testdir({ payload: 'from a file' })
  t.equal(await new Call('pub', '--url', tcp, '-t', 'kept/file', '-r', '-q', '1', '-f', join(directory, 'payload')).ended, 0)
  const one = new Call('sub', '--url', tcp, '-t', 'kept/file', '-W', '0')
  t.equal(await one.ended, 0, 'a time that is up is no failure where nothing was counted')
  t.same(await complaint('pub', '--url', tcp, '-t', 'a', '-f', join(directory, 'none')), [1, `myelin: --file: cannot read ${join(directory, 'none')}: there is none\n`])
  const tls = ['pub', '--url', 'mqtts://127.0.0.1:1', '-t', 'a', '-m', 'x', '--ca']
  t.same(await complaint(...tls, join(directory, 'none')), [1, `myelin: --ca: cannot read ${join(directory, 'none')}: there is none\n`])
  t.same(await complaint(...tls, join(directory, 'payload')), [1, `myelin: --ca: there is no certificate in ${join(directory, 'payload')}, PEM\n`])
  t.same(await complaint('sub', '--url', tcp, '-t', 'none', '-C', '1', '-W', '0'), [1, 'myelin: not 1 messages in 0 s\n'])
  t.equal(await broker.stop(), 0)
  t.match(broker.complained, /debug connected clientIdentifier=myelin-[^]*debug disconnected clientIdentifier=myelin-/)
  t.same(await complaint('pub', '--url', tcp, '-t', 'a', '-m', 'x'), [1, `myelin: cannot connect to ${tcp}: connection refused, is the broker running?\n`])
})

t.test('a small heap may grow by more, until it is large', async t => {
  const flags: string[] = []
  const clock = new FakeClock()
  const heap = { used_heap_size: 20e6 }
  const stop = letSmallHeapGrow(clock, { setFlagsFromString: flag => { flags.push(flag) }, getHeapStatistics: () => heap as HeapInfo })
  await clock.advance(5_000)
  t.strictSame(flags, ['--heap-growing-percent=350'])
  heap.used_heap_size = 70e6
  await clock.advance(5_000)
  t.strictSame(flags, ['--heap-growing-percent=350', '--heap-growing-percent=0'], 'told once')
  stop()
  letSmallHeapGrow(clock, { setFlagsFromString: flag => { flags.push(flag) }, getHeapStatistics: () => heap as HeapInfo })()
  await clock.advance(5_000)
  t.equal(flags.length, 3, 'nothing is asked after the end')

  const { setFlagsFromString } = v8
  t.teardown(() => { v8.setFlagsFromString = setFlagsFromString })
  v8.setFlagsFromString = flag => { flags.push(flag) }
  const broker = new Call(...isolated)
  await broker.prints(/mqtt:/)
  await settled()
  t.equal(flags[3], '--heap-growing-percent=350', 'of `myelin start`')
  t.equal(await broker.stop(), 0)
})

t.test('a broker with users lets them in and nobody else', async t => {
  const directory = t.testdir({ 'myelin.json': JSON.stringify({ users: [{ username: 'a', passwordHash: await hashPassword('sesame') }] }) })
  const broker = new Call(...isolated, '--log-level', 'debug', '--config', join(directory, 'myelin.json'))
  const url = await broker.prints(/mqtt:\/\/127\.0\.0\.1:\d+/)
  t.equal(await new Call('pub', '--url', url, '-u', 'a', '-P', 'sesame', '-t', 'x', '-m', 'y', '-q', '1').ended, 0)
  t.match(await complaint('pub', '--url', url, '-u', 'a', '-P', 'wrong', '-t', 'x', '-m', 'y'), [1, /^myelin: cannot connect to .+: .+\n$/])
  t.match(await complaint('sub', '--url', url, '-t', 'x'), [1, /^myelin: cannot connect to .+: .+\n$/])
  const sub = new Call('sub', '--url', url, '-u', 'a', '-P', 'sesame', '-t', '#', '-W', '60')
  t.equal(await broker.stop(), 0)
  t.equal(await sub.ended, 1)
  t.match(sub.complained, /^myelin: .+\n$/)
  t.match(broker.complained, /debug refused connection=\d+ .*code=MQTT_NOT_AUTHENTICATED/)
})

t.test('TLS listeners, with a certificate of the client where it is required', async t => {
  const directory = t.testdir({ 'ca.pem': testAuthority, 'cert.pem': testCertificate, 'key.pem': testKey })
  const [ca, cert, key] = ['ca.pem', 'cert.pem', 'key.pem'].map(name => join(directory, name)) as [string, string, string]
  const tls = ['--tls-cert', cert, '--tls-key', key, '--tls-ca', ca]
  const broker = new Call(...isolated, '--tls-port', '0', '--wss-port', '0', ...tls)
  for (const pattern of [/mqtts:\/\/127\.0\.0\.1:\d+/, /wss:\/\/127\.0\.0\.1:\d+\/mqtt/]) {
    const url = await broker.prints(pattern)
    t.equal(await new Call('pub', '--url', url, '--ca', ca, '-t', 'a', '-m', 'x', '-q', '1').ended, 0, url)
    t.match(await complaint('pub', '--url', url, '-t', 'a', '-m', 'x', '-q', '1'), [1, /^myelin: cannot connect to .+\n$/], 'an authority that is not known')
    t.equal(await new Call('pub', '--url', url, '--insecure', '-t', 'a', '-m', 'x', '-q', '1').ended, 0)
  }
  t.equal(await broker.stop(), 0)
  t.equal(broker.complained, '', 'connections have no line at the default level')
  const strict = new Call('--port', 'off', '--ws-port', 'off', '--tls-port', '0', ...inMemory, ...tls, '--tls-require-client-certificate')
  const url = await strict.prints(/mqtts:\/\/127\.0\.0\.1:\d+/)
  t.match(await complaint('pub', '--url', url, '--ca', ca, '-t', 'a', '-m', 'x', '-q', '1'), [1, /^myelin: .+\n$/])
  const client = connectAsync(url, { ca: testAuthority, cert: testCertificate, key: testKey, reconnectPeriod: 0 }, false)
  await (await client).endAsync()
  // A connection that never says a word of TLS does not hold up the end.
  const silent = connect(Number(new URL(url).port), '127.0.0.1')
  await once(silent, 'connect')
  t.equal(await strict.stop(), 0)
})

t.test('options of the file and the command line reach the broker', async t => {
  const directory = t.testdir({ 'myelin.json': JSON.stringify({ receiveMaximum: 7, maximumPacketSize: '1MiB', maximumKeepAlive: '1m' } satisfies Configuration) })
  const broker = new Call(...isolated, '-c', join(directory, 'myelin.json'), '--maximum-packet-size', '2KiB')
  const client = connectAsync(await broker.prints(/mqtt:\/\/127\.0\.0\.1:\d+/), { protocolVersion: 5, keepalive: 0, reconnectPeriod: 0 }, false)
  t.match((await client).serverProperties, { receiveMaximum: 7, maximumPacketSize: 2048, serverKeepAlive: 60 })
  await (await client).endAsync()
  t.equal(await broker.stop(), 0)
})

t.test('the address of a client behind a proxy', async t => {
  const broker = new Call(...isolated, '--proxy-protocol', '--trust-proxy', '1', '--log-level', 'debug')
  const url = await broker.prints(/mqtt:\/\/127\.0\.0\.1:\d+/)
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write('PROXY TCP4 192.0.2.7 127.0.0.1 4000 1883\r\n')
  socket.write(Buffer.from('100d00044d51545404020000000161', 'hex'))
  await Promise.race([once(socket, 'data'), once(socket, 'close')])
  socket.destroy()
  const options = { wsOptions: { headers: { 'x-forwarded-for': '192.0.2.1, 192.0.2.8' } }, reconnectPeriod: 0 }
  await (await connectAsync(await broker.prints(/ws:\S+/), options, false)).endAsync()
  t.equal(await broker.stop(), 0)
  t.match(broker.complained, /connected clientIdentifier=a connection=\d+ address=192\.0\.2\.7 port=4000[^]*address=192\.0\.2\.8/)
})

t.test('web pages of other machines are kept out of a broker without authentication', async t => {
  const upgrade = async (url: string, origin: string): Promise<number | undefined> => {
    const headers = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', 'sec-websocket-protocol': 'mqtt', ...origin === '' ? {} : { origin } }
    const request = get(url.replace('ws:', 'http:'), { headers })
    return new Promise(resolve => {
      request.on('upgrade', (response, socket) => { socket.destroy(); resolve(response.statusCode) })
      request.on('response', response => { response.resume(); resolve(response.statusCode) })
    })
  }
  const pattern = /ws:\/\/127\.0\.0\.1:\d+\/mqtt/
  const local = new Call(...isolated)
  const url = await local.prints(pattern)
  for (const origin of ['', 'http://localhost:3000', 'https://127.0.0.1', 'http://[::1]:8080']) t.equal(await upgrade(url, origin), 101, origin)
  for (const origin of ['https://example.org', 'http://localhost.example.org', 'null']) t.equal(await upgrade(url, origin), 403, origin)
  t.equal((await fetch(url.replace('ws:', 'http:'))).status, 426)
  t.equal(await local.stop(), 0)
  const named = new Call(...isolated, '--ws-origin', 'https://example.org')
  const namedUrl = await named.prints(pattern)
  t.equal(await upgrade(namedUrl, 'https://example.org'), 101)
  t.equal(await upgrade(namedUrl, 'http://localhost:3000'), 403)
  t.equal(await named.stop(), 0)
  const open = new Call(...isolated, '--ws-origin', '*')
  t.equal(await upgrade(await open.prints(pattern), 'https://example.net'), 101)
  t.equal(await open.stop(), 0)
})

t.test('a Unix domain socket, also where a broker that was killed left one behind', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'myelin-'))
  t.teardown(() => { rmSync(directory, { recursive: true }) })
  const path = join(directory, 's')
  const left = spawn(process.execPath, ['-e', `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`])
  await once(left, 'close')
  t.ok(existsSync(path))
  const broker = new Call('--port', 'off', '--ws-port', 'off', '--unix', path, ...inMemory)
  await broker.prints(/mqtt\+unix:/)
  t.same(await complaint('--port', 'off', '--ws-port', 'off', '--unix', path, ...inMemory), [1, `myelin: ${path} is in use: choose another one with --unix\n`])
  t.equal(await broker.stop(), 0)
  t.notOk(existsSync(path))
})

t.test('what keeps a broker from listening is told in one line, exit code 1', async t => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  t.same(await complaint('--ws-port', 'off', '--port', String(port), ...inMemory), [1, `myelin: port ${port} of 127.0.0.1 is in use: choose another one with --port\n`])
  t.same(await complaint('--port', '0', '--ws-port', String(port), ...inMemory), [1, `myelin: port ${port} of 127.0.0.1 is in use: choose another one with --ws-port\n`])
  other.close()
  t.same(await complaint('--allow-anonymous', '--host', '192.0.2.1', ...isolated), [1, 'myelin: this machine has no address 192.0.2.1: choose another one with --host\n'])
  const directory = t.testdir({ 'not.pem': 'x' })
  const pem = join(directory, 'not.pem')
  t.same(await complaint(...isolated, '--tls-port', '0', '--tls-key', pem, '--tls-cert', join(directory, 'no.pem')), [1, `myelin: --tls-cert: cannot read ${join(directory, 'no.pem')}: there is none\n`])
  t.same(await complaint(...isolated, '--wss-port', '0', '--tls-key', pem, '--tls-cert', pem), [1, `myelin: --tls-cert: there is no certificate in ${pem}, PEM\n`])
})

t.test('a second signal ends the process at once', async t => {
  const broker = new Call(...isolated, '--log-format', 'json')
  const [line] = await once(broker.error, 'data') as [string]
  t.match(JSON.parse(line), { msg: 'listening', listeners: [/^mqtt:/, /^ws:/] })
  broker.signals.emit('SIGINT')
  broker.signals.emit('SIGTERM')
  t.equal(await broker.ended, 0)
  t.same(broker.exits, [128 + 15])
  t.equal(broker.printed, '', 'no banner among JSON')
})

interface Ended { readonly code: number | null, readonly output: string, readonly error: string }

const main = join(root, 'dist/plugins/cli/main.js')

async function textOf (stream: Readable): Promise<string> {
  let text = ''
  for await (const chunk of stream.setEncoding('utf8')) text += String(chunk)
  return text
}

async function spawned (script: string, ...args: string[]): Promise<Ended> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const [output, error, [code]] = await Promise.all([textOf(child.stdout), textOf(child.stderr), once(child, 'close') as Promise<[number | null]>])
  return { code, output, error }
}

t.test('the built command', async t => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string }
  t.match(readFileSync(main, 'utf8'), /^#!\/usr\/bin\/env node\n/)
  t.same(await spawned(main, '--version'), { code: 0, output: `${version}\n`, error: '' })
  t.same(await spawned(main, '--hots', 'x'), { code: 2, output: '', error: 'myelin: unknown option --hots, did you mean --host?\n' })
  const child = spawn(process.execPath, [main, '--host', '127.0.0.1', ...isolated], { stdio: ['ignore', 'pipe', 'pipe'] })
  const error = textOf(child.stderr)
  let printed = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) {
    printed += String(chunk)
    if (printed.includes('Ctrl+C')) break
  }
  const [url = ''] = /mqtt:\/\/127\.0\.0\.1:\d+/.exec(printed) ?? []
  t.same(await spawned(main, 'pub', '--url', url, '-t', 'a', '-m', 'x', '-q', '2'), { code: 0, output: '', error: '' })
  const closed = once(child, 'close')
  child.kill('SIGTERM')
  t.same(await closed, [0, null])
  t.equal(await error, '')
})

t.test('the built command without its optional packages says what to install', async t => {
  const directory = mkdtempSync(join(tmpdir(), 'myelin-'))
  t.teardown(() => { rmSync(directory, { recursive: true }) })
  cpSync(join(root, 'dist'), join(directory, 'dist'), { recursive: true })
  cpSync(join(root, 'package.json'), join(directory, 'package.json'))
  mkdirSync(join(directory, 'node_modules'))
  symlinkSync(join(root, 'node_modules/ws'), join(directory, 'node_modules/ws'))
  const without = (...args: string[]): Promise<Ended> => spawned(join(directory, 'dist/plugins/cli/main.js'), ...args)
  t.match(await without('--version'), { code: 0, error: '' })
  const missing = (name: string): string => `myelin: the command line needs the package ${name}: npm install pino zod mqtt lmdb fast-json-stable-stringify`
  t.same(await without(...isolated), { code: 1, output: '', error: `${missing('pino')}\n` })
  for (const name of ['pino', 'fast-json-stable-stringify']) symlinkSync(join(root, 'node_modules', name), join(directory, 'node_modules', name))
  t.same(await without('--data', directory), { code: 1, output: '', error: `${missing('lmdb')}, or keep everything in memory with --data off\n` })
  t.same(await without('inspect', directory), { code: 1, output: '', error: `${missing('lmdb')}\n` })
})
