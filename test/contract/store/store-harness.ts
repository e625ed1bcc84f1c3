import type { MaybePromise } from '../../../lib/contract/hooks.ts'
import type { Store, StoreState } from '../../../lib/contract/store.ts'

/** What `testStore` has to know of the adapter that it tests. */
export interface StoreHarness {
  /** A store that nothing was ever written to; not open. */
  create (): MaybePromise<Store>
  /**
   * What a broker finds that is started again: what `store` has kept, not open.
   * @param isKilled the process ended in the middle of things; else the store was closed before
   */
  restart (store: Store, isKilled: boolean): MaybePromise<Store>
  /** The test is over; the store may be open. */
  dispose (store: Store): MaybePromise<void>
  /** How many messages are kept for deliveries; leave it out where that cannot be told. */
  countBodies? (store: Store): MaybePromise<number>
}

/** How a test runner is told of a test. */
export type TestRunner = (name: string, run: () => Promise<void>) => unknown

/** A store in a test: another one after each restart. */
export class Subject {
  readonly harness: StoreHarness
  store: Store

  constructor (harness: StoreHarness, store: Store) {
    this.harness = harness
    this.store = store
  }

  async restart (isKilled = false): Promise<StoreState> {
    if (!isKilled) await this.store.close()
    this.store = await this.harness.restart(this.store, isKilled)
    return this.store.open()
  }
}

/** Tells the runner of a test that has a new store, open. */
export type StoreTest = (name: string, run: (subject: Subject, state: StoreState) => Promise<void>) => void
