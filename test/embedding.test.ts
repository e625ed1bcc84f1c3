import t, { type Test } from 'tap'
import cookie from '@fastify/cookie'
import rateLimit from '@fastify/rate-limit'
import websocket from '@fastify/websocket'
import express, { type Request, type Response } from 'express'
import session from 'express-session'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import { once } from 'node:events'
import { createServer as createHttpServer, ServerResponse, type IncomingMessage, type Server as HttpServer } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import { connect, type AddressInfo } from 'node:net'
import type { IClientOptions } from 'mqtt'
import { Server as SocketIo } from 'socket.io'
import { io } from 'socket.io-client'
import { WebSocket } from 'ws'
import { createBroker, type Broker, type ConnectionInfo } from '../lib/index.ts'
import { myelin, requestOf, type MyelinOptions } from '../plugins/fastify/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { dial, listen, networkBroker } from './support/network/network.ts'
import { own, trusting } from './support/network/transports.ts'
import { statusOf } from './support/network/upgrades.ts'

t.setTimeout(120_000)

declare module 'fastify' {
  interface FastifyInstance { telemetry: Broker }
  interface FastifyRequest { account: string | undefined }
}

declare module 'express-session' {
  interface SessionData { account: string }
}

/** Listens on a free port; closed with the test, which must not hang on what is open. */
async function start (t: Test, app: FastifyInstance): Promise<number> {
  t.teardown(() => app.close())
  await app.listen({ port: 0, host: '127.0.0.1' })
  return (app.server.address() as AddressInfo).port
}

function withHeaders (headers: Record<string, string>, options: IClientOptions = {}): IClientOptions {
  return { ...options, wsOptions: { headers } }
}

/** An app whose hook knows an account by its cookie, and replies 401 to others. */
async function accounts (app: FastifyInstance): Promise<FastifyInstance> {
  await app.register(cookie)
  app.decorateRequest('account', undefined)
  app.addHook('onRequest', async (request, reply) => {
    request.account = request.cookies['account']
    if (request.account === undefined) return reply.code(401).header('www-authenticate', 'Cookie').send({ why: 'no cookie' })
  })
  return app
}

/** What `authenticate` was told of each connection. */
function witness (seen: ConnectionInfo[]): Pick<MyelinOptions & { broker?: never }, 'hooks'> {
  return { hooks: { authenticate ({ connection }) { seen.push(connection); return true } } }
}

const kinds: Record<string, () => FastifyInstance> = {
  'http': () => Fastify(),
  'https': () => Fastify({ https: own }),
  'HTTP/2 that allows HTTP/1.1': () => Fastify({ http2: true, https: { ...own, allowHTTP1: true } }) as unknown as FastifyInstance,
}

for (const [kind, create] of Object.entries(kinds)) {
  t.test(`Fastify, ${kind}: an upgrade passes the app's hooks, whose findings authenticate sees`, async t => {
    const seen: ConnectionInfo[] = []
    const app = await accounts(create())
    await app.register(myelin, { path: '/mqtt', listener: 'web', ...witness(seen) })
    app.get('/', () => 'hello')
    const port = await start(t, app)
    const url = `${kind === 'http' ? 'ws' : 'wss'}://localhost:${port}/mqtt`
    const ada = { ...trusting(5), clientId: 'ada', ...withHeaders({ cookie: 'account=ada' }) }
    t.equal(await statusOf(url), 401)
    const client = await dial(t, url, ada)
    await client.mqtt.subscribeAsync('a')
    await app.mqtt.publish('a', 'from the app')
    t.equal(String((await client.message()).payload), 'from the app')
    const [connection] = seen
    t.equal(seen.length, 1, 'who was refused never came so far')
    t.match(connection, { transport: 'websocket', listener: 'web', remoteAddress: '127.0.0.1', remotePort: Number })
    const request = connection === undefined ? undefined : requestOf(connection)
    t.match(request, { account: 'ada', cookies: { account: 'ada' }, url: '/mqtt' })
    t.equal(request?.raw, connection?.request)
    const told = client.event('disconnect')
    await app.close()
    t.match(await told, [{ reasonCode: 0x8b }], 'closed with the app, which waits for no Client')
  })
}

t.test('Fastify: hooks of every kind answer an upgrade, wherever they were added', async t => {
  const replyTo = (status: number) => async ({ headers }: FastifyRequest, reply: FastifyReply): Promise<unknown> => headers['x-hook'] === String(status) ? reply.code(status).send() : undefined
  for (const order of ['before', 'after', 'without']) {
    const app = Fastify()
    if (order === 'before') await app.register(websocket)
    app.addHook('onRequest', replyTo(401))
    await app.register(myelin)
    app.addHook('onRequest', () => new Promise(resolve => setImmediate(resolve)))
    app.addHook('preValidation', replyTo(403))
    app.addHook('preHandler', replyTo(409))
    app.addHook('preHandler', ({ headers }, _reply, done) => { done(headers['x-hook'] === '500' ? new Error('on purpose') : undefined) })
    if (order === 'after') await app.register(websocket)
    const url = `ws://127.0.0.1:${await start(t, app)}/mqtt`
    for (const status of [401, 403, 409, 500]) t.equal(await statusOf(url, { 'x-hook': String(status) }), status, `${status} ${order} @fastify/websocket`)
    t.equal(await statusOf(url), 101)
    t.equal((await fetch(url.replace('ws', 'http'))).status, 426, 'a plain request')
    t.equal((await fetch(url.replace('ws', 'http'), { method: 'HEAD' })).status, 404)
  }
})

t.test('Fastify: a rate limit counts each upgrade once', async t => {
  for (const hook of ['onRequest', 'preHandler'] as const) {
    for (const isBeside of [true, false]) {
      const app = Fastify()
      if (isBeside) await app.register(websocket)
      await app.register(rateLimit, { max: 3, hook })
      await app.register(myelin)
      const url = `ws://127.0.0.1:${await start(t, app)}/mqtt`
      const statuses: unknown[] = []
      for (let count = 0; count < 5; count++) statuses.push(await statusOf(url))
      t.strictSame(statuses, [101, 101, 101, 429, 429], `${hook} ${isBeside ? 'beside @fastify/websocket' : ''}`)
      await app.close()
    }
  }
})

function addSocketIo (app: FastifyInstance): void {
  const socketIo = new SocketIo(app.server, { serveClient: false })
  socketIo.on('connection', socket => { socket.on('ask', (text: string, answer: (text: string) => void) => { answer(`io ${text}`) }) })
  app.addHook('preClose', done => { socketIo.engine.close(); done() }) // `disconnectSockets` would wait 30 s for another poll
}

t.test('Fastify: beside @fastify/websocket and Socket.IO on one server, all on one port', async t => {
  const app = Fastify()
  await app.register(websocket)
  addSocketIo(app)
  app.get('/chat', { websocket: true }, socket => { socket.on('message', (data: Buffer) => { socket.send(`chat ${String(data)}`) }) })
  await app.register(myelin)
  app.get('/', () => 'hello')
  const port = await start(t, app)
  for (let round = 0; round < 2; round++) {
    const client = await dial(t, `ws://127.0.0.1:${port}/mqtt`)
    const chat = new WebSocket(`ws://127.0.0.1:${port}/chat`)
    await once(chat, 'open')
    const polite = io(`http://127.0.0.1:${port}`, { transports: ['polling'], forceNew: true })
    await client.mqtt.subscribeAsync('a')
    await client.mqtt.publishAsync('a', 'x'.repeat(200_000), { qos: 1 })
    chat.send('hi')
    t.equal(String((await once(chat, 'message') as [Buffer])[0]), 'chat hi')
    t.equal(await polite.emitWithAck('ask', 'hi'), 'io hi')
    t.equal(String((await client.message()).payload).length, 200_000)
    t.equal(await (await fetch(`http://127.0.0.1:${port}/`)).text(), 'hello')
    t.equal(await statusOf(`ws://127.0.0.1:${port}/nobody`), 404)
    polite.disconnect()
    chat.terminate()
  }
})

t.test('Fastify: Socket.IO upgrades beside MQTT', async t => {
  const app = Fastify()
  addSocketIo(app)
  await app.register(myelin)
  const port = await start(t, app)
  const client = await dial(t, `ws://127.0.0.1:${port}/mqtt`)
  const hasty = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], forceNew: true })
  t.equal(await hasty.emitWithAck('ask', 'hi'), 'io hi')
  await client.mqtt.publishAsync('a', 'b', { qos: 1 })
  hasty.disconnect()
})

t.test('Fastify: scopes, prefixes and names', async t => {
  const app = Fastify()
  await app.register(async scope => {
    scope.addHook('onRequest', async (request, reply) => { if (request.headers['x-key'] !== 'k') return reply.code(403).send() })
    await scope.register(myelin, { path: '/mqtt', prefix: '/inner' })
    t.ok(scope.mqtt)
  }, { prefix: '/v1' })
  t.notOk(app.hasDecorator('mqtt'), 'a broker stays in its scope')
  await app.register(myelin, { path: '/mqtt' })
  await app.register(myelin, { path: '/telemetry', name: 'telemetry' })
  await app.register(myelin, { path: '/other', broker: app.mqtt })
  const base = `ws://127.0.0.1:${await start(t, app)}`
  t.equal(await statusOf(`${base}/v1/inner/mqtt`), 403)
  t.equal(await statusOf(`${base}/v1/inner/mqtt`, { 'x-key': 'k' }), 101)
  t.equal(await statusOf(`${base}/v1/mqtt`), 404)
  const [one, other, apart] = await Promise.all(['/mqtt', '/other', '/telemetry'].map(path => dial(t, base + path)))
  await Promise.all([one, other, apart].map(async client => client?.mqtt.subscribeAsync('#')))
  await app.mqtt.publish('a', 'mqtt')
  await app.telemetry.publish('a', 'telemetry')
  t.strictSame(await Promise.all([one, other, apart].map(async client => String((await client?.message())?.payload))), ['mqtt', 'mqtt', 'telemetry'])
})

t.test('Fastify: the URL forms that the app routes reach the broker, and no others', async t => {
  const forms: [options: FastifyServerOptions, reach: string[], fail: string[]][] = [
    [{}, ['/v1/mqtt', '/v1/mqtt?x=1', '/v1/mq%74t', '/v1/mqtt#x'], ['/v1/mqtt/', '/V1/MQTT', '/v1//mqtt', '/v1/mqtt;x', '/v1%2Fmqtt', '/v1/mqtt%', '/v1/x']],
    [{ routerOptions: { ignoreTrailingSlash: true } }, ['/v1/mqtt', '/v1/mqtt/', '/v1/mqtt/?x=1'], ['/v1/mqtt//', '/v1/MQTT/']],
    [{ routerOptions: { caseSensitive: false } }, ['/v1/mqtt', '/V1/MqTT', '/v1/MQ%54T'], ['/v1/mqtt/']],
    [{ routerOptions: { ignoreDuplicateSlashes: true } }, ['/v1/mqtt', '//v1///mqtt'], ['/v1/mqtt/']],
    [{ routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, caseSensitive: false }, useSemicolonDelimiter: true }, ['/v1/mqtt', '/V1//MQTT//;x=1'], ['/v1/mqtt/x']],
    [{ ignoreTrailingSlash: true, caseSensitive: false }, ['/v1/mqtt', '/V1/mqtt/'], ['/v1/x/']],
  ]
  for (const [options, reach, fail] of forms) {
    const app = Fastify(options)
    await app.register(myelin, { prefix: '/v1', path: '/mqtt' })
    const port = await start(t, app)
    for (const path of reach) {
      t.equal(await upgradeStatus(port, path), 101, `${JSON.stringify(options)} ${path}`)
      t.equal((await app.inject(path)).statusCode, 426, 'as the app routes it')
    }
    for (const path of fail) {
      t.equal(await upgradeStatus(port, path), 404, `${JSON.stringify(options)} ${path}`)
      t.not((await app.inject(path)).statusCode, 426, path)
    }
    t.equal(await upgradeStatus(port, `http://x${reach[0] ?? ''}`), 101, 'an absolute URL')
  }
})

/** An upgrade for a path that is sent as it stands. */
async function upgradeStatus (port: number, path: string): Promise<number> {
  const socket = connect(port, '127.0.0.1')
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n`)
  const [head] = await once(socket, 'data') as [Buffer]
  socket.destroy()
  return Number(String(head).split(' ')[1])
}

t.test('Fastify: a broker that was given outlives the app, whose Clients it sends away', async t => {
  const broker = await networkBroker<{ tenant: string }>(t)
  const app = Fastify()
  await app.register(myelin, { broker })
  const port = await start(t, app)
  const server = createHttpServer()
  broker.attach(server)
  const stays = await dial(t, `ws://127.0.0.1:${await listen(t, server)}/mqtt`, { protocolVersion: 5 })
  const goes = await dial(t, `ws://127.0.0.1:${port}/mqtt`, { protocolVersion: 5 })
  const silent = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, 'mqtt')
  await once(silent, 'open')
  const [told] = await Promise.all([goes.event('disconnect'), once(silent, 'close'), app.close()])
  t.match(told, [{ reasonCode: 0x8b }])
  await stays.mqtt.publishAsync('a', 'b', { qos: 1 })
  await stays.mqtt.endAsync()
})

t.test('Fastify: what is wrong is told when the plugin is loaded', async t => {
  const broker = await networkBroker(t)
  for (const options of [{ path: 'mqtt' }, { path: '/mqtt/:id' }, { path: '/*' }, { origins: [] }, { origin: '*' }, { broker, limits: {} }, { hook: {} }]) {
    const app = Fastify()
    await t.rejects(async () => app.register(myelin, options as MyelinOptions), /option|must start|should be/i, JSON.stringify(Object.keys(options)))
    await app.close()
  }
})

t.test('Fastify: a path or a name that is taken is told, too', async t => {
  for (const [options, code] of [[{ name: 'telemetry' }, 'FST_ERR_DUPLICATED_ROUTE'], [{ path: '/other' }, 'FST_ERR_DEC_ALREADY_PRESENT']] as const) {
    const app = Fastify()
    await app.register(myelin)
    await t.rejects(async () => app.register(myelin, options), { code })
    await app.close()
  }
})

t.test('Fastify: the broker logs through app.log, and believes the proxies that the app believes', async t => {
  const lines: string[] = []
  const seen: ConnectionInfo[] = []
  const app = Fastify({ logger: { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } }, trustProxy: true })
  await app.register(myelin, witness(seen))
  app.mqtt.hook({ connected: () => { throw new Error('on purpose') } })
  const url = `ws://127.0.0.1:${await start(t, app)}/mqtt`
  await dial(t, url, withHeaders({ 'x-forwarded-for': '192.0.2.7' }))
  t.match(seen, [{ remoteAddress: '192.0.2.7', remotePort: undefined }])
  t.match(lines.map(line => JSON.parse(line) as unknown), [{ level: 50, hook: 'connected', msg: 'the hook connected failed: on purpose' }])
})

t.test('Fastify: a hook that hangs, and a broker that closes, leave no upgrade behind', async t => {
  const clock = new FakeClock()
  for (const end of [async () => { await clock.advance(5000) }, async (app: FastifyInstance) => { void app.close(); await app.mqtt.close() }]) {
    const app = Fastify()
    let release = (): void => undefined
    const asked = new Promise<void>(resolve => { app.addHook('preHandler', () => new Promise<void>(free => { release = free; resolve() })) })
    await app.register(myelin, { clock, closeTimeoutMs: 0 })
    const status = statusOf(`ws://127.0.0.1:${await start(t, app)}/mqtt`)
    await asked
    await end(app)
    await clock.advance(0)
    t.equal(await status, 503)
    release()
    await app.close()
  }
})

/** What middleware finds out about an upgrade. */
function accountOf (middleware: express.RequestHandler, request: IncomingMessage): Promise<string | undefined> {
  return new Promise((resolve, reject) => {
    void middleware(request as Request, new ServerResponse(request) as Response, (error?: unknown) => {
      if (error instanceof Error) reject(error)
      else resolve((request as Request).session.account)
    })
  })
}

t.test('Express 5 with express-session: the session of the page is the identity of the connection', async t => {
  const sessions = session({ secret: 'test', resave: false, saveUninitialized: false })
  const app = express().use(sessions)
  app.get('/login', (request, response) => { request.session.account = 'ada'; response.send('welcome') })
  const broker = await networkBroker(t, { hooks: { authenticate: ({ connection }) => ({ allow: true, username: String(connection.identity) }) } })
  const server = createHttpServer(app as (request: IncomingMessage, response: ServerResponse) => void)
  broker.attach(server, {
    origin: ['https://example.org'],
    async verify (request) {
      const account = await accountOf(sessions, request)
      return account === undefined ? { status: 401, headers: { 'WWW-Authenticate': 'Session' } } : { identity: account }
    },
  })
  const port = await listen(t, server)
  const url = `ws://127.0.0.1:${port}/mqtt`
  const cookie = String((await fetch(`http://127.0.0.1:${port}/login`)).headers.get('set-cookie')).split(';')[0] ?? ''
  t.equal(await statusOf(url), 401)
  t.equal(await statusOf(url, { cookie: 'connect.sid=s%3Aforged.forged' }), 401)
  t.equal(await statusOf(url, { cookie, origin: 'https://evil.example' }), 403, 'the cookie alone is not enough')
  await dial(t, url, withHeaders({ cookie, origin: 'https://example.org' }))
  t.strictSame([...broker.clients()].map(({ username }) => username), ['ada'])
  server.closeAllConnections()
})

t.test('bare http and https: verify by header, and other paths for others', async t => {
  for (const server of [createHttpServer(), createHttpsServer(own)]) {
    const broker = await networkBroker(t, { hooks: { authenticate: ({ connection: { identity } }) => identity === undefined ? undefined : true } })
    broker.attach(server, { path: '/broker', verify: ({ headers }) => headers.authorization === 'Bearer t' ? { identity: { token: 't' } } : 401 })
    const base = `${server instanceof createHttpServer().constructor && !('setSecureContext' in server) ? 'ws' : 'wss'}://localhost:${await listen(t, server)}`
    t.equal(await statusOf(`${base}/broker`), 401)
    t.equal(await statusOf(`${base}/other`), 404)
    const client = await dial(t, `${base}/broker`, { ...trusting(4), ...withHeaders({ authorization: 'Bearer t' }) })
    t.match([...broker.clients()], [{ connection: { identity: { token: 't' } } }])
    await client.mqtt.publishAsync('a', 'b', { qos: 2 })
  }
})

/** A provider as NestJS has them, with the hooks of its life cycle. */
class MqttService {
  readonly #server: HttpServer
  #broker: Broker | undefined = undefined

  constructor (server: HttpServer) { this.#server = server }

  async onModuleInit (): Promise<void> {
    this.#broker = await createBroker({ sysIntervalMs: 0, hooks: { authenticate: ({ connection }) => this.#isKnown(connection) } })
    this.#broker.attach(this.#server, { path: '/mqtt', verify: request => this.verify(request) })
  }

  async onModuleDestroy (): Promise<void> { await this.#broker?.close() }

  async verify ({ url }: IncomingMessage): Promise<number | { identity: string }> {
    await Promise.resolve()
    const token = new URL(url ?? '', 'http://localhost').searchParams.get('token')
    return token === null ? 401 : { identity: token }
  }

  async publish (topicName: string, payload: string): Promise<void> { await this.#broker?.publish(topicName, payload) }

  #isKnown ({ identity }: ConnectionInfo): boolean { return identity === 'known' }
}

t.test('a class with onModuleInit and onModuleDestroy, as in NestJS', async t => {
  const server = createHttpServer()
  const service = new MqttService(server)
  await service.onModuleInit()
  const url = `ws://127.0.0.1:${await listen(t, server)}/mqtt`
  t.equal(await statusOf(url), 401)
  await t.rejects(dial(t, `${url}?token=unknown`, { protocolVersion: 5 }), { code: 0x87 })
  const client = await dial(t, `${url}?token=known`, { protocolVersion: 5 })
  await client.mqtt.subscribeAsync('a')
  await service.publish('a', 'b')
  t.equal(String((await client.message()).payload), 'b')
  const told = client.event('disconnect')
  await service.onModuleDestroy()
  t.match(await told, [{ reasonCode: 0x8b }])
})
