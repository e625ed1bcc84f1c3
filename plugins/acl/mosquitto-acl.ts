import { fileInvalid, type Broker } from '../../lib/index.ts'
import { FilterTemplate } from './filter-template.ts'
import { groupsOfClaim } from './identity.ts'
import { filterFault, type Rule } from './rule.ts'
import { RuleSet } from './rule-set.ts'
import { checkOptions, limitsOf, rulesPlugin, type RulesPlugin, type RulesPluginOptions } from './rules-plugin.ts'

/** Options of {@link mosquittoAcl}. */
export interface MosquittoAclOptions extends RulesPluginOptions {
  /** Of a file as Mosquitto's `acl_file` names one. */
  readonly path: string
}

/**
 * Goes by a file that was written for Mosquitto's `acl_file`, as Mosquitto does: `write` is for what is published, `read` for each message
 * that is delivered; anybody may subscribe to anything and gets what may be read. What is denied comes before what is allowed, what a user has
 * before patterns.
 *
 * Where it differs it denies more: a name with `/` fills no pattern, and a pattern that denies and cannot be filled denies whatever it could.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for an option that is wrong. The broker does not start when the file is not right (`MQTT_FILE_INVALID`).
 * @example mosquittoAcl({ path: '/etc/mosquitto/acl', watch: true })
 */
export function mosquittoAcl<Data = unknown> (options: MosquittoAclOptions): RulesPlugin<Data> {
  checkOptions(options, ['path'])
  const { name = 'acl', path, watch } = options
  const limits = limitsOf(options)
  const parse = (text: string, { logger }: Broker): RuleSet => {
    const rules = new AclFile(path, text).rules()
    if (rules.length === 0) logger.warn({ plugin: name }, `${path} has no rules: it allows nothing`)
    return new RuleSet(rules, { publish: false, subscribe: true, deliver: false }, groupsOfClaim, limits)
  }
  return rulesPlugin({ name, file: { path, watch }, parse })
}

type Line = Omit<Rule, 'number'>

const access: ReadonlyMap<string, Pick<Rule, 'isAllow' | 'actions'>> = new Map<string, Pick<Rule, 'isAllow' | 'actions'>>([
  ['read', { isAllow: true, actions: ['deliver'] }],
  ['write', { isAllow: true, actions: ['publish'] }],
  ['readwrite', { isAllow: true, actions: ['publish', 'deliver'] }],
  ['deny', { isAllow: false, actions: ['publish', 'deliver'] }],
])

/** Reads the lines `topic`, `user` and `pattern` (mosquitto.conf(5), acl_file). */
class AclFile {
  readonly #path: string
  readonly #lines: readonly string[]
  readonly #topics: Line[] = []
  readonly #patterns: Line[] = []
  /** Lines before the first `user` are for Clients without a User Name. */
  #user: string | undefined = undefined

  constructor (path: string, text: string) {
    this.#path = path
    this.#lines = text.split('\n').map(line => line.trimEnd())
  }

  /** @throws MqttError for the first line that is none */
  rules (): Rule[] {
    for (const [index, line] of this.#lines.entries()) {
      const fault = line === '' || line.startsWith('#') ? undefined : this.#read(line)
      if (fault !== undefined) throw fileInvalid(this.#path, fault, index + 1)
    }
    return [...denialsFirst(this.#topics), ...denialsFirst(this.#patterns)].map((line, number) => ({ ...line, number }))
  }

  /** Returns what is wrong with the line. */
  #read (line: string): string | undefined {
    const [, word = '', rest = ''] = /^ *([^ ]*) *(.*)$/s.exec(line) ?? []
    if (word === 'topic' || word === 'pattern') return this.#readTopic(word, rest)
    if (word !== 'user') return `begins with "${word}" and not with "topic", "pattern", "user" or "#"`
    if (rest === '') return '"user" needs a name'
    this.#user = rest
    return undefined
  }

  #readTopic (word: 'topic' | 'pattern', rest: string): string | undefined {
    if (rest === '') return `"${word}" needs a filter`
    const [, kind = 'readwrite', filter = rest] = /^([^ ]+) +(.+)$/s.exec(rest) ?? []
    const rights = access.get(kind)
    if (rights === undefined) return `"${kind}" must be "read", "write", "readwrite" or "deny"`
    const isPattern = word === 'pattern'
    const template = new FilterTemplate(isPattern ? piecesOf(filter) : [filter])
    if (filterFault(template.filledWith('x')) !== undefined && !filter.startsWith('$share/')) return `"${filter}" is no Topic Filter`
    const topics = [template]
    if (isPattern) this.#patterns.push({ ...rights, topics, isForPlainNames: true })
    else this.#topics.push({ ...rights, topics, users: [this.#user] })
    return undefined
  }
}

function piecesOf (pattern: string): string[] {
  return pattern.split(/(%[cu])/).map(piece => piece === '%c' ? 'clientId' : piece === '%u' ? 'username' : piece)
}

function denialsFirst (lines: readonly Line[]): Line[] {
  return [...lines.filter(({ isAllow }) => !isAllow), ...lines.filter(({ isAllow }) => isAllow)]
}

