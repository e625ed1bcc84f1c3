// What it costs that nothing acknowledged is lost: `npm run bench:durability -- --help`. How to read the figures: benchmarks/README.md
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Bench } from '../report.ts'
import type { AbsentBroker, BrokerUnderTest } from '../runner/brokers.ts'
import { describeMachine } from '../runner/machine.ts'
import { findRoot } from '../runner/program.ts'
import { rounds } from '../runner/rounds.ts'
import { select } from '../runner/scenarios.ts'
import { Laboratory } from '../runner/trial.ts'
import { durableBrokers, type DurableBroker } from './brokers.ts'
import { help, readDurabilityOptions, type DurabilityOptions } from './options.ts'
import { durabilityReport } from './report.ts'
import { Restarts, restarts } from './restart.ts'
import { scenarios } from './scenarios.ts'

/** @throws RangeError for a name that is none */
function chosenBrokers (all: readonly DurableBroker[], names: readonly string[]): DurableBroker[] {
  for (const name of names) if (!all.some(({ id }) => id === name)) throw new RangeError(`--brokers: no broker ${name}; there are ${all.map(({ id }) => id).join(', ')}`)
  return all.filter(({ id }) => names.length === 0 || names.includes(id))
}

/** A full run replaces the results that are kept; part of one does not. */
function folderOf (root: string, { out, only, brokers, quick }: DurabilityOptions): string {
  const isFull = only.length === 0 && brokers.length === 0 && !quick
  const folder = out ?? join(root, isFull ? 'benchmarks/results' : '.bench/results')
  mkdirSync(folder, { recursive: true })
  return folder
}

async function measure (root: string, options: DurabilityOptions, signal: AbortSignal): Promise<void> {
  const data = resolve(options.data ?? join(root, '.bench/data'))
  const durable = chosenBrokers(durableBrokers(root, data), options.brokers)
  const brokers = durable.map(({ broker }) => broker).filter((broker): broker is BrokerUnderTest => !('absent' in broker))
  const absent = durable.map(({ broker }) => broker).filter((broker): broker is AbsentBroker => 'absent' in broker)
  for (const { name, absent: how } of absent) console.error(`${name} is not installed: ${how}`)
  const all = [...scenarios, ...restarts]
  const chosen = options.only.length === 0 ? all : select(all, options.only)
  const laboratory = new Laboratory(signal)
  const results = await rounds(laboratory, chosen.filter(scenario => scenarios.includes(scenario)), brokers, options)
  const restarting = new Restarts(laboratory, root, data)
  for (const scenario of chosen.filter(scenario => restarts.includes(scenario))) results.push(...await restarting.run(scenario, options, durable.map(({ id }) => id)))
  const command = ['npm run bench:durability --', ...process.argv.slice(2)].join(' ').replace(/ --(?:out|data)[= ]\S+/g, '').replace(/ --$/, '')
  report(folderOf(root, options), durable, {
    machine: describeMachine(root), isPinned: laboratory.isPinned, command, rounds: options.rounds, isQuick: options.quick,
    brokers: brokers.map(({ name, version }) => ({ name, version })), absent, scenarios: chosen, results,
  })
}

function report (folder: string, durable: readonly DurableBroker[], bench: Bench): void {
  const text = durabilityReport(bench, durable.map(({ broker: { name }, promise }) => ({ name, promise })))
  writeFileSync(join(folder, 'durability.json'), `${JSON.stringify(bench, null, 1)}\n`)
  writeFileSync(join(folder, 'durability.md'), text)
  console.log(text)
}

async function run (args: string[]): Promise<void> {
  const options = readDurabilityOptions(args)
  if (options.help) { console.log(help); return }
  const ending = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { ending.abort(new Error(`ended by ${signal}`)) })
  await measure(findRoot(import.meta.dirname), options, ending.signal)
}

try {
  await run(process.argv.slice(2))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
