import { Connection } from '../connection.ts'
import { assemble, settle, start } from '../flow.ts'
import { pause, type Load } from '../load.ts'
import { bystander } from '../subscriber.ts'
import { pairTopic } from './flow.ts'

/** Pairs at work, then the same with one subscriber to everything that stops reading: what the others keep, what memory it takes. */
export async function frozenScenario (load: Load): Promise<Record<string, unknown>> {
  const { clients, warmup, seconds } = load.options
  const topics = Array.from({ length: clients }, (_, i) => pairTopic(i))
  const parties = await assemble(load, { fan: 1, publishers: topics, subscribers: topics })
  const stop = start(load, parties)
  await pause(warmup)
  const [from, to] = await load.measure(seconds)
  const base = load.figures(from, to, to.received - from.received)
  const frozen = await freeze(load)
  const [since, until] = await load.measure(seconds)
  stop()
  const figures = load.figures(since, until, until.received - since.received)
  const result = { ...figures, ...load.latency.figures(), baseMessagesPerSecond: base['messagesPerSecond'], frozenIsConnected: Number(frozen.isOpen) }
  await settle(load, parties)
  return { ...result, keptPercent: 100 * (figures['messagesPerSecond'] ?? 0) / (base['messagesPerSecond'] ?? 1), memoryGrowthMb: (until.broker.residentBytes - to.broker.residentBytes) / 1e6 }
}

async function freeze (load: Load): Promise<Connection> {
  load.isLossExpected = true // the broker may end it
  const frozen = new Connection(load, { clientIdentifier: 'bench-frozen', role: bystander })
  await frozen.opened()
  await frozen.subscribe([pairTopic(0).replace('0', '+')], load.options.qos)
  frozen.isFrozen = true
  return frozen
}
