// MQTT over WebSocket at ws://127.0.0.1:8080/mqtt, beside the routes of an HTTP server. With Express or Fastify it is the
// same: `broker.attach(server)` takes the http.Server that they have.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { createBroker } from 'myelin'

const broker = await createBroker()

async function route (request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname } = new URL(request.url ?? '/', 'http://localhost')
  if (request.method === 'GET' && pathname === '/clients') {
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify([...broker.clients()].map(({ clientIdentifier }) => clientIdentifier)))
  } else if (request.method === 'POST' && pathname.startsWith('/publish/')) {
    await broker.publish(decodeURIComponent(pathname.slice('/publish/'.length)), await text(request), { qos: 1 })
    response.writeHead(204).end()
  } else response.writeHead(404).end('not found\n')
}

const server = createServer((request, response) => {
  route(request, response).catch((error: unknown) => { response.writeHead(400).end(`${String(error)}\n`) })
})
broker.attach(server, { path: '/mqtt' })
server.listen(8080, '127.0.0.1')

process.once('SIGTERM', () => {
  server.close()      // the server is the host's
  void broker.close() // ends the connections, WebSockets included
})
