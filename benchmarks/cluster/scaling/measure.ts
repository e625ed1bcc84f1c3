import { describeMachine } from '../../runner/machine.ts'
import { median } from '../../runner/statistics.ts'
import { redisVersion } from '../redis.ts'
import { check } from './check.ts'
import type { Check, Figures, Kept, NodeBytes, RedisBytes } from './figures.ts'
import { Laboratory } from './laboratory.ts'
import { costsOf, measureCosts, measureIdle, type Samples } from './measure-costs.ts'
import { measureMemory } from './measure-memory.ts'
import { combine, type Usage } from './usage.ts'

const [few, many] = [2, 4]
const checkedConnections = [2_000, 5_000]

/** Measures everything, with a Redis and nodes of its own for each part, and then checks the model. */
export async function measure (root: string, rounds: number, signal: AbortSignal): Promise<Kept> {
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
  const figures: Figures = { machine: describeMachine(root), redis, rounds, idle: combine(idle, middle), costs: costsOf(mediansOf(samples), few, many), ...await memory(rounds, signal) }
  const checks: Check[] = []
  for (const connections of checkedConnections) {
    say(`check with ${connections} connections`)
    checks.push(await Laboratory.with(few, signal, laboratory => check(laboratory, connections, figures)))
  }
  return { figures, checks }
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
