import { Conduct } from './conduct.ts'

/** Entries of which the lightest makes room: enough to find one that is light, whoever has chosen the others. */
const candidates = 8

/** A fixed number of entries. Full, the lightest of a few that are drawn at random makes room for a new one. */
class Shelf {
  readonly #maximum: number
  readonly #places = new Map<string, number>()
  readonly #entries: [key: string, conduct: Conduct][] = []
  evictions = 0

  constructor (maximum: number) { this.#maximum = maximum }

  get size (): number { return this.#entries.length }

  get entries (): readonly (readonly [key: string, conduct: Conduct])[] { return this.#entries }

  get (key: string): Conduct | undefined {
    const place = this.#places.get(key)
    return place === undefined ? undefined : this.#entries[place]?.[1]
  }

  add (key: string, conduct: Conduct): Conduct {
    const place = this.#entries.length < this.#maximum ? this.#entries.length : this.#makeRoom()
    this.#entries[place] = [key, conduct]
    this.#places.set(key, place)
    return conduct
  }

  remove (key: string): void {
    const place = this.#places.get(key)
    const last = this.#entries.at(-1)
    if (place === undefined || last === undefined) return
    this.#entries[place] = last
    this.#places.set(last[0], place)
    this.#entries.pop()
    this.#places.delete(key)
  }

  #makeRoom (): number {
    let lightest = this.#draw()
    for (let i = 1; i < candidates; i++) {
      const other = this.#draw()
      if (this.#weightAt(other) < this.#weightAt(lightest)) lightest = other
    }
    this.#places.delete(this.#entries[lightest]?.[0] ?? '')
    this.evictions++
    return lightest
  }

  #draw (): number { return Math.floor(Math.random() * this.#entries.length) }

  #weightAt (place: number): number { return this.#entries[place]?.[1].weight ?? 0 }
}

/**
 * What is remembered of addresses or Clients: so many that were never banned, and as many that were. Who floods it with addresses pushes out others that did nothing,
 * and no ban; who floods it with bans, each of which costs him several failures, pushes out the shortest.
 */
export class Ledger {
  readonly #unsuspected: Shelf
  readonly #banned: Shelf

  constructor (maximum: number) {
    this.#unsuspected = new Shelf(maximum)
    this.#banned = new Shelf(maximum)
  }

  get size (): number { return this.#unsuspected.size + this.#banned.size }

  /** Entries that made room for others. */
  get evictions (): number { return this.#unsuspected.evictions + this.#banned.evictions }

  /** Those that were banned, now or before. */
  get banned (): readonly (readonly [key: string, conduct: Conduct])[] { return this.#banned.entries }

  find (key: string): Conduct | undefined { return this.#banned.get(key) ?? this.#unsuspected.get(key) }

  /** The entry of that key, made if need be. */
  at (key: string): Conduct { return this.find(key) ?? this.#unsuspected.add(key, new Conduct()) }

  /** To be called for an entry that was banned. */
  keep (key: string, conduct: Conduct): void {
    if (this.#banned.get(key) !== undefined) return
    this.#unsuspected.remove(key)
    this.#banned.add(key, conduct)
  }
}
