import t, { type Test } from 'tap'
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { open as openLmdb } from 'lmdb'
import { ErrorCode, version } from '../lib/index.ts'
import { Environment } from '../plugins/lmdb/environment.ts'
import { lmdbPersistence, type LmdbOptions } from '../plugins/lmdb/index.ts'
import { positionKey } from '../plugins/lmdb/layout.ts'
import { WriteBatch } from '../plugins/lmdb/write-batch.ts'
import { contentsOf, fetchAll } from './contract/store/store-contents.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { directoryWith, failureOf, filled, newDirectory, opened, storeAt } from './support/stores/lmdb-stores.ts'

const page = 4096

/** Writes behind the store's back. */
async function tamper (path: string, change: (tables: Environment['tables'], batch: WriteBatch) => void): Promise<void> {
  const environment = await Environment.open({ path, readOnly: false, isSynced: true })
  const batch = new WriteBatch()
  change(environment.tables, batch)
  await environment.commit(batch)
  await environment.close()
}

/** test/support/stores/store-process.ts in a process of its own. */
function startProcess (t: Test, path: string, durability: string, bytes: number, limit?: number): ChildProcessByStdio<null, Readable, null> {
  const loader = process.execArgv.filter(argument => argument.includes('@tapjs/typescript'))
  const program = [process.execPath, ...loader, join(import.meta.dirname, 'support/stores/store-process.ts'), path, durability, String(bytes)]
  const [command = '', ...args] = limit === undefined ? program : ['sh', '-c', `ulimit -S -f ${limit}; exec "$0" "$@"`, ...program]
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
}

t.test('a directory belongs to one broker at a time', async t => {
  await t.test('another store of the same process is refused, until the first is closed', async t => {
    const path = await filled(t)
    const first = await opened(t, path)
    for (const same of [path, join(path, '..', path.slice(path.lastIndexOf('/') + 1))]) {
      const { code, message } = await failureOf(() => storeAt(t, same).open())
      t.equal(code, ErrorCode.storeInUse)
      t.match(message, path)
      t.match(message, 'by this very process')
    }
    t.equal((await failureOf(() => first.open())).code, ErrorCode.storeInUse, 'nor is it opened twice itself')
    await first.close()
    await opened(t, path)
  })

  await t.test('another process is refused; when the first is killed, the next has at once what that has committed', async t => {
    const path = newDirectory()
    const child = startProcess(t, path, 'process', 10)
    let committed = 0
    for await (const line of createInterface(child.stdout)) {
      committed = Number(line)
      if (committed === 20) {
        const { code, message } = await failureOf(() => storeAt(t, path).open())
        t.equal(code, ErrorCode.storeInUse)
        t.match(message, `by the process ${child.pid} on`)
        child.kill('SIGKILL')
      }
    }
    const store = await opened(t, path)
    const positions = (await fetchAll(store, 1)).map(({ position }) => position)
    t.ok(positions.length >= committed && committed >= 20, `${positions.length} of ${committed}`)
    t.strictSame(positions, [...positions.keys()], 'none is missing')
    t.equal(readdirSync(path).filter(name => name.startsWith('in-use')).length, 1, 'the dead process\' socket is gone')
  })

  await t.test('a path that is too long for a socket is locked as well', async t => {
    const path = join(newDirectory(), 'd'.repeat(200), 'é'.repeat(50))
    const store = await opened(t, path)
    await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
    t.equal((await failureOf(() => storeAt(t, path).open())).code, ErrorCode.storeInUse)
    await store.close()
    t.strictSame(readdirSync(path).sort(), ['data.mdb', 'lock.mdb'], 'nothing of the lock is left')
    t.equal((await contentsOf(await opened(t, path))).sessions.size, 1)
  })
})

t.test('a store is looked at without being touched', async t => {
  await t.test('while a broker uses it, and what that commits meanwhile is seen', async t => {
    const path = await filled(t)
    const store = await opened(t, path)
    const files = readdirSync(path).sort()
    const reader = await opened(t, path, { readOnly: true })
    t.equal((await failureOf(() => storeAt(t, path).open())).code, ErrorCode.storeInUse, 'the lock holds all the same')
    t.strictSame(await contentsOf(reader), await contentsOf(store))
    await store.commit(changesOf({ sessions: new Map([[3, sessionRecord('c')]]) }))
    t.equal((await contentsOf(reader)).sessions.size, 3)
    const { code, message } = await failureOf(() => reader.commit(changesOf({})))
    t.equal(code, ErrorCode.storeFailed)
    t.match(message, 'only to be read')
    await reader.close()
    t.strictSame(readdirSync(path).sort(), files)
  })

  await t.test('when no broker does; where there is none, none is made', async t => {
    const path = await filled(t)
    const before = readFileSync(join(path, 'data.mdb'))
    t.equal((await contentsOf(await opened(t, path, { readOnly: true }))).sessions.size, 2)
    t.ok(before.equals(readFileSync(join(path, 'data.mdb'))))
    const missing = join(path, 'missing')
    const { code, message } = await failureOf(() => storeAt(t, missing, { readOnly: true }).open())
    t.equal(code, ErrorCode.storeFailed)
    t.match(message, `there is no store in ${missing}`)
    t.notOk(existsSync(missing))
  })
})

t.test('what cannot be opened is told with what to do, and does no harm', async t => {
  await t.test('a store that a newer version has written', async t => {
    const path = await filled(t)
    await tamper(path, ({ meta }, batch) => { batch.write(meta, Buffer.from('format'), Buffer.from('{"createdBy":"9.0.0","schema":4}')) })
    for (const readOnly of [false, true]) {
      const { code, message } = await failureOf(() => storeAt(t, path, { readOnly }).open())
      t.equal(code, ErrorCode.storeTooNew)
      for (const part of [path, version, 'layout 4', '9.0.0']) t.match(message, part)
    }
    const older = await filled(t)
    await tamper(older, ({ meta }, batch) => { batch.write(meta, Buffer.from('format'), Buffer.from('{"createdBy":"0.0.1","schema":1}')) })
    t.equal((await contentsOf(await opened(t, older))).sessions.size, 2)
  })

  await t.test('a path that is no directory, and one that nobody may make', async t => {
    const file = join(directoryWith('file', ''), 'file')
    for (const path of [file, join(file, 'below')]) {
      const { code, message } = await failureOf(() => storeAt(t, path).open())
      t.equal(code, ErrorCode.storeFailed)
      t.match(message, `${path} is not a directory`)
    }
    const { code, message } = await failureOf(() => storeAt(t, '/sys/myelin').open())
    t.equal(code, ErrorCode.storeFailed)
    t.match(message, /no permission to use the store in \/sys\/myelin .* read and write/)
  })

  await t.test('files that are not those of a store', async t => {
    for (const content of [Buffer.from('x'), Buffer.alloc(page, 7), randomBytes(100 * page)]) {
      const path = directoryWith('data.mdb', content)
      const { code, message } = await failureOf(() => storeAt(t, path).open())
      t.equal(code, ErrorCode.storeFailed)
      for (const part of [path, 'not one of Myelin', 'backup']) t.match(message, part)
      t.ok(content.equals(readFileSync(join(path, 'data.mdb'))), 'they are left as they are')
    }
  })

  await t.test('LMDB files of another program', async t => {
    const path = newDirectory()
    const other = openLmdb({ path, noSubdir: false })
    await other.openDB({ name: 'customers' }).put('a', 'b')
    await other.close()
    for (const readOnly of [false, true]) {
      const { code, message } = await failureOf(() => storeAt(t, path, { readOnly }).open())
      t.equal(code, ErrorCode.storeFailed)
      t.match(message, 'customers')
    }
    const again = openLmdb({ path, noSubdir: false })
    t.strictSame([...again.getKeys()], ['customers'], 'nothing was put between them')
    await again.close()
  })

  await t.test('a message that is missing', async t => {
    const path = await filled(t)
    await tamper(path, ({ bodies }, batch) => { for (const key of bodies.getKeys()) batch.write(bodies, key, undefined) })
    const store = await opened(t, path)
    const { code, message } = await failureOf(() => store.fetch(1, 0, 1, 1))
    t.equal(code, ErrorCode.storeFailed)
    t.match(message, 'a stored message is missing')
  })

  await t.test('options that make no sense, and a store that is not open', async t => {
    const wrong: unknown[] = [{ path: '' }, {}, { path: 'a', durability: 'none' }, { path: 'a', commitDelayMs: -1 }, { path: 'a', commitDelayMs: NaN }]
    for (const options of wrong) t.throws(() => lmdbPersistence(options as LmdbOptions), { code: ErrorCode.optionInvalid })
    const store = lmdbPersistence({ path: newDirectory(), commitDelayMs: 5 })
    t.strictSame([store.name, store.commitDelayMs], ['lmdb', 5])
    for (const use of [() => store.commit(changesOf({})), () => store.fetch(1, 0, 1, 1), () => store.claim(1)]) {
      t.equal((await failureOf(use)).code, ErrorCode.storeFailed)
    }
  })
})

t.test('a queue', async t => {
  await t.test('takes an entry for many messages, and for few that are left of many no more than those need', async t => {
    const path = newDirectory()
    const store = await opened(t, path)
    const deliveries = new TestQueue(1).several(6_400)
    await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]), enqueued: alone(deliveries) }))
    const before = await entriesOf(path)
    t.ok(before.length <= 110, `${before.length} entries`)
    const left = deliveries.filter(({ position }) => position % 64 === 63)
    await store.commit(changesOf({ removed: deliveries.filter(delivery => !left.includes(delivery)) }))
    const after = await entriesOf(path)
    t.ok(sum(after) < sum(before) / 20, `${sum(after)} bytes of ${sum(before)}`)
    t.strictSame((await fetchAll(store, 1)).map(({ position }) => position), left.map(({ position }) => position))
  })

  await t.test('that an older version has written is read, and goes on', async t => {
    const path = newDirectory()
    const deliveries = new TestQueue(1).several(3)
    const first = await opened(t, path)
    await first.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
    for (const delivery of deliveries) await first.commit(changesOf({ enqueued: alone([delivery]) })) // each by itself, as there was no other way
    await first.close()
    await tamper(path, ({ meta, inFlight }, batch) => {
      batch.write(inFlight, positionKey(1, 0), Buffer.of(0, 7, 1))
      batch.write(meta, Buffer.from('format'), Buffer.from('{"createdBy":"0.0.1","schema":1}'))
    })
    const store = await opened(t, path)
    t.strictSame((await store.claim(1)).inFlight.map(({ packetIdentifier, isReleased }) => [packetIdentifier, isReleased]), [[7, true]])
    await store.commit(changesOf({ removed: deliveries.slice(0, 2) }))
    t.strictSame((await fetchAll(store, 1)).map(({ position }) => position), [2])
    await store.close()
    await tamper(path, ({ meta }) => { t.match(meta.getBinary(Buffer.from('format'))?.toString(), '"schema":3', 'an older version is kept from it') })
  })
})

/** Bytes of each entry of the queues. */
async function entriesOf (path: string): Promise<number[]> {
  const environment = await Environment.open({ path, readOnly: true, isSynced: false })
  const sizes = [...environment.tables.deliveries.getRange()].map(({ value }) => value.length)
  await environment.close()
  return sizes
}

function sum (numbers: readonly number[]): number { return numbers.reduce((total, number) => total + number, 0) }

t.test('where there is no room, commits are refused, the store lives, can be emptied, and takes messages again', async t => {
  const started = ['power', 'process'].map(durability => {
    const path = newDirectory()
    const child = startProcess(t, path, durability, 20_000, 8_192)
    return { durability, path, printed: text(child.stdout), exit: once(child, 'exit') }
  })
  for (const { durability, path, printed, exit } of started) {
    await t.test(durability, async t => {
      const output = (await printed).trim().split('\n')
      const full = output.filter(line => line.startsWith(ErrorCode.storeFull))
      const emptied = output.indexOf('emptied')
      t.equal(full.length, 2)
      t.match(full[0], `no room for the store in ${path} (EFBIG`)
      t.match(full[0], 'free some space')
      t.equal(emptied, output.indexOf(full[0] ?? '') + 1)
      t.ok(emptied > 50, `${emptied - 1} messages until it was full`)
      const count = output.length - emptied - 2
      t.ok(count > emptied / 3, `and ${count} after it was emptied`)
      t.strictSame(await exit, [0, null])
      const stored = await fetchAll(await opened(t, path), 1)
      t.strictSame(stored.map(({ position }) => position), Array.from({ length: count }, (_, i) => emptied + i), 'all that was committed is there, and nothing else')
    })
  }
})

t.test('files that are gone for a while are used again when they are back, and no others are made', async t => {
  for (const isSynced of [true, false]) {
    const path = await filled(t)
    const environment = await Environment.open({ path, readOnly: false, isSynced })
    t.teardown(() => environment.close())
    const write = async (): Promise<void> => {
      const batch = new WriteBatch()
      batch.write(environment.tables.meta, Buffer.from('key'), Buffer.from('value'))
      await environment.commitThrough(batch)
    }
    environment.lmdbTable('meta').put = () => { throw new Error('broken') }
    renameSync(path, `${path}-away`)
    t.match((await failureOf(write)).message, 'broken')
    t.ok(environment.isBroken)
    t.match((await failureOf(() => environment.tables.meta.getBinary(Buffer.from('key')))).message, 'not open')
    t.match((await failureOf(() => environment.recover())).message, `the files of the store in ${path} are gone`)
    t.notOk(existsSync(path))
    renameSync(`${path}-away`, path)
    t.match((await failureOf(() => environment.recover())).message, 'works now')
    await write()
    t.equal(String(environment.tables.meta.getBinary(Buffer.from('key'))), 'value')
    t.equal([...environment.tables.sessions.getKeys()].length, 2)
  }
})

t.test('only what has changed is written', async t => {
  const path = await filled(t)
  const store = await opened(t, path)
  const same = changesOf({ sessions: new Map([[1, sessionRecord('1')]]) })
  const written = (): string => ['log-even', 'log-odd'].map(name => readFileSync(join(path, name), 'latin1')).join('')
  const before = written()
  await store.commit(same)
  await store.commit({ ...same, aliveAt: same.aliveAt + 999 })
  t.ok(written() === before, 'an equal record is not committed')
  await store.commit({ ...same, aliveAt: same.aliveAt + 1_000 })
  t.notOk(written() === before, 'but the time goes on')
  await store.close()
  t.equal((await storeAt(t, path).open()).aliveAt, same.aliveAt + 1_000)
})

t.test('numbers of bodies are never used again', async t => {
  const path = newDirectory()
  const message = messageOf({})
  for (const number of [1, 2, 3]) {
    const store = await opened(t, path)
    const deliveries = [1, 2].map(session => new TestQueue(session).next(message))
    await store.commit(changesOf({ enqueued: [{ message, deliveries }] }))
    t.equal(deliveries[0]?.reference, number)
    await store.commit(changesOf({ removed: deliveries }))
    await store.close()
  }
})
