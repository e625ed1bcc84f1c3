import assert from 'node:assert/strict'
import t, { type Test } from 'tap'
import fc from 'fast-check'
import { existsSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ErrorCode, type Store } from '../lib/index.ts'
import { Room, type Demand } from '../plugins/lmdb/disk/room.ts'
import { lmdbPersistence } from '../plugins/lmdb/index.ts'
import { numberKey, positionKey, type Range, type TableName } from '../plugins/lmdb/layout.ts'
import { checksumOf, encodeRecord } from '../plugins/lmdb/log/record.ts'
import type { Write } from '../plugins/lmdb/write-batch.ts'
import { contentsOf, fetchAll, type Contents } from './contract/store/store-contents.ts'
import { randomOf, StoreModel } from './contract/store/store-model.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { MemoryLogger } from '../plugins/testing/memory-logger.ts'
import { batchOf, copyOf, environmentAt, failureOf, ownerOf, type Method } from './support/stores/lmdb-environment.ts'

const scratch = mkdtempSync(join(tmpdir(), 'myelin-log-'))
t.teardown(() => { rmSync(scratch, { recursive: true }) })

const logs = ['log-even', 'log-odd'] as const
const newDirectory = (): string => mkdtempSync(join(scratch, 'd'))

async function opened (t: Test, path: string): Promise<Store> {
  const store = lmdbPersistence({ path })
  t.teardown(() => store.close())
  await store.open()
  return store
}

async function contentsAt (path: string): Promise<Contents> {
  const store = lmdbPersistence({ path })
  await store.open()
  try {
    return await contentsOf(store)
  } finally {
    await store.close()
  }
}

async function positionsAt (path: string): Promise<number[]> {
  const store = lmdbPersistence({ path })
  await store.open()
  try {
    return (await fetchAll(store, 1)).map(({ position }) => position)
  } finally {
    await store.close()
  }
}

/** A method of files fails while something is done. */
async function withFault<T> (path: string, method: 'write' | 'datasync', code: string, action: () => Promise<T>): Promise<T> {
  const file = await open(join(path, 'data.mdb'))
  const handles = ownerOf(file, method)
  await file.close()
  const original = handles[method] as Method
  handles[method] = () => Promise.reject(Object.assign(new Error(`${code}: a fault`), { code }))
  try {
    return await action()
  } finally {
    handles[method] = original
  }
}

/** Where the records of a file begin, and where the last one ends. */
function bordersOf (file: Buffer): number[] {
  const borders = [0]
  for (let at = 0; file.readUInt32BE(at + 4) > 0; borders.push(at)) at += file.readUInt32BE(at + 4)
  return borders
}

interface Interrupted {
  readonly path: string
  /** The file with all records. */
  readonly name: string
  readonly log: Buffer
  readonly borders: readonly number[]
  /** After each commit; the first is what LMDB has. */
  readonly contents: readonly Contents[]
}

/** What a process leaves that was killed before anything went from the log to LMDB. */
async function interrupted (t: Test, seed: number): Promise<Interrupted> {
  for (;;) {
    const [model, used] = [new StoreModel(seed, 1), newDirectory()]
    const [store, contents] = [await opened(t, used), [model.contents]]
    for (let step = 0; step < 8; step++) {
      await store.commit(model.step())
      contents.push(model.contents)
    }
    const path = copyOf(used)
    await store.close()
    const [name = '', ...more] = logs.filter(name => bordersOf(readFileSync(join(path, name))).length > 1)
    const log = readFileSync(join(path, name))
    const borders = bordersOf(log)
    if (more.length === 0 && borders.length === contents.length) return { path, name, log, borders, contents } // on a slow machine LMDB may have some of it
  }
}

t.test('a machine that stops', async t => {
  await t.test('leaves every commit before the one that was being written, and nothing of that one, whatever of it has reached the disk', async t => {
    for (const seed of [1, 2, 3]) {
      const { path, name, log, borders, contents } = await interrupted(t, seed)
      const random = randomOf(seed)
      for (const [whole, start] of borders.entries()) {
        const end = borders[whole + 1] ?? start + 40
        const cut = start + random(end - start)
        const variants = [Buffer.from(log).fill(0, cut), Buffer.from(log).fill(random(255) + 1, cut), Buffer.from(log)]
        if (whole < borders.length - 1) variants[2]?.writeUInt8((log[cut] as number) ^ (1 + random(255)), cut)
        for (const variant of variants) {
          const copy = copyOf(path)
          writeFileSync(join(copy, name), variant)
          assert.deepEqual(await contentsAt(copy), contents[whole], `${whole} of ${borders.length - 1} records, seed ${seed}`)
        }
      }
    }
  })

  await t.test('leaves a file that ends in the middle', async t => {
    const { path, name, log, borders, contents } = await interrupted(t, 4)
    writeFileSync(join(path, name), log.subarray(0, (borders[3] as number) + 5))
    assert.deepEqual(await contentsAt(path), contents[3])
  })
})

t.test('a store that was not closed', async t => {
  const key = (number: number): Buffer => numberKey(number)
  const put = (number: number, value: string): Write => ({ table: 'bodies', key: key(number), value: Buffer.from(value) })
  const record = (generation: number, boot: number, writes: readonly Write[], before?: Buffer): Buffer =>
    encodeRecord(writes, batchOf(...writes).bytes, { generation, boot }, before && checksumOf(before))

  /** What is found of three bodies where the log has these files. */
  async function found (t: Test, even: readonly Buffer[], odd: readonly Buffer[]): Promise<(string | undefined)[]> {
    const path = newDirectory()
    const first = await environmentAt(t, path)
    await first.commitThrough(batchOf(put(1, 'old'), put(2, 'old')))
    await first.close()
    for (const [index, records] of [even, odd].entries()) writeFileSync(join(path, logs[index] as string), Buffer.concat([...records, Buffer.alloc(100)]))
    const { tables } = await environmentAt(t, path)
    return [1, 2, 3].map(number => tables.bodies.getBinary(key(number))?.toString())
  }

  await t.test('has left two generations, of which the second comes later', async t => {
    const removed = { table: 'bodies', key: key(2), value: undefined } as const
    const newer = record(2, 0, [put(1, 'newer')])
    t.strictSame(await found(t, [newer, record(2, 0, [put(3, 'newest')], newer)], [record(1, 0, [put(1, 'new'), removed])]), ['newer', undefined, 'newest'])
  })

  await t.test('has left what LMDB had already, or another time since the machine was started; neither counts', async t => {
    t.strictSame(await found(t, [record(0, 0, [put(1, 'past')])], [record(1, 1, [put(2, 'past')])]), ['old', 'old', undefined])
    const wanted = record(1, 0, [put(1, 'new')])
    t.strictSame(await found(t, [], [wanted, record(3, 0, [put(2, 'past')], wanted)]), ['new', 'old', undefined])
  })

  await t.test('has all of it after many generations', async t => {
    const path = newDirectory()
    const [store, queue] = [await opened(t, path), new TestQueue(1)]
    await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
    for (let i = 0; i < 60; i++) await store.commit(changesOf({ enqueued: alone([queue.next(messageOf({ payload: Buffer.alloc(100_000) }))]) }))
    t.strictSame((await fetchAll(store, 1)).map(({ position }) => position), Array.from({ length: 60 }, (_, i) => i))
    await store.close()
    t.strictSame(readdirSync(path).sort(), ['data.mdb', 'lock.mdb'], 'a store that was closed has no log')
    t.equal((await positionsAt(path)).length, 60)
  })
})

t.test('when the disk fails', async t => {
  await t.test('a commit that the log cannot take is refused, is not there after the end of the process, and the next one is', async t => {
    const path = newDirectory()
    const [store, queue] = [await opened(t, path), new TestQueue(1)]
    const commit = (): Promise<void> => store.commit(changesOf({ enqueued: alone([queue.next(messageOf({}))]) }))
    await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
    await commit()
    const { code, message } = await withFault(path, 'datasync', 'EIO', () => failureOf(commit))
    t.equal(code, ErrorCode.storeFailed)
    t.match(message, 'EIO')
    t.strictSame(await positionsAt(copyOf(path)), [0], 'though it had been written')
    await commit()
    t.strictSame(await positionsAt(copyOf(path)), [0, 2])
    t.strictSame((await fetchAll(store, 1)).map(({ position }) => position), [0, 2])
  })

  for (const isSynced of [true, false]) {
    await t.test(`what LMDB cannot take stays in the log, nothing else is committed meanwhile, and nothing is lost (${isSynced ? 'power' : 'process'})`, async t => {
      const path = newDirectory()
      const environment = await environmentAt(t, path, isSynced)
      const { bodies } = environment.tables
      const write = (number: number, bytes = 50_000): Promise<void> =>
        environment.commit(batchOf({ table: 'bodies', key: numberKey(number), value: Buffer.alloc(bytes, number) }))
      let count = 0
      environment.lmdbTable('bodies').put = () => { throw new Error('broken') }
      renameSync(path, `${path}-away`)
      t.match((await failureOf(async () => { for (;; count++) await write(count) })).message, 'not open')
      t.ok(count >= 20, `${count} were taken by the log`)
      t.match((await failureOf(() => write(count, 300_000))).message, 'not open')
      renameSync(`${path}-away`, path)
      t.match((await failureOf(() => environment.recover())).message, 'works now')
      t.equal([...bodies.getKeys()].length, count, 'all of it can be read')
      const left = await environmentAt(t, copyOf(path), isSynced)
      t.equal([...left.tables.bodies.getKeys()].length, count, 'also after the process was killed')
      await write(count)
      await environment.close()
      const again = await environmentAt(t, path, isSynced)
      t.strictSame([...again.tables.bodies.getRange()].map(({ value }) => value[0]), Array.from({ length: count + 1 }, (_, number) => number))
    })
  }

  await t.test('what LMDB cannot take behind the commits is logged once, with what to do, and once more when it can', async t => {
    const path = newDirectory()
    const logger = new MemoryLogger()
    const environment = await environmentAt(t, path, true, logger)
    const write = (number: number): Promise<void> => environment.commit(batchOf({ table: 'bodies', key: numberKey(number), value: Buffer.alloc(50_000, number) }))
    environment.lmdbTable('bodies').put = () => { throw new Error('broken') }
    renameSync(path, `${path}-away`)
    await failureOf(async () => { for (let number = 0; ; number++) await write(number) })
    for (let retry = 0; retry < 3; retry++) await failureOf(() => write(1))
    renameSync(`${path}-away`, path)
    const [line = '', ...others] = logger.lines.filter(({ level }) => level === 'error').map(({ message }) => message)
    t.match(line, /^LMDB could not take what was committed: .*Nothing is lost.*leave the files as they are, and remove the cause/)
    t.strictSame(others, [])
    t.strictSame(logger.take('info'), [])
    await failureOf(() => environment.recover())
    await write(1)
    t.strictSame(logger.take('info'), ['LMDB has taken what was committed'])
  })

  await t.test('a store without room for a log works without one', async t => {
    const path = newDirectory()
    await (await opened(t, path)).close()
    const environment = await withFault(path, 'write', 'ENOSPC', () => environmentAt(t, path))
    t.notOk(logs.some(name => existsSync(join(path, name))))
    await environment.commit(batchOf({ table: 'bodies', key: numberKey(1), value: Buffer.of(1) }))
    t.strictSame(environment.tables.bodies.getBinary(numberKey(1)), Buffer.of(1))
    const left = await environmentAt(t, copyOf(path))
    t.strictSame(left.tables.bodies.getBinary(numberKey(1)), Buffer.of(1))
  })
})

t.test('on a full disk', async t => {
  const mebibyte = 1024 * 1024
  const large = { places: 1_000, bytes: mebibyte, isGrowing: false }
  const small = { places: 1, bytes: 100, isGrowing: false }

  /** Whether there is room behind 8 MiB that are used, of which so much is free again, once what waits has gone to LMDB. */
  async function hasRoom (sizeMebibytes: number, reusableMebibytes: number, demand: Demand): Promise<boolean> {
    const path = newDirectory()
    writeFileSync(join(path, 'data.mdb'), '')
    truncateSync(join(path, 'data.mdb'), Math.floor(sizeMebibytes * mebibyte))
    const room = await Room.open(path, { usedBytes: () => 8 * mebibyte, reusableBytes: () => reusableMebibytes * mebibyte })
    let current: Demand = { ...demand, places: demand.places + large.places, bytes: demand.bytes + large.bytes }
    const settle = (): Promise<void> => {
      current = demand
      return Promise.resolve()
    }
    try {
      return await withFault(path, 'write', 'ENOSPC', () => room.reserve(() => current, settle).then(() => true, () => false))
    } finally {
      await room.close()
    }
  }

  await t.test('what waits goes to LMDB before anything is refused, so that a store can be emptied however full it is', async t => {
    t.equal(await hasRoom(9, 0, small), true)
    t.equal(await hasRoom(8.1, 8, small), false, 'but LMDB never writes without room')
    t.equal(await hasRoom(12, 0, { ...small, isGrowing: true }), true)
  })

  await t.test('the last room is not for messages, until half of the store is free again', async t => {
    t.equal(await hasRoom(9, 1, { ...small, isGrowing: true }), false)
    t.equal(await hasRoom(9, 5, { ...small, isGrowing: true }), true)
  })
})

t.test('what is read is what was committed, wherever it is by then', async t => {
  const tables = ['deliveries', 'retained'] as const satisfies readonly TableName[]
  const keyOf = fc.tuple(fc.constantFrom(1, 2), fc.nat({ max: 12 })).map(([session, position]) => positionKey(session, position))
  const write = fc.record({ table: fc.constantFrom(...tables), key: keyOf, value: fc.option(fc.nat({ max: 255 }).map(byte => Buffer.of(byte)), { nil: undefined }) })
  const step = fc.oneof(
    fc.array(write, { minLength: 1, maxLength: 6 }).map(writes => ({ writes, isDirect: false })),
    fc.array(write, { minLength: 1, maxLength: 3 }).map(writes => ({ writes, isDirect: true })),
    fc.constant(undefined),
  )
  const range = fc.record({
    session: fc.constantFrom(1, 2), position: fc.nat({ max: 14 }), isToEnd: fc.boolean(), reverse: fc.boolean(), limit: fc.constantFrom(1, 3, 100),
  })

  const environment = await environmentAt(t, newDirectory(), false)
  const large = batchOf({ table: 'bodies', key: numberKey(1), value: Buffer.alloc(60_000) })
  const models = new Map(tables.map(name => [name, new Map<string, Buffer>()]))

  function expectSame (name: typeof tables[number], { session, position, isToEnd, reverse, limit }: typeof range extends fc.Arbitrary<infer R> ? R : never): void {
    const [low, high] = [numberKey(session), isToEnd ? numberKey(session + 1) : positionKey(session, position)]
    const options: Range = reverse ? { start: high, end: low, reverse, limit } : { start: low, end: high, limit }
    const isWithin = (key: Buffer): boolean => reverse
      ? Buffer.compare(key, low) > 0 && Buffer.compare(key, high) <= 0
      : Buffer.compare(key, low) >= 0 && Buffer.compare(key, high) < 0
    const all = [...models.get(name) ?? []].map(([key, value]) => ({ key: Buffer.from(key, 'latin1'), value })).sort((a, b) => Buffer.compare(a.key, b.key))
    const expected = all.filter(({ key }) => isWithin(key))
    if (reverse) expected.reverse()
    const table = environment.tables[name]
    assert.deepEqual([...table.getRange(options)].map(({ key, value }) => ({ key: Buffer.from(key), value })), expected.slice(0, limit))
    assert.deepEqual([...table.getKeys(options)].map(key => Buffer.from(key)), expected.slice(0, limit).map(({ key }) => key))
    assert.deepEqual([...table.getRange()].map(({ key, value }) => ({ key: Buffer.from(key), value })), all)
    for (const { key, value } of all) assert.deepEqual(table.getBinary(key), value)
    assert.equal(table.getBinary(positionKey(3, 0)), undefined)
  }

  await fc.assert(fc.asyncProperty(fc.array(fc.tuple(step, range), { maxLength: 12 }), async steps => {
    for (const [change, where] of steps) {
      if (change === undefined) {
        for (let i = 0; i < 18; i++) await environment.commit(large) // the log is full, so what was before goes to LMDB while the next is committed
      } else {
        await (change.isDirect ? environment.commitThrough(batchOf(...change.writes)) : environment.commit(batchOf(...change.writes)))
        for (const { table, key, value } of change.writes) {
          if (value === undefined) models.get(table)?.delete(key.toString('latin1'))
          else models.get(table)?.set(key.toString('latin1'), value)
        }
      }
      for (const name of tables) expectSame(name, where)
    }
  }), { numRuns: 150 })
})
