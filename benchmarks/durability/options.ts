import { parseArgs } from 'node:util'
import { list, numberOf } from '../runner/options.ts'
import type { RoundOptions } from '../runner/rounds.ts'

/** What `npm run bench:durability` is told. */
export interface DurabilityOptions extends RoundOptions {
  /** Scenarios, by name or by how their names begin; empty for all. */
  readonly only: readonly string[]
  /** Empty for all. */
  readonly brokers: readonly string[]
  /** Folder for the brokers' data, and for the results; undefined for the project's. */
  readonly data: string | undefined
  readonly out: string | undefined
  readonly help: boolean
}

export const help = `npm run bench:durability -- [options]

  --only a,b      online, away, fan-out, drain, latency-online, latency-away, restart-empty, restart-queue, restart-sessions,
                  or how their names begin (default: all)
  --brokers a,b   memory, process, power, mosquitto, mosquitto-1s, aedes (default: all that are installed)
  --rounds N      runs of each scenario and broker, in turns (default 5)
  --seconds S     how long is measured where it is a time (default 5), and --warmup S how long it runs before that (default 2)
  --quick         1 s, small sizes: to see that it works, not for figures
  --data FOLDER   on the disk to measure; the brokers' data, removed again (default .bench/data)
  --out FOLDER    where durability.json and durability.md go (default benchmarks/results for a full run, .bench/results for a part)
`

/** @throws TypeError for an unknown option, RangeError for a wrong value */
export function readDurabilityOptions (args: string[]): DurabilityOptions {
  const text = { type: 'string' as const }
  const flag = { type: 'boolean' as const, default: false }
  const { values } = parseArgs({ args, options: { only: text, brokers: text, rounds: text, seconds: text, warmup: text, quick: flag, data: text, out: text, help: flag } })
  return {
    only: list(values.only ?? ''),
    brokers: list(values.brokers ?? ''),
    rounds: numberOf('--rounds', values.rounds ?? '5'),
    seconds: values.seconds === undefined ? undefined : numberOf('--seconds', values.seconds),
    warmup: values.warmup === undefined ? undefined : numberOf('--warmup', values.warmup),
    quick: values.quick,
    data: values.data,
    out: values.out,
    help: values.help,
  }
}
