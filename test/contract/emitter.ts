import assert from 'node:assert/strict'
import { testClaims } from './emitter/emitter-claim-tests.ts'
import { testDeaths } from './emitter/emitter-death-tests.ts'
import { ClusterSubject, type EmitterHarness, type EmitterTest } from './emitter/emitter-harness.ts'
import { testInboxes } from './emitter/emitter-inbox-tests.ts'
import { testLog } from './emitter/emitter-log-tests.ts'
import { testRemainders } from './emitter/emitter-remainder-tests.ts'
import type { TestRunner } from './store/store-harness.ts'

export type { EmitterHarness, TestCluster } from './emitter/emitter-harness.ts'

/**
 * The contract that each `Emitter` has to keep together with its `Store`, as tests for any runner; `testStore` is for the store by itself.
 *
 * ```ts
 * import { test } from 'node:test'
 * import { testEmitter } from 'myelin/testing'
 *
 * testEmitter(test, { create: () => ({ node: …, kill: …, lapse: …, left: …, dispose: … }) })
 * ```
 */
export function testEmitter (test: TestRunner, harness: EmitterHarness): void {
  const it: EmitterTest = (name, run) => test(name, async () => {
    const cluster = await harness.create()
    try {
      const subject = new ClusterSubject(cluster)
      await run(subject)
      assert.deepEqual(await subject.clear(), [], 'nothing is left when all Sessions and nodes are gone')
    } finally {
      await cluster.dispose()
    }
  })
  testLog(it)
  testInboxes(it)
  testClaims(it)
  testRemainders(it)
  testDeaths(it)
}
