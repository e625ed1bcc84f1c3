// What a message costs among more and more that has nothing to do with it: `npm run bench:curve -- --help`. How to read the figures: benchmarks/README.md
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { brokersOf, crowded, type AbsentBroker, type BrokerUnderTest } from '../runner/brokers.ts'
import { describeMachine } from '../runner/machine.ts'
import { list, numberOf } from '../runner/options.ts'
import { findRoot, runProgram } from '../runner/program.ts'
import { standing, type Place } from '../runner/standing.ts'
import { Laboratory } from '../runner/trial.ts'
import { crowdOf, pointsOf, type Point } from './points.ts'
import { curveChart, curveReport } from './report.ts'

const help = `npm run bench:curve -- [options]

  --brokers a,b         myelin, mosquitto, aedes (default: myelin and mosquitto)
  --subscriptions a,b   points of the curve (default 10000,100000,1000000)
  --connections a,b     points of the curve (default 1000,5000,19000; 50000 where ulimit -n allows it)
  --crowd N             myelin alone, in a host of its own: so many connections, those beyond the last of the points over streams in memory,
                        without and with the last number of subscriptions (default 50000; 0 for none)
  --starts N            how often the brokers are started (default 4)
  --rounds N            runs against each of them while they stand, in turns (default 7)
  --seconds S           how long is measured (default 1), and --warmup S how long it runs before that (default 0.3)
  --out FOLDER          where curve.json, curve.md and curve.svg go (default benchmarks/results)
`

/** Other brokers carry no streams in memory. */
function placesOf (broker: BrokerUnderTest, points: readonly Point[], root: string): Place[] {
  return points.filter(({ streams }) => streams === undefined || broker.name === 'myelin')
    .map(scenario => ({ broker: scenario.streams === undefined ? broker : crowded(root, scenario.streams), scenario }))
}

async function measure (args: string[], signal: AbortSignal): Promise<void> {
  const text = { type: 'string' as const }
  const { values } = parseArgs({ args, options: { brokers: text, subscriptions: text, connections: text, crowd: text, starts: text, rounds: text, seconds: text, warmup: text, out: text, help: { type: 'boolean', default: false } } })
  if (values.help) { console.log(help); return }
  const numbers = (name: 'subscriptions' | 'connections', otherwise: string): number[] => list(values[name] ?? otherwise).map(part => numberOf(`--${name}`, part))
  const number = (name: 'crowd' | 'starts' | 'rounds' | 'seconds' | 'warmup', otherwise: string): number => numberOf(`--${name}`, values[name] ?? otherwise)
  const options = { starts: number('starts', '4'), rounds: number('rounds', '7'), seconds: number('seconds', '1'), warmup: number('warmup', '0.3') }
  const root = findRoot(import.meta.dirname)
  const found = brokersOf(list(values.brokers ?? 'mosquitto,myelin'), root)
  const brokers = found.filter((broker): broker is BrokerUnderTest => !('absent' in broker))
  const [subscriptions, connections] = [numbers('subscriptions', '10000,100000,1000000'), numbers('connections', '1000,5000,19000')]
  const scenarios = [...pointsOf(subscriptions, connections), ...crowdOf(number('crowd', '50000'), connections.at(-1) ?? 0, subscriptions.at(-1) ?? 0)]
  const laboratory = new Laboratory(signal)
  const results = await standing(laboratory, brokers.flatMap(broker => placesOf(broker, scenarios, root)), options)
  const folder = values.out ?? join(root, 'benchmarks/results')
  const bench = {
    machine: describeMachine(root), isPinned: laboratory.isPinned, command: ['npm run bench:curve --', ...args].join(' ').replace(/ --out[= ]\S+/, '').replace(/ --$/, ''), ...options,
    brokers: brokers.map(({ name, version }) => ({ name, version })), absent: found.filter((broker): broker is AbsentBroker => 'absent' in broker), scenarios, results,
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'curve.json'), `${JSON.stringify(bench, null, 1)}\n`)
  writeFileSync(join(folder, 'curve.svg'), curveChart(bench))
  writeFileSync(join(folder, 'curve.md'), curveReport(bench))
  console.log(curveReport(bench))
}

await runProgram(measure)
