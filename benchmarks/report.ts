import type { AbsentBroker, BrokerUnderTest } from './runner/brokers.ts'
import { barChart } from './runner/chart.ts'
import type { Machine } from './runner/machine.ts'
import { shown } from './runner/rounds.ts'
import type { Figure, Scenario } from './runner/scenarios.ts'
import { median } from './runner/statistics.ts'
import type { Result } from './runner/trial.ts'

/** All that a report is made of; `results.json` has it too. */
export interface Bench {
  readonly machine: Machine
  /** Whether broker and load each had a core of their own. */
  readonly isPinned: boolean
  readonly command: string
  readonly rounds: number
  /** Made with `--quick`: sizes and times are smaller than the names of the scenarios say. */
  readonly isQuick: boolean
  readonly brokers: readonly Pick<BrokerUnderTest, 'name' | 'version'>[]
  readonly absent: readonly AbsentBroker[]
  readonly scenarios: readonly Scenario[]
  readonly results: readonly Result[]
}

/** What others are compared with. */
const reference = 'mosquitto'
const subject = 'myelin'
const disorders = ['errors', 'lost', 'duplicated', 'outOfOrder', 'stalls', 'badAcknowledgements'] as const

/** The median over the rounds that went well. */
export function medianOf (results: readonly Result[], scenario: string, broker: string, key: string): number | undefined {
  return median(results.filter(result => result.scenario === scenario && result.broker === broker && result.failed === undefined)
    .flatMap(({ figures }) => figures[key] ?? []))
}

const row = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
/** A table in Markdown; all columns but the first hold numbers. */
export const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => [row(head), row(head.map((_, i) => i === 0 ? '---' : '---:')), ...rows.map(row)].join('\n')
/** A number for people, or that there is none. */
export const cell = (value: number | undefined): string => value === undefined ? '–' : shown(value)

function ratio (value: number | undefined, to: number | undefined): string {
  return value === undefined || to === undefined || to === 0 ? '–' : (value / to).toPrecision(2)
}

function isMessage ({ figures, base }: Scenario): boolean {
  return figures[0]?.key === 'cpuUs' && base === undefined
}

function figureRow (bench: Bench, scenario: Scenario, { key, label }: Figure, title: string): string[] {
  const values = bench.brokers.map(({ name }) => medianOf(bench.results, scenario.id, name, key))
  const of = (broker: string): number | undefined => medianOf(bench.results, scenario.id, broker, key)
  return [title, label, ...values.map(cell), ratio(of(subject), of(reference))].filter(text => text !== '')
}

const names = (bench: Bench): string[] => bench.brokers.map(({ name }) => name)
const comparison = `${subject} ÷ ${reference}`

function costs (bench: Bench): string {
  const scenarios = bench.scenarios.filter(isMessage)
  if (scenarios.length === 0) return ''
  const rows = scenarios.map(scenario => figureRow(bench, scenario, { key: 'cpuUs', label: '', better: 'less' }, scenario.title))
  return `## CPU time of the broker for each message, µs\n\n${table(['work', ...names(bench), comparison], rows)}\n`
}

/** Ratios of each broker to itself: what a variation costs. */
function variations (bench: Bench): string {
  const scenarios = bench.scenarios.filter(({ base }) => base !== undefined)
  if (scenarios.length === 0) return ''
  const rows = scenarios.map(scenario => [baseTitle(bench, scenario), scenario.title, ...names(bench).map(broker => against(bench, scenario, broker))])
  return `## The same work in other ways\n\nCPU time of the broker for each message, µs, and the ratio to the same broker doing it the plain way.\n\n${table(['work', 'variation', ...names(bench)], rows)}\n`
}

function baseTitle ({ scenarios }: Bench, { base }: Scenario): string {
  return scenarios.find(({ id }) => id === base)?.title ?? base ?? ''
}

function against ({ results }: Bench, { id, base = '' }: Scenario, broker: string): string {
  const value = medianOf(results, id, broker, 'cpuUs')
  return value === undefined ? '–' : `${cell(value)} (× ${ratio(value, medianOf(results, base, broker, 'cpuUs'))})`
}

function allFigures (bench: Bench): string {
  const rows = bench.scenarios.filter(({ base }) => base === undefined)
    .flatMap(scenario => scenario.figures.map(figure => figureRow(bench, scenario, figure, scenario.title)))
  return `## All figures\n\n${table(['work', 'figure', ...names(bench), comparison], rows)}\n`
}

/** Whatever a reader must know before believing the figures. */
export function caveats ({ absent, results, isQuick }: Bench): string {
  const lines = absent.map(({ name, absent: how }) => `- ${name} is not installed: \`${how}\``)
  const busiest = Math.max(0, ...results.map(({ figures }) => figures['noise'] ?? 0))
  lines.push(`- Other processes took up to ${busiest.toFixed(2)} cores during a run (${(median(results.flatMap(({ figures }) => figures['noise'] ?? [])) ?? 0).toFixed(2)} in the middle).`)
  if (isQuick) lines.unshift('- Made with `--quick`: sizes and times are smaller than the names say, and the figures are not to be quoted.')
  for (const { scenario, broker, figures, failed, cut } of results) {
    const found = disorders.filter(name => (figures[name] ?? 0) > 0).map(name => `${name} ${figures[name] ?? 0}`)
    const text = [failed, cut, ...found].filter(part => part !== undefined).join(', ')
    if (text !== '') lines.push(`- ${scenario}, ${broker}: ${text}`)
  }
  return `## Beside the figures\n\n${[...new Set(lines)].join('\n')}\n`
}

/** Where, with what, of what and how it was made. */
export function origin ({ machine, isPinned, rounds, brokers, command }: Bench): string {
  const versions = brokers.map(({ name, version }) => `${name} ${version}`).join(', ')
  return [
    `${machine.date}, commit ${machine.commit}, Node ${machine.node}; ${versions}.`,
    `${machine.processor}, ${machine.cores} cores${isPinned ? ' (broker on one, load on another)' : ''}, ${machine.memoryGb} GB, ${machine.system}.`,
    `Medians of ${rounds} ${rounds === 1 ? 'round' : 'rounds'}, brokers in turns, each started afresh: \`${command}\``,
  ].join('\n')
}

/** The report as Markdown. */
export function markdown (bench: Bench): string {
  return [
    '# Results\n',
    `${origin(bench)}\n`,
    '![CPU time of the broker for each message](chart.svg)\n',
    costs(bench), variations(bench), allFigures(bench), caveats(bench),
  ].filter(part => part !== '').join('\n')
}

/** The first table as a chart. */
export function chart (bench: Bench): string {
  const groups = bench.scenarios.filter(scenario => isMessage(scenario) && scenario.id !== 'payload-1m').map(({ id, title }) => ({
    title,
    values: new Map(names(bench).flatMap((broker): [string, number][] => {
      const value = medianOf(bench.results, id, broker, 'cpuUs')
      return value === undefined ? [] : [[broker, value]]
    })),
  })).filter(({ values }) => values.size > 0)
  if (groups.length === 0) return ''
  const { date, node, processor } = bench.machine
  return barChart('CPU time of the broker for each message, µs (less is better)', `${bench.brokers.map(({ name, version }) => `${name} ${version}`).join(', ')}; Node ${node}, ${processor}, ${date}`, names(bench), groups)
}
