import { describeMachine } from '../../../runner/machine.ts'
import { median } from '../../../runner/statistics.ts'
import { redisVersion } from '../../redis.ts'
import { check } from './check.ts'
import type { Check, Figures, NodeBytes, RedisBytes } from '../figures.ts'
import { Laboratory } from './laboratory.ts'
import { costsOf, measureCosts, measureIdle, type Samples } from './measure-costs.ts'
import { measureMemory } from './measure-memory.ts'
import { combine, type Usage } from '../usage.ts'

const [few, many] = [2, 4]
/** Connections, and how many times the load that goes with them. */
const checked: readonly (readonly [connections: number, load: number])[] = [[2_000, 1], [2_000, 4], [5_000, 2]]

/** Measures what single things cost, each part with a Redis and nodes of its own. */
export async function measure (root: string, rounds: number, signal: AbortSignal): Promise<Figures> {
  const redis = redisVersion()
  if (redis === undefined) throw new Error('there is no redis-server: apt-get install redis-server')
  const idle: Usage[] = []
  const samples: Samples[] = []
  for (const nodes of [few, many]) {
    await Laboratory.with(nodes, signal, async laboratory => {
      for (let round = 1; round <= rounds; round++) {
        say(`${nodes} nodes, round ${round}/${rounds}`)
        idle.push(await measureIdle(laboratory))
        samples.push(await measureCosts(laboratory, round))
      }
    })
  }
  return { machine: describeMachine(root), redis, rounds, idle: combine(idle, middle), costs: costsOf(mediansOf(samples), few, many), ...await memory(rounds, signal) }
}

/** Runs some load, beside what the model says of it. */
export async function runChecks (figures: Figures, rounds: number, signal: AbortSignal): Promise<Check[]> {
  const checks: Check[] = []
  for (const [connections, load] of checked) {
    const runs: Check[] = []
    for (let round = 1; round <= rounds; round++) {
      say(`check with ${connections} connections, round ${round}/${rounds}`)
      runs.push(await Laboratory.with(few, signal, laboratory => check(laboratory, connections, figures, load)))
    }
    checks.push(middleCheck(runs))
  }
  return checks
}

function middleCheck (runs: readonly Check[]): Check {
  const [first] = runs
  if (first === undefined) throw new RangeError('there is no run')
  const of = (figure: (check: Check) => number | undefined): number => middle(runs.flatMap(run => figure(run) ?? []))
  const rows = first.rows.map(({ figure }, i) => ({ figure, predicted: of(({ rows }) => rows[i]?.predicted), measured: of(({ rows }) => rows[i]?.measured) }))
  return { ...first, connects: of(run => run.connects), messages: of(run => run.messages), roundTripMs: of(run => run.roundTripMs), rows }
}

async function memory (rounds: number, signal: AbortSignal): Promise<Pick<Figures, 'redisBytes' | 'nodeBytes'>> {
  const redis: RedisBytes[] = []
  const nodes: NodeBytes[] = []
  for (let round = 1; round <= rounds; round++) {
    say(`memory, round ${round}/${rounds}`)
    const { redisBytes, nodeBytes } = await Laboratory.with(few, signal, measureMemory)
    redis.push(redisBytes)
    nodes.push(nodeBytes)
  }
  return { redisBytes: middleOf(redis), nodeBytes: middleOf(nodes) }
}

const middle = (values: readonly number[]): number => median(values) ?? 0

function middleOf<Values extends { readonly [Key in keyof Values]: number }> (all: readonly Values[]): Values {
  const keys = Object.keys(all[0] ?? {}) as (keyof Values)[]
  return Object.fromEntries(keys.map(key => [key, middle(all.map(values => values[key]))])) as unknown as Values
}

function mediansOf (samples: readonly Samples[]): Samples {
  const keys = new Set(samples.flatMap(sample => [...sample.keys()]))
  return new Map([...keys].map(key => [key, combine(samples.flatMap(sample => sample.get(key) ?? []), middle)]))
}

function say (text: string): void { console.error(text) }
