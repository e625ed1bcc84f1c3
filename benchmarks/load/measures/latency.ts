import { build, type Histogram } from 'hdr-histogram-js'

const minuteUs = 60_000_000
const wrap = 2 ** 32

/** Microseconds, in 32 bits: what a payload carries. */
export function nowUs (): number {
  return Math.trunc(performance.now() * 1000) >>> 0
}

/** Latencies from 1 µs to a minute, with three digits. */
export class Latency {
  readonly #histogram: Histogram = build({ lowestDiscernibleValue: 1, highestTrackableValue: minuteUs, numberOfSignificantValueDigits: 3, bitBucketSize: 32 })

  add (from: number, to: number): void {
    this.#histogram.recordValue(Math.min(Math.max(1, (to - from + wrap) % wrap), minuteUs))
  }

  clear (): void { this.#histogram.reset() }

  percentile (percent: number): number { return this.#histogram.getValueAtPercentile(percent) }

  /** In microseconds. @param what is between number and unit in their names */
  figures (what: string = ''): Record<string, number> {
    return { [`p50${what}Us`]: this.percentile(50), [`p95${what}Us`]: this.percentile(95), [`p99${what}Us`]: this.percentile(99), [`max${what}Us`]: this.#histogram.maxValue }
  }
}
