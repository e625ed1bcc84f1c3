import v8 from 'node:v8'
import type { Clock } from '../../../lib/index.ts'

/** Per cent of what lives in the heap by which V8 lets it grow before it collects all of it; 0 leaves that to V8. */
const growth = { small: 350, large: 0 } as const

/** Bytes in use from which on a heap is large: then V8's own choice has room enough, and needs less memory. */
const largeFrom = 32 * 1024 * 1024

const sampleMs = 1_000

/** The part of `node:v8` that is needed, so that tests can look on. */
export type Engine = Pick<typeof v8, 'setFlagsFromString' | 'getHeapStatistics'>

/**
 * Lets the heap of a broker grow by more while it is small. What is read from sockets is memory outside of the heap, and counts as growth: a heap of 10 MB
 * was collected whole for every 30 MB that came. 10 pairs, QoS 0, payloads of 16 KB: 0.67 of the CPU time, p99 1.7 ms instead of 10, no more memory.
 * Only the process's owner can say this, so the library does not.
 *
 * @returns what ends it
 */
export function letSmallHeapGrow (clock: Clock, engine: Engine = v8): () => void {
  const set = (percent: number): void => { engine.setFlagsFromString(`--heap-growing-percent=${percent}`) }
  set(growth.small)
  const stop = clock.every(sampleMs, () => {
    if (engine.getHeapStatistics().used_heap_size < largeFrom) return
    set(growth.large)
    stop()
  })
  return stop
}
