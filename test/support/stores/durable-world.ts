import type { Test } from 'tap'
import { memoryStore, type BrokerOptions, type Store } from '../../../lib/index.ts'
import { FakeClock, settled } from '../fake-clock.ts'
import { FaultyStore } from './faulty-store.ts'
import { recorder } from '../observe.ts'
import { startBroker, type TestBroker } from '../harness.ts'

/** A broker that can be killed, or shut down, and started again on what its store has kept. */
export class World {
  test: TestBroker
  store: FaultyStore
  /** What observers were told: see `recorder`. */
  readonly events: string[]
  /** Messages that were not taken, whether their publisher has heard of it or sends them again: their payloads as numbers. */
  readonly refused = new Set<number>()
  readonly #t: Test
  readonly #kept: Store
  readonly #options: BrokerOptions

  private constructor (t: Test, kept: Store, options: BrokerOptions, store: FaultyStore, test: TestBroker, events: string[]) {
    this.#t = t
    this.#kept = kept
    this.#options = options
    this.store = store
    this.test = test
    this.events = events
  }

  static async start (t: Test, options: BrokerOptions = {}): Promise<World> {
    const kept = memoryStore()
    const store = new FaultyStore(kept)
    const events: string[] = []
    const test = await startBroker(t, { persistence: store, ...options })
    test.broker.hook(recorder(events))
    return new World(t, kept, options, store, test, events)
  }

  /** There is room on the disk again, which the broker finds out with its next attempt. */
  async freeDisk (): Promise<void> {
    this.store.isFailing = false
    await settled() // an attempt that has begun comes to its end
    for (const payload of this.store.refused) this.refused.add(Number(payload))
    await this.test.clock.advance(1_000)
  }

  /** As by kill -9: nobody is told anything, and nothing more is written. */
  async crash (downMs = 0): Promise<void> {
    this.store.kill()
    await this.freeDisk()
    await this.#startAgain(downMs)
  }

  async restart (downMs = 0): Promise<void> {
    await this.close()
    await this.#startAgain(downMs)
  }

  async close (): Promise<void> {
    await this.freeDisk()
    const closing = this.test.broker.close()
    await this.test.clock.advance(10_000)
    await closing
  }

  async #startAgain (downMs: number): Promise<void> {
    this.store = new FaultyStore(this.#kept)
    const clock = new FakeClock(this.test.clock.now() + downMs)
    this.test = await startBroker(this.#t, { persistence: this.store, ...this.#options, clock })
    this.test.broker.hook(recorder(this.events))
  }
}
