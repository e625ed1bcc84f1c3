import { randomBytes } from 'node:crypto'
import { checkNames, checkTopicFilter, optionInvalid, systemClock, type Clock } from '../../lib/index.ts'
import { decodeContent, encodeContent, type Content, type Properties } from './content.ts'
import { CryptoError, CryptoErrorCode } from './errors.ts'
import { envelopeOf, isSealed, readSeal, sealProperties, unsealedProperties } from './seal.ts'
import { bySpecificity, expressionOf } from './topic-filters.ts'
import { keyLength, nonceLength, Xaes } from './xaes.ts'

/** A secret that both ends know. */
export interface Key {
  /** Tells the keys of a Topic Filter apart; 1 to 255 bytes of UTF-8, which everybody sees. */
  readonly id: string
  /** 32 random bytes. */
  readonly key: Uint8Array
  /** Milliseconds since the epoch: from then on the key neither encrypts nor decrypts. Default: never. */
  readonly notAfter?: number
}

/** The keys of one Topic Filter: the first that has not expired encrypts, all of them decrypt. Or that its messages go unencrypted. */
export type KeyringEntry =
  | { readonly filter: string, readonly keys: readonly Key[] }
  | { readonly filter: string, readonly plain: true }

/** How {@link Keyring.encrypt} is to tell of the seal. */
export interface EncryptOptions {
  /** 5 uses User Properties, 3 and 4 an envelope. Default 5. */
  readonly protocolVersion?: 3 | 4 | 5
  /** An envelope with MQTT 5.0 as well: for subscribers of older versions, to whom a broker cannot give User Properties. Default false. */
  readonly envelope?: boolean
  /** Those of the message. Payload Format Indicator, Content Type, Response Topic and Correlation Data go under the seal; the others, User Properties above all, are seen by everybody. */
  readonly properties?: Properties
}

/** Payload and properties as they are published. */
export interface Encrypted { readonly payload: Buffer, readonly properties: Properties | undefined }

interface HeldKey { readonly id: string, readonly cipher: Xaes, readonly notAfter: number }
interface Entry { readonly filter: string, readonly expression: RegExp, readonly keys: readonly HeldKey[] | undefined }

/** Keys by Topic Filter. The most specific filter that matches a topic counts: level by level a name before `+`, and that before `#`. */
export class Keyring {
  readonly #clock: Clock
  #entries: readonly Entry[] = []
  /** Filters without wildcards, which are the most specific there are. */
  #exact: ReadonlyMap<string, Entry> = new Map()

  /** @internal Made by {@link keyring}. */
  constructor (entries: readonly KeyringEntry[], clock: Clock) {
    this.#clock = clock
    this.replace(entries)
  }

  /**
   * Takes these keys in the place of those that it has, all at once: to rotate, put the new key in front.
   * @throws MqttError for entries that are wrong; then the former ones stay
   */
  replace (entries: readonly KeyringEntry[]): void {
    if (!Array.isArray(entries)) throw optionInvalid('entries', 'a list of { filter, keys }', entries)
    const made = entries.map(entryOf).sort((one, other) => bySpecificity(one.filter, other.filter))
    const twice = made.find(({ filter }, index) => made[index + 1]?.filter === filter)
    if (twice !== undefined) throw optionInvalid('filter', 'different Topic Filters', twice.filter)
    this.#exact = new Map(made.filter(isExact).map(entry => [entry.filter, entry]))
    this.#entries = made.filter(entry => !isExact(entry))
  }

  /** Whether messages of that topic go unencrypted because an entry says so. */
  isPlain (topicName: string): boolean {
    const entry = this.#find(topicName)
    return entry !== undefined && entry.keys === undefined
  }

  /**
   * Encrypts a message for its topic. An empty payload stays empty, since that is how a retained message is removed; one of a plain topic stays as it is.
   * @throws CryptoError when there is no key for the topic, or all have expired
   */
  encrypt (topicName: string, payload: string | Uint8Array, { protocolVersion = 5, envelope = false, properties }: EncryptOptions = {}): Encrypted {
    const bytes = typeof payload === 'string' ? Buffer.from(payload) : Buffer.from(payload.buffer, payload.byteOffset, payload.length)
    if (bytes.length === 0 || this.isPlain(topicName)) return { payload: bytes, properties }
    const { id: keyId, cipher } = this.#current(topicName)
    const { plainText, open } = encodeContent(bytes, properties)
    const nonce = randomBytes(nonceLength)
    const seal = { keyId, nonce, sealed: cipher.seal(nonce, plainText, boundTo(keyId, topicName)) }
    if (protocolVersion === 5 && !envelope) return { payload: seal.sealed, properties: sealProperties(seal, open) }
    return { payload: envelopeOf(seal), properties: properties === undefined ? undefined : open }
  }

  /**
   * Decrypts a message, in either form. An empty payload is given back as it is; so is a message of a plain topic.
   * @throws CryptoError for a message that is not encrypted, that names no key of its topic, or that was altered or moved to another topic
   */
  decrypt (topicName: string, payload: Buffer, properties?: Properties): Content {
    if (payload.length === 0 || this.isPlain(topicName)) return { payload, properties }
    const keys = this.#keysOf(topicName)
    const userProperties = properties?.userProperties
    if (!isSealed(payload, name => userProperties !== undefined && Object.hasOwn(userProperties, name))) {
      throw new CryptoError(CryptoErrorCode.notEncrypted, topicName, 'the message is not encrypted')
    }
    const seal = readSeal(payload, userProperties)
    if (seal === undefined) throw new CryptoError(CryptoErrorCode.malformed, topicName, 'the seal of the message is broken, or of another version')
    const { cipher } = this.#named(topicName, keys, seal.keyId)
    const plainText = cipher.open(seal.nonce, seal.sealed, boundTo(seal.keyId, topicName))
    const content = plainText && decodeContent(plainText)
    if (content === undefined) throw new CryptoError(CryptoErrorCode.notAuthentic, topicName, 'the message was altered, comes from another topic, or was encrypted with another key', seal.keyId)
    if (properties === undefined) return content
    return { payload: content.payload, properties: { ...unsealedProperties(properties), ...content.properties } }
  }

  #find (topicName: string): Entry | undefined {
    return this.#exact.get(topicName) ?? this.#entries.find(({ expression }) => expression.test(topicName))
  }

  #keysOf (topicName: string): readonly HeldKey[] {
    const keys = this.#find(topicName)?.keys
    if (keys === undefined) throw new CryptoError(CryptoErrorCode.keyMissing, topicName, 'there is no key for this topic')
    return keys
  }

  #current (topicName: string): HeldKey {
    const now = this.#clock.now()
    const key = this.#keysOf(topicName).find(({ notAfter }) => now < notAfter)
    if (key === undefined) throw new CryptoError(CryptoErrorCode.keyExpired, topicName, 'all keys for this topic have expired')
    return key
  }

  #named (topicName: string, keys: readonly HeldKey[], keyId: string): HeldKey {
    const key = keys.find(({ id }) => id === keyId)
    if (key === undefined) throw new CryptoError(CryptoErrorCode.keyUnknown, topicName, 'the message names a key that is not there', keyId)
    if (this.#clock.now() >= key.notAfter) throw new CryptoError(CryptoErrorCode.keyExpired, topicName, 'the key of the message has expired', keyId)
    return key
  }
}

/**
 * Makes a {@link Keyring}.
 * @param clock tells when keys expire. Default: that of the machine
 * @throws MqttError for a filter that is none or is there twice, a key that has not 32 bytes, or ids that are not different
 * @example keyring([{ filter: 'sensors/#', keys: [{ id: 'k2', key: newKey }, { id: 'k1', key: oldKey }] }])
 */
export function keyring (entries: readonly KeyringEntry[], clock: Clock = systemClock): Keyring {
  return new Keyring(entries, clock)
}

/** What the tag vouches for besides the content: this version of the format, the key and the topic. */
function boundTo (keyId: string, topicName: string): Buffer {
  const id = Buffer.from(keyId)
  return Buffer.concat([Buffer.from([1, id.length]), id, Buffer.from(topicName)])
}

function isExact ({ filter }: Entry): boolean { return !/[+#]/.test(filter) }

function entryOf (entry: KeyringEntry): Entry {
  checkNames(entry, ['filter', 'keys', 'plain'], 'entry.')
  const filter = checkTopicFilter('filter', entry.filter)
  const expression = expressionOf(filter)
  if ('plain' in entry) {
    if (entry.plain as unknown !== true || 'keys' in entry) throw optionInvalid(`plain of ${filter}`, 'true, without keys', entry.plain)
    return { filter, expression, keys: undefined }
  }
  if (!isList(entry.keys)) throw optionInvalid(`keys of ${filter}`, 'one key or more', 'none')
  const keys = entry.keys.map(key => heldKeyOf(filter, key))
  if (new Set(keys.map(({ id }) => id)).size < keys.length) throw optionInvalid(`keys of ${filter}`, 'keys with different ids', 'the same id twice')
  return { filter, expression, keys }
}

// Array.isArray would make the elements `any`.
function isList (value: unknown): boolean { return Array.isArray(value) && value.length > 0 }

/** The key's own bytes stay here and go into no error. */
function heldKeyOf (filter: string, given: Key): HeldKey {
  checkNames(given, ['id', 'key', 'notAfter'], 'key.')
  const { id, key, notAfter = Infinity } = given
  const idLength = typeof id === 'string' ? Buffer.byteLength(id) : 0
  if (idLength < 1 || idLength > 255) throw optionInvalid(`id of a key of ${filter}`, 'a text of 1 to 255 bytes', typeof id)
  if (!((key as unknown) instanceof Uint8Array) || key.length !== keyLength) throw optionInvalid(`key ${id} of ${filter}`, `${keyLength} bytes`, 'something else')
  if (typeof notAfter !== 'number' || Number.isNaN(notAfter)) throw optionInvalid(`notAfter of ${id}`, 'milliseconds since the epoch', notAfter)
  return { id, cipher: new Xaes(key), notAfter }
}
