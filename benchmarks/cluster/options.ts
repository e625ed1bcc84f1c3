import { parseArgs } from 'node:util'
import { list, numberOf } from '../runner/options.ts'
import type { RoundOptions } from '../runner/rounds.ts'

/** What `npm run bench:cluster` is told. */
export interface ClusterOptions extends RoundOptions {
  /** Scenarios, by name or by how their names begin; empty for all. */
  readonly only: readonly string[]
  /** Empty for all. */
  readonly brokers: readonly string[]
  /** Whether Redis writes what it is told to disk, each second. */
  readonly isDurable: boolean
  /** Folder for the results; undefined for the project's. */
  readonly out: string | undefined
  readonly help: boolean
}

export const help = `npm run bench:cluster -- [options]

  --only a,b      qos0-1x, qos1-1x, stay-1x, qos0-10x, … stay-100x, latency-qos0, latency-stay,
                  here-1x, … here-100x, alone-1x, alone-10x, alone-100x, or how their names begin (default: all)
  --brokers a,b   myelin, aedes (default: all that are installed)
  --rounds N      runs of each scenario and broker, in turns (default 3)
  --seconds S     how long is measured (default 5), and --warmup S how long it runs before that (default 2)
  --quick         1 s: to see that it works, not for figures
  --aof           Redis keeps an append-only file, written each second (default: it writes nothing)
  --out FOLDER    where cluster.json and cluster.md go (default benchmarks/results for a full run, .bench/results for a part)
`

/** @throws TypeError for an unknown option, RangeError for a wrong value */
export function readClusterOptions (args: string[]): ClusterOptions {
  const text = { type: 'string' as const }
  const flag = { type: 'boolean' as const, default: false }
  const { values } = parseArgs({ args, options: { only: text, brokers: text, rounds: text, seconds: text, warmup: text, quick: flag, aof: flag, out: text, help: flag } })
  return {
    only: list(values.only ?? ''),
    brokers: list(values.brokers ?? ''),
    rounds: numberOf('--rounds', values.rounds ?? '3'),
    seconds: values.seconds === undefined ? undefined : numberOf('--seconds', values.seconds),
    warmup: values.warmup === undefined ? undefined : numberOf('--warmup', values.warmup),
    quick: values.quick,
    isDurable: values.aof,
    out: values.out,
    help: values.help,
  }
}
