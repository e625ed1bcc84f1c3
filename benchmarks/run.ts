// End-to-end benchmarks: `npm run bench -- --help`. How to read the figures: benchmarks/README.md
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chart, markdown, type Bench } from './report.ts'
import { after, before, checkOut, comparison } from './runner/against.ts'
import { brokersOf, myelin, type AbsentBroker, type BrokerUnderTest } from './runner/brokers.ts'
import { commitOf, describeMachine } from './runner/machine.ts'
import { help, readRunOptions, type RunOptions } from './runner/options.ts'
import { findRoot } from './runner/program.ts'
import { rounds } from './runner/rounds.ts'
import { allScenarios, select, type Scenario } from './runner/scenarios.ts'
import { Laboratory } from './runner/trial.ts'

function scenariosOf ({ only, against }: RunOptions): readonly Scenario[] {
  if (only.length > 0) return select(allScenarios, only)
  return against === undefined ? allScenarios : allScenarios.filter(({ isCore }) => isCore)
}

/** A full run replaces the results that are kept; part of one does not. */
function folderOf (root: string, { out, only, quick, against }: RunOptions): string {
  const isFull = only.length === 0 && !quick && against === undefined
  const folder = out ?? join(root, isFull ? 'benchmarks/results' : '.bench/results')
  mkdirSync(folder, { recursive: true })
  return folder
}

async function compareBrokers (root: string, options: RunOptions, signal: AbortSignal): Promise<void> {
  const found = brokersOf(options.brokers, root)
  const brokers = found.filter((broker): broker is BrokerUnderTest => !('absent' in broker))
  const absent = found.filter((broker): broker is AbsentBroker => 'absent' in broker)
  for (const { name, absent: how } of absent) console.error(`${name} is not installed: ${how}`)
  const scenarios = scenariosOf(options)
  const laboratory = new Laboratory(signal)
  const results = await rounds(laboratory, scenarios, brokers, options)
  const command = ['npm run bench --', ...process.argv.slice(2)].join(' ').replace(/ --out[= ]\S+/, '')
  report(folderOf(root, options), {
    machine: describeMachine(root), isPinned: laboratory.isPinned, command, rounds: options.rounds, isQuick: options.quick, brokers: brokers.map(({ name, version }) => ({ name, version })), absent, scenarios, results,
  })
}

function report (folder: string, bench: Bench): void {
  writeFileSync(join(folder, 'results.json'), `${JSON.stringify(bench, null, 1)}\n`)
  writeFileSync(join(folder, 'chart.svg'), chart(bench))
  writeFileSync(join(folder, 'report.md'), markdown(bench))
  console.log(markdown(bench))
}

async function compareCommits (root: string, commit: string, options: RunOptions, signal: AbortSignal): Promise<void> {
  const checkout = checkOut(root, commit)
  try {
    const scenarios = scenariosOf(options)
    const results = await rounds(new Laboratory(signal), scenarios, [myelin(checkout.folder, before), myelin(root, after)], options)
    const text = comparison(results, scenarios, options.rounds, { before: checkout.commit, after: commitOf(root) })
    const folder = folderOf(root, options)
    writeFileSync(join(folder, 'against.json'), `${JSON.stringify(results, null, 1)}\n`)
    writeFileSync(join(folder, 'against.md'), text)
    console.log(text)
  } finally {
    checkout.remove()
  }
}

async function run (args: string[]): Promise<void> {
  const options = readRunOptions(args)
  if (options.help) { console.log(help); return }
  const root = findRoot(import.meta.dirname)
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { ending.abort(new Error(`ended by ${signal}`)) })
  if (options.against === undefined) await compareBrokers(root, options, ending.signal)
  else await compareCommits(root, options.against, options, ending.signal)
}

try {
  await run(process.argv.slice(2))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
