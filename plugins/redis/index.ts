export type { Connection, RedisOptions } from './options.ts'
export { redisCluster } from './redis-cluster.ts'
export { redisEmitter } from './redis-emitter.ts'
export { redisPersistence } from './redis-store.ts'
