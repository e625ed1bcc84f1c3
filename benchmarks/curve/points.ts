import { cost, type LoadArguments, type Scenario } from '../runner/scenarios.ts'

/** What a broker may carry beside its work. The first point carries nothing, the last one nothing again: what differs between the two nobody carries. */
export function pointsOf (subscriptions: readonly number[], connections: readonly number[]): Scenario[] {
  const point = (id: string, title: string, beside?: LoadArguments): Scenario =>
    ({ id, title, shape: 'pairs', load: {}, figures: [cost], ...beside !== undefined && { beside } })
  return [
    point('nothing', 'nothing'),
    ...subscriptions.map(n => point(`subscriptions-${n}`, `${n.toLocaleString('en')} subscriptions of others`, { otherSubscriptions: n })),
    ...connections.map(n => point(`connections-${n}`, `${n.toLocaleString('en')} idle connections`, { idleConnections: n })),
    point('nothing-again', 'nothing, once more'),
  ]
}
