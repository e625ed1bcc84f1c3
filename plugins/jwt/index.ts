import { decodeJwt } from 'jose'
import {
  ReasonCode, silentLogger, systemClock,
  type Accept, type AuthenticateRequest, type AuthenticateResult, type AuthenticationMethod, type Broker, type Deny, type Exchange, type ExchangeRequest, type Hooks, type Logger,
  type MaybePromise, type Plugin,
} from '../../lib/index.ts'
import { keysOf } from './configured-keys.ts'
import type { Keys } from './keys.ts'
import { checkOptions, type JwtOptions, type Settings } from './options.ts'
import { Permissions } from './permissions.ts'
import { KeysUnavailable } from './remote-keys.ts'
import { findToken } from './token.ts'
import { reasonOf, TokenRefused, Verifier, type Verified } from './verifier.ts'

export { asymmetricAlgorithms, type JwtOptions, type KeySetOptions, type TokenSource } from './options.ts'

/** Milliseconds in which Clients with new rights are gathered before subscriptions are looked through. */
const revalidateAfterMs = 1_000

/**
 * Lets Clients in by JSON Web Tokens (RFC 7519), signed with HS, RS, PS, ES or EdDSA. The token comes as the password (`from` says where else), or as the Authentication
 * Data of the Authentication Method `JWT` (section 4.12), with which the Client can also authenticate anew before its token expires: as the same user, that is.
 * When the token expires the connection ends with Maximum connect time (0xA0).
 *
 * The claim `sub` (`username` says which else) becomes the Client's `username`, whatever User Name it sent, and all claims are `client.claims`. A CONNECT in which nothing
 * looks like a token is left to the next plugin; a token that is not right is refused, and the log tells why, not the Client.
 * @throws MqttError for an option that is wrong
 * @example createBroker({ plugins: [jwt({ jwks: 'https://id.example/keys', issuer: 'https://id.example/', audience: 'mqtt' })] })
 */
export function jwt (options: JwtOptions): Plugin & { reload (): Promise<void> } {
  return new JwtPlugin(checkOptions(options))
}

class JwtPlugin implements Plugin {
  readonly name: string
  readonly hooks: Hooks<unknown, never>
  readonly authenticationMethods: readonly AuthenticationMethod<never>[]
  readonly #settings: Settings
  readonly #keys: Keys
  readonly #verifier: Verifier
  readonly #permissions: Permissions | undefined
  #broker: Broker | undefined = undefined
  #logger: Logger = silentLogger
  /** Undoes what is yet to come; undefined while nothing is. */
  #cancelRevalidate: (() => void) | undefined = undefined

  constructor (settings: Settings) {
    const { keys, algorithms } = keysOf(settings)
    this.name = settings.name
    this.#settings = settings
    this.#keys = keys
    this.#verifier = new Verifier(settings, keys, algorithms, systemClock)
    this.#permissions = settings.permissions === undefined ? undefined : new Permissions(settings.permissions)
    this.hooks = { authenticate: request => this.#authenticate(request), ...this.#permissions?.hooks }
    const { method } = settings
    this.authenticationMethods = method === false ? [] : [{ name: method, start: request => ({ next: data => this.#exchange(request, data) }) satisfies Exchange<never> }]
  }

  async setup (broker: Broker): Promise<void> {
    this.#broker = broker
    this.#logger = broker.logger
    this.#verifier.clock = broker.clock
    await this.#keys.setup(broker)
  }

  /** Reads the key set anew. Clients who are connected stay until their tokens expire, whatever key those were signed with. */
  reload (): Promise<void> { return this.#keys.reload() }

  close (): void {
    this.#cancelRevalidate?.()
    this.#keys.close()
    this.#verifier.forget()
  }

  #authenticate (request: AuthenticateRequest): MaybePromise<AuthenticateResult<never>> {
    const { sources, maximumTokenBytes } = this.#settings
    const token = findToken(request, sources, maximumTokenBytes)
    if (token === undefined) return undefined
    if (this.#isOfAnother(token)) {
      this.#log(request, 'a token is left to the next plugin: its issuer is another one')
      return undefined
    }
    return this.#judge(token, request)
  }

  /** With several plugins for several issuers each takes its own. Nobody is believed yet: who claims to be of one of ours is verified. */
  #isOfAnother (token: string): boolean {
    const { issuer, maximumTokenBytes } = this.#settings
    if (issuer === undefined || token.length > maximumTokenBytes || this.#verifier.recall(token) !== undefined) return false
    const claimed = issuerOf(token)
    return claimed !== undefined && ![issuer].flat().includes(claimed)
  }

  #exchange (request: ExchangeRequest, data: Buffer | undefined): MaybePromise<Accept<never> | Deny> {
    return this.#judge(data?.toString('latin1') ?? '', request)
  }

  /** At once where the token is known. */
  #judge (token: string, request: AuthenticateRequest | ExchangeRequest): MaybePromise<Accept<never> | Deny> {
    try {
      if (token.length > this.#settings.maximumTokenBytes) throw new TokenRefused(`it is longer than ${this.#settings.maximumTokenBytes} bytes`)
      const verified = this.#verifier.verify(token)
      if (!(verified instanceof Promise)) return this.#admit(verified, request)
      return verified.then(late => this.#admit(late, request)).catch((error: unknown) => this.#refuse(error, request))
    } catch (error) {
      return this.#refuse(error, request)
    }
  }

  #admit ({ claims, expiresAt }: Verified, request: AuthenticateRequest | ExchangeRequest): Accept<never> {
    const { username, clientIdentifier } = this.#settings
    const accept: Accept<never> = {
      allow: true,
      claims,
      username: nameIn(claims, username),
      ...(clientIdentifier !== undefined && { clientIdentifier: nameIn(claims, clientIdentifier) }),
      ...(expiresAt !== Infinity && { expiresAt }),
    }
    if ('client' in request && request.client !== undefined) this.#checkSame(accept, request.client)
    this.#permissions?.add(request.connection, claims)
    return accept
  }

  /** A Client that authenticates anew must not become somebody else: its Session and what it was granted belong to who it was. */
  #checkSame ({ username, clientIdentifier, claims = {} }: Accept<never>, client: NonNullable<ExchangeRequest['client']>): void {
    const isSame = username === client.username && (clientIdentifier ?? client.clientIdentifier) === client.clientIdentifier &&
      ['iss', 'sub'].every(name => claims[name] === client.claims[name])
    if (!isSame) throw new TokenRefused('it is for somebody else than the Client that authenticates anew')
    if (this.#permissions?.areSame(claims, client.claims) === false) this.#revalidateSoon()
  }

  /** What it has subscribed to it may not be allowed any more; one look through all Sessions serves all Clients of a while. */
  #revalidateSoon (): void {
    const broker = this.#broker
    this.#cancelRevalidate ??= broker?.clock.after(revalidateAfterMs, () => {
      this.#cancelRevalidate = undefined
      broker.revalidate().catch((error: unknown) => { this.#logger.error({ err: error }, 'subscriptions could not be looked through after rights had changed') })
    })
  }

  #log ({ clientIdentifier, connection: { remoteAddress } }: AuthenticateRequest | ExchangeRequest, message: string): void {
    this.#logger.info({ plugin: this.name, clientIdentifier, remoteAddress }, message)
  }

  #refuse (error: unknown, request: AuthenticateRequest | ExchangeRequest): Deny {
    this.#log(request, `a token was refused: ${reasonOf(error)}`)
    if (!(error instanceof KeysUnavailable)) return { allow: false }
    const isConnected = 'client' in request && request.client !== undefined
    return { allow: false, reasonCode: isConnected ? ReasonCode.serverBusy : ReasonCode.serverUnavailable } // DISCONNECT has no Server unavailable
  }
}

function issuerOf (token: string): string | undefined {
  try {
    return decodeJwt(token).iss
  } catch {
    return undefined
  }
}

/** A claim that names somebody: a text of 1 to 65,535 bytes, as it would have to be on the wire (section 1.5.4). */
function nameIn (claims: Readonly<Record<string, unknown>>, claim: string): string {
  const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined
  const isName = typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= 65_535 && !/[\0-\x1f\x7f]|\p{Surrogate}/u.test(value)
  if (!isName) throw new TokenRefused(`its claim "${claim}" names nobody`)
  return value
}
