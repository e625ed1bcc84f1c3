import { Deadlines } from '../base/deadlines.ts'
import type { Limits } from '../base/limits.ts'
import { Branch, LevelTrie } from '../topic/level-trie.ts'
import type { TrieNode } from '../topic/level-trie.ts'
import { dollar, levelEnd, multiLevel, singleLevel } from '../topic/levels.ts'
import { levelsMatch } from '../topic/topic-filter.ts'
import type { Topic } from '../topic/topic.ts'

/** What the store needs to know of an Application Message. */
export interface Retainable {
  readonly topic: Topic
  readonly payload: Buffer
  /** Milliseconds since the epoch, `Infinity` for never (Message Expiry Interval, section 3.3.2.3.3). */
  readonly expiresAt: number
  /** Bytes that it occupies, roughly. */
  readonly size: number
}

/** Where the retained message of one topic is; replacing it moves nothing else. */
class Place<M extends Retainable> {
  readonly path: string
  message: M
  /** Of the message; here, since one that is replaced has left the processor's caches, and what it would count with it. */
  size: number

  constructor (message: M, size: number) {
    this.path = message.topic.name
    this.message = message
    this.size = size
  }
}

type Node<M extends Retainable> = TrieNode<Place<M>>

/** What one look through the store is after. */
interface Search<M> {
  readonly filter: string
  readonly now: number
  readonly found: M[]
}

/**
 * The Retained Messages (section 3.3.1.3), by Topic Name in a trie: what a Topic Filter matches costs as much as there is of it, however
 * many there are in all. Expired ones are never found by a filter, and go with the next `sweep`.
 */
export class RetainedMessages<M extends Retainable> {
  readonly #limits: Pick<Limits, 'maximumRetainedMessages' | 'maximumRetainedBytes'>
  readonly #places = new Map<string, Place<M>>()
  readonly #trie: LevelTrie<Place<M>> = new LevelTrie<Place<M>>()
  // Names, not messages: one that is replaced or deleted must not live on until its time has come.
  #expiries: Deadlines<string> = new Deadlines<string>()
  #bytes = 0

  constructor (limits: Pick<Limits, 'maximumRetainedMessages' | 'maximumRetainedBytes'>) {
    this.#limits = limits
  }

  /** Number of messages. */
  get count (): number { return this.#places.size }

  /** Bytes of all messages, by their own account. */
  get bytes (): number { return this.#bytes }

  /** Stores a message in the place of the one before it [MQTT-3.3.1-5]. False when that would pass a limit; the one before it stays then. */
  set (message: M): boolean {
    const place = this.#places.get(message.topic.name)
    const { size } = message
    const bytes = this.#bytes + size - (place?.size ?? 0)
    if (place === undefined && this.#places.size >= this.#limits.maximumRetainedMessages) return false
    if (bytes > this.#limits.maximumRetainedBytes) return false
    if (place === undefined) this.#insert(new Place(message, size))
    else {
      place.message = message
      place.size = size
    }
    this.#bytes = bytes
    this.#expire(message)
    return true
  }

  /** Removes the message of a topic [MQTT-3.3.1-6]; false when there was none. */
  delete (topicName: string): boolean {
    const place = this.#places.get(topicName)
    if (place === undefined) return false
    this.#places.delete(topicName)
    this.#trie.delete(topicName)
    this.#bytes -= place.size
    return true
  }

  /** The message of a topic, even one that has expired and is not swept yet. */
  get (topicName: string): M | undefined {
    return this.#places.get(topicName)?.message
  }

  /** Every message that a Topic Filter (valid, without `$share/`) matches at `now`, in milliseconds since the epoch. */
  match (filter: string, now: number): M[] {
    const search: Search<M> = { filter, now, found: [] }
    matchBelow(this.#trie.root, 0, 0, search)
    return search.found
  }

  /** Removes what has expired at `now`, telling `each` its Topic Name, and returns how many that were. */
  sweep (now: number, each?: (topicName: string, expiresAt: number) => void): number {
    let swept = 0
    for (let name = this.#expiries.take(now); name !== undefined; name = this.#expiries.take(now)) {
      const message = this.get(name)
      if (message !== undefined && message.expiresAt <= now && this.delete(name)) {
        swept++
        each?.(name, message.expiresAt)
      }
    }
    return swept
  }

  /** All messages, in the order in which their topics came. */
  * [Symbol.iterator] (): IterableIterator<M> {
    for (const place of this.#places.values()) yield place.message
  }

  #insert (place: Place<M>): void {
    this.#places.set(place.path, place)
    this.#trie.set(place)
  }

  #expire (message: M): void {
    if (message.expiresAt === Infinity) return
    this.#expiries.add(message.expiresAt, message.topic.name)
    if (this.#expiries.length > 2 * this.#places.size + 1024) this.#forgetOldExpiries()
  }

  /** Messages that are replaced leave their expiry behind; this keeps the list as long as the store, at the price of O(1) for each. */
  #forgetOldExpiries (): void {
    this.#expiries = new Deadlines<string>()
    for (const message of this) {
      if (message.expiresAt !== Infinity) this.#expiries.add(message.expiresAt, message.topic.name)
    }
  }
}

/** @param start where the levels below `branch` begin in their Topic Names; `filterStart` is the same in the filter */
function matchBelow<M extends Retainable> (branch: Branch<Place<M>>, start: number, filterStart: number, search: Search<M>): void {
  const { filter } = search
  const code = filter.charCodeAt(filterStart)
  if (filterStart > filter.length) take(branch.own, search)
  else if (code === multiLevel || code === singleLevel) matchChildren(branch, start, filterStart, search)
  else {
    const end = levelEnd(filter, filterStart)
    const child = branch.literal(filter, filterStart, end)
    if (child !== undefined) matchNode(child, start + end - filterStart + 1, end + 1, search)
  }
}

function matchChildren<M extends Retainable> (branch: Branch<Place<M>>, start: number, filterStart: number, search: Search<M>): void {
  const isMultiLevel = search.filter.charCodeAt(filterStart) === multiLevel
  if (isMultiLevel) take(branch.own, search) // the parent level, too (4.7.1.2)
  branch.forEach((child, name) => {
    if (start === 0 && name.charCodeAt(0) === dollar) return // [MQTT-4.7.2-1]
    if (isMultiLevel) takeAll(child, search)
    else matchNode(child, start + name.length + 1, filterStart + 2, search)
  })
}

function takeAll<M extends Retainable> (node: Node<M>, search: Search<M>): void {
  if (!(node instanceof Branch)) {
    take(node, search)
    return
  }
  take(node.own, search)
  node.forEach(child => { takeAll(child, search) })
}

// As deep as the filter or the topics have levels, which have a limit.
function matchNode<M extends Retainable> (node: Node<M>, start: number, filterStart: number, search: Search<M>): void {
  if (node instanceof Branch) matchBelow(node, start, filterStart, search)
  else if (levelsMatch(search.filter, filterStart, node.path, start)) take(node, search)
}

function take<M extends Retainable> (place: Place<M> | undefined, search: Search<M>): void {
  if (place !== undefined && place.message.expiresAt > search.now) search.found.push(place.message)
}
