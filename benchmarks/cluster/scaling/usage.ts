/** What something asks of Redis. */
export interface Usage {
  /** Microseconds of the processor. */
  readonly cpuUs: number
  /** Commands, those inside scripts among them. */
  readonly commands: number
  /** Scripts that were called. */
  readonly scripts: number
  /** Bytes that it is sent, and that it sends. */
  readonly bytesIn: number
  readonly bytesOut: number
}

export const nothing: Usage = { cpuUs: 0, commands: 0, scripts: 0, bytesIn: 0, bytesOut: 0 }

/** One figure after the other, of several usages. */
export function combine (usages: readonly Usage[], figure: (values: readonly number[]) => number): Usage {
  const of = (key: keyof Usage): number => figure(usages.map(usage => usage[key]))
  return { cpuUs: of('cpuUs'), commands: of('commands'), scripts: of('scripts'), bytesIn: of('bytesIn'), bytesOut: of('bytesOut') }
}

export function sum (...usages: readonly Usage[]): Usage { return combine(usages, values => values.reduce((sum, value) => sum + value, 0)) }

export function times (usage: Usage, factor: number): Usage { return combine([usage], ([value = 0]) => value * factor) }

export function minus (usage: Usage, other: Usage): Usage { return combine([usage, other], ([value = 0, less = 0]) => value - less) }
