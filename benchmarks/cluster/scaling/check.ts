import { Client, inParallel } from './client.ts'
import type { Check, CheckRow, Figures } from './figures.ts'
import type { Laboratory } from './laboratory.ts'
import { predict, type Scenario } from './model.ts'
import { pause } from '../../runner/processes.ts'

const seconds = 10
const parallel = 25

/** A load that grows with the connections: half of the Sessions stay, each has a filter of its own. */
export function checkScenario (connections: number, nodes: number): Scenario {
  return {
    name: `${connections} connections`, connections, connectionsPerNode: connections / nodes, durable: 0.5, away: 0, queued: 0, filters: 1,
    connects: connections / 100, moved: 0.5, messages: connections / 20, remote: 1, fanOut: 1, roundTripMs: 1, commitDelayMs: 0,
  }
}

/** What a run takes, beside what the model says that it takes. Clients come, go and move, messages cross nodes: one at a time, evenly. */
export async function check (laboratory: Laboratory, connections: number, figures: Figures): Promise<Check> {
  const nodes = laboratory.ports.length
  const scenario = checkScenario(connections, nodes)
  const { redis, redisBytes, nodeBytes } = predict(scenario, figures)
  const before = await memoryOf(laboratory)
  const crowd = await Crowd.gather(laboratory, connections)
  const after = await memoryOf(laboratory)
  const { usage, seconds: lasted } = await laboratory.during(() => crowd.work(scenario))
  crowd.scatter()
  const row = (figure: string, predicted: number, measured: number): CheckRow => ({ figure, predicted, measured })
  return {
    connections, seconds,
    load: `${scenario.connects} CONNECTs a second, a quarter of them from another node than before, half of them with a new filter; ${scenario.messages} QoS 1 messages a second across nodes`,
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

  /** Each CONNECT and each message in its time, whatever became of the one before. */
  async work ({ connects, messages, moved }: Scenario): Promise<void> {
    const publishers = await Promise.all(this.#laboratory.ports.map((port, i) => Client.open(port, `publisher/${i}`, false)))
    await Promise.all([
      evenly(connects, i => this.#reconnect(this.#members[i % this.#members.length] as Member, moved)),
      ...publishers.map((publisher, node) => this.#publish(publisher, node, messages / publishers.length)),
    ])
    await Promise.all(publishers.map(publisher => publisher.leave()))
  }

  scatter (): void { for (const { client } of this.#members) client.destroy() }

  async #publish (publisher: Client, node: number, perSecond: number): Promise<void> {
    await evenly(perSecond, async i => {
      const { length } = this.#members
      for (let k = 0; k < length; k++) {
        const member = this.#members[(i * 7 + k) % length] as Member
        if (member.node !== node) return publisher.publish([topicOf(member.name)])
      }
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
