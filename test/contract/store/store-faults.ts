import type { Changes, DeliveryRecord } from '../../../lib/contract/store.ts'

/** Changes that cannot be read in one place. */
export interface Fault {
  /** Which place. */
  readonly name: string
  readonly changes: Changes
}

/** `changes` with each item of each list in turn made such that it cannot be read. */
export function * faultsOf (changes: Changes): Generator<Fault> {
  for (const list of ['subscriptions', 'sent', 'removed', 'received'] as const) {
    const items: readonly object[] = changes[list]
    for (const at of items.keys()) yield { name: `${list}[${at}]`, changes: { ...changes, [list]: withFault(items, at) } }
  }
  yield * enqueuedFaults(changes)
  for (const map of ['sessions', 'retained'] as const) {
    const entries: ReadonlyMap<unknown, unknown> = changes[map]
    for (let at = 0; at < entries.size; at++) yield { name: `${map}[${at}]`, changes: { ...changes, [map]: new FaultyMap(entries, at) } }
  }
}

function * enqueuedFaults (changes: Changes): Generator<Fault> {
  for (const [at, { message, deliveries }] of changes.enqueued.entries()) {
    yield { name: `enqueued[${at}]`, changes: { ...changes, enqueued: withFault(changes.enqueued, at) } }
    for (const index of deliveries.keys()) {
      const faulty = { message, deliveries: withFault<DeliveryRecord>(deliveries, index) }
      yield { name: `enqueued[${at}].deliveries[${index}]`, changes: { ...changes, enqueued: changes.enqueued.with(at, faulty) } }
    }
  }
}

function withFault<T extends object> (items: readonly T[], at: number): T[] {
  return items.with(at, new Proxy(items[at] as T, { get: fail }))
}

function fail (): never {
  throw new Error('a fault that a test has put there')
}

/** A Map that ends with an error when it is gone through. */
class FaultyMap<K, V> extends Map<K, V> {
  readonly #at: number

  constructor (entries: ReadonlyMap<K, V>, at: number) {
    super(entries)
    this.#at = at
  }

  override * entries (): MapIterator<[K, V]> {
    let left = this.#at
    for (const entry of super.entries()) yield left-- === 0 ? fail() : entry
  }

  override * values (): MapIterator<V> { for (const [, value] of this.entries()) yield value }

  override * keys (): MapIterator<K> { for (const [key] of this.entries()) yield key }

  override [Symbol.iterator] (): MapIterator<[K, V]> { return this.entries() }

  override forEach (callback: (value: V, key: K, map: Map<K, V>) => void): void {
    for (const [key, value] of this.entries()) callback(value, key, this)
  }
}
