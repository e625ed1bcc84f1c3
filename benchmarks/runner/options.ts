import { parseArgs } from 'node:util'

/** What `npm run bench` is told. */
export interface RunOptions {
  /** Scenarios, by name or by how their names begin; empty for all. */
  readonly only: readonly string[]
  readonly brokers: readonly string[]
  readonly rounds: number
  /** Seconds that are measured, and before that seconds to warm up; undefined for those of `--quick` or of the load generator. */
  readonly seconds: number | undefined
  readonly warmup: number | undefined
  readonly quick: boolean
  /** A commit to compare the working tree with. */
  readonly against: string | undefined
  /** Folder for the results. */
  readonly out: string | undefined
  readonly help: boolean
}

export const help = `npm run bench -- [options]

  --only a,b            scenarios, by name or by how their names begin (default: all)
  --brokers a,b         myelin, mosquitto, aedes (default: all that are installed)
  --rounds N            runs of each scenario and broker, in turns (default 3; with --against 7)
  --seconds S           how long is measured (default 5)
  --warmup S            how long it runs before that (default 2)
  --quick               1 s, small sizes: to see that it works, not for figures
  --against COMMIT      compare the working tree with a commit instead of brokers
  --out FOLDER          where results.json, report.md and chart.svg go
                        (default benchmarks/results for a full run, .bench/results for a part)
`

/** The parts of `a,b`. */
export const list = (text: string): string[] => text.split(',').filter(part => part !== '')

/** @throws RangeError for anything but a number above 0 */
export function numberOf (name: string, text: string): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value <= 0) throw new RangeError(`${name}: expected a number above 0, not ${text}`)
  return value
}

/** @throws TypeError for an unknown option, RangeError for a wrong value */
export function readRunOptions (args: string[]): RunOptions {
  const text = { type: 'string' as const }
  const flag = { type: 'boolean' as const, default: false }
  const { values } = parseArgs({ args, options: { only: text, brokers: text, rounds: text, seconds: text, warmup: text, quick: flag, against: text, out: text, help: flag } })
  const optional = (name: 'seconds' | 'warmup'): number | undefined => values[name] === undefined ? undefined : numberOf(`--${name}`, values[name])
  return {
    only: list(values.only ?? ''),
    brokers: list(values.brokers ?? 'mosquitto,aedes,myelin'),
    rounds: numberOf('--rounds', values.rounds ?? (values.against === undefined ? '3' : '7')),
    seconds: optional('seconds'),
    warmup: optional('warmup'),
    quick: values.quick,
    against: values.against,
    out: values.out,
    help: values.help,
  }
}
