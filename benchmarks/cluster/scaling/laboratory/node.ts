// One node of a cluster that is measured, started by laboratory.ts: `node --expose-gc node.js REDIS_PORT`. It says its port, and what memory it has when it is asked.
import { createServer, type AddressInfo } from 'node:net'
import { createBroker } from '../../../../lib/index.ts'
import { redisCluster } from '../../../../plugins/redis/index.ts'

/** What a node tells of itself. */
export interface NodeMemory {
  /** Bytes that are in use: the heap and what hangs on it. */
  readonly used: number
  readonly resident: number
}

const broker = await createBroker(redisCluster({ redis: { host: '127.0.0.1', port: Number(process.argv[2]) } }))
const server = createServer({ noDelay: true }, broker.handle).listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
server.on('listening', () => { process.send?.((server.address() as AddressInfo).port) })

process.on('message', () => {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
  const { heapUsed, external, rss } = process.memoryUsage()
  process.send?.({ used: heapUsed + external, resident: rss } satisfies NodeMemory)
})
process.on('disconnect', () => { process.exit() })
