import { checkBoolean, checkNames, checkNumber, isObject } from '../base/checks.ts'
import { optionInvalid } from '../base/errors.ts'
import { isReasonCode, ReasonCode } from '../base/reason-codes.ts'
import type { Accept, Continue } from '../contract/authentication.ts'
import type { Allow, AuthenticateResult, ConnectPatch, Deny, MessagePatch } from '../contract/hooks.ts'
import { isOfMessage, messageFields } from '../contract/message.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'

/** Of both kinds: `{ allow: isRight, username, reasonCode }` is one of them at a time. */
const ofVerdict: readonly (keyof Allow | keyof Deny)[] = ['allow', 'data', 'username', 'clientIdentifier', 'claims', 'expiresAt', 'reasonCode', 'reasonString', 'serverReference']
const ofStep: readonly (keyof Accept | keyof Deny)[] = [...ofVerdict, 'authenticationData']
const ofConnectPatch: readonly (keyof ConnectPatch)[] = ['keepAlive', 'sessionExpiryInterval', 'responseInformation', 'userProperties']
const ofSubscribePatch: readonly (keyof SubscriptionOptions)[] = ['qos', 'noLocal', 'retainAsPublished', 'retainHandling', 'subscriptionIdentifier']
const ofMessagePatch: readonly (keyof MessagePatch)[] = ['topicName', 'payload', 'qos', 'retain', 'properties']
const ofSpreadMessage: readonly string[] = [...ofMessagePatch, ...messageFields]

/**
 * What `authenticate` answered, looked at for hosts that write JavaScript: what is misspelt, or of another type, would let in whom it should not, or for longer.
 * @throws MqttError that names what is wrong
 */
export function checkAuthenticateResult (result: AuthenticateResult): void {
  if (typeof result === 'boolean' || result === undefined) return
  if (!isObject(result)) throw optionInvalid('answer', 'true, false, undefined, { allow: true, … } or { allow: false, … }', result)
  checkVerdict(result, ofVerdict)
}

/** The same of a step of an exchange. */
export function checkStep (step: Continue | Accept | Deny): void {
  if (!isObject(step)) throw optionInvalid('answer', '{ continue: … }, { allow: true, … } or { allow: false, … }', step)
  if (!('continue' in step)) checkVerdict(step, ofStep)
  else if (!Buffer.isBuffer(step.continue)) throw optionInvalid('answer.continue', 'a Buffer', step.continue)
  else checkNames(step, ['continue'], 'answer.')
}

function checkVerdict (verdict: Accept | Deny, names: readonly string[]): void {
  checkNames(verdict, names, 'answer.')
  if (!truths.has(verdict.allow)) throw optionInvalid('answer.allow', 'true or false', verdict.allow)
  for (const [name, value] of Object.entries(verdict) as [string, unknown][]) {
    const [expected, isRight] = fields.get(name) ?? anything
    if (value !== undefined && !isRight(value)) throw optionInvalid(`answer.${name}`, expected, value)
  }
}

const truths: ReadonlySet<unknown> = new Set([true, false])

type Check = readonly [expected: string, isRight: (value: unknown) => boolean]
const text: Check = ['a text', value => typeof value === 'string']
const anything: Check = ['', () => true]

const fields: ReadonlyMap<string, Check> = new Map([
  ['username', text], ['clientIdentifier', text], ['reasonString', text], ['serverReference', text],
  ['claims', ['an object', isObject]],
  ['expiresAt', ['milliseconds since the epoch', value => typeof value === 'number' && !Number.isNaN(value)]],
  ['reasonCode', ['a Reason Code of 0x80 or above', isRefusal]],
  ['authenticationData', ['a Buffer', value => Buffer.isBuffer(value)]],
])

/** Whether it is a Reason Code that says that something failed. */
export function isRefusal (value: unknown): value is ReasonCode {
  return isReasonCode(value) && value >= ReasonCode.unspecifiedError
}

/** @throws MqttError that names what of it is no change to a connection */
export function checkConnectPatch (patch: ConnectPatch): void {
  checkNames(patch, ofConnectPatch, 'patch.')
  const { responseInformation, userProperties } = patch
  if (responseInformation !== undefined && typeof responseInformation !== 'string') throw optionInvalid('patch.responseInformation', 'a text', responseInformation)
  if (userProperties !== undefined && !(Array.isArray(userProperties) && userProperties.every(isPair))) throw optionInvalid('patch.userProperties', 'a list of [name, value]', userProperties)
}

function isPair (value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && value.every(text => typeof text === 'string')
}

/** @throws MqttError that names what of it is no change to a subscription */
export function checkSubscribePatch (patch: Partial<SubscriptionOptions>): void {
  checkNames(patch, ofSubscribePatch, 'patch.')
  checkNumber('patch.qos', patch.qos, 0, 2)
  checkBoolean('patch.noLocal', patch.noLocal)
  checkBoolean('patch.retainAsPublished', patch.retainAsPublished)
  checkNumber('patch.retainHandling', patch.retainHandling, 0, 2)
  checkNumber('patch.subscriptionIdentifier', patch.subscriptionIdentifier, 0, 268_435_455)
}

/** The names are compared one by one, as it is asked for each message. */
export function checkMessagePatch (patch: MessagePatch): void {
  if (typeof patch !== 'object') throw optionInvalid('patch', 'an object', patch)
  for (const name in patch) {
    if (name !== 'topicName' && name !== 'payload' && name !== 'qos' && name !== 'retain' && name !== 'properties') checkNames(patch, isOfMessage(patch) ? ofSpreadMessage : ofMessagePatch, 'patch.')
  }
}
