import t, { type Test } from 'tap'
import fc from 'fast-check'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { connect } from 'node:net'
import { WebSocket } from 'ws'
import type { StartableTransport } from '../lib/connection/connections.ts'
import { closeCode, frames, setup, started, turns, type FakeListener } from './support/network/websocket-gate.ts'

t.test('the subprotocol is mqtt, and a Client has to offer it [MQTT-6.0.0-3] [MQTT-6.0.0-4]', async t => {
  const { open, statusOf, port } = await setup(t)
  for (const [protocols, selected] of [[['mqtt'], 'mqtt'], [['mqttv3.1'], 'mqttv3.1'], [['mqttv3.1', 'other', 'mqtt'], 'mqtt']] as const) {
    const { client } = await open({ protocols: [...protocols] })
    t.equal(client.protocol, selected, protocols.join())
    client.terminate()
  }
  t.equal(await statusOf({ protocols: [] }), 400, 'none')
  t.equal(await statusOf({ protocols: ['MQTT', 'mqtt5'] }), 400, 'another')
  const request = httpRequest({ host: '127.0.0.1', port, path: '/mqtt', headers: { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Protocol': 'mqtt' } }).end()
  const [response] = await once(request, 'response') as [IncomingMessage]
  t.equal(response.statusCode, 400, 'no key: not a WebSocket')
})

t.test('a frame may hold several Control Packets or a part of one [MQTT-6.0.0-2]', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send(Buffer.from('one two'))
  client.send(Buffer.from('three '), { fin: false })
  client.send(Buffer.from('four'), { fin: true })
  await listener.receivedBytes(17)
  t.strictSame(listener.chunks.map(chunk => chunk.toString()), ['one two', 'three four'], 'frames as they come, fragments joined')
  await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 }), async parts => {
    listener.chunks.length = 0
    for (const part of parts) client.send(part)
    const whole = Buffer.concat(parts)
    t.strictSame(await listener.receivedBytes(whole.length), whole)
  }), { numRuns: 20 })
  client.terminate()
})

/** A Control Packet with so many bytes after its fixed header. */
function packet (remainingLength: number, fill = 'x'): Buffer {
  const head = [0x30]
  for (let left = remainingLength; head.length === 1 || left > 0; left = Math.floor(left / 128)) head.push(left % 128 + (left >= 128 ? 128 : 0))
  return Buffer.concat([Buffer.from(head), Buffer.alloc(remainingLength, fill)])
}

t.test('Control Packets leave in binary frames, one for each, and in as few writes as they came [MQTT-6.0.0-1]', async t => {
  const { open, sockets, server } = await setup(t)
  const { client, listener } = await open()
  const packets = [1, 0, 123, 124, 200, 65_531, 65_532, 70_000, 100_000].map(length => packet(length))
  const arrived = frames(client, packets.length)
  listener.transport.cork()
  t.equal(sockets[0]?.writableCorked, 1)
  listener.transport.write(Buffer.concat(packets.slice(0, 8)))
  t.ok(listener.transport.queuedBytes >= 6, 'held back until uncork')
  t.equal(listener.transport.hasTakenAll, false)
  t.equal((sockets[0] as { writableLength?: number }).writableLength, 201_534 + 3 * 2 + 3 * 4 + 2 * 10, 'heads of frames as short as can be')
  listener.transport.uncork()
  t.equal(sockets[0]?.writableCorked, 0)
  listener.transport.write(packets[8] as Buffer)
  t.strictSame(await arrived, packets.map(bytes => [bytes.toString(), true]))
  t.equal(listener.transport.hasTakenAll, true)
  client.terminate()

  server.prependListener('upgrade', (_, socket) => { Object.assign(socket, { encrypted: true }) })
  const secure = await open()
  t.equal(secure.listener.transport.hasTakenAll, false, 'TLS may still hold on to a buffer')
  t.equal(secure.listener.transport.ownsChunks, true)
  secure.client.terminate()
})

t.test('a Control Packet that comes in several writes begins a frame, and the next one begins another [MQTT-6.0.0-2]', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  const arrived = frames(client, 5)
  const small = packet(1)
  const large = packet(9000)
  listener.transport.write(Buffer.concat([small, large.subarray(0, 5)])) // the payload follows as it is
  listener.transport.write(large.subarray(5, 8000))
  listener.transport.write(Buffer.concat([large.subarray(8000), small]))
  const texts = (await arrived).map(([text]) => text)
  t.equal(texts.join(''), Buffer.concat([small, large, small]).toString())
  t.strictSame([texts[0], texts[1]?.length], [small.toString(), 5])
  client.terminate()
})

t.test('a text frame ends the connection [MQTT-6.0.0-1]', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send('text')
  client.send(Buffer.from('later'))
  t.equal(await closeCode(client), 1003)
  t.match(await listener.hasEnded(), { code: 'MQTT_PROTOCOL_ERROR', reasonCode: 0x82 })
  t.strictSame(listener.chunks, [], 'nothing after it is read')
  listener.transport.destroy()
  t.equal(listener.ends.length, 1, 'told once')
})

t.test('a frame that is too large is refused by its announced length', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  client.send(Buffer.alloc(1024 * 1024))
  t.equal((await listener.receivedBytes(1024 * 1024)).length, 1024 * 1024, '1 MiB is let in even where packets are smaller')
  client.send(Buffer.alloc(1024 * 1024 + 1))
  t.equal(await closeCode(client), 1009)
  t.match(await listener.hasEnded(), { code: 'MQTT_PACKET_TOO_LARGE', reasonCode: 0x95 })
})

t.test('a peer that breaks the rules of WebSocket is told so, and need not be waited for', async t => {
  const { listener, socket, theirs } = await rawOpen(t)
  socket.write(Buffer.from([0x82, 0x01, 0x00])) // not masked
  t.match(await listener.hasEnded(), { code: 'MQTT_PROTOCOL_ERROR', message: /MASK/, cause: Error })
  listener.transport.destroy()
  t.equal(theirs?.destroyed, true)
  socket.destroy()
})

async function rawOpen (t: Test): Promise<{ listener: FakeListener, socket: ReturnType<typeof connect>, theirs: Duplex | undefined }> {
  const { server, gate, port, sockets } = await setup(t, { path: '/unused' })
  const listener = new Promise<FakeListener>(resolve => {
    gate.attach(server, { path: '/raw' }, transport => { resolve(started(transport)) })
  })
  const socket = connect(port, '127.0.0.1')
  socket.write('GET /raw HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n')
  await once(socket, 'data')
  return { listener: await listener, socket, theirs: sockets[0] }
}

t.test('each way a connection ends is told once', async t => {
  const { open } = await setup(t)
  const closed = await open()
  closed.client.close(1000)
  t.equal(await closed.listener.hasEnded(), undefined, 'the peer closes')

  const gone = await open()
  gone.client.terminate()
  t.equal(await gone.listener.hasEnded(), undefined, 'the peer ends without a closing frame')
  const { listener, socket } = await rawOpen(t)
  socket.resetAndDestroy()
  t.match(await listener.hasEnded(), { code: 'ECONNRESET' }, 'the network fails')

  const destroyed = await open()
  destroyed.listener.transport.destroy()
  t.equal(await closeCode(destroyed.client), 1006)
  t.equal(await destroyed.listener.hasEnded(), undefined, 'destroy()')
  for (const { listener } of [closed, gone, destroyed]) {
    listener.transport.destroy()
    t.equal(listener.ends.length, 1)
  }
})

t.test('end() lets everything leave that was written, even while reading is paused', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  const arrived = frames(client, 1)
  listener.transport.pause()
  client.send(Buffer.from('unread'))
  listener.transport.write(Buffer.from('goodbye'))
  listener.transport.end()
  listener.transport.end()
  listener.transport.write(Buffer.from('too late'))
  t.strictSame(await arrived, [['goodbye', true]])
  t.equal(await closeCode(client), 1000)
  t.equal(await listener.hasEnded(), undefined)
  t.strictSame(listener.chunks, [], 'nothing is read after end()')
})

t.test('reading pauses and resumes', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  listener.transport.pause()
  await new Promise(resolve => { client.send(Buffer.from('waits'), resolve) })
  await turns(20)
  t.strictSame(listener.chunks, [])
  listener.transport.resume()
  t.equal((await listener.receivedBytes(5)).toString(), 'waits')
  client.terminate()
})

t.test('nothing is read before start', async t => {
  const { server, gate, port } = await setup(t)
  const accepted = new Promise<StartableTransport>(resolve => { gate.attach(server, { path: '/slow' }, resolve) })
  const client = new WebSocket(`ws://127.0.0.1:${port}/slow`, 'mqtt')
  await once(client, 'open')
  client.send(Buffer.from('early'))
  const transport = await accepted
  await turns(20)
  t.equal((await started(transport).receivedBytes(5)).toString(), 'early')
  client.terminate()
  const refused = new WebSocket(`ws://127.0.0.1:${port}/none`, 'mqtt')
  gate.attach(server, { path: '/none' }, transport => { transport.destroy() })
  refused.on('error', () => undefined)
  t.equal(await closeCode(refused), 1006, 'a transport that is not wanted can be destroyed')
})

t.test('drained is told once the queue has left, after it had grown', async t => {
  const { open } = await setup(t)
  const { client, listener } = await open()
  const small = frames(client, 1)
  listener.transport.write(packet(5))
  await small
  t.equal(listener.drains, 0, 'not for little')
  client.pause()
  listener.transport.write(packet(16 * 1024 * 1024))
  listener.transport.write(packet(5))
  t.ok(listener.transport.queuedBytes > 64 * 1024)
  client.resume()
  await once(listener, 'drained')
  t.equal(listener.transport.queuedBytes, 0)
  client.pause()
  listener.transport.write(packet(16 * 1024 * 1024))
  client.resume()
  await once(listener, 'drained')
  t.equal(listener.drains, 2, 'once for each time')
  client.pause()
  listener.transport.write(packet(16 * 1024 * 1024))
  listener.transport.destroy()
  await listener.hasEnded()
  await turns(5)
  t.equal(listener.drains, 2, 'never after the end')
  client.terminate()
})
