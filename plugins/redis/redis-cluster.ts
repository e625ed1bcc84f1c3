import type { Emitter, Store } from '../../lib/index.ts'
import type { RedisOptions } from './link/options.ts'
import { redisEmitter } from './emitter/redis-emitter.ts'
import { redisPersistence } from './store/redis-store.ts'

/**
 * Both parts of a cluster, for one broker. Every broker with the same Redis and the same prefix is part of it.
 *
 * ```ts
 * createBroker({ ...redisCluster({ redis: 'redis://127.0.0.1:6379' }) })
 * ```
 * @throws MqttError `MQTT_OPTION_INVALID`
 */
export function redisCluster (options: RedisOptions): { readonly persistence: Store, readonly emitter: Emitter } {
  const persistence = redisPersistence(options)
  return { persistence, emitter: redisEmitter(persistence) }
}
