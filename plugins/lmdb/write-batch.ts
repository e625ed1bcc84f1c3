import type { Table } from './layout.ts'

/** An entry to put, or, without a value, to remove. */
export interface Write {
  readonly table: Table
  readonly key: Buffer
  readonly value: Buffer | undefined
}

/** Deliveries of a Session that stand so close together share pages, more or less. */
const neighbours = 32

/** What one transaction writes, and how much of the file that may take. */
export class WriteBatch {
  readonly writes: Write[] = []
  /** Of keys and values. */
  bytes = 0
  /** It stores messages, so a store that is nearly full has no room for it. */
  isGrowing = false
  readonly #regions = new Set<number>()
  #others = 0

  /** Places in the tables that it touches, each of which may be a page of its own. */
  get places (): number { return this.#others + this.#regions.size }

  write (table: Table, key: Buffer, value: Buffer | undefined): void {
    this.#add(table, key, value)
    this.#others++
  }

  /** The same for what is kept of a delivery. */
  writeDelivery (table: Table, key: Buffer, value: Buffer | undefined, session: number, position: number): void {
    this.#add(table, key, value)
    this.#regions.add(session * 2 ** 28 + Math.floor(position / neighbours))
  }

  #add (table: Table, key: Buffer, value: Buffer | undefined): void {
    this.writes.push({ table, key, value })
    this.bytes += key.length + (value?.length ?? 0)
  }
}
