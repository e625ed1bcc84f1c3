import { affordable, openAll } from './open.ts'
import type { Load } from './load.ts'
import { bystander } from './subscriber.ts'
import type { Connection } from './connection.ts'

/** Subscriptions of one bystander: below what brokers allow by default. */
const filtersOfClient = 5000
/** Left for the clients of the work. */
const connectionsOfWork = 64
/** Topic Filters in one SUBSCRIBE. */
const filtersOfPacket = 50

/** One in three is exact, one has `+`, one ends in `#`; no two match the same topic. */
export function filterOf (client: number, filter: number): string {
  const base = `s/${client}/${filter}`
  return [`${base}/0/t`, `${base}/+/t`, `${base}/#`][filter % 3] ?? base
}

/** A topic that only {@link filterOf} of the same numbers matches. */
export function topicOf (client: number, filter: number, level: number): string {
  return `s/${client}/${filter}/${filter % 3 === 0 ? 0 : level}/t`
}

/** Subscribes one client to so many filters, one SUBSCRIBE after the other. */
export async function subscribeAll (connection: Connection, client: number, filters: number): Promise<void> {
  for (let from = 0; from < filters && connection.isOpen; from += filtersOfPacket) {
    const length = Math.min(filtersOfPacket, filters - from)
    await connection.subscribe(Array.from({ length }, (_, i) => filterOf(client, from + i)), 0, 1 + from % 60_000)
  }
}

/** What a broker carries beside the work that is measured. It is kept until the standard input of this process ends. */
export async function othersScenario (load: Load): Promise<Record<string, unknown>> {
  const { otherSubscriptions, idleConnections } = load.options
  const clients = Math.ceil(otherSubscriptions / filtersOfClient)
  const idle = affordable(load, idleConnections, connectionsOfWork + clients)
  const connections = await openAll(load, Array.from({ length: clients + idle }, (_, i) => ({ clientIdentifier: `bench-other-${i}`, role: bystander })))
  await Promise.all(connections.slice(0, clients).map((connection, i) =>
    subscribeAll(connection, i, Math.min(filtersOfClient, otherSubscriptions - i * filtersOfClient))))
  process.stdin.resume().on('end', () => { process.exit(load.totals.errors === 0 ? 0 : 1) })
  return {}
}
