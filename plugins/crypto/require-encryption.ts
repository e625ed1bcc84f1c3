import { checkNames, checkText, checkTopicFilter, optionInvalid, ReasonCode, type AuthorizeResult, type Plugin, type PublishRequest } from '../../lib/index.ts'
import { isSealed } from './seal.ts'
import { expressionOf } from './topic-filters.ts'

/** Options of {@link requireEncryption}. */
export interface RequireEncryptionOptions {
  /** Topic Filters; what is published to them must be encrypted. */
  filters: readonly string[]
  /** Of the plugin. Default `require-encryption`. */
  name?: string
}

/**
 * A plugin that refuses messages, Will Messages too, that are not encrypted: Payload format invalid (0x99). It needs no key, so it sees that a message says it is
 * encrypted and has the form, not that somebody can read it. Empty payloads pass: they remove retained messages. What the host publishes is the host's to decide.
 * @throws MqttError for an option that is wrong
 */
export function requireEncryption<Data = unknown> (options: RequireEncryptionOptions): Plugin<Data> {
  checkNames(options, ['filters', 'name'])
  checkText('name', options.name)
  const { filters, name = 'require-encryption' } = options
  if (!isList(filters)) throw optionInvalid('filters', 'one Topic Filter or more', filters)
  for (const filter of filters) checkTopicFilter('filters', filter)
  const expression = new RegExp(filters.map(filter => expressionOf(filter).source).join('|'))
  return { name, hooks: { authorizePublish: request => verdict(expression, request) } }
}

// Array.isArray would make the elements `any`.
function isList (value: unknown): boolean { return Array.isArray(value) && value.length > 0 }

function verdict<Data> (expression: RegExp, { topicName, message: { payload, properties } }: PublishRequest<Data>): AuthorizeResult {
  if (payload.length === 0 || !expression.test(topicName)) return true
  const hasProperty = (name: string): boolean => properties?.userProperties?.some(([told]) => told === name) === true
  return isSealed(payload, hasProperty) ? true : ReasonCode.payloadFormatInvalid
}
