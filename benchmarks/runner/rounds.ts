import type { BrokerUnderTest } from './brokers.ts'
import type { RunOptions } from './options.ts'
import type { LoadArguments, Scenario } from './scenarios.ts'
import type { Laboratory, Result } from './trial.ts'

/** How much of everything is run. */
export type RoundOptions = Pick<RunOptions, 'rounds' | 'seconds' | 'warmup' | 'quick'>

/** Runs every scenario against every broker in turns: the order changes from round to round, so that what drifts meets all alike. */
export async function rounds (laboratory: Laboratory, scenarios: readonly Scenario[], brokers: readonly BrokerUnderTest[], options: RoundOptions): Promise<Result[]> {
  const results: Result[] = []
  for (let round = 1; round <= options.rounds; round++) {
    for (const scenario of scenarios) {
      const able = brokers.filter(broker => canRun(broker, scenario))
      for (const broker of rotated(able, round)) {
        const result = await laboratory.run(broker, scenario, loadOf(scenario, options), round)
        results.push(result)
        console.error(progress(result, scenario, options.rounds))
      }
    }
  }
  return results
}

export function canRun (broker: BrokerUnderTest, { access = 'tcp', load }: Scenario): boolean {
  return broker.accesses.includes(access) && broker.protocolVersions.includes(load['version'] === 5 ? 5 : 4)
}

export function loadOf ({ quick }: Scenario, options: RoundOptions): LoadArguments {
  return {
    ...options.quick && { seconds: 1, warmup: 0.5, ...quick },
    ...options.seconds !== undefined && { seconds: options.seconds },
    ...options.warmup !== undefined && { warmup: options.warmup },
  }
}

/** The items, beginning with another one in each round. */
export function rotated<T> (items: readonly T[], by: number): T[] {
  return items.map((_, i) => items[(i + by) % items.length] as T)
}

/** One line for people who wait. */
export function progress ({ round, broker, figures, cut, failed }: Result, scenario: Scenario, all: number): string {
  const told = scenario.figures.map(({ key, label }) => figures[key] === undefined ? '' : `${label} ${shown(figures[key])}`).filter(part => part !== '')
  return [`${round}/${all}`, scenario.id.padEnd(20), broker.padEnd(10), told.join(', '), cut === undefined ? '' : `[cut: ${cut}]`, failed === undefined ? '' : `[failed: ${failed}]`].join(' ').trimEnd()
}

/** A number for people: three digits, or all of a large one. */
export function shown (value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en')
  return String(Number(value.toPrecision(3)))
}
