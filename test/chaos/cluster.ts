import { EventEmitter, once } from 'node:events'
import type { Served } from '../crash/world.ts'
import { RedisServer } from '../support/redis/redis-server.ts'
import { NodeProcess, type NodeOptions } from './node-process.ts'
import { RedisProxy } from './redis-proxy.ts'

/** A Redis that keeps what it has answered, and nodes that reach it each over a network of its own. */
export class Cluster implements Served {
  readonly redis: RedisServer
  readonly nodes: readonly NodeProcess[]
  readonly leaseMs: number
  readonly incarnation: number = 0
  /** Rejects when a node ends by itself. */
  readonly failed: Promise<never>
  readonly #events: EventEmitter

  private constructor (redis: RedisServer, proxies: readonly RedisProxy[], options: NodeOptions) {
    const events = new EventEmitter().setMaxListeners(0)
    this.redis = redis
    this.leaseMs = options.leaseMs
    this.nodes = proxies.map((proxy, index) => new NodeProcess(`node-${index + 1}`, proxy, options, events))
    this.failed = new Promise((_resolve, reject) => { events.once('failed', reject) })
    this.failed.catch(() => undefined) // whoever waits for it hears of it
    this.#events = events
  }

  static async start (count: number, options: NodeOptions): Promise<Cluster> {
    // Written before it is answered: a Redis that is killed then has lost nothing that it has said.
    const redis = await RedisServer.start({ appendOnly: true, settings: ['--appendfsync', 'always'] })
    const proxies: RedisProxy[] = []
    for (let i = 0; i < count; i++) proxies.push(await RedisProxy.start(redis.port))
    const cluster = new Cluster(redis, proxies, options)
    for (const node of cluster.nodes) node.start()
    await Promise.race([Promise.all(cluster.nodes.map(node => node.up())), cluster.failed])
    return cluster
  }

  /** Of any node. */
  get port (): number | undefined { return this.awake()[0]?.port }

  /** The nodes that can be reached. */
  awake (): NodeProcess[] { return this.nodes.filter(({ port }) => port !== undefined) }

  async up (): Promise<number> {
    for (;;) {
      const { port } = this
      if (port !== undefined) return port
      await this.changed()
    }
  }

  /** Resolves when a node comes or goes. */
  async changed (): Promise<void> { await once(this.#events, 'change') }

  async close (): Promise<void> {
    for (const node of this.nodes) {
      node.close()
      node.proxy.close()
    }
    await this.redis.stop()
  }
}
