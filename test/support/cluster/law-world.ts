import { createBroker, type BrokerOptions } from '../../../lib/index.ts'
import { FakeClock, settled } from '../fake-clock.ts'
import type { TestBroker } from '../harness.ts'
import { MemoryHub, type MemoryNode } from './memory-cluster.ts'
import { Mortal, RoamingPublisher, RoamingSubscriber, type Places, type Roamer } from './roaming-clients.ts'

const stepMs = 500

/** A node with its broker; its clock stands still while it is asleep. */
interface LawNode extends TestBroker {
  readonly node: MemoryNode
  isAsleep: boolean
}

/** Brokers that are one cluster, and Clients who go from one to the other, while a test does to them what it likes. */
export class LawWorld implements Places {
  readonly #clock = new FakeClock()
  readonly hub: MemoryHub = new MemoryHub({ clock: this.#clock, pageSessions: 2 })
  readonly publishers: readonly RoamingPublisher[] = ['p', 'q'].map(name => new RoamingPublisher(this, name))
  /** All; all of one topic and the Will Messages; two that share all. */
  readonly subscribers: readonly RoamingSubscriber[] = [['t/#'], ['t/+/a', 'will'], ['$share/g/t/#'], ['$share/g/t/#']].map((filters, i) => new RoamingSubscriber(this, `s${i}`, filters))
  /** One that begins anew now and then. */
  readonly restless: RoamingSubscriber = new RoamingSubscriber(this, 'x', ['t/#'])
  readonly mortals: Mortal[] = []
  /** Client Identifiers of those who said goodbye. */
  readonly parted = new Set<string>()
  readonly #options: BrokerOptions
  readonly #nodes: (LawNode | undefined)[]

  private constructor (size: number, options: BrokerOptions) {
    this.#nodes = Array.from({ length: size }, () => undefined)
    this.#options = options
  }

  static async start (size: number, options: BrokerOptions): Promise<LawWorld> {
    const world = new LawWorld(size, options)
    for (let i = 0; i < size; i++) await world.startNode(i)
    await world.settle()
    for (const [i, roamer] of world.roamers.entries()) await roamer.connect(i % size)
    while (![...world.subscribers, world.restless].every(({ isReady }) => isReady)) await world.handleAll()
    await world.handleAll()
    return world
  }

  get roamers (): readonly Roamer[] { return [...this.publishers, ...this.subscribers, this.restless, ...this.mortals] }

  get nodes (): readonly LawNode[] { return this.#nodes.filter(node => node !== undefined) }

  at (index: number): LawNode | undefined { return this.#nodes[index] }

  isAwake (index: number): boolean { return this.#nodes[index]?.isAsleep === false }

  /** What somebody does in one turn. */
  async handleAll (): Promise<boolean> {
    for (const publisher of this.publishers) await publisher.handle()
    for (const mortal of this.mortals) await mortal.handle()
    let isBusy = false
    for (const subscriber of [...this.subscribers, this.restless]) if (await subscriber.handle(1_000)) isBusy = true
    await this.settle()
    return isBusy
  }

  async startNode (index: number): Promise<void> {
    if (this.#nodes[index] !== undefined) return
    const node = this.hub.node()
    const clock = new FakeClock(this.#clock.now())
    const { persistence, emitter } = node
    const broker = await createBroker({ clock, sysIntervalMs: 0, closeTimeoutMs: 0, persistence, emitter, ...this.#options })
    this.#nodes[index] = { broker, clock, node, isAsleep: false }
  }

  /** As by kill -9. One node stays. */
  async kill (index: number): Promise<void> {
    this.at(index)?.node.kill()
    await this.#forget(index)
  }

  async close (index: number): Promise<void> {
    const node = this.at(index)
    if (node === undefined || node.isAsleep || node.node.channels.some(({ isHeld }) => isHeld)) return
    let isClosed = false
    const closing = node.broker.close().then(() => { isClosed = true })
    for (let i = 0; i < 30 && !(isClosed as boolean); i++) await this.pass(stepMs)
    await closing
    await this.#forget(index)
  }

  sleep (index: number): void {
    const node = this.at(index)
    if (node === undefined) return
    node.isAsleep = true
    for (const channel of node.node.channels) channel.hold()
  }

  async wake (index: number): Promise<void> {
    const node = this.at(index)
    if (node?.isAsleep !== true) return
    node.isAsleep = false
    for (const channel of node.node.channels) channel.release()
    await node.clock.advance(this.#clock.now() - node.clock.now())
  }

  /** Holds back what goes one way between a node and the others, or all that did. */
  hold (index: number, channel: 'requests' | 'answers' | 'log' | 'inbox'): void { this.at(index)?.node[channel].hold() }

  release (index: number): void {
    const node = this.at(index)
    if (node?.isAsleep === false) for (const channel of node.node.channels) channel.release()
  }

  async pass (ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= stepMs) {
      const step = Math.min(left, stepMs)
      await this.#clock.advance(step)
      for (const { clock, isAsleep } of this.nodes) if (!isAsleep) await clock.advance(this.#clock.now() - clock.now())
    }
  }

  async settle (): Promise<void> { for (let i = 0; i < 4; i++) await settled() }

  mortalAt (index: number): Mortal | undefined { return this.mortals.find(({ place, isConnected }) => isConnected && place === index) }

  /** One says goodbye, if it is heard. */
  async part (index: number): Promise<void> {
    const mortal = this.mortalAt(index)
    if (mortal === undefined || !this.isAwake(index)) return
    this.parted.add(mortal.clientIdentifier)
    await mortal.leave()
  }

  async bear (index: number, delayInterval: number): Promise<void> {
    const mortal = new Mortal(this, `m${this.mortals.length}`)
    this.mortals.push(mortal)
    await mortal.appear(index, delayInterval)
  }

  /** Everybody is there and awake, and everything comes to its end. */
  async finish (): Promise<void> {
    this.hub.failure = undefined
    for (let i = 0; i < this.#nodes.length; i++) {
      await this.wake(i)
      this.release(i)
      await this.startNode(i)
    }
    await this.pass(45_000)
    for (let round = 0, idle = 0; idle < 3; round++) {
      if (round > 60) throw new Error('it does not come to an end')
      for (const [i, roamer] of [...this.publishers, ...this.subscribers, this.restless].entries()) if (!roamer.isConnected) await roamer.connect((i + round) % this.#nodes.length)
      await this.pass(stepMs)
      const isBusy = await this.handleAll()
      idle = isBusy || this.publishers.some(({ isDone }) => !isDone) ? 0 : idle + 1
    }
    await this.pass(3_000)
  }

  /** The processes are gone. */
  end (): void { for (const { node } of this.nodes) node.kill() }

  async #forget (index: number): Promise<void> {
    this.#nodes[index] = undefined
    for (const roamer of this.roamers) if (roamer.isConnected && roamer.place === index) await roamer.lose()
  }
}
