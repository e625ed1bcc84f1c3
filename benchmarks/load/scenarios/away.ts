import { Connection } from '../connection.ts'
import { assemble, start, type Parties } from '../flow.ts'
import { pause, reached, type Load, type Snapshot } from '../load.ts'
import { Subscriber } from '../subscriber.ts'
import { numbers } from './flow.ts'
import { fetch, leaveSession } from './stored.ts'

/** Messages before those that are measured, for each that is. */
const warmupShare = 0.2
/** A broker that takes longer than so many seconds for the next message has stopped. */
const patience = 20

const clientIdentifierOf = (session: number): string => `bench-away-${session}`

/** Topics of the Sessions: one for each, or the same for all. */
function topicsOf ({ options: { scenario, clients } }: Load): string[] {
  return numbers(clients).map(session => scenario === 'awayPairs' ? `bench/away/${session}` : 'bench/away')
}

/** Sessions whose clients are away: what it costs to queue for them, and when the publishers are told. One comes back in the end, and must get all. */
export async function awayScenario (load: Load): Promise<Record<string, unknown>> {
  const topics = topicsOf(load)
  for (const [session, topic] of topics.entries()) await leaveSession(load, clientIdentifierOf(session), [topic])
  await pause(0.3)
  const publishers = [...new Set(topics)]
  const { count, rate } = load.options
  const limit = rate > 0 ? Infinity : Math.ceil(count * (1 + warmupShare) / publishers.length)
  const parties = await assemble(load, { fan: 0, limit, publishers, subscribers: [] })
  const [from, to] = await flow(load, parties, limit * publishers.length)
  const messages = to.acknowledged - from.acknowledged
  const { p50AckUs, p99AckUs, maxAckUs } = load.latencies()
  const figures = load.figures(from, to, messages)
  await returnOne(load, parties)
  return { ...figures, p50AckUs, p99AckUs, maxAckUs }
}

async function flow (load: Load, parties: Parties, all: number): Promise<[from: Snapshot, to: Snapshot]> {
  const { totals, options: { rate, warmup, seconds } } = load
  const stop = start(load, parties)
  if (rate > 0) await pause(warmup)
  else await reached(() => totals.acknowledged, Math.floor(all * warmupShare / (1 + warmupShare)), patience)
  const stretch = await load.measure(rate > 0 ? seconds : reached(() => totals.acknowledged, all, patience))
  stop()
  if (!await reached(() => totals.acknowledged, totals.sent, patience)) totals.fail('not every message was acknowledged')
  return stretch
}

async function returnOne (load: Load, { publishers }: Parties): Promise<void> {
  const subscriber = new Subscriber(load, publishers, true)
  await fetch(load, publishers[0]?.sent ?? 0, () => {
    subscriber.connection = new Connection(load, { clientIdentifier: clientIdentifierOf(0), cleanStart: false, role: subscriber })
  })
}
