import t, { type Test } from 'tap'
import { randomBytes } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import mqtt, { MqttClient, type IClientOptions } from 'mqtt'
import type { Broker, ClientInfo, ConnectionInfo, Drop } from '../lib/index.ts'
import { testAuthority, testCertificate, testKey } from './support/network/certificates.ts'
import { clientCertificate, clientKey } from './support/plugins/client-certificate.ts'
import { own, transports, trusting } from './support/network/transports.ts'
import { mosquitto, mosquittoServer, mosquittoVersion } from './support/mosquitto.ts'
import { connected, dial, listen, networkBroker, type RealClient } from './support/network/network.ts'

const versions = [4, 5] as const
type Version = (typeof versions)[number]

/** CONNECT of a Client that keeps its Session for an hour; MQTT 3.1.1 keeps it for ever. */
function keeping (protocolVersion: Version, clientId: string): IClientOptions {
  return { protocolVersion, clientId, clean: false, ...protocolVersion === 5 ? { properties: { sessionExpiryInterval: 3600 } } : {} }
}

async function tcp (t: Test, broker: Broker<never> | Broker): Promise<string> {
  return transports.TCP(t, broker)
}

for (const [name, open] of Object.entries(transports)) {
  t.test(`QoS 0, 1 and 2, retained and large messages over ${name}`, async t => {
    const url = await open(t, await networkBroker(t))
    for (const version of [3, 4, 5] as const) {
      const subscriber = await dial(t, url, trusting(version))
      const publisher = await dial(t, url, trusting(version))
      await subscriber.mqtt.subscribeAsync(`v${version}/#`, { qos: 2 })
      for (const qos of [0, 1, 2] as const) await publisher.mqtt.publishAsync(`v${version}/${qos}`, `q${qos}`, { qos })
      for (const qos of [0, 1, 2]) t.match(await subscriber.message(), { topic: `v${version}/${qos}`, qos, payload: Buffer.from(`q${qos}`), retain: false })

      const large = randomBytes(300_000)
      await publisher.mqtt.publishAsync(`v${version}/large`, large, { qos: 1, retain: true })
      t.ok(large.equals((await subscriber.message()).payload as Buffer))

      const late = await dial(t, url, trusting(version))
      await late.mqtt.subscribeAsync(`v${version}/+`, { qos: 1 })
      const retained = await late.message()
      t.match(retained, { topic: `v${version}/large`, retain: true, qos: 1 })
      t.ok(large.equals(retained.payload as Buffer))
    }
  })
}

for (const protocolVersion of versions) {
  t.test(`what a Client relies on (${protocolVersion === 4 ? '3.1.1' : '5.0'})`, t => {
    t.test('a Will Message is published when the network breaks, and not after DISCONNECT [MQTT-3.1.2-8] [MQTT-3.14.4-3]', async t => {
      const url = await tcp(t, await networkBroker(t))
      const watcher = await dial(t, url, { protocolVersion })
      await watcher.mqtt.subscribeAsync('will/+', { qos: 1 })
      const will = (topic: string): IClientOptions => ({ protocolVersion, will: { topic, payload: Buffer.from('gone'), qos: 1, retain: false } })
      await (await dial(t, url, will('will/polite'))).mqtt.endAsync()
      const torn = await dial(t, url, will('will/torn'))
      torn.vanish()
      t.match(await watcher.message(), { topic: 'will/torn', payload: Buffer.from('gone') })
      t.equal(watcher.unread, 0)
    })

    t.test('a Session outlives its connection, with subscriptions and messages [MQTT-3.1.2-5]', async t => {
      const broker = await networkBroker(t)
      const url = await tcp(t, broker)
      const first = await dial(t, url, keeping(protocolVersion, 'keeper'))
      t.equal(first.connack?.sessionPresent, false)
      await first.mqtt.subscribeAsync('kept', { qos: 2 })
      await first.mqtt.endAsync()
      for (const qos of [1, 1, 2] as const) await broker.publish('kept', `q${qos}`, { qos })
      const second = await dial(t, url, keeping(protocolVersion, 'keeper'))
      t.equal(second.connack?.sessionPresent, true)
      t.strictSame(await second.texts(3), ['q1', 'q1', 'q2'])
    })

    t.test('Clean Start ends the Session before it [MQTT-3.1.2-4]', async t => {
      const url = await tcp(t, await networkBroker(t))
      await (await dial(t, url, keeping(protocolVersion, 'cleaner'))).mqtt.endAsync()
      t.equal((await dial(t, url, { protocolVersion, clientId: 'cleaner', clean: true })).connack?.sessionPresent, false)
    })

    t.test('a Shared Subscription gives each message to one member (4.8.2)', async t => {
      const url = await tcp(t, await networkBroker(t))
      const members = await Promise.all([1, 2, 3].map(() => dial(t, url, { protocolVersion })))
      for (const { mqtt } of members) await mqtt.subscribeAsync('$share/pool/jobs/+', { qos: 1 })
      const publisher = await dial(t, url, { protocolVersion })
      for (let i = 0; i < 9; i++) await publisher.mqtt.publishAsync(`jobs/${i}`, String(i), { qos: 1 })
      const shares = await Promise.all(members.map(member => member.texts(3)))
      t.strictSame(shares.flat().sort(), ['0', '1', '2', '3', '4', '5', '6', '7', '8'])
      t.strictSame(members.map(({ unread }) => unread), [0, 0, 0])
    })

    t.test('a Client that reconnects by itself gets what it missed and sends what it could not', async t => {
      const broker = await networkBroker(t)
      const server = createServer(broker.handle)
      const port = await listen(t, server)
      const sockets: Socket[] = []
      server.on('connection', (socket: Socket) => { sockets.push(socket) })
      const client = await dial(t, `mqtt://127.0.0.1:${port}`, { ...keeping(protocolVersion, 'phoenix'), reconnectPeriod: 1, resubscribe: false })
      await client.mqtt.subscribeAsync('news', { qos: 1 })
      const uplink = broker.subscribe('uplink', { qos: 1 })
      server.close() // while nobody listens there is no way back
      sockets[0]?.destroy()
      await client.event('close')
      const sent = client.mqtt.publishAsync('uplink', 'from the void', { qos: 1 })
      await broker.publish('news', 'missed', { qos: 1 })
      const again = client.event('connect')
      await listen(t, server, { port, host: '127.0.0.1' })
      await again
      t.equal(client.connack?.sessionPresent, true)
      t.strictSame(await client.texts(1), ['missed'])
      await sent
      t.equal((await uplink.next()).value?.payload.toString(), 'from the void')
    })

    t.test('a second connection with the same Client Identifier takes over [MQTT-3.1.4-3]', async t => {
      const url = await tcp(t, await networkBroker(t))
      const first = await dial(t, url, { protocolVersion, clientId: 'twin' })
      const closed = first.event('close')
      const told = protocolVersion === 5 ? first.event('disconnect') : undefined
      await dial(t, url, { protocolVersion, clientId: 'twin' })
      await closed
      if (told !== undefined) t.match(await told, [{ reasonCode: 0x8e }])
    })

    t.test('an unsubscribed topic is silent', async t => {
      const url = await tcp(t, await networkBroker(t))
      const client = await dial(t, url, { protocolVersion })
      await client.mqtt.subscribeAsync(['a', 'b'])
      await client.mqtt.unsubscribeAsync('a')
      await client.mqtt.publishAsync('a', 'no')
      await client.mqtt.publishAsync('b', 'yes')
      t.strictSame(await client.texts(1), ['yes'])
    })

    t.test('who is not let in is told so (3.2.2)', async t => {
      const url = await tcp(t, await networkBroker(t, { hooks: { authenticate: ({ username, password }) => username === 'ada' && password?.toString() === 'secret' } }))
      await t.rejects(dial(t, url, { protocolVersion, username: 'ada', password: 'wrong' }), { code: protocolVersion === 5 ? 0x86 : 4 })
      await t.rejects(dial(t, url, { protocolVersion }), { code: protocolVersion === 5 ? 0x87 : 5 })
      await t.resolves(dial(t, url, { protocolVersion, username: 'ada', password: 'secret' }))
    })
    t.end()
  })
}

t.test('MQTT 5.0', t => {
  const protocolVersion = 5

  t.test('properties travel with the message unaltered [MQTT-3.3.2-15] [MQTT-3.3.2-17]', async t => {
    const url = await tcp(t, await networkBroker(t))
    const subscriber = await dial(t, url, { protocolVersion })
    await subscriber.mqtt.subscribeAsync('p', { qos: 1, properties: { subscriptionIdentifier: 268_435_455 } })
    const properties = {
      payloadFormatIndicator: true, messageExpiryInterval: 3600, contentType: 'text/plain', responseTopic: 'answer/here',
      correlationData: Buffer.from([0, 255]), userProperties: { a: ['1', '2'], __proto__: 'x' },
    }
    await subscriber.mqtt.publishAsync('p', 'ü', { qos: 1, properties })
    const packet = await subscriber.message()
    t.match(packet.properties, { ...properties, subscriptionIdentifier: 268_435_455 })
  })

  t.test('Topic Aliases in both directions (3.3.2.3.4)', async t => {
    const url = await tcp(t, await networkBroker(t))
    const client = await dial(t, url, { protocolVersion, autoAssignTopicAlias: true, properties: { topicAliasMaximum: 4 } })
    await client.mqtt.subscribeAsync('a/+')
    for (let i = 0; i < 20; i++) await client.mqtt.publishAsync(`a/${i % 6}`, String(i))
    for (let i = 0; i < 20; i++) t.match(await client.message(), { topic: `a/${i % 6}`, payload: Buffer.from(String(i)) })
  })

  t.test('request and response between Clients, and from the host (4.10)', async t => {
    const broker = await networkBroker(t)
    const url = await tcp(t, broker)
    const responder = await dial(t, url, { protocolVersion })
    await responder.mqtt.subscribeAsync('double')
    responder.mqtt.on('message', (_topic, payload, { properties }) => {
      responder.mqtt.publish(properties?.responseTopic ?? '', String(2 * Number(payload)), { qos: 1, properties: { correlationData: properties?.correlationData } as never })
    })
    t.equal((await broker.request('double', '21')).payload.toString(), '42')
    const requester = await dial(t, url, { protocolVersion })
    await requester.mqtt.subscribeAsync('answers/1')
    await requester.mqtt.publishAsync('double', '4', { properties: { responseTopic: 'answers/1', correlationData: Buffer.from('c') } })
    t.match(await requester.message(), { payload: Buffer.from('8'), properties: { correlationData: Buffer.from('c') } })
  })

  t.test('a refused PUBLISH and a refused SUBSCRIBE are told, and the connection goes on', async t => {
    const url = await tcp(t, await networkBroker(t, {
      hooks: { authorizePublish: ({ topicName }) => topicName !== 'no', authorizeSubscribe: ({ topicFilter }) => topicFilter !== 'no' },
    }))
    const client = await dial(t, url, { protocolVersion })
    await t.rejects(client.mqtt.publishAsync('no', 'x', { qos: 1 }), { code: 0x87 })
    await t.rejects(client.mqtt.publishAsync('no', 'x', { qos: 2 }), { code: 0x87 })
    await t.rejects(client.mqtt.subscribeAsync('no'), { message: 'Subscribe error: Not authorized' })
    await client.mqtt.subscribeAsync('yes')
    await client.mqtt.publishAsync('yes', 'still here')
    t.strictSame(await client.texts(1), ['still here'])
  })

  t.test('a message over the Client\'s Maximum Packet Size is left out and reported [MQTT-3.1.2-24]', async t => {
    const drops: Drop[] = []
    const broker = await networkBroker(t, { hooks: { onDrop: drop => { drops.push(drop) } } })
    const client = await dial(t, await tcp(t, broker), { protocolVersion, clientId: 'small', properties: { maximumPacketSize: 100 } })
    await client.mqtt.subscribeAsync('s', { qos: 1 })
    await broker.publish('s', 'x'.repeat(200), { qos: 1 })
    await broker.publish('s', 'fits', { qos: 1 })
    t.strictSame(await client.texts(1), ['fits'])
    t.match(drops, [{ reason: 'packetTooLarge', clientIdentifier: 'small' }])
  })

  t.test('an empty Client Identifier is replaced by an assigned one [MQTT-3.2.2-16]', async t => {
    const client = await dial(t, await tcp(t, await networkBroker(t)), { protocolVersion, clientId: '' })
    t.match(client.connack?.properties?.assignedClientIdentifier, /^.{10,}$/)
  })

  t.test('close() tells Clients where to go [MQTT-4.13.1]', async t => {
    const broker = await networkBroker(t, { serverReference: 'other.example:1883' })
    const client = await dial(t, await tcp(t, broker), { protocolVersion })
    const told = client.event('disconnect')
    await broker.close()
    t.match(await told, [{ reasonCode: 0x8b, properties: { serverReference: 'other.example:1883' } }])
  })
  t.end()
})

t.test('one broker, many ways in: each connection tells its listener and transport', async t => {
  const seen = new Map<string, ConnectionInfo>()
  const broker = await networkBroker(t, { hooks: { connected: ({ client }) => { seen.set(client.connection.listener ?? '', client.connection) } } })
  const http = createHttpServer()
  broker.attach(http, { listener: 'web' })
  const urls = [
    `mqtt://127.0.0.1:${await listen(t, createServer(broker.listener({ name: 'plain' })))}`,
    `mqtts://localhost:${await listen(t, createTlsServer(own, broker.listener({ name: 'secure' })))}`,
    `ws://127.0.0.1:${await listen(t, http)}/mqtt`,
  ]
  const clients = await Promise.all(urls.map(url => dial(t, url, trusting(5))))
  for (const { mqtt } of clients) await mqtt.subscribeAsync('to/all')
  await clients[0]?.mqtt.publishAsync('to/all', 'hello')
  for (const client of clients) t.strictSame(await client.texts(1), ['hello'])
  t.strictSame([...seen].map(([name, { transport }]) => [name, transport]).sort(), [['plain', 'stream'], ['secure', 'stream'], ['web', 'websocket']])
  t.equal(new Set([...seen.values()].map(({ id }) => id)).size, 3)
  t.ok([...seen.values()].every(({ remoteAddress }) => remoteAddress === '127.0.0.1'))
  t.equal([...broker.clients()].length, 3)
})

t.test('WebSocket stands beside an HTTP server\'s own routes', async t => {
  const requests: (string | undefined)[] = []
  const broker = await networkBroker(t, { hooks: { authenticate: ({ connection }) => { requests.push(connection.request?.headers.cookie); return true } } })
  const server = createHttpServer((request, response) => { response.end(`route ${request.url ?? ''}`) })
  broker.attach(server, { path: '/mqtt' })
  const port = await listen(t, server)
  t.equal(await (await fetch(`http://127.0.0.1:${port}/hello`)).text(), 'route /hello')
  const client = await dial(t, `ws://127.0.0.1:${port}/mqtt`, { protocolVersion: 5, wsOptions: { headers: { cookie: 'user=ada' } } })
  await client.mqtt.subscribeAsync('w')
  await client.mqtt.publishAsync('w', 'over the web')
  t.strictSame(await client.texts(1), ['over the web'])
  t.equal(await (await fetch(`http://127.0.0.1:${port}/mqtt`)).text(), 'route /mqtt', 'a plain request on that path is the host\'s')
  t.strictSame(requests, ['user=ada'])
  server.closeAllConnections()
})

t.test('authenticate sees the TLS client certificate and whether it was verified', async t => {
  const broker = await networkBroker(t, {
    hooks: {
      authenticate: ({ connection: { isPeerAuthorized, peerCertificate } }) =>
        isPeerAuthorized && peerCertificate !== undefined && { allow: true, username: String(peerCertificate.subject.CN) },
    },
  })
  const tls = { ...own, ca: clientCertificate, requestCert: true, rejectUnauthorized: false }
  const url = `mqtts://localhost:${await listen(t, createTlsServer(tls, broker.handle))}`
  await dial(t, url, { ...trusting(5), cert: clientCertificate, key: clientKey })
  const names = [...broker.clients()].map((client: ClientInfo) => client.username)
  t.strictSame(names, ['device-17'])
  await t.rejects(dial(t, url, trusting(5)), { code: 0x87 }, 'without a certificate')
  await t.rejects(dial(t, url, { ...trusting(5), cert: testCertificate, key: testKey }), { code: 0x87 }, 'with one that nobody vouches for')
})

t.test('hooks see the address of the PROXY protocol header', async t => {
  const seen: (string | number | undefined)[] = []
  const broker = await networkBroker(t, {
    hooks: {
      authenticate: ({ connection }) => {
        seen.push(connection.remoteAddress, connection.remotePort, connection.localPort, connection.listener)
        return true
      },
    },
  })
  const port = await listen(t, createServer(broker.listener({ name: 'public', proxyProtocol: true })))
  const behindProxy = (): Socket => {
    const socket = connect(port, '127.0.0.1')
    socket.write('PROXY TCP4 203.0.113.7 198.51.100.2 56324 1883\r\n')
    return socket
  }
  const client: RealClient = await connected(t, new MqttClient(behindProxy, { protocolVersion: 5, reconnectPeriod: 0 }))
  await client.mqtt.subscribeAsync('p')
  await client.mqtt.publishAsync('p', 'through the proxy')
  t.strictSame(await client.texts(1), ['through the proxy'])
  t.strictSame(seen, ['203.0.113.7', 56324, 1883, 'public'])
  await t.rejects(dial(t, `mqtt://127.0.0.1:${port}`), { message: 'the connection was closed' }, 'without the header')
})

t.test('a Client that the host ends may come back', async t => {
  const broker = await networkBroker(t)
  const client = await dial(t, await tcp(t, broker), { protocolVersion: 5, clientId: 'guest', reconnectPeriod: 1 })
  const again = client.event('connect')
  const told = client.event('disconnect')
  t.equal(broker.disconnect('guest'), true)
  t.match(await told, [{ reasonCode: 0x98 }])
  await again
  t.equal(broker.disconnect('nobody'), false)
})

t.test('mqtt.connectAsync, the way its documentation shows', async t => {
  const client = await mqtt.connectAsync(await tcp(t, await networkBroker(t)))
  t.equal(client.connected, true)
  await client.endAsync()
})

const mosquittoIs = mosquittoVersion()

/** A test of Mosquitto's clients; where there are none it says so, in its name and as a comment. */
function testMosquitto (name: string, run: (t: Test) => Promise<void>): void {
  if (mosquittoIs !== undefined) t.test(`mosquitto ${mosquittoIs}: ${name}`, run)
  else t.test(`NOT TESTED, mosquitto_pub and mosquitto_sub are absent: ${name}`, t => { t.comment('install mosquitto-clients to run this test'); t.end() })
}

/** A broker that tells when somebody has subscribed. */
async function mosquittoBroker (t: Test): Promise<{ broker: Broker, port: number, subscribed: () => Promise<unknown> }> {
  const news = new EventEmitter()
  const broker = await networkBroker(t, { hooks: { subscribed: () => { news.emit('subscribed') } } })
  return { broker, port: await listen(t, createServer(broker.handle)), subscribed: () => once(news, 'subscribed') }
}

for (const version of ['mqttv31', 'mqttv311', 'mqttv5']) {
  testMosquitto(`mosquitto_pub reaches mosquitto_sub with QoS 0, 1 and 2 (${version})`, async t => {
    const { port, subscribed } = await mosquittoBroker(t)
    const isReady = subscribed()
    const subscriber = mosquitto(t, 'sub', port, '-V', version, '-i', 'sub', '-v', '-q', '2', '-t', 'm/#', '-C', '3')
    await isReady
    for (const qos of ['0', '1', '2']) await mosquitto(t, 'pub', port, '-V', version, '-i', 'pub', '-q', qos, '-t', `m/${qos}`, '-m', `hello ${qos}`).output
    t.equal(await subscriber.output, 'm/0 hello 0\nm/1 hello 1\nm/2 hello 2\n')
  })

  testMosquitto(`retained messages, Will Messages and a kept Session (${version})`, async t => {
    const { broker, port, subscribed } = await mosquittoBroker(t)
    const wills = broker.subscribe('will')
    await mosquitto(t, 'pub', port, '-V', version, '-r', '-q', '1', '-t', 'r', '-m', 'retained').output
    const kept = ['-V', version, '-c', '-i', 'kept', '-q', '1', '-t', 'r', ...version === 'mqttv5' ? ['-x', '100'] : []]
    const isReady = subscribed()
    const torn = mosquitto(t, 'sub', port, ...kept, '--will-topic', 'will', '--will-payload', 'torn')
    await isReady
    torn.child.kill('SIGKILL')
    t.equal((await wills.next()).value?.payload.toString(), 'torn')
    await broker.publish('r', 'while away', { qos: 1 })
    t.match(await mosquitto(t, 'sub', port, ...kept, '-C', '3').output, /^(retained\n|while away\n){3}$/)
  })
}

for (const version of ['mqttv31', 'mqttv311', 'mqttv50']) {
  testMosquitto(`a Mosquitto broker is a bridge, and says whether it is there (${version})`, async t => {
    const { broker, port, subscribed } = await mosquittoBroker(t)
    const states = broker.subscribe('$SYS/broker/connection/+/state', { qos: 1 })
    const isReady = subscribed()
    const server = mosquittoServer(t, 'connection hall', `address 127.0.0.1:${port}`, 'remote_clientid hall', `bridge_protocol_version ${version}`, 'topic up/# both 1')
    await isReady
    t.match((await states.next()).value, { topicName: '$SYS/broker/connection/hall/state', payload: Buffer.from('1') })
    server.kill('SIGKILL')
    t.match((await states.next()).value, { payload: Buffer.from('0') })
  })
}

testMosquitto('TLS', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'myelin-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  writeFileSync(join(folder, 'ca.pem'), testAuthority)
  const broker = await networkBroker(t)
  const messages = broker.subscribe('tls')
  const port = await listen(t, createTlsServer(own, broker.handle))
  await mosquitto(t, 'pub', port, '--cafile', join(folder, 'ca.pem'), '-t', 'tls', '-m', 'sealed').output
  t.equal((await messages.next()).value?.payload.toString(), 'sealed')
})

testMosquitto('properties of MQTT 5.0, and mosquitto_rr asks the host', async t => {
  const { broker, port } = await mosquittoBroker(t)
  const messages = broker.subscribe('props')
  await mosquitto(t, 'pub', port, '-V', 'mqttv5', '-t', 'props', '-m', 'x', '-D', 'publish', 'user-property', 'unit', 'K', '-D', 'publish', 'content-type', 'text/plain').output
  t.match((await messages.next()).value?.properties, { contentType: 'text/plain', userProperties: [['unit', 'K']] })
  broker.subscribe('ask', async ({ properties }) => {
    const { responseTopic = '', correlationData } = properties ?? {}
    await broker.publish(responseTopic, 'answer', { properties: correlationData === undefined ? {} : { correlationData } })
  })
  t.equal(await mosquitto(t, 'rr', port, '-V', 'mqttv5', '-t', 'ask', '-e', 'answers', '-m', 'question').output, 'answer\n')
})
