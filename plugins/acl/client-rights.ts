import type { Claims, ClientInfo, Message, Subscription } from '../../lib/index.ts'
import { levelsOf } from './filter-tree.ts'
import { TopicCache } from './topic-cache.ts'
import { variantOf, Verdicts, type AppliedRule, type Question } from './verdicts.ts'

/** What holds where no rule matches. A message that may be subscribed to is delivered unless a rule denies it. */
export interface Defaults { readonly publish: boolean, readonly subscribe: boolean, readonly deliver: boolean }

/** What is the same for every Client. */
export interface CommonRules {
  readonly verdicts: Verdicts
  readonly defaults: Defaults
  readonly limits: { readonly cacheSize: number }
}

/** What one Client may do, for as long as it is who it was. */
export class ClientRights {
  readonly client: ClientInfo
  readonly #common: CommonRules
  readonly #own: Verdicts
  readonly #clientIdentifier: string
  readonly #username: string | undefined
  readonly #claims: Claims
  readonly #published: TopicCache
  readonly #delivered: TopicCache
  /** What was last published to, and whether it may be: Clients mostly publish to the topic of their last message. */
  #lastTopic = ''
  #mayPublishLast = false

  constructor (client: ClientInfo, common: CommonRules, own: readonly AppliedRule[]) {
    const { clientIdentifier, username, claims } = client
    this.client = client
    this.#common = common
    this.#own = new Verdicts(own)
    this.#clientIdentifier = clientIdentifier
    this.#username = username
    this.#claims = claims
    this.#published = new TopicCache(common.limits.cacheSize)
    this.#delivered = new TopicCache(common.limits.cacheSize)
  }

  /** False when the Client has authenticated anew, and differs since. */
  get isCurrent (): boolean {
    const { client } = this
    return this.#claims === client.claims && this.#username === client.username && this.#clientIdentifier === client.clientIdentifier
  }

  mayPublish (topicName: string, message: Message): boolean {
    if (this.#own.isParticular) return this.#mayPublish(topicName, message, variantOf(message))
    if (topicName !== this.#lastTopic) {
      this.#mayPublishLast = this.#mayPublish(topicName, message, 0)
      this.#lastTopic = topicName
    }
    return this.#mayPublishLast
  }

  mayGet (topicName: string): boolean {
    return this.#delivered.get(topicName, 0) ?? this.#delivered.set(topicName, 0, this.#judge(delivery, topicName))
  }

  /** Whether everything may be subscribed to that a filter, which may be that of a Shared Subscription, can match. */
  maySubscribe (topicFilter: string, { qos }: Subscription): boolean {
    return this.#judge({ action: 'subscribe', qos, retain: false }, withoutShare(topicFilter))
  }

  #mayPublish (topicName: string, { qos, retain }: Message, variant: number): boolean {
    return this.#published.get(topicName, variant) ?? this.#published.set(topicName, variant, this.#judge({ action: 'publish', qos, retain }, topicName))
  }

  /** The first rule that matches decides. For a filter: all of it has to be allowed before any of it is denied. */
  #judge (question: Question, topic: string): boolean {
    const levels = levelsOf(topic)
    const { allow, deny } = this.#own.ask(question, levels, this.#common.verdicts.ask(question, levels))
    return allow === deny ? this.#common.defaults[question.action] : allow < deny
  }
}

const delivery: Question = { action: 'deliver', qos: 0, retain: false }

function withoutShare (topicFilter: string): string {
  return topicFilter.startsWith('$share/') ? topicFilter.slice(topicFilter.indexOf('/', '$share/'.length) + 1) : topicFilter
}
