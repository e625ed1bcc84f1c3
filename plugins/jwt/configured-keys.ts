import { createLocalJWKSet, type JSONWebKeySet, type JWK, type JWTVerifyGetKey } from 'jose'
import { createPublicKey, KeyObject } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { optionInvalid } from '../../lib/index.ts'
import { FileKeys } from './file-keys.ts'
import { parseKeySet } from './key-set.ts'
import type { Keys } from './keys.ts'
import { asymmetricAlgorithms, secretBytes, type Settings } from './options.ts'
import { RemoteKeys } from './remote-keys.ts'

/** Keys that are given once and for all. */
class FixedKeys implements Keys {
  readonly version = 0
  readonly areUsable = true
  readonly find: JWTVerifyGetKey

  constructor (find: JWTVerifyGetKey) { this.find = find }

  setup (): Promise<void> { return Promise.resolve() }

  reload (): Promise<void> { return Promise.resolve() }

  close (): void { /* nothing is open */ }
}

/**
 * The keys that the options name, and the algorithms that may be used with them. Those never mix: what verifies with a public key can
 * not be taken for a secret.
 * @throws MqttError for a key that is none, or algorithms that do not fit it
 */
export function keysOf (settings: Settings): { readonly keys: Keys, readonly algorithms: string[] } {
  const { secret, key, jwks } = settings
  if (secret !== undefined) return secretKeys(secret, settings)
  if (key !== undefined) return publicKey(key, settings)
  return { keys: keySet(jwks, settings), algorithms: chosen(settings, asymmetricAlgorithms, asymmetricAlgorithms) }
}

function secretKeys (secret: string | Uint8Array, settings: Settings): ReturnType<typeof keysOf> {
  const bytes = new Uint8Array(Buffer.from(secret as string))
  const algorithms = chosen(settings, [...secretBytes.keys()], ['HS256'])
  const needed = Math.max(...algorithms.map(algorithm => secretBytes.get(algorithm) ?? 0))
  if (bytes.length < needed) throw optionInvalid('secret', `${needed} bytes or more for ${algorithms.join(', ')}`, `${bytes.length} bytes`)
  return { keys: new FixedKeys(() => bytes), algorithms }
}

function publicKey (key: string | JWK | KeyObject, settings: Settings): ReturnType<typeof keysOf> {
  const object = publicKeyOf(key)
  const fitting = algorithmsOf(object)
  return { keys: new FixedKeys(() => object), algorithms: chosen(settings, fitting, fitting) }
}

function keySet (jwks: string | URL | JSONWebKeySet | undefined, settings: Settings): Keys {
  const place = jwks instanceof URL ? jwks.href : jwks
  if (typeof place !== 'string') return new FixedKeys(createLocalJWKSet(parseKeySet(JSON.stringify(place), fault => optionInvalid('jwks', 'a JSON Web Key Set', fault))))
  if (/^https?:/i.test(place)) return new RemoteKeys(checkUrl(place), settings.keySet)
  return new FileKeys(place.startsWith('file:') ? pathOf(place) : place, settings.watch)
}

function pathOf (url: string): string {
  try {
    return fileURLToPath(url)
  } catch {
    throw optionInvalid('jwks', 'a file: URL of a file on this machine', url)
  }
}

function checkUrl (place: string): URL {
  const url = URL.canParse(place) ? new URL(place) : undefined
  if (url?.username !== '' || url.password !== '') throw optionInvalid('jwks', 'a URL without user name and password', 'another one')
  return url
}

function chosen ({ algorithms }: Settings, possible: readonly string[], byDefault: readonly string[]): string[] {
  const wrong = algorithms?.find(algorithm => !possible.includes(algorithm))
  if (wrong !== undefined) throw optionInvalid('algorithms', `among those that fit the key: ${possible.join(', ')}`, wrong)
  return [...algorithms ?? byDefault]
}

function publicKeyOf (key: string | JWK | KeyObject): KeyObject {
  const isPrivate = key instanceof KeyObject ? key.type !== 'public' : typeof key === 'string' ? key.includes('PRIVATE KEY') : Object.hasOwn(key, 'd')
  if (isPrivate) throw optionInvalid('key', 'a public key: whoever verifies needs no other', 'another one')
  if (key instanceof KeyObject) return key
  try {
    return typeof key === 'string' ? createPublicKey(key) : createPublicKey({ key, format: 'jwk' })
  } catch {
    throw optionInvalid('key', 'a public key as PEM, JWK or KeyObject', 'something that cannot be read')
  }
}

const curves: ReadonlyMap<string | undefined, readonly string[]> = new Map([['prime256v1', ['ES256']], ['secp384r1', ['ES384']], ['secp521r1', ['ES512']]])

/** What a key can verify by its own kind. */
function algorithmsOf ({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): readonly string[] {
  if (asymmetricKeyType === 'ed25519') return ['EdDSA', 'Ed25519']
  const isLong = (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048 // RFC 7518 section 3.3
  if (asymmetricKeyType === 'rsa' && isLong) return asymmetricAlgorithms.filter(name => /^[RP]S/.test(name))
  const byCurve = asymmetricKeyType === 'ec' ? curves.get(asymmetricKeyDetails?.namedCurve) : undefined
  if (byCurve === undefined) throw optionInvalid('key', 'RSA of 2048 bits or more, EC on P-256, P-384 or P-521, or Ed25519', asymmetricKeyType)
  return byCurve
}
