import { testFaults } from './store/store-fault-tests.ts'
import { Subject, type StoreHarness, type StoreTest, type TestRunner } from './store/store-harness.ts'
import { testQueues } from './store/store-queue-tests.ts'
import { testState } from './store/store-state-tests.ts'

export type { StoreHarness, TestRunner } from './store/store-harness.ts'

/**
 * The contract that each `Store` has to keep, as tests for any runner.
 *
 * ```ts
 * import { test } from 'node:test'
 * import { testStore } from 'myelin/testing'
 *
 * testStore(test, { create: () => myStore(…), restart: …, dispose: … })
 * ```
 */
export function testStore (test: TestRunner, harness: StoreHarness): void {
  const it: StoreTest = (name, run) => test(name, async () => {
    const subject = new Subject(harness, await harness.create())
    try {
      await run(subject, await subject.store.open())
    } finally {
      await harness.dispose(subject.store)
    }
  })
  testState(it)
  testQueues(it)
  testFaults(it)
}
