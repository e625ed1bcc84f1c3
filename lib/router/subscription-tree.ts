import type { SubscriptionOptions } from '../contract/subscription.ts'
import { Branch, LevelTrie } from '../topic/level-trie.ts'
import type { TrieNode } from '../topic/level-trie.ts'
import { dollar, levelEnd } from '../topic/levels.ts'
import { hasWildcard, levelsMatch } from '../topic/topic-filter.ts'
import { Subscribers } from './subscribers.ts'
import type { Match } from './subscribers.ts'

export type { Match } from './subscribers.ts'

/** The subscribers of a filter without wildcards, which is a Topic Name then. */
export interface ExactEntry<S> {
  /** Changes with each change of the subscribers, also with the last one's leaving, after which the entry is dead. */
  readonly version: number
  /** Pushes the subscribers onto `into`. */
  pushTo (into: Match<S>[]): void
}

class ExactSubscribers<S extends object> extends Subscribers<S> {
  version = 0
}

class WildcardSubscribers<S extends object> extends Subscribers<S> {
  readonly path: string

  constructor (path: string) {
    super()
    this.path = path
  }
}

/**
 * Who subscribed to what: finds the subscriptions that match a Topic Name in O(levels + matches). It knows nothing of sessions,
 * shares or connections. Filters without wildcards are in a Map, the others in a trie; filters and options must be valid.
 *
 * What a caller has found for a topic holds while three numbers stand: `wildcardVersion`, and the `version` of the topic's
 * {@link ExactEntry}, or `exactVersion` if it has none.
 */
export class SubscriptionTree<S extends object> {
  readonly #exact = new Map<string, ExactSubscribers<S>>()
  readonly #wildcards: LevelTrie<WildcardSubscribers<S>> = new LevelTrie<WildcardSubscribers<S>>()
  #size = 0
  #wildcardVersion = 0
  #exactVersion = 0

  /** Number of subscriptions: pairs of a filter and a subscriber. */
  get size (): number { return this.#size }

  /** Changes with each change of a subscription with wildcards. */
  get wildcardVersion (): number { return this.#wildcardVersion }

  /** Changes when a filter without wildcards that nobody had gets its first subscriber. */
  get exactVersion (): number { return this.#exactVersion }

  /** Adds a subscription or replaces its options [MQTT-3.8.4-3]; true when it is new. */
  add (filter: string, subscriber: S, options: SubscriptionOptions): boolean {
    const subscribers = this.#subscribers(filter) ?? this.#grow(filter)
    const known = subscribers.get(subscriber)
    // A Client that comes back asks for what it has: nobody's cached matches need to go for that.
    if (known !== undefined && isSame(known, options)) return false
    subscribers.set(subscriber, options)
    this.#changed(subscribers)
    if (known === undefined) this.#size++
    return known === undefined
  }

  /** Removes a subscription; false when there was none. */
  remove (filter: string, subscriber: S): boolean {
    const subscribers = this.#subscribers(filter)
    if (subscribers?.delete(subscriber) !== true) return false
    if (subscribers.isEmpty) this.#prune(filter, subscribers)
    this.#changed(subscribers)
    this.#size--
    return true
  }

  get (filter: string, subscriber: S): SubscriptionOptions | undefined {
    return this.#subscribers(filter)?.get(subscriber)
  }

  has (filter: string, subscriber: S): boolean {
    return this.get(filter, subscriber) !== undefined
  }

  /** The entry of the filter that is this Topic Name, if somebody has it. */
  exact (topicName: string): ExactEntry<S> | undefined {
    return this.#exact.get(topicName)
  }

  /** Pushes every subscription that matches onto `into`: a subscriber comes once for each of its filters that do. Returns what `exact` does. */
  match (topicName: string, into: Match<S>[]): ExactEntry<S> | undefined {
    const exact = this.#exact.get(topicName)
    exact?.pushTo(into)
    matchBelow(this.#wildcards.root, 0, topicName, 0, into)
    return exact
  }

  #subscribers (filter: string): ExactSubscribers<S> | WildcardSubscribers<S> | undefined {
    return hasWildcard(filter) ? this.#wildcards.get(filter) : this.#exact.get(filter)
  }

  #grow (filter: string): ExactSubscribers<S> | WildcardSubscribers<S> {
    if (hasWildcard(filter)) {
      const subscribers = new WildcardSubscribers<S>(filter)
      this.#wildcards.set(subscribers)
      return subscribers
    }
    const subscribers = new ExactSubscribers<S>()
    this.#exact.set(filter, subscribers)
    this.#exactVersion++
    return subscribers
  }

  /** Clients cannot grow the tree by subscribing and leaving. */
  #prune (filter: string, subscribers: Subscribers<S>): void {
    if (subscribers instanceof ExactSubscribers) this.#exact.delete(filter)
    else this.#wildcards.delete(filter)
  }

  #changed (subscribers: Subscribers<S>): void {
    if (subscribers instanceof ExactSubscribers) subscribers.version++
    else this.#wildcardVersion++
  }
}

type Node<S extends object> = TrieNode<WildcardSubscribers<S>>

/** @param filterStart where the levels below `branch` begin in their filters; `start` is the same in the Topic Name */
function matchBelow<S extends object> (branch: Branch<WildcardSubscribers<S>>, filterStart: number, topicName: string, start: number, into: Match<S>[]): void {
  // [MQTT-4.7.2-1]
  const takesWildcards = start > 0 || topicName.charCodeAt(0) !== dollar
  if (takesWildcards) branch.multiLevel?.pushTo(into) // the parent level, too (4.7.1.2)
  if (start > topicName.length) {
    branch.own?.pushTo(into)
    return
  }
  const end = levelEnd(topicName, start)
  if (takesWildcards && branch.singleLevel !== undefined) matchNode(branch.singleLevel, filterStart + 2, topicName, end + 1, into)
  const child = branch.literal(topicName, start, end)
  if (child !== undefined) matchNode(child, filterStart + end - start + 1, topicName, end + 1, into)
}

// As deep as the topic has levels, which have a limit; each node is visited once at most.
function matchNode<S extends object> (node: Node<S>, filterStart: number, topicName: string, start: number, into: Match<S>[]): void {
  if (node instanceof Branch) matchBelow(node, filterStart, topicName, start, into)
  else if (levelsMatch(node.path, filterStart, topicName, start)) node.pushTo(into)
}

function isSame (a: SubscriptionOptions, b: SubscriptionOptions): boolean {
  return a === b || (a.qos === b.qos && a.noLocal === b.noLocal && a.retainAsPublished === b.retainAsPublished &&
    a.retainHandling === b.retainHandling && a.subscriptionIdentifier === b.subscriptionIdentifier)
}
