import { randomBytes, randomUUID } from 'node:crypto'
import { checkBoolean, checkNames, checkNumber, isObject } from '../base/checks.ts'
import { ErrorCode, MqttError, optionInvalid } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { MaybePromise } from '../contract/hooks.ts'
import { isOfMessage, Message, messageFields } from '../contract/message.ts'
import type { SubscriptionOptions } from '../contract/subscription.ts'
import { LocalSubscription, type SubscribeOptions } from './local-subscription.ts'
import { brokerClosed, checkQos } from '../options/option-checks.ts'
import { QoS, type MessageProperties } from '../packet/packets.ts'
import type { BrokerServices } from '../protocol/client/broker-services.ts'
import type { Origin } from '../protocol/client/origin.ts'
import { checkEncoding, checkProperties } from '../protocol/publish/message-properties.ts'
import { checkedTopic, checkTopicName, expiresAt, publishMessage } from '../protocol/publish/publish-message.ts'
import type { SessionServices } from '../session/session-services.ts'
import { Session } from '../session/session.ts'
import { PendingMessage } from '../store/pending-message.ts'
import { parseTopicFilter, type ParsedTopicFilter } from '../topic/topic-filter.ts'
import type { Topic } from '../topic/topic.ts'
import { TypedSubscription, type TypedSubscribeOptions } from './typed-subscription.ts'
import type { InvalidMessage, TypedTopic } from './typed-topic.ts'

/** How the host publishes. */
export interface PublishOptions {
  /** Default 0. */
  qos?: QoS
  /** Default false. */
  retain?: boolean
  /** MQTT 5.0 properties that travel with the message. */
  properties?: MessageProperties
}

/** How the host asks for something over MQTT (section 4.10). */
export interface RequestOptions extends PublishOptions {
  /** Milliseconds to wait for the response. Default 5,000. */
  timeoutMs?: number
  signal?: AbortSignal
  /** Default: a topic of its own for each request, under `$response/`. */
  responseTopic?: string
}

const publishOptions: readonly (keyof PublishOptions)[] = ['qos', 'retain', 'properties']
const ofSpreadMessage: readonly string[] = [...publishOptions, ...messageFields]
const requestOptions: readonly (keyof RequestOptions)[] = [...publishOptions, 'timeoutMs', 'signal', 'responseTopic']
const subscribeOptions: readonly (keyof SubscribeOptions)[] = ['qos', 'bufferSize', 'retainHandling', 'signal']
const host: Origin = { client: undefined, session: undefined, isWill: false }

/** A request on its way. */
interface Asking {
  /** Nobody waits for the response any more. */
  isOver: boolean
  error: unknown
}

/** The host as a client of its own broker: the same rules, no socket, and nobody to ask for leave. */
export class LocalClient {
  readonly #services: BrokerServices & SessionServices
  readonly #subscriptions = new Set<LocalSubscription>()
  #count = 0

  constructor (services: BrokerServices & SessionServices) {
    this.#services = services
  }

  async publish (topicName: string, payload: string | Uint8Array, options: PublishOptions): Promise<void> {
    if (this.#services.isClosing) throw brokerClosed()
    const message = this.#newMessage(topicName, payload, options)
    const { cluster } = this.#services
    if (cluster?.rejoining !== undefined && (message.qos > QoS.atMostOnce || message.retain)) await cluster.rejoining
    const published = await publishMessage(this.#services, message, host)
    if (published instanceof PendingMessage) await published.written()
    else if (published >= ReasonCode.unspecifiedError) throw new MqttError(ErrorCode.hookFailed, published, 'onPublish refused the message')
  }

  /** @throws MqttError for what is no message, or could not be sent */
  #newMessage (topicName: string, payload: string | Uint8Array, options: PublishOptions): Message {
    checkPublishNames(options)
    const { qos = 0, retain = false, properties } = options
    checkQos(qos)
    checkBoolean('retain', retain)
    const topic = this.#topicNamed(topicName)
    checkProperties(properties)
    const message = new Message({ payload: bytesOf(payload), qos, retain, properties }, topic, undefined, expiresAt(this.#services, properties?.messageExpiryInterval))
    if (properties !== undefined) checkEncoded(message)
    if (properties?.responseTopic !== undefined) checkTopicName(this.#services, properties.responseTopic) // [MQTT-3.3.2-14]
    return message
  }

  #topicNamed (topicName: string): Topic {
    if (typeof topicName !== 'string') throw optionInvalid('topicName', 'a text, as in publish(topicName, payload, options), or a typed topic', typeof topicName)
    checkTopicName(this.#services, topicName)
    return checkedTopic(this.#services, this.#services.topics.named(topicName))
  }

  /** A schema that answers at once keeps messages in the order in which they are published. */
  async publishTyped<Parameters, Input> (topic: TypedTopic<Parameters, unknown, Input>, parameters: Parameters, value: Input, options: PublishOptions): Promise<void> {
    const topicName = topic.topicName(parameters)
    const payload = topic.encode(value)
    await this.publish(topicName, payload instanceof Promise ? await payload : payload, options)
  }

  subscribe (topicFilter: string, options: SubscribeOptions = {}): LocalSubscription {
    if (this.#services.isClosing) throw brokerClosed()
    checkSubscribe(topicFilter, options)
    const parsed = parseTopicFilter(topicFilter, this.#services.limits)
    const session = new Session(`$local/${++this.#count}`, this.#services)
    const subscription = new LocalSubscription(topicFilter, session, options, this.#ended)
    if (options.signal?.aborted === true) subscription.unsubscribe()
    else this.#begin(subscription, parsed, subscriptionOptions(options))
    return subscription
  }

  /** From here on messages come. */
  #begin (subscription: LocalSubscription, parsed: ParsedTopicFilter, granted: SubscriptionOptions): void {
    const { session, topicFilter } = subscription
    const { router, limits, clock } = this.#services
    this.#subscriptions.add(subscription)
    router.subscribe(session, parsed, topicFilter, granted)
    session.attach(subscription, limits.maximumInFlight)
    router.connectionChanged(session)
    router.replayRetained(session, parsed, granted, true, clock.now())
  }

  subscribeTyped<Parameters, Output> (topic: TypedTopic<Parameters, Output, never>, given: TypedSubscribeOptions = {}): TypedSubscription<Parameters, Output> {
    checkNames(given, [...subscribeOptions, 'onInvalid'])
    const { onInvalid, ...options } = given
    if (onInvalid !== undefined && typeof onInvalid !== 'function') throw optionInvalid('onInvalid', 'a function', onInvalid)
    return new TypedSubscription(this.subscribe(topic.filter, options), topic, onInvalid === undefined ? this.#warn : this.#telling(onInvalid))
  }

  /** Calls a function for each message, one after the other. What it throws must not end the loop. */
  async consume (subscription: AsyncIterable<{ readonly topicName: string }>, listener: (message: object) => MaybePromise<void>): Promise<void> {
    for await (const message of subscription) {
      try {
        await listener(message)
      } catch (error) {
        this.#services.logger.error({ err: error, topicName: message.topicName }, 'the listener of broker.subscribe failed')
      }
    }
  }

  /** Ends every subscription of the host to that Topic Filter; false when there was none. */
  unsubscribe (topicFilter: string): boolean {
    const those = [...this.#subscriptions].filter(subscription => subscription.topicFilter === topicFilter)
    for (const subscription of those) subscription.unsubscribe()
    return those.length > 0
  }

  async request (topicName: string, payload: string | Uint8Array, options: RequestOptions): Promise<Message> {
    const { timeoutMs, signal, responseTopic, ...publish } = checkedRequest(options)
    signal?.throwIfAborted()
    const correlationData = randomBytes(16)
    const responses = this.subscribe(responseTopic, { qos: 1, retainHandling: 2, ...(signal === undefined ? {} : { signal }) })
    const stop = this.#services.clock.after(timeoutMs, () => { responses.unsubscribe() })
    const asking = this.#ask(topicName, payload, { ...publish, properties: { ...publish.properties, responseTopic, correlationData } }, responses)
    try {
      return await firstResponse(responses, correlationData) ?? this.#unanswered(asking, timeoutMs, signal)
    } finally {
      asking.isOver = true
      stop()
      responses.unsubscribe()
    }
  }

  /** What goes wrong with the request ends the wait for a response. */
  #ask (topicName: string, payload: string | Uint8Array, options: PublishOptions, responses: LocalSubscription): Asking {
    const asking: Asking = { isOver: false, error: undefined }
    this.#publishRouted(topicName, payload, options, asking).catch((error: unknown) => {
      asking.error = error
      responses.unsubscribe()
    })
    return asking
  }

  /** Once the response finds its way, whichever node it comes from; it is not sent any more when that took too long. */
  async #publishRouted (topicName: string, payload: string | Uint8Array, options: PublishOptions, asking: Asking): Promise<void> {
    await this.#services.cluster?.routed()
    if (!asking.isOver) await this.publish(topicName, payload, options)
  }

  /** @throws whatever has kept the response away */
  #unanswered ({ error }: Asking, timeoutMs: number, signal: AbortSignal | undefined): never {
    if (error !== undefined) throw error as Error
    signal?.throwIfAborted()
    if (this.#services.isClosing) throw brokerClosed()
    throw new MqttError(ErrorCode.requestTimeout, ReasonCode.unspecifiedError, `no response within ${timeoutMs} ms (timeoutMs)`)
  }

  readonly #warn = (error: InvalidMessage, { topicName }: Message): void => {
    this.#services.logger.warn({ err: error, topicName }, error.message)
  }

  /** What the host's function throws must not end its loop. */
  #telling (onInvalid: (error: InvalidMessage, message: Message) => void): (error: InvalidMessage, message: Message) => void {
    return (error, message) => {
      try {
        onInvalid(error, message)
      } catch (cause) {
        this.#services.logger.error({ err: cause, topicName: message.topicName }, 'onInvalid of broker.subscribe failed')
      }
    }
  }

  close (): void {
    for (const subscription of [...this.#subscriptions]) subscription.unsubscribe()
  }

  readonly #ended = (subscription: LocalSubscription): void => {
    this.#subscriptions.delete(subscription)
    subscription.session.detach()
    this.#services.router.removeSession(subscription.session)
    subscription.session.outbox.clear()
  }
}

function checkSubscribe (topicFilter: string, options: SubscribeOptions): void {
  if (typeof topicFilter !== 'string') throw optionInvalid('topicFilter', 'one text, as in subscribe(topicFilter, listener, options), or a typed topic', typeof topicFilter)
  checkNames(options, subscribeOptions)
  checkQos(options.qos ?? 0)
  checkNumber('bufferSize', options.bufferSize, 1, Number.MAX_SAFE_INTEGER)
  checkNumber('retainHandling', options.retainHandling, 0, 2)
  checkSignal(options.signal)
}

function checkedRequest (options: RequestOptions): RequestOptions & { timeoutMs: number, responseTopic: string } {
  checkNames(options, requestOptions)
  checkSignal(options.signal)
  const { timeoutMs = 5_000, responseTopic = `$response/${randomUUID()}` } = options
  checkNumber('timeoutMs', timeoutMs, 0, 2 ** 31 - 1)
  return { ...options, timeoutMs, responseTopic }
}

/** Undefined when the subscription ends without one. */
async function firstResponse (responses: LocalSubscription, correlationData: Buffer): Promise<Message | undefined> {
  for await (const message of responses) {
    if (message.properties?.correlationData?.equals(correlationData) === true) return message
  }
  return undefined
}

/**
 * Asked for each message, so it compares names one by one, which is the cheapest that there is. A message that is passed on may be its own options.
 * @throws MqttError for a name that is no option, which TypeScript finds and JavaScript would leave out
 */
function checkPublishNames (options: PublishOptions): void {
  if (typeof options !== 'object') throw optionInvalid('options', 'an object', options)
  for (const name in options) {
    if (name !== 'qos' && name !== 'retain' && name !== 'properties' && !(options instanceof Message)) checkNames(options, isOfMessage(options) ? ofSpreadMessage : publishOptions)
  }
}

/** Not by its class: a signal may come from another realm. */
function checkSignal (signal: unknown): void {
  if (signal !== undefined && !(isObject(signal) && 'addEventListener' in signal && 'throwIfAborted' in signal)) throw optionInvalid('signal', 'an AbortSignal', signal)
}

function subscriptionOptions ({ qos = 0, retainHandling = 0 }: SubscribeOptions): SubscriptionOptions {
  return { qos, noLocal: false, retainAsPublished: true, retainHandling, subscriptionIdentifier: 0 }
}

// A copy: the host may write to its buffer again, the broker's message must not change.
function bytesOf (payload: string | Uint8Array): Buffer {
  if (typeof payload === 'string' || payload instanceof Uint8Array) return Buffer.from(payload as Uint8Array)
  throw optionInvalid('payload', 'a string or a Uint8Array', typeof payload)
}

/** What cannot be encoded is the caller's mistake, whatever the encoder calls it. */
function checkEncoded (message: Message): void {
  try {
    checkEncoding(message)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `option "properties" cannot be sent: ${reason}`, { cause })
  }
}
