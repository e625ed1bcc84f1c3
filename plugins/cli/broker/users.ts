import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { ReasonCode, type AuthenticateRequest, type AuthenticateResult } from '../../../lib/index.ts'
import type { User } from '../options/kinds.ts'
import { deriveKey, parsePasswordHash, unmatchable, type PasswordHash } from '../password-hash.ts'

/** Lets a few tasks run at once and a number of them wait. */
class Gate {
  readonly #waiting: (() => void)[] = []
  readonly #places: number
  readonly #maximumWaiting: number
  #running = 0

  constructor (places: number, maximumWaiting: number) {
    this.#places = places
    this.#maximumWaiting = maximumWaiting
  }

  get isFull (): boolean { return this.#waiting.length >= this.#maximumWaiting }

  async run<T> (task: () => Promise<T>): Promise<T> {
    if (this.#running < this.#places) this.#running++
    else await new Promise<void>(resolve => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      this.#passOn()
    }
  }

  // The place goes from hand to hand, so that nobody who comes in between takes it.
  #passOn (): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running--
    else next()
  }
}

/**
 * Checks user names and passwords against the list of the configuration file. scrypt is slow by design, so that a stolen
 * file gives little away: it runs outside the event loop, two at a time, and what was right once is remembered (as a keyed
 * digest, in memory) so that a thousand devices that reconnect are not a thousand times slow.
 */
export class UserList {
  readonly #plain = new Map<string, Buffer>()
  readonly #hashed = new Map<string, PasswordHash>()
  readonly #verified = new Map<string, Buffer>()
  readonly #digestKey = randomBytes(32)
  readonly #gate: Gate
  readonly #allowAnonymous: boolean

  constructor (users: readonly User[], options: { allowAnonymous: boolean, maximumWaiting?: number }) {
    this.#allowAnonymous = options.allowAnonymous
    this.#gate = new Gate(2, options.maximumWaiting ?? 1000)
    for (const { username, password, passwordHash } of users) {
      const hash = passwordHash === undefined ? undefined : parsePasswordHash(passwordHash)
      if (hash !== undefined) this.#hashed.set(username, hash)
      else if (password !== undefined) this.#plain.set(username, this.#digest(Buffer.from(password)))
    }
  }

  /** The `authenticate` hook. At once for plain passwords and those verified before, with a promise for the others. */
  readonly authenticate = (request: AuthenticateRequest): AuthenticateResult | Promise<AuthenticateResult> => {
    const { username, password } = request
    if (username === undefined && password === undefined) return this.#allowAnonymous
    if (username === undefined || password === undefined) return false
    const known = this.#plain.get(username) ?? this.#verified.get(username)
    if (known !== undefined && timingSafeEqual(known, this.#digest(password))) return true
    if (this.#plain.has(username) || this.#hashed.size === 0) return false
    if (this.#gate.isFull) return { allow: false, reasonCode: ReasonCode.serverBusy }
    return this.#gate.run(() => this.#verify(username, password, request.signal))
  }

  async #verify (username: string, password: Buffer, signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false
    const hash = this.#hashed.get(username)
    // A user name that nobody has costs the same time as one with a wrong password.
    const key = await deriveKey(password, hash ?? unmatchable)
    const isRight = hash !== undefined && timingSafeEqual(key, hash.key)
    if (isRight) this.#verified.set(username, this.#digest(password))
    return isRight
  }

  // Digests have one length, as timingSafeEqual wants it, and say nothing about that of the password.
  #digest (password: Buffer): Buffer {
    return createHmac('sha256', this.#digestKey).update(password).digest()
  }
}
