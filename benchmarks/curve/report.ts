import { caveats, cell, medianOf, table, type Bench } from '../report.ts'
import { barChart } from '../runner/chart.ts'
import { median, pairedRatio } from '../runner/statistics.ts'
import type { Point } from './points.ts'

/** All that the report is made of. Its scenarios are the points; the first one is what the others are compared with. */
export interface CurveBench extends Pick<Bench, 'machine' | 'isPinned' | 'command' | 'rounds' | 'brokers' | 'absent' | 'results'> {
  readonly scenarios: readonly Point[]
  /** How often the brokers were started. */
  readonly starts: number
}

const key = 'cpuUs'
const work = '10 pairs, QoS 0, window 32'

/** The report as Markdown. */
export function curveReport (bench: CurveBench): string {
  const { machine, isPinned, starts, rounds, command, brokers, scenarios } = bench
  return [
    '# The same message among more and more\n',
    `${machine.date}, commit ${machine.commit}, Node ${machine.node}; ${brokers.map(({ name, version }) => `${name} ${version}`).join(', ')}.`,
    `${machine.processor}, ${machine.cores} cores${isPinned ? ' (brokers on one, load on another)' : ''}, ${machine.memoryGb} GB, ${machine.system}: \`${command}\`\n`,
    '![CPU time of the broker for each message](curve.svg)\n',
    `${work}: CPU time of the broker for each message, µs, beside what has nothing to do with it. For each point a broker of its own stands ready with what it carries, and short runs go round`,
    `all of them: the median of ${rounds} runs and ${starts} ${starts === 1 ? 'start' : 'starts'}. In brackets the ratio to the same broker beside nothing, geometric mean over the starts of the ratio of their medians, and`,
    'where it lies with a probability of 95 %. *Nothing, once more* shows how much two processes of the same code differ. A process has too few descriptors for the largest crowd here, so a part of it',
    'comes over streams in memory, in a host of its own; its ratio is to the same host beside nothing.\n',
    `${table(['beside', ...brokers.map(({ name }) => name)], scenarios.map(point => [point.title, ...brokers.map(({ name }) => told(bench, point, name))]))}\n`,
    caveats({ ...bench, isQuick: false }),
  ].join('\n')
}

function told (bench: CurveBench, { id, base: ownBase, streams }: Point, broker: string): string {
  const value = cell(medianOf(bench.results, id, broker, key))
  const baseId = ownBase ?? (streams === undefined ? bench.scenarios[0]?.id ?? '' : id)
  const base = costs(bench, baseId, broker)
  const found = base.size === 0 || id === baseId ? undefined : pairedRatio([...costs(bench, id, broker)].map(([start, cost]) => cost / (base.get(start) ?? NaN)))
  if (found === undefined) return value
  const interval = found.high === Infinity ? '' : `, ${found.low.toFixed(2)} … ${found.high.toFixed(2)}`
  return `${value} (× ${found.ratio.toFixed(2)}${interval})`
}

/** The median of each start. */
function costs ({ results }: CurveBench, scenario: string, broker: string): Map<number, number> {
  const own = results.filter(result => result.scenario === scenario && result.broker === broker && result.failed === undefined)
  const starts = new Set(own.map(({ round }) => round))
  return new Map([...starts].map(start => [start, median(own.filter(({ round }) => round === start).map(({ figures }) => figures[key] ?? NaN)) ?? NaN]))
}

/** The table as a chart. */
export function curveChart ({ machine, brokers, scenarios, results }: CurveBench): string {
  const groups = scenarios.map(({ id, title }) => ({
    title: `beside ${title}`,
    values: new Map(brokers.flatMap(({ name }): [string, number][] => {
      const value = medianOf(results, id, name, key)
      return value === undefined ? [] : [[name, value]]
    })),
  })).filter(({ values }) => values.size > 0)
  return barChart(`${work}: CPU time of the broker for each message, µs (less is better)`, `Node ${machine.node}, ${machine.processor}, ${machine.date}`, brokers.map(({ name }) => name), groups)
}
