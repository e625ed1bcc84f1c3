import t, { type Test } from 'tap'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { execFileSync } from 'node:child_process'
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createHttpServer } from 'node:http'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import mqtt, { type IClientOptions } from 'mqtt'
import { testCertificate, testKey } from './support/network/certificates.ts'
import { clientCertificate, clientKey } from './support/plugins/client-certificate.ts'
import { connected, dial, listen, type RealClient } from './support/network/network.ts'
import { hashPassword } from '../plugins/password-file/index.ts'
import { blocks } from './support/pages.ts'
import { root, Workshop, type Program } from './support/program.ts'
import { trusting } from './support/network/transports.ts'

t.setTimeout(120_000) // each is a process of its own, which takes its time on a busy machine

const tested = new Set<string>()
const workshop = new Workshop(t)

function start (t: Test, name: string, ...args: string[]): Program {
  tested.add(name)
  return workshop.run(t, readFileSync(join(root, 'examples', name), 'utf8'), ...args)
}

t.test('embed.ts: a broker in five lines', async t => {
  const client = await dial(t, `mqtt://127.0.0.1:${await start(t, 'embed.ts').port}`)
  await client.mqtt.subscribeAsync('hello/#')
  await client.mqtt.publishAsync('hello/world', 'Hello!')
  t.match(await client.message(), { topic: 'hello/world', payload: Buffer.from('Hello!') })
})

t.test('hooks.ts: who may connect and what they may do', async t => {
  const program = start(t, 'hooks.ts')
  const url = `mqtt://127.0.0.1:${await program.port}`
  const ada: IClientOptions = { protocolVersion: 5, username: 'ada', password: 'correct horse' }
  await t.rejects(dial(t, url, { ...ada, password: 'wrong' }), { code: 0x86 })
  await t.rejects(dial(t, url, { protocolVersion: 5 }), { code: 0x87 })
  const client = await dial(t, url, ada)
  await client.mqtt.subscribeAsync('home/ada/#')
  await t.rejects(client.mqtt.subscribeAsync('#'), { message: 'Subscribe error: Not authorized' })
  await t.rejects(client.mqtt.publishAsync('home/grace/lamp', 'on', { qos: 1 }), { code: 0x87 })
  await client.mqtt.publishAsync('home/ada/lamp', 'on', { qos: 1 })
  t.match(await client.message(), { topic: 'home/ada/lamp', properties: { userProperties: { from: 'ada' } } })
  program.child.kill()
  t.match(await program.output, /^(127\.0\.0\.1 was refused: the Client was not let in\n){2}$/)
})

t.test('express-like.ts: MQTT over WebSocket beside routes', async t => {
  const program = start(t, 'express-like.ts')
  const port = await program.port
  const client = await dial(t, `ws://127.0.0.1:${port}/mqtt`, { protocolVersion: 5, clientId: 'browser' })
  await client.mqtt.subscribeAsync('news/+')
  t.strictSame(await (await fetch(`http://127.0.0.1:${port}/clients`)).json(), ['browser'])
  t.equal((await fetch(`http://127.0.0.1:${port}/publish/news%2Ftoday`, { method: 'POST', body: 'hot' })).status, 204)
  t.match(await client.message(), { topic: 'news/today', payload: Buffer.from('hot') })
  t.equal((await fetch(`http://127.0.0.1:${port}/publish/%23`, { method: 'POST', body: 'x' })).status, 400, 'a Topic Name with a wildcard')
  t.equal((await fetch(`http://127.0.0.1:${port}/else`)).status, 404)
  const told = client.event('disconnect')
  program.child.kill('SIGTERM')
  t.match(await told, [{ reasonCode: 0x8b }])
  t.strictSame(await program.exit, [0, null], 'nothing keeps the process alive')
})

for (const [name, login] of [['fastify.ts', '/login?user=ada'], ['express.ts', '/login/ada']] as const) {
  t.test(`${name}: whoever is logged in at the app is a Client, and nobody else`, async t => {
    const program = start(t, name)
    const url = `http://127.0.0.1:${await program.port}`
    const ws = `${url.replace('http', 'ws')}/mqtt`
    const cookie = String((await fetch(url + login, { method: 'POST' })).headers.get('set-cookie')?.split(';')[0])
    const page = (headers: Record<string, string>): IClientOptions => ({ protocolVersion: 5, wsOptions: { headers } })
    await t.rejects(dial(t, ws))
    await t.rejects(dial(t, ws, page({ cookie, origin: 'https://evil.example' })))
    const client = await dial(t, ws, page({ cookie, origin: 'http://127.0.0.1:8080' }))
    await client.mqtt.publishAsync('users/ada/lamp', 'on', { qos: 1 })
    await t.rejects(client.mqtt.publishAsync('users/grace/lamp', 'on', { qos: 1 }), { code: 0x87 })
    if (name === 'fastify.ts') {
      await client.mqtt.subscribeAsync('alarm')
      const response = await fetch(`${url}/alarm`, { method: 'POST', body: 'fire', headers: { cookie, 'content-type': 'text/plain' } })
      t.strictSame(await response.json(), { clients: 1 })
      t.match(await client.message(), { payload: Buffer.from('ada says fire') })
    }
    const told = client.event('disconnect')
    program.child.kill('SIGTERM')
    t.match(await told, [{ reasonCode: 0x8b }])
    t.strictSame(await program.exit, [0, null], 'nothing keeps the process alive')
  })
}

t.test('in-process.ts: publish, subscribe, request', async t => {
  const program = start(t, 'in-process.ts')
  t.equal(await program.output, '21 doubled is 42\nsensors/attic/temperature 31.5\nsensors/cellar/temperature 12.0\n')
  t.strictSame(await program.exit, [0, null])
})

t.test('plugin.ts: a plugin that remembers who wrote last', async t => {
  const client = await dial(t, `mqtt://127.0.0.1:${await start(t, 'plugin.ts').port}`, { protocolVersion: 5, clientId: 'thermometer' })
  const ask = async (topic: string): Promise<unknown> => {
    await client.mqtt.publishAsync('audit/last', topic, { properties: { responseTopic: 'answers' } })
    return JSON.parse(String((await client.message()).payload))
  }
  await client.mqtt.subscribeAsync('answers')
  await client.mqtt.publishAsync('kitchen', '21')
  t.match(await ask('kitchen'), { by: 'thermometer', at: /^20\d\d-/ })
  t.equal(await ask('__proto__'), null)
})

t.test('scram.ts: a password that stays at home', async t => {
  const program = start(t, 'security/scram.ts')
  const url = `mqtt://127.0.0.1:${await program.port}`
  t.equal((await scramDial(t, url, 'correct horse')).mqtt.connected, true)
  await t.rejects(scramDial(t, url, 'wrong horse'), { code: 0x87 })
  await t.rejects(dial(t, url, { protocolVersion: 5, username: 'ada', password: 'correct horse' }), { code: 0x86 })
  program.child.kill()
  t.equal(await program.output, 'ada is here\n')
})

t.test('password-file.ts: users in a file, and what becomes of them when it changes', async t => {
  const file = join(t.testdir({ users: `ada:${await hashPassword('correct horse')}\n` }), 'users')
  const program = start(t, 'security/password-file.ts', file)
  const url = `mqtt://127.0.0.1:${await program.port}`
  await t.rejects(dial(t, url, { protocolVersion: 5, username: 'ada', password: 'wrong horse' }), { code: 0x86 })
  const client = await dial(t, url, { protocolVersion: 5, username: 'ada', password: 'correct horse' })
  const told = client.event('disconnect')
  writeFileSync(file, '')
  t.match(await told, [{ reasonCode: 0x87 }])
  program.child.kill()
  t.match(await program.output, /^ada is here\nada has gone/)
})

t.test('http-auth.ts: a service decides', async t => {
  const service = createServer((request, response) => {
    void text(request).then(body => {
      const { action, password, topic } = JSON.parse(body) as { action: string, password?: string, topic?: string }
      const isRight = action === 'authenticate' ? password === 'correct horse' : topic === 'home'
      response.end(JSON.stringify({ result: isRight && request.headers.authorization === 'Bearer' ? 'allow' : 'deny' }))
    })
  })
  const port = await listen(t, service)
  const url = `mqtt://127.0.0.1:${await start(t, 'security/http-auth.ts', `http://127.0.0.1:${port}/`).port}`
  await t.rejects(dial(t, url, { protocolVersion: 5, username: 'ada', password: 'wrong horse' }), { code: 0x86 })
  const client = await dial(t, url, { protocolVersion: 5, username: 'ada', password: 'correct horse' })
  await client.mqtt.publishAsync('home', 'x', { qos: 1 })
  await t.rejects(client.mqtt.publishAsync('elsewhere', 'x', { qos: 1 }), { code: 0x87 })
})

t.test('durable.ts: a broker that is killed and goes on where it was', async t => {
  const folder = t.testdir({})
  const options: IClientOptions = { clientId: 'worker', protocolVersion: 5, clean: false, properties: { sessionExpiryInterval: 3600 } }
  const first = start(t, 'durable.ts', folder)
  const before = await dial(t, `mqtt://127.0.0.1:${await first.port}`, options)
  await before.mqtt.subscribeAsync('jobs', { qos: 1 })
  await before.mqtt.endAsync()
  const publisher = await dial(t, `mqtt://127.0.0.1:${await first.port}`)
  await publisher.mqtt.publishAsync('jobs', 'dig', { qos: 1 })
  first.child.kill('SIGKILL')
  await first.exit
  const second = start(t, 'durable.ts', folder)
  const after = await dial(t, `mqtt://127.0.0.1:${await second.port}`, options)
  t.equal(after.connack?.sessionPresent, true)
  t.same(await after.texts(1), ['dig'])
  second.child.kill('SIGTERM')
  t.strictSame(await second.exit, [0, null])
})

t.test('tls.ts: client certificates in the place of passwords', async t => {
  const files = t.testdir({ 'cert.pem': testCertificate, 'key.pem': testKey, 'ca.pem': clientCertificate })
  const program = start(t, 'security/tls.ts', ...['cert.pem', 'key.pem', 'ca.pem'].map(name => join(files, name)))
  const url = `mqtts://localhost:${await program.port}`
  await t.rejects(dial(t, url, trusting(5)), { code: 0x87 })
  const client = await dial(t, url, { ...trusting(5), cert: clientCertificate, key: clientKey })
  await t.resolves(client.mqtt.publishAsync('devices/device-17/state', 'up', { qos: 1 }))
  await t.rejects(client.mqtt.publishAsync('devices/device-18/state', 'up', { qos: 1 }), { code: 0x87 })
})

t.test('typed-topics.ts: a device writes what fits to its own topic', async t => {
  const url = `mqtt://127.0.0.1:${await start(t, 'typed-topics.ts').port}`
  const device = await dial(t, url, { protocolVersion: 5, clientId: '7' })
  await device.mqtt.subscribeAsync('alarms/+')
  await t.rejects(device.mqtt.publishAsync('devices/8/temperature', '{"celsius":95}', { qos: 1 }), { code: 0x87 })
  await t.rejects(device.mqtt.publishAsync('devices/7/temperature', '{"celsius":"hot"}', { qos: 1 }), { code: 0x99 })
  await device.mqtt.publishAsync('devices/7/temperature', '{"celsius":95}', { qos: 1 })
  t.match(await device.message(), { topic: 'alarms/7', payload: Buffer.from('{"text":"95 °C"}') })
})

t.test('access-rules.ts: who may publish, subscribe and get what', async t => {
  const url = `mqtt://127.0.0.1:${await start(t, 'security/access-rules.ts').port}`
  const pump = await dial(t, url, { protocolVersion: 5, username: 'pump-1', password: 'drip drop' })
  const ada = await dial(t, url, { protocolVersion: 5, username: 'ada', password: 'correct horse' })
  await t.rejects(pump.mqtt.subscribeAsync('devices/#'), { message: 'Subscribe error: Not authorized' })
  await pump.mqtt.subscribeAsync(['devices/pump-1/#', 'commands/pump-1'])
  await ada.mqtt.subscribeAsync('devices/#')
  await pump.mqtt.publishAsync('devices/pump-1/secret', 'hush', { qos: 1 })
  await pump.mqtt.publishAsync('devices/pump-1/state', 'on', { qos: 1 })
  t.strictSame([await ada.texts(1), await pump.texts(1)], [['on'], ['on']])
  await t.rejects(pump.mqtt.publishAsync('devices/pump-2/state', 'on', { qos: 1 }), { code: 0x87 })
  await t.rejects(ada.mqtt.publishAsync('commands/pump-1', 'stop', { qos: 1, retain: true }), { code: 0x87 })
  await ada.mqtt.publishAsync('commands/pump-1', 'stop', { qos: 1 })
  t.strictSame(await pump.texts(1), ['stop'])
})

t.test('chain.ts: another way in for each listener', async t => {
  const program = start(t, 'security/chain.ts')
  const ports = new Map<unknown, number>()
  const bothListen = new Promise<void>(resolve => {
    program.child.on('message', ({ wanted, port }: { wanted: number, port: number }) => {
      ports.set(wanted, port)
      if (ports.size === 2) resolve()
    })
  })
  await bothListen
  const inside = await dial(t, `mqtt://127.0.0.1:${Number(ports.get(1883))}`, { protocolVersion: 5 })
  const outsideUrl = `mqtt://127.0.0.1:${Number(ports.get(1884))}`
  await t.rejects(dial(t, outsideUrl, { protocolVersion: 5 }), { code: 0x87 })
  const outside = await dial(t, outsideUrl, { protocolVersion: 5, username: 'token', password: 'letmein' })
  await outside.mqtt.subscribeAsync('lights/#')
  await t.rejects(outside.mqtt.publishAsync('lights/hall', 'off', { qos: 1 }), { code: 0x87 })
  await inside.mqtt.publishAsync('lights/hall', 'on', { qos: 1 })
  t.strictSame(await outside.texts(1), ['on'])
})

t.test('jwt.ts: a token that its issuer has signed', async t => {
  const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true })
  const issuer = createHttpServer((_request, response) => { void exportJWK(publicKey).then(key => response.end(JSON.stringify({ keys: [key] }))) })
  const jwks = `http://127.0.0.1:${await listen(t, issuer)}/keys`
  const program = start(t, 'security/jwt.ts', jwks, 'urn:issuer')
  const url = `mqtt://127.0.0.1:${await program.port}`
  const claims = { group: 'crew', acl: { pub: ['up/${username}/#'] } }
  const sign = async (audience: string): Promise<string> =>
    new SignJWT(claims).setProtectedHeader({ alg: 'ES256' }).setSubject('ada').setIssuer('urn:issuer').setAudience(audience).setExpirationTime('1h').sign(privateKey)
  await t.rejects(dial(t, url, { protocolVersion: 5, username: 'ada', password: await sign('web') }), { code: 0x86 })
  const client = await dial(t, url, { protocolVersion: 5, username: 'any', password: await sign('mqtt') })
  await t.resolves(client.mqtt.publishAsync('up/ada/1', 'x', { qos: 1 }))
  await t.rejects(client.mqtt.publishAsync('up/eve/1', 'x', { qos: 1 }), { code: 0x87 })
  program.child.kill()
  t.equal(await program.output, 'ada of crew is here\n')
})

t.test('client-certificates.ts: a device that is who its certificate says', async t => {
  const folder = t.testdir({ 'cert.pem': testCertificate, 'key.pem': testKey, 'ca.pem': clientCertificate, 'ca-key.pem': clientKey, 'index': '', 'config': '' })
  const at = (name: string): string => join(folder, name)
  writeFileSync(at('config'), `[ca]\ndefault_ca = x\n[x]\ndatabase = ${at('index')}\ndefault_md = sha256\n`)
  execFileSync('openssl', ['ca', '-config', at('config'), '-gencrl', '-crldays', '1', '-cert', at('ca.pem'), '-keyfile', at('ca-key.pem'), '-out', at('crl.pem')], { stdio: 'ignore' })
  const url = `mqtts://localhost:${await start(t, 'security/client-certificates.ts', ...['cert.pem', 'key.pem', 'ca.pem', 'crl.pem'].map(at)).port}`
  await t.rejects(dial(t, url, trusting(5)), { code: 0x87 })
  const client = await dial(t, url, { ...trusting(5), cert: clientCertificate, key: clientKey })
  await t.resolves(client.mqtt.publishAsync('devices/device-17/state', 'up', { qos: 1 }))
  await t.rejects(client.mqtt.publishAsync('devices/device-18/state', 'up', { qos: 1 }), { code: 0x87 })
})

t.test('rate-limits.ts: a guesser is banned, a flood refused', async t => {
  const program = start(t, 'security/rate-limits.ts')
  const url = `mqtt://127.0.0.1:${await program.port}`
  const options: IClientOptions = { protocolVersion: 5, username: 'ada', password: 'correct horse' }
  const client = await dial(t, url, options)
  const flood = Array.from({ length: 150 }, () => client.mqtt.publishAsync('a', 'x', { qos: 1 }).then(() => 'taken', () => 'refused'))
  t.strictSame([...new Set(await Promise.all(flood))].sort(), ['refused', 'taken'])
  for (let i = 0; i < 3; i++) await t.rejects(dial(t, url, { ...options, password: 'wrong' }), { code: 0x86 })
  await t.rejects(dial(t, url, options))
  program.child.kill('SIGTERM')
  t.equal(await program.output, '127.0.0.1 is banned, 1 in a row\n')
})

t.test('encryption.ts: the broker carries what it cannot read', async t => {
  const lines = (await start(t, 'security/encryption.ts').output).trim().split('\n')
  t.strictSame(lines.sort(), ['Publish error: Payload format invalid', 'the broker reads 21 degrees: false', 'the reader: house/attic 21 degrees'])
})

t.test('testing.ts: the tests of a plugin', async t => {
  const program = start(t, 'testing.ts')
  t.match(await program.output, /pass 4\n[^]*fail 0\n/)
})

t.test('aedes.ts: a program of Aedes on Myelin', async t => {
  const program = start(t, 'aedes.ts')
  const url = `mqtt://127.0.0.1:${await program.port}`
  await t.rejects(dial(t, url, { username: 'eve', password: 'guessed' }), { code: 4 })
  const client = await dial(t, url, { username: 'ada', password: 'correct horse', clientId: 'lamp' })
  await client.mqtt.subscribeAsync('hall/#')
  await client.mqtt.publishAsync('hall/secret', 'x', { qos: 1 })
  await client.mqtt.publishAsync('hall/lamp', 'on', { qos: 1 })
  t.match(await client.message(), { topic: 'hall/lamp' })
  program.child.kill('SIGTERM')
  t.equal(await program.output, 'lamp is ready\nlamp may not publish to hall/secret\nlamp says on\nclosed\n')
  t.strictSame(await program.exit, [0, null])
})

t.test('blocks of the pages that are marked "run" run to their end', async t => {
  const marked = blocks.filter(({ isRun }) => isRun)
  t.ok(marked.length >= 4)
  for (const { place, code } of marked) t.strictSame(await workshop.run(t, code).exit, [0, null], place)
})

t.test('every example was run', t => {
  t.strictSame([...tested].sort(), readdirSync(join(root, 'examples'), { recursive: true, encoding: 'utf8' }).filter(name => name.endsWith('.ts')).sort())
  t.end()
})

/** A Client that authenticates by SCRAM-SHA-256 (RFC 5802 section 3) as `ada`. */
async function scramDial (t: Test, url: string, password: string): Promise<RealClient> {
  const bare = 'n=ada,r=clientnonce'
  const properties = { authenticationMethod: 'SCRAM-SHA-256', authenticationData: Buffer.from(`n,,${bare}`) }
  const client = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, properties })
  client.handleAuth = (packet, callback) => {
    const authenticationData = Buffer.from(scramFinal(bare, String(packet.properties?.authenticationData), password))
    callback(undefined, { cmd: 'auth', reasonCode: 0x18, properties: { ...properties, authenticationData } })
  }
  return connected(t, client)
}

function scramFinal (bare: string, serverFirst: string, password: string): string {
  const [, nonce = '', salt = '', iterations = ''] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? []
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  const signature = createHmac('sha256', createHash('sha256').update(clientKey).digest()).update(`${bare},${serverFirst},c=biws,r=${nonce}`).digest()
  return `c=biws,r=${nonce},p=${Buffer.from(clientKey.map((byte, i) => byte ^ (signature[i] ?? 0))).toString('base64')}`
}
