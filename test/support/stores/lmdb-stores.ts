import t, { type Test } from 'tap'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MqttError, Store } from '../../../lib/index.ts'
import { lmdbPersistence, type LmdbOptions } from '../../../plugins/lmdb/index.ts'
import { changesOf, messageOf, sessionRecord, TestQueue } from '../../contract/store/store-records.ts'

/** Of this process: it goes with the last test. */
const scratch = mkdtempSync(join(tmpdir(), 'myelin-lmdb-'))
t.teardown(() => { rmSync(scratch, { recursive: true }) })

export function newDirectory (): string {
  return mkdtempSync(join(scratch, 'd'))
}

export function directoryWith (file: string, content: string | Buffer): string {
  const path = newDirectory()
  writeFileSync(join(path, file), content)
  return path
}

export function storeAt (t: Test, path: string, options: Partial<LmdbOptions> = {}): Store {
  const store = lmdbPersistence({ path, ...options })
  t.teardown(() => store.close())
  return store
}

export async function opened (t: Test, path: string, options: Partial<LmdbOptions> = {}): Promise<Store> {
  const store = storeAt(t, path, options)
  await store.open()
  return store
}

/** A store with something in it, closed. */
export async function filled (t: Test, options: Partial<LmdbOptions> = {}): Promise<string> {
  const path = newDirectory()
  const store = await opened(t, path, options)
  const message = messageOf({ topicName: 'a' })
  const deliveries = [1, 2].map(session => new TestQueue(session).next(message))
  await store.commit(changesOf({
    sessions: new Map([1, 2].map(number => [number, sessionRecord(String(number))])), enqueued: [{ message, deliveries }], retained: new Map([['a', message]]),
  }))
  await store.close()
  return path
}

/** What went wrong, for people and for programs. */
export async function failureOf (action: () => unknown): Promise<{ readonly code: string, readonly message: string }> {
  try {
    await action()
  } catch (error) {
    const { code, message } = error as MqttError
    return { code, message }
  }
  throw new Error('it did not fail')
}
