/** Bytes that came in several chunks, joined only for those who want them in one. */
export class Pieces {
  readonly length: number
  #list: readonly Buffer[]

  constructor (list: readonly Buffer[]) {
    this.#list = list
    this.length = list.reduce((length, piece) => length + piece.length, 0)
  }

  /** In their order. */
  get list (): readonly Buffer[] { return this.#list }

  /** In one buffer, which replaces them. */
  join (): Buffer {
    const joined = this.#list.length === 1 ? this.#list[0] as Buffer : Buffer.concat(this.#list, this.length)
    this.#list = [joined]
    return joined
  }
}
