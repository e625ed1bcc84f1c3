import type { Emitter } from '../../../lib/contract/emitter.ts'
import type { MaybePromise } from '../../../lib/contract/hooks.ts'
import type { Store } from '../../../lib/contract/store.ts'
import { TestNode } from './emitter-node.ts'

/** What `testEmitter` has to know of the adapter that it tests. */
export interface EmitterHarness {
  /** A cluster that nothing was ever written to. */
  create (): MaybePromise<TestCluster>
}

/** What nodes share, in a test. */
export interface TestCluster {
  /** What one more broker is given; the store is not open. */
  node (): MaybePromise<{ readonly persistence: Store, readonly emitter: Emitter }>
  /** The process of a node has ended in the middle of things. */
  kill (emitter: Emitter): MaybePromise<void>
  /** So much time passes that no node was heard of for a lease, and that who was at adopting has lost its right to. */
  lapse (): MaybePromise<void>
  /** While that runs a node is told nothing of the log; when it has come to its end the log has lost what was in it then, but for the last entry. */
  outrun (emitter: Emitter, run: () => Promise<void>): MaybePromise<void>
  /** Names of all that is kept, but for the log, counters and what is known of versions. */
  left (): MaybePromise<readonly string[]>
  /** The test is over. */
  dispose (): MaybePromise<void>
}

/** A cluster with the nodes that a test has started. */
export class ClusterSubject {
  readonly cluster: TestCluster
  readonly #nodes: TestNode[] = []
  readonly #killed = new Set<TestNode>()

  constructor (cluster: TestCluster) { this.cluster = cluster }

  /** A node that has joined. */
  async start (): Promise<TestNode> {
    const node = await this.open()
    await node.join()
    return node
  }

  /** One that is to join; its store is open. */
  async open (): Promise<TestNode> {
    const { persistence, emitter } = await this.cluster.node()
    const node = new TestNode(persistence, emitter, `node ${this.#nodes.length + 1}`)
    this.#nodes.push(node)
    await persistence.open()
    return node
  }

  async kill (node: TestNode): Promise<void> {
    this.#killed.add(node)
    await this.cluster.kill(node.emitter)
  }

  /** What happens in `run` is more than the log keeps for a node that does not listen. */
  async outrun (node: TestNode, run: () => Promise<void>): Promise<void> { await this.cluster.outrun(node.emitter, run) }

  /** Time after which only those live who beat now. */
  async lapse (...living: readonly TestNode[]): Promise<void> {
    await this.cluster.lapse()
    for (const node of living) await node.beat()
  }

  /** All end at once, another comes and clears everything away: then nothing is left. */
  async clear (): Promise<readonly string[]> {
    for (const node of this.#nodes) if (!this.#killed.has(node)) await this.kill(node)
    const janitor = await this.start()
    await this.lapse()
    const { dead, left } = await janitor.beat()
    for (const generation of [...dead, ...left]) await janitor.clear(generation)
    await janitor.clearRetained()
    await janitor.emitter.leave()
    const names = await this.cluster.left()
    await this.kill(janitor)
    return names
  }
}

/** Tells the runner of a test that has a new cluster. */
export type EmitterTest = (name: string, run: (subject: ClusterSubject) => Promise<void>) => void
