import type { Figure, LoadArguments, Scenario } from '../runner/scenarios.ts'

const less = (key: string, label: string): Figure => ({ key, label, better: 'less' })
const more = (key: string, label: string): Figure => ({ key, label, better: 'more' })

const delivered: readonly Figure[] = [less('p50Us', 'delivery p50, µs'), less('p99Us', 'delivery p99, µs')]
const acknowledged: readonly Figure[] = [less('p50AckUs', 'PUBLISH → PUBACK p50, µs'), less('p99AckUs', 'PUBLISH → PUBACK p99, µs')]
const redis: readonly Figure[] = [
  less('redisCpuUs', 'CPU of Redis, µs a delivery'), less('commands', 'Redis commands a message, those of scripts too'), less('scripts', 'scripts a message'),
  less('redisBytesIn', 'bytes to Redis a message'), less('redisBytesOut', 'bytes from Redis a message'),
]
const nodes: readonly Figure[] = [less('publisherCpuUs', 'CPU of the publishers’ node, µs a message'), less('subscriberCpuUs', 'CPU of the subscribers’ node, µs a delivery')]
const rate = more('messagesPerSecond', 'deliveries/s')

const fans = [1, 10, 100] as const
const ways: readonly { id: string, title: string, load: LoadArguments, figures: readonly Figure[] }[] = [
  { id: 'qos0', title: 'QoS 0', load: { qos: 0 }, figures: [rate, ...delivered, ...nodes, ...redis] },
  { id: 'qos1', title: 'QoS 1, Sessions that end', load: { qos: 1 }, figures: [rate, ...delivered, ...nodes, ...redis] },
  {
    id: 'stay', title: 'QoS 1, Sessions that stay', load: { qos: 1, persistent: true },
    figures: [rate, more('perRedisCore', 'deliveries a second of Redis’ CPU time'), ...acknowledged, ...delivered, ...nodes, ...redis],
  },
]

function throughput (fan: number): Scenario[] {
  const shape = fan === 1 ? 'clusterPairs' : 'clusterFanOut'
  const who = fan === 1 ? '10 pairs' : `1 publisher, ${fan} subscribers`
  return ways.map(({ id, title, load, figures }) => ({ id: `${id}-${fan}x`, title: `${who}, ${title}`, shape, load: { ...load, clients: fan === 1 ? 10 : fan }, figures }))
}

/** One at a time, so that nothing shares what it costs with others. */
function alone (fan: number): Scenario {
  return {
    id: `alone-${fan}x`, title: `50 messages a second, QoS 1, to ${fan} Session${fan === 1 ? '' : 's'} that stay`, shape: 'clusterFanOut', load: { qos: 1, persistent: true, clients: fan, rate: 50 },
    figures: [
      less('fromClients', 'commands that nodes send, a message'), less('fromScripts', 'commands inside scripts, a message'), less('idleCommands', 'commands a second of two nodes without messages'), ...acknowledged, ...delivered,
      less('redisCpuUs', 'CPU of Redis, µs a delivery'), less('redisBytesIn', 'bytes to Redis a message'), less('redisBytesOut', 'bytes from Redis a message'),
    ],
  }
}

const latencies: readonly Scenario[] = [
  { id: 'latency-qos0', title: '500 messages a second, 10 pairs, QoS 0', shape: 'clusterPairs', load: { qos: 0, rate: 500 }, figures: [...delivered, ...nodes, ...redis] },
  { id: 'latency-stay', title: '500 messages a second, 10 pairs, QoS 1, Sessions that stay', shape: 'clusterPairs', load: { qos: 1, persistent: true, rate: 500 }, figures: [...acknowledged, ...delivered, ...nodes, ...redis] },
]

/** What every cluster does: publishers at one node, subscribers at another; payloads of 64 bytes. */
export const scenarios: readonly Scenario[] = [...fans.flatMap(throughput), ...latencies, ...fans.map(alone)]
