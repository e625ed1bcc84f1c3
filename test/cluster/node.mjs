// One node of a cluster in a process of its own, as it was built:
//   node node.mjs --redis PORT [--name NAME] [--prefix PREFIX] [--lease MS] [--limits JSON] [--sys MS] [--log LEVEL]
// Prints its ports as a line of JSON. With a channel to its parent it answers what it is asked, and ends when the parent does.
import { createServer as createHttpServer } from 'node:http'
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { createBroker } from '../../dist/lib/index.js'
import { redisCluster } from '../../dist/plugins/redis/index.js'

const text = { type: 'string' }
const { values } = parseArgs({ options: { redis: text, name: text, prefix: text, lease: text, limits: text, sys: text, log: text } })
const levels = ['debug', 'info', 'warn', 'error']
const least = levels.indexOf(values.log ?? 'error')
const say = level => (details, message) => {
  if (levels.indexOf(level) >= least) process.stderr.write(`${values.name ?? ''} ${level}: ${message} ${JSON.stringify(shown(details))}\n`)
}

/** Errors in it, which JSON would leave out. */
function shown (details) {
  return Object.fromEntries(Object.entries(details).map(([name, value]) => [name, value instanceof Error ? value.message : value]))
}

const broker = await createBroker({
  ...redisCluster({
    redis: { host: '127.0.0.1', port: Number(values.redis) },
    ...values.prefix !== undefined && { prefix: values.prefix },
    ...values.lease !== undefined && { leaseMs: Number(values.lease) },
  }),
  ...values.name !== undefined && { nodeName: values.name },
  ...values.limits !== undefined && { limits: JSON.parse(values.limits) },
  ...values.sys !== undefined && { sysIntervalMs: Number(values.sys) },
  logger: Object.fromEntries(levels.map(level => [level, say(level)])),
})

const server = createServer({ noDelay: true }, broker.handle)
const webServer = createHttpServer()
broker.attach(webServer)
const [port, wsPort] = await Promise.all([server, webServer].map(listen))
console.log(JSON.stringify({ port, wsPort }))

function listen (server) {
  return new Promise(resolve => { server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => { resolve(server.address().port) }) })
}

/** What the parent may ask; undefined where this broker cannot say. */
const answers = {
  clients: async () => { if (broker.cluster !== undefined) return listOf(await broker.cluster.clients()) },
  nodes: async () => { if (broker.cluster !== undefined) return listOf(await broker.cluster.nodes()) },
  metrics: async () => broker.metrics,
}

async function listOf (items) {
  const list = []
  for await (const item of items) list.push(item)
  return list
}

process.on('message', async ({ id, ask }) => {
  try {
    process.send({ id, value: await answers[ask]() })
  } catch (error) {
    process.send({ id, error: String(error) })
  }
})
process.once('disconnect', () => { process.exit(1) })
process.once('SIGTERM', async () => {
  server.close()
  webServer.close()
  await broker.close()
  process.exit(0)
})
