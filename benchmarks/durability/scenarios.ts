import type { Figure, Scenario } from '../runner/scenarios.ts'

const less = (key: string, label: string): Figure => ({ key, label, better: 'less' })
const more = (key: string, label: string): Figure => ({ key, label, better: 'more' })

const cost = less('cpuUs', 'CPU, µs a message')
const acknowledged: readonly Figure[] = [less('p50AckUs', 'PUBLISH → PUBACK p50, µs'), less('p99AckUs', 'PUBLISH → PUBACK p99, µs')]
const delivered: readonly Figure[] = [less('p50Us', 'delivery p50, µs'), less('p99Us', 'delivery p99, µs')]
const queueing: readonly Figure[] = [more('messagesPerSecond', 'acknowledged/s'), cost, ...acknowledged, less('memoryMb', 'memory, MB')]

/** What every broker does; all of it QoS 1 with payloads of 64 bytes and Sessions that stay. */
export const scenarios: readonly Scenario[] = [
  {
    id: 'online', title: '10 pairs, window 32, subscribers connected', shape: 'pairs', load: { qos: 1, persistent: true },
    figures: [more('messagesPerSecond', 'messages/s'), cost, ...acknowledged, ...delivered, less('memoryMb', 'memory, MB')],
  },
  {
    id: 'away', title: '10 publishers, window 32, to 10 Sessions whose clients are away', shape: 'awayPairs',
    load: { qos: 1, persistent: true, count: 100_000 }, quick: { count: 10_000 }, figures: queueing,
  },
  {
    id: 'fan-out', title: '1 publisher, window 32, to 100 Sessions whose clients are away', shape: 'awayFanOut',
    load: { qos: 1, persistent: true, clients: 100, count: 2_000 }, quick: { count: 500 }, figures: queueing,
  },
  {
    id: 'drain', title: '100,000 messages that waited, from CONNECT to the last', shape: 'offline', load: { qos: 1, persistent: true }, quick: { count: 10_000 },
    figures: [more('messagesPerSecond', 'delivered/s'), less('drainSeconds', 'all, s'), cost, less('memoryMb', 'memory, MB')],
  },
  {
    id: 'latency-online', title: '500 messages a second, 10 pairs, subscribers connected', shape: 'pairs', load: { qos: 1, persistent: true, rate: 500 },
    figures: [...acknowledged, ...delivered, cost],
  },
  {
    id: 'latency-away', title: '500 messages a second, to 10 Sessions whose clients are away', shape: 'awayPairs', load: { qos: 1, persistent: true, rate: 500 },
    figures: [...acknowledged, cost],
  },
]
