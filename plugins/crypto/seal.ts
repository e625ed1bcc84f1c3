import type { Properties } from './content.ts'
import { nonceLength, tagLength } from './xaes.ts'

/** A message under its seal: which key, which nonce, and the cipher text with its tag. */
export interface Seal { readonly keyId: string, readonly nonce: Buffer, readonly sealed: Buffer }

/** User Properties of MQTT 5.0. */
const marker = { version: 'e2e', keyId: 'e2e-key', nonce: 'e2e-nonce' } as const
const version = '1'
/** Begins an envelope: no UTF-8, so that no text is taken for one. The last byte is the version. */
const magic: Buffer = Buffer.from([0xe2, 0x2e, 0xe2, 1])
/** Characters of 24 bytes in base64url. */
const nonceText = /^[\w-]{32}$/

type UserProperties = NonNullable<Properties['userProperties']>

/** The User Properties that tell of a seal, in front of those that a message has. */
export function sealProperties ({ keyId, nonce }: Seal, properties: Properties): Properties {
  const own = { [marker.version]: version, [marker.keyId]: keyId, [marker.nonce]: nonce.toString('base64url') }
  return { ...properties, userProperties: { ...properties.userProperties, ...own } }
}

/** What replaces the payload where there are no User Properties: magic, version, length and text of the key id, nonce, cipher text. */
export function envelopeOf ({ keyId, nonce, sealed }: Seal): Buffer {
  const id = Buffer.from(keyId)
  return Buffer.concat([magic, Buffer.from([id.length]), id, nonce, sealed])
}

/** Whether a message says that it is sealed, in either way. */
export function isSealed (payload: Uint8Array, hasProperty: (name: string) => boolean): boolean {
  return hasProperty(marker.version) || magic.equals(payload.subarray(0, magic.length))
}

export { marker as sealMarker }

/** Reads a seal, in either way; undefined for one that is broken, or of another version. */
export function readSeal (payload: Buffer, userProperties: UserProperties | undefined): Seal | undefined {
  return userProperties?.[marker.version] === undefined ? readEnvelope(payload) : readProperties(payload, userProperties)
}

function readProperties (sealed: Buffer, userProperties: UserProperties): Seal | undefined {
  const { [marker.version]: told, [marker.keyId]: keyId, [marker.nonce]: nonce } = userProperties
  if (told !== version || typeof keyId !== 'string' || typeof nonce !== 'string' || !nonceText.test(nonce) || sealed.length < tagLength) return undefined
  return { keyId, nonce: Buffer.from(nonce, 'base64url'), sealed }
}

function readEnvelope (payload: Buffer): Seal | undefined {
  const start = magic.length + 1
  const idEnd = start + (payload[magic.length] ?? 0)
  const end = idEnd + nonceLength
  if (!magic.equals(payload.subarray(0, magic.length)) || payload.length < end + tagLength) return undefined
  return { keyId: payload.toString('utf8', start, idEnd), nonce: payload.subarray(idEnd, end), sealed: payload.subarray(end) }
}

/** The properties without what told of the seal. */
export function unsealedProperties (properties: Properties): Properties {
  const { userProperties, ...others } = properties
  const left = Object.entries(userProperties ?? {}).filter(([name]) => !Object.values<string>(marker).includes(name))
  return left.length === 0 ? others : { ...others, userProperties: Object.fromEntries(left) }
}
