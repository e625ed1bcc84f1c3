import t from 'tap'
import fc from 'fast-check'
import { defaultLimits } from '../lib/base/limits.ts'
import { Metrics } from '../lib/base/metrics.ts'
import { silentLogger } from '../lib/contract/logger.ts'
import { Message } from '../lib/contract/message.ts'
import type { SubscriptionOptions } from '../lib/contract/subscription.ts'
import { DeliveryPlan, type Recipient, type Subscriber } from '../lib/router/delivery-plan.ts'
import { RemoteNode } from '../lib/router/remote-node.ts'
import { Router } from '../lib/router/router.ts'
import { SharedSubscription } from '../lib/router/shared-subscription.ts'
import { SubscriptionTree } from '../lib/router/subscription-tree.ts'
import { InboundTopicAliases } from '../lib/protocol/client/topic-alias.ts'
import { Session } from '../lib/session/session.ts'
import { parseTopicFilter, topicMatches } from '../lib/topic/topic-filter.ts'
import { emptyTopic, TopicTable, type Topic } from '../lib/topic/topic.ts'
import { FakeClock } from './support/fake-clock.ts'

const services = {
  limits: defaultLimits, metrics: new Metrics(), clock: new FakeClock(), logger: silentLogger, dropped: () => undefined, isRetained: () => true,
}
const sessions = Array.from({ length: 12 }, (_, i) => new Session(`session ${i}`, services))
const shares = ['a', 'b'].map(name => new SharedSubscription(`$share/${name}/t`, 'roundRobin', () => undefined, undefined))
const nodes = [1, 2].map(generation => new RemoteNode(generation, `node ${generation}`))
const everybody: readonly Subscriber[] = [...sessions, ...shares, ...nodes]
const filters = ['a/b', 'a', '#', 'a/#', '+/b', 'a/+', '+/+', 'a/b/#']
const topicNames = ['a/b', 'a', 'b', 'a/c']

interface Subscription { readonly filter: string, readonly subscriber: Subscriber, readonly options: SubscriptionOptions }

const subscription: fc.Arbitrary<Subscription> = fc.record({
  filter: fc.constantFrom(...filters),
  subscriber: fc.constantFrom(...everybody),
  options: fc.record({
    qos: fc.constantFrom(0, 1, 2), noLocal: fc.boolean(), retainAsPublished: fc.boolean(), retainHandling: fc.constant(0), subscriptionIdentifier: fc.nat(3),
  }),
})

/** What a Recipient says, as text in an order of its own. */
function said (recipient: Recipient | undefined): string {
  if (recipient === undefined) return 'nothing'
  const { session, qos, retain, retainAsPublished, subscriptionIdentifiers, asRetained, forPublisher } = recipient
  const retained = `${asRetained.qos} ${asRetained.retain} ${[...asRetained.subscriptionIdentifiers].sort().join()}`
  return [session.clientIdentifier, qos, retain, retainAsPublished, [...subscriptionIdentifiers].sort().join(), retained, forPublisher === recipient ? 'same' : said(forPublisher)].join(' | ')
}

/** The same by the words of the specification, without any thought for speed. */
function expected (session: Session, options: readonly SubscriptionOptions[]): string {
  if (options.length === 0) return 'nothing'
  const identifiers = options.map(({ subscriptionIdentifier }) => subscriptionIdentifier).filter(identifier => identifier > 0).sort().join()
  const qos = Math.max(...options.map(own => own.qos))
  const others = options.filter(({ noLocal }) => !noLocal)
  const forPublisher = others.length === options.length ? 'same' : expected(session, others)
  return [session.clientIdentifier, qos, false, options.some(own => own.retainAsPublished), identifiers, `${qos} true ${identifiers}`, forPublisher].join(' | ')
}

t.test('a plan says what the subscriptions that match say together, however many they are', t => {
  fc.assert(fc.property(fc.array(subscription, { maxLength: 60 }), fc.constantFrom(...topicNames), (given, topicName) => {
    const tree = new SubscriptionTree<Subscriber>()
    const last = new Map(given.map(one => [`${everybody.indexOf(one.subscriber)} ${one.filter}`, one]))
    for (const { filter, subscriber, options } of given) tree.add(filter, subscriber, options)
    const matching = [...last.values()].filter(({ filter }) => topicMatches(filter, topicName))
    const optionsOf = (subscriber: Subscriber): SubscriptionOptions[] => matching.filter(one => one.subscriber === subscriber).map(({ options }) => options)
    const plan = new DeliveryPlan(tree, topicName)
    t.strictSame(plan.recipients.map(said).sort(), sessions.map(session => expected(session, optionsOf(session))).filter(text => text !== 'nothing').sort())
    t.strictSame(plan.shares.map(({ topicFilter }) => topicFilter).sort(), shares.flatMap(share => optionsOf(share).map(() => share.topicFilter)).sort())
    t.strictSame(plan.remotes.map(({ name }) => name).sort(), nodes.filter(node => optionsOf(node).length > 0).map(({ name }) => name))
  }))
  t.end()
})

t.test('a table of topics gives each its name, and the same object again where it says that it will', t => {
  fc.assert(fc.property(fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'é', 'x'.repeat(5000)), { maxLength: 50 }), names => {
    const table = new TopicTable(2)
    for (const name of names) {
      const topic = table.named(name)
      if (topic.name !== name || topic.bytes.toString() !== name || topic.byteLength !== topic.bytes.length) return false
      if (topic.isFleeting === (table.named(name) === topic)) return false
    }
    return true
  }))
  t.end()
})

t.test('a topic that comes now and then drives no busy one out, one that comes twice takes its place', t => {
  const table = new TopicTable(1)
  const busy = table.named('busy')
  for (let i = 0; i < 10; i++) {
    t.ok(table.named(`rare ${i}`).isFleeting)
    t.equal(table.named('busy'), busy)
  }
  t.ok(table.named('often').isFleeting)
  const often = table.named('often')
  t.notOk(often.isFleeting)
  t.equal(table.named('often'), often)
  t.end()
})

function routerFor (topicFilter: string): Router {
  const router = new Router({ limits: defaultLimits, sharedSubscriptionStrategy: 'roundRobin', deliveryGate: () => undefined, dropped: () => undefined, journal: undefined })
  router.subscribe(new Session('a', services), parseTopicFilter(topicFilter, defaultLimits), topicFilter, { qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 })
  return router
}

function messageOf (topic: Topic): Message {
  return new Message({ payload: Buffer.from('x'), qos: 1, retain: true, properties: undefined }, topic, undefined)
}

t.test('topics that do not come again keep no plan, even if they are retained; those that do keep theirs', t => {
  const router = routerFor('#')
  const table = new TopicTable(1)
  const topics = Array.from({ length: 10 }, (_, i) => table.named(String(i)))
  for (const topic of topics) t.equal(router.route(messageOf(topic), undefined), 1)
  t.strictSame(topics.map(({ plan }) => plan !== undefined), [true, ...new Array<boolean>(8).fill(false), true], 'the first has the slot, the last is the last')
  t.equal(router.retained.count, 10)
  t.end()
})

t.test('a topic that a Topic Alias stands for keeps its plan', t => {
  const router = routerFor('#')
  const table = new TopicTable(1)
  table.named('first')
  const aliases = new InboundTopicAliases(2)
  const topics = [aliases.resolve(1, table.named('a')), aliases.resolve(2, table.named('b'))]
  for (const topic of topics) router.route(messageOf(topic), undefined)
  const plans = topics.map(({ plan }) => plan)
  t.ok(plans[0])
  for (const alias of [1, 2]) router.route(messageOf(aliases.resolve(alias, emptyTopic)), undefined)
  t.strictSame(topics.map(({ plan }, i) => plan === plans[i]), [true, true])
  t.end()
})
