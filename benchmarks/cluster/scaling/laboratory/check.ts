import { Client, inParallel } from './client.ts'
import type { Check, CheckRow, Figures } from '../figures.ts'
import type { Laboratory } from './laboratory.ts'
import { predict, type Scenario } from '../model.ts'
import { pause } from '../../../runner/processes.ts'
import { median } from '../../../runner/statistics.ts'

const seconds = 10
const parallel = 25
const publishersAtNode = 4

/** A load that grows with the connections: half of the Sessions stay, each has a filter of its own. */
export function checkScenario (connections: number, nodes: number, load: number = 1): Scenario {
  return {
    name: `${connections} connections`, connections, connectionsPerNode: connections / nodes, durable: 0.5, away: 0, queued: 0, filters: 1,
    connects: load * connections / 100, moved: 0.5, messages: load * connections / 20, remote: 1, fanOut: 1, roundTripMs: 1, commitDelayMs: 0,
  }
}

/** What a run takes, beside what the model says that it takes. Clients come, go and move, messages cross nodes: one at a time, evenly. */
export async function check (laboratory: Laboratory, connections: number, figures: Figures, load: number = 1): Promise<Check> {
  const nodes = laboratory.ports.length
  const before = await memoryOf(laboratory)
  const crowd = await Crowd.gather(laboratory, connections)
  const after = await memoryOf(laboratory)
  const wanted = checkScenario(connections, nodes, load)
  const { usage, seconds: lasted } = await laboratory.during(() => crowd.work(wanted))
  crowd.scatter()
  const pace = seconds / lasted // what a busy machine made of it
  const scenario = { ...wanted, connects: wanted.connects * pace, messages: wanted.messages * pace, roundTripMs: crowd.roundTripMs }
  const { redis, redisBytes, nodeBytes } = predict(scenario, figures)
  const row = (figure: string, predicted: number, measured: number): CheckRow => ({ figure, predicted, measured })
  return {
    connections, seconds, connects: scenario.connects, messages: scenario.messages, roundTripMs: scenario.roundTripMs,
    rows: [
      row('Redis commands a second', redis.commands, usage.commands / lasted),
      row('scripts a second', redis.scripts, usage.scripts / lasted),
      row('CPU of Redis, ms a second', redis.cpuUs / 1e3, usage.cpuUs / 1e3 / lasted),
      row('KB to Redis a second', redis.bytesIn / 1e3, usage.bytesIn / 1e3 / lasted),
      row('KB from Redis a second', redis.bytesOut / 1e3, usage.bytesOut / 1e3 / lasted),
      row('memory of Redis for the Sessions, MB', (redisBytes - nodes * figures.redisBytes.node) / 1e6, (after.redis - before.redis) / 1e6),
      row('memory of a node for Sessions and routes, MB', (nodeBytes - figures.nodeBytes.process) / 1e6, (after.node - before.node) / 1e6),
    ],
  }
}

async function memoryOf (laboratory: Laboratory): Promise<{ readonly redis: number, readonly node: number }> {
  return { redis: await laboratory.redisBytes(), node: (await laboratory.nodeMemory(0)).used }
}

/** A Client and the node that it is at. */
interface Member { readonly name: string, readonly stays: boolean, node: number, client: Client }

/** Clients that stay connected while some of them go and come back. */
class Crowd {
  readonly #laboratory: Laboratory
  readonly #members: Member[] = []
  /** Clients that came back to their Sessions. */
  #returned = 0
  /** Milliseconds until each PUBACK. */
  readonly #waited: number[] = []

  private constructor (laboratory: Laboratory) { this.#laboratory = laboratory }

  static async gather (laboratory: Laboratory, count: number): Promise<Crowd> {
    const crowd = new Crowd(laboratory)
    await inParallel(count, parallel, async i => {
      const [name, stays, node] = [`crowd/${String(i).padStart(8, '0')}`, i % 4 < 2, i % laboratory.ports.length]
      const client = await Client.open(laboratory.port(node), name, stays)
      await client.subscribe(topicOf(name))
      crowd.#members.push({ name, stays, node, client })
    })
    return crowd
  }

  /** As it was while it worked. */
  get roundTripMs (): number { return median(this.#waited) ?? 0 }

  /** Each CONNECT and each message in its time, whatever became of the one before. */
  async work ({ connects, messages, moved }: Scenario): Promise<void> {
    const count = this.#laboratory.ports.length * publishersAtNode
    const publishers = await Promise.all(Array.from({ length: count }, (_, i) => Client.open(this.#laboratory.port(i), `publisher/${i}`, false)))
    await Promise.all([
      evenly(connects, i => this.#reconnect(this.#members[i % this.#members.length] as Member, moved)),
      ...publishers.map((publisher, i) => this.#publish(publisher, i, messages / count)),
    ])
    await Promise.all(publishers.map(publisher => publisher.leave()))
  }

  scatter (): void { for (const { client } of this.#members) client.destroy() }

  /** To Clients that are at other nodes at that moment. */
  async #publish (publisher: Client, number: number, perSecond: number): Promise<void> {
    const [{ length }, nodes] = [this.#members, this.#laboratory.ports.length]
    let next = number
    await pause(number / (perSecond * nodes * publishersAtNode)) // not all in the same moment
    await evenly(perSecond, async () => {
      let member = this.#members[next++ % length] as Member
      while (member.node % nodes === number % nodes) member = this.#members[next++ % length] as Member
      const start = performance.now()
      await publisher.publish([topicOf(member.name)])
      this.#waited.push(performance.now() - start)
    }, 1)
  }

  async #reconnect (member: Member, moved: number): Promise<void> {
    await member.client.leave()
    if (member.stays && this.#returned++ * moved % 1 + moved >= 1) member.node++
    member.client = await Client.open(this.#laboratory.port(member.node), member.name, member.stays)
    if (!member.stays) await member.client.subscribe(topicOf(member.name))
  }
}

const topicOf = (name: string): string => `${name}/commands/0`

/** Begins so many a second. @param atOnce how many may be under way; whoever comes then waits */
async function evenly (perSecond: number, task: (i: number) => Promise<void>, atOnce: number = parallel): Promise<void> {
  const [start, count] = [performance.now(), Math.round(perSecond * seconds)]
  await inParallel(count, atOnce, async i => {
    await pause(Math.max(0, start / 1e3 + i / perSecond - performance.now() / 1e3))
    await task(i)
  })
}
