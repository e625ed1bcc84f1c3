import { Ledger } from '../crash/ledger.ts'
import { Random } from '../crash/random.ts'
import { checkRetained } from '../crash/retained.ts'
import { Cast } from './cast.ts'
import { censusFaults, remains, takeCensus } from './census.ts'
import { Cluster } from './cluster.ts'
import { faultNames, newFault } from './faults.ts'
import { Chaos, Place } from './place.ts'
import { Wills } from './wills.ts'

const nodes = 3
/** Milliseconds of load before something happens, and after it. */
const [shortestLoadMs, longestLoadMs] = [200, 800]
/** Without anything happening, beyond a lease, after which nothing is expected any more. */
const patienceMs = 15_000
/** How long it is waited for what is cleared away when there is time. */
const clearingMs = 10_000
const lookMs = 100

export interface ChaosOptions {
  /** The program of a node. */
  readonly program: string
  readonly faults: number
  readonly seed: number
  readonly leaseMs: number
  /** Which faults; all of them, each as often, where it is absent. */
  readonly only?: readonly string[]
  /** Called after each fault. */
  readonly progress?: (text: string) => void
}

/** What came of it. */
export interface ChaosReport {
  readonly happened: number
  readonly published: number
  readonly acknowledged: number
  readonly refused: number
  readonly received: number
  /** Copies of QoS 1 messages beyond the first. */
  readonly repeated: number
  /** In flight when the connection ended, and sent again with DUP. */
  readonly resent: number
  readonly wills: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Whatever else was wrong, and the above in words. */
  readonly faults: readonly string[]
  /** What the nodes said meanwhile. */
  readonly complaints: string
}

/** Does to a cluster under load what the seed says, and checks after each fault message by message what came of it. Ends with the first that harms. */
export async function campaign (options: ChaosOptions): Promise<ChaosReport> {
  const cluster = await Cluster.start(nodes, options)
  const run = new Campaign(options, cluster)
  try {
    await Promise.race([run.play(), cluster.failed])
  } catch (error) {
    run.chaos.fault(error instanceof Error ? error.stack ?? error.message : String(error))
  }
  const report = run.report()
  run.close()
  await cluster.close()
  return report
}

class Campaign {
  readonly chaos: Chaos
  readonly #options: ChaosOptions
  readonly #ledger = new Ledger()
  readonly #cast: Cast
  readonly #wills: Wills
  readonly #random: Random
  #happened = 0

  constructor (options: ChaosOptions, cluster: Cluster) {
    this.#options = options
    this.chaos = new Chaos(cluster, new Random(options.seed))
    const patience = options.leaseMs + patienceMs
    this.#cast = new Cast(this.chaos, this.#ledger, patience)
    this.#wills = new Wills(this.chaos, patience)
    this.#random = this.chaos.random.for('faults')
  }

  async play (): Promise<void> {
    await this.#cast.begin()
    const { faults, only = faultNames } = this.#options
    for (let names: string[] = []; this.#happened < faults && !this.#isHarmed; this.#happened++) {
      if (names.length === 0) names = shuffled(only, this.#random)
      await this.#happen(names.pop() as string)
    }
    if (!this.#isHarmed) await this.#end()
  }

  /** Lets everybody go, wherever it was interrupted. */
  close (): void { void this.#cast.close() }

  report (): ChaosReport {
    const { receivers, resent } = this.#cast
    const sum = (count: 'received' | 'repeated' | 'doubled' | 'outOfOrder'): number => receivers.reduce((sum, receiver) => sum + receiver[count], 0)
    const lost = this.#lost
    const complaints = this.chaos.broker.nodes.map(({ complaints }) => complaints).join('')
    return {
      happened: this.#happened, published: this.#ledger.published, acknowledged: this.#ledger.acknowledged, refused: this.#ledger.refused,
      received: sum('received'), repeated: sum('repeated'), resent, wills: this.#wills.due,
      lost: lost.length, doubled: sum('doubled'), outOfOrder: sum('outOfOrder'), faults: [...this.chaos.faults, ...lost.slice(0, 20)], complaints,
    }
  }

  get #isHarmed (): boolean { return this.chaos.faults.length > 0 || this.#lost.length > 0 }

  get #lost (): string[] {
    return this.#cast.receivers.flatMap(receiver => receiver.missing().map(message => `${receiver.name} has not got ${message} (${this.chaos.moment})`))
  }

  async #happen (name: string): Promise<void> {
    const fault = newFault(name, { cluster: this.chaos.broker, cast: this.#cast, random: this.#random })
    this.#wills.begin()
    await this.#cast.play()
    await this.#pause()
    this.chaos.moment = `${this.#happened + 1}: ${fault.text}`
    this.#options.progress?.(this.chaos.moment)
    await fault.run()
    await this.#pause()
    await this.#check()
  }

  /** Message by message, Session by Session. */
  async #check (): Promise<void> {
    await this.#cast.calm()
    await this.#wills.end(this.#cast.watchers)
    await this.#cast.drain()
    if (this.#isHarmed) return
    for (const watcher of this.#cast.watchers) this.#wills.check(watcher)
    for (const [index] of this.chaos.broker.nodes.entries()) await checkRetained(new Place(this.chaos, 'visitor', index), this.#ledger, index % 2 === 0 ? 5 : 4)
    await this.#expectNone(() => this.#strayed())
  }

  /** Nothing is left behind when all Sessions have ended. */
  async #end (): Promise<void> {
    await this.#cast.close()
    await this.#cast.end([...this.#cast.clientIdentifiers, ...this.#wills.clientIdentifiers, 'visitor'])
    await this.#expectNone(async () => remains(await takeCensus(this.chaos.broker.redis)).map(key => `${key} is left behind`))
    for (const node of this.chaos.broker.nodes) {
      const code = await node.stop()
      if (code !== 0) this.chaos.fault(`${node.name} ended with ${String(code)}`)
    }
  }

  async #strayed (): Promise<string[]> {
    const { clientIdentifiers } = this.#cast
    const { nodes, redis } = this.chaos.broker
    const said = await Promise.all(nodes.map(async node => clientsFaults(node.name, await node.ask('clients'), clientIdentifiers)))
    return [...censusFaults(await takeCensus(redis), clientIdentifiers, nodes.length), ...said.flat()]
  }

  /** What is cleared away when there is time has time. */
  async #expectNone (find: () => Promise<readonly string[]>): Promise<void> {
    let found = await find()
    for (const end = Date.now() + clearingMs + this.#options.leaseMs; found.length > 0 && Date.now() < end; found = await find()) await this.chaos.sleep(lookMs)
    for (const fault of found.slice(0, 20)) this.chaos.fault(fault)
  }

  #pause (): Promise<void> { return this.chaos.sleep(this.#random.between(shortestLoadMs, longestLoadMs)) }
}

/** What a node says of who is connected; undefined where it cannot say. */
function clientsFaults (node: string, said: unknown, clientIdentifiers: readonly string[]): string[] {
  if (!Array.isArray(said)) return []
  const names = said.map((client: string | { clientIdentifier: string }) => typeof client === 'string' ? client : client.clientIdentifier)
  return clientIdentifiers.flatMap(name => {
    const count = names.filter(other => other === name).length
    return count === 1 ? [] : [`${node} says that ${name} is connected ${count} times`]
  })
}

function shuffled (names: readonly string[], random: Random): string[] {
  const rest = [...names]
  return names.map(() => rest.splice(random.between(0, rest.length - 1), 1)[0] as string)
}
