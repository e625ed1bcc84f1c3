/**
 * Verdicts by topic, for each of up to six variants of a message. The oldest topic makes room for a new one, so that a Client which makes topics
 * up costs no more than any other.
 */
export class TopicCache {
  readonly #maximum: number
  /** Two bits for each variant: whether it is known, and what it is. Made when it is first needed. */
  #bits: Map<string, number> | undefined = undefined

  /** @param maximum number of topics */
  constructor (maximum: number) { this.#maximum = maximum }

  get (topicName: string, variant: number): boolean | undefined {
    const bits = (this.#bits?.get(topicName) ?? 0) >> variant * 2
    return (bits & known) === 0 ? undefined : (bits & allowed) !== 0
  }

  /** Returns the verdict. */
  set (topicName: string, variant: number, isAllowed: boolean): boolean {
    this.#bits ??= new Map<string, number>()
    const before = this.#bits.get(topicName)
    if (before === undefined) this.#makeRoom(this.#bits)
    this.#bits.set(topicName, (before ?? 0) | (isAllowed ? known | allowed : known) << variant * 2)
    return isAllowed
  }

  #makeRoom (bits: Map<string, number>): void {
    if (bits.size >= this.#maximum) bits.delete(bits.keys().next().value as string)
  }
}

const known = 1
const allowed = 2
