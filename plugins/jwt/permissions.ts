import { BoundedMap, type Claims, type ClientInfo, type ConnectionInfo, type Hooks, type PublishRequest, type SubscribeRequest } from '../../lib/index.ts'

/** What one Client may do by its token, and what it was found to be allowed to publish to. */
interface Rights {
  readonly client: ClientInfo
  /** The claims they were made of: others, after the Client has authenticated anew, make others. */
  readonly claims: Claims
  /** Topic Filters, as levels. */
  readonly publish: readonly string[][]
  readonly subscribe: readonly string[][]
  readonly decisions: BoundedMap<string, boolean>
  /** What was last published to, and whether it may be. */
  lastTopic: string
  mayPublishLast: boolean
}

/** Topic Names that are remembered of each Client: it mostly publishes to those it published to last. */
const maximumDecisions = 32

const placeholder = /\$\{(\w*)\}/g

/** Rules that come with a token: a claim with lists of Topic Filters `{ pub, sub, all }`. */
export class Permissions {
  readonly hooks: Hooks<unknown, never> = { authorizePublish: request => this.#mayPublish(request), authorizeSubscribe: request => this.#maySubscribe(request) }
  readonly #claim: string
  readonly #rights = new WeakMap<ClientInfo, Rights>()
  /** Who came with which token: whoever came with none is not judged here. A Client's claims may have those of others among them. */
  readonly #tokens = new WeakMap<ConnectionInfo, Claims>()
  /** Of the Client that was asked about last: its messages come several at a time. */
  #last: Rights | undefined = undefined

  constructor (claim: string) { this.#claim = claim }

  /** Who comes by this connection may do what these claims say, and nothing else. */
  add (connection: ConnectionInfo, claims: Claims): void {
    this.#tokens.set(connection, claims)
    this.#last = undefined
  }

  /** Whether two tokens give the same rights. */
  areSame (one: Claims, other: Claims): boolean { return JSON.stringify(one[this.#claim]) === JSON.stringify(other[this.#claim]) }

  #mayPublish ({ client, topicName }: PublishRequest): boolean {
    const last = this.#last
    const rights = last?.client === client ? last : this.#last = this.#rightsOf(client)
    if (rights === undefined) return true
    if (topicName !== rights.lastTopic) {
      rights.mayPublishLast = rights.decisions.get(topicName) ?? decide(rights, topicName)
      rights.lastTopic = topicName
    }
    return rights.mayPublishLast
  }

  /** A Topic Filter is allowed when one that was granted covers all that it matches: so there is nothing left to decide for each message. */
  #maySubscribe ({ client, topicFilter }: SubscribeRequest): boolean {
    const rights = this.#rightsOf(client)
    const asked = topicFilter.replace(/^\$share\/[^/]*\//, '').split('/')
    return rights === undefined || rights.subscribe.some(granted => covers(granted, asked))
  }

  /** Undefined for whoever was let in by something else. */
  #rightsOf (client: ClientInfo): Rights | undefined {
    const claims = this.#tokens.get(client.connection)
    if (claims === undefined) return undefined
    const known = this.#rights.get(client)
    if (known?.claims === claims) return known
    const lists = this.#listsOf(claims)
    const listed = (name: 'pub' | 'sub'): string[][] => [lists(name), lists('all')].flat().flatMap(filter => filled(filter, client) ?? []).map(filter => filter.split('/'))
    const rights: Rights = { client, claims, publish: listed('pub'), subscribe: listed('sub'), decisions: new BoundedMap(maximumDecisions), lastTopic: '', mayPublishLast: false }
    this.#rights.set(client, rights)
    return rights
  }

  /** The lists of Topic Filters by name; empty for what is no list, so that what is written wrongly allows nothing. */
  #listsOf (claims: Claims): (name: string) => string[] {
    const value = Object.hasOwn(claims, this.#claim) ? claims[this.#claim] : undefined
    const lists = new Map<string, unknown>(Object.entries(value ?? {}))
    return name => [lists.get(name)].flat().filter(filter => typeof filter === 'string')
  }
}

function decide ({ publish, decisions }: Rights, topicName: string): boolean {
  const levels = topicName.split('/') // a Topic Name is a Topic Filter that matches nothing but itself
  const isAllowed = publish.some(granted => covers(granted, levels))
  decisions.set(topicName, isAllowed)
  return isAllowed
}

/** A Topic Filter with the Client's names in it; undefined where a name would reach further than its own level. */
function filled (filter: string, { clientIdentifier, username }: ClientInfo): string | undefined {
  const names = new Map([['clientid', clientIdentifier], ['username', username]])
  const isSafe = [...filter.matchAll(placeholder)].every(([, name = '']) => isName(names.get(name) ?? ''))
  return isSafe ? filter.replace(placeholder, (_all, name: string) => names.get(name) ?? '') : undefined
}

/** One level, without wildcards; and none that begins like `$SYS` or `$share`. */
function isName (value: string): boolean { return /^[^$+#/][^+#/]*$/.test(value) }

/** Whether every Topic Name that one Topic Filter matches is matched by another one, too (section 4.7). */
export function covers (granted: readonly string[], asked: readonly string[]): boolean {
  const [first = ''] = granted
  if (asked[0]?.startsWith('$') === true && (first === '+' || first === '#')) return false // [MQTT-4.7.2-1]
  for (let i = 0; i < granted.length; i++) {
    const level = granted[i]
    if (level === '#') return i === granted.length - 1
    if (i >= asked.length || asked[i] === '#' || (level !== '+' && level !== asked[i])) return false
  }
  return granted.length === asked.length
}
