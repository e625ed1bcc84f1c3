import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { ReasonCode, type AuthenticateRequest, type AuthenticateResult } from '../../../lib/index.ts'
import { parsePasswordHash } from '../../password-file/hash.ts'
import { Users, type Verdict } from '../../password-file/users.ts'
import type { User } from '../options/kinds.ts'

/** Checks user names and passwords against the list of the configuration file: plain passwords here, hashes as a password file does. */
export class UserList {
  readonly #plain = new Map<string, Buffer>()
  readonly #hashed: Users
  readonly #digestKey = randomBytes(32)

  constructor (users: readonly User[], { maximumWaiting = 1000 }: { maximumWaiting?: number } = {}) {
    this.#hashed = new Users({ maximumConcurrent: 2, maximumWaiting, maximumRemembered: users.length })
    for (const { username, password } of users) if (password !== undefined) this.#plain.set(username, this.#digest(Buffer.from(password)))
    this.#hashed.replace(new Map(users.flatMap(({ username, passwordHash = '' }) => {
      const hash = parsePasswordHash(passwordHash)
      return hash === undefined ? [] : [[username, hash]]
    })))
  }

  /**
   * The `authenticate` hook. At once for plain passwords and those verified before, with a promise for the others. Of users that are not in the list it
   * says "not mine", in the time that a wrong password takes.
   */
  readonly authenticate = ({ username, password, signal }: AuthenticateRequest): AuthenticateResult<never> | Promise<AuthenticateResult<never>> => {
    if (username === undefined) return undefined
    if (password === undefined) return this.#plain.has(username) || this.#hashed.has(username) ? false : undefined
    const plain = this.#plain.get(username)
    if (plain !== undefined) return timingSafeEqual(plain, this.#digest(password))
    const verdict = this.#hashed.check(username, password, signal)
    return verdict instanceof Promise ? verdict.then(resultOf) : resultOf(verdict)
  }

  // Digests have one length, as timingSafeEqual wants it, and say nothing about that of the password.
  #digest (password: Buffer): Buffer {
    return createHmac('sha256', this.#digestKey).update(password).digest()
  }
}

function resultOf (verdict: Verdict): AuthenticateResult<never> {
  if (verdict === 'unknown') return undefined
  return verdict === 'busy' ? { allow: false, reasonCode: ReasonCode.serverBusy } : typeof verdict === 'object'
}
