import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { PacketType } from '../../lib/packet/packets.ts'
import type { Ledger, Receiver } from '../crash/ledger.ts'
import { Load } from '../crash/clients/load.ts'
import { RawPublisher } from '../crash/clients/raw-publisher.ts'
import { RawSubscriber } from '../crash/clients/raw-subscriber.ts'
import { lastRetained } from '../crash/retained.ts'
import { Visit } from '../crash/clients/visit.ts'
import { connectPacket } from '../support/harness.ts'
import { Place, type Chaos } from './place.ts'
import { Casting, newPublishers, type PublisherRole, type RawRole, type SubscriberRole, type Subscribers } from './roles.ts'

/** Milliseconds that restless subscribers stay, and stay away. */
const [shortestStayMs, longestStayMs] = [50, 400]
/** Messages of one publisher at once. */
const largestBurst = 5
const takeOverShare = 0.5
const day = 86_400

/** What those who take part do. */
export class Cast {
  /** Each subscriber, and each Shared Subscription. */
  readonly receivers: readonly Receiver[]
  readonly watchers: readonly Receiver[]
  readonly #chaos: Chaos
  readonly #patienceMs: number
  readonly #controller: RawPublisher
  readonly #controllerPlace: Place
  readonly #publishers: readonly PublisherRole[]
  readonly #loads: readonly Load[]
  readonly #subscribers: Subscribers
  #fences = 0
  #isLoaded = false
  #wandering: Promise<unknown> = Promise.resolve()

  /** @param patienceMs without anything happening after which nothing is expected any more */
  constructor (chaos: Chaos, ledger: Ledger, patienceMs: number) {
    this.#chaos = chaos
    this.#patienceMs = patienceMs
    this.#controllerPlace = new Place(chaos, 'controller', 0)
    this.#controller = new RawPublisher(this.#controllerPlace, 'controller', 4)
    this.#publishers = newPublishers(chaos, ledger)
    this.#loads = this.#publishers.map(({ name, place, publisher, topics }) => new Load(place, publisher, topics, chaos.random.for(`load of ${name}`), largestBurst))
    this.#subscribers = new Casting(chaos, ledger).subscribers()
    this.receivers = [...new Set(this.#everybody.map(({ receiver }) => receiver))]
    this.watchers = this.#subscribers.watchers.map(({ receiver }) => receiver)
  }

  /** All who have a Session; while it is calm they are connected. */
  get clientIdentifiers (): string[] { return ['controller', ...this.#publishers.map(({ name }) => name), ...this.#everybody.map(({ name }) => name)] }

  /** In flight when their connection ended, and sent again with DUP. */
  get resent (): number { return this.#everybody.reduce((sum, { place }) => sum + place.resent, 0) }

  /** Everybody has subscribed. */
  async begin (): Promise<void> {
    for (const { publisher } of this.#publishers) if (publisher instanceof RawPublisher) await publisher.line.open()
    await this.#controller.line.open()
    for (const { subscriber } of this.#everybody) await subscriber.begin()
    await this.#publish(lastRetained, '1', true)
  }

  /** The load begins. Resolves when those who are not there for it have gone. */
  async play (): Promise<void> {
    for (const { subscriber } of this.#subscribers.offline) await subscriber.line.disconnect(ReasonCode.success, { sessionExpiryInterval: day })
    this.#isLoaded = true
    for (const load of this.#loads) load.start()
    this.#wandering = Promise.all(this.#subscribers.restless.map(role => this.#wander(role)))
  }

  /** The load ends. Resolves when everything is acknowledged and everybody is connected. */
  async calm (): Promise<void> {
    this.#isLoaded = false
    for (const load of this.#loads) load.stop()
    await this.#wandering
    await Promise.all([...this.#subscribers.offline, ...this.#subscribers.restless].map(({ subscriber }) => subscriber.line.open()))
    await this.#expect(() => this.#loads.every(({ isDone }) => isDone), 'not everything was acknowledged')
    await this.#expect(() => this.#lines.every(line => line.isAlone && line.isConnected), 'somebody is not connected, or has two connections')
  }

  /** Resolves when everybody has everything, or nothing comes any more. */
  async drain (): Promise<void> {
    await this.#chaos.until(() => this.receivers.every(({ isComplete }) => isComplete), this.#patienceMs)
    const number = ++this.#fences
    await Promise.all(this.#everybody.map(({ name }) => this.#publish(`fence/${name}`, String(number), false)))
    const missing = ({ name, receiver }: SubscriberRole): boolean => receiver.fences.get(`fence/${name}`) !== number
    if (await this.#chaos.until(() => !this.#everybody.some(missing), this.#patienceMs)) return
    for (const role of this.#everybody.filter(missing)) this.#chaos.fault(`fence/${role.name} did not come`)
  }

  /** Everybody who is connected goes to another node; some of them before their connection has ended. */
  migrate (): void {
    for (const { place, publisher } of this.#publishers) this.#migrate(place, publisher)
    for (const { place, subscriber } of this.#everybody) this.#migrate(place, subscriber)
    this.#migrate(this.#controllerPlace, this.#controller)
  }

  /** Some of those who are at a node go elsewhere. */
  desert (node: string, share: number): void {
    for (const { place, publisher } of this.#publishers) if (isAt(place, node, share)) this.#migrate(place, publisher)
    for (const { place, subscriber } of this.#everybody) if (isAt(place, node, share)) this.#migrate(place, subscriber)
    if (isAt(this.#controllerPlace, node, share)) this.#migrate(this.#controllerPlace, this.#controller)
  }

  async close (): Promise<void> {
    this.#isLoaded = false
    for (const load of this.#loads) load.stop()
    await Promise.all([this.#controller, ...this.#publishers.map(({ publisher }) => publisher), ...this.#everybody.map(({ subscriber }) => subscriber)].map(client => client.close()))
  }

  /** Ends the Sessions, from whatever node. */
  async end (clientIdentifiers: readonly string[]): Promise<void> {
    await Promise.all(clientIdentifiers.map(async (clientIdentifier, index) => {
      const visit = await Visit.begin(new Place(this.#chaos, `end of ${clientIdentifier}`, index), connectPacket({ clientIdentifier }))
      await visit.accepted
      visit.send({ type: PacketType.disconnect, reasonCode: ReasonCode.success, properties: undefined })
      await visit.ended
    }))
  }

  get #everybody (): SubscriberRole[] {
    const { steady, restless, offline } = this.#subscribers
    return [...steady, ...restless, ...offline]
  }

  get #lines (): RawPublisher['line'][] {
    const clients = [this.#controller, ...this.#publishers.map(({ publisher }) => publisher), ...this.#everybody.map(({ subscriber }) => subscriber)]
    return clients.flatMap(client => client instanceof RawPublisher || client instanceof RawSubscriber ? [client.line] : [])
  }

  #migrate (place: Place, client: PublisherRole['publisher'] | SubscriberRole['subscriber']): void {
    place.broker.move()
    if (!(client instanceof RawPublisher || client instanceof RawSubscriber)) client.breakOff()
    else if (place.random.chance(takeOverShare)) client.line.takeOver()
    else client.line.breakOff()
  }

  async #wander ({ place, subscriber: { line } }: RawRole): Promise<void> {
    const { random } = place
    while (this.#isLoaded) {
      await line.open()
      await place.sleep(random.between(shortestStayMs, longestStayMs))
      await (random.chance(0.5) ? line.vanish() : line.disconnect())
      place.broker.move()
      await place.sleep(random.between(shortestStayMs, longestStayMs))
    }
  }

  async #publish (topicName: string, payload: string, retain: boolean): Promise<void> {
    await new Promise<void>(resolve => {
      this.#controller.publish({ topicName, payload: Buffer.from(payload), qos: 2, retain, isStored: true, done: resolve, refused: () => { this.#chaos.fault(`${topicName} was refused`); resolve() } })
    })
  }

  async #expect (condition: () => boolean, fault: string): Promise<void> {
    if (!await this.#chaos.until(condition, this.#patienceMs)) this.#chaos.fault(fault)
  }
}

function isAt (place: Place, node: string, share: number): boolean {
  return place.broker.node.name === node && place.random.chance(share)
}
