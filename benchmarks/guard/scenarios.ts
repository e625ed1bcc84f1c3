import { setImmediate as turn } from 'node:timers/promises'
import { createBroker, type Broker } from '../../lib/index.ts'
import { collect, countAllocation, keptBytes } from '../parts/allocation.ts'
import { connectFrame, GuardClient, messages, subscribeFrame } from './client.ts'
import { Wire } from './wire.ts'

/** Figures by name; each is better when it is lower. */
export type Figures = Record<string, number>

/** Who publishes what to whom: each publisher sends a window, and the next once everything of the last has arrived. */
interface Traffic {
  readonly publishers: number
  readonly subscribers: number
  readonly qos: 0 | 1 | 2
  readonly window: number
  /** Deliveries that are counted, after as many that warm up. */
  readonly deliveries: number
}

/** Rounds that are counted: their median is taken. */
const rounds = 5

export const scenarios: ReadonlyMap<string, () => Promise<Figures>> = new Map<string, () => Promise<Figures>>([
  ['10 pairs, QoS 0, window 32', () => traffic({ publishers: 10, subscribers: 10, qos: 0, window: 32, deliveries: 60_000 })],
  ['10 pairs, QoS 1, window 32', () => traffic({ publishers: 10, subscribers: 10, qos: 1, window: 32, deliveries: 60_000 })],
  ['10 pairs, QoS 2, window 32', () => traffic({ publishers: 10, subscribers: 10, qos: 2, window: 32, deliveries: 60_000 })],
  ['100 to 1, QoS 0, window 16', () => traffic({ publishers: 100, subscribers: 1, qos: 0, window: 16, deliveries: 60_000 })],
  ['1 to 1,000, QoS 0, window 4', () => traffic({ publishers: 1, subscribers: 1000, qos: 0, window: 4, deliveries: 200_000 })],
  ['1 to 1,000, QoS 1, window 4', () => traffic({ publishers: 1, subscribers: 1000, qos: 1, window: 4, deliveries: 200_000 })],
  ['an idle connection', idleConnection],
  ['a subscription', subscription],
])

async function connect (broker: Broker, name: string): Promise<GuardClient> {
  const client = new GuardClient()
  broker.handle(client.wire)
  client.send(connectFrame(name))
  await turn()
  return client
}

async function newBroker (): Promise<Broker> {
  return createBroker({ sysIntervalMs: 0, limits: { receiveMaximum: 65_535, memoryHighWaterMark: 0 } })
}

/** Pairs have a topic each; one subscriber gets everything; many subscribers get the one publisher's. */
function topicOf (publisher: number): string { return `devices/${publisher}/state` }

async function subscribers (broker: Broker, { subscribers: count, publishers }: Traffic): Promise<GuardClient[]> {
  const clients: GuardClient[] = []
  for (let i = 0; i < count; i++) {
    const client = await connect(broker, `subscriber ${i}`)
    client.send(subscribeFrame(count === publishers ? topicOf(i) : 'devices/+/state'))
    clients.push(client)
  }
  return clients
}

async function publishers (broker: Broker, count: number): Promise<GuardClient[]> {
  const clients: GuardClient[] = []
  for (let i = 0; i < count; i++) clients.push(await connect(broker, `publisher ${i}`))
  return clients
}

async function traffic (given: Traffic): Promise<Figures> {
  const broker = await newBroker()
  const exchange = new Exchange(await publishers(broker, given.publishers), await subscribers(broker, given), given)
  await exchange.run(given.deliveries * 2)
  const samples: Figures[] = []
  for (let i = 0; i < rounds; i++) samples.push(await sample(broker, exchange, given.deliveries))
  void broker.close()
  return medians(samples)
}

/** What each delivery costs. */
async function sample (broker: Broker, exchange: Exchange, deliveries: number): Promise<Figures> {
  collect()
  const before = { ...broker.metrics, writes: exchange.writes }
  const stop = countAllocation()
  const count = await exchange.run(deliveries)
  const heap = stop()
  const { bytesSent, packetsSent } = broker.metrics
  return {
    'heap bytes': heap / count,
    'bytes written': (bytesSent - before.bytesSent) / count,
    packets: (packetsSent - before.packetsSent) / count,
    writes: (exchange.writes - before.writes) / count,
  }
}

/** Publishers and subscribers that go on until enough was delivered. */
class Exchange {
  readonly #publishers: readonly GuardClient[]
  readonly #subscribers: readonly GuardClient[]
  readonly #clients: readonly GuardClient[]
  readonly #windows: readonly Buffer[]
  readonly #traffic: Traffic

  constructor (publishers: readonly GuardClient[], subscribers: readonly GuardClient[], traffic: Traffic) {
    this.#publishers = publishers
    this.#subscribers = subscribers
    this.#clients = [...publishers, ...subscribers]
    this.#windows = publishers.map((_, i) => messages(topicOf(i), traffic.qos, traffic.window))
    this.#traffic = traffic
  }

  get writes (): number { return sum(this.#clients, ({ wire }) => wire.writes) }

  /** Sends window after window until that many messages were delivered; returns how many exactly. */
  async run (deliveries: number): Promise<number> {
    const { publishers, subscribers, window } = this.#traffic
    const forEachWindow = publishers * window * (publishers === subscribers ? 1 : subscribers)
    const before = this.#received
    let expected = 0
    while (expected < deliveries) {
      expected += forEachWindow
      await this.#sendWindow(before + expected)
    }
    return expected
  }

  get #received (): number { return sum(this.#subscribers, ({ received }) => received) }

  get #completed (): number { return sum(this.#publishers, ({ completed }) => completed) }

  async #sendWindow (expected: number): Promise<void> {
    const { publishers, window, qos } = this.#traffic
    const completed = qos === 0 ? 0 : this.#completed + publishers * window
    // A copy: messages that are kept must not share one chunk with all others, as they would not do on a network.
    for (let i = 0; i < publishers; i++) this.#publishers[i]?.send(Buffer.from(this.#windows[i] as Buffer))
    for (let turns = 0; this.#received < expected || this.#completed < completed; turns++) {
      if (turns > 1000) throw new Error(`${expected - this.#received} messages did not arrive`)
      await turn()
      for (const client of this.#clients) client.answer()
    }
    await turn() // the last acknowledgements are read
  }
}

function sum<T> (items: readonly T[], value: (item: T) => number): number {
  let total = 0
  for (const item of items) total += value(item)
  return total
}

function medians (samples: readonly Figures[]): Figures {
  return Object.fromEntries(Object.keys(samples[0] ?? {}).map(name => {
    const values = samples.map(sample => sample[name] ?? 0).sort((a, b) => a - b)
    return [name, values[values.length >> 1] ?? 0]
  }))
}

/** What the broker keeps for a connected Client, without the stream, which is the host's. */
async function idleConnection (): Promise<Figures> {
  const count = 5000
  const broker = await newBroker()
  await publishers(broker, 100)
  const start = keptBytes()
  const streams = Array.from({ length: count }, () => new Wire())
  const bare = keptBytes() - start
  const connecting = streams.map((wire, i) => {
    broker.handle(wire)
    wire.push(connectFrame(`client ${i}`))
    return turn()
  })
  await Promise.all(connecting)
  connecting.length = 0
  await settle()
  const heap = keptBytes() - start - bare
  if (broker.metrics.clientsConnected !== count + 100) throw new Error('not all were let in')
  void broker.close()
  return { 'heap bytes': heap / count }
}

/** What the broker keeps for one more subscription of one Client, its Topic Filter included. */
async function subscription (): Promise<Figures> {
  const count = 10_000
  const broker = await newBroker()
  const clients = await publishers(broker, 2)
  const add = async (client: GuardClient | undefined, from: number): Promise<void> => {
    for (let i = 0; i < count; i++) client?.send(subscribeFrame(`site/${i % 100}/devices/${from + i}/+`))
    await settle()
  }
  await add(clients[0], 0)
  const before = keptBytes()
  await add(clients[1], count)
  const heap = keptBytes() - before
  void broker.close()
  return { 'heap bytes': heap / count }
}

async function settle (): Promise<void> {
  for (let i = 0; i < 10; i++) await turn()
}
