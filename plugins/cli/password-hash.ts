import { randomBytes, scrypt } from 'node:crypto'

/** A hash taken apart: cost parameters of scrypt, salt and derived key. */
export interface PasswordHash {
  readonly N: number
  readonly r: number
  readonly p: number
  readonly salt: Buffer
  readonly key: Buffer
}

const cost = { N: 16_384, r: 8, p: 1 } as const
const keyLength = 32
/** What one check may occupy: a hash in a file must not be able to ask for all memory. */
const maximumMemory = 256 * 2 ** 20
const hashPattern = /^scrypt\$(\d+)\$(\d+)\$(\d+)\$([A-Za-z0-9+/]+={0,2})\$([A-Za-z0-9+/]+={0,2})$/

function isPossible ({ N, r, p, key }: PasswordHash): boolean {
  return N > 1 && Number.isInteger(Math.log2(N)) && r > 0 && p > 0 && p <= 16 && 128 * N * r <= maximumMemory && key.length >= 16
}

/** Takes a hash of `myelin hash-password` apart; undefined when it is none. */
export function parsePasswordHash (text: string): PasswordHash | undefined {
  const [matched, N, r, p, salt = '', key = ''] = hashPattern.exec(text) ?? []
  if (matched === undefined) return undefined
  const hash = { N: Number(N), r: Number(r), p: Number(p), salt: Buffer.from(salt, 'base64'), key: Buffer.from(key, 'base64') }
  return isPossible(hash) ? hash : undefined
}

/** The key that a password gives with the parameters of a hash. */
export function deriveKey (password: Buffer, { N, r, p, salt, key }: PasswordHash): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    scrypt(password, salt, key.length, { N, r, p, maxmem: 2 * maximumMemory }, (error, derived) => {
      if (error === null) resolve(derived)
      else reject(error)
    })
  })
}

/** Makes what `passwordHash` of a user takes: `scrypt$N$r$p$salt$key` (RFC 7914), salt and key in Base64. */
export async function hashPassword (password: string): Promise<string> {
  const salt = randomBytes(16)
  const key = await deriveKey(Buffer.from(password), { ...cost, salt, key: Buffer.alloc(keyLength) })
  return `scrypt$${cost.N}$${cost.r}$${cost.p}$${salt.toString('base64')}$${key.toString('base64')}`
}

/** A hash that no password is known for. */
export const unmatchable: PasswordHash = { ...cost, salt: Buffer.alloc(16), key: Buffer.alloc(keyLength) }
