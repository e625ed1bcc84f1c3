import { addressPrefix, type ClientInfo } from '../../lib/index.ts'
import { ClientRights, type CommonRules, type Defaults } from './client-rights.ts'
import { Identity, type GroupSources } from './identity.ts'
import { Verdicts, type AppliedRule } from './verdicts.ts'
import type { Rule } from './rule.ts'

/** What bounds the memory that rules take for each Client. */
export interface RuleLimits {
  /** Topics whose verdict is remembered for a Client, of those it publishes to and of those it gets. */
  readonly cacheSize: number
  /** Filters that one rule may have for one Client by claims that are lists. */
  readonly maximumFilters: number
}

/**
 * Rules, ready to be asked. What holds for everybody alike is kept once. The others are found by user, Client Identifier or group, and
 * are put together for each Client when it is first asked about.
 */
export class RuleSet implements CommonRules {
  readonly verdicts: Verdicts
  readonly defaults: Defaults
  readonly limits: RuleLimits
  /** Whether any message may have to be kept from somebody who subscribed to it. */
  readonly hasDeliver: boolean
  readonly #groups: GroupSources
  readonly #byUser = new Map<string | undefined, Rule[]>()
  readonly #byClient = new Map<string, Rule[]>()
  readonly #byGroup = new Map<string, Rule[]>()
  readonly #others: Rule[] = []

  constructor (rules: readonly Rule[], defaults: Defaults, groups: GroupSources, limits: RuleLimits) {
    this.defaults = defaults
    this.limits = limits
    this.hasDeliver = !defaults.deliver || rules.some(({ isAllow, actions }) => !isAllow && actions.includes('deliver'))
    this.#groups = groups
    const common = rules.filter(isForAll)
    this.verdicts = new Verdicts(common.map(rule => ({ rule, filters: rule.topics.map(topic => topic.fixed) })))
    for (const rule of rules) if (!isForAll(rule)) this.#file(rule)
  }

  /** What a Client may do, as far as it is known now. */
  rightsOf (client: ClientInfo): ClientRights {
    const identity = new Identity(client, this.#groups)
    const candidates = [
      ...this.#others, ...this.#byUser.get(client.username) ?? [], ...this.#byClient.get(client.clientIdentifier) ?? [],
      ...[...new Set(identity.groups)].flatMap(group => this.#byGroup.get(group) ?? []),
    ]
    const rules = candidates.filter(rule => isFor(rule, identity)).map((rule): AppliedRule => ({
      rule, filters: rule.topics.flatMap(topic => topic.filtersFor(identity, rule.isAllow, this.limits.maximumFilters)),
    }))
    return new ClientRights(client, this, rules)
  }

  /** By the condition that fewest Clients meet. */
  #file (rule: Rule): void {
    if (rule.users !== undefined) for (const user of new Set(rule.users)) fileUnder(this.#byUser, user, rule)
    else if (rule.clients !== undefined) for (const client of new Set(rule.clients)) fileUnder(this.#byClient, client, rule)
    else if (rule.groups !== undefined) for (const group of new Set(rule.groups)) fileUnder(this.#byGroup, group, rule)
    else this.#others.push(rule)
  }
}

function fileUnder<K> (index: Map<K, Rule[]>, key: K, rule: Rule): void {
  const rules = index.get(key)
  if (rules === undefined) index.set(key, [rule])
  else rules.push(rule)
}

/** Whether a rule is the same for every Client and every message. */
function isForAll (rule: Rule): boolean {
  const { users, groups, clients, addresses, listeners, qos, retain, isForPlainNames, topics } = rule
  return [users, groups, clients, addresses, listeners, qos, retain, isForPlainNames].every(condition => condition === undefined) && topics.every(({ isFixed }) => isFixed)
}

function isFor (rule: Rule, { client, groups }: Identity): boolean {
  const { username, clientIdentifier, connection: { listener, remoteAddress } } = client
  return rule.users?.includes(username) !== false &&
    rule.clients?.includes(clientIdentifier) !== false &&
    rule.groups?.some(group => groups.includes(group)) !== false &&
    (rule.listeners === undefined || (listener !== undefined && rule.listeners.includes(listener))) &&
    (rule.addresses === undefined || (isAddress(remoteAddress) ? rule.addresses.has(remoteAddress) : !rule.isAllow)) &&
    (rule.isForPlainNames !== true || !/[+#]/.test(clientIdentifier + (username ?? '')))
}

/** A host may tell anything where an address should be. */
function isAddress (text: string | undefined): text is string { return text !== undefined && addressPrefix(text) !== undefined }
