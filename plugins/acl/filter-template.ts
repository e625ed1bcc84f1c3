import { everything, levelsOf, type Levels } from './filter-tree.ts'
import type { Identity } from './identity.ts'

/**
 * A Topic Filter that may have places for what is known of a Client. Its pieces are text and the name of a place by turns:
 * `['devices/', 'clientId', '/#']`.
 */
export class FilterTemplate {
  readonly #pieces: readonly string[]
  readonly #names: readonly string[]

  constructor (pieces: readonly string[]) {
    this.#pieces = pieces
    this.#names = [...new Set(pieces.filter((_, index) => index % 2 === 1))]
  }

  /** Whether it is the same for every Client. */
  get isFixed (): boolean { return this.#names.length === 0 }

  /** The filter, where it is the same for every Client. */
  get fixed (): Levels { return levelsOf(this.#pieces.join('')) }

  /** Its text with another one in all its places: to look at its form. */
  filledWith (text: string): string {
    return this.#pieces.map((piece, index) => index % 2 === 1 ? text : piece).join('')
  }

  /**
   * The filters that it stands for with a Client. Where a value is missing or is none that may stand in a filter, an allowing rule has no
   * filter, and a denying one the widest that it can have meant.
   * @param maximum of the filters; more count as a missing value
   */
  filtersFor (identity: Identity, isAllow: boolean, maximum: number): Levels[] {
    let bindings: ReadonlyMap<string, string | undefined>[] = [new Map()]
    for (const name of this.#names) {
      const values = identity.valuesOf(name)
      if (bindings.length * values.length > maximum) return isAllow ? [] : [this.#widest(new Map())]
      bindings = bindings.flatMap(binding => values.map(value => new Map(binding).set(name, value)))
    }
    return bindings.flatMap(binding => this.#filled(binding, isAllow) ?? (isAllow ? [] : [this.#widest(binding)]))
  }

  /** Undefined when a value cannot stand where it is to. */
  #filled (binding: ReadonlyMap<string, string | undefined>, isAllow: boolean): [Levels] | undefined {
    const pieces = this.#pieces.map((piece, index) => index % 2 === 1 ? binding.get(piece) : piece)
    if (pieces.includes(undefined)) return undefined
    // Topics that begin with `$` are nobody's own: a Client must not come to them by its name.
    if (isAllow && pieces[0] === '' && pieces[1]?.startsWith('$') === true) return undefined
    return [levelsOf(pieces.join(''))]
  }

  /** All that is below the level of the first missing value. */
  #widest (binding: ReadonlyMap<string, string | undefined>): Levels {
    const missing = this.#pieces.findIndex((piece, index) => index % 2 === 1 && binding.get(piece) === undefined)
    const before = this.#pieces.slice(0, missing).map((piece, index) => index % 2 === 1 ? binding.get(piece) : piece).join('')
    const levels = before.split('/').slice(0, -1)
    return levels.length === 0 ? everything : [...levels, '#']
  }
}
