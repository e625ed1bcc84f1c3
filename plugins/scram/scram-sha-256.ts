import { isUtf8 } from 'node:buffer'
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import {
  checkNames, ErrorCode, MqttError, ReasonCode,
  type Accept, type AuthenticationMethod, type Continue, type Deny, type Exchange, type ExchangeRequest, type MaybePromise,
} from '../../lib/index.ts'
import { saslPrepare } from './saslprep.ts'

/** What is kept of a password: enough to check it, not enough to log in with (RFC 5802 section 3). */
export interface ScramCredentials<Data = unknown> {
  /** Random bytes, 16 of them where `deriveScramCredentials` made them. */
  salt: Buffer
  /** 4,096 or more (RFC 7677 section 4). */
  iterations: number
  /** 32 bytes. */
  storedKey: Buffer
  /** 32 bytes. */
  serverKey: Buffer
  /** Attached to the Client when it is let in. */
  data?: Data
}

/** How {@link scramSha256} finds its users. */
export interface ScramOptions<Data = unknown> {
  /** Finds a user by name, which is normalised by SASLprep; undefined when there is none. An error refuses the Client. */
  credentials: (username: string) => MaybePromise<ScramCredentials<Data> | undefined>
  /** Iterations that unknown users are told: the number your credentials have, or where they differ one that stays the same for a name. Default 15,000. */
  iterations?: number | ((username: string) => number)
  /**
   * Makes the salt that unknown users are told, always the same one for a name, so that they look like known ones.
   * Nodes of a cluster should share it. Default: 32 random bytes.
   */
  secret?: Buffer
  /** @internal The server's part of the nonce, for the test vectors of the RFC. */
  nonce?: () => string
}

/** What {@link deriveScramCredentials} takes. */
export const defaultIterations: number = 15_000
/** RFC 7677 section 4. */
export const minimumIterations: number = 4096
const saltLength = 16
const keyLength = 32

/**
 * SCRAM-SHA-256 (RFC 5802, RFC 7677) as an enhanced authentication method (MQTT 5.0 section 4.12): the password crosses
 * neither the network nor the broker's memory, and the Client sees that the broker knows it. The name of the user
 * becomes the Client's `username`. A Client that authenticates anew has to stay the same user.
 *
 * Channel binding is not offered. Whatever goes wrong is Not authorized (0x87), an unknown user like a wrong password.
 *
 * @example createBroker({ authenticationMethods: [scramSha256({ credentials: username => users.get(username) })] })
 */
export function scramSha256<Data = unknown> (options: ScramOptions<Data>): AuthenticationMethod<Data> {
  checkNames(options, ['credentials', 'iterations', 'secret', 'nonce'])
  const { credentials, secret, nonce }: { credentials?: unknown, secret?: unknown, nonce?: unknown } = options
  if (typeof credentials !== 'function') throw optionInvalid('"credentials" must be a function')
  if (secret !== undefined && !Buffer.isBuffer(secret)) throw optionInvalid('"secret" must be a Buffer')
  if (nonce !== undefined && typeof nonce !== 'function') throw optionInvalid('"nonce" must be a function')
  const settings: ExchangeSettings<Data> = {
    credentials: options.credentials,
    iterations: iterationsOf(options.iterations),
    secret: options.secret ?? randomBytes(keyLength),
    nonce: options.nonce ?? (() => randomBytes(24).toString('base64')),
  }
  return { name: 'SCRAM-SHA-256', start: request => new ScramExchange(settings, request) }
}

/**
 * Makes what {@link scramSha256} needs to check a password. Default: a random salt of 16 bytes and 15,000 iterations; more are
 * safer should the credentials leak, and slower for the Client, which a constrained device may feel. Throws {@link MqttError}
 * `MQTT_OPTION_INVALID` below 4,096 iterations (RFC 7677 section 4) and for a password that SASLprep prohibits.
 */
export async function deriveScramCredentials (password: string, options: { salt?: Buffer, iterations?: number } = {}): Promise<ScramCredentials<never>> {
  checkNames(options, ['salt', 'iterations'])
  if (options.salt !== undefined && !Buffer.isBuffer(options.salt)) throw optionInvalid('"salt" must be a Buffer')
  const prepared = typeof (password as unknown) === 'string' ? saslPrepare(password) : undefined
  if (prepared === undefined) throw optionInvalid('"password" must be text without control characters, and not empty')
  const iterations = checkIterations(options.iterations)
  const salt = options.salt ?? randomBytes(saltLength)
  const saltedPassword = await promisify(pbkdf2)(prepared, salt, iterations, keyLength, 'sha256')
  return { salt, iterations, storedKey: sha256(hmac(saltedPassword, 'Client Key')), serverKey: hmac(saltedPassword, 'Server Key') }
}

type ExchangeSettings<Data> = Required<ScramOptions<Data>> & { readonly iterations: (username: string) => number }
type Step<Data> = Continue | Accept<Data> | Deny

/** What `client-first` leaves behind for `client-final`. */
interface Challenge<Data> {
  readonly username: string
  readonly credentials: ScramCredentials<Data>
  readonly isKnown: boolean
  readonly nonce: string
  /** Base64 of the GS2 header, which the Client has to repeat. */
  readonly channelBinding: string
  /** `client-first-message-bare,server-first-message,` */
  readonly transcript: string
}

/** One login: client-first, server-first, client-final, server-final (RFC 5802 section 5). */
class ScramExchange<Data> implements Exchange<Data> {
  readonly #settings: ExchangeSettings<Data>
  readonly #request: ExchangeRequest
  #challenge: Challenge<Data> | undefined
  #isOver = false

  constructor (settings: ExchangeSettings<Data>, request: ExchangeRequest) {
    this.#settings = settings
    this.#request = request
  }

  next (data: Buffer | undefined): MaybePromise<Step<Data>> {
    const message = data !== undefined && isUtf8(data) ? data.toString() : ''
    if (this.#challenge !== undefined) return this.#finish(this.#challenge, message)
    if (this.#isOver) return denied()
    this.#isOver = true
    return this.#begin(message)
  }

  #begin (message: string): MaybePromise<Step<Data>> {
    const first = parseClientFirst(message)
    if (first === undefined || !this.#isSameUser(first.username)) return denied()
    const credentials = this.#settings.credentials(first.username)
    if (credentials instanceof Promise) return credentials.then(found => this.#ask(first, found))
    return this.#ask(first, credentials)
  }

  /** A Client that authenticates anew must not become somebody else: its Session and rights belong to that name. */
  #isSameUser (username: string): boolean {
    return this.#request.client === undefined || this.#request.client.username === username
  }

  #ask (first: ClientFirst, found: ScramCredentials<Data> | undefined): Continue {
    const credentials = found ?? imaginaryCredentials(this.#settings, first.username)
    const nonce = first.nonce + this.#settings.nonce()
    const serverFirst = `r=${nonce},s=${credentials.salt.toString('base64')},i=${credentials.iterations}`
    this.#challenge = {
      username: first.username,
      credentials,
      isKnown: found !== undefined,
      nonce,
      channelBinding: Buffer.from(first.gs2Header).toString('base64'),
      transcript: `${first.bare},${serverFirst},`,
    }
    return { continue: Buffer.from(serverFirst) }
  }

  #finish (challenge: Challenge<Data>, message: string): Accept<Data> | Deny {
    this.#challenge = undefined
    const final = parseClientFinal(message)
    if (final?.channelBinding !== challenge.channelBinding || final.nonce !== challenge.nonce) return denied()
    const { username, credentials, isKnown } = challenge
    const authMessage = challenge.transcript + final.withoutProof
    if (!isProof(credentials, authMessage, final.proof) || !isKnown) return denied()
    const authenticationData = Buffer.from(`v=${hmac(credentials.serverKey, authMessage).toString('base64')}`)
    return { allow: true, username, authenticationData, ...(credentials.data === undefined ? {} : { data: credentials.data }) }
  }
}

interface ClientFirst {
  readonly gs2Header: string
  readonly bare: string
  readonly username: string
  readonly nonce: string
}

/** `n,,n=user,r=nonce`: no channel binding; an authorization identity only if it is the user's own name (RFC 5802 section 7). */
function parseClientFirst (message: string): ClientFirst | undefined {
  const [, gs2Header, authorizationId, bare, name, nonce] =
    /^([ny],(?:a=([^,]+))?,)(n=([^,]+),r=([\x21-\x2b\x2d-\x7e]+)(?:,.*)?)$/s.exec(message) ?? []
  if (gs2Header === undefined || bare === undefined || name === undefined || nonce === undefined) return undefined
  const username = decodeName(name)
  if (username === undefined || (authorizationId !== undefined && decodeName(authorizationId) !== username)) return undefined
  return { gs2Header, bare, username, nonce }
}

interface ClientFinal {
  readonly withoutProof: string
  readonly channelBinding: string
  readonly nonce: string
  readonly proof: Buffer
}

/** `c=biws,r=nonce,p=proof`; extensions may stand before the proof. */
function parseClientFinal (message: string): ClientFinal | undefined {
  const [, withoutProof, channelBinding, nonce, proof] =
    /^(c=([A-Za-z\d+/=]+),r=([^,]+)(?:,.*)?),p=([A-Za-z\d+/]{43}=)$/s.exec(message) ?? []
  if (withoutProof === undefined || channelBinding === undefined || nonce === undefined || proof === undefined) return undefined
  return { withoutProof, channelBinding, nonce, proof: Buffer.from(proof, 'base64') }
}

/** Commas and equals signs in a name are written `=2C` and `=3D`; no other `=` may stand there. */
function decodeName (text: string): string | undefined {
  if (/=(?!2C|3D)/.test(text)) return undefined
  return saslPrepare(text.replaceAll('=2C', ',').replaceAll('=3D', '='))
}

/** ClientKey = ClientProof XOR ClientSignature, and StoredKey = H(ClientKey). */
function isProof (credentials: ScramCredentials, authMessage: string, proof: Buffer): boolean {
  const signature = hmac(credentials.storedKey, authMessage)
  const clientKey = Buffer.from(proof.map((byte, index) => byte ^ signature.readUInt8(index)))
  return credentials.storedKey.length === keyLength && timingSafeEqual(sha256(clientKey), credentials.storedKey)
}

/** For a user that does not exist: looks the same every time, and fits no password. */
function imaginaryCredentials (settings: { secret: Buffer, iterations: (username: string) => number }, username: string): ScramCredentials<never> {
  return {
    salt: hmac(settings.secret, `salt ${username}`).subarray(0, saltLength),
    iterations: settings.iterations(username),
    storedKey: hmac(settings.secret, `key ${username}`),
    serverKey: settings.secret,
  }
}

function denied (): Deny {
  return { allow: false, reasonCode: ReasonCode.notAuthorized }
}

function hmac (key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

function sha256 (bytes: Buffer): Buffer {
  return createHash('sha256').update(bytes).digest()
}

function iterationsOf (given: ScramOptions['iterations']): (username: string) => number {
  if (typeof given === 'function') return given
  const iterations = checkIterations(given)
  return () => iterations
}

function checkIterations (iterations: number = defaultIterations): number {
  if (!Number.isSafeInteger(iterations) || iterations < minimumIterations || iterations >= 2 ** 31) throw optionInvalid(`"iterations" must be ${minimumIterations} or more, below 2,147,483,648`)
  return iterations
}

function optionInvalid (message: string): MqttError {
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, `option ${message}`)
}
