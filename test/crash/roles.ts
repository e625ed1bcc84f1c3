import { newTopic, Receiver, type Ledger, type PublishedTopic } from './ledger.ts'
import { LibraryPublisher, LibrarySubscriber } from './clients/library-clients.ts'
import { RawPublisher, type Publisher } from './clients/raw-publisher.ts'
import { RawSubscriber, type SubscriberOptions } from './clients/raw-subscriber.ts'
import type { World } from './world.ts'

const day = 86_400
const longestSlownessMs = 3

/** Of topics that everybody gets; and of those that nobody gets who is away for long, so that many of their messages need not be written. */
const all = ['load/', 'direct/']
const stored = ['load/']

/** A publisher with topics of its own. */
export interface PublisherRole {
  readonly name: string
  readonly publisher: Publisher
  readonly topics: readonly PublishedTopic[]
}

/** Who publishes: clients of both makes and both versions. */
export function newPublishers (world: World, ledger: Ledger): PublisherRole[] {
  return ([5, 4] as const).flatMap(version => [
    { name: `raw-${version}`, publisher: new RawPublisher(world, `raw-${version}`, version), topics: topicsOf(ledger, `raw-${version}`) },
    { name: `library-${version}`, publisher: new LibraryPublisher(world, `library-${version}`, version), topics: topicsOf(ledger, `library-${version}`) },
  ])
}

function topicsOf (ledger: Ledger, publisher: string): PublishedTopic[] {
  return ([1, 2] as const).flatMap(qos => [
    ledger.add(newTopic(`load/${publisher}/${qos}`, qos)),
    ledger.add(newTopic(`load/${publisher}/${qos}/retained`, qos, true)),
    ledger.add(newTopic(`direct/${publisher}/${qos}`, qos)),
  ])
}

/** Who subscribes, by their ways. */
export interface Subscribers {
  /** Always connected; some of them slow. */
  readonly steady: readonly (RawSubscriber | LibrarySubscriber)[]
  /** They come and go. */
  readonly restless: readonly RawSubscriber[]
  /** They go at once, and come back at the end. */
  readonly offline: readonly RawSubscriber[]
  /** Those who get the Will Messages. */
  readonly watchers: readonly RawSubscriber[]
}

export function newSubscribers (world: World, ledger: Ledger): Subscribers {
  const raw = (name: string, version: 5 | 4, qos: 1 | 2, prefixes: readonly string[], options: Partial<SubscriberOptions> = {}): RawSubscriber =>
    new RawSubscriber(world, { name, version, filters: filtersOf(prefixes), receiver: receiver(world, ledger, name, qos, prefixes), sessionExpiryInterval: day, ...options })
  const library = (name: string, version: 5 | 4, qos: 1 | 2): LibrarySubscriber =>
    new LibrarySubscriber(world, name, version, filtersOf(all), receiver(world, ledger, name, qos, all))
  const witness = raw('steady-5', 5, 2, all, { filters: [...filtersOf(all), 'will/#'] })
  // Its DISCONNECT will say that its Session stays.
  const absent = raw('offline-5', 5, 2, stored, { filters: [...filtersOf(stored), 'will/#'], sessionExpiryInterval: 1 })
  const slow = [raw('slow-5', 5, 2, stored, { receiveMaximum: 10 }), raw('slow-4', 4, 1, stored)]
  for (const one of slow) slowDown(world, one)
  const [one, two] = newGroups(world, ledger)
  return {
    steady: [witness, raw('steady-4', 4, 1, all), library('library-reader-5', 5, 2), library('library-reader-4', 4, 1), ...slow, ...one.steady, ...two.steady],
    restless: [raw('restless-5', 5, 2, all), raw('restless-4', 4, 1, all), ...one.restless, ...two.restless],
    offline: [absent, raw('offline-4', 4, 1, stored)],
    watchers: [witness, absent],
  }
}

function slowDown (world: World, subscriber: RawSubscriber): void {
  const random = world.random.for(subscriber.name)
  subscriber.slowness = () => random.between(0, longestSlownessMs)
}

/** Two Shared Subscriptions, each with a member that comes and goes. */
function newGroups (world: World, ledger: Ledger): [Pick<Subscribers, 'steady' | 'restless'>, Pick<Subscribers, 'steady' | 'restless'>] {
  const [one, two] = [receiver(world, ledger, 'group-1', 1, stored, false), receiver(world, ledger, 'group-2', 2, stored, false)]
  const member = (name: string, version: 5 | 4, receiver: Receiver): RawSubscriber =>
    new RawSubscriber(world, { name, version, filters: [`$share/${receiver.name}/load/#`], receiver, isShared: true, sessionExpiryInterval: day })
  return [
    { steady: [member('member-1-a', 5, one)], restless: [member('member-1-b', 4, one)] },
    { steady: [member('member-2-a', 5, two), new LibrarySubscriber(world, 'member-2-b', 4, ['$share/group-2/load/#'], two)], restless: [member('member-2-c', 5, two)] },
  ]
}

function receiver (world: World, ledger: Ledger, name: string, qos: 1 | 2, prefixes: readonly string[], isOrdered = true): Receiver {
  return new Receiver(name, qos, prefixes, { ledger, isOrdered, fault: text => { world.fault(text) } })
}

function filtersOf (prefixes: readonly string[]): string[] {
  return prefixes.map(prefix => `${prefix}#`)
}
