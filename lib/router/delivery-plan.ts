import type { DeliveryOptions } from '../contract/packet-sink.ts'
import type { Message } from '../contract/message.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import type { QoS } from '../packet/packets.ts'
import { Session } from '../session/session.ts'
import { topicMatches } from '../topic/topic-filter.ts'
import type { Judged, TopicVerdict } from './delivery-gate.ts'
import { RemoteNode } from './remote-node.ts'
import { SharedSubscription } from './shared-subscription.ts'
import type { ExactEntry, Match, SubscriptionTree } from './subscription-tree.ts'

/** Who can subscribe in the tree. */
export type Subscriber = Session | SharedSubscription | RemoteNode

/** Shared by all of which there is nothing, as most topics have no recipients, shares or other nodes. */
const none: readonly never[] = []

/** One decision for one Session, however many of its filters match (section 3.3.4). */
export class Recipient implements DeliveryOptions, Judged {
  readonly session: Session
  readonly qos: QoS
  readonly retain: boolean = false
  readonly retainAsPublished: boolean
  readonly subscriptionIdentifiers: readonly number[]
  /** The decision where this Session is itself the publisher: without No Local subscriptions; undefined when those are all. */
  readonly forPublisher: Recipient | undefined
  /** What was decided of the Session's Client and this topic. */
  verdict: TopicVerdict | undefined = undefined
  #asRetained: DeliveryOptions | undefined = undefined

  constructor (session: Session, options: readonly SubscriptionOptions[]) {
    let qos: QoS = 0
    let retainAsPublished = false
    let identifiers: number[] | undefined
    for (const own of options) {
      if (own.qos > qos) qos = own.qos // [MQTT-3.3.4-2]
      if (own.retainAsPublished) retainAsPublished = true
      if (own.subscriptionIdentifier > 0) (identifiers ??= []).push(own.subscriptionIdentifier) // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    }
    this.session = session
    this.qos = qos
    this.retainAsPublished = retainAsPublished
    this.subscriptionIdentifiers = identifiers ?? none
    this.forPublisher = this.#withoutNoLocal(options)
  }

  /** The same for a message with RETAIN 1 where Retain As Published is set [MQTT-3.3.1-13]. */
  get asRetained (): DeliveryOptions {
    return this.#asRetained ??= { qos: this.qos, retain: true, subscriptionIdentifiers: this.subscriptionIdentifiers }
  }

  #withoutNoLocal (options: readonly SubscriptionOptions[]): Recipient | undefined {
    if (!options.some(({ noLocal }) => noLocal)) return this
    const rest = options.filter(({ noLocal }) => !noLocal) // [MQTT-3.8.3-3]
    return rest.length === 0 ? undefined : new Recipient(this.session, rest)
  }
}

/**
 * Who gets the messages of one Topic Name. Kept on the `Topic` and used again until a subscription changed that concerns it:
 * so a message costs no look-up while its publisher stays with its topics.
 */
export class DeliveryPlan {
  readonly recipients: readonly Recipient[]
  readonly shares: readonly SharedSubscription[]
  /** Other nodes that want the topic. */
  readonly remotes: readonly RemoteNode[]
  readonly #wildcardVersion: number
  readonly #exact: ExactEntry<Subscriber> | undefined
  #exactVersion: number

  constructor (tree: SubscriptionTree<Subscriber>, topicName: string) {
    const matches: Match<Subscriber>[] = []
    this.#exact = tree.match(topicName, matches)
    this.recipients = recipientsOf(matches)
    this.shares = sharesOf(matches)
    this.remotes = remotesOf(matches)
    this.#wildcardVersion = tree.wildcardVersion
    this.#exactVersion = this.#exact?.version ?? tree.exactVersion
  }

  isCurrent (tree: SubscriptionTree<Subscriber>, topicName: string): boolean {
    if (this.#wildcardVersion !== tree.wildcardVersion) return false
    if (this.#exact !== undefined) return this.#exact.version === this.#exactVersion
    if (this.#exactVersion === tree.exactVersion) return true
    if (tree.exact(topicName) !== undefined) return false
    this.#exactVersion = tree.exactVersion // new exact filters, none of them this topic
    return true
  }
}

/** The decision for one Session alone; undefined when none of its filters, Shared Subscriptions apart, matches. */
export function recipientOf (session: Session, { topicName, publisher }: Message): Recipient | undefined {
  const options = [...session.subscriptions].filter(([topicFilter]) => topicMatches(topicFilter, topicName)).map(([, own]) => own)
  const recipient = options.length === 0 ? undefined : new Recipient(session, options)
  return publisher === session.clientIdentifier ? recipient?.forPublisher : recipient
}

/** So few matches are compared with each other in less time than a Map takes. */
const few = 8

function recipientsOf (matches: readonly Match<Subscriber>[]): readonly Recipient[] {
  if (matches.length > few) return recipientsOfMany(matches)
  let recipients: Recipient[] | undefined
  for (let i = 0; i < matches.length; i++) {
    const { subscriber } = matches[i] as Match<Subscriber>
    if (!(subscriber instanceof Session) || isBefore(matches, i, subscriber)) continue
    const recipient = new Recipient(subscriber, optionsOf(matches, i))
    if (recipients === undefined) recipients = [recipient]
    else recipients.push(recipient)
  }
  return recipients ?? none
}

function isBefore (matches: readonly Match<Subscriber>[], end: number, session: Session): boolean {
  for (let i = 0; i < end; i++) if (matches[i]?.subscriber === session) return true
  return false
}

/** Those of the match at `first`, and of the others of its subscriber, which come later. */
function optionsOf (matches: readonly Match<Subscriber>[], first: number): readonly SubscriptionOptions[] {
  const { subscriber, options } = matches[first] as Match<Subscriber>
  const all = [options]
  for (let i = first + 1; i < matches.length; i++) {
    const match = matches[i] as Match<Subscriber>
    if (match.subscriber === subscriber) all.push(match.options)
  }
  return all
}

function recipientsOfMany (matches: readonly Match<Subscriber>[]): readonly Recipient[] {
  const bySession = new Map<Session, SubscriptionOptions[]>()
  for (const { subscriber, options } of matches) {
    if (!(subscriber instanceof Session)) continue
    const known = bySession.get(subscriber)
    if (known === undefined) bySession.set(subscriber, [options])
    else known.push(options)
  }
  const recipients: Recipient[] = []
  bySession.forEach((options, session) => { recipients.push(new Recipient(session, options)) })
  return recipients
}

function sharesOf (matches: readonly Match<Subscriber>[]): readonly SharedSubscription[] {
  let shares: SharedSubscription[] | undefined
  for (const { subscriber } of matches) if (subscriber instanceof SharedSubscription) (shares ??= []).push(subscriber)
  return shares ?? none
}

function remotesOf (matches: readonly Match<Subscriber>[]): readonly RemoteNode[] {
  let remotes: RemoteNode[] | undefined
  for (const { subscriber } of matches) {
    if (subscriber instanceof RemoteNode && remotes?.includes(subscriber) !== true) (remotes ??= []).push(subscriber)
  }
  return remotes ?? none
}
