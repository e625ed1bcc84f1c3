import { ErrorCode, MqttError, type Emitter, type Store } from '../../lib/index.ts'
import type { LmdbOptions } from '../lmdb/index.ts'
import { CommandError, failure, usageError } from './command-error.ts'
import { withPeers } from './peers.ts'

const storeCodes: readonly ErrorCode[] = [ErrorCode.storeInUse, ErrorCode.storeTooNew, ErrorCode.storeFull, ErrorCode.storeFailed]

/** Of what a store refused its message, which says what to do; anything else as it is. */
export function storeFailure (error: unknown): unknown {
  return error instanceof MqttError && storeCodes.includes(error.code) ? failure(error.message, error) : error
}

async function load (otherwise: string): Promise<(options: LmdbOptions) => Store> {
  try {
    return (await withPeers(() => import('../lmdb/index.ts'), otherwise)).lmdbPersistence
  } catch (error) {
    if (error instanceof CommandError) throw error
    // It is machine code: there may be none for this platform.
    throw failure(`the package lmdb cannot be loaded: ${error instanceof Error ? error.message : String(error)}${otherwise}`, error)
  }
}

/**
 * The store of a cluster on Redis, and what connects its nodes; not open yet.
 * @throws {CommandError} that says what to install
 */
export async function redisStore (redis: string, prefix: string): Promise<{ readonly persistence: Store, readonly emitter: Emitter }> {
  const { redisCluster } = await withPeers(() => import('../redis/index.ts'))
  try {
    return redisCluster({ redis, prefix })
  } catch (error) {
    if (error instanceof MqttError && error.code === ErrorCode.optionInvalid) throw usageError(error.message.replace(/^option "redis"/, '--redis').replace(/^option "prefix"/, '--redis-prefix'))
    throw error
  }
}

/**
 * The store of a directory; not open yet.
 * @param otherwise what one can do when the package for it is missing
 * @throws {CommandError} that says what to install
 */
export async function dataStore (options: LmdbOptions, otherwise = ''): Promise<Store> {
  const lmdbPersistence = await load(otherwise)
  return lmdbPersistence(options)
}
