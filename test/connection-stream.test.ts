import t, { type Test } from 'tap'
import fc from 'fast-check'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { streamConnectionInfo } from '../lib/connection/connection-info.ts'
import { StraightWrites } from '../lib/connection/straight-writes.ts'
import { StreamTransport } from '../lib/connection/stream-transport.ts'
import { listen } from './support/network/network.ts'
import { own, trusting } from './support/network/transports.ts'
import { started, turns, type FakeListener } from './support/network/websocket-gate.ts'

interface Pair {
  readonly client: Socket
  readonly socket: Socket
  readonly transport: StreamTransport
  readonly listener: FakeListener
}

type Prepare = (socket: Socket) => void

/** A client's socket, and the broker's as a transport. The client reads nothing until it is told to. */
async function open (t: Test, kind: 'TCP' | 'TLS' = 'TCP', prepare: Prepare = () => undefined): Promise<Pair> {
  const server = kind === 'TCP' ? createServer() : createTlsServer(own)
  const port = await listen(t, server)
  const client = kind === 'TCP' ? connect(port, '127.0.0.1') : connectTls({ port, host: '127.0.0.1', ca: trusting(5).ca, servername: 'localhost' })
  const [socket] = await once(server, kind === 'TCP' ? 'connection' : 'secureConnection') as [Socket]
  t.teardown(() => { client.destroy(); socket.destroy() })
  prepare(socket)
  const transport = new StreamTransport(socket, streamConnectionInfo(1, socket, undefined, 0), new StraightWrites())
  return { client, socket, transport, listener: started(transport) }
}

/** What a socket brings from now on, until it is so much. */
async function receive (socket: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let size = 0
  while (size < length) {
    const chunk = socket.read() as Buffer | null
    if (chunk === null) await once(socket, 'readable')
    else size += chunks.push(chunk) && chunk.length
  }
  return Buffer.concat(chunks)
}

/** More than a socket of this machine takes while its other end is not read. */
const muchBytes = 32 * 1024 * 1024

for (const kind of ['TCP', 'TLS'] as const) {
  t.test(`${kind}: bytes leave whole and in their order, whatever is written and however it is read [MQTT-4.2-1]`, async t => {
    const { client, transport } = await open(t, kind)
    const part = fc.record({ size: fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 3_000_000 })), isCorked: fc.boolean(), rests: fc.boolean() })
    let next = 0
    await fc.assert(fc.asyncProperty(fc.array(part, { minLength: 1, maxLength: 12 }), async parts => {
      const written: Buffer[] = []
      for (const { size, isCorked, rests } of parts) {
        const chunk = Buffer.alloc(size, next++ % 251)
        written.push(chunk)
        if (isCorked) transport.cork()
        transport.write(chunk)
        if (isCorked) transport.uncork()
        if (rests) await turns(2)
      }
      const whole = Buffer.concat(written)
      t.ok(whole.equals(await receive(client, whole.length)))
    }), { numRuns: 20 })
  })

  t.test(`${kind}: bytes come whole and in their order, while reading pauses and resumes`, async t => {
    const { client, transport, listener } = await open(t, kind)
    await fc.assert(fc.asyncProperty(fc.array(fc.record({ size: fc.integer({ min: 1, max: 200_000 }), pauses: fc.boolean() }), { minLength: 1, maxLength: 10 }), async parts => {
      listener.chunks.length = 0
      const whole = Buffer.concat(parts.map(({ size }, i) => Buffer.alloc(size, i)))
      let start = 0
      for (const { size, pauses } of parts) {
        if (pauses) transport.pause()
        client.write(whole.subarray(start, start += size))
        await turns(3)
        transport.resume()
      }
      t.ok(whole.equals(await listener.receivedBytes(whole.length)))
    }), { numRuns: 20 })
  })
}

t.test('while reading pauses nothing is handed over, and then all of it', async t => {
  const { client, transport, listener } = await open(t)
  transport.pause()
  client.write('one ')
  await turns(20)
  t.strictSame(listener.chunks, [])
  transport.resume()
  client.write('two')
  t.equal((await listener.receivedBytes(7)).toString(), 'one two')
})

t.test('who else listens to a socket hears what the broker hears, from when on ever', async t => {
  const heard: string[] = []
  const { client, socket, listener } = await open(t)
  client.write('one ')
  await listener.receivedBytes(4)
  socket.on('data', chunk => { heard.push(String(chunk)) })
  client.write('two')
  t.equal((await listener.receivedBytes(7)).toString(), 'one two')
  t.strictSame(heard, ['two'])
})

t.test('who has replaced a method of a socket is called for each chunk', async t => {
  for (const name of ['write', 'push', '_write'] as const) {
    let calls = 0
    const { client, transport, listener } = await open(t, 'TCP', socket => {
      const method = Reflect.get(socket, name) as (...args: unknown[]) => unknown
      Object.assign(socket, { [name]: (...args: unknown[]) => { calls++; return method.apply(socket, args) } })
    })
    transport.write(Buffer.from('there'))
    await receive(client, 5)
    client.write('back')
    await listener.receivedBytes(4)
    t.equal(calls, 1, name)
  }
})

t.test('who replaces a method of a socket later on is called for each chunk from then on', async t => {
  for (const name of ['write', 'push', '_write', 'emit'] as const) {
    const calls: unknown[] = []
    const { client, socket, transport, listener } = await open(t)
    client.write('first ')
    await listener.receivedBytes(6)
    const method = Reflect.get(socket, name) as (...args: unknown[]) => unknown
    const isChunk = (args: unknown[]): boolean => args.some(arg => arg instanceof Buffer)
    Object.assign(socket, { [name]: (...args: unknown[]) => { if (isChunk(args)) calls.push(args); return method.apply(socket, args) } })
    transport.write(Buffer.from('there'))
    await receive(client, 5)
    client.write('back')
    t.equal((await listener.receivedBytes(10)).toString(), 'first back')
    t.equal(calls.length, 1, name)
  }
})

t.test('who takes a socket over by its data listeners hears what comes, and the broker no more', async t => {
  const { client, socket, listener } = await open(t)
  client.write('for the broker')
  await listener.receivedBytes(14)
  socket.removeAllListeners('data')
  client.write('for the host')
  const [chunk] = await once(socket, 'data') as [Buffer]
  t.equal(String(chunk), 'for the host')
  t.equal(String(listener.bytes), 'for the broker')
})

t.test('what a host pushes into a socket comes as bytes, in whichever form a stream takes it', async t => {
  const { client, socket, listener } = await open(t)
  socket.push('74657874', 'hex')
  socket.push(' and ')
  socket.push(Buffer.alloc(0))
  socket.push(undefined)
  socket.push(new Uint8Array([0x62, 0x79, 0x74, 0x65, 0x73]))
  client.write(' and more')
  t.equal(String(await listener.receivedBytes(23)), 'text and bytes and more')
  t.ok(listener.chunks.every(chunk => chunk instanceof Buffer && chunk.length > 0))
})

t.test('what the system has not taken is queued, and told when it has left', async t => {
  const { client, transport, listener } = await open(t)
  transport.write(Buffer.from('little'))
  t.equal(transport.queuedBytes, 0)
  t.ok(transport.hasTakenAll)
  transport.write(Buffer.alloc(muchBytes))
  t.equal(transport.queuedBytes, muchBytes)
  t.notOk(transport.hasTakenAll, 'its buffer must not be written to')
  transport.write(Buffer.alloc(10))
  t.equal(transport.queuedBytes, muchBytes + 10)
  t.equal(listener.drains, 0)
  await receive(client, 6 + muchBytes + 10)
  while (transport.queuedBytes > 0) await once(listener, 'drained')
  t.ok(transport.hasTakenAll)
  transport.write(Buffer.from('more'))
  t.equal((await receive(client, 4)).toString(), 'more')
})

t.test('a write that brings another one about before it is over is told as well', t => {
  const writes = new StraightWrites()
  const left: string[] = []
  const socket = (write: Duplex['_write']): Duplex => new Duplex({ write })
  const writer = (name: string): { left: () => void } => ({ left: () => { left.push(name) } })
  const inner = socket((_chunk, _encoding, done) => { done() })
  const outer = socket((_chunk, _encoding, done) => {
    writes.write(inner, Buffer.from('inner'), writer('inner'))
    done()
  })
  writes.write(outer, Buffer.from('outer'), writer('outer'))
  t.strictSame(left, ['inner', 'outer'])
  t.end()
})

t.test('end() lets everything leave that was written', async t => {
  const { client, transport, listener } = await open(t)
  transport.write(Buffer.alloc(muchBytes, 1))
  transport.write(Buffer.alloc(10, 2))
  transport.end()
  transport.write(Buffer.from('after the end'))
  const whole = await receive(client, muchBytes + 10)
  t.equal(whole.at(-1), 2)
  t.equal(client.read(), null)
  await once(client, 'end')
  client.end()
  t.equal(await listener.hasEnded(), undefined)
})

t.test('a network that breaks is told once, with its error, whatever is on its way', async t => {
  for (const bytes of [0, muchBytes]) {
    const { client, transport, listener } = await open(t)
    transport.write(Buffer.alloc(bytes + 1))
    client.resetAndDestroy()
    for (let i = 0; i < 5 && listener.ends.length === 0; i++) {
      await turns(5)
      transport.write(Buffer.from('into the void'))
    }
    t.match(await listener.hasEnded(), { code: /ECONNRESET|EPIPE/ })
    await turns(10)
    t.equal(listener.ends.length, 1)
    transport.write(Buffer.from('more'))
  }
})

t.test('destroy() ends what is on its way', async t => {
  const { transport, listener } = await open(t)
  transport.write(Buffer.alloc(muchBytes))
  transport.destroy()
  t.match(await listener.hasEnded(), Error)
  await turns(10)
  t.strictSame([listener.ends.length, listener.drains], [1, 0])
})
