import { numberOf, positionOf, type TableName } from './layout.ts'

/** An entry to put, or, without a value, to remove. */
export interface Write {
  readonly table: TableName
  readonly key: Buffer
  readonly value: Buffer | undefined
}

/** Deliveries of a Session that stand so close together share pages, more or less. */
const neighbours = 32

/** Tables in which one entry says nothing of where the next one will be; in queues it follows the one before it. */
const scatteredTables: ReadonlySet<TableName> = new Set(['sessions', 'subscriptions', 'retained'])

/** Counts the places in the tables that are touched, each of which may be a page of its own. */
export class Places {
  readonly #regions = new Set<number>()
  #others = 0

  get count (): number { return this.#others + this.#regions.size }

  add ({ table, key }: Write): void {
    if (table !== 'deliveries' && table !== 'inFlight') this.#others++
    else this.#regions.add(numberOf(key) * 2 ** 28 + Math.floor(positionOf(key) / neighbours))
  }
}

/** What one commit writes, and how much of the file that may take. */
export class WriteBatch {
  readonly writes: Write[] = []
  readonly places: Places = new Places()
  /** Of keys and values. */
  bytes = 0
  /** Entries that are likely to have no neighbours in other commits. */
  scattered = 0
  /** It stores messages, so a store that is nearly full has no room for it. */
  isGrowing = false

  write ({ name }: { readonly name: TableName }, key: Buffer, value: Buffer | undefined): void {
    const write = { table: name, key, value }
    this.writes.push(write)
    this.places.add(write)
    this.bytes += key.length + (value?.length ?? 0)
    if (scatteredTables.has(name)) this.scattered++
  }
}
