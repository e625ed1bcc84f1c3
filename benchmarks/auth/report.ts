import { caveats, cell, medianOf, table, type Bench } from '../report.ts'
import type { Scenario } from '../runner/scenarios.ts'
import { median, pairedRatio, type Interval } from '../runner/statistics.ts'
import type { Samples } from './steady.ts'
import { again, variants, type VariantId } from './variants.ts'

/** What was measured in memory, by scenario. */
export type Steady = Map<string, Samples>

/** All that the report is made of. */
export interface AuthBench extends Pick<Bench, 'machine' | 'isPinned' | 'rounds' | 'scenarios' | 'results'> {
  /** How often the brokers were started. */
  readonly starts: number
  readonly variants: readonly VariantId[]
  readonly steady: Steady
}

/** CPU time of the broker for each message: what a busy machine disturbs least. */
const cost = 'cpuUs'
/** Of the throughput: what a decision that is remembered may cost at most. */
const goal = 0.05

/** The report as Markdown. */
export function authReport (bench: AuthBench): string {
  const { machine, isPinned, starts, rounds, scenarios } = bench
  return [
    '# What plugins that decide cost a message\n',
    `${machine.date}, commit ${machine.commit}, Node ${machine.node}. ${machine.processor}, ${machine.cores} cores${isPinned ? ' (broker on one, load on another)' : ''}, ${machine.system}.\n`,
    '- **TCP**: CPU time of the broker\'s process for each message, µs, while all brokers stand ready and short runs go round them, and its ratio to that of `none`:',
    `  geometric mean over ${starts} starts of all, of each the median of ${rounds} runs, and where it lies with a probability of 95 %. Two processes of the same code differ: see \`none\`, once more.`,
    '- **in memory**: the same messages in the same turns of the event loop, without a system in between, each variant in a process of its own, in short alternating rounds: nanoseconds of',
    '  CPU time more than `none`, median of the differences, and difference of the lowest. `none` is there twice, which shows what the machine does by itself.',
    '- **of TCP** is the median in memory as a part of what `none` takes over TCP, at its lowest, which is when most messages share a write.\n',
    `## All of these together\n\nCPU time over TCP beside the mean of the two without plugins, geometric mean over the starts of all works (what throughput is lost on a broker that has no time left), and where it lies with a probability of 95 %.\n\n${overall(bench)}\n`,
    ...scenarios.map(scenario => `## ${scenario.title}\n\n${scenarioTable(bench, scenario)}\n`),
    caveats({ ...bench, absent: [], isQuick: false, brokers: [], command: '' }),
  ].join('\n')
}

function scenarioTable (bench: AuthBench, { id }: Scenario): string {
  const head = ['', 'TCP, µs', '× none', '95 %', 'in memory, ns more', 'lowest, ns more', 'of TCP']
  return table(head, [...bench.variants, again].map(variant => [...tcpCells(bench, id, variant), ...steadyCells(bench, id, variant)]))
}

/** One number for each variant: single works differ by more than what is to be seen, from one process to the next. */
function overall (bench: AuthBench): string {
  const variantsBeside = bench.variants.filter(variant => variant !== 'none')
  return table(['', '× none', '95 %', `≤ ${goal * 100} %`], variantsBeside.map(variant => {
    const found = pairedRatio(bench.scenarios.flatMap(({ id }) => ratiosIn(bench, id, variant)))
    return found === undefined ? [variants[variant], '', '', ''] : [variants[variant], found.ratio.toFixed(3), spread(found), found.ratio <= 1 + goal ? 'yes' : 'no']
  }))
}

function ratiosIn (bench: AuthBench, scenario: string, variant: VariantId): number[] {
  const [none, other] = [costs(bench, scenario, 'none'), costs(bench, scenario, again)]
  return [...costs(bench, scenario, variant)].map(([start, value]) => value / Math.sqrt((none.get(start) ?? NaN) * (other.get(start) ?? NaN)))
}

function spread ({ low, high }: Interval): string { return `${low.toFixed(2)} … ${high.toFixed(2)}` }

function tcpCells (bench: AuthBench, scenario: string, variant: VariantId | typeof again): string[] {
  const title = [variant === again ? 'none, once more' : variants[variant], cell(medianOf(bench.results, scenario, variant, cost))]
  const none = costs(bench, scenario, 'none')
  const ratios = [...costs(bench, scenario, variant)].flatMap(([round, value]) => none.has(round) ? [value / (none.get(round) ?? NaN)] : [])
  const found = variant === 'none' ? undefined : pairedRatio(ratios)
  return found === undefined ? [...title, '', ''] : [...title, found.ratio.toFixed(2), spread(found)]
}

/** The median of CPU times, by start. */
function costs ({ results }: AuthBench, scenario: string, variant: VariantId | typeof again): Map<number, number> {
  const values = new Map<number, number[]>()
  for (const { scenario: id, broker, round, figures, failed } of results) {
    if (id === scenario && broker === variant && failed === undefined && figures[cost] !== undefined) values.set(round, [...values.get(round) ?? [], figures[cost]])
  }
  return new Map([...values].map(([start, runs]) => [start, median(runs) ?? NaN]))
}

function steadyCells (bench: AuthBench, scenario: string, variant: VariantId | typeof again): string[] {
  const samples = bench.steady.get(scenario)
  const none = samples?.get('none') ?? []
  const own = samples?.get(variant) ?? []
  if (variant === 'none') return [`${(median(none) ?? NaN).toFixed(0)} in all`, `${Math.min(...none).toFixed(0)} in all`, '']
  const more = median(own.map((value, i) => value - (none[i] ?? NaN))) ?? NaN
  const part = more / 1000 / Math.min(...costs(bench, scenario, 'none').values())
  return [more.toFixed(0), (Math.min(...own) - Math.min(...none)).toFixed(0), `${(part * 100).toFixed(1)} %`]
}
