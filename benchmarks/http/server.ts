/**
 * One server in a process of its own: `server.js mqtt | http1 | http2`. Each gives its host the parsed reading, and answers no
 * sooner. Tells its parent the port, and its CPU time in microseconds when asked.
 */
import { createRequire } from 'node:module'
import { createServer, type AddressInfo } from 'node:net'
import { resolve } from 'node:path'
import { createBroker } from '../../lib/index.ts'

export type ServerKind = 'mqtt' | 'http1' | 'http2'

/** What is used of Fastify, which is installed for this comparison only. */
interface FastifyInstance {
  post (path: string, handler: (request: { body: unknown, params: { sensor: string } }, reply: { code (status: number): { send (): unknown } }) => unknown): void
  listen (options: { host: string, port: number }): Promise<string>
  server: { address (): AddressInfo }
}

let taken = 0

function take (sensor: string, reading: unknown): void {
  if (typeof reading !== 'object' || sensor === '') throw new Error('that is no reading')
  taken++
}

async function listenMqtt (): Promise<number> {
  const broker = await createBroker({
    limits: { receiveMaximum: 65_535 },
    hooks: { published: ({ client, message }) => { if (client !== undefined) take(message.topicName.slice(9), JSON.parse(message.payload.toString())) } },
  })
  const server = createServer(broker.handle)
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  return (server.address() as AddressInfo).port
}

async function listenHttp (http2: boolean): Promise<number> {
  const { fastify } = createRequire(resolve('benchmarks/http/package.json'))('fastify') as { fastify: (options: object) => FastifyInstance }
  const app = fastify(http2 ? { http2 } : {})
  app.post('/readings/:sensor', ({ body, params }, reply) => {
    take(params.sensor, body)
    return reply.code(204).send()
  })
  await app.listen({ host: '127.0.0.1', port: 0 })
  return app.server.address().port
}

const kind = process.argv[2] as ServerKind
const port = kind === 'mqtt' ? await listenMqtt() : await listenHttp(kind === 'http2')
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ cpu: user + system, taken })
})
process.on('disconnect', () => process.exit())
process.send?.({ port })
