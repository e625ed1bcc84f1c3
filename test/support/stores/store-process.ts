import { MqttError } from '../../../lib/index.ts'
import { lmdbPersistence } from '../../../plugins/lmdb/index.ts'
import { alone, changesOf, messageOf, sessionRecord, TestQueue, type LiveDelivery } from '../../contract/store/store-records.ts'

/**
 * A process that uses a store of LMDB: `node store-process.ts {path} {power|process} {bytes}` commits messages of so many bytes, one
 * after the other, and prints how many it has. When that fails it prints why, empties the queue and goes on, and ends when it fails again.
 */
const [path = '', durability = 'power', bytes = '0'] = process.argv.slice(2)
const queue = new TestQueue(1)
const store = lmdbPersistence({ path, durability: durability as 'power' | 'process' })
let stored: LiveDelivery[] = []

process.on('SIGXFSZ', () => { /* a file is as large as it may be: the error says so too */ })

function print (line: string | number): void {
  process.stdout.write(`${line}\n`)
}

async function fill (): Promise<string> {
  for (;;) {
    const delivery = queue.next(messageOf({ payload: Buffer.alloc(Number(bytes), 'x') }))
    try {
      await store.commit(changesOf({ enqueued: alone([delivery]) }))
      print(stored.push(delivery))
    } catch (error) {
      return error instanceof MqttError ? `${error.code} ${error.message}` : String(error)
    }
  }
}

await store.open()
await store.commit(changesOf({ sessions: new Map([[1, sessionRecord('a')]]) }))
print(await fill())
await store.commit(changesOf({ removed: stored })).then(() => { print('emptied') }, (error: unknown) => { print(String(error)) })
stored = []
print(await fill())
await store.close()
