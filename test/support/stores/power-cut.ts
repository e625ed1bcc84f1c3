import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { encodeCheckpoint, readCheckpoint } from '../../../plugins/lmdb/disk/checkpoint.ts'
import { lmdbPersistence } from '../../../plugins/lmdb/index.ts'
import type { Contents } from '../../contract/store/store-contents.ts'
import { randomOf, StoreModel } from '../../contract/store/store-model.ts'
import { changesOf, messageOf } from '../../contract/store/store-records.ts'

const page = 4096
const large = changesOf({ retained: new Map([['large', messageOf({ topicName: 'large', payload: Buffer.alloc(300_000) })]]) })

/** What the disk has of a store of LMDB whose commits did not wait for it, when the machine stopped. */
export interface PowerCut {
  readonly data: Buffer
  /** As of another boot. */
  readonly checkpoint: Buffer
  /** What was in the store at its last checkpoint. */
  readonly contents: Contents
  readonly nextSession: number
}

/** Uses a store in an empty directory for a while, and then the machine stops. */
export async function powerCut (path: string, seed: number): Promise<PowerCut> {
  const model = new StoreModel(seed, 1)
  for (;;) {
    const store = lmdbPersistence({ path, durability: 'process' })
    await store.open()
    for (let step = 0; step < 10; step++) await store.commit(model.step())
    await store.close()
    await store.open() // makes a checkpoint
    await model.restart(store)
    const [contents, before, checkpoint] = [model.contents, readFileSync(join(path, 'data.mdb')), ofAnotherBoot(path)]
    for (let step = 0; step < 40; step++) {
      await store.commit(model.step())
      await store.commit(large) // is not for the log, so all that was before goes to LMDB
    }
    const after = readFileSync(join(path, 'data.mdb'))
    const isLast = readCheckpoint(path)?.number === numberOf(checkpoint) // on a slow machine there may have been another
    await store.close()
    if (isLast) return { data: torn(before, after, randomOf(seed)), checkpoint, contents, nextSession: model.nextSession }
  }
}

/** The file with a store's checkpoint, as if the machine had been started since. */
export function ofAnotherBoot (path: string): Buffer {
  const checkpoint = readCheckpoint(path)
  if (checkpoint === undefined) throw new Error('there is no checkpoint')
  const { bytes, position } = encodeCheckpoint({ ...checkpoint, boot: 'another' })
  const file = Buffer.alloc(512 * 1024)
  bytes.copy(file, position)
  return file
}

function numberOf (checkpoint: Buffer): number {
  return Number(/"number":(\d+)/.exec(checkpoint.toString('latin1'))?.[1])
}

/** Each page that was written since is as it was, as it is, or neither; the first two are not as they were. */
function torn (before: Buffer, after: Buffer, random: (below: number) => number): Buffer {
  const file = Buffer.from(after)
  for (let at = 0; at < after.length; at += page) {
    const [old, now] = [before.subarray(at, at + page), after.subarray(at, at + page)]
    if (old.equals(now)) continue
    const pages = at < 2 * page ? [now, randomBytes(page)] : [old, now, randomBytes(page), Buffer.concat([old.subarray(0, 512), now.subarray(512)])]
    file.fill(0, at, at + page)
    pages[random(pages.length)]?.copy(file, at)
  }
  return file
}
