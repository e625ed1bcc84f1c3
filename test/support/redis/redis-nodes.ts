import { once } from 'node:events'
import { Redis } from 'ioredis'
import type { Emitter } from '../../../lib/index.ts'
import type { RedisOptions } from '../../../plugins/redis/index.ts'
import { redisEmitter, type RedisEmitter } from '../../../plugins/redis/emitter/redis-emitter.ts'
import { redisPersistence } from '../../../plugins/redis/store/redis-store.ts'
import type { TestCluster } from '../../contract/emitter/emitter-harness.ts'

/** What a test asks of a Redis, whatever it consists of. */
export interface TestRedis {
  command (name: string, ...parameters: (string | number)[]): Promise<unknown>
  keys (): Promise<string[]>
}

let clusters = 0

/** Nodes that share a prefix of their own. */
export class RedisNodes implements TestCluster {
  readonly prefix: string
  readonly #server: TestRedis
  readonly #redis: RedisOptions['redis']
  readonly #emitters: RedisEmitter[] = []
  readonly #connections = new Map<Emitter, readonly Redis[]>()

  /** @param redis what nodes are given to reach it */
  constructor (server: TestRedis, redis: RedisOptions['redis'], prefix: string = `cluster-${++clusters}`) {
    this.prefix = prefix
    this.#server = server
    this.#redis = redis
  }

  /** @param options other than those that all nodes are to have */
  node (options: Partial<RedisOptions> = {}): { readonly persistence: RedisEmitter['store'], readonly emitter: RedisEmitter } {
    const connections: Redis[] = []
    const redis = typeof this.#redis === 'string' ? noting(new Redis(this.#redis, { lazyConnect: true }), connections) : this.#redis
    const emitter = redisEmitter(redisPersistence({ redis, prefix: this.prefix, ...options }))
    this.#emitters.push(emitter)
    this.#connections.set(emitter, connections)
    return { persistence: emitter.store, emitter }
  }

  kill (emitter: Emitter): void {
    for (const ours of this.#emitters) if (ours === emitter) ours.abandon()
    void emitter.store.close()
  }

  /** Where nodes are given a URL. */
  async outrun (emitter: Emitter, run: () => Promise<void>): Promise<void> {
    const connections = (this.#connections.get(emitter) ?? []).filter(({ status }) => status === 'ready')
    await Promise.all(connections.map(connection => {
      const ended = once(connection, 'end')
      connection.disconnect()
      return ended
    }))
    await run()
    await this.command('XTRIM', 'lg', 'MAXLEN', 1)
    await Promise.all(connections.map(connection => connection.connect()))
  }

  /** Instead of time, what is noted of it goes on. */
  async lapse (): Promise<void> {
    for (const generation of await this.command('ZRANGE', 'hb', 0, -1) as string[]) {
      await this.command('ZINCRBY', 'hb', -600_000, generation)
      await this.command('DEL', `reap:${generation}`)
    }
    await this.command('HSET', 'n', 'since', 1, 'heard', Date.now())
  }

  async left (): Promise<string[]> {
    const stays = ['lg', 'n', 'pr', 'v'].map(name => this.key(name))
    const keys = (await this.keys()).filter(key => !stays.includes(key))
    const calls = await this.command('HKEYS', 'last') as string[]
    return calls.join() === '0' ? keys.filter(key => key !== this.key('last')) : keys
  }

  async dispose (): Promise<void> {
    for (const emitter of this.#emitters) this.kill(emitter)
    const keys = await this.keys()
    if (keys.length > 0) await this.#server.command('DEL', ...keys)
  }

  async keys (): Promise<string[]> { return (await this.#server.keys()).filter(key => key.startsWith(this.key(''))) }

  key (name: string): string { return `{${this.prefix}}:${name}` }

  command (name: string, key: string, ...more: (string | number)[]): Promise<unknown> { return this.#server.command(name, this.key(key), ...more) }
}

/** Notes which connections are made of it. */
function noting (host: Redis, connections: Redis[]): Redis {
  const duplicate = host.duplicate.bind(host)
  host.duplicate = own => {
    const connection = duplicate(own)
    connections.push(connection)
    return connection
  }
  return host
}
