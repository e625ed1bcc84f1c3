import { Latency, nowUs } from './measures/latency.ts'
import type { LoadOptions } from './options.ts'
import { Totals } from './measures/totals.ts'
import { Turn } from './turn.ts'
import { usageOf, type Usage } from './measures/usage.ts'

/** The run at one moment. */
export interface Snapshot {
  /** Seconds. */
  readonly time: number
  readonly broker: Usage
  readonly loadCpuSeconds: number
  readonly received: number
  readonly receivedBytes: number
  readonly acknowledged: number
}

/** What all connections of a run share. */
export class Load {
  readonly options: LoadOptions
  readonly totals: Totals = new Totals()
  readonly latency: Latency = new Latency()
  /** From PUBLISH to the packet that ends it; undefined unless Sessions stay, where that may wait for a disk. */
  readonly acknowledgement: Latency | undefined
  readonly turn: Turn = new Turn()
  /** What the machine did not allow, for people. */
  readonly cuts: string[] = []
  isMeasuring = false
  /** When the chunk that is being handled was read, in microseconds. */
  now = 0
  /** Whether the broker may end connections: a frozen one, for example. */
  isLossExpected = false
  #addresses = 0

  constructor (options: LoadOptions) {
    this.options = options
    this.acknowledgement = options.persistent ? new Latency() : undefined
  }

  readAt (): void { this.now = nowUs() }

  lost (reason: string): void {
    if (!this.isLossExpected) this.totals.fail(reason)
  }

  /** Where the next connection comes from: 127.0.0.1, and others of the loopback network when its ports are used up. */
  readonly nextAddress = (portsOfAddress: number): string | undefined => {
    const address = 1 + Math.floor(this.#addresses++ / portsOfAddress)
    return address === 1 ? undefined : `127.0.0.${address}`
  }

  snapshot (): Snapshot {
    const { received, receivedBytes, acknowledged } = this.totals
    const { user, system } = process.cpuUsage()
    return { time: performance.now() / 1000, broker: usageOf(this.options.pid), loadCpuSeconds: (user + system) / 1e6, received, receivedBytes, acknowledged }
  }

  /** What one stretch gave, for so many messages. */
  figures (from: Snapshot, to: Snapshot, messages: number): Record<string, number> {
    const seconds = to.time - from.time
    const cpu = to.broker.cpuSeconds - from.broker.cpuSeconds
    return {
      seconds,
      messages,
      messagesPerSecond: messages / seconds,
      megabytesPerSecond: (to.receivedBytes - from.receivedBytes) / seconds / 1e6,
      cpuUs: messages === 0 ? 0 : cpu * 1e6 / messages,
      brokerCpuPercent: 100 * cpu / seconds,
      loadCpuPercent: 100 * (to.loadCpuSeconds - from.loadCpuSeconds) / seconds,
      memoryMb: to.broker.peakBytes / 1e6,
    }
  }

  /** Latencies, in microseconds. */
  latencies (): Record<string, number> {
    return { ...this.latency.figures(), ...this.acknowledgement?.figures('Ack') }
  }

  /** Measures a stretch of so many seconds, or one that ends with a promise. */
  async measure (stretch: number | Promise<unknown>): Promise<[from: Snapshot, to: Snapshot]> {
    this.latency.clear()
    this.acknowledgement?.clear()
    this.isMeasuring = true
    const from = this.snapshot()
    await (typeof stretch === 'number' ? pause(stretch) : stretch)
    const to = this.snapshot()
    this.isMeasuring = false
    return [from, to]
  }
}

export function pause (seconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, seconds * 1000))
}

/** Waits until a number has grown to `wanted`; gives up when it stands still for so many seconds. */
export async function reached (have: () => number, wanted: number, patience: number): Promise<boolean> {
  let last = have()
  let since = performance.now()
  while (have() < wanted) {
    await pause(0.001)
    if (have() !== last) {
      last = have()
      since = performance.now()
    } else if (performance.now() - since > patience * 1000) return false
  }
  return true
}
