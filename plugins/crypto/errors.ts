/** What can go wrong with the encryption of a message. `docs/encryption.md` explains each. */
export const CryptoErrorCode = {
  keyMissing: 'CRYPTO_KEY_MISSING',
  keyUnknown: 'CRYPTO_KEY_UNKNOWN',
  keyExpired: 'CRYPTO_KEY_EXPIRED',
  notEncrypted: 'CRYPTO_NOT_ENCRYPTED',
  malformed: 'CRYPTO_MALFORMED',
  notAuthentic: 'CRYPTO_NOT_AUTHENTIC',
} as const

/** One of the values of {@link CryptoErrorCode}. */
export type CryptoErrorCode = (typeof CryptoErrorCode)[keyof typeof CryptoErrorCode]

/** A message that was not encrypted, or not decrypted. It has neither keys nor plain text in it. */
export class CryptoError extends Error {
  override readonly name = 'CryptoError'
  readonly code: CryptoErrorCode
  readonly topicName: string
  /** The key that the message names, or that expired; undefined where there is none. */
  readonly keyId: string | undefined

  constructor (code: CryptoErrorCode, topicName: string, message: string, keyId?: string) {
    super(message)
    this.code = code
    this.topicName = topicName
    this.keyId = keyId
  }
}
