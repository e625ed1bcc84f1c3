import { optionInvalid } from '../base/errors.ts'

/**
 * A Map that holds no more than so many entries: over it the one that was set longest ago makes room. For whatever is remembered by names that come from
 * the network, so that nobody can fill the memory by making names up.
 */
export class BoundedMap<K, V> extends Map<K, V> {
  readonly #maximum: number

  /** @param maximum number of entries; 0 keeps none */
  constructor (maximum: number) {
    super()
    if (!(maximum >= 0)) throw optionInvalid('maximum', 'a number, 0 or more', maximum) // without one it would hold everything
    this.#maximum = maximum
  }

  /** Sets an entry, which is the newest from then on, also if it was there before. */
  override set (key: K, value: V): this {
    if (this.#maximum === 0) return this
    this.delete(key)
    if (this.size >= this.#maximum) this.delete(this.keys().next().value as K)
    return super.set(key, value)
  }
}
