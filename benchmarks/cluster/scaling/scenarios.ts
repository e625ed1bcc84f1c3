import { scaled, type Bounds, type Scenario } from './model.ts'

const million = 1_000_000
const hour = 3_600
const day = 24 * hour

/** A million devices; each has a filter of its own, four of five have a Session that stays, and for each ten that are connected one is away, with ten messages that wait. */
const devices: Omit<Scenario, 'name' | 'connects' | 'moved' | 'messages'> = {
  connections: million, connectionsPerNode: 50_000, durable: 0.8, away: 0.1, queued: 10, filters: 1, remote: 0.95, fanOut: 1, roundTripMs: 1, commitDelayMs: 0,
}

/** What the tables of docs/scaling.md tell of. */
export const scenarios: readonly Scenario[] = [
  { ...devices, name: 'quiet: each connects once a day and gets a message an hour', connects: million / day, moved: 0.02, messages: million / hour },
  { ...devices, name: 'mobile: each connects once an hour, at any node, and gets a message an hour', connects: million / hour, moved: 0.95, messages: million / hour },
  { ...devices, name: 'mobile, and the load balancer finds the node where a Client was', connects: million / hour, moved: 0.02, messages: million / hour },
  { ...devices, name: 'telemetry: each connects once a day and sends a message a minute', connects: million / day, moved: 0.02, messages: million / 60 },
  { ...devices, name: 'telemetry, `commitDelayMs` 10', connects: million / day, moved: 0.02, messages: million / 60, commitDelayMs: 10 },
]

/** As many connections as that, and all else in proportion. */
export const hundredMillion: readonly Scenario[] = scenarios.map(scenario => scaled(scenario, 100 * million))

/** What one cluster is to stay within: some of Redis' processor is for what comes in bursts. */
export const bounds: Bounds = { cores: 0.7, redisBytes: 32e9, nodeBytes: 4e9, filters: 2 ** 24, tries: 1.5 }
