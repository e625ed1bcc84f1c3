import type { Figure, LoadArguments, Scenario } from '../runner/scenarios.ts'

/** A scenario of two nodes. */
export interface ClusterScenario extends Scenario {
  /** Publishers and subscribers are at the same node: then what Sessions have to get goes through their queues. */
  readonly isTogether?: boolean
}

const less = (key: string, label: string): Figure => ({ key, label, better: 'less' })
const more = (key: string, label: string): Figure => ({ key, label, better: 'more' })

const delivered: readonly Figure[] = [less('p50Us', 'delivery p50, µs'), less('p99Us', 'delivery p99, µs')]
const acknowledged: readonly Figure[] = [less('p50AckUs', 'PUBLISH → PUBACK p50, µs'), less('p99AckUs', 'PUBLISH → PUBACK p99, µs')]
const redis: readonly Figure[] = [
  less('redisCpuUs', 'CPU of Redis, µs a delivery'), less('commands', 'Redis commands a message, those of scripts too'), less('scripts', 'scripts a message'),
  less('redisBytesIn', 'bytes to Redis a message'), less('redisBytesOut', 'bytes from Redis a message'),
]
const all = less('clusterCpuUs', 'CPU of both nodes and Redis, µs a delivery')
const nodes: readonly Figure[] = [all, less('publisherCpuUs', 'CPU of the publishers’ node, µs a message'), less('subscriberCpuUs', 'CPU of the subscribers’ node, µs a delivery')]
const rate = more('messagesPerSecond', 'deliveries/s')
const capacity = more('perRedisCore', 'deliveries a second of Redis’ CPU time')

const fans = [1, 10, 100] as const
const ways: readonly { id: string, title: string, load: LoadArguments, figures: readonly Figure[] }[] = [
  { id: 'qos0', title: 'QoS 0', load: { qos: 0 }, figures: [rate, ...delivered, ...nodes, ...redis] },
  { id: 'qos1', title: 'QoS 1, Sessions that end', load: { qos: 1 }, figures: [rate, ...delivered, ...nodes, ...redis] },
  {
    id: 'stay', title: 'QoS 1, Sessions that stay', load: { qos: 1, persistent: true },
    figures: [rate, capacity, ...acknowledged, ...delivered, ...nodes, ...redis],
  },
]

const shapeOf = (fan: number): string => fan === 1 ? 'clusterPairs' : 'clusterFanOut'
const clientsOf = (fan: number): number => fan === 1 ? 10 : fan
const who = (fan: number): string => fan === 1 ? '10 pairs' : `1 publisher, ${fan} subscribers`

function throughput (fan: number): ClusterScenario[] {
  return ways.map(({ id, title, load, figures }) => ({ id: `${id}-${fan}x`, title: `${who(fan)}, ${title}`, shape: shapeOf(fan), load: { ...load, clients: clientsOf(fan) }, figures }))
}

function together (fan: number): ClusterScenario {
  return {
    id: `here-${fan}x`, title: `${who(fan)} at one node, QoS 1, Sessions that stay`, shape: shapeOf(fan), load: { qos: 1, persistent: true, clients: clientsOf(fan) }, isTogether: true,
    figures: [rate, capacity, ...acknowledged, ...delivered, all, ...redis],
  }
}

/** One at a time, so that nothing shares what it costs with others. */
function alone (fan: number): ClusterScenario {
  return {
    id: `alone-${fan}x`, title: `50 messages a second, QoS 1, to ${fan} Session${fan === 1 ? '' : 's'} that stay`, shape: 'clusterFanOut', load: { qos: 1, persistent: true, clients: fan, rate: 50 },
    figures: [
      less('fromClients', 'commands that nodes send, a message'), less('fromScripts', 'commands inside scripts, a message'), less('idleCommands', 'commands a second of two nodes without messages'), ...acknowledged, ...delivered,
      less('redisCpuUs', 'CPU of Redis, µs a delivery'), less('redisBytesIn', 'bytes to Redis a message'), less('redisBytesOut', 'bytes from Redis a message'),
    ],
  }
}

const latencies: readonly ClusterScenario[] = [
  { id: 'latency-qos0', title: '500 messages a second, 10 pairs, QoS 0', shape: 'clusterPairs', load: { qos: 0, rate: 500 }, figures: [...delivered, ...nodes, ...redis] },
  { id: 'latency-stay', title: '500 messages a second, 10 pairs, QoS 1, Sessions that stay', shape: 'clusterPairs', load: { qos: 1, persistent: true, rate: 500 }, figures: [...acknowledged, ...delivered, ...nodes, ...redis] },
]

/** What every cluster does, between two nodes unless it is said to be at one; payloads of 64 bytes. */
export const scenarios: readonly ClusterScenario[] = [...fans.flatMap(throughput), ...fans.map(together), ...latencies, ...fans.map(alone)]
