import { Connection } from '../connection.ts'
import { assemble, start, type PartyFields } from '../flow.ts'
import { nowUs } from '../measures/latency.ts'
import { pause, reached, type Load } from '../load.ts'
import type { Publisher } from '../publisher.ts'
import { Subscriber } from '../subscriber.ts'

/** Memory has settled after so many seconds. */
const settling = 1
/** Retained messages below one branch. */
const branchSize = 100
const awayTopic = 'bench/away'

/** Publishes `count` messages to nobody, each acknowledged; tells what storing them costs. */
async function store (load: Load, fields: Pick<PartyFields, 'publishers' | 'retain'>): Promise<Record<string, number> & { publishers: readonly Publisher[] }> {
  const limit = Math.floor(load.options.count / fields.publishers.length)
  const parties = await assemble(load, { ...fields, fan: 0, limit, subscribers: [] })
  const count = limit * fields.publishers.length
  const from = load.snapshot()
  const stop = start(load, parties)
  if (!await reached(() => load.totals.acknowledged, count, 10)) load.totals.fail('not every message was acknowledged')
  const stored = load.snapshot()
  stop()
  await pause(settling)
  const bytesPerMessage = (load.snapshot().broker.residentBytes - from.broker.residentBytes) / count
  const { seconds, messagesPerSecond, cpuUs } = load.figures(from, stored, count) as Record<'seconds' | 'messagesPerSecond' | 'cpuUs', number>
  return { count, storeSeconds: seconds, storedPerSecond: messagesPerSecond, storeCpuUs: cpuUs, bytesPerMessage, publishers: parties.publishers } as never
}

/** Seconds from the start of an action to the arrival of the last of so many messages. */
export async function fetch (load: Load, wanted: number, action: () => void): Promise<number> {
  const before = load.totals.received
  const startedAt = nowUs()
  action()
  await reached(() => load.totals.received, before + wanted, 5)
  const seconds = (load.now - startedAt) / 1e6
  await pause(0.1) // duplicates would come late
  const surplus = load.totals.received - before - wanted
  if (surplus < 0) load.totals.lost -= surplus
  else load.totals.duplicated += surplus
  return seconds
}

/** Retained messages: storing them, then asking for all, for a hundredth across all branches, and for one branch. */
export async function retainedScenario (load: Load): Promise<Record<string, unknown>> {
  const { clients } = load.options
  const topic = (publisher: number) => (sequence: number): string =>
    `ret/${publisher * 1000 + Math.floor(sequence / branchSize)}/${sequence % branchSize}/v`
  const { publishers, ...stored } = await store(load, { retain: true, publishers: Array.from({ length: clients }, (_, i) => topic(i)) })
  const ask = (topicFilter: string, wanted: number): Promise<number> => fetchRetained(load, publishers, topicFilter, wanted)
  return {
    ...stored,
    allSeconds: await ask('ret/#', stored['count'] ?? 0),
    acrossSeconds: await ask('ret/+/7/v', (stored['count'] ?? 0) / branchSize),
    branchMilliseconds: 1000 * await ask('ret/1/#', branchSize),
  }
}

async function fetchRetained (load: Load, publishers: readonly Publisher[], topicFilter: string, wanted: number): Promise<number> {
  const connection = new Connection(load, { clientIdentifier: 'bench-fetch', role: new Subscriber(load, publishers, false) })
  await connection.opened()
  const seconds = await fetch(load, wanted, () => { void connection.subscribe([topicFilter], 0) })
  connection.leave()
  return seconds
}

/** A Session whose client is away: queueing QoS 1 messages for it, then delivering them when it comes back. */
export async function offlineScenario (load: Load): Promise<Record<string, unknown>> {
  const { publishers, ...queued } = await queue(load, 1)
  return { ...queued, ...await drain(load, publishers, queued['count'] ?? 0) }
}

/** The first half of it: messages that are queued, and stay so. */
export async function queueScenario (load: Load): Promise<Record<string, unknown>> {
  const { storeSeconds, storedPerSecond } = await queue(load, load.options.clients)
  return { storeSeconds, storedPerSecond }
}

async function queue (load: Load, publishers: number): ReturnType<typeof store> {
  await leaveSession(load, 'bench-away', [awayTopic])
  await pause(0.3)
  return store(load, { publishers: Array.from({ length: publishers }, () => awayTopic) })
}

/** Makes a Session that waits for its client. */
export async function leaveSession (load: Load, clientIdentifier: string, topicFilters: readonly string[]): Promise<void> {
  const connection = new Connection(load, { clientIdentifier, cleanStart: false })
  await connection.opened()
  await connection.subscribe(topicFilters, 1)
  connection.leave()
}

async function drain (load: Load, publishers: readonly Publisher[], count: number): Promise<Record<string, number>> {
  const subscriber = new Subscriber(load, publishers, true)
  const from = load.snapshot()
  const seconds = await fetch(load, count, () => {
    subscriber.connection = new Connection(load, { clientIdentifier: 'bench-away', cleanStart: false, role: subscriber })
  })
  const { cpuUs = 0, memoryMb = 0 } = load.figures(from, load.snapshot(), count)
  return { drainSeconds: seconds, messagesPerSecond: count / seconds, cpuUs, memoryMb }
}
