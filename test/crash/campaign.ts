import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BrokerProcess, type Durability } from './broker-process.ts'
import { Cast } from './cast.ts'
import { Ledger } from './ledger.ts'
import { Passing } from './passing.ts'
import { Random } from './random.ts'
import { checkRetained } from './retained.ts'
import { Wills } from './wills.ts'
import { World } from './world.ts'

/** Milliseconds of load before a broker is killed, and of starting for those that are killed before they listen. */
const [shortestLoadMs, longestLoadMs, longestStartMs] = [5, 400, 400]
/** How many of the kills come while the broker is starting; and how many late, when it has looked after what was due. */
const earlyShare = 0.15
const lateShare = 0.15
const latestMs = 1_200
/** How often it is looked for Sessions that should be over, and how long between. */
const looks = 50
const lookMs = 200

export interface CampaignOptions {
  /** The file that the built command line starts with. */
  readonly main: string
  readonly kills: number
  readonly seed: number
  /** `both` takes them by turns. */
  readonly durability: Durability | 'both'
  /** Called after each kill. */
  readonly progress?: (kills: number, published: number) => void
}

/** What came of it. */
export interface Report {
  readonly kills: number
  /** Of these, while the broker was starting. */
  readonly early: number
  readonly published: number
  readonly acknowledged: number
  readonly received: number
  /** Copies of QoS 1 messages beyond the first. */
  readonly repeated: number
  /** In flight when the connection broke, and sent again with DUP. */
  readonly resent: number
  readonly wills: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Whatever else was wrong, and the above in words. */
  readonly faults: readonly string[]
}

/** Kills a broker under load as often as it is told, and checks message by message what came of it. */
export async function campaign (options: CampaignOptions): Promise<Report> {
  const directory = mkdtempSync(join(tmpdir(), 'myelin-crash-'))
  const broker = new BrokerProcess(options.main, directory)
  const run = new Campaign(options, broker)
  try {
    await Promise.race([run.play(), broker.failed])
  } catch (error) {
    run.world.fault(String(error))
  } finally {
    run.close()
    broker.close()
    rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
  }
  return run.report()
}

class Campaign {
  readonly world: World<BrokerProcess>
  readonly #options: CampaignOptions
  readonly #ledger = new Ledger()
  readonly #cast: Cast
  readonly #wills: Wills
  readonly #passing: Passing
  readonly #random: Random
  #kills = 0
  #early = 0

  constructor (options: CampaignOptions, broker: BrokerProcess) {
    this.#options = options
    this.world = new World(broker, new Random(options.seed))
    this.#cast = new Cast(this.world, this.#ledger)
    this.#wills = new Wills(this.world)
    this.#passing = new Passing(this.world)
    this.#random = this.world.random.for('kills')
  }

  async play (): Promise<void> {
    this.#start()
    await this.#cast.begin()
    while (this.#kills < this.#options.kills) await this.#kill()
    await this.#end()
  }

  /** Lets everybody go, wherever it was interrupted. */
  close (): void { void this.#cast.close() }

  report (): Report {
    const { receivers } = this.#cast
    const sum = (count: 'received' | 'repeated' | 'doubled' | 'outOfOrder'): number => receivers.reduce((sum, receiver) => sum + receiver[count], 0)
    const missing = receivers.flatMap(receiver => receiver.missing().map(message => `${receiver.name} has not got ${message}`))
    return {
      kills: this.#kills, early: this.#early, published: this.#ledger.published, acknowledged: this.#ledger.acknowledged,
      received: sum('received'), repeated: sum('repeated'), resent: this.world.resent, wills: this.#wills.due.length,
      lost: missing.length, doubled: sum('doubled'), outOfOrder: sum('outOfOrder'), faults: [...this.world.faults, ...missing.slice(0, 20)],
    }
  }

  #start (): void {
    const { broker } = this.world
    const { durability } = this.#options
    broker.start(durability !== 'both' ? durability : broker.incarnation % 2 === 0 ? 'power' : 'process')
  }

  async #kill (): Promise<void> {
    const random = this.#random
    await this.world.broker.up()
    this.#wills.begin()
    this.#wills.begin()
    void this.#passing.begin()
    const checking = this.#checkRetained()
    await this.world.sleep(random.chance(lateShare) ? random.between(longestLoadMs, latestMs) : random.between(shortestLoadMs, longestLoadMs))
    await this.#killNow()
    await checking
    if (this.#kills < this.#options.kills && random.chance(earlyShare)) await this.#killEarly(random.between(0, longestStartMs))
  }

  async #killEarly (ms: number): Promise<void> {
    await this.world.sleep(ms)
    this.#early++
    await this.#killNow()
  }

  async #killNow (): Promise<void> {
    await this.world.broker.kill()
    this.#kills++
    this.#options.progress?.(this.#kills, this.#ledger.published)
    this.#start()
  }

  #checkRetained (): Promise<void> {
    return checkRetained(this.world, this.#ledger, this.#kills % 2 === 0 ? 5 : 4)
  }

  async #end (): Promise<void> {
    await this.#cast.settle()
    await this.#awaitWills()
    await this.#cast.drain()
    await this.#checkRetained()
    await this.#cast.sync()
    await this.#cast.close()
    for (const watcher of this.#cast.watchers) this.#wills.check(watcher)
    await this.#checkStore()
  }

  async #awaitWills (): Promise<void> {
    const [steady] = this.#cast.watchers
    await this.world.until(() => this.#wills.due.every(topicName => steady?.wills.has(topicName)))
  }

  /** Everybody has everything: the store has nothing left, and a broker that is stopped ends well. */
  async #checkStore (): Promise<void> {
    const { broker } = this.world
    await this.#awaitPassing()
    const code = await broker.stop()
    if (code !== 0) this.world.fault(`the broker ended with ${String(code)}`)
    for (const { clientIdentifier, inFlight, waiting, received } of await sessionsOf(broker)) {
      const left = JSON.stringify({ inFlight, waiting, received })
      if (left !== '{"inFlight":0,"waiting":0,"received":[]}') this.world.fault(`the Session of ${String(clientIdentifier)} has ${left}`)
    }
    if (broker.complaints !== '') this.world.fault(`the broker has said: ${broker.complaints}`)
  }

  /** Sessions that have expired are cleared away. */
  async #awaitPassing (): Promise<void> {
    for (let look = 0; look < looks; look++) {
      const sessions = await sessionsOf(this.world.broker)
      if (!sessions.some(({ clientIdentifier }) => String(clientIdentifier).startsWith(Passing.prefix))) return
      await this.world.sleep(lookMs)
    }
    this.world.fault('Sessions that are over were not cleared away')
  }
}

async function sessionsOf (broker: BrokerProcess): Promise<Record<string, unknown>[]> {
  return (await broker.inspect()).filter(({ type }) => type === 'session')
}
