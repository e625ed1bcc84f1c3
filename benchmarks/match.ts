// What the subscription tree and the retained messages cost: `node --expose-gc --experimental-strip-types benchmarks/match.ts [count…]`
import { defaultLimits } from '../lib/base/limits.ts'
import type { SubscriptionOptions } from '../lib/contract/subscription.ts'
import { RetainedMessages } from '../lib/router/retained-messages.ts'
import type { Retainable } from '../lib/router/retained-messages.ts'
import { SubscriptionTree } from '../lib/router/subscription-tree.ts'
import type { Match } from '../lib/router/subscription-tree.ts'
import { Topic } from '../lib/topic/topic.ts'

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

function seconds (work: () => void): number {
  const start = process.hrtime.bigint()
  work()
  return Number(process.hrtime.bigint() - start) / 1e9
}

function heap (): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

// Flat strings, as the decoder makes them: templates are ropes until somebody reads them.
function flat (count: number, text: (i: number) => string): string[] {
  return Array.from({ length: count }, (_, i) => Buffer.from(text(i)).toString())
}

function subscriptions (count: number): void {
  const filters = flat(count, filterOf)
  const topics = flat(100_000, i => topicOf((i * 7919) % count))
  const subscribers = Array.from({ length: Math.ceil(count / 4) }, (_, id) => ({ id }))
  const tree = new SubscriptionTree<{ id: number }>()
  const before = heap()
  const adding = seconds(() => {
    filters.forEach((filter, i) => tree.add(filter, subscribers[i >> 2] ?? { id: i }, options))
  })
  const bytes = (heap() - before) / count
  const found: Match<{ id: number }>[] = []
  const matching = seconds(() => { for (const topic of topics) tree.match(topic, found) })
  const removing = seconds(() => { filters.forEach((filter, i) => tree.remove(filter, subscribers[i >> 2] ?? { id: i })) })
  console.log(`${count} subscriptions: ${Math.round(count / adding)} adds/s, ${Math.round(count / removing)} removes/s, ${bytes.toFixed(0)} bytes each, ` +
    `${(matching / topics.length * 1e6).toFixed(2)} µs/match (${(found.length / topics.length).toFixed(2)} matches), ${tree.size} left`)
}

function retained (count: number): void {
  const messages = flat(count, i => `site/${i % 1000}/devices/${i}/state`)
    .map((name, i): Retainable => ({ topic: new Topic(name), payload, expiresAt: expiryOf(i), size: 200 }))
  const store = new RetainedMessages<Retainable>(defaultLimits)
  const before = heap()
  const storing = seconds(() => { for (const message of messages) store.set(message) })
  const bytes = (heap() - before) / count
  const replacing = seconds(() => { for (const message of messages) store.set(message) })
  const all = seconds(() => store.match('#', 0))
  const branch = seconds(() => { for (let i = 0; i < 1000; i++) store.match(`site/${i}/#`, 0) }) / 1000
  const named = seconds(() => store.match('site/+/devices/+/state', 0))
  console.log(`${store.count} retained: stored in ${storing.toFixed(3)} s, replaced in ${replacing.toFixed(3)} s, ${bytes.toFixed(0)} bytes each, ` +
    `"#" ${(all * 1e3).toFixed(1)} ms, "site/N/#" ${(branch * 1e6).toFixed(1)} µs, "site/+/devices/+/state" ${(named * 1e3).toFixed(1)} ms`)
}

/** One in two never expires. */
function expiryOf (i: number): number {
  return i % 2 === 0 ? Infinity : 1e12 + i
}

const counts = process.argv.slice(2).map(Number)
for (const count of counts.length > 0 ? counts : [100_000, 1_000_000]) subscriptions(count)
retained(100_000)
