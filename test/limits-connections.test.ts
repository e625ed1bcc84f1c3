import { duplexPair, type Duplex } from 'node:stream'
import { createServer as createHttpServer } from 'node:http'
import { createServer, connect as connectSocket, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { ReasonCode } from '../lib/index.ts'
import { connect, connectPacket, PacketClient, settled } from './support/harness.ts'
import { tryConnect, type ObservedBroker } from './support/observe.ts'
import { statusOf } from './support/network/upgrades.ts'
import { limit } from './support/limits.ts'

limit({ maximumConnections: 2 }, 'one more is closed at once, told to refused and counted; a place that is free is given', async (t, test) => {
  const [first] = await connect(test, { clientIdentifier: '1' })
  await connect(test, { clientIdentifier: '2' })
  const [, theirs] = duplexPair()
  test.broker.handle(theirs)
  t.equal(theirs.destroyed, true)
  t.strictSame(test.events, ['refused MQTT_QUOTA_EXCEEDED 151'])
  t.strictSame([test.broker.metrics.connections, test.broker.metrics.connectionsRefused], [2, 1])
  await first.vanish()
  await connect(test, { clientIdentifier: '3' })
})

/** A Client that connects, leaves, and does not close its own side. @returns the broker's socket, which takes its time */
async function linger ({ broker }: ObservedBroker, address = '192.0.2.1'): Promise<Duplex> {
  const sockets: Duplex[] = []
  const viaProxy = broker.listener({ proxyProtocol: true })
  const client = new PacketClient(broker, 5, stream => {
    sockets.push(stream)
    viaProxy(stream)
  })
  client.stream.write(`PROXY TCP4 ${address} 192.0.2.9 1 2\r\n`)
  await settled()
  client.send(connectPacket({ clientIdentifier: 'leaver' })).disconnect()
  await settled()
  return sockets[0] as Duplex
}

const leaving: readonly (readonly [string, (client: PacketClient, test: ObservedBroker) => unknown])[] = [
  ['said DISCONNECT', client => client.disconnect()],
  ['closed its side and takes nothing', client => client.stream.pause().end()],
  ['broke the protocol', client => client.write('c001 00')],
  ['was sent away', (_client, { broker }) => broker.disconnect('1')],
]

for (const [how, leave] of leaving) {
  limit({ maximumConnections: 1 }, `the place of a Client that ${how} is free at once, though its socket is not closed yet`, async (t, test) => {
    const [first] = await connect(test, { clientIdentifier: '1' })
    leave(first, test)
    await settled()
    const [second] = await connect(test, { clientIdentifier: '2' })
    t.equal(test.broker.metrics.connections, 1, 'that socket had to make room')
    t.strictSame(test.events.filter(event => event.startsWith('refused')), [])
    await test.clock.advance(20_000)
    t.equal(second.isEnded, false)
  })
}

limit({ maximumConnections: 3 }, 'there are never more sockets, however many Clients leave without closing theirs, and no Client makes room for them', async (t, test) => {
  const [faithful] = await connect(test, { clientIdentifier: 'faithful', keepAlive: 0 })
  const left: Duplex[] = []
  for (let i = 0; i < 20; i++) {
    left.push(await linger(test))
    t.ok(test.broker.metrics.connections <= 3)
    t.strictSame(left.map(({ destroyed }) => destroyed), left.map((_, k) => k < i - 1), 'those that have been closing for longest go first')
  }
  t.equal(faithful.isEnded, false)
  await test.clock.advance(10_000)
  t.strictSame([left.every(({ destroyed }) => destroyed), test.broker.metrics.connections], [true, 1], 'the others are given five seconds')
})

limit({ maximumConnections: 3 }, 'nor are there more with those that are no connections yet', async (t, test) => {
  const left = [await linger(test), await linger(test), await linger(test)]
  const viaProxy = test.broker.listener({ proxyProtocol: true })
  const silent = Array.from({ length: 5 }, () => duplexPair()[1])
  for (const [i, stream] of silent.entries()) {
    viaProxy(stream)
    t.equal([...left, ...silent.slice(0, i + 1)].filter(({ destroyed }) => !destroyed).length, 3)
  }
  t.strictSame(silent.map(({ destroyed }) => destroyed), [false, false, false, true, true])
  const [, direct] = duplexPair()
  test.broker.handle(direct)
  t.equal(direct.destroyed, true, 'nor when a connection comes past them')
  silent[0]?.destroy()
  await settled()
  await connect(test)
})

limit({ maximumConnections: 1 }, 'who waits for verify has a place', async (t, test) => {
  const server = createHttpServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const asked = new Promise<void>(resolve => {
    test.broker.attach(server, { verify: () => { resolve(); return new Promise(() => undefined) } })
  })
  const url = `ws://127.0.0.1:${(server.address() as AddressInfo).port}/mqtt`
  const first = statusOf(url)
  await asked
  const [, direct] = duplexPair()
  test.broker.handle(direct)
  t.strictSame([direct.destroyed, await statusOf(url)], [true, 503])
  await test.clock.advance(5_000)
  t.equal(await first, 503)
  await connect(test)
})

limit({ maximumConnections: 5, maximumConnectionsPerAddress: 2 }, 'who comes from one address crowds out nobody of another while there is room', async (t, test) => {
  const others = [await linger(test), await linger(test)]
  const own: Duplex[] = []
  for (let i = 0; i < 5; i++) own.push(await linger(test, '192.0.2.2'))
  t.strictSame([...others, ...own].map(({ destroyed }) => destroyed), [false, false, true, true, true, false, false])
  for (const address of ['192.0.2.3', '192.0.2.4']) await linger(test, address)
  t.strictSame(others.map(({ destroyed }) => destroyed), [true, false], 'where there is none, the oldest of all goes')
})

limit({ maximumConnectionsPerAddress: 1 }, 'counts each address for itself', async (t, test) => {
  const server = createServer(test.broker.handle).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const [first, second] = [connectSocket({ port, host: '127.0.0.1' }), connectSocket({ port, host: '127.0.0.1' })]
  await once(second, 'close')
  t.strictSame([first.destroyed, test.events], [false, ['refused MQTT_QUOTA_EXCEEDED 151']])
  const viaProxy = test.broker.listener({ proxyProtocol: true })
  for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.1']) {
    const client = new PacketClient(test.broker, 5, viaProxy)
    client.stream.write(`PROXY TCP4 ${address} 192.0.2.9 1 2\r\n`)
    await settled()
  }
  t.equal(test.broker.metrics.connections, 3, 'one from here, one of each other address')
  first.destroy()
  server.close()
})

limit({ connectionRate: 2 }, 'who comes too fast is told 0x9F, 3.1.1 Clients that the server is unavailable', async (t, test) => {
  for (const clientIdentifier of ['1', '2']) await connect(test, { clientIdentifier })
  for (const protocolVersion of [4, 5] as const) {
    const [client, connack] = await tryConnect(test, { clientIdentifier: '3', protocolVersion })
    t.equal(connack?.reasonCode, protocolVersion === 5 ? ReasonCode.connectionRateExceeded : ReasonCode.serverUnavailable)
    t.equal(client.isEnded, true)
  }
  t.equal(test.broker.metrics.connectionsRefused, 2)
  await test.clock.advance(1000)
  await connect(test, { clientIdentifier: '3' })
})
