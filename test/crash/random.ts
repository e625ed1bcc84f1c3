/** Numbers that come in the same order for the same seed: 32 bits that are shifted and folded onto themselves. */
export class Random {
  readonly #seed: number
  #state: number

  /** @param seed any whole number */
  constructor (seed: number) {
    this.#seed = seed
    this.#state = scatter(seed) | 1
  }

  /** Numbers of its own for somebody, whatever the others take of theirs. */
  for (name: string): Random {
    let seed = this.#seed
    for (let i = 0; i < name.length; i++) seed = scatter(seed ^ name.charCodeAt(i))
    return new Random(seed)
  }

  /** A whole number from `least` to `most`. */
  between (least: number, most: number): number {
    return least + Math.floor(this.#next() * (most - least + 1))
  }

  chance (probability: number): boolean { return this.#next() < probability }

  pick<T> (items: readonly T[]): T { return items[this.between(0, items.length - 1)] as T }

  /** At least 0, below 1. */
  #next (): number {
    this.#state ^= this.#state << 13
    this.#state ^= this.#state >>> 17
    this.#state ^= this.#state << 5
    return (this.#state >>> 0) / 2 ** 32
  }
}

function scatter (value: number): number {
  const mixed = Math.imul(value ^ (value >>> 15), 0x2c1b3c6d) + 0x297a2d39
  return Math.imul(mixed ^ (mixed >>> 12), 0x5bd1e995) | 0
}
