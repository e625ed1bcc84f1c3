import { ReasonCode } from '../../lib/base/reason-codes.ts'
import type { Ledger, Receiver } from './ledger.ts'
import type { LibrarySubscriber } from './clients/library-clients.ts'
import { Load } from './clients/load.ts'
import { RawPublisher } from './clients/raw-publisher.ts'
import type { RawSubscriber } from './clients/raw-subscriber.ts'
import { lastRetained } from './retained.ts'
import { newPublishers, newSubscribers, type PublisherRole, type Subscribers } from './roles.ts'
import type { World } from './world.ts'

/** Milliseconds that restless subscribers stay, and stay away. */
const shortestStayMs = 10
const longestStayMs = 200
const day = 86_400

/** What those who take part do. */
export class Cast {
  /** Each subscriber, and each Shared Subscription. */
  readonly receivers: readonly Receiver[]
  /** Those who get the Will Messages: one who is there all the time, and one who is not. */
  readonly watchers: readonly Receiver[]
  readonly #world: World
  readonly #controller: RawPublisher
  readonly #publishers: readonly PublisherRole[]
  readonly #loads: readonly Load[]
  readonly #subscribers: Subscribers
  #isOver = false
  #wandering: Promise<unknown> = Promise.resolve()

  constructor (world: World, ledger: Ledger) {
    this.#world = world
    this.#controller = new RawPublisher(world, 'controller', 4)
    this.#publishers = newPublishers(world, ledger)
    this.#loads = this.#publishers.map(({ name, publisher, topics }) => new Load(world, publisher, topics, world.random.for(name)))
    this.#subscribers = newSubscribers(world, ledger)
    this.receivers = [...new Set(this.#everybody.map(({ receiver }) => receiver))]
    this.watchers = this.#subscribers.watchers.map(({ receiver }) => receiver)
  }

  /** Everybody has subscribed, and the load begins. */
  async begin (): Promise<void> {
    for (const { publisher } of this.#publishers) if (publisher instanceof RawPublisher) await publisher.line.open()
    await this.#controller.line.open()
    for (const subscriber of this.#everybody) await subscriber.begin()
    for (const { line } of this.#subscribers.offline) await line.disconnect(ReasonCode.success, { sessionExpiryInterval: day })
    await this.#publish(lastRetained, true)
    for (const load of this.#loads) load.start()
    this.#wandering = Promise.all(this.#subscribers.restless.map(subscriber => this.#wander(subscriber)))
  }

  /** The load ends. Resolves when everything is acknowledged and everybody is connected. */
  async settle (): Promise<void> {
    this.#isOver = true
    for (const load of this.#loads) load.stop()
    if (!await this.#world.until(() => this.#loads.every(({ isDone }) => isDone))) this.#world.fault('not everything was acknowledged')
    await this.#wandering
    await Promise.all(this.#everybody.map(subscriber => subscriber.settle()))
  }

  /** Resolves when everybody has everything that was published before. */
  async drain (): Promise<void> {
    const fences = this.#everybody.map(({ name, receiver }) => ({ receiver, topicName: `fence/${name}` }))
    for (const { topicName } of fences) await this.#publish(topicName, false)
    if (await this.#world.until(() => fences.every(({ receiver, topicName }) => receiver.fences.has(topicName)))) return
    for (const { topicName, receiver } of fences) if (!receiver.fences.has(topicName)) this.#world.fault(`${topicName} did not come`)
  }

  /** Resolves when the broker knows that everybody has everything. */
  async sync (): Promise<void> {
    await Promise.all(this.#everybody.map(subscriber => subscriber.sync()))
  }

  async close (): Promise<void> {
    this.#isOver = true
    for (const load of this.#loads) load.stop()
    const clients = [this.#controller, ...this.#publishers.map(({ publisher }) => publisher), ...this.#everybody]
    await Promise.all(clients.map(client => client.close()))
  }

  get #everybody (): (RawSubscriber | LibrarySubscriber)[] {
    const { steady, restless, offline } = this.#subscribers
    return [...steady, ...restless, ...offline]
  }

  async #wander ({ name, line }: RawSubscriber): Promise<void> {
    const random = this.#world.random.for(name)
    while (!this.#isOver) {
      await line.open()
      await this.#world.sleep(random.between(shortestStayMs, longestStayMs))
      await (random.chance(0.5) ? line.vanish() : line.disconnect())
      await this.#world.sleep(random.between(shortestStayMs, longestStayMs))
    }
  }

  async #publish (topicName: string, retain: boolean): Promise<void> {
    await new Promise<void>(resolve => {
      this.#controller.publish({ topicName, payload: Buffer.from('1'), qos: 2, retain, isStored: true, done: resolve })
    })
  }
}
