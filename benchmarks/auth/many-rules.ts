/** What 100,000 access rules cost to read and to ask: `npm run bench:rules`. */
import type { Broker, ClientInfo, PublishRequest } from '../../lib/index.ts'
import { accessRules, type AccessRule } from '../../plugins/acl/index.ts'

/** Nanoseconds of CPU time since then. */
function since (start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start)
  return (user + system) * 1000
}

/** Nanoseconds of one call; each has a number of its own. */
function time (count: number, call: (i: number) => unknown): number {
  const start = process.cpuUsage()
  for (let i = 0; i < count; i++) call(i)
  return since(start) / count
}

async function manyRules (shape: string, rules: readonly AccessRule[]): Promise<void> {
  const start = process.cpuUsage()
  const plugin = accessRules({ rules })
  await plugin.setup?.({} as unknown as Broker)
  const loadMs = since(start) / 1e6
  const clientAt = (i: number): ClientInfo => ({ username: `u${i}`, clientIdentifier: `c${i}`, claims: {}, connection: {} }) as unknown as ClientInfo
  const ask = (client: ClientInfo, topicName: string): unknown => plugin.hooks?.authorizePublish?.({ client, topicName, message: { qos: 0, retain: false }, isWill: false } as unknown as PublishRequest)
  const clients = Array.from({ length: 1000 }, (_, i) => clientAt(i * 7))
  const first = time(1000, i => ask(clients[i] as ClientInfo, `devices/${i * 7}/state`))
  const topics = Array.from({ length: 200_000 }, (_, i) => `devices/${i}/state`)
  const uncached = time(200_000, i => ask(clients[i % 1000] as ClientInfo, topics[i] as string))
  const cached = time(1_000_000, i => ask(clients[i % 10] as ClientInfo, topics[i % 10] as string))
  console.log(`| ${shape} | ${loadMs.toFixed(0)} ms | ${(first / 1000).toFixed(1)} µs | ${uncached.toFixed(0)} ns | ${cached.toFixed(0)} ns |`)
}

console.log('| 100,000 rules | to load | first verdict of a client | a new topic | a known one |\n| --- | ---: | ---: | ---: | ---: |')
await manyRules('one for each user', Array.from({ length: 100_000 }, (_, i) => ({ allow: 'publish', topics: `devices/${i}/state`, users: `u${i}` })))
await manyRules('for everybody', Array.from({ length: 100_000 }, (_, i) => ({ allow: 'publish', topics: `devices/${i}/state` })))
