import t from 'tap'
import { duplexPair } from 'node:stream'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { keptCopy } from '../lib/base/kept-bytes.ts'
import { streamConnectionInfo, webSocketConnectionInfo, withProxyAddress, forgetSocket } from '../lib/connection/connection-info.ts'
import { nowhere } from '../lib/protocol/client/network-sink.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { PacketCodec, type ClientInfo, type Message } from '../lib/index.ts'
import { TopicTable } from '../lib/topic/topic.ts'
import { connect, connectPacket, PacketClient, settled, startBroker, type TestBroker } from './support/harness.ts'

// What is over is let go, and what stays keeps nothing alive beside itself.

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const kept = { cleanStart: false, properties: { sessionExpiryInterval: 3600 } }
const mebibyte = 2 ** 20

/** Bytes of all buffers that somebody holds. */
async function heldBytes (): Promise<number> {
  await settled()
  collectGarbage()
  collectGarbage()
  await settled()
  return process.memoryUsage().arrayBuffers
}

/** Nobody holds the ends of the pair but the broker. */
async function connectAndForget ({ broker }: TestBroker, clientIdentifier: string, meet: (client: PacketClient) => Promise<void> | void): Promise<void> {
  const client = new PacketClient(broker, 5)
  client.send(connectPacket({ clientIdentifier, ...kept }))
  await settled()
  await meet(client)
  await client.vanish()
}

t.test('Sessions that have ended are let go, however many there were at a time', async t => {
  const clients: WeakRef<ClientInfo>[] = []
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { clients.push(new WeakRef(client)) } } })
  for (let round = 0; round < 3; round++) {
    await test.clock.advance(1000)
    const connected = await Promise.all(Array.from({ length: 40 }, async (_, i) => (await connect(test, { clientIdentifier: `${round} ${i}` }))[0]))
    await Promise.all(connected.map(async client => client.vanish()))
  }
  await test.clock.advance(1000)
  await settled()
  collectGarbage()
  t.equal(clients.length, 120)
  t.ok(clients.filter(client => client.deref() !== undefined).length < 10)
})

t.test('Sessions that have ended are let go where nobody publishes any more', async t => {
  const clients: WeakRef<ClientInfo>[] = []
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { clients.push(new WeakRef(client)) } } })
  for (let i = 0; i < 30; i++) {
    const [client] = await connect(test, { clientIdentifier: `subscriber ${i}` })
    await client.subscribe(i % 2 === 0 ? `to/${i}/+` : `to/${i}/it`)
    await test.broker.publish(`to/${i}/it`, 'x')
    t.equal((await client.messages()).length, 1)
    await client.vanish()
  }
  await test.broker.publish('to/others', 'x')
  await test.clock.advance(1000)
  await settled()
  collectGarbage()
  t.ok(clients.filter(client => client.deref() !== undefined).length < 5)
})

t.test('a Session whose Client is away keeps nothing of a packet that was half received', async t => {
  const signals: AbortSignal[] = []
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { signals.push(client.signal) } } })
  const before = await heldBytes()
  const packet = new PacketCodec(5).encode({
    type: PacketType.publish, dup: false, qos: 0, retain: false, topic: new TopicTable().named('a'), packetIdentifier: 0, properties: undefined, payload: Buffer.alloc(mebibyte),
  })
  for (let i = 0; i < 20; i++) await connectAndForget(test, `half ${i}`, client => { client.stream.write(packet.subarray(0, -1)) })
  t.ok(await heldBytes() - before < 5 * mebibyte)
  t.ok(signals.every(({ aborted, reason }) => aborted && reason instanceof DOMException && reason.name === 'AbortError'))
})

t.test('a Session whose Client is away keeps nothing of what was still to be sent with QoS 0', async t => {
  const test = await startBroker(t, { limits: { maximumOutboxBytes: mebibyte } })
  const before = await heldBytes()
  for (let i = 0; i < 20; i++) {
    await connectAndForget(test, `frozen ${i}`, async client => {
      await client.subscribe(`to/${i}`, { qos: 0 })
      client.stream.pause()
      for (let count = 0; count < 12; count++) await test.broker.publish(`to/${i}`, Buffer.alloc(mebibyte / 8))
      await settled()
    })
  }
  t.ok(await heldBytes() - before < 5 * mebibyte)
})

t.test('of a socket that is gone it is known who was there', t => {
  const socket = { remoteAddress: '192.0.2.1', localAddress: '192.0.2.2', localPort: 8883, authorized: true }
  const [stream] = duplexPair()
  const info = withProxyAddress(streamConnectionInfo(1, Object.assign(stream, socket), 'tls', 5), undefined)
  forgetSocket(info)
  const { remoteAddress, localAddress, localPort, isPeerAuthorized, peerCertificate, listener, transport } = info
  t.strictSame({ remoteAddress, localAddress, localPort, isPeerAuthorized, peerCertificate, listener, transport },
    { remoteAddress: '192.0.2.1', localAddress: undefined, localPort: undefined, isPeerAuthorized: true, peerCertificate: undefined, listener: 'tls', transport: 'stream' })
  t.end()
})

t.test('of a WebSocket that is gone the HTTP request goes, and who was found behind it stays', t => {
  const [stream] = duplexPair()
  const request = { url: '/mqtt' } as never
  const address = { sourceAddress: '192.0.2.3', sourcePort: 1, destinationAddress: '192.0.2.4', destinationPort: 2 }
  const info = withProxyAddress(webSocketConnectionInfo(1, request, stream, undefined, 'ada', undefined, 5), address)
  t.equal(info.request, request)
  forgetSocket(info)
  const { transport, identity, remoteAddress } = info
  t.equal(info.request, undefined)
  t.strictSame({ transport, identity, remoteAddress }, { transport: 'websocket', identity: 'ada', remoteAddress: '192.0.2.3' })
  t.end()
})

t.test('a connection that is gone takes what is still sent to it, and does nothing', async t => {
  let said: ClientInfo | undefined
  let answer: ((allowed: boolean) => void) | undefined
  const test = await startBroker(t, { hooks: { connected: ({ client }) => { said = client }, authorizeSubscribe: async () => new Promise(resolve => { answer = resolve }) } })
  const [client] = await connect(test, { clientIdentifier: 'gone', ...kept })
  client.send({ type: PacketType.subscribe, packetIdentifier: 1, subscriptions: [{ topicFilter: 'a', qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 }], properties: undefined })
  await settled()
  await client.vanish()
  answer?.(true)
  await settled()
  t.equal((said as ClientInfo & { sink: unknown }).sink, nowhere)
  t.equal(nowhere.publish(undefined as never, 0, false, [], 0, false), true)
  t.equal(test.broker.clients().next().done, true)
})

t.test('messages that are kept keep nothing alive but each other', async t => {
  const messages: Message[] = []
  const test = await startBroker(t, { hooks: { published: ({ message }) => { messages.push(message) } } })
  const [client] = await connect(test, { clientIdentifier: 'publisher' })
  const properties = { correlationData: Buffer.alloc(20, 1), contentType: 'text/plain' }
  const noise = (): void => { for (let i = 0; i < 50; i++) client.publish('noise', 'x'.repeat(100)) }
  for (let i = 0; i < 50; i++) {
    noise()
    client.publish(`from/client/${i}`, 'x'.repeat(100), { retain: true, properties })
    noise()
    await settled()
    await test.broker.publish(`from/host/${i}`, 'x'.repeat(100), { retain: true, properties })
  }
  const retained = messages.filter(({ retain }) => retain)
  t.equal(retained.length, 100)
  const held = new Set(retained.flatMap(({ payload, encodedProperties, properties }) => [payload.buffer, encodedProperties.buffer, properties?.correlationData?.buffer]))
  const bytes = [...held].reduce((sum, buffer) => sum + (buffer?.byteLength ?? 0), 0)
  t.ok(bytes < 100 * (100 + 60 + 20) + 2 * 8192, `${bytes} bytes are held for 100 messages of 100 bytes, their properties apart`)
  for (const { topic } of retained) t.equal(topic.bytes.buffer.byteLength, topic.byteLength)
})

t.test('what is large is kept by itself', t => {
  const copy = keptCopy(Buffer.alloc(4096, 'x'))
  t.strictSame([copy.buffer.byteLength, copy.toString()], [4096, 'x'.repeat(4096)])
  t.end()
})
