import type { Duplex } from 'node:stream'
import type { UpgradeRefusal } from './websocket-options.ts'

const reasonPhrases: ReadonlyMap<number, string> = new Map([
  [400, 'Bad Request'], [401, 'Unauthorized'], [403, 'Forbidden'], [404, 'Not Found'],
  [429, 'Too Many Requests'], [500, 'Internal Server Error'], [503, 'Service Unavailable'],
])

/** Fields that say how the answer is framed, which is not the host's to say. */
const framing: ReadonlySet<string> = new Set(['connection', 'content-length', 'transfer-encoding'])

/** @throws Error for a header that would break the answer into two */
export function checkHeaders (headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) {
    const isRight = /^[\w!#$%&'*+.^`|~-]+$/.test(name) && /^[\t\x20-\x7e\x80-\xff]*$/.test(value)
    if (!isRight) throw new Error(`the header ${JSON.stringify(name)} has a name or a value that HTTP does not allow`)
  }
}

/** Answers in plain HTTP, and closes. The peer may be gone already, which must not become an error of the process. */
export function refuse (socket: Duplex, { status, headers = {} }: UpgradeRefusal): void {
  socket.on('error', destroySocket).once('finish', destroySocket)
  if (!socket.writable) { socket.destroy(); return }
  const fields = Object.entries(headers).filter(([name]) => !framing.has(name.toLowerCase())).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${reasonPhrases.get(status) ?? ''}\r\n${fields.join('')}Connection: close\r\nContent-Length: 0\r\n\r\n`, 'latin1')
}

function destroySocket (this: Duplex): void {
  this.destroy()
}
