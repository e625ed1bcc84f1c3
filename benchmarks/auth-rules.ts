/**
 * What access rules cost on the way of a message, in one process and over streams in memory, so without what the system takes for its part: the
 * CPU time for each delivery beside that of a broker without plugins. The variants take turns; each is compared with what came right before it, and
 * `none` stands there twice to show what the machine does by itself. Then what 100,000 rules cost to read and to ask.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { createBroker, type Broker, type ClientInfo, type Plugin, type PublishRequest } from '../lib/index.ts'
import { accessRules, type AccessRule } from '../plugins/acl/index.ts'
import { connectFrame, GuardClient, messages, subscribeFrame } from './guard/client.ts'

const pairs = 10
const window = 32
const rounds = 41
const windowsInRound = 150

const own: AccessRule = { allow: ['publish', 'subscribe'], topics: 'devices/${clientId}/state' }
const wide: AccessRule = { allow: 'subscribe', topics: 'devices/#' }
const secret: AccessRule = { deny: 'deliver', topics: 'devices/+/secret' }
const variants: readonly (readonly [name: string, plugins: () => Plugin[]])[] = [
  ['none', () => []],
  ['none, once more', () => []],
  ['a hook that says true', () => [{ name: 'yes', hooks: { authorizePublish: () => true } }]],
  ['access rules', () => [accessRules({ rules: [own, wide] })]],
  ['access rules, of which one is for deliver', () => [accessRules({ rules: [secret, own, wide] })]],
]

/** Pairs of publisher and subscriber on a broker of their own. */
class Traffic {
  readonly name: string
  readonly #publishers: GuardClient[] = []
  readonly #subscribers: GuardClient[] = []
  readonly #windows: Buffer[] = []
  readonly #qos: number
  /** Microseconds of CPU time for each delivery, round by round. */
  readonly samples: number[] = []

  constructor (name: string, qos: number) {
    this.name = name
    this.#qos = qos
  }

  async open (plugins: Plugin[]): Promise<this> {
    const broker = await createBroker({ plugins, sysIntervalMs: 0, limits: { receiveMaximum: 65_535, memoryHighWaterMark: 0 } })
    for (let i = 0; i < pairs; i++) {
      this.#publishers.push(await connect(broker, `p${i}`))
      const subscriber = await connect(broker, `s${i}`)
      subscriber.send(subscribeFrame(`devices/p${i}/state`))
      this.#subscribers.push(subscriber)
      this.#windows.push(messages(`devices/p${i}/state`, this.#qos, window))
    }
    await turn()
    return this
  }

  async round (): Promise<void> {
    const before = process.cpuUsage()
    for (let i = 0; i < windowsInRound; i++) await this.#sendWindow()
    const { user, system } = process.cpuUsage(before)
    this.samples.push((user + system) / (windowsInRound * pairs * window))
  }

  async #sendWindow (): Promise<void> {
    const expected = this.#received + pairs * window
    const completed = this.#completed + (this.#qos === 0 ? 0 : pairs * window)
    for (const [i, publisher] of this.#publishers.entries()) publisher.send(Buffer.from(this.#windows[i] as Buffer))
    while (this.#received < expected || this.#completed < completed) {
      await turn()
      for (const client of [...this.#publishers, ...this.#subscribers]) client.answer()
    }
  }

  get #received (): number { return this.#subscribers.reduce((sum, { received }) => sum + received, 0) }

  get #completed (): number { return this.#publishers.reduce((sum, { completed }) => sum + completed, 0) }
}

async function connect (broker: Broker, name: string): Promise<GuardClient> {
  const client = new GuardClient()
  broker.handle(client.wire)
  client.send(connectFrame(name))
  await turn()
  return client
}

function median (values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN
}

async function compare (qos: number): Promise<void> {
  const traffics: Traffic[] = []
  for (const [name, plugins] of variants) traffics.push(await new Traffic(name, qos).open(plugins()))
  for (let round = 0; round < rounds + 5; round++) {
    if (round === 5) for (const { samples } of traffics) samples.length = 0 // the first ones warm up
    for (let i = 0; i < traffics.length; i++) await traffics[(i + round) % traffics.length]?.round()
  }
  const [none] = traffics
  for (const { name, samples } of traffics) {
    const ratios = samples.map((value, round) => value / (none?.samples[round] ?? NaN))
    const extra = samples.map((value, round) => (value - (none?.samples[round] ?? NaN)) * 1000)
    console.log(`| QoS ${qos} | ${name} | ${median(samples).toFixed(3)} | ${median(ratios).toFixed(3)} | ${median(extra).toFixed(0)} |`)
  }
}

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

console.log('| | plugins | CPU, µs a delivery | × none | ns more |\n| --- | --- | ---: | ---: | ---: |')
for (const qos of [0, 1]) await compare(qos)
console.log('\n| 100,000 rules | to load | first verdict of a client | a new topic | a known one |\n| --- | ---: | ---: | ---: | ---: |')
await manyRules('one for each user', Array.from({ length: 100_000 }, (_, i) => ({ allow: 'publish', topics: `devices/${i}/state`, users: `u${i}` })))
await manyRules('for everybody', Array.from({ length: 100_000 }, (_, i) => ({ allow: 'publish', topics: `devices/${i}/state` })))
process.exit(0)
