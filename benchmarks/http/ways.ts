import { once } from 'node:events'
import { connect as connectHttp2, type ClientHttp2Session } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { readings, type Reading } from './readings.ts'
import type { ServerKind } from './server.ts'

/** A connection that is ready to send readings. */
export interface Conversation {
  /** Sends all readings; resolves when the server has confirmed the last one. */
  sendAll (): Promise<void>
  close (): void
}

/** One way of sending readings, over one connection that is kept. */
export interface Way {
  readonly name: string
  readonly server: ServerKind
  connect (port: number): Promise<Conversation>
}

export const ways: readonly Way[] = [
  { name: 'MQTT 3.1.1, QoS 0, each in a write of its own', server: 'mqtt', connect: port => mqtt(port, 0, 1) },
  { name: 'MQTT 3.1.1, QoS 0, 32 in a write', server: 'mqtt', connect: port => mqtt(port, 0, 32) },
  { name: 'MQTT 3.1.1, QoS 1, one at a time', server: 'mqtt', connect: port => mqtt(port, 1, 1) },
  { name: 'HTTP/1.1 keep-alive, one at a time', server: 'http1', connect: port => http1(port, 1) },
  { name: 'HTTP/2, one at a time', server: 'http2', connect: port => http2(port, 1) },
  { name: 'MQTT 3.1.1, QoS 1, 32 under way', server: 'mqtt', connect: port => mqtt(port, 1, 32) },
  { name: 'HTTP/1.1 pipelined, 32 under way', server: 'http1', connect: port => http1(port, 32) },
  { name: 'HTTP/2, 32 streams under way', server: 'http2', connect: port => http2(port, 32) },
]

async function tcp (port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').setNoDelay(true)
  await once(socket, 'connect')
  return socket
}

const end = Buffer.from('\r\n\r\n')

/** As little as HTTP/1.1 lets a client say; a library says more. */
async function http1 (port: number, window: number): Promise<Conversation> {
  const requests = readings.map(({ sensor, payload }) => Buffer.concat([
    Buffer.from(`POST /readings/${sensor} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\nContent-Length: ${payload.length}\r\n\r\n`), payload,
  ]))
  let matched = 0
  const countResponses = (chunk: Buffer): number => { // 204 has no body, so the end of a head is the end of a response
    let count = 0
    for (const byte of chunk) {
      matched = byte === end[matched] ? matched + 1 : byte === 13 ? 1 : 0
      if (matched < end.length) continue
      matched = 0
      count++
    }
    return count
  }
  return conversation(await tcp(port), requests, window, countResponses)
}

async function mqtt (port: number, qos: 0 | 1, window: number): Promise<Conversation> {
  const socket = await tcp(port)
  socket.write(Buffer.from([0x10, 18, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 6, ...Buffer.from('sensor')]))
  await once(socket, 'data')
  const frames = readings.map((reading, i) => publishFrame(reading, qos, i + 1))
  if (qos === 1) return conversation(socket, frames, window, chunk => chunk.length / 4) // PUBACK has 4 bytes
  return { sendAll: () => sendUnconfirmed(socket, frames, window), close: () => { socket.destroy() } }
}

function publishFrame ({ sensor, payload }: Reading, qos: 0 | 1, packetIdentifier: number): Buffer {
  const topic = Buffer.from(`readings/${sensor}`)
  const identifier = qos === 0 ? [] : [packetIdentifier >> 8, packetIdentifier & 0xff]
  const length = 2 + topic.length + identifier.length + payload.length
  return Buffer.concat([Buffer.from([0x30 | qos << 1, length, 0, topic.length]), topic, Buffer.from(identifier), payload])
}

/** Nothing comes back for QoS 0: one PINGREQ behind the last message says when all were handled, since packets are handled in order. */
async function sendUnconfirmed (socket: Socket, frames: readonly Buffer[], window: number): Promise<void> {
  for (let i = 0; i < frames.length; i += window) {
    socket.write(window === 1 ? frames[i] as Buffer : Buffer.concat(frames.slice(i, i + window)))
  }
  socket.write(Buffer.from([0xc0, 0]))
  await once(socket, 'data')
}

/** Keeps `window` requests under way until each has its response; those that may go at the same time go in one write. */
function conversation (socket: Socket, requests: readonly Buffer[], window: number, countResponses: (chunk: Buffer) => number): Conversation {
  let sent = 0
  let confirmed = 0
  let done: () => void = () => undefined
  const fill = (): void => {
    const next = Math.min(confirmed + window, requests.length)
    if (next > sent) socket.write(next === sent + 1 ? requests[sent] as Buffer : Buffer.concat(requests.slice(sent, next)))
    sent = next
  }
  socket.on('data', chunk => {
    confirmed += countResponses(chunk)
    if (confirmed === requests.length) done()
    else fill()
  })
  return {
    sendAll: () => new Promise(resolve => {
      sent = confirmed = 0
      done = resolve
      fill()
    }),
    close: () => { socket.destroy() },
  }
}

async function http2 (port: number, window: number): Promise<Conversation> {
  const session = connectHttp2(`http://127.0.0.1:${port}`)
  await once(session, 'remoteSettings')
  return { sendAll: () => sendStreams(session, window), close: () => { session.destroy() } }
}

async function sendStreams (session: ClientHttp2Session, window: number): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let reading = readings[next++]; reading !== undefined; reading = readings[next++]) await post(session, reading)
  }
  await Promise.all(Array.from({ length: window }, worker))
}

function post (session: ClientHttp2Session, { sensor, payload }: Reading): Promise<void> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ':method': 'POST', ':path': `/readings/${sensor}`, 'content-type': 'application/json', 'content-length': payload.length })
    stream.on('response', ({ ':status': status }) => { if (status !== 204) reject(new Error(`status ${status ?? 'missing'}`)) })
    stream.on('error', reject).on('close', resolve).resume()
    stream.end(payload)
  })
}
