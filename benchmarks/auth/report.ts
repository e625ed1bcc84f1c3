import { caveats, cell, medianOf, table, type Bench } from '../report.ts'
import type { Scenario } from '../runner/scenarios.ts'
import { median } from '../runner/statistics.ts'
import type { Samples } from './steady.ts'
import { variants, type VariantId } from './variants.ts'

/** What was measured in memory, by scenario. */
export type Steady = Map<string, Samples>

/** All that the report is made of. */
export interface AuthBench extends Pick<Bench, 'machine' | 'isPinned' | 'rounds' | 'scenarios' | 'results'> {
  readonly variants: readonly VariantId[]
  readonly steady: Steady
}

/** CPU time of the broker for each message: what a busy machine disturbs least. */
const cost = 'cpuUs'
/** Of the throughput: what a decision that is remembered may cost at most. */
const goal = 0.05

/** The report as Markdown. */
export function authReport (bench: AuthBench): string {
  const { machine, isPinned, rounds, scenarios } = bench
  return [
    '# What plugins that decide cost a message\n',
    `${machine.date}, commit ${machine.commit}, Node ${machine.node}. ${machine.processor}, ${machine.cores} cores${isPinned ? ' (broker on one, load on another)' : ''}, ${machine.system}.\n`,
    '- **TCP**: CPU time of the broker\'s process for each message, µs, and its ratio to that of `none` in the same round, median and middle half. Each run is a process started afresh,',
    `  variants in turns, ${rounds} rounds. How many messages share a write depends on what else the machine does, and with it the time.`,
    '- **in memory**: the same messages in the same turns of the event loop, without a system in between, each variant in a process of its own, in short alternating rounds: nanoseconds of',
    '  CPU time more than `none`, median of the differences, and difference of the lowest. `none` is there twice, which shows what the machine does by itself.',
    '- **of TCP** is the median in memory as a part of what `none` takes over TCP, at its lowest, which is when most messages share a write: the part of the throughput that it costs at most.\n',
    ...scenarios.map(scenario => `## ${scenario.title}\n\n${scenarioTable(bench, scenario)}\n`),
    caveats({ ...bench, absent: [], isQuick: false, brokers: [], command: '' }),
  ].join('\n')
}

function scenarioTable (bench: AuthBench, { id }: Scenario): string {
  const head = ['', 'TCP, µs', '× none', 'middle half', 'in memory, ns more', 'lowest, ns more', 'of TCP', `≤ ${goal * 100} %`]
  return table(head, [...bench.variants, 'none again' as const].map(variant => [...tcpCells(bench, id, variant), ...steadyCells(bench, id, variant)]))
}

function tcpCells (bench: AuthBench, scenario: string, variant: VariantId | 'none again'): string[] {
  if (variant === 'none again') return ['none, once more', '', '', '']
  const title = [variants[variant], cell(medianOf(bench.results, scenario, variant, cost))]
  const none = costs(bench, scenario, 'none')
  const ratios = [...costs(bench, scenario, variant)].flatMap(([round, value]) => none.has(round) ? [value / (none.get(round) ?? NaN)] : []).sort((a, b) => a - b)
  if (variant === 'none' || ratios.length === 0) return [...title, '', '']
  const quartile = (part: number): string => (ratios[Math.round((ratios.length - 1) * part)] ?? NaN).toFixed(2)
  return [...title, (median(ratios) ?? NaN).toFixed(2), `${quartile(0.25)} … ${quartile(0.75)}`]
}

/** CPU time by round. */
function costs ({ results }: AuthBench, scenario: string, variant: VariantId): Map<number, number> {
  return new Map(results.filter(result => result.scenario === scenario && result.broker === variant && result.failed === undefined)
    .flatMap(({ round, figures }) => figures[cost] === undefined ? [] : [[round, figures[cost]]]))
}

function steadyCells (bench: AuthBench, scenario: string, variant: VariantId | 'none again'): string[] {
  const samples = bench.steady.get(scenario)
  const none = samples?.get('none') ?? []
  const own = samples?.get(variant) ?? []
  if (variant === 'none') return [`${(median(none) ?? NaN).toFixed(0)} in all`, `${Math.min(...none).toFixed(0)} in all`, '', '']
  const more = median(own.map((value, i) => value - (none[i] ?? NaN))) ?? NaN
  const part = more / 1000 / Math.min(...costs(bench, scenario, 'none').values())
  const verdict = variant === 'none again' ? '' : part <= goal ? 'yes' : 'no'
  return [more.toFixed(0), (Math.min(...own) - Math.min(...none)).toFixed(0), `${(part * 100).toFixed(1)} %`, verdict]
}
