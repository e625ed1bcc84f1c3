import { setTimeout as delay } from 'node:timers/promises'
import { Cluster, type RedisOptions } from 'ioredis'
import type { Test } from 'tap'
import { freePort } from '../../../benchmarks/runner/free-port.ts'
import { RedisServer } from './redis-server.ts'

/** Resolves when something is so that other processes bring about, and do not tell. */
export async function eventually (what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 25_000; !await isSo();) {
    if (Date.now() > end) throw new Error(`waited for ever until ${what}`)
    await delay(20)
  }
}

/** Three primaries and a replica of each. */
export class TestRedisCluster {
  readonly servers: readonly RedisServer[]
  readonly #cluster: Cluster

  private constructor (servers: readonly RedisServer[]) {
    this.servers = servers
    this.#cluster = this.connect()
  }

  static async start (t: Test): Promise<TestRedisCluster> {
    const servers = await Promise.all(Array.from({ length: 6 }, startMember))
    t.teardown(() => Promise.all(servers.map(server => server.stop())))
    await form(servers)
    const cluster = new TestRedisCluster(servers)
    t.teardown(() => { cluster.#cluster.disconnect() })
    return cluster
  }

  /** What a host gives to the plugin. */
  connect (): Cluster {
    const nodes = this.servers.map(({ port }) => ({ host: '127.0.0.1', port }))
    const cluster = new Cluster(nodes, { clusterRetryStrategy: () => 50, redisOptions: { protocol: 2 }, lazyConnect: true })
    return cluster.on('error', () => undefined)
  }

  async command (name: string, ...parameters: (string | number)[]): Promise<unknown> { return this.#cluster.call(name, ...parameters.map(String)) }

  async keys (): Promise<string[]> {
    const pages = await Promise.all(this.#cluster.nodes('master').map(node => node.keys('*')))
    return pages.flat().sort()
  }

  /** The primary that has a key, and its replica, once that has something. */
  async ownersOf (key: string): Promise<{ readonly primary: RedisServer, readonly replica: RedisServer }> {
    const slot = Number(await this.command('CLUSTER', 'KEYSLOT', key))
    let ports: (readonly [string, number])[] = []
    await eventually('two have the slot', async () => {
      const slots = await this.command('CLUSTER', 'SLOTS') as [number, number, ...[string, number][]][]
      const [, , ...members] = slots.find(([first, last]) => slot >= first && slot <= last) ?? []
      ports = members
      return members.length === 2
    })
    const [primary, replica] = ports.map(([, port]) => this.servers.find(server => server.port === port)) as [RedisServer, RedisServer]
    return { primary, replica }
  }
}

async function startMember (): Promise<RedisServer> {
  const busPort = await freePort()
  return RedisServer.start({ settings: ['--cluster-enabled', 'yes', '--cluster-node-timeout', '1000', '--cluster-port', String(busPort), '--repl-diskless-sync-delay', '0'] })
}

async function form (servers: readonly RedisServer[]): Promise<void> {
  const primaries = servers.slice(0, 3)
  const slots = [[0, 5_460], [5_461, 10_922], [10_923, 16_383]]
  for (const [i, server] of servers.entries()) await server.command('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
  for (const [i, server] of primaries.entries()) await server.command('CLUSTER', 'ADDSLOTSRANGE', ...slots[i] ?? [])
  const [first] = servers as readonly [RedisServer]
  for (const server of servers.slice(1)) await first.command('CLUSTER', 'MEET', '127.0.0.1', server.port, await busPortOf(server))
  await all(servers, 'all know each other', async server => (await infoOf(server)).includes('cluster_known_nodes:6') && (await infoOf(server)).includes('cluster_state:ok'))
  const names = await Promise.all(primaries.map(server => server.command('CLUSTER', 'MYID')))
  for (const [i, server] of servers.slice(3).entries()) await server.command('CLUSTER', 'REPLICATE', String(names[i]))
  await all(servers.slice(3), 'replicas have everything', hasEverything)
  await all(primaries, 'primaries know of their replicas', async server => String(await server.command('INFO', 'replication')).includes('state=online'))
  await all(servers, 'all know who is a replica', async server => String(await server.command('CLUSTER', 'NODES')).split(' slave ').length >= 4 - Number(servers.indexOf(server) > 2))
}

async function all (servers: readonly RedisServer[], what: string, isSo: (server: RedisServer) => Promise<boolean>): Promise<void> {
  await Promise.all(servers.map(server => eventually(what, () => isSo(server))))
}

async function busPortOf (server: RedisServer): Promise<string> {
  const [, port] = await server.command('CONFIG', 'GET', 'cluster-port') as [string, string]
  return port
}

async function infoOf (server: RedisServer): Promise<string> { return String(await server.command('CLUSTER', 'INFO')) }

export async function hasEverything (server: RedisServer): Promise<boolean> {
  return String(await server.command('INFO', 'replication')).includes('master_link_status:up')
}

/** A primary, its replica and three that watch them. */
export class TestSentinel {
  readonly primary: RedisServer
  readonly replica: RedisServer
  readonly sentinels: readonly RedisServer[]
  #current: RedisServer

  private constructor (primary: RedisServer, replica: RedisServer, sentinels: readonly RedisServer[]) {
    this.primary = primary
    this.replica = replica
    this.sentinels = sentinels
    this.#current = primary
  }

  static async start (t: Test): Promise<TestSentinel> {
    const primary = await RedisServer.start()
    const replica = await RedisServer.start({ settings: ['--replicaof', '127.0.0.1', String(primary.port), '--repl-diskless-sync-delay', '0'] })
    const lines = [
      `sentinel monitor main 127.0.0.1 ${primary.port} 2`, 'sentinel down-after-milliseconds main 500', 'sentinel failover-timeout main 2000',
    ]
    await eventually('the replica has everything', () => hasEverything(replica))
    const sentinels = await Promise.all([1, 2, 3].map(() => RedisServer.start({ sentinel: lines })))
    t.teardown(() => Promise.all([primary, replica, ...sentinels].map(server => server.stop())))
    await all(sentinels, 'they know each other and the replica', async sentinel => {
      const fields = (await sentinel.command('SENTINEL', 'MASTER', 'main') as string[]).join(' ')
      return fields.includes('num-other-sentinels 2') && fields.includes('num-slaves 1')
    })
    return new TestSentinel(primary, replica, sentinels)
  }

  /** What a host gives to the plugin. */
  get options (): RedisOptions {
    return { name: 'main', sentinels: this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port })), sentinelRetryStrategy: () => 50 }
  }

  async command (name: string, ...parameters: (string | number)[]): Promise<unknown> { return this.#current.command(name, ...parameters) }

  async keys (): Promise<string[]> { return this.#current.keys() }

  /** The primary is gone, and has nothing that the replica has not. */
  async kill (): Promise<void> {
    await this.primary.command('WAIT', 1, 0)
    await this.primary.kill()
    this.#current = this.replica
  }

  /** Resolves when the replica is the primary. */
  async failedOver (): Promise<void> {
    await eventually('the replica is the primary', async () => String(await this.replica.command('ROLE')).startsWith('master'))
  }
}
