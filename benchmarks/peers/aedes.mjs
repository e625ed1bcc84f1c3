// Aedes on a port of 127.0.0.1: `node aedes.mjs PORT tcp|websocket [FOLDER]`, with a folder by aedes-persistence-level. As its documentation
// starts it, but for the limits that a load test hits.
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'

const [port, access, folder] = process.argv.slice(2)
const broker = await Aedes.createBroker({ queueLimit: 100_000, maxInflightInbound: 0, ...folder !== undefined && { persistence: await levelIn(folder) } })
const server = access === 'websocket' ? createHttpServer() : createServer({ noDelay: true }, broker.handle)
if (access === 'websocket') {
  new WebSocketServer({ server }).on('connection', (socket, request) => { broker.handle(createWebSocketStream(socket), request) })
}
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })

async function levelIn (folder) {
  const [{ default: persistence }, { Level }] = await Promise.all([import('aedes-persistence-level'), import('level')])
  return persistence(new Level(folder))
}
