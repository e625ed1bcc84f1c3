import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'

/** Bytes of a nonce. */
export const nonceLength = 24
/** Bytes that are added to the plain text. */
export const tagLength = 16
/** Bytes of a key. */
export const keyLength = 32

const half = nonceLength / 2
const blockLength = 16

/**
 * XAES-256-GCM (C2SP): AES-256-GCM under a key that is derived for each message from the first half of a nonce of 192 bits. Such nonces may be drawn at random without
 * end, by any number of senders that share the key, where those of AES-GCM itself, of 96 bits, are used up after 2^32 messages.
 */
export class Xaes {
  /** AES-256 of single blocks; it has no state, so one serves for all messages. */
  readonly #blocks: ReturnType<typeof createCipheriv>
  /** K1 of CMAC (NIST SP 800-38B section 6.1). */
  readonly #mask: Buffer

  constructor (key: Uint8Array) {
    this.#blocks = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false)
    this.#mask = doubled(this.#blocks.update(Buffer.alloc(blockLength)))
  }

  /** The cipher text with its tag behind it. */
  seal (nonce: Uint8Array, plainText: Uint8Array, additionalData: Uint8Array): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.#keyOf(nonce), nonce.subarray(half))
    cipher.setAAD(additionalData)
    return Buffer.concat([cipher.update(plainText), cipher.final(), cipher.getAuthTag()])
  }

  /** The plain text; undefined when anything of it was altered. */
  open (nonce: Uint8Array, sealed: Uint8Array, additionalData: Uint8Array): Buffer | undefined {
    if (sealed.length < tagLength) return undefined
    const decipher = createDecipheriv('aes-256-gcm', this.#keyOf(nonce), nonce.subarray(half), { authTagLength: tagLength })
    decipher.setAAD(additionalData)
    decipher.setAuthTag(sealed.subarray(-tagLength))
    try {
      return Buffer.concat([decipher.update(sealed.subarray(0, -tagLength)), decipher.final()])
    } catch {
      return undefined
    }
  }

  #keyOf (nonce: Uint8Array): KeyObject {
    const blocks = Buffer.alloc(2 * blockLength)
    for (let counter = 1; counter <= 2; counter++) {
      const block = blocks.subarray((counter - 1) * blockLength, counter * blockLength)
      block.set([0, counter, 0x58, 0]) // 0x58: X
      block.set(nonce.subarray(0, half), 4)
      for (let i = 0; i < blockLength; i++) block[i] = (block[i] ?? 0) ^ (this.#mask[i] ?? 0)
    }
    return createSecretKey(this.#blocks.update(blocks))
  }
}

/** Times x in GF(2^128). */
function doubled (block: Buffer): Buffer {
  const carry = ((block[0] ?? 0) >> 7) * 0x87
  return Buffer.from(block.map((byte, i) => (byte << 1 | (block[i + 1] ?? 0) >> 7) ^ (i === blockLength - 1 ? carry : 0)))
}
