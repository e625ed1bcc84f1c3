import { assemble, settle, start } from '../flow.ts'
import { pause, type Load, type Snapshot } from '../load.ts'
import { openAll } from '../open.ts'
import { subscribeAll, topicOf } from '../others.ts'
import { Subscriber } from '../subscriber.ts'
import type { Connection } from '../connection.ts'
import type { Publisher } from '../publisher.ts'

const publishers = 4
/** Topics that are used again and again in the second phase. */
const hotTopics = 1000
/** A prime, so that hot topics lie far from each other in the table. */
const stride = 7919
/** Garbage is gone and memory settled after so many seconds. */
const settling = 2

/** Many subscriptions: how fast they are made, what they occupy, and what a message costs among them, topics new (cold) or known (hot). */
export async function subscribeScenario (load: Load): Promise<Record<string, unknown>> {
  const { clients, filters, warmup, seconds } = load.options
  const everyone: Publisher[] = []
  const connections = await openAll(load, Array.from({ length: clients }, (_, i) => ({ clientIdentifier: `bench-s${i}`, role: new Subscriber(load, everyone, false) })))
  const table = await fillTable(load, connections)
  const topics = { pool: Infinity }
  const parties = await assemble(load, { fan: 1, isOrdered: false, subscribers: [], publishers: Array.from({ length: publishers }, () => () => anyTopic(topics.pool, clients, filters)) })
  everyone.push(...parties.publishers)
  const stop = start(load, parties)
  await pause(warmup)
  const cold = costOf(load, await load.measure(seconds))
  topics.pool = hotTopics
  await pause(warmup)
  const hot = costOf(load, await load.measure(seconds))
  stop()
  await settle(load, parties)
  return { ...table, coldCpuUs: cold['cpuUs'], coldMessagesPerSecond: cold['messagesPerSecond'], ...hot }
}

function costOf (load: Load, [from, to]: [Snapshot, Snapshot]): Record<string, number> {
  return load.figures(from, to, to.received - from.received)
}

async function fillTable (load: Load, connections: readonly Connection[]): Promise<Record<string, number>> {
  const { filters } = load.options
  const total = connections.length * filters
  const from = load.snapshot()
  await Promise.all(connections.map((connection, i) => subscribeAll(connection, i, filters)))
  const full = load.snapshot()
  if (connections.reduce((sum, { granted }) => sum + granted, 0) < total) load.totals.fail('not every subscription was granted')
  await pause(settling)
  const bytesPerSubscription = (load.snapshot().broker.residentBytes - from.broker.residentBytes) / total
  const { messagesPerSecond, cpuUs } = load.figures(from, full, total)
  return { subscriptions: total, subscriptionsPerSecond: messagesPerSecond, subscribeCpuUs: cpuUs, bytesPerSubscription } as Record<string, number>
}

/** A topic that one of the subscriptions matches: any of them, or one of a pool. */
function anyTopic (pool: number, clients: number, filters: number): string {
  const all = clients * filters
  const chosen = Math.floor(Math.random() * Math.min(pool, all)) * (pool < all ? stride : 1) % all
  return topicOf(Math.floor(chosen / filters), chosen % filters, pool < all ? 1 : Math.floor(Math.random() * 8))
}
