import {
  checkNames, checkNumber, checkText, ReasonCode, ReloadableFile,
  type AuthenticateRequest, type AuthenticateResult, type Broker, type ClientInfo, type ConnectionInfo, type Hooks, type MaybePromise,
} from '../../lib/index.ts'
import type { PasswordHash } from './hash.ts'
import { parsePasswordFile } from './lines.ts'
import { Users, type Verdict } from './users.ts'

export { hashPassword, type HashFormat } from './hash.ts'

/** What {@link passwordFile} can be told. */
export interface PasswordFileOptions {
  /** The file: a line `username:hash` for each user. */
  path: string
  /** Reload when the file has changed. Default false. */
  watch?: boolean
  /** Told in errors and logs; to have several. Default `password-file`. */
  name?: string
  /** Hashes that are computed at once, each on a thread of libuv's pool. Default 2. */
  maximumConcurrent?: number
  /** Logins that wait for their turn; over it they are answered with Server busy (0x89). Default 1,000. */
  maximumWaiting?: number
  /** Users whose right password is remembered in memory, as a keyed digest, so that they are let in at once when they come again. 0 for none. Default 100,000. */
  maximumRemembered?: number
}

/** What of a broker it needs, whatever data the Clients of that carry. */
type Host = Pick<Broker, 'clock' | 'logger' | 'clients' | 'disconnect'>

/** The plugin that {@link passwordFile} makes. */
export interface PasswordFile {
  readonly name: string
  readonly hooks: Pick<Hooks<never>, 'authenticate'> & Pick<Hooks, 'connected'>
  setup (broker: Host): Promise<void>
  close (): void
  /**
   * Reads the file anew. Clients whose user is gone or has another password are disconnected with Not authorized (0x87).
   * Rejects with `MQTT_FILE_INVALID` for a bad file, and then changes nothing.
   */
  reload (): Promise<void>
}

const optionNames = ['path', 'watch', 'name', 'maximumConcurrent', 'maximumWaiting', 'maximumRemembered']

/**
 * Lets clients in by user name and password (section 3.1.3), against a file of hashes: scrypt as `myelin passwd` writes it, or what
 * `mosquitto_passwd` writes (`$6$`, `$7$`; `$argon2id$` from Node 24.7 on). It abstains for users that are not in the file, in the same time that a wrong password takes.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for a wrong option; `createBroker` rejects with `MQTT_FILE_INVALID` for a file that is missing or malformed
 * @example createBroker({ plugins: [passwordFile({ path: 'users', watch: true })] })
 */
export function passwordFile (options: PasswordFileOptions): PasswordFile {
  checkNames(options, optionNames)
  checkText('name', options.name)
  checkNumber('maximumConcurrent', options.maximumConcurrent, 1, 1024)
  checkNumber('maximumWaiting', options.maximumWaiting, 0, Number.MAX_SAFE_INTEGER)
  checkNumber('maximumRemembered', options.maximumRemembered, 0, 2 ** 24)
  return new FilePlugin(options)
}

/** Who was let in, and by which hash. */
interface Admission {
  readonly username: string
  readonly hash: PasswordHash
}

class FilePlugin implements PasswordFile {
  readonly name: string
  readonly hooks: PasswordFile['hooks']
  readonly #users: Users
  readonly #file: ReloadableFile
  readonly #admissions = new WeakMap<ConnectionInfo, Admission>()
  #broker: Host | undefined

  constructor ({ path, watch, name = 'password-file', maximumConcurrent = 2, maximumWaiting = 1000, maximumRemembered = 100_000 }: PasswordFileOptions) {
    this.name = name
    this.#users = new Users({ maximumConcurrent, maximumWaiting, maximumRemembered })
    this.#file = new ReloadableFile({ path, watch, load: text => { this.#load(parsePasswordFile(path, text)) } })
    // Between the check of a password and `connected` the file may have been reloaded.
    this.hooks = { authenticate: request => this.#authenticate(request), connected: ({ client }) => { this.#disconnectRevoked(client) } }
  }

  async setup (broker: Host): Promise<void> {
    this.#broker = broker
    await this.#file.open(broker)
  }

  reload (): Promise<void> { return this.#file.reload() }

  close (): void { this.#file.close() }

  #load (hashes: ReadonlyMap<string, PasswordHash>): void {
    this.#users.replace(hashes)
    for (const client of this.#broker?.clients() ?? []) this.#disconnectRevoked(client)
  }

  #disconnectRevoked ({ connection, clientIdentifier }: ClientInfo): void {
    const admission = this.#admissions.get(connection)
    if (admission === undefined || this.#users.isCurrent(admission.username, admission.hash)) return
    this.#broker?.disconnect(clientIdentifier, ReasonCode.notAuthorized)
  }

  #authenticate (request: AuthenticateRequest): MaybePromise<AuthenticateResult<never>> {
    const { username, password, signal } = request
    if (username === undefined) return undefined
    if (password === undefined || password.length === 0) return this.#users.has(username) ? false : undefined // also if the file has the hash of nothing
    const verdict = this.#users.check(username, password, signal)
    return verdict instanceof Promise ? verdict.then(late => this.#answer(request, username, late)) : this.#answer(request, username, verdict)
  }

  #answer ({ connection }: AuthenticateRequest, username: string, verdict: Verdict): AuthenticateResult<never> {
    if (verdict === 'unknown') return undefined
    if (verdict === 'wrong') return false
    if (verdict === 'busy') return { allow: false, reasonCode: ReasonCode.serverBusy }
    this.#admissions.set(connection, { username, hash: verdict })
    return true
  }
}
