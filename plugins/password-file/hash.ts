import * as crypto from 'node:crypto'
import { checkOneOf, optionInvalid } from '../../lib/index.ts'

/** A hash of a password taken apart: what checks a password against it. */
export interface PasswordHash {
  /** As it stands in the file. */
  readonly text: string
  /** What the right password gives. */
  readonly key: Buffer
  /** What a password gives. The work is done outside the event loop. */
  readonly derive: (password: Buffer) => Promise<Buffer>
}

/** How {@link hashPassword} hashes: `sha512-pbkdf2` is what Mosquitto 2.0 reads, too. */
export type HashFormat = 'scrypt' | 'sha512-pbkdf2'

const scryptCost = { N: 16_384, r: 8, p: 1 } as const
const scryptKeyLength = 32
const pbkdf2Iterations = 210_000
const sha512Length = 64
/** Mosquitto 2.0 takes hashes with salts of this length only. */
const mosquittoSaltLength = 12

/** What one check may ask for, however the hash came into the file: about two seconds of one processor, and 256 MiB. */
const maximumMemory = 256 * 2 ** 20
const maximumWork = 512 * 2 ** 20
const maximumIterations = 2_000_000

const base64 = '([A-Za-z0-9+/]{1,1024}={0,2})'

interface Scheme {
  readonly name: string
  readonly prefix: string
  readonly pattern: RegExp
  /** Undefined for parameters that are out of all proportion. */
  readonly parse: (text: string, parts: readonly string[]) => PasswordHash | undefined
}

const schemes: readonly Scheme[] = [
  { name: 'scrypt$N$r$p$salt$key', prefix: 'scrypt$', pattern: new RegExp(`^scrypt\\$(\\d+)\\$(\\d+)\\$(\\d+)\\$${base64}\\$${base64}$`), parse: scryptHash },
  { name: '$6$salt$hash', prefix: '$6$', pattern: new RegExp(`^\\$6\\$${base64}\\$${base64}$`), parse: sha512Hash },
  { name: '$7$iterations$salt$hash', prefix: '$7$', pattern: new RegExp(`^\\$7\\$(\\d+)\\$${base64}\\$${base64}$`), parse: pbkdf2Hash },
  { name: '$argon2id$v=19$m=…,t=…,p=…$salt$hash', prefix: '$argon2id$', pattern: new RegExp(`^\\$argon2id\\$v=19\\$m=(\\d+),t=(\\d+),p=(\\d+)\\$${base64}\\$${base64}$`), parse: argon2Hash },
]

/** Takes a hash apart; undefined when it is none, or asks for too much. */
export function parsePasswordHash (text: string): PasswordHash | undefined {
  const scheme = schemeOf(text)
  const parts = scheme?.pattern.exec(text)
  return parts === null || parts === undefined ? undefined : scheme?.parse(text, parts.slice(1))
}

/** Whether a text begins like a hash of any kind; a plain password might, too. */
export function looksHashed (text: string): boolean { return schemeOf(text) !== undefined }

/** Says why {@link parsePasswordHash} gives nothing for a text, without quoting it: it may be a password. */
export function hashFault (text: string): string {
  const scheme = schemeOf(text)
  if (scheme === undefined) return `that is no hash of a known kind (${schemes.map(({ prefix }) => prefix).join(', ')}); plain passwords are hashed by "myelin passwd -U"`
  if (scheme.parse === argon2Hash && argon2 === undefined) return 'to check argon2id takes Node 24.7 or later'
  return `expected ${scheme.name}, with a cost that is not out of all proportion`
}

/** Makes a hash of a password, with a salt of its own. Scrypt (RFC 7914) by default. */
export async function hashPassword (password: string, format: HashFormat = 'scrypt'): Promise<string> {
  if (typeof password !== 'string' && !((password as unknown) instanceof Uint8Array)) throw optionInvalid('password', 'a text', typeof password)
  checkOneOf('format', format, ['scrypt', 'sha512-pbkdf2'])
  const salt = crypto.randomBytes(format === 'scrypt' ? 16 : mosquittoSaltLength)
  const parameters = format === 'scrypt' ? `scrypt$${scryptCost.N}$${scryptCost.r}$${scryptCost.p}` : `$7$${pbkdf2Iterations}`
  const start = `${parameters}$${salt.toString('base64')}$`
  const blank = Buffer.alloc(format === 'scrypt' ? scryptKeyLength : sha512Length).toString('base64')
  const key = await parsePasswordHash(start + blank)?.derive(Buffer.from(password)) ?? Buffer.alloc(0)
  return start + key.toString('base64')
}

function schemeOf (text: string): Scheme | undefined {
  return schemes.find(({ prefix }) => text.startsWith(prefix))
}

function scryptHash (text: string, [N, r, p, salt = '', hash = '']: readonly string[]): PasswordHash | undefined {
  const cost = { N: Number(N), r: Number(r), p: Number(p), maxmem: 2 * maximumMemory }
  const key = Buffer.from(hash, 'base64')
  const memory = 128 * cost.N * cost.r
  if (cost.N < 2 || !Number.isInteger(Math.log2(cost.N)) || cost.r < 1 || cost.p < 1 || memory > maximumMemory || memory * cost.p > maximumWork || !isKey(key)) return undefined
  const saltBytes = Buffer.from(salt, 'base64')
  return { text, key, derive: password => called(done => { crypto.scrypt(password, saltBytes, key.length, cost, done) }) }
}

/** Mosquitto before 2.0: SHA-512 of the password and the salt, once. */
function sha512Hash (text: string, [salt = '', hash = '']: readonly string[]): PasswordHash | undefined {
  const key = Buffer.from(hash, 'base64')
  if (key.length !== sha512Length) return undefined
  const saltBytes = Buffer.from(salt, 'base64')
  return { text, key, derive: password => Promise.resolve(crypto.createHash('sha512').update(password).update(saltBytes).digest()) }
}

/** Mosquitto 2.0: PBKDF2 with SHA-512. */
function pbkdf2Hash (text: string, [count, salt = '', hash = '']: readonly string[]): PasswordHash | undefined {
  const key = Buffer.from(hash, 'base64')
  const iterations = Number(count)
  if (key.length !== sha512Length || iterations < 1 || iterations > maximumIterations) return undefined
  const saltBytes = Buffer.from(salt, 'base64')
  return { text, key, derive: password => called(done => { crypto.pbkdf2(password, saltBytes, iterations, sha512Length, 'sha512', done) }) }
}

type Callback = (error: Error | null, key: Buffer) => void

interface Argon2Parameters {
  readonly message: Buffer
  readonly nonce: Buffer
  readonly parallelism: number
  readonly tagLength: number
  readonly memory: number
  readonly passes: number
}

/** Node has it since 24.7. */
const { argon2 } = crypto as { readonly argon2?: (algorithm: 'argon2id', parameters: Argon2Parameters, callback: Callback) => void }

/** Mosquitto 2.1: argon2id (RFC 9106) as the command `argon2` writes it. */
function argon2Hash (text: string, [memoryKiB, passes, lanes, salt = '', hash = '']: readonly string[]): PasswordHash | undefined {
  const cost = { memory: Number(memoryKiB), passes: Number(passes), parallelism: Number(lanes) }
  const key = Buffer.from(hash, 'base64')
  const nonce = Buffer.from(salt, 'base64')
  const memory = cost.memory * 1024
  const isPossible = cost.passes >= 1 && cost.parallelism >= 1 && cost.parallelism <= 16 && cost.memory >= 8 * cost.parallelism && nonce.length >= 8
  if (argon2 === undefined || !isPossible || memory > maximumMemory || memory * cost.passes > 4 * maximumWork || !isKey(key)) return undefined
  return { text, key, derive: message => called(done => { argon2('argon2id', { message, nonce, tagLength: key.length, ...cost }, done) }) }
}

function isKey (key: Buffer): boolean { return key.length >= 16 && key.length <= 512 }

function called (start: (done: Callback) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    start((error, key) => {
      if (error === null) resolve(key)
      else reject(error)
    })
  })
}
