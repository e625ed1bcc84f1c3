import { GCProfiler, getHeapStatistics } from 'node:v8'

/**
 * Bytes that `work` allocates on the JavaScript heap, those collected meanwhile included: what the heap grew by between the
 * collections, added up. Exact, unlike sampling, as long as nothing else runs; what lies outside the heap (the memory
 * behind a Buffer) is not in it.
 */
export function allocatedBytes (work: () => void): number {
  const stop = countAllocation()
  work()
  return stop()
}

/** The same for work that waits: the returned function ends the count. Call `collect()` first, and begin warm. */
export function countAllocation (): () => number {
  const profiler = new GCProfiler()
  profiler.start()
  const before = getHeapStatistics().used_heap_size
  return () => {
    const after = getHeapStatistics().used_heap_size
    const collected = profiler.stop().statistics
      .reduce((bytes, { beforeGC, afterGC }) => bytes + beforeGC.heapStatistics.usedHeapSize - afterGC.heapStatistics.usedHeapSize, 0)
    return after - before + collected
  }
}

/** Bytes in use on the heap once everything that can be collected is. Needs `--expose-gc`. */
export function keptBytes (): number {
  collect()
  return getHeapStatistics().used_heap_size
}

/** Collects garbage; twice, since what finalizers let go of is only found by the next collection. */
export function collect (): void {
  if (globalThis.gc === undefined) throw new Error('run with node --expose-gc')
  globalThis.gc()
  globalThis.gc()
}
