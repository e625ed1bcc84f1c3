import type { Database } from 'lmdb'
import { bytesOf, type Entry, type Range, type Table, type TableName } from './layout.ts'
import type { Pending } from './pending.ts'

/** A database of LMDB with keys and values that are bytes. */
export type LmdbTable = Database<Buffer, Buffer>

/** Where a table's entries are. */
export interface TableSource {
  /** Not yet in LMDB; the newest first. */
  readonly pending: readonly Pending[]
  /** @throws MqttError when LMDB's files are not open */
  lmdbTable (name: TableName): LmdbTable
}

/** A table as it was after the last commit: what LMDB has of it, under what it will get. */
export class MergedTable implements Table {
  readonly name: TableName
  readonly #source: TableSource

  constructor (name: TableName, source: TableSource) {
    this.name = name
    this.#source = source
  }

  getBinary (key: Buffer): Buffer | undefined {
    const stored = this.#source.lmdbTable(this.name)
    for (const pending of this.#source.pending) {
      const write = pending.get(this.name, key)
      if (write !== undefined) return write.value && Buffer.from(write.value) // whoever asks may change it, as a copy out of LMDB
    }
    return stored.getBinary(key)
  }

  getKeys (range: Range = {}): Iterable<Buffer> {
    const pending = this.#pendingIn(range)
    if (pending.length === 0) return this.#source.lmdbTable(this.name).getKeys(range).map(bytesOf)
    return keysOf(this.#merge(pending, range))
  }

  getRange (range: Range = {}): Iterable<Entry> {
    const pending = this.#pendingIn(range)
    return pending.length === 0 ? this.#stored(range) : this.#merge(pending, range)
  }

  * #merge (pending: Items, { limit = Infinity, ...range }: Range): Generator<Entry> {
    let left = limit
    for (const { key, value } of merge(pending, this.#stored(range), range.reverse ?? false)) {
      if (left <= 0) return
      if (value === undefined) continue
      left--
      yield { key, value }
    }
  }

  #stored (range: Range): Iterable<Entry> {
    return this.#source.lmdbTable(this.name).getRange(range).map(({ key, value }) => ({ key: bytesOf(key), value }))
  }

  #pendingIn (range: Range): Items {
    const [newer = [], older = []] = this.#source.pending.map(pending => pending.within(this.name, range))
    if (older.length === 0) return newer
    return newer.length === 0 ? older : [...merge(newer, iterate(older), range.reverse ?? false)]
  }
}

interface Item {
  readonly key: Buffer
  readonly value: Buffer | undefined
}

interface Items {
  readonly length: number
  at (index: number): Item | undefined
}

function * iterate (items: Items): Generator<Item> {
  for (let index = 0; index < items.length; index++) yield items.at(index) as Item
}

/** Two orders as one; where both have a key, what `over` has. */
function * merge (over: Items, under: Iterable<Item>, isReverse: boolean): Generator<Item> {
  const sign = isReverse ? -1 : 1
  let next = 0
  for (const item of under) {
    let order = 1
    for (; next < over.length; next++) {
      const first = over.at(next) as Item
      order = sign * Buffer.compare(first.key, item.key)
      if (order >= 0) break
      yield first
    }
    if (next === over.length || order > 0) yield item
  }
  for (; next < over.length; next++) yield over.at(next) as Item
}

function * keysOf (entries: Iterable<Entry>): Generator<Buffer> {
  for (const { key } of entries) yield key
}
