import type { JSONWebKeySet, JWK } from 'jose'
import type { KeyObject } from 'node:crypto'
import { checkNames, optionInvalid, type AuthenticateRequest } from '../../lib/index.ts'

/**
 * Where a CONNECT has its token: in the Password, in the User Name, or in the HTTP request of its WebSocket: the header `Authorization: Bearer`, a
 * parameter of the query, a cookie. A function finds it elsewhere.
 */
export type TokenSource = 'password' | 'username' | 'header' | { readonly query: string } | { readonly cookie: string } | ((request: AuthenticateRequest) => string | undefined)

/** How a key set is kept up to date that comes from a URL. */
export interface KeySetOptions {
  /** Seconds after which the keys are asked for anew. Default 600. */
  readonly refreshSeconds?: number
  /** Least seconds between two requests, whatever tokens come with unknown keys. Default 30. */
  readonly cooldownSeconds?: number
  /** Seconds after the last answer that was good for which its keys are used while no other comes. Default 86,400: a day. */
  readonly staleSeconds?: number
  /** Milliseconds that an answer may take. Default 3,000: below `hookTimeoutMs`, so that the Client can be told why. */
  readonly timeoutMs?: number
  /** Bytes of an answer. Default 262,144. */
  readonly maximumBytes?: number
}

/** What {@link jwt} needs: one of `secret`, `key` and `jwks`, and, in earnest, `issuer` and `audience`. */
export interface JwtOptions {
  /** Name of the plugin. Default `jwt`. */
  readonly name?: string
  /** What tokens are signed with by HMAC: as many bytes as the algorithm's digest has, or more (RFC 7518 section 3.2). Text counts as UTF-8. */
  readonly secret?: string | Uint8Array
  /** The public key of the issuer: PEM (of a key or of a certificate), a JWK or a `KeyObject`. */
  readonly key?: string | JWK | KeyObject
  /** The public keys of the issuer as a JSON Web Key Set: an `http:` or `https:` URL, the path of a file, or the set itself. Which key is to be used a token says by `kid`. */
  readonly jwks?: string | URL | JSONWebKeySet
  /** How a key set from a URL is kept up to date. */
  readonly keySet?: KeySetOptions
  /** Reads a key set anew when its file changes. Default false. */
  readonly watch?: boolean
  /** Algorithms that are accepted. Default: HS256 with a secret, those that fit the key, or every asymmetric one of {@link asymmetricAlgorithms} with a key set. */
  readonly algorithms?: readonly string[]
  /** `iss` has to be it, or one of them. Default: not looked at. */
  readonly issuer?: string | readonly string[]
  /** `aud` has to be it, one of them, or a list with one of them. Default: not looked at. */
  readonly audience?: string | readonly string[]
  /** `typ` of the header has to be it, for example `at+jwt`. Default: not looked at. */
  readonly type?: string
  /** Seconds by which clocks may differ, for `exp` and `nbf`. Default 0. */
  readonly clockToleranceSeconds?: number
  /** Tokens without `exp` are refused; what they let in could stay for ever. Default true. */
  readonly requireExpiry?: boolean
  /** The claim that becomes the User Name: a token without it is refused. Default `sub`. */
  readonly username?: string
  /** The claim that becomes the Client Identifier: a token without it is refused. Default: the Client chooses its own. */
  readonly clientIdentifier?: string
  /** Where the token is, or several places that are looked at in turn. Default `password`. */
  readonly from?: TokenSource | readonly TokenSource[]
  /** Authentication Method of MQTT 5.0 for tokens in the Authentication Data, also to authenticate anew; false for none. Default `JWT`. */
  readonly method?: string | false
  /** The claim with lists of Topic Filters `{ pub, sub, all }`: whom the token lets in may do that and nothing else. Default: not looked at. */
  readonly permissions?: string
  /** Bytes of a token; a longer one is refused unread. Default 8,192. */
  readonly maximumTokenBytes?: number
  /** Tokens that are remembered as verified until they expire, so that a Client that comes again costs no signature. 0 for none. Default 10,000. */
  readonly cachedTokens?: number
}

type Defaulted = 'name' | 'requireExpiry' | 'clockToleranceSeconds' | 'username' | 'method' | 'watch' | 'maximumTokenBytes' | 'cachedTokens'

/** Options that were checked, with their defaults. */
export interface Settings extends Omit<JwtOptions, Defaulted | 'keySet'>, Required<Pick<JwtOptions, Defaulted>> {
  readonly sources: readonly TokenSource[]
  readonly keySet: Required<KeySetOptions>
}

/** The algorithms of signatures with a public key. */
export const asymmetricAlgorithms: readonly string[] = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519']

/** The bytes that a secret has to have for each algorithm. */
export const secretBytes: ReadonlyMap<string, number> = new Map([['HS256', 32], ['HS384', 48], ['HS512', 64]])

const defaults = {
  name: 'jwt', requireExpiry: true, clockToleranceSeconds: 0, username: 'sub', method: 'JWT', watch: false, maximumTokenBytes: 8192, cachedTokens: 10_000,
} as const

const keySetDefaults: Required<KeySetOptions> = { refreshSeconds: 600, cooldownSeconds: 30, staleSeconds: 86_400, timeoutMs: 3_000, maximumBytes: 262_144 }

type Check = readonly [expected: string, isRight: (value: unknown) => boolean]

const text: Check = ['a text that is not empty', value => typeof value === 'string' && value !== '']
const texts: Check = ['a text, or a list of them', value => [value].flat().length > 0 && [value].flat().every(text[1])]
const truth: Check = ['true or false', value => typeof value === 'boolean']
const seconds: Check = ['a number of seconds, 0 or more', value => typeof value === 'number' && value >= 0 && value <= 31_536_000]
const count: Check = ['a whole number, 0 or more', value => Number.isSafeInteger(value) && Number(value) >= 0]
const size: Check = ['a whole number, 1 or more', value => Number.isSafeInteger(value) && Number(value) >= 1]
const period: Check = ['a number of seconds, 1 to 31,536,000', value => typeof value === 'number' && value >= 1 && value <= 31_536_000]
const wait: Check = ['a whole number of milliseconds, 1 to 60,000', value => Number.isSafeInteger(value) && Number(value) >= 1 && Number(value) <= 60_000]
const sources: Check = ['"password", "username", "header", { query }, { cookie }, a function, or a list of them', value => [value].flat().length > 0 && [value].flat().every(isSource)]
const secret: Check = ['a text or bytes, and no public key', value => (typeof value === 'string' || value instanceof Uint8Array) && !isPem(value)]
const keyMaterial: Check = ['a text or an object', value => (typeof value === 'string' && value !== '') || (typeof value === 'object' && value !== null)]

const checks: Readonly<Record<keyof JwtOptions, Check>> = {
  name: text, secret, key: keyMaterial, jwks: keyMaterial, keySet: keyMaterial, watch: truth,
  algorithms: ['a list of algorithms', value => Array.isArray(value) && texts[1](value)],
  issuer: texts, audience: texts, type: text, clockToleranceSeconds: seconds, requireExpiry: truth, username: text, clientIdentifier: text, from: sources,
  method: ['a text, or false', value => value === false || text[1](value)], permissions: text, maximumTokenBytes: size, cachedTokens: count,
}

const keySetChecks: Readonly<Record<keyof KeySetOptions, Check>> = {
  refreshSeconds: period, cooldownSeconds: period, staleSeconds: seconds, timeoutMs: wait, maximumBytes: size,
}

/**
 * Fills in the defaults.
 * @throws MqttError for an option that is unknown or wrong; secrets are not told
 */
export function checkOptions (options: JwtOptions): Settings {
  checkEach('', options, checks)
  checkEach('keySet.', options.keySet ?? {}, keySetChecks)
  const given = ['secret', 'key', 'jwks'].filter(name => options[name as keyof JwtOptions] !== undefined)
  if (given.length !== 1) throw optionInvalid('secret, key, jwks', 'one of the three', given.length === 0 ? 'none' : given.join(' and '))
  checkPlace(options)
  checkPeriods(options.keySet)
  return { ...defaults, ...options, sources: listed(options.from ?? 'password'), keySet: { ...keySetDefaults, ...options.keySet } }
}

/** What would be left out in silence: only a URL is asked again, and only a file is watched. */
function checkPlace ({ jwks, keySet, watch }: JwtOptions): void {
  const place = jwks instanceof URL ? jwks.href : jwks
  const scheme = typeof place === 'string' ? /^([a-z][a-z\d+.-]+):/i.exec(place)?.[1]?.toLowerCase() : undefined
  const isUrl = scheme === 'http' || scheme === 'https'
  if (scheme !== undefined && !isUrl && scheme !== 'file') throw optionInvalid('jwks', 'an http: or https: URL, the path of a file, or a key set', `one with ${scheme}:`)
  if (keySet !== undefined && !isUrl) throw optionInvalid('keySet', 'absent where "jwks" is no URL', keySet)
  if (watch === true && (typeof place !== 'string' || isUrl)) throw optionInvalid('watch', 'false where "jwks" is no file', watch)
}

function checkPeriods (keySet: KeySetOptions = {}): void {
  const { refreshSeconds, staleSeconds, cooldownSeconds } = { ...keySetDefaults, ...keySet }
  if (staleSeconds < refreshSeconds) throw optionInvalid('keySet.staleSeconds', `refreshSeconds (${refreshSeconds}) or more: in between nobody would be let in`, staleSeconds)
  if (keySet.cooldownSeconds !== undefined && cooldownSeconds > refreshSeconds) throw optionInvalid('keySet.cooldownSeconds', `refreshSeconds (${refreshSeconds}) or less: it is the least time between two requests`, cooldownSeconds)
}

function listed (from: TokenSource | readonly TokenSource[]): readonly TokenSource[] {
  return [from].flat()
}

function checkEach (prefix: string, options: object, table: Readonly<Record<string, Check>>): void {
  checkNames(options, Object.keys(table), prefix)
  const values = new Map<string, unknown>(Object.entries(options))
  for (const [name, [expected, isRight]] of Object.entries(table)) {
    const value = values.get(name)
    if (values.has(name) && !isRight(value)) throw optionInvalid(prefix + name, expected, name === 'secret' || name === 'key' ? 'something else' : value)
  }
}

function isSource (value: unknown): boolean {
  if (typeof value === 'function') return true
  if (typeof value === 'string') return ['password', 'username', 'header'].includes(value)
  const entries = typeof value === 'object' && value !== null ? Object.entries(value) : []
  return entries.length === 1 && entries.every(([name, parameter]) => ['query', 'cookie'].includes(name) && text[1](parameter))
}

/** A public key is known to everybody, so as a secret it would let everybody sign. */
function isPem (value: unknown): boolean {
  return Buffer.from(value as string).includes('-----BEGIN')
}
