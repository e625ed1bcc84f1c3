import { payloadOf, type PublishedTopic } from '../ledger.ts'
import type { Random } from '../random.ts'
import type { Publisher } from './raw-publisher.ts'
import type { World } from '../world.ts'

/** Messages that are published at once, and milliseconds between. */
const largestBurst = 24
const longestPauseMs = 60

/** Has one publisher publish in bursts. */
export class Load {
  readonly #world: World
  readonly #publisher: Publisher
  readonly #topics: readonly PublishedTopic[]
  readonly #random: Random
  #open = 0
  readonly #largestBurst: number
  #timer: NodeJS.Timeout | undefined = undefined

  constructor (world: World, publisher: Publisher, topics: readonly PublishedTopic[], random: Random, burst: number = largestBurst) {
    this.#world = world
    this.#publisher = publisher
    this.#topics = topics
    this.#random = random
    this.#largestBurst = burst
  }

  /** Nothing is on its way any more. */
  get isDone (): boolean { return this.#open === 0 }

  start (): void {
    this.#timer = setTimeout(() => {
      this.#burst(this.#random.between(1, this.#largestBurst))
      this.start()
    }, this.#random.between(0, longestPauseMs))
  }

  stop (): void { clearTimeout(this.#timer) }

  #burst (count: number): void {
    for (let i = 0; i < count && this.#publisher.isReady && this.#open < this.#publisher.window; i++) this.#publish(this.#random.pick(this.#topics))
  }

  #publish (topic: PublishedTopic): void {
    const number = ++topic.sent
    const { name: topicName, qos, retain } = topic
    this.#open++
    const done = (): void => { this.#done(topic, number) }
    const refused = (): void => { this.#refuse(topic, number) }
    this.#publisher.publish({ topicName, payload: payloadOf(topic, number), qos, retain, isStored: topicName.startsWith('load/'), done, refused })
  }

  #refuse (topic: PublishedTopic, number: number): void {
    this.#world.event()
    this.#open--
    topic.refused.add(number)
  }

  #done (topic: PublishedTopic, number: number): void {
    this.#world.event()
    this.#open--
    topic.acknowledgedCount++
    topic.acknowledged = Math.max(topic.acknowledged, number)
  }
}
