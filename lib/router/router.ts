import type { Limits } from '../base/limits.ts'
import type { DropReason } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import type { RetainHandling } from '../packet/packets.ts'
import type { Session } from '../session/session.ts'
import type { DropTarget } from '../session/session-services.ts'
import type { Journal } from '../store/journal.ts'
import { parseTopicFilter, type ParsedTopicFilter } from '../topic/topic-filter.ts'
import type { Topic } from '../topic/topic.ts'
import type { DeliveryGate } from './delivery-gate.ts'
import { DeliveryPlan, type Subscriber } from './delivery-plan.ts'
import { PlanCache } from './plan-cache.ts'
import { LocalRoutes } from './local-routes.ts'
import type { Outgoing, RemoteNode } from './remote-node.ts'
import { RetainedMessages } from './retained-messages.ts'
import { SharedOptions } from './shared-options.ts'
import { SharedSubscription, type SharedSubscriptionStrategy } from './shared-subscription.ts'
import { SubscriptionTree } from './subscription-tree.ts'

/** What the router is built with. */
export interface RouterServices {
  readonly limits: Limits
  readonly sharedSubscriptionStrategy: SharedSubscriptionStrategy
  /** Whether each delivery is to be asked about; read again for each message, since plugins may come. */
  deliveryGate (): DeliveryGate
  dropped (target: DropTarget | undefined, message: Message, reason: DropReason): void
  /** Where retained messages are kept; undefined where they end with the process. */
  readonly journal: Journal | undefined
}

/** Who gets an Application Message: keeps the tree, the Shared Subscriptions and the Sessions in step. */
export class Router {
  readonly retained: RetainedMessages<Message>
  /** What this node wants of the others; undefined where there are none. */
  routes: LocalRoutes | undefined = undefined
  readonly #tree = new SubscriptionTree<Subscriber>()
  readonly #shares = new Map<string, SharedSubscription>()
  readonly #services: RouterServices
  readonly #options = new SharedOptions()
  readonly #plans = new PlanCache()
  #subscriptionCount = 0
  /** The way to the other nodes of a cluster. */
  #outgoing: Outgoing | undefined = undefined

  constructor (services: RouterServices) {
    this.#services = services
    this.retained = new RetainedMessages(services.limits)
  }

  /** There are other nodes; nobody has subscribed yet. */
  join (outgoing: Outgoing): void {
    this.#outgoing = outgoing
    this.routes = new LocalRoutes()
  }

  /** The Shared Subscription of that filter, `$share/{ShareName}/{filter}`. */
  share (topicFilter: string): SharedSubscription | undefined { return this.#shares.get(topicFilter) }

  /** Removes retained messages that have expired, and what was remembered of topics and holds no longer. */
  sweep (now: number): void {
    this.#plans.sweep(this.#tree)
    this.retained.sweep(now, (topicName, expiresAt) => {
      if (this.#outgoing === undefined) this.#services.journal?.forgetRetained(topicName)
      else this.#outgoing.retainedExpired(topicName, expiresAt)
    })
  }

  /** Subscriptions of all Sessions. */
  get subscriptionCount (): number { return this.#subscriptionCount }

  get sharedSubscriptionCount (): number { return this.#shares.size }

  /** Retains the message if it says so, and hands it to every Session that is to get it; returns how many that were. */
  route (message: Message, publisher: Session | undefined): number {
    if (message.retain) this.#retain(message)
    const plan = this.#plan(message.topic)
    const { remotes } = plan
    if (remotes.length > 0 && !message.topicName.startsWith('$SYS/')) this.#outgoing?.send(message)
    let count = this.#routeShared(message, plan) + remotes.length
    // The same as #routeHere, which as a call would cost each QoS 0 message 50 bytes (benchmark guard, Node 26).
    const gate = this.#services.deliveryGate()
    const { recipients } = plan
    for (let i = 0; i < recipients.length; i++) {
      const recipient = recipients[i]?.session === publisher ? recipients[i]?.forPublisher : recipients[i]
      if (recipient === undefined) continue
      if (gate?.(recipient.session, message, recipient) === false) {
        this.#services.dropped(recipient.session, message, 'notAuthorized')
        continue
      }
      recipient.session.deliver(message, message.retain && recipient.retainAsPublished ? recipient.asRetained : recipient, undefined)
      count++
    }
    return count
  }

  /**
   * Hands on what another node has sent, which was retained by then, if it says so.
   * @param isForAll for every Session of this node that subscribed
   * @param shares Shared Subscriptions of which a member of this node is to get it
   */
  routeFromRemote (message: Message, publisher: Session | undefined, isForAll: boolean, shares: readonly string[]): void {
    if (isForAll) this.#routeHere(message, publisher, this.#plan(message.topic))
    for (const topicFilter of shares) this.#shares.get(topicFilter)?.deliverHere(message)
  }

  /** Other nodes that want a topic, as far as is known now. */
  remotesOf (topic: Topic): readonly RemoteNode[] { return this.#plan(topic).remotes }

  #routeHere (message: Message, publisher: Session | undefined, plan: DeliveryPlan): number {
    let count = 0
    const gate = this.#services.deliveryGate()
    const { recipients } = plan
    for (let i = 0; i < recipients.length; i++) {
      const recipient = recipients[i]?.session === publisher ? recipients[i]?.forPublisher : recipients[i]
      if (recipient === undefined) continue
      if (gate?.(recipient.session, message, recipient) === false) {
        this.#services.dropped(recipient.session, message, 'notAuthorized')
        continue
      }
      recipient.session.deliver(message, message.retain && recipient.retainAsPublished ? recipient.asRetained : recipient, undefined)
      count++
    }
    return count
  }

  /** Adds or replaces a subscription in the Session and the tree together; true when it is new. */
  subscribe (session: Session, parsed: ParsedTopicFilter, topicFilter: string, given: SubscriptionOptions): boolean {
    const options = this.#options.of(given)
    const isNew = !session.subscriptions.has(topicFilter)
    session.setSubscription(topicFilter, options)
    if (parsed.shareName === undefined) this.#tree.add(parsed.filter, session, options)
    else this.#share(topicFilter, parsed.filter, options).set(session, options)
    if (isNew) this.#count(topicFilter, parsed.shareName, 1)
    return isNew
  }

  #count (topicFilter: string, shareName: string | undefined, change: 1 | -1): void {
    this.#subscriptionCount += change
    if (shareName === undefined) this.routes?.count(topicFilter, change)
    else this.routes?.set(topicFilter, this.#shares.get(topicFilter)?.connectedCount)
  }

  /** A Session has got a connection, or has lost it: other nodes want to know where the connected members of Shared Subscriptions are. */
  connectionChanged ({ subscriptions }: Session): void {
    if (this.routes === undefined) return
    for (const topicFilter of subscriptions.keys()) {
      const share = this.#shares.get(topicFilter)
      if (share !== undefined) this.routes.set(topicFilter, share.connectedCount)
    }
  }

  /** What another node wants, or, without a count, does not want any more. */
  setRemote (node: RemoteNode, topicFilter: string, connected: number | undefined): void {
    const { filter, shareName } = parseTopicFilter(topicFilter, unlimited)
    if (connected === undefined) node.routes.delete(topicFilter)
    else node.routes.set(topicFilter, connected)
    if (shareName !== undefined) this.#setRemoteShare(node, topicFilter, filter, connected)
    else if (connected === undefined) this.#tree.remove(filter, node)
    else this.#tree.add(filter, node, plain)
  }

  #setRemoteShare (node: RemoteNode, topicFilter: string, filter: string, connected: number | undefined): void {
    this.#share(topicFilter, filter, plain).setRemote(node, connected)
    this.#pruneShare(topicFilter, filter)
  }

  /** Removes a subscription from both; false when there was none. */
  unsubscribe (session: Session, topicFilter: string): boolean {
    if (!session.subscriptions.has(topicFilter)) return false
    const { filter, shareName } = parseTopicFilter(topicFilter, this.#services.limits)
    session.deleteSubscription(topicFilter)
    if (shareName === undefined) this.#tree.remove(filter, session)
    else this.#leaveShare(session, topicFilter, filter)
    this.#count(topicFilter, shareName, -1)
    return true
  }

  /** The Session is another node's now: what it has is that one's to hand on. */
  forget (session: Session): void {
    for (const topicFilter of [...session.subscriptions.keys()]) this.unsubscribe(session, topicFilter)
  }

  /** The Session has ended: nothing may lead to it any more. */
  removeSession (session: Session): void {
    this.redispatchShared(session, true)
    for (const topicFilter of [...session.subscriptions.keys()]) this.unsubscribe(session, topicFilter)
  }

  /**
   * The Session has no connection, or has ended: other members take what it got through Shared Subscriptions (section 4.8.2).
   * Members that are away take it only from one that has ended.
   */
  redispatchShared (session: Session, isEnded = false): void {
    // What is stored here stays, as long as it could not be stored elsewhere.
    if (!isEnded && session.isDurable && this.#services.journal?.isFailing === true) return
    session.outbox.extractShared(isEnded, delivery => {
      if (delivery.share?.redispatch(delivery.message, session) !== true) session.outbox.restore(delivery)
    })
  }

  /** Hands a new subscription its retained messages (section 3.3.1.3); a Shared Subscription gets none. */
  replayRetained (session: Session, parsed: ParsedTopicFilter, options: SubscriptionOptions, isNew: boolean, now: number): void {
    if (this.retained.count === 0 || parsed.shareName !== undefined || !isReplayed(options.retainHandling, isNew)) return
    const messages = this.#permitted(session, this.retained.match(parsed.filter, now))
    const subscriptionIdentifiers = options.subscriptionIdentifier === 0 ? [] : [options.subscriptionIdentifier]
    session.outbox.replay(messages, { qos: options.qos, retain: true, subscriptionIdentifiers }) // [MQTT-3.3.1-9]
  }

  #permitted (session: Session, messages: readonly Message[]): readonly Message[] {
    const gate = this.#services.deliveryGate()
    if (gate === undefined) return messages
    return messages.filter(message => {
      const isPermitted = gate(session, message)
      if (!isPermitted) this.#services.dropped(session, message, 'notAuthorized')
      return isPermitted
    })
  }

  #plan (topic: Topic): DeliveryPlan {
    const known = topic.plan
    if (known instanceof DeliveryPlan && known.isCurrent(this.#tree, topic.name)) return known
    const plan = new DeliveryPlan(this.#tree, topic.name)
    this.#plans.set(topic, plan)
    return plan
  }

  #routeShared (message: Message, { shares }: DeliveryPlan): number {
    let count = 0
    for (let i = 0; i < shares.length; i++) if (shares[i]?.deliver(message) === true) count++
    return count
  }

  #retain (message: Message): void {
    const before = this.#outgoing === undefined ? undefined : this.retained.get(message.topicName)
    const isRemoval = message.payloadLength === 0
    const isChanged = isRemoval
      ? this.retained.delete(message.topicName) // [MQTT-3.3.1-6]
      : this.retained.set(message.keep())
    const isToKeep = isChanged || (isRemoval && this.#outgoing !== undefined) // another node may have set one that is not known here yet
    if (isToKeep && !message.topicName.startsWith('$SYS/')) this.#keep(message, before) // those are made anew all the time
    if (!isChanged && !isRemoval) this.#services.dropped(undefined, message, 'retainedFull')
  }

  #keep (message: Message, before: Message | undefined): void {
    this.#outgoing?.retained(message.topicName, before)
    this.#services.journal?.retain(message)
  }

  #share (topicFilter: string, filter: string, options: SubscriptionOptions): SharedSubscription {
    const known = this.#shares.get(topicFilter)
    if (known !== undefined) return known
    const share = new SharedSubscription(topicFilter, this.#services.sharedSubscriptionStrategy, () => this.#services.deliveryGate(), this.#outgoing)
    this.#shares.set(topicFilter, share)
    this.#tree.add(filter, share, options)
    return share
  }

  #leaveShare (session: Session, topicFilter: string, filter: string): void {
    this.#shares.get(topicFilter)?.delete(session)
    this.#pruneShare(topicFilter, filter)
  }

  #pruneShare (topicFilter: string, filter: string): void {
    const share = this.#shares.get(topicFilter)
    if (share?.isEmpty !== true) return
    this.#shares.delete(topicFilter)
    this.#tree.remove(filter, share)
  }
}

/** How another node subscribes: what its Sessions asked for is its own affair. */
const plain: SubscriptionOptions = { qos: 2, noLocal: false, retainAsPublished: true, retainHandling: 2, subscriptionIdentifier: 0 }
/** Another node has checked its filters. */
const unlimited = { maximumTopicLength: Infinity, maximumTopicLevels: Infinity }

// [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
function isReplayed (retainHandling: RetainHandling, isNew: boolean): boolean {
  return retainHandling === 0 || (retainHandling === 1 && isNew)
}
