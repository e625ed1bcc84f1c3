// What it costs that several processes are one broker: `npm run bench:cluster -- --help`. How to read the figures: benchmarks/README.md
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bench } from '../report.ts'
import { describeMachine } from '../runner/machine.ts'
import { findRoot } from '../runner/program.ts'
import { loadOf, progress, rotated } from '../runner/rounds.ts'
import { select } from '../runner/scenarios.ts'
import type { Result } from '../runner/trial.ts'
import { clusteredBrokers, type ClusteredBroker } from './brokers.ts'
import { help, readClusterOptions, type ClusterOptions } from './options.ts'
import { BenchRedis, redisVersion } from './redis.ts'
import { clusterReport } from './report.ts'
import { scenarios, type ClusterScenario } from './scenarios.ts'
import { ClusterLaboratory } from './trial.ts'

/** A full run replaces the results that are kept; part of one does not. */
function folderOf (root: string, { out, only, brokers, quick, isDurable }: ClusterOptions): string {
  const isFull = only.length === 0 && brokers.length === 0 && !quick && !isDurable
  const folder = out ?? join(root, isFull ? 'benchmarks/results' : '.bench/results')
  mkdirSync(folder, { recursive: true })
  return folder
}

/** @throws RangeError for a name that is none */
function chosen<T extends { readonly id: string }> (all: readonly T[], names: readonly string[]): T[] {
  for (const name of names) if (!all.some(({ id }) => id === name)) throw new RangeError(`--brokers: no broker ${name}; there are ${all.map(({ id }) => id).join(', ')}`)
  return all.filter(({ id }) => names.length === 0 || names.includes(id))
}

async function measure (root: string, options: ClusterOptions, signal: AbortSignal): Promise<void> {
  const version = redisVersion()
  if (version === undefined) throw new Error('there is no redis-server: apt-get install redis-server')
  const all = chosen(clusteredBrokers(root), options.brokers)
  const brokers = all.filter((broker): broker is ClusteredBroker => !('absent' in broker))
  const absent = all.filter(broker => 'absent' in broker)
  for (const { name, absent: how } of absent) console.error(`${name} is not installed: ${how}`)
  const wanted = options.only.length === 0 ? scenarios : select(scenarios, options.only)
  const results = await onRedis(root, options, signal, redis => rounds(new ClusterLaboratory(redis, signal), wanted, brokers, options))
  const command = ['npm run bench:cluster --', ...process.argv.slice(2)].join(' ').replace(/ --out[= ]\S+/g, '').replace(/ --$/, '')
  report(folderOf(root, options), `Redis ${version} (${options.isDurable ? 'append-only file written each second' : 'which writes nothing to disk'})`, {
    machine: describeMachine(root), isPinned: false, command, rounds: options.rounds, isQuick: options.quick,
    brokers: brokers.map(({ name, version }) => ({ name, version })), absent, scenarios: wanted, results,
  })
}

async function onRedis (root: string, { isDurable }: ClusterOptions, signal: AbortSignal, measure: (redis: BenchRedis) => Promise<Result[]>): Promise<Result[]> {
  mkdirSync(join(root, '.bench'), { recursive: true })
  const folder = mkdtempSync(join(root, '.bench/redis-'))
  const redis = await BenchRedis.start(isDurable ? folder : undefined, signal)
  try {
    return await measure(redis)
  } finally {
    await redis.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Brokers take turns, and the order changes from round to round. */
async function rounds (laboratory: ClusterLaboratory, scenarios: readonly ClusterScenario[], brokers: readonly ClusteredBroker[], options: ClusterOptions): Promise<Result[]> {
  const results: Result[] = []
  for (let round = 1; round <= options.rounds; round++) {
    for (const scenario of scenarios) {
      for (const broker of rotated(brokers, round)) {
        const result = await laboratory.run(broker, scenario, loadOf(scenario, options), round)
        results.push(result)
        console.error(progress(result, scenario, options.rounds))
      }
    }
  }
  return results
}

function report (folder: string, redis: string, bench: Bench): void {
  const text = clusterReport(bench, redis)
  writeFileSync(join(folder, 'cluster.json'), `${JSON.stringify(bench, null, 1)}\n`)
  writeFileSync(join(folder, 'cluster.md'), text)
  console.log(text)
}

async function run (args: string[]): Promise<void> {
  const options = readClusterOptions(args)
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
