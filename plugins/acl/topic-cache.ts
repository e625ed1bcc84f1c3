import { BoundedMap } from '../../lib/index.ts'

/**
 * Verdicts by topic, for each of up to six variants of a message. The oldest topic makes room for a new one, so that a Client which makes topics
 * up costs no more than any other.
 */
export class TopicCache {
  readonly #maximum: number
  /** Two bits for each variant: whether it is known, and what it is. Made when it is first needed. */
  #bits: BoundedMap<string, number> | undefined = undefined

  /** @param maximum number of topics */
  constructor (maximum: number) { this.#maximum = maximum }

  get (topicName: string, variant: number): boolean | undefined {
    const bits = (this.#bits?.get(topicName) ?? 0) >> variant * 2
    return (bits & known) === 0 ? undefined : (bits & allowed) !== 0
  }

  /** Returns the verdict. */
  set (topicName: string, variant: number, isAllowed: boolean): boolean {
    this.#bits ??= new BoundedMap<string, number>(this.#maximum)
    this.#bits.set(topicName, (this.#bits.get(topicName) ?? 0) | (isAllowed ? known | allowed : known) << variant * 2)
    return isAllowed
  }
}

const known = 1
const allowed = 2
