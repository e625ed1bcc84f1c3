import { cost, type LoadArguments, type Scenario } from '../runner/scenarios.ts'

/** What a broker may carry beside its work. */
export interface Point extends Scenario {
  /** Idle Clients over streams in memory, in a host of its own; undefined where the broker is started by its command line. */
  readonly streams?: number
}

const count = (n: number): string => n.toLocaleString('en')

function point (id: string, title: string, beside?: LoadArguments): Point {
  return { id, title, shape: 'pairs', load: {}, figures: [cost], ...beside !== undefined && { beside } }
}

/** The first point carries nothing, the last one nothing again: what differs between the two nobody carries. */
export function pointsOf (subscriptions: readonly number[], connections: readonly number[]): Point[] {
  return [
    point('nothing', 'nothing'),
    ...subscriptions.map(n => point(`subscriptions-${n}`, `${count(n)} subscriptions of others`, { otherSubscriptions: n })),
    ...connections.map(n => point(`connections-${n}`, `${count(n)} idle connections`, { idleConnections: n })),
    point('nothing-again', 'nothing, once more'),
  ]
}

/**
 * More connections than a process has descriptors for: so many by TCP, and the others over streams in memory.
 * @param subscriptions of the last point, beside the connections
 */
export function crowdOf (connections: number, sockets: number, subscriptions: number): Point[] {
  if (connections === 0) return []
  const streams = Math.max(0, connections - sockets)
  const idleConnections = connections - streams
  const base = 'host'
  return [
    { ...point(base, 'nothing, in a host'), streams: 0 },
    { ...point('host-connections', `${count(connections)} idle connections, ${count(streams)} of them streams in memory`, { idleConnections }), streams, base },
    { ...point('host-all', `the same connections and ${count(subscriptions)} subscriptions`, { idleConnections, otherSubscriptions: subscriptions }), streams, base },
  ]
}
