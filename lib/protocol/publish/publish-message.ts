import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { MaybePromise, MessagePatch } from '../../contract/hooks.ts'
import { Message, Origin as MessageOrigin } from '../../contract/message.ts'
import { checkMessagePatch } from '../../hooks/answers.ts'
import { QoS } from '../../packet/packets.ts'
import { PendingMessage } from '../../store/pending-message.ts'
import { topicNameFault } from '../../topic/topic-name.ts'
import type { Topic } from '../../topic/topic.ts'
import type { BrokerServices } from '../client/broker-services.ts'
import type { Origin } from '../client/origin.ts'
import { checkEncoding, checkProperties } from './message-properties.ts'

/** What became of a message: a Reason Code, or what its publisher has to wait for before it is told one. */
export type Published = ReasonCode | PendingMessage

/**
 * The one way of an Application Message into the broker, whether a PUBLISH, a Will Message or the host brings it: authorize,
 * let hooks change it, retain and route. Answers at once unless a hook takes its time.
 * @returns Success, No matching subscribers, or the refusal's Reason Code; where it is still to be stored, what to wait for
 */
export function publishMessage (services: BrokerServices, message: Message, origin: Origin): MaybePromise<Published> {
  const { chains } = services.hooks
  const verdict = origin.client === undefined || chains.authorizePublish === undefined
    ? ReasonCode.success
    : services.hooks.authorizePublish({ client: origin.client, topicName: message.topicName, message, isWill: origin.isWill })
  if (verdict instanceof Promise) return verdict.then(late => late === ReasonCode.success ? change(services, wanted(message, origin), origin) : denied(services, message, origin, late))
  return verdict === ReasonCode.success ? change(services, message, origin) : denied(services, message, origin, verdict)
}

/** An MQTT 3.x Client is not told, and no hook either: whoever wonders where a message is looks here. */
function denied (services: BrokerServices, { topicName, qos }: Message, { client, isWill }: Origin, reasonCode: ReasonCode): ReasonCode {
  services.metrics.messagesDenied++
  services.logger.debug({ clientIdentifier: client?.clientIdentifier, username: client?.username, topicName, qos, isWill, reasonCode }, 'a message was not allowed')
  return reasonCode
}

function change (services: BrokerServices, message: Message, origin: Origin): MaybePromise<Published> {
  if (services.hooks.chains.onPublish === undefined) return route(services, message, origin)
  try {
    const changed = services.hooks.patch('onPublish', message, current => ({ client: origin.client, message: current }),
      (current, patch) => applyPatch(services, current, patch))
    return changed instanceof Promise ? changed.then(late => route(services, wanted(late, origin), origin), refusalOf) : route(services, changed, origin)
  } catch (error) {
    return refusalOf(error)
  }
}

/**
 * The message, if it is still to be routed after a wait: a QoS 2 message whose connection ended meanwhile was not acknowledged, so
 * it comes again and must not be routed twice (section 4.3.3). A Will Message has a record of its own by then, and does not go with its Session any more.
 */
function wanted (message: Message, { client, isWill }: Origin): Message {
  if (isWill) message.origin = MessageOrigin.acknowledged
  else if (message.qos === QoS.exactlyOnce && client?.signal.aborted === true) throw protocolError('the Client left before its message was accepted')
  return message
}

function route (services: BrokerServices, message: Message, origin: Origin): Published {
  const count = services.router.route(message, origin.session)
  if (services.hooks.chains.published !== undefined) services.hooks.notify('published', { client: origin.client, message })
  const reasonCode = count === 0 ? ReasonCode.noMatchingSubscribers : ReasonCode.success
  return message.pending === undefined ? reasonCode : unlessSettled(services, message, origin, reasonCode)
}

function unlessSettled (services: BrokerServices, { pending, topicName }: Message, { client }: Origin, reasonCode: ReasonCode): Published {
  if (!(pending instanceof PendingMessage) || pending.isSettled) return reasonCode
  if (services.durability?.({ topicName, client }) === 'memory') return reasonCode
  pending.reasonCode = reasonCode
  return pending
}

/** @throws MqttError for a patch that makes no message: found here, it cannot harm those who would get it */
function applyPatch (services: BrokerServices, message: Message, patch: MessagePatch): Message {
  try {
    return patched(services, message, patch)
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message : String(cause)
    const error = new MqttError(ErrorCode.hookFailed, ReasonCode.implementationSpecificError, `the hook onPublish returned a patch that makes no message: ${detail}`, { cause })
    services.logger.error({ err: error, topicName: message.topicName }, error.message)
    throw cause instanceof MqttError && cause.code === ErrorCode.topicNameInvalid ? cause : error
  }
}

function patched (services: BrokerServices, message: Message, patch: MessagePatch): Message {
  if (!(patch instanceof Message)) checkMessagePatch(patch)
  const { payload = message.payload, qos = message.qos, retain = message.retain, properties = message.properties } = patch
  if (!Buffer.isBuffer(payload)) throw new TypeError('payload must be a Buffer, such as Buffer.from(text)')
  if (!qosValues.has(qos)) throw new TypeError('qos must be 0, 1 or 2')
  if (typeof retain !== 'boolean') throw new TypeError('retain must be true or false')
  checkProperties(patch.properties)
  const topic = patch.topicName === undefined ? message.topic : checkedTopic(services, services.topics.named(patch.topicName))
  const expiry = patch.properties?.messageExpiryInterval
  const changed = message.with({ payload, qos, retain, properties }, topic, expiry === undefined ? message.expiresAt : expiresAt(services, expiry))
  checkEncoding(changed)
  if (message.origin !== 0) changed.origin = message.origin // a Will Message stays one
  return changed
}

const qosValues: ReadonlySet<unknown> = new Set(Object.values(QoS))

function refusalOf (error: unknown): ReasonCode {
  if (error instanceof MqttError) return error.reasonCode
  throw error
}

/**
 * The topic, if it can be published to.
 * @throws MqttError for wildcards [MQTT-3.3.2-2], an empty name [MQTT-4.7.3-1], or one over the limits
 */
export function checkedTopic (services: BrokerServices, topic: Topic): Topic {
  if (topic.isChecked) return topic
  checkTopicName(services, topic.name)
  topic.isChecked = true
  return topic
}

/** The same for a name that does not come off the wire, so that nothing has looked at its characters yet. */
export function checkTopicName ({ limits }: BrokerServices, topicName: string): void {
  const fault = topicNameFault(topicName, limits)
  if (fault !== undefined) throw topicNameInvalid(`the Topic Name ${fault}`)
}

/** @throws MqttError for a Response Topic with wildcards [MQTT-3.3.2-14], or an empty one */
export function checkResponseTopic (responseTopic: string | undefined): void {
  if (responseTopic === undefined || (responseTopic !== '' && !/[+#]/.test(responseTopic))) return
  throw protocolError('the Response Topic is no Topic Name [MQTT-3.3.2-14]')
}

/** When a message with that Message Expiry Interval, in seconds, ends; Infinity for none. */
export function expiresAt (services: BrokerServices, messageExpiryInterval: number | undefined): number {
  return messageExpiryInterval === undefined ? Infinity : services.clock.now() + messageExpiryInterval * 1000
}

function topicNameInvalid (fault: string): MqttError {
  return new MqttError(ErrorCode.topicNameInvalid, ReasonCode.topicNameInvalid, fault)
}
