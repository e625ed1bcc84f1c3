import { caveats, cell, medianOf, origin, table, type Bench } from '../report.ts'
import type { Scenario } from '../runner/scenarios.ts'

/** What durability is to cost at most, and to be ahead by at least: a rate, as a multiple of others'. */
interface Goal {
  readonly scenario: string
  readonly broker: string
  /** Names begin so; the best of them counts. */
  readonly others: readonly string[]
  readonly atLeast: number
}

const peers = ['mosquitto', 'aedes']
const goals: readonly Goal[] = [
  { scenario: 'online', broker: 'myelin process', others: ['myelin memory'], atLeast: 0.8 },
  { scenario: 'online', broker: 'myelin power', others: peers, atLeast: 3 },
  { scenario: 'drain', broker: 'myelin process', others: ['aedes'], atLeast: 5 },
  { scenario: 'drain', broker: 'myelin power', others: ['aedes'], atLeast: 5 },
]
/** The first figure of the scenarios that goals are about. */
const rate = 'messagesPerSecond'

/** What is told of a broker beside its figures. */
export interface Promised {
  readonly name: string
  readonly promise: string
}

/** The report as Markdown. */
export function durabilityReport (bench: Bench, promised: readonly Promised[]): string {
  return [
    '# Durable Sessions\n',
    `${origin(bench)}\n`,
    'QoS 1, payloads of 64 bytes, MQTT 3.1.1, Sessions that stay (Clean Session 0). `myelin memory` has no store; `myelin process` and `myelin power` have one with that durability.',
    'How to read the figures: [benchmarks/README.md](../README.md).\n',
    `## What a PUBACK promises\n\n${table(['broker', 'PUBACK'], promised.map(({ name, promise }) => [name, promise])).replace('---:', '---')}\n`,
    goalTable(bench), figureTable(bench, 'Figures', others(bench)), figureTable(bench, 'Killed with `kill -9` and started again', restarts(bench)), caveats(bench),
  ].filter(part => part !== '').join('\n')
}

const restarts = ({ scenarios }: Bench): Scenario[] => scenarios.filter(({ id }) => id.startsWith('restart'))
const others = ({ scenarios }: Bench): Scenario[] => scenarios.filter(({ id }) => !id.startsWith('restart'))

function figureTable (bench: Bench, title: string, scenarios: readonly Scenario[]): string {
  if (scenarios.length === 0) return ''
  const names = bench.brokers.map(({ name }) => name).filter(name => bench.results.some(({ scenario, broker }) => broker === name && scenarios.some(({ id }) => id === scenario)))
  const rows = scenarios.flatMap(({ id, title, figures }) => figures.map(({ key, label }) => [title, label, ...names.map(name => cell(medianOf(bench.results, id, name, key)))]))
  return `## ${title}\n\n${table(['work', 'figure', ...names], rows)}\n`
}

function goalTable (bench: Bench): string {
  const rows = goals.flatMap(goal => goalRow(bench, goal))
  return rows.length === 0 ? '' : `## Goals\n\nRatios of the medians of the rates, and of the rates in each round.\n\n${table(['work', 'compared', 'goal', 'found', 'in the rounds', ''], rows)}\n`
}

function goalRow (bench: Bench, { scenario, broker, others, atLeast }: Goal): string[][] {
  const title = bench.scenarios.find(({ id }) => id === scenario)?.title
  const best = bestOf(bench, scenario, others)
  const value = medianOf(bench.results, scenario, broker, rate)
  if (title === undefined || best === undefined || value === undefined) return []
  const found = value / (medianOf(bench.results, scenario, best, rate) ?? Infinity)
  const rounds = ratiosOf(bench, scenario, broker, best)
  return [[title, `${broker} ÷ ${best}`, `≥ ${atLeast}`, found.toPrecision(3), `${Math.min(...rounds).toPrecision(3)} … ${Math.max(...rounds).toPrecision(3)}`, found >= atLeast ? 'reached' : 'missed']]
}

function bestOf ({ brokers, results }: Bench, scenario: string, beginnings: readonly string[]): string | undefined {
  const rateOf = (name: string): number => medianOf(results, scenario, name, rate) ?? 0
  const [best] = brokers.map(({ name }) => name).filter(name => rateOf(name) > 0 && beginnings.some(beginning => name.startsWith(beginning)))
    .sort((a, b) => rateOf(b) - rateOf(a))
  return best
}

function ratiosOf ({ results }: Bench, scenario: string, broker: string, other: string): number[] {
  const rateOf = (name: string, round: number): number | undefined =>
    results.find(result => result.scenario === scenario && result.broker === name && result.round === round && result.failed === undefined)?.figures[rate]
  return results.filter(result => result.scenario === scenario && result.broker === broker).flatMap(({ round }) => {
    const [value, base] = [rateOf(broker, round), rateOf(other, round)]
    return value === undefined || base === undefined || base === 0 ? [] : [value / base]
  })
}
