// A host with a store that tells, in a line of JSON, how long it took to start and what it occupies:
// `node --expose-gc durable.js PORT FOLDER_OF_MYELIN FOLDER_OF_DATA power|process`
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { createBroker as CreateBroker } from '../../lib/index.ts'
import type { lmdbPersistence as LmdbPersistence } from '../../plugins/lmdb/index.ts'

const [port, root = '.', path = '', durability] = process.argv.slice(2)
const load = async (file: string): Promise<unknown> => import(pathToFileURL(join(root, file)).href)
const { createBroker } = await load('dist/lib/index.js') as { createBroker: typeof CreateBroker }
const { lmdbPersistence } = await load('dist/plugins/lmdb/index.js') as { lmdbPersistence: typeof LmdbPersistence }
const heapBytes = (): number => {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

const heapBefore = heapBytes()
const openedAt = performance.now()
const broker = await createBroker({
  persistence: lmdbPersistence({ path, durability: durability === 'process' ? 'process' : 'power' }),
  limits: { maximumQueuedMessages: 10_000_000, maximumQueuedBytes: 2 ** 34, maximumTotalQueuedBytes: 2 ** 34 },
})
const openMs = performance.now() - openedAt
const server = createServer({ noDelay: true }, broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
await once(server, 'listening')
const readyMs = performance.now() // since the process began
const { rss } = process.memoryUsage()
console.log(JSON.stringify({ openMs, readyMs, rssMb: rss / 1e6, heapMb: (heapBytes() - heapBefore) / 1e6, queuedMessages: broker.metrics.queuedMessages }))
