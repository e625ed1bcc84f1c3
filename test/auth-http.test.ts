import t from 'tap'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { BoundedMap, ErrorCode, ReasonCode, type Allow, type AuthenticateRequest, type ClientInfo, type ConnectionInfo, type QoS } from '../lib/index.ts'
import { httpAuth } from '../plugins/http-auth/index.ts'
import { answerOf } from '../plugins/http-auth/answer.ts'
import { testAuthority, testCertificate, testKey } from './support/network/certificates.ts'
import { FakeClock, settled } from './support/fake-clock.ts'
import { startBroker } from './support/harness.ts'
import { allow, ask, busy, login, say, Service, start, unavailable, type Question, type Respond, type Setup } from './support/plugins/http-auth.ts'
import { MemoryLogger } from './support/observe.ts'

t.setTimeout(120_000)

t.test('the service is asked with all that it may want to know, and with the headers that it knows the broker by', async t => {
  const setup = await start(t, { headers: { authorization: 'Bearer abc' }, method: 'PUT' })
  t.equal((await login(setup))[1], ReasonCode.success)
  t.match(setup.service.questions, [{ method: 'PUT', url: '/mqtt?v=1', headers: { authorization: 'Bearer abc', 'content-type': 'application/json' } }])
  t.strictSame(setup.service.take(), [{ action: 'authenticate', username: 'ann', password: 'secret', clientid: 'client', protocol_version: 5 }])
  const subject = { CN: 'device-7' }
  const connection = { remoteAddress: '192.0.2.1', listener: 'tls', isPeerAuthorized: true, peerCertificate: { subject } } as unknown as ConnectionInfo
  await ask(setup, { username: undefined, password: Buffer.from([0xff, 0xfe]), connection })
  await ask(setup, { username: undefined, password: undefined, connection: { ...connection, isPeerAuthorized: false } })
  t.strictSame(setup.service.take(), [
    { action: 'authenticate', password_base64: '//4=', clientid: 'c', protocol_version: 5, address: '192.0.2.1', listener: 'tls', certificate_subject: subject },
    { action: 'authenticate', clientid: 'c', protocol_version: 5, address: '192.0.2.1', listener: 'tls' },
  ], 'a certificate that was not verified is not told')
})

t.test('the answer is in the body, or in the status', async t => {
  const setup = await start(t, { authenticateCacheMs: 0 })
  const answers: [Respond, unknown][] = [
    [allow, { allow: true }],
    [say({ result: 'deny' }), false],
    [say({ result: 'ignore' }), undefined],
    [response => { response.writeHead(204).end() }, { allow: true }],
    [say({ result: 'allow' }, 401), false],
    [say({}, 403), false],
    [say({}, 404), false],
    [say({ result: 'allow', claims: { groups: ['a'] }, expire_at: 2_000_000_000, is_superuser: false }), { allow: true, claims: { groups: ['a'] }, expiresAt: 2_000_000_000_000 }],
    [say({ result: 'allow', expire_at: 999_999_999 }), false],
  ]
  for (const [respond, expected] of answers) {
    setup.service.respond = respond
    t.strictSame(await ask(setup), expected, JSON.stringify(expected))
  }
  const byStatus = await start(t, { answer: 'status', authenticateCacheMs: 0 })
  for (const [status, expected] of [[200, { allow: true }], [201, { allow: true }], [403, false]] as const) {
    byStatus.service.respond = response => { response.writeHead(status).end('{"result":"deny"}') }
    t.strictSame(await ask(byStatus), expected, String(status))
  }
})

t.test('claims of any name are claims and nothing else', async t => {
  const setup = await start(t)
  setup.service.respond = response => { response.end('{"result":"allow","claims":{"__proto__":{"admin":true},"constructor":1}}') }
  const { claims = {} } = await ask(setup) as Allow
  t.strictSame(Object.keys(claims), ['__proto__', 'constructor'])
  t.equal('admin' in claims, false)
})

t.test('whatever else the service says lets nobody in, and is told without secrets', async t => {
  const bodies = ['', 'allow', 'true', 'null', '[]', '{}', '{"result":true}', '{"result":"Allow"}', '{"result":["allow"]}', '{"result":"allow","is_superuser":"no"}', '{"result":"allow","expire_at":"never"}', '{"result":"allow","claims":[]}', '<html>log in, token=topsecret</html>', '{"__proto__":{"result":"allow"}}']
  const setup = await start(t, { maximumFailures: 1000, headers: { 'x-key': 'topsecret' } })
  for (const body of bodies) {
    setup.service.respond = response => { response.end(body) }
    t.strictSame(await ask(setup), unavailable, body)
  }
  for (const status of [201, 302, 408, 429, 500, 503]) {
    setup.service.respond = response => { response.writeHead(status, { location: '/elsewhere' }).end('{"result":"allow"}') }
    t.strictSame(await ask(setup), unavailable, String(status))
  }
  t.equal(setup.service.take().length, bodies.length + 6, 'redirects are not followed, failures are not remembered')
  const byStatus = await start(t, { answer: 'status' })
  byStatus.service.respond = response => { response.writeHead(302, { location: '/elsewhere' }).end() }
  t.strictSame(await ask(byStatus), unavailable)
  const told = JSON.stringify(setup.logger.lines)
  t.match(told, /no answer of http:\/\/127\.0\.0\.1:\d+\/mqtt: its answer is no JSON/)
  t.notMatch(told, /topsecret|secret/)
})

t.test('a service that lies about its size, hangs up or is not there lets nobody in', async t => {
  const setup = await start(t, { maximumAnswerSize: 1000, maximumFailures: 1000 })
  const lies: [Respond, RegExp][] = [
    [say({ result: 'allow', claims: { text: 'x'.repeat(1000) } }), /over 1000 bytes/],
    [response => { response.write('{"result":"allow"}'); const fill = (): void => { while (!response.destroyed && response.write(' '.repeat(65_536))); }; response.on('drain', fill); fill() }, /over 1000 bytes/],
    [response => { response.writeHead(200, { 'content-length': '100' }).write('{"result":"allow"}'); response.socket?.destroySoon() }, /./],
    [response => { response.socket?.destroy() }, /./],
    [response => { response.socket?.end('HTTP/1.1 nonsense\r\n\r\n') }, /./],
  ]
  for (const [respond, reason] of lies) {
    setup.service.respond = respond
    t.strictSame(await ask(setup), unavailable)
    t.match(setup.logger.take('warn').join(), reason)
  }
  const absent = httpAuth({ url: 'http://127.0.0.1:1/' })
  await startBroker(t, { plugins: [absent] })
  t.strictSame(await ask({ ...setup, plugin: absent }), unavailable)
})

t.test('a service that hangs is waited for until the deadline, all of the answer included', async t => {
  const setup = await start(t, { timeoutMs: 3000, authenticateCacheMs: 0 })
  for (const respond of [() => undefined, (response: ServerResponse) => { response.writeHead(200).write('{"result":') }]) {
    setup.service.respond = respond
    const answer = ask(setup)
    await setup.service.asked(1)
    await setup.clock.advance(2999)
    t.strictSame(setup.logger.lines, [], 'it may still answer')
    await setup.clock.advance(1)
    t.strictSame(await answer, unavailable)
    t.match(setup.logger.take('warn'), [/took longer than 3000 ms/])
    setup.service.take()
  }
})

t.test('an answer is remembered for its time, by all that was asked', async t => {
  const setup = await start(t)
  await ask(setup)
  t.equal(setup.plugin.hooks.authenticate?.({ clientIdentifier: 'c', username: 'ann', password: Buffer.from('secret'), protocolVersion: 5, connection: { remoteAddress: '192.0.2.1', isPeerAuthorized: false } } as AuthenticateRequest) instanceof Promise, false, 'at once')
  setup.service.respond = say({ result: 'deny' })
  t.strictSame(await ask(setup), { allow: true })
  for (const fields of [{ password: Buffer.from('Secret') }, { password: undefined }, { username: 'ann"' }, { clientIdentifier: 'd' }, { protocolVersion: 4 as const }, { connection: { remoteAddress: '192.0.2.2' } as ConnectionInfo }]) {
    t.equal(await ask(setup, fields), false, JSON.stringify(fields))
    t.equal(await ask(setup, fields), false)
  }
  t.equal(setup.service.take().length, 7)
  await setup.clock.advance(9999)
  t.strictSame(await ask(setup), { allow: true })
  await setup.clock.advance(1)
  t.equal(await ask(setup), false)
  setup.service.respond = allow
  setup.plugin.clear()
  t.strictSame(await ask(setup), { allow: true })
})

t.test('no answer is remembered longer than it holds', async t => {
  const setup = await start(t)
  setup.service.respond = say({ result: 'allow', expire_at: setup.clock.now() / 1000 + 5 })
  t.match(await ask(setup), { allow: true })
  await setup.clock.advance(5000)
  t.equal(await ask(setup), false)
  t.equal(setup.service.take().length, 2)
})

t.test('what is remembered is bounded, and refusals do not push out the others', async t => {
  const setup = await start(t, { maximumCached: 2 })
  await ask(setup)
  setup.service.respond = say({ result: 'deny' })
  for (let i = 0; i < 5; i++) await ask(setup, { password: Buffer.from(`guess ${i}`) })
  t.strictSame(await ask(setup), { allow: true })
  t.equal(setup.service.take().length, 6)
})

t.test('a BoundedMap keeps what was set last', t => {
  const map = new BoundedMap<string, number>(2)
  for (const [index, key] of ['a', 'b', 'a', '__proto__'].entries()) map.set(key, index)
  t.strictSame([...map], [['a', 2], ['__proto__', 3]], 'what is set again is new, and the oldest makes room')
  t.equal(map.set('a', 4).size, 2, 'one that is there pushes none out')
  t.equal(new BoundedMap<string, number>(0).set('a', 1).size, 0)
  t.end()
})

t.test('who asks the same at the same time shares the answer', async t => {
  const setup = await start(t)
  const open: ServerResponse[] = []
  setup.service.respond = response => { open.push(response) }
  const answers = Promise.all(Array.from({ length: 100 }, () => ask(setup)))
  await setup.service.asked(1)
  await settled()
  for (const response of open) allow(response, setup.service.questions[0] as Question)
  t.strictSame(new Set((await answers).map(answer => JSON.stringify(answer))), new Set(['{"allow":true}']))
  t.equal(setup.service.questions.length, 1)
})

t.test('a thousand different logins keep to the connections and the queue that there are', async t => {
  const setup = await start(t, { maximumConnections: 2, maximumWaiting: 3 })
  const open: ServerResponse[] = []
  setup.service.respond = response => { open.push(response) }
  const answers = Array.from({ length: 1000 }, (_, i) => ask(setup, { username: `user ${i}` }))
  await setup.service.asked(2)
  await settled()
  t.equal(open.length, 2, 'asked at once')
  setup.service.respond = allow
  for (const response of open) say({ result: 'allow' })(response, setup.service.questions[0] as Question)
  const all = await Promise.all(answers)
  t.strictSame(all.slice(0, 5), Array.from({ length: 5 }, () => ({ allow: true })))
  t.strictSame(all.slice(5), Array.from({ length: 995 }, () => busy))
})

/** Somebody else, from another address, each time. */
function strangers (setup: Setup): () => Promise<unknown> {
  let count = 0
  return () => ask(setup, { username: `user ${++count}`, connection: { remoteAddress: `192.0.2.${count}` } as ConnectionInfo })
}

t.test('a service that fails is left alone, tried by a few, and used again when it answers', async t => {
  const setup = await start(t, { maximumFailures: 3, retryAfterMs: 10_000, authenticateCacheMs: 0 })
  setup.service.respond = say({}, 500)
  const next = strangers(setup)
  for (let i = 0; i < 3; i++) t.strictSame(await next(), unavailable)
  t.match(setup.logger.take('error'), [/cannot be reached, or has not answered questions of 3 addresses in a row, and is left alone for 10000 ms/])
  t.equal(setup.service.take().length, 3)
  t.strictSame(await next(), unavailable)
  await setup.clock.advance(9999)
  t.strictSame(await next(), unavailable)
  t.equal(setup.service.take().length, 0, 'open: not asked')
  await setup.clock.advance(1)
  t.strictSame(await Promise.all([next(), next(), next(), next(), next()]), Array.from({ length: 5 }, () => unavailable))
  t.equal(setup.service.take().length, 3, 'half open: a few are let through')
  t.strictSame(setup.logger.take('error'), [], 'told once')
  setup.service.respond = allow
  t.strictSame(await next(), unavailable, 'open again')
  await setup.clock.advance(10_000)
  t.strictSame(await next(), { allow: true })
  t.match(setup.logger.take('info'), [/answers again/])
  t.strictSame(await Promise.all([next(), next()]), [{ allow: true }, { allow: true }])
  setup.service.respond = say({}, 500)
  await next()
  await next()
  setup.service.respond = allow
  t.strictSame(await next(), { allow: true })
  setup.service.respond = say({}, 500)
  await next()
  await next()
  t.strictSame(setup.logger.take('error'), [], 'failures in a row are counted')
})

t.test('one client whose questions fail shuts out nobody else, whatever names it takes', async t => {
  const setup = await start(t, { authenticateCacheMs: 0 })
  setup.service.respond = (response, question) => { (String(question.body['username']).startsWith("'") ? say({}, 500) : allow)(response, question) }
  for (const remoteAddress of ['2001:db8:0:1::1', '2001:db8:0:1::2:3', '2001:db8:0:1:ffff:ffff:ffff:ffff']) {
    for (let i = 0; i < 20; i++) t.strictSame(await ask(setup, { username: `'${i}`, clientIdentifier: String(i), connection: { remoteAddress } as ConnectionInfo }), unavailable)
  }
  t.strictSame(await ask(setup), { allow: true })
  t.strictSame(setup.logger.take('error'), [])
})

t.test('nor does it keep the others waiting for a service that answers again', async t => {
  const setup = await start(t, { maximumFailures: 2, authenticateCacheMs: 0 })
  setup.service.respond = say({}, 500)
  const next = strangers(setup)
  await next()
  await next()
  t.equal(setup.logger.take('error').length, 1)
  await setup.clock.advance(10_000)
  const eve = (): Promise<unknown> => ask(setup, { username: `'${setup.service.questions.length}`, connection: { remoteAddress: '203.0.113.1' } as ConnectionInfo })
  for (let i = 0; i < 5; i++) await eve()
  const hanging: ServerResponse[] = []
  setup.service.respond = response => { hanging.push(response) }
  const asked = setup.service.questions.length
  const late = eve()
  await setup.service.asked(asked + 1)
  t.strictSame(await eve(), unavailable, 'it has one try at a time')
  setup.service.respond = allow
  t.strictSame(await next(), { allow: true }, 'who comes next finds out')
  for (const response of hanging) response.writeHead(500).end()
  await late
  t.strictSame(await next(), { allow: true })
})

t.test('a service that cannot be reached is left alone, whoever asks', async t => {
  const setup = await start(t)
  const absent = httpAuth({ url: 'http://127.0.0.1:1/', maximumFailures: 3 })
  const logger = new MemoryLogger()
  await startBroker(t, { plugins: [absent], logger })
  for (let i = 0; i < 5; i++) t.strictSame(await ask({ ...setup, plugin: absent }), unavailable)
  t.strictSame(logger.lines.map(({ level }) => level), ['warn', 'warn', 'warn', 'error'])
  t.match(logger.take('error'), [/cannot be reached/])
})

t.test('failures that come in late neither open nor close anything', async t => {
  const setup = await start(t, { maximumFailures: 2 })
  const open: ServerResponse[] = []
  setup.service.respond = response => { open.push(response) }
  const answers = ['a', 'b', 'c'].map((username, i) => ask(setup, { username, connection: { remoteAddress: `192.0.2.${i}` } as ConnectionInfo }))
  await setup.service.asked(3)
  for (const response of open) response.writeHead(500).end()
  t.strictSame(await Promise.all(answers), [unavailable, unavailable, unavailable])
  t.equal(setup.logger.take('error').length, 1)
  setup.service.respond = allow
  await setup.clock.advance(10_000)
  t.strictSame(await ask(setup), { allow: true })
})

t.test('while the service is out of order the next plugin is asked, if that is wanted', async t => {
  const service = await new Service().listen(t)
  service.respond = say({}, 500)
  const local = { name: 'local', hooks: { authenticate: () => true } }
  const refusing = await startBroker(t, { plugins: [httpAuth({ url: service.url }), local] })
  t.equal((await login(refusing))[1], ReasonCode.serverUnavailable)
  const abstaining = await startBroker(t, { plugins: [httpAuth({ url: service.url, whenUnavailable: 'abstain' }), local] })
  t.equal((await login(abstaining))[1], ReasonCode.success)
  const alone = await startBroker(t, { plugins: [httpAuth({ url: service.url, whenUnavailable: 'abstain', authorizeUrl: service.url })] })
  t.equal((await login(alone))[1], ReasonCode.badUserNameOrPassword, 'nobody gets in when all abstain')
})

t.test('nothing goes on once the broker is closed', async t => {
  const { broker, clock } = await start(t)
  const closing = broker.close()
  await clock.advance(10_000)
  await closing
  t.equal(clock.pending, 0)
})

t.test('TLS is verified, and an authority of one\'s own can be given', async t => {
  const server = createSecureServer({ cert: testCertificate, key: testKey }, (_request, response) => { response.end('{"result":"allow"}') })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.closeAllConnections(); server.close() })
  const url = `https://localhost:${(server.address() as AddressInfo).port}/`
  const setup = await start(t)
  for (const [tls, expected] of [[{}, unavailable], [{ ca: testAuthority }, { allow: true }]] as const) {
    const plugin = httpAuth({ url, tls })
    await startBroker(t, { plugins: [plugin], clock: new FakeClock() })
    t.strictSame(await ask({ ...setup, plugin }), expected)
  }
})

t.test('proxies of the environment are not used', async t => {
  const before = { ...process.env }
  t.teardown(() => { process.env = before })
  for (const name of ['http_proxy', 'HTTP_PROXY', 'https_proxy', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']) process.env[name] = 'http://127.0.0.1:1'
  t.strictSame(await ask(await start(t)), { allow: true })
})

t.test('a wrong option is told when the function is called, without secrets', t => {
  const url = 'http://127.0.0.1/'
  const wrong = [
    {}, { url: 5 }, { url: 'auth' }, { url: 'ftp://x/' }, { url: 'http://me:topsecret@x/' }, { url: 'topsecret' }, { url, authorizeUrl: '' }, { url, method: 'GET' }, { url, answer: 'xml' }, { url, whenUnavailable: 'allow' }, { url, timeoutMs: 0 },
    { url, maximumConnections: 0 }, { url, maximumCached: -1 }, { url, name: 5 }, { url, headers: 'x' }, { url, headers: null }, { url, headers: { 'a b': 'c' } }, { url, headers: { a: 'topsecret\r\nb: c' } }, { url, headers: { a: 5 } }, { url, cache: 5 },
  ]
  for (const options of wrong) {
    try {
      httpAuth(options as never)
      t.fail(JSON.stringify(options))
    } catch (error) {
      t.match(error, { code: ErrorCode.optionInvalid })
      t.notMatch((error as Error).message, 'topsecret')
    }
  }
  t.equal(httpAuth({ url, name: 'second' }).name, 'second')
  t.throws(() => answerOf(200, '{', 'json'), { message: 'its answer is no JSON' })
  t.end()
})

t.test('it fits a broker whose clients carry data', async t => {
  const { url } = await new Service().listen(t)
  const { broker } = await startBroker<{ readonly role: string }>(t, { plugins: [httpAuth({ url, authorizeUrl: url })] })
  const roles: (string | undefined)[] = [...broker.clients()].map((client: ClientInfo<{ readonly role: string }>) => client.data.role)
  const qos: QoS = 0
  t.strictSame([roles, qos], [[], 0])
})
