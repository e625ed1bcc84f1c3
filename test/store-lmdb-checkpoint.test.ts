import assert from 'node:assert/strict'
import t from 'tap'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readCheckpoint, readFirstPages } from '../plugins/lmdb/disk/checkpoint.ts'
import { contentsOf } from './contract/store/store-contents.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue } from './contract/store/store-records.ts'
import { directoryWith, failureOf, filled, newDirectory, opened, storeAt } from './support/stores/lmdb-stores.ts'
import { ofAnotherBoot, powerCut } from './support/stores/power-cut.ts'

t.test('commits that do not wait for the disk', async t => {
  await t.test('after the machine has stopped, the store is what it was at some moment before, whatever of it has reached the disk', async t => {
    for (const seed of [1, 2, 3, 4]) {
      const { data, checkpoint, contents, nextSession } = await powerCut(newDirectory(), seed)
      const path = directoryWith('data.mdb', data)
      writeFileSync(join(path, 'checkpoint'), checkpoint)
      t.match((await failureOf(() => storeAt(t, path, { readOnly: true }).open())).message, 'start a broker with it once')
      const durability = seed % 2 === 0 ? 'process' : 'power'
      const store = await opened(t, path, { durability })
      assert.deepEqual(await contentsOf(store), contents)
      await store.commit(changesOf({ sessions: new Map([[nextSession, sessionRecord('more')]]) }))
      await store.close()
      t.equal(existsSync(join(path, 'checkpoint')), durability === 'process')
      t.equal((await contentsOf(await opened(t, path, { readOnly: true }))).sessions.size, contents.sessions.size + 1)
    }
  })

  await t.test('a store that was closed loses nothing when the machine is started anew', async t => {
    const path = await filled(t, { durability: 'process' })
    writeFileSync(join(path, 'checkpoint'), ofAnotherBoot(path))
    for (const options of [{ readOnly: true }, { durability: 'process' }, {}] as const) {
      const store = await opened(t, path, options)
      t.equal((await contentsOf(store)).sessions.size, 2)
      await store.close()
    }
  })

  await t.test('they are brought to the disk behind them', async t => {
    const path = newDirectory()
    const store = await opened(t, path, { durability: 'process' })
    const [queue, first] = [new TestQueue(1), readCheckpoint(path)?.number ?? 0]
    for (let i = 0; i < 4; i++) await store.commit(changesOf({ enqueued: alone([queue.next(messageOf({ payload: Buffer.alloc(10_000_000) }))]) }))
    while (readCheckpoint(path)?.number === first) await new Promise(resolve => { setImmediate(resolve) })
    t.equal(readCheckpoint(path)?.number, first + 1)
    await store.close()
    t.equal(readCheckpoint(path)?.number, first + 2)
    t.equal(readCheckpoint(path)?.firstPages, readFirstPages(path).toString('base64'))
  })

  await t.test('a checkpoint that was being written when the machine stopped leaves the one before it', async t => {
    const path = await filled(t, { durability: 'process' })
    const { number } = readCheckpoint(path) ?? { number: 0 }
    const file = readFileSync(join(path, 'checkpoint'))
    file.fill('x', number % 2 * 256 * 1024 + 100, number % 2 * 256 * 1024 + 200)
    writeFileSync(join(path, 'checkpoint'), file)
    t.equal(readCheckpoint(path)?.number, number - 1)
  })
})
