// One of several Aedes that are one broker through Redis: `node aedes-cluster.mjs PORT REDIS_PORT`. As their documentation starts them,
// but for the limits that a load test hits.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'
import persistenceRedis from 'aedes-persistence-redis'
import emitterRedis from 'mqemitter-redis'

const [port, redisPort] = process.argv.slice(2).map(Number)
const redis = { host: '127.0.0.1', port: redisPort }
const broker = await Aedes.createBroker({
  queueLimit: 100_000, maxInflightInbound: 0, mq: emitterRedis({ ...redis, concurrency: 100 }), persistence: persistenceRedis({ ...redis, maxSessionDelivery: 1_000_000 }),
})
createServer({ noDelay: true }, broker.handle).listen({ port, host: '127.0.0.1', backlog: 4096 })
