import t from 'tap'
import type { Emitter } from '../lib/contract/emitter.ts'
import type { Store } from '../lib/contract/store.ts'
import { testEmitter, testStore, type EmitterHarness, type TestCluster } from '../plugins/testing/index.ts'
import { FakeClock } from './support/fake-clock.ts'
import { MemoryHub, type HubOptions, type MemoryNode } from './support/cluster/memory-cluster.ts'

/** Longer than any lease. */
const lapseMs = 60_001

class HubCluster implements TestCluster {
  readonly #clock = new FakeClock()
  readonly #hub: MemoryHub

  constructor (options: HubOptions) { this.#hub = new MemoryHub({ ...options, clock: this.#clock }) }

  node (): MemoryNode { return this.#hub.node() }

  kill (emitter: Emitter): void { this.#hub.nodes.find(node => node.emitter === emitter)?.kill() }

  async outrun (emitter: Emitter, run: () => Promise<void>): Promise<void> { await this.#hub.nodes.find(node => node.emitter === emitter)?.outrun(run) }

  async lapse (): Promise<void> { await this.#clock.advance(lapseMs) }

  left (): string[] { return this.#hub.state.left }

  dispose (): void { for (const node of this.#hub.nodes) node.kill() }
}

const schedules: Record<string, HubOptions> = { 'a turn at a time': {}, 'at once': { schedule: queueMicrotask } }

for (const [name, options] of Object.entries(schedules)) {
  t.test(`the hub in memory, ${name}`, t => {
    const harness: EmitterHarness = { create: () => new HubCluster(options) }
    testEmitter((name, run) => t.test(name, run), harness)
    t.end()
  })
}

t.test('the store of the hub in memory, without nodes', t => {
  const hubs = new Map<Store, MemoryHub>()
  const storeOf = (hub: MemoryHub): Store => {
    const { persistence } = hub.node()
    hubs.set(persistence, hub)
    return persistence
  }
  testStore((name, run) => t.test(name, run), {
    create: () => storeOf(new MemoryHub()), restart: store => storeOf(hubs.get(store) ?? new MemoryHub()), dispose: store => { hubs.delete(store) },
  })
  t.end()
})
