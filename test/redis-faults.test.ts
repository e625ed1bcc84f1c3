import t from 'tap'
import { Redis } from 'ioredis'
import { createBroker } from '../lib/index.ts'
import { redisCluster } from '../plugins/redis/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { startRedis } from './support/redis/redis-server.ts'

t.test('a broker that is closed while Redis is away lets everything go', async t => {
  const redis = await startRedis(t)
  const connections: Redis[] = []
  const hosts = new Redis(redis.url, { lazyConnect: true })
  const duplicate = hosts.duplicate.bind(hosts)
  hosts.duplicate = options => {
    const connection = duplicate(options)
    connections.push(connection)
    return connection
  }
  const clock = new FakeClock()
  const broker = await createBroker({ ...redisCluster({ redis: hosts }), closeTimeoutMs: 0, clock })
  await redis.kill()
  const publishing = t.rejects(broker.publish('a', 'x', { qos: 1, retain: true }))
  await clock.advance(100)
  const closing = broker.close()
  await clock.advance(5_000)
  await closing
  await publishing
  await clock.advance(5_000)
  t.equal(clock.pending, 0, 'nothing is planned')
  t.same(connections.map(connection => Reflect.get(connection, 'reconnectTimeout') as unknown), [null, null, null], 'no connection is tried again')
  for (const connection of connections) connection.disconnect()
})
