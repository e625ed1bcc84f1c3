import { Connection } from '../connection.ts'
import type { Load } from '../load.ts'
import { subscribeAll } from '../others.ts'

/** Many Sessions with subscriptions, whose clients come and go again. */
export async function sessionsScenario (load: Load): Promise<Record<string, unknown>> {
  const { clients, concurrency } = load.options
  const from = load.snapshot()
  let next = 0
  const worker = async (): Promise<void> => {
    while (next < clients) await makeSession(load, next++)
  }
  await Promise.all(Array.from({ length: Math.min(concurrency, clients) }, worker))
  const { messagesPerSecond, cpuUs } = load.figures(from, load.snapshot(), clients)
  return { sessionsPerSecond: messagesPerSecond, cpuUs }
}

async function makeSession (load: Load, client: number): Promise<void> {
  const connection = new Connection(load, { clientIdentifier: `bench-c${client}`, cleanStart: false })
  await connection.opened()
  await subscribeAll(connection, client, load.options.filters)
  if (connection.granted < load.options.filters) load.totals.fail('not every subscription was granted')
  connection.leave()
}
