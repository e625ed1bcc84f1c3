// What each plugin that decides costs a message, beside none: `npm run bench:auth -- --help`. How to read the figures: benchmarks/README.md
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeMachine } from '../runner/machine.ts'
import { list, numberOf } from '../runner/options.ts'
import { findRoot, runProgram } from '../runner/program.ts'
import { allScenarios, select } from '../runner/scenarios.ts'
import { standing } from '../runner/standing.ts'
import { Laboratory, type Result } from '../runner/trial.ts'
import { authReport, type Steady } from './report.ts'
import { steadily } from './steady.ts'
import { again, variant, variants, type VariantId } from './variants.ts'

const scenarios = ['pairs-qos0', 'pairs-qos1', 'fan-out-qos0']
const help = `npm run bench:auth -- [options]

  --only a,b       ${scenarios.join(', ')}, or other scenarios of npm run bench (default: these)
  --variants a,b   beside none: ${Object.keys(variants).slice(1).join(', ')} (default: all)
  --starts N       how often the brokers are started for TCP (default 4)
  --rounds N       runs against each of them while they stand, in turns (default 5)
  --steady N       rounds in memory (default 100)
  --seconds S      how long is measured (default 0.8), and --warmup S how long it runs before that (default 0.2)
  --out FOLDER     where auth.md goes (default benchmarks/results for a full run, .bench/results for a part)
`

function chosen (names: readonly string[]): VariantId[] {
  for (const name of names) if (!Object.hasOwn(variants, name)) throw new RangeError(`--variants: no variant ${name}; there are ${Object.keys(variants).join(', ')}`)
  return (Object.keys(variants) as VariantId[]).filter(id => names.length === 0 || id === 'none' || names.includes(id))
}

async function measure (args: string[], signal: AbortSignal): Promise<void> {
  const text = { type: 'string' as const }
  const { values } = parseArgs({ args, options: { only: text, variants: text, starts: text, rounds: text, steady: text, seconds: text, warmup: text, out: text, help: { type: 'boolean', default: false } } })
  if (values.help) { console.log(help); return }
  const root = findRoot(import.meta.dirname)
  const ids = chosen(list(values.variants ?? ''))
  const works = select(allScenarios, list(values.only ?? scenarios.join(',')))
  const options = {
    starts: numberOf('--starts', values.starts ?? '4'), rounds: numberOf('--rounds', values.rounds ?? '5'),
    seconds: numberOf('--seconds', values.seconds ?? '0.8'), warmup: numberOf('--warmup', values.warmup ?? '0.2'),
  }
  const steady: Steady = new Map()
  for (const { id } of works) steady.set(id, await steadily(root, ids, id, numberOf('--steady', values.steady ?? '100'), signal))
  const laboratory = new Laboratory(signal)
  const machine = describeMachine(root)
  const brokers = [...ids.map(id => variant(root, id)), variant(root, 'none', again)]
  const results: Result[] = []
  for (const work of works) results.push(...await standing(laboratory, brokers.map(broker => ({ broker, scenario: work })), options))
  const folder = values.out ?? join(root, values.only === undefined && values.variants === undefined ? 'benchmarks/results' : '.bench/results')
  const report = authReport({ machine, isPinned: laboratory.isPinned, ...options, variants: ids, scenarios: works, results, steady })
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'auth.md'), report)
  console.log(report)
}

await runProgram(measure)
