import { errors, jwtVerify, type JWTVerifyOptions } from 'jose'
import { createHash } from 'node:crypto'
import { BoundedMap, type Claims, type Clock } from '../../lib/index.ts'
import type { Keys } from './keys.ts'
import { KeysUnavailable } from './remote-keys.ts'
import type { Settings } from './options.ts'

/** What a token says, once it has been verified. */
export interface Verified {
  readonly claims: Claims
  /** Milliseconds since the epoch; Infinity for a token without `exp`. */
  readonly expiresAt: number
  /** Of the keys it was verified with. */
  readonly version: number
}

/** Verifies tokens, and remembers those that were right. */
export class Verifier {
  readonly #settings: Settings
  readonly #keys: Keys
  readonly #options: JWTVerifyOptions
  /** By the digest of the token. */
  readonly #verified: BoundedMap<string, Verified>
  /** Being verified now: Clients that come with one token at one time wait for one verification. */
  readonly #verifying = new Map<string, Promise<Verified>>()
  #clock: Clock

  constructor (settings: Settings, keys: Keys, algorithms: string[], clock: Clock) {
    this.#settings = settings
    this.#keys = keys
    this.#verified = new BoundedMap(settings.cachedTokens)
    this.#options = verifyOptions(settings, algorithms)
    this.#clock = clock
  }

  /** From here on time is the broker's. */
  set clock (clock: Clock) { this.#clock = clock }

  /** @returns what is known of the token at once where it was verified before and is still good, else a promise, which rejects for a token that is not */
  verify (token: string): Verified | Promise<Verified> {
    const known = this.recall(token)
    if (known !== undefined) return known
    const digest = digestOf(token)
    this.#verified.delete(digest)
    const verifying = this.#verifying.get(digest) ?? this.#verify(token, digest).finally(() => { this.#verifying.delete(digest) })
    this.#verifying.set(digest, verifying)
    return verifying
  }

  /** What is known of a token that was verified before and is still good. */
  recall (token: string): Verified | undefined {
    const known = this.#verified.get(digestOf(token))
    return known !== undefined && this.#isGood(known) ? known : undefined
  }

  forget (): void { this.#verified.clear() }

  #isGood ({ expiresAt, version }: Verified): boolean {
    return expiresAt > this.#clock.now() && version === this.#keys.version && this.#keys.areUsable
  }

  async #verify (token: string, digest: string): Promise<Verified> {
    const version = this.#keys.version
    const { payload } = await jwtVerify(token, this.#keys.find, { ...this.#options, currentDate: new Date(this.#clock.now()) })
    const { exp = Infinity } = payload
    const verified = { claims: frozen(payload), expiresAt: (exp + this.#settings.clockToleranceSeconds) * 1000, version }
    this.#verified.set(digest, verified)
    return verified
  }
}

function digestOf (token: string): string { return createHash('sha256').update(token).digest('base64') }

function verifyOptions (settings: Settings, algorithms: string[]): JWTVerifyOptions {
  const { issuer, audience, type, clockToleranceSeconds, requireExpiry } = settings
  return {
    algorithms,
    clockTolerance: clockToleranceSeconds,
    requiredClaims: requireExpiry ? ['exp'] : [],
    ...(issuer !== undefined && { issuer: [issuer].flat() }),
    ...(audience !== undefined && { audience: [audience].flat() }),
    ...(type !== undefined && { typ: type }),
  }
}

/** Several Clients share what one token says, so no hook may change it. */
function frozen (claims: Claims): Claims {
  const left: unknown[] = [claims]
  for (const value of left) {
    if (typeof value !== 'object' || value === null) continue
    Object.freeze(value)
    for (const inner of Object.values(value)) left.push(inner)
  }
  return claims
}

/** Why a token was refused, for the log: no part of the token, and nothing of what a key looks like. */
export function reasonOf (error: unknown): string {
  if (error instanceof errors.JOSEError || error instanceof KeysUnavailable || error instanceof TokenRefused) return error.message
  return 'it could not be verified'
}

/** A token that is genuine, and yet does not let the Client in. */
export class TokenRefused extends Error {}
