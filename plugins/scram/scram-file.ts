import { createHmac, randomBytes } from 'node:crypto'
import {
  checkNames, fileInvalid, optionInvalid, ReasonCode, ReloadableFile,
  type AuthenticationMethod, type Broker, type ClientInfo, type ConnectionInfo, type Exchange, type ExchangeRequest, type Hooks,
} from '../../lib/index.ts'
import { defaultIterations, minimumIterations, scramSha256, type ScramCredentials } from './scram-sha-256.ts'
import { saslPrepare } from './saslprep.ts'

/** What {@link scramFile} can be told. */
export interface ScramFileOptions {
  /** The file: a line `username:SCRAM-SHA-256$iterations:salt$storedKey:serverKey` for each user. */
  path: string
  /** Reload when the file has changed. Default false. */
  watch?: boolean
  /** As for {@link scramSha256}: the nodes of a cluster should share it. Default: 32 random bytes. */
  secret?: Buffer
}

/** What of a broker it needs, whatever data the Clients of that carry. */
type Host = Pick<Broker, 'clock' | 'logger' | 'clients' | 'disconnect'>

/** The plugin that {@link scramFile} makes. */
export interface ScramFile {
  readonly name: string
  readonly hooks: Pick<Hooks, 'connected'>
  readonly authenticationMethods: readonly AuthenticationMethod<never>[]
  setup (broker: Host): Promise<void>
  close (): void
  /**
   * Reads the file anew. Clients whose user is gone or has another password are disconnected with Not authorized (0x87).
   * Rejects with `MQTT_FILE_INVALID` for a bad file, and then changes nothing.
   */
  reload (): Promise<void>
}

const linePattern = /^([^:]+):SCRAM-SHA-256\$(\d{1,8}):([A-Za-z\d+/]{22}==)\$([A-Za-z\d+/]{43}=):([A-Za-z\d+/]{43}=)$/
/** The Client does the work, so this is to protect Clients, and from slips. */
const maximumIterations = 10_000_000

/** What a line of a file for {@link scramFile} says after the user name and a colon: as PostgreSQL writes it. */
export function formatScramCredentials ({ iterations, salt, storedKey, serverKey }: ScramCredentials): string {
  return `SCRAM-SHA-256$${iterations}:${salt.toString('base64')}$${storedKey.toString('base64')}:${serverKey.toString('base64')}`
}

/**
 * SCRAM-SHA-256 with the users of a file, as `myelin passwd --scram` writes it. It cannot be used to log in by whoever steals it.
 *
 * @throws MqttError `MQTT_OPTION_INVALID` for a wrong option; `createBroker` rejects with `MQTT_FILE_INVALID` for a file that is missing or malformed
 * @example createBroker({ plugins: [scramFile({ path: 'users.scram', watch: true })] })
 */
export function scramFile (options: ScramFileOptions): ScramFile {
  checkNames(options, ['path', 'watch', 'secret'])
  const { path, watch = false, secret = randomBytes(32) }: { path?: unknown, watch?: unknown, secret?: unknown } = options
  if (typeof path !== 'string' || path === '') throw optionInvalid('path', 'the path of a file', path)
  if (typeof watch !== 'boolean') throw optionInvalid('watch', 'true or false', watch)
  if (!Buffer.isBuffer(secret)) throw optionInvalid('secret', 'a Buffer', typeof secret)
  return new FilePlugin(path, watch, secret)
}

type Verifier = ScramCredentials<never>
type Step = Awaited<ReturnType<Exchange<never>['next']>>

/** Who was let in, and by what. */
interface Admission {
  readonly username: string
  readonly verifier: Verifier
}

class FilePlugin implements ScramFile {
  readonly name = 'scram-file'
  readonly authenticationMethods: readonly AuthenticationMethod<never>[] = [{ name: 'SCRAM-SHA-256', start: request => this.#start(request) }]
  // Between the last step of an exchange and `connected` the file may have been reloaded.
  readonly hooks: ScramFile['hooks'] = { connected: ({ client }) => { this.#disconnectRevoked(client) } }
  readonly #file: ReloadableFile
  readonly #secret: Buffer
  readonly #admissions = new WeakMap<ConnectionInfo, Admission>()
  #verifiers: ReadonlyMap<string, Verifier> = new Map()
  #iterations: readonly number[] = []
  #broker: Host | undefined

  constructor (path: string, watch: boolean, secret: Buffer) {
    this.#file = new ReloadableFile({ path, watch, load: text => { this.#load(parseScramFile(path, text)) } })
    this.#secret = secret
  }

  async setup (broker: Host): Promise<void> {
    this.#broker = broker
    await this.#file.open(broker)
  }

  reload (): Promise<void> { return this.#file.reload() }

  close (): void { this.#file.close() }

  /** Users whose line is the same keep what they have. */
  #load (read: ReadonlyMap<string, Verifier>): void {
    const before = this.#verifiers
    this.#verifiers = new Map([...read].map(([name, verifier]) => [name, isSame(before.get(name), verifier) ? before.get(name) ?? verifier : verifier]))
    this.#iterations = [...read.values()].map(({ iterations }) => iterations)
    for (const client of this.#broker?.clients() ?? []) this.#disconnectRevoked(client)
  }

  #disconnectRevoked ({ connection, clientIdentifier }: ClientInfo): void {
    const admission = this.#admissions.get(connection)
    if (admission === undefined || this.#verifiers.get(admission.username) === admission.verifier) return
    this.#broker?.disconnect(clientIdentifier, ReasonCode.notAuthorized)
  }

  /** An exchange that knows which verifier it works with: whoever has lost it on the way is not let in. */
  #start (request: ExchangeRequest): Exchange<never> {
    let admission: Admission | undefined
    const credentials = (username: string): Verifier | undefined => {
      const verifier = this.#verifiers.get(username)
      admission = verifier === undefined ? undefined : { username, verifier }
      return verifier
    }
    const iterations = (username: string): number => this.#imaginaryIterations(username)
    const exchange = scramSha256<never>({ credentials, iterations, secret: this.#secret }).start(request)
    return { next: async data => this.#checked(request, await exchange.next(data), admission) }
  }

  #checked ({ connection }: ExchangeRequest, step: Step, admission: Admission | undefined): Step {
    if (!('allow' in step) || !step.allow) return step
    if (admission === undefined || this.#verifiers.get(admission.username) !== admission.verifier) return { allow: false, reasonCode: ReasonCode.notAuthorized }
    this.#admissions.set(connection, admission)
    return step
  }

  /** What a user whom nobody has is told: what one of the others is told, and the same at each try. */
  #imaginaryIterations (username: string): number {
    const index = createHmac('sha256', this.#secret).update(`iterations ${username}`).digest().readUInt32BE() % Math.max(1, this.#iterations.length)
    return this.#iterations[index] ?? defaultIterations
  }
}

function isSame (one: Verifier | undefined, other: Verifier): boolean {
  return one !== undefined && formatScramCredentials(one) === formatScramCredentials(other)
}

/**
 * Reads a file of SCRAM users: all of it, or nothing.
 * @throws MqttError that names the first line that is wrong
 */
function parseScramFile (path: string, text: string): ReadonlyMap<string, Verifier> {
  const verifiers = new Map<string, Verifier>()
  for (const [index, line] of text.split('\n').entries()) {
    const content = line.trim()
    if (content === '' || content.startsWith('#')) continue
    const user = parseLine(content)
    const fault = typeof user === 'string' ? user : verifiers.has(user.username) ? 'that user is there already' : undefined
    if (typeof user === 'string' || fault !== undefined) throw fileInvalid(path, fault ?? '', index + 1)
    verifiers.set(user.username, user.verifier)
  }
  return verifiers
}

/** A line taken apart, or what is wrong with it. */
function parseLine (line: string): Admission | string {
  const [, username = '', count, salt = '', storedKey = '', serverKey = ''] = linePattern.exec(line) ?? []
  if (count === undefined) return 'expected "username:SCRAM-SHA-256$iterations:salt$storedKey:serverKey", with a salt of 16 bytes, as "myelin passwd --scram" writes it'
  if (saslPrepare(username) !== username) return 'the user name is not in the form that SASLprep gives it, and nobody could log in by it'
  const iterations = Number(count)
  if (iterations < minimumIterations || iterations > maximumIterations) return `the iterations must be a number from ${minimumIterations} to ${maximumIterations}`
  return { username, verifier: { iterations, salt: Buffer.from(salt, 'base64'), storedKey: Buffer.from(storedKey, 'base64'), serverKey: Buffer.from(serverKey, 'base64') } }
}
