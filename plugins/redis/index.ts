export type { Connection, RedisOptions } from './link/options.ts'
export { redisCluster } from './redis-cluster.ts'
export { redisEmitter } from './emitter/redis-emitter.ts'
export { redisPersistence } from './store/redis-store.ts'
