/** The middle one, or the mean of the two in the middle; undefined for none. */
export function median (values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle]
  return upper === undefined || sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2
}

/** A ratio and where it lies with a probability of 95 %. */
export interface Interval {
  readonly ratio: number
  readonly low: number
  readonly high: number
}

/** Student's t for 95 %, two-sided, by degrees of freedom from 1 on. */
const students = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11, 2.101, 2.093, 2.086]
const normal = 1.96

/** The geometric mean of ratios that were measured in pairs; undefined for none. One alone has no interval. */
export function pairedRatio (ratios: readonly number[]): Interval | undefined {
  const logs = ratios.filter(ratio => ratio > 0 && Number.isFinite(ratio)).map(Math.log)
  if (logs.length === 0) return undefined
  const mean = logs.reduce((sum, log) => sum + log, 0) / logs.length
  const variance = logs.reduce((sum, log) => sum + (log - mean) ** 2, 0) / (logs.length - 1)
  const reach = logs.length === 1 ? Infinity : (students[logs.length - 2] ?? normal) * Math.sqrt(variance / logs.length)
  return { ratio: Math.exp(mean), low: Math.exp(mean - reach), high: Math.exp(mean + reach) }
}
