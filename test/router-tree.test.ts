import t from 'tap'
import fc from 'fast-check'
import type { SubscriptionOptions } from '../lib/contract/subscription.ts'
import { SubscriptionTree } from '../lib/router/subscription-tree.ts'
import type { ExactEntry, Match } from '../lib/router/subscription-tree.ts'
import { LevelTrie } from '../lib/topic/level-trie.ts'
import { topicMatches } from '../lib/topic/topic-filter.ts'

interface Subscriber { readonly id: number }

function withQos (qos: 0 | 1 | 2): SubscriptionOptions {
  return { qos, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 }
}

const subscribers: readonly Subscriber[] = [{ id: 0 }, { id: 1 }, { id: 2 }]
const [first = { id: 0 }, second = { id: 1 }, third = { id: 2 }] = subscribers
const topics = ['a', 'b', '/', 'a/', 'a/b', 'a/b/a', 'b/a/b/a', '//', '/a', '$SYS', '$SYS/a', 'a/$SYS', '__proto__', '__proto__/constructor']

/** What matches, as text in an order of its own. */
function found (tree: SubscriptionTree<Subscriber>, topicName: string): string[] {
  const into: Match<Subscriber>[] = []
  tree.match(topicName, into)
  return into.map(({ subscriber, options }) => `${subscriber.id}:${options.qos}`).sort()
}

/** The same thing, without any thought for speed. */
class Model {
  readonly subscriptions = new Map<string, { filter: string, subscriber: Subscriber, qos: number }>()

  set (filter: string, subscriber: Subscriber, qos: number): boolean {
    const isNew = !this.has(filter, subscriber)
    this.subscriptions.set(`${subscriber.id} ${filter}`, { filter, subscriber, qos })
    return isNew
  }

  has (filter: string, subscriber: Subscriber): boolean {
    return this.subscriptions.has(`${subscriber.id} ${filter}`)
  }

  delete (filter: string, subscriber: Subscriber): boolean {
    return this.subscriptions.delete(`${subscriber.id} ${filter}`)
  }

  found (topicName: string): string[] {
    return [...this.subscriptions.values()].filter(({ filter }) => topicMatches(filter, topicName))
      .map(({ subscriber, qos }) => `${subscriber.id}:${qos}`).sort()
  }
}

/** What a router remembers of a topic, and how it tells that this still holds. */
class Plan {
  readonly found: string[]
  readonly #tree: SubscriptionTree<Subscriber>
  readonly #exact: ExactEntry<Subscriber> | undefined
  readonly #versions: readonly (number | undefined)[]

  constructor (tree: SubscriptionTree<Subscriber>, topicName: string) {
    this.#tree = tree
    this.#exact = tree.exact(topicName)
    this.#versions = this.#now()
    this.found = found(tree, topicName)
  }

  get holds (): boolean {
    return this.#now().every((version, i) => version === this.#versions[i])
  }

  #now (): (number | undefined)[] {
    return [this.#tree.wildcardVersion, this.#exact?.version ?? this.#tree.exactVersion]
  }
}

const level = fc.constantFrom('a', 'b', '+', '', '$SYS', '__proto__', 'constructor')
const anyFilter = fc.tuple(fc.array(level, { maxLength: 4 }), fc.constantFrom('#', '+', 'a', 'b', ''))
  .map(([levels, last]) => [...levels, last].join('/')).filter(filter => filter !== '')
interface Step { readonly filter: string, readonly subscriber: Subscriber, readonly qos: 0 | 1 | 2, readonly isRemoval: boolean }

/** Few filters, so that what is there is often replaced and removed, and others of the same filter or branch stay. */
const pool = fc.array(anyFilter, { minLength: 1, maxLength: 8 })
const steps = pool.chain(filters => fc.array(fc.record<Step>({
  filter: fc.constantFrom(...filters),
  subscriber: fc.constantFrom(...subscribers),
  qos: fc.constantFrom(0 as const, 1 as const, 2 as const),
  isRemoval: fc.boolean(),
}), { maxLength: 60 }))

function take (tree: SubscriptionTree<Subscriber>, model: Model, { filter, subscriber, qos, isRemoval }: Step): boolean {
  return isRemoval
    ? tree.remove(filter, subscriber) === model.delete(filter, subscriber)
    : tree.add(filter, subscriber, withQos(qos)) === model.set(filter, subscriber, qos)
}

t.test('any sequence of subscribing and unsubscribing finds what the filters match [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.2-1]', t => {
  fc.assert(fc.property(steps, steps => {
    const tree = new SubscriptionTree<Subscriber>()
    const model = new Model()
    for (const next of steps) {
      if (!take(tree, model, next)) throw new Error('add or remove told otherwise')
      if (tree.has(next.filter, next.subscriber) !== model.has(next.filter, next.subscriber)) throw new Error('has')
      if (tree.size !== model.subscriptions.size) throw new Error('size')
      for (const topic of topics) if (String(found(tree, topic)) !== String(model.found(topic))) throw new Error(`${topic}: ${String(found(tree, topic))}`)
    }
  }), { numRuns: 500 })
  t.end()
})

t.test('what was found for a topic is the same while its versions stand', t => {
  fc.assert(fc.property(steps, steps => {
    const tree = new SubscriptionTree<Subscriber>()
    const model = new Model()
    const plans = new Map(topics.map(topic => [topic, new Plan(tree, topic)]))
    for (const next of steps) {
      take(tree, model, next)
      for (const [topic, plan] of plans) {
        if (!plan.holds) plans.set(topic, new Plan(tree, topic))
        else if (String(plan.found) !== String(model.found(topic))) throw new Error(`${topic} is out of date`)
      }
    }
  }), { numRuns: 500 })
  t.end()
})

t.test('a change of an exact filter leaves what is known of other topics alone', t => {
  const tree = new SubscriptionTree<Subscriber>()
  tree.add('a', first, withQos(0))
  tree.add('b', first, withQos(0))
  const plan = new Plan(tree, 'a')
  tree.add('c', second, withQos(0))
  tree.add('b', second, withQos(0))
  tree.remove('b', first)
  tree.remove('c', second)
  t.ok(plan.holds)
  tree.add('a', second, withQos(0))
  t.notOk(plan.holds)
  t.end()
})

t.test('subscribing again with the same options changes nothing, with others replaces them [MQTT-3.8.4-3]', t => {
  const tree = new SubscriptionTree<Subscriber>()
  for (const filter of ['a', '+']) {
    t.ok(tree.add(filter, first, withQos(1)))
    const plan = new Plan(tree, 'a')
    t.notOk(tree.add(filter, first, withQos(1)))
    t.ok(plan.holds)
    t.notOk(tree.add(filter, first, withQos(2)))
    t.notOk(plan.holds)
    t.same(tree.get(filter, first), withQos(2))
  }
  t.equal(tree.size, 2)
  t.end()
})

t.test('each option counts as a change', t => {
  const changes: Partial<SubscriptionOptions>[] = [{ qos: 1 }, { noLocal: true }, { retainAsPublished: true }, { retainHandling: 2 }, { subscriptionIdentifier: 7 }]
  for (const change of changes) {
    const tree = new SubscriptionTree<Subscriber>()
    tree.add('a/#', first, withQos(0))
    const version = tree.wildcardVersion
    tree.add('a/#', first, { ...withQos(0), ...change })
    t.not(tree.wildcardVersion, version, Object.keys(change).join())
    t.match(tree.get('a/#', first), change)
  }
  t.end()
})

t.test('a match once found is not changed by what comes after it', t => {
  const tree = new SubscriptionTree<Subscriber>()
  const into: Match<Subscriber>[] = []
  tree.add('a', first, withQos(0))
  tree.match('a', into)
  tree.add('a', first, withQos(2))
  tree.remove('a', first)
  t.strictSame(into, [{ subscriber: first, options: withQos(0) }])
  t.end()
})

t.test('a subscriber comes once for each of its filters that match', t => {
  const tree = new SubscriptionTree<Subscriber>()
  const filters = ['a/b', 'a/#', 'a/+', '+/b', '#', '+/+', 'a/b/#']
  for (const filter of filters) tree.add(filter, first, withQos(0))
  t.equal(found(tree, 'a/b').length, filters.length)
  t.end()
})

t.test('an entry tells its last change, and its successor is another one', t => {
  const tree = new SubscriptionTree<Subscriber>()
  t.equal(tree.exact('a'), undefined)
  tree.add('a', first, withQos(0))
  const entry = tree.exact('a')
  const version = entry?.version
  tree.remove('a', first)
  t.not(entry?.version, version)
  t.equal(tree.exact('a'), undefined)
  tree.add('a', third, withQos(0))
  t.not(tree.exact('a'), entry)
  const into: Match<Subscriber>[] = []
  tree.exact('a')?.pushTo(into)
  t.strictSame(into, [{ subscriber: third, options: withQos(0) }])
  t.end()
})

t.test('what is not there is not removed', t => {
  const tree = new SubscriptionTree<Subscriber>()
  tree.add('a', first, withQos(0))
  tree.add('a/+', first, withQos(0))
  t.notOk(tree.remove('a', second))
  t.notOk(tree.remove('a/+', second))
  t.notOk(tree.remove('a/#', first))
  t.notOk(tree.remove('b', first))
  t.equal(tree.size, 2)
  t.end()
})

t.test('as many levels as the limits allow, every prefix subscribed to with wildcards', t => {
  const tree = new SubscriptionTree<Subscriber>()
  const depth = 64
  for (let levels = 1; levels <= depth; levels++) {
    const pluses = Array<string>(levels).fill('+').join('/')
    tree.add(pluses, first, withQos(0))
    tree.add(`${pluses}/#`, second, withQos(0))
  }
  t.equal(found(tree, Array<string>(depth).fill('a').join('/')).length, depth + 1)
  for (let levels = 1; levels <= depth; levels++) tree.remove(Array<string>(levels).fill('+').join('/'), first)
  t.equal(found(tree, Array<string>(depth).fill('a').join('/')).length, depth)
  t.end()
})

t.test('every way through + and a name, all ending in what the topic does not have', t => {
  const tree = new SubscriptionTree<Subscriber>()
  const depth = 10
  for (let way = 0; way < 2 ** depth; way++) {
    const levels = Array.from({ length: depth }, (_, i) => (way >> i & 1) === 1 ? '+' : 'a')
    tree.add([...levels, 'b', '+'].join('/'), first, withQos(0))
  }
  t.same(found(tree, Array<string>(depth + 2).fill('a').join('/')), [])
  t.equal(found(tree, [...Array<string>(depth).fill('a'), 'b', 'c'].join('/')).length, 2 ** depth)
  t.end()
})

t.test('a trie holds the paths that were set and not deleted, and nothing when all are gone', t => {
  fc.assert(fc.property(steps, steps => {
    const trie = new LevelTrie<{ path: string }>()
    const held = new Set<string>()
    for (const { filter: path, isRemoval } of steps) {
      if (isRemoval) {
        if (trie.delete(path) !== held.delete(path)) throw new Error(`delete ${path}`)
      } else {
        trie.set({ path })
        held.add(path)
      }
      for (const { filter: known } of steps) if ((trie.get(known)?.path === known) !== held.has(known)) throw new Error(`get ${known}`)
    }
    for (const path of held) trie.delete(path)
    return trie.root.isEmpty
  }), { numRuns: 500 })
  t.end()
})
