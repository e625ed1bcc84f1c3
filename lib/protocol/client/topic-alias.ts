import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { emptyTopic, type Topic } from '../../topic/topic.ts'

/** The Topic Aliases that a Client has set (section 3.3.2.3.4). They end with the connection [MQTT-3.3.2-7]. */
export class InboundTopicAliases {
  readonly #maximum: number
  readonly #topics: (Topic | undefined)[] = []

  /** @param maximum the Topic Alias Maximum that was announced */
  constructor (maximum: number) {
    this.#maximum = maximum
  }

  /**
   * The topic of a PUBLISH with a Topic Alias: looked up if the packet names none, else remembered.
   * @throws MqttError for an alias that is too large [MQTT-3.3.2-9] or was never set
   */
  resolve (alias: number, topic: Topic): Topic {
    if (alias === 0 || alias > this.#maximum) {
      throw new MqttError(ErrorCode.topicAliasInvalid, ReasonCode.topicAliasInvalid, `Topic Alias ${alias} is not within 1 to ${this.#maximum} [MQTT-3.3.2-9]`)
    }
    if (topic !== emptyTopic) return this.#topics[alias] = lasting(topic)
    const known = this.#topics[alias]
    if (known === undefined) throw protocolError(`Topic Alias ${alias} stands for no topic yet (3.3.2.3.4)`)
    return known
  }
}

/** What an alias stands for comes again, even if its name does not. */
function lasting (topic: Topic): Topic {
  topic.isFleeting = false
  return topic
}

/** Messages that an alias stays unused before it makes room, for each alias that there is: topics that take turns would drive each other out. */
const patience = 8

/**
 * The Topic Aliases that the broker uses towards a Client: who came first keeps its alias for as long as it is used. Topics are
 * compared by identity, a few dozen at most, which is faster than a Map; a topic that was made anew is another one.
 */
export class OutboundTopicAliases {
  readonly #maximum: number
  readonly #topics: Topic[] = []
  readonly #usedAt: number[] = []
  /** Messages so far. */
  #turn = 0

  /** @param maximum what the Client allows, and the broker's own limit */
  constructor (maximum: number) {
    this.#maximum = maximum
  }

  /** The topic's alias; 0 if it has none. */
  find (topic: Topic): number {
    this.#turn++
    const index = this.#topics.indexOf(topic)
    if (index >= 0) this.#usedAt[index] = this.#turn
    return index + 1
  }

  /** Gives the topic an alias, or 0 when all are in use; the PUBLISH that carries it must name the topic, too. */
  assign (topic: Topic): number {
    const index = this.#topics.length < this.#maximum ? this.#topics.length : this.#unused()
    if (index === -1) return 0
    this.#topics[index] = topic
    this.#usedAt[index] = this.#turn
    return index + 1
  }

  #unused (): number {
    const usedAt = Math.min(...this.#usedAt)
    return this.#turn - usedAt > patience * this.#maximum ? this.#usedAt.indexOf(usedAt) : -1
  }
}
