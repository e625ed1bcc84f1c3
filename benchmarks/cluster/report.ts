import { caveats, cell, medianOf, origin, table, type Bench } from '../report.ts'
import { shown } from '../runner/rounds.ts'

const [subject, peer] = ['myelin', 'aedes on Redis']

/** What a figure has to be, by itself or as a multiple of the peer's. */
interface Goal {
  readonly scenario: string
  readonly key: string
  readonly label: string
  readonly isRatio?: boolean
  readonly atLeast?: number
  readonly atMost?: number
}

const times = (scenario: string): Goal => ({ scenario, key: 'messagesPerSecond', label: `deliveries/s, ${subject} ÷ ${peer}`, isRatio: true, atLeast: 5 })
const durable = (scenario: string, atLeast: number): Goal[] => [
  { scenario, key: 'messagesPerSecond', label: 'deliveries/s, **measured**', atLeast },
  { scenario, key: 'perRedisCore', label: 'deliveries a second of Redis’ CPU time, *computed*', atLeast },
]
const goals: readonly Goal[] = [
  ...['qos1-1x', 'stay-1x', 'qos1-10x', 'stay-10x', 'qos1-100x', 'stay-100x'].map(times),
  ...['stay', 'here'].flatMap(where => [...durable(`${where}-1x`, 25_000), ...durable(`${where}-10x`, 77_000), ...durable(`${where}-100x`, 127_000)]),
  { scenario: 'alone-10x', key: 'fromClients', label: 'commands that nodes send, a message', atMost: 2 },
]
const explanation = `Medians, and the least and the most of all rounds. What is **measured** is what clients got while both nodes, Redis and the load shared the machine: that may be less than what Redis could do.
*Computed* is the number of deliveries divided by the CPU time that Redis took for them (\`used_cpu_user\` and \`used_cpu_sys\`): how many one core of Redis is good for, if there are nodes enough.
Sessions that stay are durable: PUBACK means that Redis has the message. Between two nodes it is in the inbox of the subscribers’ node until it is acknowledged or in the queue of the Session;
at one node it is in the queue at once.`

/** The report as Markdown. */
export function clusterReport (bench: Bench, redis: string): string {
  return [
    '# Clusters on Redis\n',
    `${origin(bench)}\n`,
    `Publishers at one node, subscribers at another, unless the work says that they are at one. Both nodes, ${redis} and the load share the machine. Payloads of 64 bytes, MQTT 3.1.1,`,
    '32 messages outstanding for each publisher.',
    'Redis is the same process for all, emptied before each run. How to read the figures: [benchmarks/README.md](../README.md).\n',
    goalTable(bench), figureTable(bench), caveats(bench),
  ].filter(part => part !== '').join('\n')
}

function figureTable ({ brokers, results, scenarios }: Bench): string {
  const names = brokers.map(({ name }) => name)
  const rows = scenarios.flatMap(({ id, title, figures }) => figures.map(({ key, label }) => [title, label, ...names.map(name => cell(medianOf(results, id, name, key)))]))
  return `## Figures\n\n${table(['work', 'figure', ...names], rows)}\n`
}

function goalTable (bench: Bench): string {
  const rows = goals.flatMap(goal => goalRow(bench, goal))
  return rows.length === 0 ? '' : `## Goals\n\n${explanation}\n\n${table(['work', 'what', 'goal', 'found', 'in the rounds', ''], rows)}\n`
}

function goalRow (bench: Bench, goal: Goal): string[][] {
  const { scenario, key, label, isRatio, atLeast = -Infinity, atMost = Infinity } = goal
  const title = bench.scenarios.find(({ id }) => id === scenario)?.title
  const value = medianOf(bench.results, scenario, subject, key)
  const base = isRatio === true ? medianOf(bench.results, scenario, peer, key) : 1
  const rounds = roundsOf(bench, goal)
  if (title === undefined || value === undefined || base === undefined || rounds.length === 0) return []
  const found = value / base
  const wanted = goal.atLeast === undefined ? `≤ ${shown(atMost)}` : `≥ ${shown(atLeast)}`
  return [[title, label, wanted, shown(found), `${shown(Math.min(...rounds))} … ${shown(Math.max(...rounds))}`, found >= atLeast && found <= atMost ? 'reached' : 'missed']]
}

/** What each round gave: runs that failed are left out. */
function roundsOf ({ results }: Bench, { scenario, key, isRatio }: Goal): number[] {
  const figureOf = (broker: string, round: number): number | undefined =>
    results.find(result => result.scenario === scenario && result.broker === broker && result.round === round && result.failed === undefined)?.figures[key]
  return results.filter(result => result.scenario === scenario && result.broker === subject).flatMap(({ round }) => {
    const [value, base] = [figureOf(subject, round), isRatio === true ? figureOf(peer, round) : 1]
    return value === undefined || base === undefined || base === 0 ? [] : [value / base]
  })
}
