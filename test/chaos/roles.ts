import { newTopic, Receiver, type Ledger, type PublishedTopic } from '../crash/ledger.ts'
import { LibraryPublisher, LibrarySubscriber } from '../crash/clients/library-clients.ts'
import { RawPublisher } from '../crash/clients/raw-publisher.ts'
import { RawSubscriber, type SubscriberOptions } from '../crash/clients/raw-subscriber.ts'
import { Place, type Chaos } from './place.ts'

const day = 86_400
const longestSlownessMs = 3
const slowShare = 0.3

/** Of topics that everybody gets; and of those that nobody gets who is away for long. */
const all = ['load/', 'direct/']
const stored = ['load/']

export interface PublisherRole {
  readonly name: string
  readonly place: Place
  readonly publisher: RawPublisher | LibraryPublisher
  readonly topics: readonly PublishedTopic[]
}

export interface SubscriberRole {
  readonly name: string
  readonly place: Place
  readonly subscriber: RawSubscriber | LibrarySubscriber
  readonly receiver: Receiver
}

/** One whose connection can be told what to do. */
export interface RawRole extends SubscriberRole {
  readonly subscriber: RawSubscriber
}

/** Who subscribes, by their ways. */
export interface Subscribers {
  /** Always connected. */
  readonly steady: readonly SubscriberRole[]
  /** They come and go, each time at another node. */
  readonly restless: readonly RawRole[]
  /** They are there only when it is looked at what came of everything. */
  readonly offline: readonly RawRole[]
  /** Those who get the Will Messages. */
  readonly watchers: readonly SubscriberRole[]
}

/** Who publishes: clients of both makes and both versions, each at another node. */
export function newPublishers (chaos: Chaos, ledger: Ledger): PublisherRole[] {
  const role = (name: string, node: number, Kind: typeof RawPublisher | typeof LibraryPublisher, version: 4 | 5): PublisherRole => {
    const place = new Place(chaos, name, node)
    return { name, place, publisher: new Kind(place, name, version), topics: topicsOf(ledger, name) }
  }
  return [role('raw-5', 0, RawPublisher, 5), role('raw-4', 1, RawPublisher, 4), role('library-5', 2, LibraryPublisher, 5), role('library-4', 0, LibraryPublisher, 4)]
}

function topicsOf (ledger: Ledger, publisher: string): PublishedTopic[] {
  return ([1, 2] as const).flatMap(qos => [
    ledger.add(newTopic(`load/${publisher}/${qos}`, qos)),
    ledger.add(newTopic(`load/${publisher}/${qos}/retained`, qos, true)),
    ledger.add(newTopic(`direct/${publisher}/${qos}`, qos)),
  ])
}

/** Makes the subscribers of one run. */
export class Casting {
  readonly #chaos: Chaos
  readonly #ledger: Ledger

  constructor (chaos: Chaos, ledger: Ledger) {
    this.#chaos = chaos
    this.#ledger = ledger
  }

  subscribers (): Subscribers {
    const watching = { filters: [...filtersOf(all), 'will/#'] }
    const watchers = [0, 1, 2].map(node => this.#raw(`steady-5-${node}`, node, 5, 2, all, watching))
    const absent = this.#raw('offline-5', 1, 5, 2, stored, { filters: [...filtersOf(stored), 'will/#'] })
    const [one, two] = [this.#receiver('group-1', 1, stored), this.#receiver('group-2', 2, stored)]
    return {
      steady: [
        ...watchers, this.#raw('steady-4', 1, 4, 1, all), this.#raw('narrow-5', 2, 5, 2, ['load/raw-4/']), this.#slow('slow-5', 0, 5, 2), this.#slow('slow-4', 2, 4, 1),
        this.#library('library-reader-5', 1, 5, 2), this.#library('library-reader-4', 0, 4, 1),
        this.#member('member-1-a', 0, 5, one), this.#member('member-2-a', 1, 5, two), this.#libraryMember('member-2-b', 2, 4, two),
      ],
      restless: [this.#raw('restless-5', 0, 5, 2, all), this.#raw('restless-4', 1, 4, 1, all), this.#member('member-1-b', 2, 4, one), this.#member('member-2-c', 0, 5, two)],
      offline: [absent, this.#raw('offline-4', 2, 4, 1, stored)],
      watchers: [...watchers, absent],
    }
  }

  #raw (name: string, node: number, version: 5 | 4, qos: 1 | 2, prefixes: readonly string[], options: Partial<SubscriberOptions> = {}): RawRole {
    const place = new Place(this.#chaos, name, node)
    const receiver = options.receiver ?? this.#receiver(name, qos, prefixes, place)
    const subscriber = new RawSubscriber(place, { name, version, filters: filtersOf(prefixes), receiver, sessionExpiryInterval: day, ...options })
    return { name, place, subscriber, receiver }
  }

  #slow (name: string, node: number, version: 5 | 4, qos: 1 | 2): RawRole {
    const role = this.#raw(name, node, version, qos, stored, { receiveMaximum: 10 })
    role.subscriber.slowness = () => role.place.random.chance(slowShare) ? role.place.random.between(1, longestSlownessMs) : 0
    return role
  }

  /** Of a Shared Subscription, all members of which have one receiver. */
  #member (name: string, node: number, version: 5 | 4, receiver: Receiver): RawRole {
    return this.#raw(name, node, version, receiver.qos, stored, { filters: [`$share/${receiver.name}/load/#`], receiver, isShared: true })
  }

  #library (name: string, node: number, version: 5 | 4, qos: 1 | 2): SubscriberRole {
    const place = new Place(this.#chaos, name, node)
    const receiver = this.#receiver(name, qos, all, place)
    return { name, place, receiver, subscriber: new LibrarySubscriber(place, name, version, filtersOf(all), receiver) }
  }

  #libraryMember (name: string, node: number, version: 5 | 4, receiver: Receiver): SubscriberRole {
    const place = new Place(this.#chaos, name, node)
    return { name, place, receiver, subscriber: new LibrarySubscriber(place, name, version, [`$share/${receiver.name}/load/#`], receiver) }
  }

  /** @param place who it is; undefined for the members of a Shared Subscription together, who get no order */
  #receiver (name: string, qos: 1 | 2, prefixes: readonly string[], place?: Place): Receiver {
    return new Receiver(name, qos, prefixes, { ledger: this.#ledger, isOrdered: place !== undefined, fault: text => { (place ?? this.#chaos).fault(text) } })
  }
}

function filtersOf (prefixes: readonly string[]): string[] {
  return prefixes.map(prefix => `${prefix}#`)
}
