import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { BoundedMap } from '../../lib/index.ts'
import { Gate } from './gate.ts'
import type { PasswordHash } from './hash.ts'

/** What checking passwords may take of the process. */
export interface CheckLimits {
  /** Hashes that are computed at once. */
  readonly maximumConcurrent: number
  /** Checks that wait for their turn; over it the answer is `busy`. */
  readonly maximumWaiting: number
  /** Users whose right password is remembered, as a keyed digest. */
  readonly maximumRemembered: number
}

/** The hash that a password is right for; or why there is none. */
export type Verdict = PasswordHash | 'wrong' | 'unknown' | 'busy'

/**
 * Users and the hashes of their passwords. Hashes are slow by design, so that a stolen file gives little away: they are computed outside the event loop, a
 * few at a time, and what was right once is remembered, so that a thousand devices that reconnect are not a thousand times slow.
 */
export class Users {
  #hashes: ReadonlyMap<string, PasswordHash> = new Map()
  #decoys: readonly PasswordHash[] = []
  readonly #remembered: BoundedMap<string, Buffer>
  readonly #secret = randomBytes(32)
  readonly #gate: Gate

  constructor ({ maximumConcurrent, maximumWaiting, maximumRemembered }: CheckLimits) {
    this.#gate = new Gate(maximumConcurrent, maximumWaiting)
    this.#remembered = new BoundedMap(maximumRemembered)
  }

  has (username: string): boolean { return this.#hashes.has(username) }

  /** Whether that hash is still the one of that user. */
  isCurrent (username: string, hash: PasswordHash): boolean { return this.#hashes.get(username) === hash }

  /** Puts other users in the place of those that are there. Whose hash is the same stays as it is. */
  replace (hashes: ReadonlyMap<string, PasswordHash>): void {
    const before = this.#hashes
    this.#hashes = new Map([...hashes].map(([name, hash]) => [name, before.get(name)?.text === hash.text ? before.get(name) ?? hash : hash]))
    this.#decoys = [...this.#hashes.values()]
    for (const name of this.#remembered.keys()) if (before.get(name) !== this.#hashes.get(name)) this.#remembered.delete(name)
  }

  /** At once for a password that was right before, else with a promise. */
  check (username: string, password: Buffer, signal: AbortSignal): Verdict | Promise<Verdict> {
    const hash = this.#hashes.get(username)
    const known = this.#remembered.get(username)
    if (hash !== undefined && known !== undefined && timingSafeEqual(known, this.#digest(password))) return hash
    if (this.#decoys.length === 0) return 'unknown'
    return this.#gate.isFull ? 'busy' : this.#gate.run(() => this.#verify(username, password, signal))
  }

  async #verify (username: string, password: Buffer, signal: AbortSignal): Promise<Verdict> {
    if (signal.aborted) return 'wrong'
    const hash = this.#hashes.get(username)
    const { key, derive } = hash ?? this.#decoyOf(username)
    const isRight = timingSafeEqual(await derive(password), key)
    if (hash === undefined) return 'unknown'
    if (!isRight || !this.isCurrent(username, hash)) return 'wrong' // it may have been replaced meanwhile
    this.#remembered.set(username, this.#digest(password))
    return hash
  }

  /** A user whom nobody has costs what one of the others costs, and the same at each try. */
  #decoyOf (username: string): PasswordHash {
    const index = this.#digest(Buffer.from(username)).readUInt32BE() % this.#decoys.length
    return this.#decoys[index] as PasswordHash
  }

  // Digests have one length, as timingSafeEqual wants it, and say nothing about that of the password.
  #digest (bytes: Buffer): Buffer {
    return createHmac('sha256', this.#secret).update(bytes).digest()
  }
}
