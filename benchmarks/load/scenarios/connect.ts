import { nowUs } from '../measures/latency.ts'
import { pause, type Load } from '../load.ts'
import { affordable, openAll } from '../open.ts'
import { bystander } from '../subscriber.ts'

/** Many connections: how fast they are accepted, and what they occupy while nothing happens. */
export async function connectScenario (load: Load): Promise<Record<string, unknown>> {
  const clients = affordable(load, load.options.clients, 0)
  const from = load.snapshot()
  const fields = Array.from({ length: clients }, (_, i) => ({ clientIdentifier: `bench-c${i}`, role: bystander }))
  const connections = await openAll(load, fields, startedAt => { load.latency.add(startedAt, nowUs()) })
  const up = load.snapshot()
  await pause(load.options.hold)
  const held = load.snapshot()
  if (connections.some(({ isOpen }) => !isOpen)) load.totals.fail('connections were lost while they were idle')
  const { messagesPerSecond, cpuUs, loadCpuPercent } = load.figures(from, up, clients)
  return {
    connectsPerSecond: messagesPerSecond,
    cpuUs,
    loadCpuPercent,
    ...load.latency.figures(),
    bytesPerConnection: (held.broker.residentBytes - from.broker.residentBytes) / clients,
    idleCpuPercent: 100 * (held.broker.cpuSeconds - up.broker.cpuSeconds) / (held.time - up.time),
  }
}
