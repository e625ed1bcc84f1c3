import { numberBytes, tableNames, type Range, type TableName } from './layout.ts'
import { Places, type Write } from './write-batch.ts'

const lastTables = tableNames.toReversed()

/** What the log has and LMDB has not: the newest write for each key. */
export class Pending {
  readonly places: Places = new Places()
  /** The log may have a record that is none of this, of a commit that was refused: nobody knows whether the disk has it crossed out. */
  isDoubtful = false
  readonly #tables: ReadonlyMap<TableName, PendingTable> = new Map(tableNames.map(name => [name, new PendingTable(name)]))
  /** Of keys and values, those included that have been overwritten since. */
  #bytes = 0

  get bytes (): number { return this.#bytes }

  /** LMDB need not hear of it. */
  get isEmpty (): boolean { return this.#bytes === 0 && !this.isDoubtful }

  add (writes: Iterable<Write>): void {
    for (const write of writes) {
      if (this.#table(write.table).set(write)) this.places.add(write)
      this.#bytes += write.key.length + (write.value?.length ?? 0)
    }
  }

  get (table: TableName, key: Buffer): Write | undefined { return this.#table(table).get(key) }

  /** In the order of their keys. */
  within (table: TableName, range: Range): Run { return this.#table(table).within(range) }

  /**
   * By the order of tables and keys, so that LMDB comes to each page once. What the store believes of itself (`meta`) comes last: should one of
   * them not be taken, LMDB keeps those before it, and must not believe that it has the generation.
   */
  get writes (): Write[] { return lastTables.flatMap(name => this.#table(name).all) }

  #table (name: TableName): PendingTable { return this.#tables.get(name) as PendingTable }
}

/** Writes in an order, each of them looked up when it is asked for. */
export interface Run {
  readonly length: number
  at (index: number): Write | undefined
}

/** Tables in which a range is part of one Session. */
const bySession: ReadonlySet<TableName> = new Set(['subscriptions', 'deliveries', 'inFlight', 'received'])

/** Keys as texts of one byte each have the order of the bytes. */
class PendingTable {
  /** Bytes of a key that tell its group. */
  readonly #prefixBytes: number
  readonly #groups = new Map<string, Group>()

  constructor (name: TableName) { this.#prefixBytes = bySession.has(name) ? numberBytes : 0 }

  /** @returns whether there was none for this key */
  set (write: Write): boolean {
    const prefix = this.#prefixOf(write.key)
    let group = this.#groups.get(prefix)
    if (group === undefined) this.#groups.set(prefix, group = new Group())
    return group.set(write)
  }

  get (key: Buffer): Write | undefined { return this.#groups.get(this.#prefixOf(key))?.get(key) }

  /** @param range all of the table, or within a group */
  within ({ start, end, reverse = false }: Range): Run {
    const [low, high] = reverse ? [end, start] : [start, end]
    if (low !== undefined) return this.#groups.get(this.#prefixOf(low))?.between(low, high, reverse) ?? []
    return this.all
  }

  get all (): Write[] {
    const groups = [...this.#groups].sort(([a], [b]) => a < b ? -1 : 1)
    return groups.flatMap(([, group]) => group.all)
  }

  #prefixOf (key: Buffer): string { return key.toString('latin1', 0, this.#prefixBytes) }
}

/** Writes whose keys are sorted when they are asked for in order. */
class Group {
  readonly #writes = new Map<string, Write>()
  readonly #keys: string[] = []
  #isSorted = true

  set (write: Write): boolean {
    const key = write.key.toString('latin1')
    const isNew = !this.#writes.has(key)
    this.#writes.set(key, write)
    if (!isNew) return false
    this.#isSorted &&= this.#keys.length === 0 || key > (this.#keys.at(-1) as string)
    this.#keys.push(key)
    return true
  }

  get (key: Buffer): Write | undefined { return this.#writes.get(key.toString('latin1')) }

  get all (): Write[] {
    this.#sort()
    return this.#keys.map(key => this.#writes.get(key) as Write)
  }

  /** @param isReverse the range begins with `high` and ends above `low`, instead of the other way round */
  between (low: Buffer, high: Buffer | undefined, isReverse: boolean): Run {
    this.#sort()
    const from = this.#indexOf(low, isReverse)
    const to = high === undefined ? this.#keys.length : this.#indexOf(high, isReverse)
    return { length: to - from, at: index => this.#writes.get(this.#keys[isReverse ? to - 1 - index : from + index] as string) }
  }

  #sort (): void {
    if (!this.#isSorted) this.#keys.sort()
    this.#isSorted = true
  }

  /** Of the first key that is not below `bound`, or is above it. */
  #indexOf (bound: Buffer, isAbove: boolean): number {
    const key = bound.toString('latin1')
    let [low, high] = [0, this.#keys.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      const candidate = this.#keys[middle] as string
      if (candidate < key || (isAbove && candidate === key)) low = middle + 1
      else high = middle
    }
    return low
  }
}
