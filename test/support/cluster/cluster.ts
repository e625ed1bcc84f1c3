import type { Test } from 'tap'
import type { BrokerOptions } from '../../../lib/index.ts'
import type { ConnackPacket, ConnectPacket } from '../../../lib/packet/packets.ts'
import { FakeClock, settled } from '../fake-clock.ts'
import { connect, startBroker, type PacketClient, type TestBroker } from '../harness.ts'
import { MemoryHub, type MemoryNode } from './memory-cluster.ts'
import { recorder } from '../observe.ts'

/** Milliseconds that a node is given to let a Client go which is at another one now, though it may be dead. */
const handOverMs = 100

/** A broker with its end of the hub. */
export interface TestNode extends TestBroker {
  readonly node: MemoryNode
  /** What observers were told: see `recorder`. */
  readonly events: string[]
}

/** Brokers in one process that are one cluster, on one clock that stands still. */
export class TestCluster {
  readonly hub: MemoryHub
  readonly clock: FakeClock = new FakeClock()
  readonly nodes: TestNode[] = []
  readonly #t: Test
  readonly #options: BrokerOptions

  private constructor (t: Test, options: BrokerOptions) {
    this.#t = t
    this.#options = options
    this.hub = new MemoryHub({ clock: this.clock })
  }

  static async start (t: Test, size = 3, options: BrokerOptions = {}): Promise<TestCluster> {
    const cluster = new TestCluster(t, options)
    for (let i = 0; i < size; i++) await cluster.add()
    await cluster.settle()
    return cluster
  }

  async add (): Promise<TestNode> {
    const node = this.hub.node()
    const test = await startBroker(this.#t, { clock: this.clock, persistence: node.persistence, emitter: node.emitter, ...this.#options })
    const events: string[] = []
    test.broker.hook(recorder(events))
    const added = { ...test, node, events }
    this.nodes.push(added)
    return added
  }

  at (index: number): TestNode {
    const node = this.nodes[index]
    if (node === undefined) throw new Error(`there is no node ${index}`)
    return node
  }

  async connect (index: number, clientIdentifier: string, fields: Partial<ConnectPacket> = {}): Promise<[PacketClient, ConnackPacket]> {
    let isLetIn = false
    const connected = await connect(this.at(index), { clientIdentifier, ...fields }, async ({ received }) => {
      await this.settle()
      if (!isLetIn && received.length === 0) await this.pass(handOverMs)
    })
    isLetIn = true
    return connected
  }

  /** A Client whose Session stays. */
  async durable (index: number, clientIdentifier: string, fields: Partial<ConnectPacket> = {}): Promise<[PacketClient, ConnackPacket]> {
    return this.connect(index, clientIdentifier, { cleanStart: false, properties: { sessionExpiryInterval: 3600 }, ...fields })
  }

  /** The process is gone: nothing of it happens any more. */
  kill (index: number): void { this.at(index).node.kill() }

  /** Time goes by, and what is under way arrives. */
  async pass (ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 500) {
      await this.clock.advance(Math.min(left, 500))
      await this.settle()
    }
  }

  /** Until everything has arrived that is under way between nodes. */
  async settle (): Promise<void> { for (let i = 0; i < 6; i++) await settled() }
}
