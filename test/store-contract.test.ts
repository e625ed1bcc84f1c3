import t from 'tap'
import { cpSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { memoryStore, type Store } from '../lib/index.ts'
import { Environment } from '../plugins/lmdb/environment.ts'
import { lmdbPersistence, type LmdbOptions } from '../plugins/lmdb/index.ts'
import { testStore, type StoreHarness } from '../plugins/testing/index.ts'

const scratch = mkdtempSync(join(tmpdir(), 'myelin-store-'))
t.teardown(() => { rmSync(scratch, { recursive: true }) })

function newDirectory (): string {
  return mkdtempSync(join(scratch, 's'))
}

t.test('the store in memory', t => {
  testStore((name, run) => t.test(name, run), { create: memoryStore, restart: store => store, dispose: store => store.close() })
  t.end()
})

/** The files of a store, copied while nothing is being written to them: the log goes to LMDB now and then. */
async function copyOf (path: string): Promise<string> {
  for (;;) {
    const copy = newDirectory()
    const written = await whenWritten(path)
    cpSync(path, copy, { recursive: true, filter: file => !file.includes('in-use') })
    if (written === await whenWritten(path)) return copy
  }
}

async function whenWritten (path: string): Promise<number> {
  await setTimeout(2)
  return statSync(join(path, 'data.mdb')).mtimeMs
}

/** Stores of LMDB by the directory that they are in. Whoever is killed leaves its files as they are: the next one gets a copy of them. */
class LmdbHarness implements StoreHarness {
  readonly #durability: 'power' | 'process'
  readonly #paths = new Map<Store, string>()
  readonly #killed: Store[] = []

  constructor (durability: 'power' | 'process') { this.#durability = durability }

  create (): Store { return this.#at(newDirectory()) }

  async restart (store: Store, isKilled: boolean): Promise<Store> {
    const path = this.#paths.get(store) ?? ''
    if (!isKilled) return this.#at(path)
    this.#killed.push(store)
    return this.#at(await copyOf(path))
  }

  async dispose (store: Store): Promise<void> {
    for (const open of [store, ...this.#killed.splice(0)]) await open.close()
  }

  async countBodies (store: Store): Promise<number> {
    const environment = await Environment.open({ path: this.#paths.get(store) ?? '', readOnly: true, isSynced: false })
    const { bodies, shares } = environment.tables
    const counts = [bodies, shares].map(table => [...table.getKeys()].length)
    await environment.close()
    if (counts[0] !== counts[1]) throw new Error(`${counts.join(' bodies and ')} counts`)
    return counts[0] ?? 0
  }

  #at (path: string): Store {
    const store = lmdbPersistence({ path, durability: this.#durability })
    this.#paths.set(store, path)
    return store
  }
}

for (const durability of ['power', 'process'] as const satisfies readonly LmdbOptions['durability'][]) {
  t.test(`the store of LMDB that survives the end of the ${durability}`, t => {
    testStore((name, run) => t.test(name, run), new LmdbHarness(durability))
    t.end()
  })
}
