import t, { type Test } from 'tap'
import type { Limits } from '../../lib/index.ts'
import { startObserved, type ObservedBroker } from './observe.ts'

/** Limits that a test of this process has spoken of. */
export const tested = new Set<string>()

/** A test of one or more limits, with a broker that has them. */
export function limit (limits: Partial<Limits>, name: string, run: (t: Test, test: ObservedBroker) => Promise<void>): void {
  for (const option of Object.keys(limits)) tested.add(option)
  t.test(`${Object.keys(limits).join(', ')}: ${name}`, async t => { await run(t, await startObserved(t, { limits })) })
}
