import { addressList, type AddressList, type MqttError, type QoS } from '../../lib/index.ts'
import { isRecord, isText } from './checks.ts'
import { FilterTemplate } from './filter-template.ts'

/** What a rule is about: PUBLISH and Will Messages, subscriptions, or each message on its way to a Client. */
export type Action = 'publish' | 'subscribe' | 'deliver'

/** One of them, or several. */
type Some<T> = T | readonly T[]

/** Whom and what a rule is for. All that is given must hold; of a list, one. */
export interface RuleConditions {
  /** Topic Filters. `${clientId}`, `${username}` and `${claims.…}` stand for what is known of the Client, a claim that is a list for each of its elements, one within others by `${claims.a.b}`. */
  readonly topics: Some<string>
  /** User Names; null stands for Clients without one. */
  readonly users?: Some<string | null>
  /** Groups of the option `groups`, or of the claim `groupsClaim`. */
  readonly groups?: Some<string>
  /** Client Identifiers. Clients choose them, unless `authenticate` does. */
  readonly clients?: Some<string>
  /** Addresses, or ranges as in `10.0.0.0/8`. A denying rule holds for Clients without an address, too. */
  readonly addresses?: Some<string>
  /** Names of listeners. */
  readonly listeners?: Some<string>
  /** Of the message that is published, or of the subscription. */
  readonly qos?: Some<QoS>
  /** Of the message that is published. */
  readonly retain?: boolean
}

/** Allows or denies something to somebody. */
export type AccessRule =
  | (RuleConditions & { readonly allow: Some<Action>, readonly deny?: never })
  | (RuleConditions & { readonly deny: Some<Action>, readonly allow?: never })

/** A rule that was read and checked. */
export interface Rule {
  /** Its place: of those that match, the lowest decides. */
  readonly number: number
  readonly isAllow: boolean
  readonly actions: readonly Action[]
  readonly topics: readonly FilterTemplate[]
  readonly users?: readonly (string | undefined)[]
  readonly groups?: readonly string[]
  readonly clients?: readonly string[]
  readonly addresses?: AddressList
  readonly listeners?: readonly string[]
  readonly qos?: readonly QoS[]
  readonly retain?: boolean
  /** Never for a Client whose User Name or Client Identifier has a wildcard, whether it is filled in or not: as Mosquitto has it. */
  readonly isForPlainNames?: boolean
}

/** Makes the error that says which field must be what. */
export interface Complain {
  (field: string, expected: string, got: unknown): MqttError
  /** Of a field that there is not. */
  readonly unknown: (field: string, fields: Iterable<string>) => MqttError
}

const actions: readonly Action[] = ['publish', 'subscribe', 'deliver']
const fields: ReadonlySet<string> = new Set(['allow', 'deny', 'topics', 'users', 'groups', 'clients', 'addresses', 'listeners', 'qos', 'retain'])

/**
 * Checks rules, whose form nobody vouches for.
 * @throws what `complain` makes, for the first thing that is wrong
 */
export function parseRules (rules: unknown, complain: Complain): Rule[] {
  if (!Array.isArray(rules)) throw complain('rules', 'a list of rules', rules)
  return rules.map((rule: unknown, number) => new RuleReader(rule, `rules[${number}]`, complain).read(number))
}

/** Reads one rule. */
class RuleReader {
  readonly #rule: Readonly<Record<string, unknown>>
  readonly #name: string
  readonly #complain: Complain

  constructor (rule: unknown, name: string, complain: Complain) {
    if (!isRecord(rule)) throw complain(name, 'an object', rule)
    this.#rule = rule
    this.#name = name
    this.#complain = complain
  }

  read (number: number): Rule {
    for (const field of Object.keys(this.#rule)) if (!fields.has(field)) throw this.#complain.unknown(`${this.#name}.${field}`, fields)
    const isAllow = this.#has('allow')
    if (isAllow === this.#has('deny')) throw this.#complain(this.#name, 'a rule with either "allow" or "deny"', isAllow ? 'both' : 'neither')
    const rule = { number, isAllow, actions: this.#list(isAllow ? 'allow' : 'deny', isAction, actions.join(', ')), topics: this.#topics(), ...this.#conditions() }
    if (rule.actions.includes('deliver') && (this.#has('qos') || this.#has('retain'))) throw this.#complain(this.#name, 'a rule without "qos" and "retain", as it is for "deliver"', 'one')
    if (rule.actions.includes('subscribe') && this.#has('retain')) throw this.#complain(this.#name, 'a rule without "retain", as it is for "subscribe"', 'one')
    return rule
  }

  #conditions (): Omit<Rule, 'number' | 'isAllow' | 'actions' | 'topics'> {
    return {
      ...this.#has('users') && { users: this.#list('users', isUser, 'a User Name or null').map(user => user ?? undefined) },
      ...this.#has('groups') && { groups: this.#texts('groups') },
      ...this.#has('clients') && { clients: this.#texts('clients') },
      ...this.#has('listeners') && { listeners: this.#texts('listeners') },
      ...this.#has('addresses') && { addresses: this.#addresses() },
      ...this.#has('qos') && { qos: this.#list('qos', isQoS, '0, 1 or 2') },
      ...this.#has('retain') && { retain: this.#retain() },
    }
  }

  #has (field: string): boolean { return this.#rule[field] !== undefined }

  /** One value or several, of which each is checked. An empty list is none: it would look like a rule and be none. */
  #list<T> (field: string, isRight: (value: unknown) => value is T, expected: string): T[] {
    const value = this.#rule[field]
    const list: readonly unknown[] = Array.isArray(value) ? value : [value]
    if (list.length === 0) throw this.#wrong(field, 'a list that is not empty', '[]')
    return list.map(element => {
      if (!isRight(element)) throw this.#wrong(field, expected, element)
      return element
    })
  }

  #texts (field: string): string[] { return this.#list(field, isText, 'a text that is not empty, or a list of them') }

  #topics (): FilterTemplate[] {
    return this.#texts('topics').map(topic => {
      const template = new FilterTemplate(topic.split(placeholder))
      const fault = placeholderFault(topic) ?? filterFault(template.filledWith('x'))
      if (fault !== undefined) throw this.#wrong('topics', fault, topic)
      return template
    })
  }

  #addresses (): AddressList {
    const texts = this.#texts('addresses')
    const list = addressList(texts)
    if (list === undefined) throw this.#wrong('addresses', 'addresses, or ranges such as 10.0.0.0/8', texts.join(', '))
    return list
  }

  #retain (): boolean {
    const { retain } = this.#rule
    if (typeof retain !== 'boolean') throw this.#wrong('retain', 'true or false', retain)
    return retain
  }

  #wrong (field: string, expected: string, got: unknown): MqttError {
    return this.#complain(`${this.#name}.${field}`, expected, got)
  }
}

const placeholder = /\$\{(clientId|username|claims\.[^}]+)\}/

function placeholderFault (topic: string): string | undefined {
  const rest = topic.split(placeholder).filter((_, index) => index % 2 === 0).join('')
  return rest.includes('${') ? 'filters whose places are ${clientId}, ${username} or ${claims.…}' : undefined
}

/** Why a text is no Topic Filter that a rule may have (sections 4.7.1 and 4.7.3), as the end of "must be …". */
export function filterFault (filter: string): string | undefined {
  if (filter === '' || filter.includes('\0')) return 'filters of at least one character and without U+0000'
  if (filter.startsWith('$share/')) return 'filters without $share/, since a Shared Subscription is judged by what is shared'
  const levels = filter.split('/')
  const isWrong = levels.some((level, at) => (level.includes('#') && (level !== '#' || at < levels.length - 1)) || (level.includes('+') && level !== '+'))
  return isWrong ? 'filters with + alone in its level, and # alone in the last one' : undefined
}

function isAction (value: unknown): value is Action { return (actions as readonly unknown[]).includes(value) }

function isUser (value: unknown): value is string | null { return value === null || typeof value === 'string' }

function isQoS (value: unknown): value is QoS { return value === 0 || value === 1 || value === 2 }
