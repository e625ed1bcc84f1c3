import t, { type Test } from 'tap'
import { ErrorCode, type Changes, type ClusterChanges } from '../../lib/index.ts'
import { redisPersistence, type RedisOptions } from '../../plugins/redis/index.ts'
import { RedisStore } from '../../plugins/redis/store/redis-store.ts'
import { sessionRecord } from '../contract/store/store-records.ts'
import { RedisServer } from '../support/redis/redis-server.ts'

/** One for all tests of a file; it is emptied after each of them. */
export const server: RedisServer = await RedisServer.start()
t.teardown(() => server.stop())

/** Keys that stay when nothing is stored. */
export const fixedKeys: readonly string[] = ['{myelin}:last', '{myelin}:n', '{myelin}:v']

/** A store that is open until the test ends; what it has kept is gone then. */
export async function opened (t: Test, options: Partial<RedisOptions> = {}): Promise<RedisStore> {
  const store = redisPersistence({ redis: server.url, ...options })
  if (!(store instanceof RedisStore)) throw new Error('it is another one')
  t.teardown(async () => {
    store.close()
    await server.flush()
  })
  await store.open()
  return store
}

/** The same as one of two nodes, 1 and 2. */
export async function node (t: Test, options: Partial<RedisOptions> = {}): Promise<RedisStore> {
  const store = await opened(t, options)
  store.hasEmitter = true
  for (const generation of [1, 2]) {
    await store.link.command('HSET', 'nodes', generation, '{}')
    await store.link.command('HSET', 'last', generation, 0)
  }
  store.pipe.begin(1)
  return store
}

export function toOthers (changes: Partial<ClusterChanges>): ClusterChanges {
  return { routes: new Map(), sends: [], moves: undefined, settled: 0, released: [], begun: [], presence: new Map(), expired: new Map(), recovered: [], taken: [], handedOn: new Map(), publishers: [], ...changes }
}

export function command (name: string, key: string, ...more: (string | number)[]): Promise<unknown> {
  return server.command(name, `{myelin}:${key}`, ...more)
}

export function withCode (code: ErrorCode, message = /./): { code: ErrorCode, message: RegExp } { return { code, message } }

export function refusal (fenced: readonly number[], moves: number): { code: ErrorCode, fenced: readonly number[], moves: number } {
  return { code: ErrorCode.sessionTakenOver, fenced, moves }
}

/** Changes that begin Sessions, as many as there are names. */
export function begin (...names: string[]): Pick<Changes, 'sessions' | 'cluster'> {
  return {
    sessions: new Map(names.map((name, i) => [i + 1, sessionRecord(name)])),
    cluster: toOthers({ begun: names.map((clientIdentifier, i) => ({ clientIdentifier, session: i + 1 })) }),
  }
}
