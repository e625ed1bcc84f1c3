// What many connections cost a cluster: `npm run scaling -- --help`. What the figures mean: docs/scaling.md
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { numberOf } from '../../runner/options.ts'
import { findRoot } from '../../runner/program.ts'
import { withTables } from './document.ts'
import type { Kept } from './figures.ts'
import { measure, runChecks } from './laboratory/measure.ts'
import { limitOf, predict, type Scenario } from './model.ts'
import { bounds, scenarios } from './scenarios.ts'
import { scenarioTable, tablesOf } from './tables.ts'

const help = `npm run scaling -- [options]

  without options  measures, which takes some minutes, checks the model, and prints all tables
  --kept           the tables of what was measured before, benchmarks/results/scaling.json
  --check          only checks the model anew, with what was measured before
  --write          puts the tables into docs/scaling.md, and what was measured into benchmarks/results/scaling.json
  --rounds N       of which the medians are taken (default 3)

  A scenario of your own, from what was measured before; what is not named is as in the first scenario of docs/scaling.md:
${ownOptions().map(name => `  --${name} N`).join('\n')}
`

/** The numbers of a scenario. */
function ownOptions (): string[] { return Object.keys(scenarios[0] ?? {}).filter(name => name !== 'name') }

/** @throws RangeError for anything else */
function notNegative (name: string, text: string): number {
  const value = Number(text)
  if (!(value >= 0)) throw new RangeError(`--${name}: expected a number from 0 on, not ${text}`)
  return value
}

function ownScenario (values: Readonly<Partial<Record<string, string | boolean>>>): Scenario | undefined {
  const named = ownOptions().filter(name => values[name] !== undefined)
  if (named.length === 0) return undefined
  const own = Object.fromEntries(named.map(name => [name, notNegative(name, String(values[name]))]))
  return { ...scenarios[0] as Scenario, ...own, name: 'your own' }
}

function printOwn (scenario: Scenario, { figures }: Kept): void {
  const { connections, by } = limitOf(scenario, figures, bounds)
  console.log(scenarioTable([scenario], figures))
  console.log(`\nOne cluster of this kind carries ${connections.toLocaleString('en')} connections (${by.join(', ')}); ${predict(scenario, figures).cores <= bounds.cores ? 'it fits' : 'this one has to be split'}.`)
}

async function run (args: string[]): Promise<void> {
  const [flag, text] = [{ type: 'boolean', default: false }, { type: 'string' }] as const
  const own = Object.fromEntries(ownOptions().map(name => [name, text]))
  const { values } = parseArgs({ args, options: { ...own, help: flag, kept: flag, check: flag, write: flag, rounds: text } })
  if (values.help) { console.log(help); return }
  const root = findRoot(import.meta.dirname)
  const [results, page] = [join(root, 'benchmarks/results/scaling.json'), join(root, 'docs/scaling.md')]
  const before = (): Kept => JSON.parse(readFileSync(results, 'utf8')) as Kept
  const scenario = ownScenario(values)
  if (scenario !== undefined) { printOwn(scenario, before()); return }
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { ending.abort(new Error(`ended by ${signal}`)) })
  const newlyKept = async (signal: AbortSignal): Promise<Kept> => {
    const rounds = numberOf('--rounds', values.rounds ?? '3')
    const figures = values.check ? before().figures : await measure(root, rounds, signal)
    return { figures, checks: await runChecks(figures, rounds, signal) }
  }
  const kept = values.kept ? before() : await newlyKept(ending.signal)
  const tables = tablesOf(kept)
  for (const table of tables.values()) console.log(`${table}\n`)
  if (!values.write) return
  writeFileSync(results, `${JSON.stringify(kept, null, 1)}\n`)
  writeFileSync(page, withTables(readFileSync(page, 'utf8'), tables))
}

try {
  await run(process.argv.slice(2))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
