/** One number of a result, and whether more of it is better. */
export interface Figure {
  readonly key: string
  readonly label: string
  readonly better: 'less' | 'more'
}

/** How a broker is reached: by TCP, over WebSocket, or by TCP with hooks of a host in the way. */
export type Access = 'tcp' | 'websocket' | 'hooks'

export type LoadArguments = Readonly<Record<string, string | number | boolean>>

/** One line of the report. */
export interface Scenario {
  readonly id: string
  readonly title: string
  /** Of the load generator. */
  readonly shape: string
  readonly load: LoadArguments
  /** With `--quick`. */
  readonly quick?: LoadArguments
  /** What the broker carries beside it, opened before: only where brokers stand ready. */
  readonly beside?: LoadArguments
  readonly access?: Access
  /** The scenario that this is a variation of: the report tells the ratio. */
  readonly base?: string
  /** The first one is what is compared. */
  readonly figures: readonly Figure[]
  /** Whether `--against` runs it when nothing else is named. */
  readonly isCore?: boolean
}

const less = (key: string, label: string): Figure => ({ key, label, better: 'less' })
const more = (key: string, label: string): Figure => ({ key, label, better: 'more' })

/** CPU time of the broker: what a busy machine disturbs least. */
export const cost: Figure = less('cpuUs', 'CPU, µs a message')
const flow: readonly Figure[] = [cost, more('messagesPerSecond', 'messages/s'), less('p50Us', 'latency p50, µs'), less('p99Us', 'latency p99, µs'), less('memoryMb', 'memory, MB')]

const messages: readonly Scenario[] = [
  { id: 'pairs-qos0', title: '10 pairs, QoS 0, window 32', shape: 'pairs', load: { qos: 0 }, isCore: true, figures: flow },
  { id: 'pairs-qos1', title: '10 pairs, QoS 1, window 32', shape: 'pairs', load: { qos: 1 }, isCore: true, figures: flow },
  { id: 'pairs-qos2', title: '10 pairs, QoS 2, window 32', shape: 'pairs', load: { qos: 2 }, isCore: true, figures: flow },
  { id: 'fan-in-qos0', title: '100 → 1, QoS 0, window 16', shape: 'fanIn', load: { clients: 100, window: 16 }, isCore: true, figures: flow },
  { id: 'fan-in-qos1', title: '100 → 1, QoS 1, window 16', shape: 'fanIn', load: { clients: 100, window: 16, qos: 1 }, figures: flow },
  { id: 'fan-out-qos0', title: '1 → 1000, QoS 0, window 4', shape: 'fanOut', load: { clients: 1000, window: 4 }, isCore: true, figures: flow },
  { id: 'fan-out-qos1', title: '1 → 1000, QoS 1, window 4', shape: 'fanOut', load: { clients: 1000, window: 4, qos: 1 }, figures: flow },
  { id: 'single-qos0', title: '100 pairs, QoS 0, window 1', shape: 'pairs', load: { clients: 100, window: 1 }, isCore: true, figures: flow },
  { id: 'single-qos1', title: '100 pairs, QoS 1, window 1', shape: 'pairs', load: { clients: 100, window: 1, qos: 1 }, figures: flow },
  { id: 'payload-1k', title: '10 pairs, QoS 0, window 32, payloads of 1 KB', shape: 'pairs', load: { payload: 1024 }, figures: flow },
  { id: 'payload-16k', title: '10 pairs, QoS 0, window 8, payloads of 16 KB', shape: 'pairs', load: { payload: 16_384, window: 8 }, figures: flow },
  { id: 'payload-1m', title: '10 pairs, QoS 0, window 2, payloads of 1 MB', shape: 'pairs', load: { payload: 1_000_000, window: 2 }, figures: flow },
]

const variations: readonly Scenario[] = [
  { id: 'v5-qos0', title: 'the same by MQTT 5.0 with Topic Aliases both ways', shape: 'pairs', load: { version: 5, aliases: true }, base: 'pairs-qos0', figures: flow },
  { id: 'v5-qos1', title: 'the same by MQTT 5.0 with Topic Aliases both ways', shape: 'pairs', load: { version: 5, aliases: true, qos: 1 }, base: 'pairs-qos1', figures: flow },
  { id: 'v5-fan-out', title: 'the same by MQTT 5.0 with Topic Aliases both ways', shape: 'fanOut', load: { version: 5, aliases: true, clients: 1000, window: 4 }, base: 'fan-out-qos0', figures: flow },
  { id: 'hooks-qos0', title: 'the same with authorizePublish and authorizeSubscribe', shape: 'pairs', load: {}, access: 'hooks', base: 'pairs-qos0', figures: flow },
  { id: 'hooks-qos1', title: 'the same with authorizePublish and authorizeSubscribe', shape: 'pairs', load: { qos: 1 }, access: 'hooks', base: 'pairs-qos1', figures: flow },
  { id: 'websocket-qos0', title: 'the same over WebSocket', shape: 'pairs', load: {}, access: 'websocket', base: 'pairs-qos0', figures: flow },
  { id: 'websocket-qos1', title: 'the same over WebSocket', shape: 'pairs', load: { qos: 1 }, access: 'websocket', base: 'pairs-qos1', figures: flow },
  { id: 'websocket-single', title: 'the same over WebSocket', shape: 'pairs', load: { clients: 100, window: 1 }, access: 'websocket', base: 'single-qos0', figures: flow },
]

const subscribing: readonly Figure[] = [
  more('subscriptionsPerSecond', 'subscriptions/s'), less('bytesPerSubscription', 'bytes each'), less('coldCpuUs', 'CPU, µs a message, any topic'), less('cpuUs', 'CPU, µs a message, 1000 topics'),
]

const others: readonly Scenario[] = [
  { id: 'latency', title: '1,000 messages a second, QoS 0', shape: 'pairs', load: { rate: 1000 }, figures: [less('p50Us', 'latency p50, µs'), less('p99Us', 'latency p99, µs'), less('maxUs', 'slowest, µs'), cost] },
  {
    id: 'connect', title: '10,000 connects, 100 at once, then idle', shape: 'connect', load: { clients: 10_000 }, quick: { clients: 1000, hold: 1 },
    figures: [more('connectsPerSecond', 'connects/s'), less('cpuUs', 'CPU, µs a connect'), less('bytesPerConnection', 'bytes of an idle connection'), less('idleCpuPercent', 'CPU while idle, %')],
  },
  { id: 'subscribe-100k', title: '100,000 subscriptions', shape: 'subscribe', load: { clients: 1000, filters: 100 }, quick: { clients: 100 }, figures: subscribing },
  { id: 'subscribe-1m', title: '1,000,000 subscriptions', shape: 'subscribe', load: { clients: 1000, filters: 1000 }, quick: { clients: 100, filters: 200 }, figures: subscribing },
  {
    id: 'retained', title: '100,000 retained messages', shape: 'retained', load: { qos: 1 }, quick: { count: 10_000 },
    figures: [less('storeSeconds', 'stored, s'), less('allSeconds', 'all by ret/#, s'), less('acrossSeconds', 'one in a hundred by ret/+/7/v, s'), less('branchMilliseconds', 'one branch by ret/1/#, ms'), less('bytesPerMessage', 'bytes each')],
  },
  {
    id: 'offline', title: '100,000 messages queued for an absent client, QoS 1', shape: 'offline', load: { qos: 1 }, quick: { count: 10_000 },
    figures: [more('messagesPerSecond', 'delivered/s'), less('cpuUs', 'CPU, µs a delivery'), more('storedPerSecond', 'queued/s'), less('bytesPerMessage', 'bytes each')],
  },
  {
    id: 'frozen', title: 'a subscriber to everything stops reading; 10 pairs, QoS 0, window 32', shape: 'frozen', load: {},
    figures: [more('keptPercent', 'what the others keep, %'), less('memoryGrowthMb', 'memory it takes, MB'), less('p99Us', 'latency p99 of the others, µs')],
  },
  {
    id: 'frozen-qos1', title: 'the same with QoS 1', shape: 'frozen', load: { qos: 1 },
    figures: [more('keptPercent', 'what the others keep, %'), less('memoryGrowthMb', 'memory it takes, MB'), less('p99Us', 'latency p99 of the others, µs')],
  },
]

/** All scenarios, in the order of the report. */
export const allScenarios: readonly Scenario[] = [...messages, ...variations, ...others]

/** Those that are named, or whose name begins with what is named. @throws RangeError for a name that fits none */
export function select<T extends Scenario> (scenarios: readonly T[], names: readonly string[]): T[] {
  for (const name of names) {
    if (!scenarios.some(({ id }) => id.startsWith(name))) throw new RangeError(`--only: no scenario ${name}; there are ${scenarios.map(({ id }) => id).join(', ')}`)
  }
  return scenarios.filter(({ id }) => names.some(name => id.startsWith(name)))
}
