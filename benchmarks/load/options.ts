import { parseArgs } from 'node:util'

/** What one run of the load generator is told. Sizes are in bytes, times in seconds. */
export interface LoadOptions {
  scenario: string
  port: number
  /** Of the broker that subscribers connect to; 0 for the same one. */
  subscriberPort: number
  /** The process whose CPU time and memory are read; 0 for none. */
  pid: number
  /** The process of the broker that subscribers connect to; 0 for the same one. */
  subscriberPid: number
  /** The Redis of a cluster, which is asked what it has done; 0 for none. */
  redisPort: number
  /** Protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5.0. */
  version: 4 | 5
  websocket: boolean
  /** MQTT 5.0: Topic Aliases from publishers and to subscribers. */
  aliases: boolean
  /** Sessions of subscribers stay when their connection ends. */
  persistent: boolean
  /** Publishers, subscribers, pairs or clients, as the scenario has it. */
  clients: number
  qos: 0 | 1 | 2
  /** Messages outstanding for each publisher. */
  window: number
  payload: number
  warmup: number
  seconds: number
  /** Messages a second in all; 0 sends what the window allows. */
  rate: number
  /** Connections that are being opened at once. */
  concurrency: number
  /** How long idle connections are held. */
  hold: number
  /** Messages that are stored or queued. */
  count: number
  /** Subscriptions of each client. */
  filters: number
  /** Subscriptions to topics that the work has nothing to do with. */
  otherSubscriptions: number
  /** Connections that only stay. */
  idleConnections: number
}

const defaults: Record<string, string> = {
  port: '1883', subscriberPort: '0', pid: '0', subscriberPid: '0', redisPort: '0', version: '4', clients: '10', qos: '0', window: '32', payload: '64', warmup: '2', seconds: '5', rate: '0',
  concurrency: '100', hold: '5', count: '100000', filters: '100', otherSubscriptions: '0', idleConnections: '0',
}

/** The options of a command line such as `pairs --port 1883 --qos 1`. */
export function readOptions (args: string[]): LoadOptions {
  const numbers = Object.keys(defaults)
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      websocket: { type: 'boolean', default: false },
      aliases: { type: 'boolean', default: false },
      persistent: { type: 'boolean', default: false },
      ...Object.fromEntries(numbers.map(name => [name, { type: 'string' as const }])),
    },
  })
  const given = values as Record<string, unknown>
  const numeric = Object.fromEntries(numbers.map(name => [name, numberOf(name, given[name] ?? defaults[name])]))
  return { scenario: positionals[0] ?? 'pairs', websocket: given['websocket'], aliases: given['aliases'], persistent: given['persistent'], ...numeric } as LoadOptions
}

function numberOf (name: string, text: unknown): number {
  const value = Number(text)
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`--${name}: expected a number, not ${String(text)}`)
  return value
}
