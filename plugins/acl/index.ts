export { accessRules, type AccessRules, type AccessRulesOptions } from './access-rules.ts'
export { mosquittoAcl, type MosquittoAclOptions } from './mosquitto-acl.ts'
export type { AccessRule, Action, RuleConditions } from './rule.ts'
export type { RulesPlugin, RulesPluginOptions } from './rules-plugin.ts'
