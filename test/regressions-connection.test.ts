import t from 'tap'
import { once } from 'node:events'
import { connect as connectTcp, createServer, type AddressInfo, type Socket } from 'node:net'
import { Duplex, duplexPair } from 'node:stream'
import { roundMs, Rounds, type Due } from '../lib/connection/rounds.ts'
import { createBroker, ReasonCode } from '../lib/index.ts'
import { encode } from '../lib/packet/codec/encoder.ts'
import { PacketType } from '../lib/packet/packets.ts'
import { Topic } from '../lib/topic/topic.ts'
import { FakeClock } from './support/fake-clock.ts'
import { subscribePacket } from './support/exchanges.ts'
import { connectPacket, PacketClient, settled, startBroker } from './support/harness.ts'

// What a review of the core broke. Each test is named by what must hold.

/** A Duplex whose other side takes what was written when the test says so. */
class SlowStream extends Duplex {
  written = 0
  #taken: (() => void)[] = []

  override _read (): void { /* the test pushes */ }

  override _write (chunk: Buffer, _encoding: string, done: () => void): void {
    this.written += chunk.length
    this.#taken.push(done)
  }

  letGo (): void { for (const done of this.#taken.splice(0)) done() }
}

t.test('a Client that sends and never reads is not read any more once its answers fill the outbox', async t => {
  const { broker } = await startBroker(t, { limits: { maximumOutboxBytes: 100_000 } })
  const stream = new SlowStream()
  broker.handle(stream)
  stream.push(encode(connectPacket(), 5))
  const pings = Buffer.alloc(20_000, Buffer.from([0xc0, 0x00]))
  for (let i = 0; i < 50; i++) {
    stream.push(Buffer.from(pings))
    await settled()
  }
  t.ok(stream.writableLength < 200_000, `${stream.writableLength} bytes wait`)
  t.ok(broker.metrics.bytesReceived < 200_000)
  while (broker.metrics.bytesReceived < 1_000_000 && stream.writableLength > 0) {
    stream.letGo()
    await settled()
  }
  t.ok(broker.metrics.bytesReceived > 1_000_000, 'it is read again when it takes them')
})

t.test('a Client that is not read is not taken for silent [MQTT-3.1.2-22]', async t => {
  const { broker, clock } = await startBroker(t, { limits: { maximumPendingBytes: 100 }, hooks: { authorizePublish: () => new Promise(() => undefined) }, hookTimeoutMs: 60_000 })
  const stream = new SlowStream()
  broker.handle(stream)
  stream.push(encode(connectPacket({ keepAlive: 10 }), 5))
  await settled()
  const publish = encode({ type: PacketType.publish, dup: false, qos: 0, retain: false, topic: new Topic('a'), packetIdentifier: 0, properties: undefined, payload: Buffer.alloc(60) }, 5)
  for (let i = 0; i < 5; i++) {
    stream.push(publish)
    await settled()
  }
  for (let second = 0; second < 30; second++) {
    stream.push(Buffer.from([0xc0, 0]))
    await clock.advance(1000)
  }
  t.equal([...broker.clients()].length, 1)
})

t.test('a backlog goes on where the stream never says that it has drained', async t => {
  const { broker, clock } = await startBroker(t)
  for (let i = 0; i < 200; i++) await broker.publish(`r/${i}`, Buffer.alloc(4000), { retain: true })
  const stream = new SlowStream({ writableHighWaterMark: 4 * 1024 * 1024 })
  broker.handle(stream)
  stream.push(encode(connectPacket(), 5))
  stream.push(encode(subscribePacket('r/#'), 5))
  for (let i = 0; i < 10; i++) {
    await settled()
    stream.letGo()
    await clock.advance(500)
  }
  t.ok(stream.written > 800_000, `${stream.written} bytes were written`)
})

t.test('a stream that throws ends its own connection and leaves the others alone', async t => {
  const test = await startBroker(t)
  const broken = new Duplex({ read: () => undefined, write: () => { throw new Error('broken') } })
  broken.on('error', () => undefined)
  test.broker.handle(broken)
  broken.push(encode(connectPacket({ clientIdentifier: 'broken' }), 5))
  const other = new PacketClient(test.broker, 5)
  other.send(connectPacket({ clientIdentifier: 'other' }))
  t.match(await other.take(), [{ type: PacketType.connack }])
  t.equal(broken.destroyed, true)
  t.strictSame([...test.broker.clients()].map(({ clientIdentifier }) => clientIdentifier), ['other'])
})

t.test('a connection counts until its stream is gone, also where the peer has closed and takes nothing', async t => {
  const clock = new FakeClock()
  const broker = await createBroker({ clock, sysIntervalMs: 0 })
  const sockets: Socket[] = []
  const server = createServer(socket => { sockets.push(socket); broker.handle(socket) })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const peer = connectTcp({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true })
  t.teardown(async () => {
    peer.destroy()
    server.close()
    await broker.close()
  })
  peer.write(Buffer.concat([encode(connectPacket(), 5), encode(subscribePacket('#'), 5)]))
  await once(peer, 'readable') // and nothing is read from here on
  for (let i = 0; i < 150; i++) await broker.publish('x', Buffer.alloc(100_000))
  await settled()
  peer.end()
  const [socket] = sockets
  if (socket === undefined) throw new Error('there is no connection')
  await once(socket, 'end')
  t.ok(socket.writableLength > 0)
  t.equal(broker.metrics.connections, 1)
  const closed = once(socket, 'close')
  await clock.advance(6_000)
  await closed
  t.equal(broker.metrics.connections, 0)
})

t.test('a stream that was gone before it came does not count for ever', async t => {
  const { broker, clock } = await startBroker(t)
  const [, stream] = duplexPair()
  stream.destroy()
  await settled()
  broker.handle(stream)
  await clock.advance(30_000)
  t.equal(broker.metrics.connections, 0)
})

t.test('what is sent while a write is under way is not lost: a stream in memory may answer within it', async t => {
  const test = await startBroker(t)
  const client = new PacketClient(test.broker, 5)
  let connected = false
  client.stream.on('data', () => {
    if (!connected) client.write('c000').write('c000')
    connected = true
  })
  client.send(connectPacket())
  t.match(await client.take(), [{ type: PacketType.connack }, { type: PacketType.pingresp }, { type: PacketType.pingresp }])
})

t.test('a Client that takes a little of what waits for it is slow, not stuck', async t => {
  const { broker, clock } = await startBroker(t, { limits: { maximumOutboxBytes: 4_000_000, slowConsumerTimeoutMs: 5_000 } })
  const stream = new SlowStream()
  broker.handle(stream)
  stream.push(encode(connectPacket(), 5))
  stream.push(encode(subscribePacket('#'), 5))
  await settled()
  stream.letGo()
  for (let second = 0; second < 20; second++) {
    for (let i = 0; i < 60; i++) await broker.publish('x', Buffer.alloc(100_000))
    await clock.advance(1000)
    if (second % 4 === 0) stream.letGo() // one write, and not all that waits
  }
  t.equal([...broker.clients()].length, 1)
  await clock.advance(10_000)
  t.equal([...broker.clients()].length, 0, 'and stuck when it takes nothing')
})

t.test('a Client that was let in late has its whole Keep Alive from then on', async t => {
  const { broker, clock } = await startBroker(t, { hooks: { authenticate: () => new Promise<boolean>(resolve => { late = resolve }) } })
  let late: (value: boolean) => void = () => undefined
  const client = new PacketClient(broker, 5)
  client.send(connectPacket({ keepAlive: 1 }))
  await clock.advance(4_000)
  late(true)
  await clock.advance(1_000)
  t.match(await client.take(), [{ type: PacketType.connack, reasonCode: ReasonCode.success }])
  t.equal(client.isEnded, false)
})

t.test('a round looks at what is due and at what is busy, each once, and at nothing else', async t => {
  const clock = new FakeClock()
  const rounds = new Rounds<Due & { readonly name: string }>(clock)
  const due = (name: string): Due & { readonly name: string } => ({ name, dueRound: 0, place: 0, isBusy: false })
  const make = async (): Promise<string[]> => {
    const looked: string[] = []
    await clock.advance(roundMs)
    rounds.make(({ name }) => { looked.push(name) }, ({ name }) => { looked.push(`${name} is busy`) })
    return looked.sort()
  }
  const [a, b, c, d, far] = ['a', 'b', 'c', 'd', 'far'].map(due) as [ReturnType<typeof due>, ReturnType<typeof due>, ReturnType<typeof due>, ReturnType<typeof due>, ReturnType<typeof due>]
  for (const item of [a, b, c]) rounds.schedule(item, rounds.roundAt(clock.now() + 2 * roundMs - 1))
  rounds.schedule(d, 1)
  rounds.schedule(d, 2) // later than it stands already
  rounds.schedule(far, Infinity)
  rounds.remove(a)
  rounds.remove(a)
  rounds.watch(c)
  rounds.watch(c)
  t.same(await make(), ['c is busy', 'd'])
  rounds.schedule(c, 0) // overdue
  t.same(await make(), ['b', 'c'])
  for (let round = 3; round < 127; round++) t.same(await make(), [], `round ${round}`)
  t.same(await make(), ['far'], 'what is due later than rounds are kept for is looked at on the way')
})

t.test('a stream that answers while it is written to, and closes, mixes nobody up', async t => {
  const { broker } = await startBroker(t)
  const gone = new SlowStream()
  gone._write = (_chunk, _encoding, done): void => {
    gone.push(encode({ type: PacketType.disconnect, reasonCode: ReasonCode.success, properties: undefined }, 5))
    done()
  }
  broker.handle(gone)
  gone.push(encode(connectPacket(), 5))
  await settled()
  const clients = [new PacketClient(broker, 5), new PacketClient(broker, 5)]
  for (const [i, client] of clients.entries()) client.send(connectPacket({ clientIdentifier: `${i}` }))
  await settled()
  for (const client of clients) t.match(await client.take(), [{ type: PacketType.connack }], 'each gets what is its own')
  t.equal([...broker.clients()].length, 2)
})
