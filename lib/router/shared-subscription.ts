import type { Message } from '../contract/message.ts'
import type { DeliveryOptions } from '../contract/packet-sink.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import { QoS } from '../packet/packets.ts'
import type { Share } from '../session/delivery.ts'
import type { Session } from '../session/session.ts'
import type { DeliveryGate } from './delivery-gate.ts'
import type { Outgoing, RemoteNode } from './remote-node.ts'

/**
 * Who gets the next message of a Shared Subscription: each in turn; any; the same until it leaves; the one with the fewest
 * unacknowledged messages; always the same one for a Topic Name; always the same one for a publisher's Client Identifier.
 */
export const sharedSubscriptionStrategies = ['roundRobin', 'random', 'sticky', 'leastInFlight', 'hashTopic', 'hashClient'] as const
export type SharedSubscriptionStrategy = (typeof sharedSubscriptionStrategies)[number]

interface Member extends DeliveryOptions {
  readonly session: Session
  readonly retainAsPublished: boolean
  /** The same for a message with RETAIN 1, which Retain As Published lets through. */
  readonly asRetained: DeliveryOptions
}

/** The Sessions that share one Topic Filter under one ShareName: each message goes to one of them (section 4.8.2). */
export class SharedSubscription implements Share {
  readonly topicFilter: string
  readonly #strategy: SharedSubscriptionStrategy
  readonly #gate: () => DeliveryGate
  readonly #outgoing: Outgoing | undefined
  #members: Member[] = []
  /** Who had the last message. */
  #last = -1
  /** Other nodes with members, and how many of those are connected; in the order of their generations, which all nodes agree on. */
  #remotes: Map<RemoteNode, number> | undefined = undefined
  #turn = 0

  constructor (topicFilter: string, strategy: SharedSubscriptionStrategy, gate: () => DeliveryGate, outgoing: Outgoing | undefined) {
    this.topicFilter = topicFilter
    this.#strategy = strategy
    this.#gate = gate
    this.#outgoing = outgoing
  }

  get isEmpty (): boolean { return this.#members.length === 0 && this.#remotes === undefined }

  /** Members of this node that are connected; undefined when it has none at all. */
  get connectedCount (): number | undefined {
    return this.#members.length === 0 ? undefined : this.#members.filter(({ session }) => session.isAttached).length
  }

  /** What another node says of its members; undefined when it has none. */
  setRemote (node: RemoteNode, connected: number | undefined): void {
    const others = [...this.#remotes ?? []].filter(([other]) => other !== node)
    if (connected !== undefined) others.push([node, connected])
    this.#remotes = others.length === 0 ? undefined : new Map(others.sort(([a], [b]) => a.generation - b.generation))
  }

  set (session: Session, options: SubscriptionOptions): void {
    const member = newMember(session, options)
    const index = this.#members.findIndex(other => other.session === session)
    if (index === -1) this.#members.push(member)
    else this.#members[index] = member
  }

  delete (session: Session): void {
    const index = this.#members.findIndex(member => member.session === session)
    if (index === -1) return
    this.#members = this.#members.toSpliced(index, 1)
    if (index <= this.#last) this.#last--
  }

  /** Returns false when no member can have the message. */
  deliver (message: Message): boolean {
    const node = this.#remotes === undefined ? undefined : this.#chooseNode(message, this.#remotes)
    if (node !== undefined) return this.#send(message, node)
    return this.#deliverTo(message, undefined)
  }

  /** To a member of this node, which another one has chosen; where there is none any more, of another node. */
  deliverHere (message: Message): boolean {
    return this.#give(message, this.#choose(message, undefined, false)) || this.deliver(message)
  }

  redispatch (message: Message, session: object): boolean { return this.#deliverTo(message, session) }

  canRedispatch (message: Message, session: object, isOfflineToo: boolean): boolean {
    if (this.#remoteFor(message, isOfflineToo) !== undefined) return true
    const gate = this.#gate()
    return this.#members.some(member => member.session !== session && isEligible(member, message, isOfflineToo) && gate?.(member.session, message) !== false)
  }

  /** A connected member here, then one elsewhere, then one that is away. */
  #deliverTo (message: Message, except: object | undefined): boolean {
    if (this.#give(message, this.#choose(message, except, false))) return true
    const connected = this.#remoteFor(message, false)
    if (connected !== undefined) return this.#send(message, connected)
    return this.#give(message, this.#choose(message, except, true)) || this.#send(message, this.#remoteFor(message, true))
  }

  #send (message: Message, node: RemoteNode | undefined): boolean {
    if (node !== undefined) this.#outgoing?.sendShared(message, node, this.topicFilter)
    return node !== undefined
  }

  /** Any other node that has a member for the message. */
  #remoteFor ({ qos }: Message, isOfflineToo: boolean): RemoteNode | undefined {
    for (const [node, connected] of this.#remotes ?? []) {
      if (connected > 0 || (isOfflineToo && qos > QoS.atMostOnce)) return node
    }
    return undefined
  }

  /** The node whose turn it is among all connected members of the cluster; undefined for this one. */
  #chooseNode (message: Message, remotes: ReadonlyMap<RemoteNode, number>): RemoteNode | undefined {
    const here = this.connectedCount ?? 0
    let total = here
    for (const connected of remotes.values()) total += connected
    let turn = total === 0 ? 0 : this.#turnOf(message, total) - here
    for (const [node, connected] of remotes) {
      if (turn >= 0 && turn < connected) return node
      turn -= connected
    }
    return undefined
  }

  #turnOf (message: Message, total: number): number {
    switch (this.#strategy) {
      case 'hashTopic': return hash(message.topicName) % total
      case 'hashClient': return hash(message.publisher ?? '') % total
      case 'sticky': return this.#turn % total
      case 'random': return Math.floor(Math.random() * total)
      case 'roundRobin':
      case 'leastInFlight': return this.#turn++ % total
    }
  }

  #give (message: Message, member: Member | undefined): boolean {
    if (member === undefined) return false
    member.session.deliver(message, message.retain && member.retainAsPublished ? member.asRetained : member, this)
    return true
  }

  /** The first eligible member from the one that the strategy names on. */
  #choose (message: Message, except: object | undefined, isOfflineToo: boolean): Member | undefined {
    const members = this.#members
    const gate = this.#gate()
    const start = this.#start(message, except)
    for (let i = 0; i < members.length; i++) {
      const index = (start + i) % members.length
      const member = members[index] as Member
      if (member.session === except || !isEligible(member, message, isOfflineToo) || gate?.(member.session, message) === false) continue
      this.#last = index
      return member
    }
    return undefined
  }

  #start (message: Message, except: object | undefined): number {
    switch (this.#strategy) {
      case 'roundRobin': return this.#last + 1
      case 'random': return Math.floor(Math.random() * this.#members.length)
      case 'sticky': return Math.max(this.#last, 0)
      case 'leastInFlight': return this.#leastInFlight(except)
      case 'hashTopic': return hash(message.topicName)
      case 'hashClient': return hash(message.publisher ?? '')
    }
  }

  #leastInFlight (except: object | undefined): number {
    let least = this.#last + 1
    let fewest = Infinity
    for (let i = 1; i <= this.#members.length; i++) { // from the next on, so that equals take turns
      const index = (this.#last + i) % this.#members.length
      const { session } = this.#members[index] as Member
      const count = session.outbox.inFlightCount + session.outbox.waitingCount
      if (session === except || !session.isAttached || count >= fewest) continue
      least = index
      fewest = count
    }
    return least
  }
}

// QoS 0 is not kept for anybody, so only a connected member can have it.
function isEligible (member: Member, message: Message, isOfflineToo: boolean): boolean {
  return member.session.isAttached || (isOfflineToo && message.qos > QoS.atMostOnce && member.qos > QoS.atMostOnce)
}

function newMember (session: Session, options: SubscriptionOptions): Member {
  const { qos, retainAsPublished, subscriptionIdentifier } = options
  const subscriptionIdentifiers = subscriptionIdentifier === 0 ? [] : [subscriptionIdentifier]
  const asRetained = { qos, retain: true, subscriptionIdentifiers }
  return { session, qos, retain: false, retainAsPublished, subscriptionIdentifiers, asRetained }
}

function hash (text: string): number {
  let value = 0
  for (let i = 0; i < text.length; i++) value = (Math.imul(value, 31) + text.charCodeAt(i)) | 0
  return (value ^ (value >>> 15)) >>> 0
}
