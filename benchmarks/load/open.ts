import { Connection, type ConnectionFields } from './connection.ts'
import { nowUs } from './measures/latency.ts'
import type { Load } from './load.ts'
import { descriptorLimit } from './measures/usage.ts'

/** Descriptors that a process needs for itself. */
const ownDescriptors = 64

/** Opens connections, at most `concurrency` of them at once; resolves when all had their CONNACK. `opened` is told when each began, in microseconds. */
export async function openAll (load: Load, fields: readonly ConnectionFields[], opened?: (startedAt: number) => void): Promise<Connection[]> {
  const connections: Connection[] = []
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < fields.length) {
      const index = next++
      const startedAt = nowUs()
      const connection = new Connection(load, fields[index] as ConnectionFields)
      connections[index] = connection
      await connection.opened()
      opened?.(startedAt)
    }
  }
  await Promise.all(Array.from({ length: Math.min(load.options.concurrency, fields.length) }, worker))
  return connections
}

/** As many of `wanted` connections as there are file descriptors for, beside `others`; tells when it is fewer. */
export function affordable (load: Load, wanted: number, others: number): number {
  const limit = Math.max(0, descriptorLimit() - others - ownDescriptors)
  if (wanted <= limit) return wanted
  load.cuts.push(`${limit} of ${wanted} connections: file descriptors (ulimit -n)`)
  return limit
}
