import t, { type Test } from 'tap'
import type { IClientOptions } from 'mqtt'
import type { RealClient } from './support/network/network.ts'
import { RedisBrokers, type RedisBroker } from './support/redis/redis-brokers.ts'
import { hasEverything, eventually } from './support/redis/redis-topologies.ts'
import { censusFaults, remains, takeCensus } from './chaos/census.ts'
import { RedisServer, startRedis } from './support/redis/redis-server.ts'

t.setTimeout(120_000) // on a busy machine

/** Publishes numbers, a thousand bytes each, without waiting for more than some of them to be acknowledged. */
class Load {
  readonly topic: string
  published = 0
  acknowledged = 0
  isStopped = false
  readonly done: Promise<unknown>
  readonly #publisher: RealClient
  readonly #qos: 1 | 2

  constructor (publisher: RealClient, topic: string, qos: 1 | 2, atOnce: number) {
    this.topic = topic
    this.#publisher = publisher
    this.#qos = qos
    this.done = Promise.all(Array.from({ length: atOnce }, async () => this.#publish()))
  }

  async #publish (): Promise<void> {
    while (!this.isStopped) {
      await this.#publisher.mqtt.publishAsync(this.topic, String(this.published++).padEnd(1_000), { qos: this.#qos })
      this.acknowledged++
    }
  }
}

/** Numbers that have come, by topic. */
function numbersOf (client: RealClient): Map<string, number[]> {
  const numbers = new Map<string, number[]>()
  client.mqtt.on('message', (topic, payload) => { numbers.set(topic, [...numbers.get(topic) ?? [], Number(payload)]) })
  return numbers
}

function upTo (count: number): number[] { return Array.from({ length: count }, (_, i) => i) }

const away = 'the other nodes cannot be reached; acknowledgements wait'
const back = 'the other nodes can be reached again'

function linesOf ({ logger }: RedisBroker, message: string): number { return logger.lines.filter(line => line.message === message).length }

t.test('while Redis is away under load brokers stay up, bound what waits, say so, and catch up afterwards', async t => {
  const redis = await startRedis(t, { appendOnly: true, settings: ['--appendfsync', 'always'] })
  const maximumUncommittedBytes = 32 * 1024
  const world = new RedisBrokers(t, redis, { limits: { maximumUncommittedBytes, receiveMaximum: 1_000 }, sysIntervalMs: 1_000 })
  const [one, other] = [await world.add(), await world.add()]
  const { metrics } = one.broker
  const subscriber = await world.connect(other, 'subscriber')
  await world.whileTimePasses(subscriber.mqtt.subscribeAsync('load/#', { qos: 2 }))
  const numbers = numbersOf(subscriber)
  const neighbour = await world.connect(one, 'neighbour', { properties: { sessionExpiryInterval: 0 } })
  await world.whileTimePasses(neighbour.mqtt.subscribeAsync(['near', '$SYS/broker/cluster/reachable'], { qos: 1 }))
  const friend = await world.connect(one, 'friend', { properties: { sessionExpiryInterval: 0 } })
  await world.until('it says that it reaches the others', () => neighbour.unread === 1)
  t.strictSame(await neighbour.texts(1), ['1'])
  const loads = await Promise.all(([1, 2] as const).map(async qos => new Load(await world.connect(one, `publisher ${qos}`), `load/${qos}`, qos, 100)))
  const acknowledged = (): number => loads.reduce((sum, load) => sum + load.acknowledged, 0)
  await world.until('there is load', () => loads.every(load => load.acknowledged > 100))
  await redis.kill()

  await t.test('it is told, once', async t => {
    await world.until('both know', () => !one.isReachable && !other.isReachable)
    await world.until('$SYS says so', () => neighbour.unread === 1)
    t.strictSame(await neighbour.texts(1), ['0'])
    for (const node of [one, other]) t.strictSame([linesOf(node, away), linesOf(node, back), node.broker.metrics.clusterOutages], [1, 0, 1])
  })

  await t.test('publishers of what has to be stored are held back', async t => {
    await world.until('as much waits as may', () => metrics.uncommittedBytes >= maximumUncommittedBytes)
    await world.until('nothing more is read', async () => {
      const before = metrics.messagesReceived
      for (let i = 0; i < 10; i++) await one.clock.advance(0)
      return metrics.messagesReceived === before
    })
    const waiting = loads.reduce((sum, { published }) => sum + published, 0) - acknowledged()
    t.ok(metrics.uncommittedBytes < 2.5 * maximumUncommittedBytes && metrics.uncommittedBytes < waiting * 1_000, `${metrics.uncommittedBytes} bytes of ${waiting} messages`)
  })

  await t.test('Clients of one node still reach each other', async t => {
    const count = acknowledged()
    for (const qos of [0, 1, 2] as const) {
      await friend.mqtt.publishAsync('near', `QoS ${qos}`, { qos })
      t.strictSame(await neighbour.texts(1), [`QoS ${qos}`])
    }
    t.equal(acknowledged(), count, 'nothing is acknowledged that is not stored')
  })

  await t.test('QoS 0 for other nodes is dropped, who connects is refused', async t => {
    await friend.mqtt.publishAsync('load/0', 'x', { qos: 0 })
    await world.until('it is dropped', () => one.events.includes('drop unreachable -'))
    await t.rejects(world.connect(one, 'late'), { code: 0x88 })
  })

  await redis.run()
  await t.test('it goes on where it was', async t => {
    await world.until('both are back', () => one.isReachable && other.isReachable)
    const count = acknowledged()
    await world.until('there is load', () => acknowledged() > count + 300)
    for (const load of loads) load.isStopped = true
    await world.whileTimePasses(Promise.all(loads.map(({ done }) => done)))
    await world.until('all has arrived', () => loads.every(({ topic, published }) => (numbers.get(topic) ?? []).length >= published))
    for (const { topic, published } of loads) t.strictSame(numbers.get(topic), upTo(published), `${topic}: each once, in order`)
    t.equal(metrics.uncommittedBytes, 0)
    for (const node of [one, other]) t.strictSame([linesOf(node, away), linesOf(node, back), node.broker.metrics.clusterOutages], [1, 1, 1])
    await world.until('$SYS says so', () => neighbour.unread === 1)
    t.strictSame(await neighbour.texts(1), ['1'])
  })
})

t.test('while Redis has fewer replicas than it is to have, acknowledgements wait, and no publisher fails', async t => {
  const primary = await startRedis(t)
  const replica = await startRedis(t, { settings: ['--replicaof', '127.0.0.1', String(primary.port), '--repl-diskless-sync-delay', '0'] })
  await eventually('the replica has everything', () => hasEverything(replica))
  await primary.command('CONFIG', 'SET', 'min-replicas-to-write', 1)
  const world = new RedisBrokers(t, primary)
  const [one, other] = [await world.add(), await world.add()]
  const subscriber = await world.connect(other, 'subscriber')
  await world.whileTimePasses(subscriber.mqtt.subscribeAsync('a', { qos: 2 }))
  const publisher = await world.connect(one, 'publisher')
  await publisher.mqtt.publishAsync('a', 'before', { qos: 1 })
  await replica.kill()
  const acknowledged: number[] = []
  const published = Promise.all(([1, 2] as const).map(async qos => {
    await publisher.mqtt.publishAsync('a', `meanwhile ${qos}`, { qos })
    acknowledged.push(qos)
  }))
  await world.until('it is told', () => !one.isReachable && !other.isReachable)
  t.match(one.logger.lines.find(({ message }) => message === away)?.details, { err: { message: /NOREPLICAS/ } })
  t.strictSame(acknowledged, [])
  await replica.run()
  await world.whileTimePasses(published)
  t.strictSame(await subscriber.texts(3), ['before', 'meanwhile 1', 'meanwhile 2'])
  await world.until('both are back', () => one.isReachable && other.isReachable)
  for (const node of [one, other]) t.strictSame([linesOf(node, away), linesOf(node, back)], [1, 1])
})

const server = await RedisServer.start()
t.teardown(() => server.stop())

/** Three nodes, of which one sees to what the others leave. */
class Stage {
  readonly world: RedisBrokers
  readonly first: RedisBroker
  readonly second: RedisBroker
  readonly third: RedisBroker
  /** Who is connected when it is over. */
  readonly clients = new Map<string, RealClient>()

  private constructor (world: RedisBrokers, [first, second, third]: readonly [RedisBroker, RedisBroker, RedisBroker]) {
    this.world = world
    this.first = first
    this.second = second
    this.third = third
  }

  static async open (t: Test): Promise<Stage> {
    await server.flush()
    const world = new RedisBrokers(t, server, {}, 'keys')
    return new Stage(world, [await world.add(), await world.add(), await world.add()])
  }

  async connect (broker: RedisBroker, name: string, options: IClientOptions = {}): Promise<RealClient> {
    const client = await this.world.connect(broker, name, options)
    this.clients.set(name, client)
    return client
  }

  /** Subscribes with QoS 1. */
  async subscriber (broker: RedisBroker, name: string, topicFilter: string, options: IClientOptions = {}): Promise<RealClient> {
    const client = await this.connect(broker, name, options)
    await this.world.whileTimePasses(client.mqtt.subscribeAsync(topicFilter, { qos: 1 }))
    return client
  }

  async publish (broker: RedisBroker, topic: string, ...texts: readonly string[]): Promise<void> {
    for (const text of texts) await this.world.whileTimePasses(broker.broker.publish(topic, text, { qos: 1, retain: topic.startsWith('kept/') }))
  }

  texts (client: RealClient, count: number): Promise<string[]> { return this.world.whileTimePasses(client.texts(count)) }

  /** Goes without a word; its Session stays. */
  vanish (name: string): void {
    this.clients.get(name)?.vanish()
    this.clients.delete(name)
  }

  /** The others take it for dead. */
  async lapse (broker: RedisBroker): Promise<void> {
    broker.isAwake = false
    const { generation } = broker
    for (let i = 0; i < 34; i++) for (const { clock } of this.#awake) await clock.advance(250) // those who judge have listened for a lease
    await this.world.nodes.command('ZINCRBY', 'hb', -600_000, generation)
    await this.world.nodes.command('HSET', 'n', 'since', 1, 'heard', Date.now())
    await this.world.until('it is buried', async () => (await server.connection.hexists(this.world.nodes.key('nodes'), String(generation))) === 0)
  }

  async expectNone (t: Test, find: () => Promise<readonly string[]>): Promise<void> {
    let found: readonly string[] = []
    await this.world.until('nothing is wrong', async () => (found = await find()).length === 0).catch(() => undefined)
    t.strictSame(found, [])
  }

  /** While they are connected each key has an owner; when all have ended their Sessions there is none. */
  async check (t: Test): Promise<void> {
    const { world, clients } = this
    const nodes = [this.first, this.second, this.third].filter(({ isGone }) => !isGone)
    await this.expectNone(t, async () => censusFaults(await takeCensus(server, '{keys}:'), [...clients.keys()], nodes.length))
    for (const { mqtt } of clients.values()) await world.whileTimePasses(mqtt.endAsync(false, { properties: { sessionExpiryInterval: 0 } }))
    for await (const { topicName } of this.third.emitter.store.retained()) await this.third.broker.publish(topicName, '', { retain: true })
    await this.expectNone(t, async () => remains(await takeCensus(server, '{keys}:')))
    for (const node of nodes) await world.close(node)
    await this.expectNone(t, () => world.nodes.left())
  }

  get #awake (): RedisBroker[] { return [this.first, this.second, this.third].filter(({ isAwake, isGone }) => isAwake && !isGone) }
}

/** What may leave something behind. */
const scenes: Readonly<Record<string, (t: Test, stage: Stage) => Promise<void>>> = {
  'Sessions that move, with messages that wait and Clients that are connected': async (t, stage) => {
    const { first, second, third } = stage
    await stage.subscriber(first, 'away', 'a')
    stage.vanish('away')
    await stage.subscriber(first, 'here', 'a')
    await stage.publish(third, 'a', '1', '2')
    const [away, here] = [await stage.connect(second, 'away'), await stage.connect(second, 'here')]
    await stage.publish(first, 'a', '3')
    t.strictSame(await stage.texts(away, 3), ['1', '2', '3'])
    while ((await stage.texts(here, 1)).at(-1) !== '3') t.pass('it was on its way when it moved')
    await stage.connect(third, 'here')
  },

  'a node that dies': async (t, stage) => {
    const { first, second, third, world } = stage
    await stage.subscriber(first, 'away', 'a')
    await stage.subscriber(first, 'volatile', 'a', { properties: { sessionExpiryInterval: 0 } })
    stage.vanish('away')
    await stage.publish(second, 'a', '1')
    stage.clients.delete('volatile')
    world.kill(first)
    await stage.publish(second, 'a', '2')
    await stage.lapse(first)
    await stage.publish(third, 'a', '3')
    t.strictSame(await stage.texts(await stage.connect(third, 'away'), 3), ['1', '2', '3'])
  },

  'a node that sleeps and is taken for dead': async (t, stage) => {
    const { first, second, world } = stage
    await stage.subscriber(first, 'sleeper', 'a', { will: { topic: 'wills', payload: Buffer.from('gone'), qos: 1, retain: false } })
    await stage.subscriber(first, 'volatile', 'b', { properties: { sessionExpiryInterval: 0 } })
    const watcher = await stage.subscriber(second, 'watcher', 'wills')
    const { generation } = first
    await stage.lapse(first)
    first.isAwake = true
    await world.until('it has joined anew', () => first.generation !== generation)
    t.strictSame(await stage.texts(watcher, 1), ['gone'])
    stage.clients.delete('volatile')
    await stage.connect(first, 'sleeper')
  },

  'a node that leaves': async (t, stage) => {
    const { first, second, third, world } = stage
    await stage.subscriber(first, 'away', 'a')
    await stage.subscriber(first, 'volatile', '$share/g/a', { properties: { sessionExpiryInterval: 0 } })
    stage.vanish('away')
    stage.clients.delete('volatile')
    await stage.publish(second, 'a', '1')
    await world.close(first)
    await stage.publish(third, 'a', '2')
    t.strictSame(await stage.texts(await stage.connect(second, 'away'), 2), ['1', '2'])
  },

  'Wills, with and without a delay, of Clients that vanish and one that comes back': async (t, stage) => {
    const { first, second, third } = stage
    const watcher = await stage.subscriber(third, 'watcher', 'wills/#')
    const will = (name: string, willDelayInterval: number): IClientOptions =>
      ({ will: { topic: `wills/${name}`, payload: Buffer.from(name), qos: 1, retain: false, properties: { willDelayInterval } } })
    for (const [name, delay] of [['now', 0], ['later', 5], ['never', 3_000]] as const) {
      await stage.connect(first, name, will(name, delay))
      stage.vanish(name)
    }
    t.strictSame(await stage.texts(watcher, 2), ['now', 'later'])
    for (const name of ['now', 'later', 'never']) await stage.connect(second, name)
  },

  'retained messages that are set, replaced, removed, and expire': async (t, stage) => {
    const { first, second, third, world } = stage
    for (const [i, node] of [first, second, third, first].entries()) await stage.publish(node, 'kept/a', String(i))
    await stage.publish(second, 'kept/b', 'x')
    await stage.publish(third, 'kept/b', '')
    await first.broker.publish('kept/c', 'x', { retain: true, properties: { messageExpiryInterval: 3 } })
    await world.until('it has expired', async () => (await retainedIn(third)).join() === 'kept/a 3')
    t.strictSame(await stage.texts(await stage.subscriber(third, 'reader', 'kept/#'), 1), ['3'])
  },

  'Shared Subscriptions whose members come, go and die': async (t, stage) => {
    const { first, second, third, world } = stage
    await stage.subscriber(first, 'dies', '$share/g/a', { properties: { sessionExpiryInterval: 0 } })
    const stays = await stage.subscriber(second, 'stays', '$share/g/a')
    await stage.subscriber(third, 'away', '$share/g/a')
    stage.vanish('away')
    stage.clients.delete('dies')
    world.kill(first)
    await stage.lapse(first)
    await stage.publish(third, 'a', '1', '2')
    t.strictSame(await stage.texts(stays, 2), ['1', '2'])
    await stage.connect(second, 'away')
  },

  'Sessions and messages that expire, at a node or after they moved': async (t, stage) => {
    const { first, second, third, world } = stage
    for (const name of ['short', 'moved']) await stage.subscriber(first, name, 'a', { properties: { sessionExpiryInterval: 2 } })
    await stage.subscriber(first, 'long', 'a')
    for (const name of ['short', 'long', 'moved']) stage.vanish(name)
    await stage.connect(second, 'moved', { properties: { sessionExpiryInterval: 2 } })
    stage.vanish('moved')
    await world.whileTimePasses(third.broker.publish('a', 'x', { qos: 1, properties: { messageExpiryInterval: 1 } }))
    await world.until('they have expired', async () => (await takeCensus(server, '{keys}:')).names.size === 1)
    t.equal((await stage.connect(third, 'long')).unread, 0)
  },

  'Clients that are sent away': async (t, stage) => {
    const { first, second, third, world } = stage
    await stage.subscriber(first, 'stored', 'a')
    await stage.subscriber(second, 'volatile', 'a', { properties: { sessionExpiryInterval: 0 } })
    for (const name of ['stored', 'volatile']) {
      t.equal(await world.whileTimePasses(Promise.resolve(third.broker.cluster?.kick(name))), true)
      stage.clients.delete(name)
    }
    await stage.publish(third, 'a', '1')
    t.strictSame(await stage.texts(await stage.connect(third, 'stored'), 1), ['1'])
  },
}

async function retainedIn ({ emitter }: RedisBroker): Promise<string[]> {
  const found: string[] = []
  for await (const { topicName, payload } of emitter.store.retained()) found.push(`${topicName} ${payload.toString()}`)
  return found
}

t.test('no key is without an owner, and none is left when all Sessions have ended', async t => {
  for (const [name, play] of Object.entries(scenes)) {
    await t.test(name, async t => {
      const stage = await Stage.open(t)
      await play(t, stage)
      await stage.check(t)
    })
  }
})
