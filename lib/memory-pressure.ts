import { totalmem } from 'node:os'
import { getHeapStatistics } from 'node:v8'
import type { Clock } from './contract/clock.ts'
import type { Pressure } from './protocol/client/broker-services.ts'

const sampleMs = 1_000
/** The part of V8's own limit from which on the process is in danger, whatever the machine has. */
const heapShare = 0.8
/** Over the mark by this factor publishers wait, too. */
const severe = 1.1

/** Three quarters of the memory that the process may use. */
export function defaultHighWaterMark (): number {
  const constrained = process.constrainedMemory()
  const available = constrained > 0 && constrained < totalmem() ? constrained : totalmem()
  return Math.floor(available * 0.75)
}

/**
 * Watches the memory of the process. Publishers are slowed to a packet each second rather than stopped: memory that
 * was used once may stay with the process although nothing needs it any more.
 */
export class MemoryPressure implements Pressure {
  readonly #mark: number
  readonly #clock: Clock
  readonly #measure: () => number
  readonly #stop: () => void
  #level = 0

  /** @param mark bytes; 0 turns it off */
  constructor (mark: number, clock: Clock, measure: () => number = bytesInUse) {
    this.#mark = mark
    this.#clock = clock
    this.#measure = measure
    this.#stop = mark > 0 ? clock.every(sampleMs, () => { this.#sample() }) : (): void => undefined
  }

  get isHigh (): boolean { return this.#level >= 1 }

  hold (): Promise<void> | undefined {
    if (this.#level < severe) return undefined
    return new Promise(resolve => { this.#clock.after(sampleMs, resolve) })
  }

  close (): void { this.#stop() }

  #sample (): void {
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics()
    this.#level = Math.max(this.#measure() / this.#mark, used / (limit * heapShare))
  }
}

function bytesInUse (): number { return process.memoryUsage.rss() }
