import { ReasonCode } from '../../lib/base/reason-codes.ts'
import type { Random } from '../crash/random.ts'
import { World, type Served } from '../crash/world.ts'
import type { Cluster } from './cluster.ts'
import type { NodeProcess } from './node-process.ts'

/** With these a node may say no that cannot reach Redis, is leaving, or has been taken for dead; 3 is what MQTT 3.x has for it. */
const refusals = [3, ReasonCode.serverUnavailable, ReasonCode.serverBusy, ReasonCode.serverShuttingDown, ReasonCode.quotaExceeded]

/** What all who take part share. */
export class Chaos extends World<Cluster> {
  /** What was done last, for people. */
  moment = 'before anything was done'

  override fault (text: string): void {
    if (this.faults.length < 200) this.faults.push(`${text} (${this.moment})`)
  }
}

/** The node that a Client is at, until that one is away or the Client moves. */
export class Seat implements Served {
  readonly #cluster: Cluster
  readonly #random: Random
  #node: NodeProcess

  constructor (cluster: Cluster, random: Random, node: number) {
    this.#cluster = cluster
    this.#random = random
    this.#node = cluster.nodes[node % cluster.nodes.length] as NodeProcess
  }

  get node (): NodeProcess { return this.#node }

  get port (): number | undefined {
    if (this.#node.port === undefined) this.move()
    return this.#node.port
  }

  get incarnation (): number { return this.#node.incarnation }

  async up (): Promise<number> {
    for (;;) {
      const { port } = this
      if (port !== undefined) return port
      await this.#cluster.changed()
    }
  }

  /** The next connection goes to another node, where there is one. */
  move (): void {
    const others = this.#cluster.awake().filter(node => node !== this.#node)
    if (others.length > 0) this.#node = this.#random.pick(others)
  }
}

/** What one Client knows of the world. Of what a node has stored, nothing can be told from what another one acknowledges. */
export class Place extends World<Seat> {
  readonly #chaos: Chaos

  constructor (chaos: Chaos, name: string, node: number) {
    const random = chaos.random.for(name)
    super(new Seat(chaos.broker, random.for('seat'), node), random, refusals)
    this.#chaos = chaos
  }

  override fault (text: string): void { this.#chaos.fault(`${text} at ${this.broker.node.name}`) }

  override event (): number { return this.#chaos.event() }

  override committed (): void { /* says nothing */ }

  override isCommitted (): boolean { return false }
}
