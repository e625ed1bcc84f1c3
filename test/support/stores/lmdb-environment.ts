import type { Test } from 'tap'
import { cpSync, mkdtempSync } from 'node:fs'
import type { Logger, MqttError } from '../../../lib/index.ts'
import { Environment } from '../../../plugins/lmdb/environment.ts'
import { WriteBatch, type Write } from '../../../plugins/lmdb/write-batch.ts'

export async function environmentAt (t: Test, path: string, isSynced = true, logger?: Logger): Promise<Environment> {
  const environment = await Environment.open({ path, readOnly: false, isSynced }, logger)
  t.teardown(() => environment.close())
  return environment
}

/** The files of a directory as they are now, beside it: what is found after the process was killed. */
export function copyOf (path: string): string {
  const copy = mkdtempSync(`${path}-`)
  cpSync(path, copy, { recursive: true, filter: file => !file.includes('in-use') })
  return copy
}

export function batchOf (...writes: readonly Write[]): WriteBatch {
  const batch = new WriteBatch()
  for (const { table, key, value } of writes) batch.write({ name: table }, key, value)
  return batch
}

export async function failureOf (action: () => Promise<unknown>): Promise<MqttError> {
  try {
    await action()
  } catch (error) {
    return error as MqttError
  }
  throw new Error('it did not fail')
}

export type Method = (...values: unknown[]) => Promise<unknown>

/** The prototype that has a method. */
export function ownerOf (object: object, method: string): Record<string, Method> {
  const owner = Object.getPrototypeOf(object) as Record<string, Method>
  return Object.hasOwn(owner, method) ? owner : ownerOf(owner, method)
}
