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

const none: readonly number[] = []

/** One decision for one Session, however many of its filters match (section 3.3.4). */
export class Recipient implements DeliveryOptions, Judged {
  readonly session: Session
  readonly qos: QoS
  readonly retain: boolean = false
  readonly retainAsPublished: boolean
  readonly subscriptionIdentifiers: readonly number[]
  /** The decision where this Session is itself the publisher: without No Local subscriptions; undefined when those are all. */
  readonly forPublisher: Recipient | undefined
  /** The same for a message with RETAIN 1 where Retain As Published is set [MQTT-3.3.1-13]. */
  readonly asRetained: DeliveryOptions
  /** What was decided of the Session's Client and this topic. */
  verdict: TopicVerdict | undefined = undefined

  constructor (session: Session, options: readonly SubscriptionOptions[]) {
    const identifiers = options.map(({ subscriptionIdentifier }) => subscriptionIdentifier).filter(identifier => identifier > 0)
    this.session = session
    this.qos = Math.max(...options.map(({ qos }) => qos)) as QoS // [MQTT-3.3.4-2]
    this.retainAsPublished = options.some(({ retainAsPublished }) => retainAsPublished)
    this.subscriptionIdentifiers = identifiers.length === 0 ? none : identifiers // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
    this.asRetained = { qos: this.qos, retain: true, subscriptionIdentifiers: this.subscriptionIdentifiers }
    this.forPublisher = this.#withoutNoLocal(options)
  }

  #withoutNoLocal (options: readonly SubscriptionOptions[]): Recipient | undefined {
    const rest = options.filter(({ noLocal }) => !noLocal) // [MQTT-3.8.3-3]
    if (rest.length === options.length) return this
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
    tree.match(topicName, matches)
    this.recipients = recipientsOf(matches)
    const subscribers = matches.map(({ subscriber }) => subscriber)
    this.shares = subscribers.filter(subscriber => subscriber instanceof SharedSubscription)
    this.remotes = [...new Set(subscribers.filter(subscriber => subscriber instanceof RemoteNode))]
    this.#wildcardVersion = tree.wildcardVersion
    this.#exact = tree.exact(topicName)
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

function recipientsOf (matches: readonly Match<Subscriber>[]): Recipient[] {
  const bySession = new Map<Session, SubscriptionOptions[]>()
  for (const { subscriber, options } of matches) {
    if (!(subscriber instanceof Session)) continue
    const known = bySession.get(subscriber)
    if (known === undefined) bySession.set(subscriber, [options])
    else known.push(options)
  }
  return [...bySession].map(([session, options]) => new Recipient(session, options))
}
