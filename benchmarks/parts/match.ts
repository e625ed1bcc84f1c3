// What the subscription tree and the retained messages cost: `node --expose-gc match.js [subscriptions…]`
import { argv } from 'node:process'
import { defaultLimits } from '../../lib/base/limits.ts'
import type { SubscriptionOptions } from '../../lib/contract/subscription.ts'
import { RetainedMessages, type Retainable } from '../../lib/router/retained-messages.ts'
import { SubscriptionTree, type Match } from '../../lib/router/subscription-tree.ts'
import { Topic } from '../../lib/topic/topic.ts'
import { keptBytes } from './allocation.ts'
import { cpuNanoseconds, runAlone, type Cost } from './measure.ts'

const options: SubscriptionOptions = { qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 }
const payload = Buffer.alloc(64)

/** A device in four has each of these; `group/…` is shared by ten. */
const shapes: readonly ((device: number) => string)[] = [
  device => `devices/${device}/command`,
  device => `devices/${device}/+/state`,
  device => `site/${device % 1000}/devices/${device}/#`,
  device => `group/${Math.floor(device / 40)}/notice`,
]

function filterOf (i: number): string {
  return shapes[i % shapes.length]?.(i) ?? ''
}

function topicOf (i: number): string {
  return [`devices/${i}/command`, `devices/${i}/lamp/state`, `site/${i % 1000}/devices/${i}/lamp/state`, `group/${Math.floor(i / 40)}/notice`][i % 4] ?? ''
}

// Flat strings, as the decoder makes them: templates are ropes until somebody reads them.
function flat (count: number, text: (i: number) => string): string[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(text(i)).toString())
}

function subscriptions (count: number): Cost[] {
  const filters = flat(count, filterOf)
  const topics = flat(100_000, i => topicOf((i * 7919) % count))
  const subscribers = Array.from({ length: Math.ceil(count / 4) }, (_, id) => ({ id }))
  const subscriberOf = (i: number): { id: number } => subscribers[i >> 2] ?? { id: i }
  const tree = new SubscriptionTree<{ id: number }>()
  const before = keptBytes()
  const adding = cpuNanoseconds(() => { filters.forEach((filter, i) => tree.add(filter, subscriberOf(i), options)) })
  const kept = (keptBytes() - before) / count
  const found: Match<{ id: number }>[] = []
  const matching = cpuNanoseconds(() => { for (const topic of topics) tree.match(topic, found) })
  const removing = cpuNanoseconds(() => { filters.forEach((filter, i) => tree.remove(filter, subscriberOf(i))) })
  if (tree.size > 0 || found.length < topics.length) throw new Error('the tree is wrong')
  const among = `, ${count.toLocaleString('en')} subscriptions of mixed shape`
  return [
    { name: `subscribe${among}`, nanoseconds: adding / count, kept },
    { name: `match${among}`, nanoseconds: matching / topics.length },
    { name: `unsubscribe${among}`, nanoseconds: removing / count },
  ]
}

function retained (count: number): Cost[] {
  const messages = flat(count, i => `site/${i % 1000}/devices/${i}/state`)
    .map((name, i): Retainable => ({ topic: new Topic(name), payload, expiresAt: expiryOf(i), size: 200 }))
  const store = new RetainedMessages<Retainable>(defaultLimits)
  const before = keptBytes()
  const storing = cpuNanoseconds(() => { for (const message of messages) store.set(message) })
  const kept = (keptBytes() - before) / count
  const replacing = cpuNanoseconds(() => { for (const message of messages) store.set(message) })
  const all = cpuNanoseconds(() => store.match('#', 0))
  const branch = cpuNanoseconds(() => { for (let i = 0; i < 1000; i++) store.match(`site/${i}/#`, 0) })
  const among = `, ${count.toLocaleString('en')} retained`
  return [
    { name: `retain${among}`, nanoseconds: storing / count, kept },
    { name: `retain in the place of another${among}`, nanoseconds: replacing / count },
    { name: `replay "#"${among}, for each`, nanoseconds: all / count },
    { name: `replay "site/N/#"${among}, for each`, nanoseconds: branch / count },
  ]
}

/** One in two never expires. */
function expiryOf (i: number): number {
  return i % 2 === 0 ? Infinity : 1e12 + i
}

function costs (): Cost[] {
  const counts = argv.slice(2).map(Number).filter(count => count > 0)
  return [...(counts.length > 0 ? counts : [100_000, 1_000_000]).flatMap(subscriptions), ...retained(100_000)]
}

runAlone(import.meta.url, costs)
