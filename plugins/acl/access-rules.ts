import { fileInvalid, optionInvalid, optionUnknown, unknownName } from '../../lib/index.ts'
import { isRecord, isText } from './checks.ts'
import type { ClaimPath } from './claims.ts'
import type { GroupSources } from './identity.ts'
import { RuleSet, type RuleLimits } from './rule-set.ts'
import { parseRules, type AccessRule, type Complain } from './rule.ts'
import { checkOptions, limitsOf, rulesPlugin, type RulesPlugin, type RulesPluginOptions } from './rules-plugin.ts'

/** What {@link accessRules} goes by, in code or in a file. */
export interface AccessRules {
  /** The first one that matches decides. */
  readonly rules: readonly AccessRule[]
  /** User Names by the name of their group, beside what the claim says. */
  readonly groups?: Readonly<Record<string, readonly string[]>>
  /** The claim with a Client's groups: `realm_access.roles`, or `['resource_access', 'my.app', 'roles']` where names have dots. Default `groups`. */
  readonly groupsClaim?: ClaimPath
  /** What becomes of a PUBLISH or a subscription that no rule matches. Default `deny`. */
  readonly default?: 'allow' | 'deny'
}

/** Rules in code, or the path of a JSON file that has them. `reload` looks at either anew. */
export type AccessRulesOptions = RulesPluginOptions & (
  | (AccessRules & { readonly path?: never, readonly watch?: never })
  | { readonly path: string, readonly rules?: never, readonly groups?: never, readonly groupsClaim?: never, readonly default?: never }
)

const fields = ['rules', 'groups', 'groupsClaim', 'default']

/**
 * Decides by rules who may publish, subscribe and get what. Each rule allows or denies something for some topics to some Clients, and the
 * first that matches decides. A subscription is allowed when all that its filter can match is.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for an option or rule that is wrong. With `path` the broker does not start when the file is not
 * right (`MQTT_FILE_INVALID`).
 * @example accessRules({ rules: [{ allow: ['publish', 'subscribe'], topics: 'devices/${clientId}/#' }] })
 */
export function accessRules<Data = unknown> (options: AccessRulesOptions): RulesPlugin<Data> {
  checkOptions(options, ['path', ...fields])
  const { name = 'acl', path, watch = false } = options
  const limits = limitsOf(options)
  if (path !== undefined) {
    for (const field of fields) if (Object.hasOwn(options, field)) throw optionInvalid(field, 'in the file where there is a "path"', 'both')
    return rulesPlugin({ name, file: { path, watch }, parse: text => parseRulesFile(path, text, limits) })
  }
  if (watch) throw optionInvalid('watch', 'false where there is no "path"', watch)
  return rulesPlugin({ name, file: undefined, parse: parserOf(options, limits) })
}

/** Parses the options anew each time but the first, for which that was done already: what is wrong with them is told at once. */
function parserOf (options: AccessRulesOptions, limits: RuleLimits): () => RuleSet {
  let checked: RuleSet | undefined = parseAccessRules(options, limits, ofOptions)
  return () => {
    const rules = checked ?? parseAccessRules(options, limits, ofOptions)
    checked = undefined
    return rules
  }
}

const ofOptions: Complain = Object.assign((field: string, expected: string, got: unknown) => optionInvalid(field, expected, got), { unknown: optionUnknown })

function parseRulesFile (path: string, text: string, limits: RuleLimits): RuleSet {
  const content = parseJson(path, text)
  const complain: Complain = Object.assign((field: string, expected: string, got: unknown) => fileInvalid(path, `"${field}" must be ${expected}, got ${JSON.stringify(got)}`), {
    unknown: (field: string, fields: Iterable<string>) => fileInvalid(path, `"${field}" ${unknownName(field.slice(field.lastIndexOf('.') + 1), fields)}`),
  })
  if (!isRecord(content)) throw fileInvalid(path, 'must be an object with "rules"')
  for (const field of Object.keys(content)) if (!fields.includes(field)) throw complain.unknown(field, fields)
  return parseAccessRules(content, limits, complain)
}

function parseJson (path: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const [, position] = /position (\d+)/.exec(String(cause)) ?? []
    const line = position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length
    throw fileInvalid(path, text.trim() === '' ? 'is empty' : 'is no JSON', line, { cause })
  }
}

function parseAccessRules (content: { readonly [field in keyof AccessRules]?: unknown }, limits: RuleLimits, complain: Complain): RuleSet {
  const { default: otherwise = 'deny' } = content
  if (otherwise !== 'allow' && otherwise !== 'deny') throw complain('default', '"allow" or "deny"', otherwise)
  const isAllowed = otherwise === 'allow'
  const defaults = { publish: isAllowed, subscribe: isAllowed, deliver: true }
  return new RuleSet(parseRules(content.rules, complain), defaults, { ofUser: parseGroups(content.groups, complain), claim: parseClaim(content.groupsClaim, complain) }, limits)
}

function parseGroups (groups: unknown, complain: Complain): GroupSources['ofUser'] {
  const groupsOfUser = new Map<string, string[]>()
  if (groups === undefined) return groupsOfUser
  if (!isRecord(groups)) throw complain('groups', 'an object with a list of users for each group', groups)
  for (const [group, users] of Object.entries(groups)) {
    if (!Array.isArray(users)) throw complain(`groups.${group}`, 'a list of users', users)
    for (const user of users as readonly unknown[]) {
      if (typeof user !== 'string') throw complain(`groups.${group}`, 'a list of User Names', user)
      groupsOfUser.set(user, [...groupsOfUser.get(user) ?? [], group])
    }
  }
  return groupsOfUser
}

function parseClaim (path: unknown = 'groups', complain: Complain): ClaimPath {
  const names: readonly unknown[] = Array.isArray(path) ? path : [path]
  if (names.length === 0 || !names.every(isText)) throw complain('groupsClaim', 'the name of a claim, with dots before the names of claims within it, or a list of names', path)
  return Array.isArray(path) ? [...names] as string[] : names[0] as string
}
