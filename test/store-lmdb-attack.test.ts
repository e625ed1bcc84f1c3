import t from 'tap'
import { existsSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate, setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { ErrorCode } from '../lib/index.ts'
import { Environment } from '../plugins/lmdb/environment.ts'
import { lmdbPersistence } from '../plugins/lmdb/index.ts'
import { numberKey } from '../plugins/lmdb/layout.ts'
import { readLog } from '../plugins/lmdb/log/log.ts'
import { encodeRecord } from '../plugins/lmdb/log/record.ts'
import { encodeJson } from '../plugins/lmdb/records.ts'
import type { Write } from '../plugins/lmdb/write-batch.ts'
import { batchOf, copyOf, environmentAt, failureOf, ownerOf, type Method } from './support/stores/lmdb-environment.ts'
import { ofAnotherBoot } from './support/stores/power-cut.ts'

const scratch = mkdtempSync(join(tmpdir(), 'myelin-log-attack-'))
t.teardown(() => { rmSync(scratch, { recursive: true }) })

const logs = ['log-even', 'log-odd'] as const
const newDirectory = (): string => mkdtempSync(join(scratch, 'd'))

/** The same after the machine has stopped. */
function cutOff (path: string): string {
  const copy = copyOf(path)
  writeFileSync(join(copy, 'checkpoint'), ofAnotherBoot(copy))
  return copy
}

const put = (number: number, value: string | Buffer): Write => ({ table: 'bodies', key: numberKey(number), value: Buffer.from(value as string) })

function bodyOf ({ tables }: Environment, number: number): string | undefined {
  return tables.bodies.getBinary(numberKey(number))?.toString()
}

/** Something else in the place of a method while something is done. */
async function replaced<T> (object: object, method: string, replacement: (original: Method) => Method, action: () => Promise<T>): Promise<T> {
  const owner = ownerOf(object, method)
  const original = owner[method] as Method
  owner[method] = replacement(original)
  try {
    return await action()
  } finally {
    owner[method] = original
  }
}

const fault = (): Promise<never> => Promise.reject(Object.assign(new Error('EIO: a fault'), { code: 'EIO' }))

/** From the next wait for the disk on, it cannot be written to either. */
async function withFailingDisk<T> (path: string, action: () => Promise<T>): Promise<T> {
  const file = await open(join(path, 'data.mdb'))
  try {
    let isFailing = false
    const write = (original: Method): Method => function (this: unknown, ...values) { return isFailing ? fault() : original.apply(this, values) }
    const datasync = (): Method => () => {
      isFailing = true
      return fault()
    }
    return await replaced(file, 'write', write, () => replaced(file, 'datasync', datasync, action))
  } finally {
    await file.close()
  }
}

t.test('what is found behind the last record of a file', async t => {
  await t.test('is no record, even if it was a message that looks like one', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    const wanted = batchOf(put(9, 'forged'))
    const forged = encodeRecord(wanted.writes, wanted.bytes, { generation: 3, boot: 0 })
    await environment.commit(batchOf(put(1, Buffer.concat([Buffer.alloc(100), forged, Buffer.alloc(100)]))))
    await environment.commitThrough(batchOf(put(2, 'x')))
    await environment.commit(batchOf(put(3, 'y')))
    await environment.commitThrough(batchOf(put(4, 'z')))
    await environment.commit(batchOf(put(5, Buffer.alloc(100))))
    const left = await environmentAt(t, copyOf(path))
    t.equal(left.tables.bodies.getBinary(numberKey(5))?.length, 100)
    t.equal(bodyOf(left, 9), undefined)
  })
})

t.test('a commit that was refused while the disk took nothing', async t => {
  const refuse = async (environment: Environment, path: string): Promise<void> => {
    const { message } = await withFailingDisk(path, () => failureOf(() => environment.commit(batchOf(put(1, 'refused')))))
    t.match(message, 'EIO')
  }

  await t.test('does not come back over one of many entries', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    await refuse(environment, path)
    await environment.commitThrough(batchOf(put(1, 'last')))
    t.equal(bodyOf(await environmentAt(t, copyOf(path)), 1), 'last')
    await environment.commit(batchOf(put(2, 'more')))
    t.equal(bodyOf(await environmentAt(t, copyOf(path)), 1), 'last')
  })

  await t.test('does not come back under one of the next generation', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    for (let i = 0; i < 8; i++) await environment.commit(batchOf(put(2, Buffer.alloc(127_000))))
    await refuse(environment, path)
    const slowly = (original: Method): Method => async function (this: unknown, ...values) {
      await setTimeout(200)
      return original.apply(this, values)
    }
    await replaced(environment.lmdbTable('bodies'), 'batch', slowly, () => environment.commit(batchOf(put(2, Buffer.alloc(127_000)))))
    t.equal(bodyOf(await environmentAt(t, copyOf(path)), 1), undefined)
  })

  await t.test('is no reason not to bring to LMDB what was due meanwhile', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    await environment.commit(batchOf(put(1, 'x')))
    const slowly = (): Method => async () => {
      await setTimeout(1_300)
      return fault()
    }
    const file = await open(join(path, 'data.mdb'))
    await replaced(file, 'datasync', slowly, () => failureOf(() => environment.commit(batchOf(put(2, 'refused')))))
    await file.close()
    await setTimeout(300)
    t.equal(environment.lmdbTable('bodies').getBinary(numberKey(1))?.toString(), 'x')
  })

  await t.test('does not come back after LMDB has failed too', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    await refuse(environment, path)
    await replaced(environment.lmdbTable('bodies'), 'batch', () => fault, () => failureOf(() => environment.commitThrough(batchOf(put(1, 'lost'))))).catch(() => undefined)
    await environment.commit(batchOf(put(2, 'more')))
    await environment.commitThrough(batchOf(put(1, 'last')))
    t.equal(bodyOf(await environmentAt(t, copyOf(path)), 1), 'last')
  })
})

t.test('a store that fails behind the commits', { skip: process.platform !== 'linux' }, async t => {
  const filesOf = (path: string): string[] => readdirSync('/proc/self/fd').flatMap(name => {
    try {
      return [readlinkSync(`/proc/self/fd/${name}`)]
    } catch {
      return []
    }
  }).filter(name => name.startsWith(path)).sort()

  for (const isSynced of [true, false]) {
    await t.test(`is opened again once, though a commit comes meanwhile (${isSynced ? 'power' : 'process'})`, async t => {
      const path = newDirectory()
      const environment = await environmentAt(t, path, isSynced)
      const before = filesOf(path)
      await replaced(environment.lmdbTable('bodies'), 'batch', () => fault, async () => {
        for (let i = 0; i < 11; i++) await environment.commit(batchOf(put(2, Buffer.alloc(100_000)))) // the log is full, so this goes to LMDB behind the last one
        for (let i = 0; i < 10_000 && !environment.isBroken; i++) await setImmediate()
        t.match((await failureOf(() => environment.recover())).message, 'works now')
      })
      await environment.commit(batchOf(put(1, 'y')))
      await environment.commitThrough(batchOf(put(20, 'z')))
      t.strictSame(filesOf(path), before)
      t.equal(bodyOf(environment, 1), 'y')
    })
  }
})

t.test('a machine that stops, where commits do not wait for the disk', async t => {
  await t.test('leaves each commit whole or not at all, though a process was killed before while LMDB was given what the log had', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path, false)
    const commits = Array.from({ length: 20 }, (_, commit) => Array.from({ length: 60 }, (_, i) => i * 20 + commit))
    for (const numbers of commits) await environment.commit(batchOf(...numbers.map(number => put(number, 'x'))))
    const killed: string[] = []
    const batch = (original: Method): Method => function (this: unknown, ...values) {
      killed.push(copyOf(path))
      return original.apply(this, values)
    }
    await replaced(environment.lmdbTable('bodies'), 'batch', batch, () => environment.commitThrough(batchOf(put(9_999, 'x'))))
    for (const copy of killed) {
      await environmentAt(t, copy, false)
      const rest = cutOff(copy)
      for (const name of logs) rmSync(join(rest, name), { force: true }) // nobody has waited for the disk to have them
      const left = await environmentAt(t, rest, false)
      t.ok(commits.every(numbers => new Set(numbers.map(number => bodyOf(left, number))).size === 1))
    }
  })

  await t.test('leaves what had waited for the disk in a process before', async t => {
    const used = newDirectory()
    await (await environmentAt(t, used)).commit(batchOf(put(1, 'on the disk')))
    const path = copyOf(used)
    const environment = await environmentAt(t, path, false)
    for (let i = 0; i < 40; i++) await environment.commit(batchOf(put(2, Buffer.alloc(100_000))))
    t.equal(bodyOf(await environmentAt(t, cutOff(path), false), 1), 'on the disk')
  })
})

t.test('a log that is not for this store', async t => {
  await t.test('is left alone where a newer version has written it', async t => {
    const path = newDirectory()
    const environment = await environmentAt(t, path)
    await environment.commitThrough(batchOf({ table: 'meta', key: Buffer.from('format'), value: encodeJson({ schema: 1_000, createdBy: '99.0.0' }) }))
    await environment.commit(batchOf(put(1, 'x')))
    const copy = copyOf(path)
    const store = lmdbPersistence({ path: copy })
    t.equal((await failureOf(async () => { await store.open() })).code, ErrorCode.storeTooNew)
    for (const name of logs) t.ok(existsSync(join(copy, name)) && readFileSync(join(copy, name)).equals(readFileSync(join(path, name))), name)
  })

  await t.test('is not read into a new one', async t => {
    const used = newDirectory()
    await (await environmentAt(t, used)).commit(batchOf(put(1, 'x')))
    const path = copyOf(used)
    rmSync(join(path, 'data.mdb'))
    t.equal(bodyOf(await environmentAt(t, path), 1), undefined)
  })
})

t.test('whoever only looks at a store reads it while the broker that uses it is closed', async t => {
  const path = newDirectory()
  await (await Environment.open({ path, readOnly: false, isSynced: true })).close()
  const names = logs.map(name => join(path, name))
  const worker = new Worker(`const { writeFileSync, rmSync } = require('node:fs')
    for (;;) for (const name of ${JSON.stringify(names)}) { writeFileSync(name, ''); rmSync(name) }`, { eval: true })
  try {
    await once(worker, 'online')
    for (let i = 0; i < 20_000; i++) readLog(path, 0)
  } finally {
    await worker.terminate()
  }
  t.strictSame(readLog(path, 0).writes, [])
})

t.test('a store that had 2 ** 32 - 1 generations of its log has more', async t => {
  const path = newDirectory()
  const environment = await environmentAt(t, path)
  await environment.commitThrough(batchOf({ table: 'meta', key: Buffer.from('log'), value: numberKey(2 ** 32 - 1) }))
  const later = copyOf(path)
  const store = await environmentAt(t, later)
  await store.commit(batchOf(put(1, 'x')))
  await store.commitThrough(batchOf(put(2, 'y')))
  await store.commit(batchOf(put(3, 'z')))
  const left = await environmentAt(t, copyOf(later))
  t.strictSame([1, 2, 3].map(number => bodyOf(left, number)), ['x', 'y', 'z'])
})
