import { checkNames, isObject } from '../base/checks.ts'
import { ErrorCode, MqttError, optionInvalid } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import type { AuthorizeResult, Hooks, MaybePromise } from '../contract/hooks.ts'
import type { Message } from '../contract/message.ts'
import type { SchemaInput, SchemaIssue, SchemaOutput, SchemaResult, StandardSchema } from '../contract/standard-schema.ts'
import { jsonCodec, type PayloadCodec } from './payload-codec.ts'
import { TopicPattern, type TopicParameters } from '../topic/topic-pattern.ts'

/** A message that fits its {@link TypedTopic}. */
export interface TypedMessage<Parameters, Output> {
  readonly topicName: string
  /** What stands in the Topic Name in the place of the pattern's parameters. Clients chose it: it may be empty. */
  readonly parameters: Parameters
  /** As the schema made it; the bytes where there is neither schema nor codec. */
  readonly payload: Output
  /** QoS, properties and the bytes. */
  readonly message: Message
}

/** A message, or a value to publish, that does not fit its {@link TypedTopic}: `MQTT_PAYLOAD_INVALID`, Payload format invalid (0x99). */
export class InvalidMessage extends MqttError {
  /** What the schema says; empty when it was not reached. */
  readonly issues: readonly SchemaIssue[]

  /** @internal */
  constructor (fault: string, issues: readonly SchemaIssue[] = [], options?: ErrorOptions) {
    super(ErrorCode.payloadInvalid, ReasonCode.payloadFormatInvalid, fault, options)
    this.issues = issues
  }
}

/** How the payload of a {@link TypedTopic} stands in bytes. */
export interface TopicOptions<Value> {
  /** Default: `jsonCodec` with a schema; the bytes as they are without one. */
  codec?: PayloadCodec<Value, unknown>
}

/**
 * A topic with named parameters and a typed payload, for `broker.publish`, `broker.subscribe` and hooks.
 *
 * ```ts
 * const temperature = topic('devices/{id}/temperature', z.object({ celsius: z.number() }))
 * for await (const { parameters, payload } of broker.subscribe(temperature)) console.log(parameters.id, payload.celsius)
 * ```
 * @param pattern `{name}` stands for one level, `{name...}` at the end for all that are left, even none
 * @param schema of the payload, of any library with Standard Schema; none leaves the payload to the codec
 * @throws MqttError `MQTT_OPTION_INVALID` for what is no pattern, schema or codec
 */
export function topic<const Pattern extends string> (pattern: Pattern): TypedTopic<TopicParameters<Pattern>, Buffer, string | Uint8Array>
export function topic<const Pattern extends string, Schema extends StandardSchema> (
  pattern: Pattern, schema: Schema, options?: TopicOptions<SchemaInput<Schema>>,
): TypedTopic<TopicParameters<Pattern>, SchemaOutput<Schema>, SchemaInput<Schema>>
export function topic<const Pattern extends string, Value> (
  pattern: Pattern, schema: undefined, options: { codec: PayloadCodec<Value> },
): TypedTopic<TopicParameters<Pattern>, Value, Value>
export function topic (pattern: string, schema?: StandardSchema, options: TopicOptions<unknown> = {}): TypedTopic<unknown, unknown, unknown> {
  checkNames(options, ['codec'])
  const { codec } = options
  if (schema !== undefined && typeof (schema as Partial<StandardSchema> | null)?.['~standard']?.validate !== 'function') {
    throw optionInvalid('schema', 'one with the Standard Schema interface', typeof schema)
  }
  if (codec !== undefined && (!isObject(codec) || typeof codec.encode !== 'function' || typeof codec.decode !== 'function')) {
    throw optionInvalid('codec', 'an object with the functions encode and decode', codec)
  }
  return new TypedTopic(new TopicPattern(pattern), schema, codec ?? (schema === undefined ? undefined : jsonCodec), undefined)
}

/** See {@link topic}. `Input` is what is published, `Output` what a subscriber gets: a schema may make the one into the other. */
export class TypedTopic<Parameters, Output, Input> {
  /** The Topic Filter to subscribe to; it begins with `$share/` for a Shared Subscription. */
  readonly filter: string
  readonly #pattern: TopicPattern
  readonly #schema: StandardSchema | undefined
  readonly #codec: PayloadCodec<unknown> | undefined

  /** @internal */
  constructor (pattern: TopicPattern, schema: StandardSchema | undefined, codec: PayloadCodec<unknown> | undefined, shareName: string | undefined) {
    this.filter = shareName === undefined ? pattern.filter : `$share/${shareName}/${pattern.filter}`
    this.#pattern = pattern
    this.#schema = schema
    this.#codec = codec
  }

  /** The parameters in a Topic Name; undefined when it is not of this topic, by the rules of section 4.7. Cheap enough for every message. */
  match (topicName: string): Parameters | undefined {
    return this.#pattern.match(topicName) as Parameters | undefined
  }

  /**
   * The Topic Name with these parameters. What they say stays in its level, wherever it comes from.
   * @throws MqttError `MQTT_TOPIC_NAME_INVALID` for a value that is missing or empty, has `/`, `+`, `#` or U+0000, or begins the name with `$`
   */
  topicName (parameters: Parameters): string {
    return this.#pattern.topicName(parameters as Readonly<Record<string, unknown>>)
  }

  /**
   * The same topic as a Shared Subscription (section 4.8.2): those who subscribe to it under one ShareName take turns.
   * @throws MqttError `MQTT_OPTION_INVALID` for a name that is empty or has `/`, `+` or `#`
   */
  share (shareName: string): TypedTopic<Parameters, Output, Input> {
    if (typeof shareName !== 'string' || !/^[^/+#]+$/.test(shareName)) throw optionInvalid('shareName', 'a text without "/", "+" and "#", and not empty', shareName)
    return new TypedTopic(this.#pattern, this.#schema, this.#codec, shareName)
  }

  /** What a message says, or why it does not fit; a promise where the schema has one. Never throws. */
  parse (message: Message): MaybePromise<TypedMessage<Parameters, Output> | InvalidMessage> {
    if (typeof (message as Message | undefined)?.topicName !== 'string') return new InvalidMessage('what was given is no message')
    const { topicName } = message
    const parameters = this.match(topicName)
    if (parameters === undefined) return new InvalidMessage(`${shown(topicName)} is not matched by ${this.#pattern.filter}`)
    const typed = (payload: unknown): TypedMessage<Parameters, Output> => ({ topicName, parameters, payload: payload as Output, message })
    const failed = (error: unknown): InvalidMessage => invalid(`the message to ${shown(topicName)}`, error)
    try {
      const payload = this.#accepted(this.#codec === undefined ? message.payload : this.#codec.decode(message.payload))
      return payload instanceof Promise ? payload.then(typed, failed) : typed(payload)
    } catch (error) {
      return failed(error)
    }
  }

  /**
   * The payload of a value, if the schema accepts it; a promise where the schema has one. It is sent as it was given: what the schema makes of it, it makes
   * at each subscriber.
   * @throws InvalidMessage (or a rejection) for a value that does not fit
   */
  encode (value: Input): MaybePromise<string | Uint8Array> {
    const encoded = (): string | Uint8Array => this.#codec === undefined ? value as string | Uint8Array : this.#codec.encode(value)
    const failed = (error: unknown): never => { throw invalid(`the value for ${this.#pattern.filter}`, error) }
    try {
      const accepted = this.#accepted(value)
      return accepted instanceof Promise ? accepted.then(encoded).catch(failed) : encoded()
    } catch (error) {
      return failed(error)
    }
  }

  /**
   * A hook that refuses what does not fit: `broker.hook(temperature.validate())`. Publishers are told Payload format invalid (0x99).
   * What has other topics is not looked at, nor is an empty payload that removes a retained message.
   */
  validate (): Pick<Hooks, 'authorizePublish'> {
    return {
      authorizePublish: ({ topicName, message }): MaybePromise<AuthorizeResult> => {
        if (this.match(topicName) === undefined || isRemoval(message)) return true
        const parsed = this.parse(message)
        return parsed instanceof Promise ? parsed.then(verdictOn) : verdictOn(parsed)
      },
    }
  }

  #accepted (value: unknown): MaybePromise<unknown> {
    if (this.#schema === undefined) return value
    const result = this.#schema['~standard'].validate(value)
    return result instanceof Promise ? result.then(valueOf) : valueOf(result)
  }
}

/** Whether a message has nothing to say but that a retained message is to go (section 3.3.1.3). */
export function isRemoval ({ payloadLength, retain }: Message): boolean { return retain && payloadLength === 0 }

function verdictOn (parsed: object): AuthorizeResult { return parsed instanceof InvalidMessage ? ReasonCode.payloadFormatInvalid : true }

/** Thrown where a schema refuses; told as an {@link InvalidMessage}. */
class Refusal extends Error {
  readonly issues: readonly SchemaIssue[]

  constructor (issues: readonly SchemaIssue[]) {
    super()
    this.issues = issues
  }
}

function valueOf (result: SchemaResult<unknown>): unknown {
  if (result.issues === undefined) return result.value
  throw new Refusal(result.issues)
}

/** Messages come from anybody, and may have any number of faults: a few are told. */
function invalid (subject: string, cause: unknown): InvalidMessage {
  if (!(cause instanceof Refusal)) return new InvalidMessage(`${subject} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, [], { cause })
  const faults = cause.issues.slice(0, 3).map(describe).join('; ')
  return new InvalidMessage(`${subject} does not fit: ${faults}${cause.issues.length > 3 ? '; …' : ''}`, cause.issues)
}

function describe ({ message, path = [] }: SchemaIssue): string {
  const place = path.map(step => String(typeof step === 'object' ? step.key : step)).join('.')
  return place === '' ? message : `${place}: ${message}`
}

function shown (topicName: string): string { return JSON.stringify(topicName.length > 100 ? `${topicName.slice(0, 100)}…` : topicName) }
