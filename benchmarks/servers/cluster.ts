// One node of a cluster on Redis: `node cluster.js PORT FOLDER_OF_MYELIN REDIS_PORT`
import { createServer } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { createBroker as CreateBroker } from '../../lib/index.ts'
import type { redisCluster as RedisCluster } from '../../plugins/redis/index.ts'

const [port, root = '.', redisPort] = process.argv.slice(2)
const load = async (file: string): Promise<unknown> => import(pathToFileURL(join(root, file)).href)
const { createBroker } = await load('dist/lib/index.js') as { createBroker: typeof CreateBroker }
const { redisCluster } = await load('dist/plugins/redis/index.js') as { redisCluster: typeof RedisCluster }

const broker = await createBroker(redisCluster({ redis: { host: '127.0.0.1', port: Number(redisPort) } }))
createServer({ noDelay: true }, broker.handle).listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
