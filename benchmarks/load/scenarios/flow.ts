import { assemble, settle, start, type PartyFields } from '../flow.ts'
import { pause, type Load } from '../load.ts'

export const numbers = (count: number): number[] => Array.from({ length: count }, (_, i) => i)

/** Who publishes what to whom. */
const pairs = (clients: number): PartyFields => ({ fan: 1, publishers: numbers(clients).map(pairTopic), subscribers: numbers(clients).map(pairTopic) })
const fanOut = (clients: number): PartyFields => ({ fan: clients, publishers: ['bench/out'], subscribers: numbers(clients).map(() => 'bench/out') })
const shapes: ReadonlyMap<string, (clients: number) => PartyFields> = new Map([
  ['pairs', pairs], ['clusterPairs', pairs],
  ['fanIn', clients => ({ fan: 1, publishers: numbers(clients).map(i => `bench/in/${i}`), subscribers: ['bench/in/+'] })],
  ['fanOut', fanOut], ['clusterFanOut', fanOut],
])

/** Who takes part in the scenario of a run. */
export function partiesOf ({ options: { scenario, clients } }: Load): PartyFields {
  return (shapes.get(scenario) ?? pairs)(clients)
}

export function pairTopic (pair: number): string { return `bench/pair/${pair}` }

/** Messages for a while: what each costs the broker, and how long it takes. */
export async function flowScenario (load: Load): Promise<Record<string, unknown>> {
  const { warmup, seconds } = load.options
  const parties = await assemble(load, partiesOf(load))
  const stop = start(load, parties)
  await pause(warmup)
  const [from, to] = await load.measure(seconds)
  stop()
  const figures = { ...load.figures(from, to, to.received - from.received), ...load.latencies() }
  await settle(load, parties)
  return figures
}
