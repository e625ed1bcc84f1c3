import { isUtf8 } from 'node:buffer'
import {
  BoundedMap, ReasonCode, systemClock,
  type AuthenticateRequest, type AuthenticateResult, type AuthorizeResult, type Broker, type ClientInfo, type Clock, type ConnectionInfo, type Hooks, type MaybePromise,
  type PublishRequest, type SubscribeRequest,
} from '../../lib/index.ts'
import type { Answer } from './answer.ts'
import { Decisions, publishSlot, subscribeSlot, type Slot } from './decisions.ts'
import { settle, type HttpAuthOptions, type Settings } from './options.ts'
import { AuthService, type Reply } from './service.ts'

export type { HttpAuthOptions } from './options.ts'

/** The plugin that {@link httpAuth} makes. */
export interface HttpAuth {
  readonly name: string
  readonly hooks: Pick<Hooks<never>, 'authenticate'> & Pick<Hooks, 'authorizePublish' | 'authorizeSubscribe' | 'disconnected' | 'refused'>
  setup (broker: Pick<Broker, 'clock' | 'logger'>): void
  close (): Promise<void>
  /** Forgets all answers, so that the service is asked anew. `broker.revalidate()` then applies what it says to subscriptions that were made. */
  clear (): void
}

/**
 * Asks an HTTP service who may connect (section 3.1), and with `authorizeUrl` who may publish and subscribe. It needs the package undici.
 * Whatever goes wrong lets nobody in: a service that is slow, fails or answers nonsense is not asked for a while, and clients are refused meanwhile.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for a wrong option
 * @example createBroker({ plugins: [httpAuth({ url: 'https://auth.example.org/mqtt', headers: { authorization: `Bearer ${secret}` } })] })
 */
export function httpAuth (options: HttpAuthOptions): HttpAuth {
  return new HttpAuthPlugin(settle(options))
}

/** How late it may be noticed that an answer about a topic no longer holds. */
const tickMs = 500

/** An answer, and the milliseconds since the epoch until which it holds. */
interface Remembered { readonly answer: Answer, readonly until: number }

class HttpAuthPlugin implements HttpAuth {
  readonly name: string
  readonly hooks: HttpAuth['hooks']
  readonly #settings: Settings
  readonly #service: AuthService
  /** Answers about credentials by the digest of the question. Refusals apart: a flood of them must not push out what is worth remembering. */
  readonly #allowed: BoundedMap<string, Remembered>
  readonly #refused: BoundedMap<string, Remembered>
  readonly #decisions: Decisions
  /** And the User Name that they had then: who authenticates anew as somebody else is one no more. */
  readonly #superusers = new WeakMap<ConnectionInfo, Pick<AuthenticateRequest, 'username'>>()
  #clock: Clock = systemClock
  #stopTicking: () => void = () => undefined

  constructor (settings: Settings) {
    this.name = settings.name
    this.#settings = settings
    this.#service = new AuthService(settings)
    this.#allowed = new BoundedMap(settings.maximumCached)
    this.#refused = new BoundedMap(settings.maximumCached)
    this.#decisions = new Decisions(settings.maximumCached)
    this.hooks = { authenticate: request => this.#authenticate(request), ...this.#authorizationHooks(settings.authorizeUrl) }
  }

  setup (broker: Pick<Broker, 'clock' | 'logger'>): void {
    this.#clock = broker.clock
    this.#service.open(broker)
    this.#decisions.now = broker.clock.now()
    this.#stopTicking = broker.clock.every(tickMs, () => { this.#decisions.now = broker.clock.now() })
  }

  close (): Promise<void> {
    this.#stopTicking()
    return this.#service.close()
  }

  clear (): void {
    this.#service.renew()
    this.#allowed.clear()
    this.#refused.clear()
    this.#decisions.clear()
  }

  #authorizationHooks (url: URL | undefined): Pick<Hooks, 'authorizePublish' | 'authorizeSubscribe' | 'disconnected' | 'refused'> {
    if (url === undefined) return {}
    return {
      authorizePublish: request => this.#authorizePublish(url, request),
      authorizeSubscribe: request => this.#authorizeSubscribe(url, request),
      disconnected: ({ client }) => { this.#decisions.forget(client.connection) },
      refused: ({ connection }) => { this.#decisions.forget(connection) }, // its Will Message may have been asked about
    }
  }

  #authenticate (request: AuthenticateRequest): MaybePromise<AuthenticateResult<never>> {
    const question = credentialsQuestion(request)
    const key = this.#service.digest(question)
    const known = this.#recall(key)
    if (known !== undefined) return this.#toResult(request, known)
    const { generation } = this.#service
    return this.#service.ask(this.#settings.url, question, request.connection.remoteAddress).then(reply => {
      if (typeof reply === 'object' && generation === this.#service.generation) this.#remember(key, reply)
      return this.#toResult(request, reply)
    })
  }

  #recall (key: string): Answer | undefined {
    const known = this.#allowed.get(key) ?? this.#refused.get(key)
    return known !== undefined && this.#clock.now() < known.until ? known.answer : undefined
  }

  #remember (key: string, answer: Answer): void {
    const cache = answer.result === 'allow' ? this.#allowed : this.#refused
    const until = this.#validUntil(answer, this.#settings.authenticateCacheMs)
    if (until > this.#clock.now()) cache.set(key, { answer, until })
  }

  #validUntil ({ expiresAt = Infinity }: Answer, cacheMs: number): number {
    return Math.min(this.#clock.now() + cacheMs, expiresAt)
  }

  #toResult ({ connection, username }: AuthenticateRequest, reply: Reply): AuthenticateResult<never> {
    if (reply === 'busy') return { allow: false, reasonCode: ReasonCode.serverBusy }
    if (reply === 'unavailable') return this.#settings.whenUnavailable === 'abstain' ? undefined : { allow: false, reasonCode: ReasonCode.serverUnavailable }
    const { result, isSuperuser, claims, expiresAt } = reply
    if (result === 'ignore') return undefined
    if (result === 'deny' || (expiresAt !== undefined && expiresAt <= this.#clock.now())) return false
    if (isSuperuser) this.#superusers.set(connection, { username })
    return { allow: true, ...(claims !== undefined && { claims }), ...(expiresAt !== undefined && { expiresAt }) }
  }

  #authorizePublish (url: URL, { client, topicName, message: { qos, retain } }: PublishRequest): MaybePromise<AuthorizeResult> {
    const slot = publishSlot(qos, retain)
    return this.#decided(client, slot, topicName) ?? this.#decide(url, client, slot, topicName, topicQuestion(client, 'publish', topicName, { qos, retain }))
  }

  #authorizeSubscribe (url: URL, { client, topicFilter, subscription: { qos } }: SubscribeRequest): MaybePromise<AuthorizeResult> {
    const slot = subscribeSlot(qos)
    return this.#decided(client, slot, topicFilter) ?? this.#decide(url, client, slot, topicFilter, topicQuestion(client, 'subscribe', topicFilter, { qos }))
  }

  #decided (client: ClientInfo, slot: Slot, topic: string): boolean | undefined {
    return this.#decisions.get(client, slot, topic) ?? (this.#isSuperuser(client) ? true : undefined)
  }

  #isSuperuser ({ connection, username }: ClientInfo): boolean {
    const superuser = this.#superusers.get(connection)
    return superuser !== undefined && superuser.username === username
  }

  async #decide (url: URL, { connection, username, signal }: ClientInfo, slot: Slot, topic: string, question: string): Promise<AuthorizeResult> {
    const { generation } = this.#service
    const reply = await this.#service.ask(url, question, connection.remoteAddress)
    if (typeof reply !== 'object') return ReasonCode.implementationSpecificError
    const isAllowed = reply.result === 'allow' && (reply.expiresAt ?? Infinity) > this.#clock.now()
    const until = this.#validUntil(reply, this.#settings.authorizeCacheMs)
    const isNews = !signal.aborted && generation === this.#service.generation && until > this.#clock.now()
    if (isNews) this.#decisions.set({ connection, username }, slot, topic, isAllowed, until)
    return isAllowed
  }
}

function credentialsQuestion ({ username, password, clientIdentifier, protocolVersion, connection }: AuthenticateRequest): string {
  return JSON.stringify({
    action: 'authenticate', username, ...passwordFields(password), clientid: clientIdentifier, protocol_version: protocolVersion,
    address: connection.remoteAddress, listener: connection.listener,
    certificate_subject: connection.isPeerAuthorized ? connection.peerCertificate?.subject : undefined, // what nobody verified anybody can say
  })
}

/** A password that is no text is not bent into one: then another password might pass for it. */
function passwordFields (password: Buffer | undefined): object {
  if (password === undefined) return {}
  return isUtf8(password) ? { password: password.toString() } : { password_base64: password.toString('base64') }
}

function topicQuestion ({ username, clientIdentifier, connection }: ClientInfo, action: 'publish' | 'subscribe', topic: string, details: object): string {
  return JSON.stringify({ action, topic, ...details, username, clientid: clientIdentifier, address: connection.remoteAddress, listener: connection.listener })
}
