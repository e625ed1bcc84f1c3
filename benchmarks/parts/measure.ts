import { argv, cpuUsage } from 'node:process'
import { fileURLToPath } from 'node:url'
import { allocatedBytes, collect } from './allocation.ts'

/** What one operation costs. */
export interface Cost {
  readonly name: string
  /** CPU time of the process, garbage collection included. */
  readonly nanoseconds: number
  /** On the JavaScript heap, whether collected or not; undefined where nothing was measured. */
  readonly allocated?: number
  /** What stays. */
  readonly kept?: number
}

/** Does its operation `count` times. The loop is within, so that the harness adds nothing to an operation. */
export type Part = (count: number) => void

const rounds = 9
/** CPU time that a round should take, in milliseconds: enough to be measured, little enough to be taken often. */
const roundMs = 60

/**
 * Measures one part: warms it up, finds out how many operations a round needs, and takes the median of several rounds. CPU time
 * and not the clock, so that other programs of the machine disturb less.
 * @param step a part that does several operations at a time is asked for multiples of this
 */
export function measure (name: string, part: Part, step = 1000): Cost {
  const count = countFor(part, step)
  const times = Array.from({ length: rounds }, () => cpuNanoseconds(() => { part(count) }) / count)
  collect()
  const allocated = allocatedBytes(() => { part(count) }) / count
  return { name, nanoseconds: median(times), allocated }
}

/** CPU time of work that can be done once only. */
export function cpuNanoseconds (work: () => void): number {
  const before = cpuUsage()
  work()
  const { user, system } = cpuUsage(before)
  return (user + system) * 1000
}

export function median (values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? NaN
}

/** Doubles until a round is long enough, which is the warm-up at the same time. */
function countFor (part: Part, step: number): number {
  let count = step
  while (cpuNanoseconds(() => { part(count) }) < roundMs * 1e6) count *= 2
  return count
}

export const tableHead: string = '| part | ns | bytes allocated | bytes kept |\n| --- | ---: | ---: | ---: |'

/** Prints the costs as rows of a Markdown table if this program was started by itself, under the table's head unless `--rows` is given. */
export function runAlone (url: string, costs: () => readonly Cost[]): void {
  if (argv[1] !== fileURLToPath(url)) return
  if (!argv.includes('--rows')) console.log(tableHead)
  for (const cost of costs()) console.log(row(cost))
}

function row ({ name, nanoseconds, allocated, kept }: Cost): string {
  return `| ${name} | ${figure(nanoseconds)} | ${figure(allocated)} | ${figure(kept)} |`
}

function figure (value: number | undefined): string {
  if (value === undefined) return ''
  return value.toFixed(value < 10 && value > 0.05 ? 1 : 0).replace(/\B(?=(\d{3})+$)/g, ',')
}
