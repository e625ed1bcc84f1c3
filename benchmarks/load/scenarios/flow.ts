import { assemble, settle, start, type PartyFields } from '../flow.ts'
import { pause, type Load } from '../load.ts'
import { openOthers } from '../others.ts'

export const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Who publishes what to whom. */
const shapes: Readonly<Record<string, (clients: number) => PartyFields>> = {
  pairs: clients => ({ fan: 1, publishers: numbers(clients).map(pairTopic), subscribers: numbers(clients).map(pairTopic) }),
  fanIn: clients => ({ fan: 1, publishers: numbers(clients).map(i => `bench/in/${i}`), subscribers: ['bench/in/+'] }),
  fanOut: clients => ({ fan: clients, publishers: ['bench/out'], subscribers: numbers(clients).map(() => 'bench/out') }),
}

export function pairTopic (pair: number): string { return `bench/pair/${pair}` }

/** Messages for a while: what each costs the broker, and how long it takes. */
export async function flowScenario (load: Load): Promise<Record<string, unknown>> {
  const { scenario, clients, warmup, seconds } = load.options
  const shape = shapes[scenario] ?? shapes['pairs']
  await openOthers(load, 2 * clients)
  const parties = await assemble(load, (shape as (clients: number) => PartyFields)(clients))
  const stop = start(load, parties)
  await pause(warmup)
  const [from, to] = await load.measure(seconds)
  stop()
  const figures = { ...load.figures(from, to, to.received - from.received), ...load.latencies() }
  await settle(load, parties)
  return figures
}
