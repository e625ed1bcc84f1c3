import { checkNames, optionInvalid, ReasonCode, silentLogger, systemClock, type AuthenticateRequest, type AuthenticateResult, type Broker, type ClientInfo, type Clock, type ConnectionInfo, type Logger, type Plugin } from '../../lib/index.ts'
import { parseCertificate, type Certificate, type CertificateInfo } from './certificate.ts'
import type { Authority } from './revocations.ts'
import { Trust } from './trust.ts'

export type { CertificateInfo } from './certificate.ts'

/** What {@link clientCertificate} takes as who a Client is. */
export type CertificateIdentity = 'commonName' | 'dns' | 'email' | 'uri' | ((certificate: CertificateInfo) => string | undefined)

/** Options of {@link clientCertificate}. */
export interface ClientCertificateOptions {
  /** Name of the plugin. Default `client-certificate`. */
  readonly name?: string
  /** What of the certificate becomes the User Name; a certificate that has none of it, or several, is refused. Default `commonName`. */
  readonly identity?: CertificateIdentity
  /** The identity becomes the Client Identifier, too. Default false: the Client chooses its own. */
  readonly clientIdentifier?: boolean
  /** A connection without a certificate is refused; otherwise it is left to the next plugin. Default false. */
  readonly required?: boolean
  /** Path of a file with authorities, PEM, or a single one in DER: a certificate must have been issued by one of them itself. Default: by whomever the TLS server trusts. Needed for `crl`. */
  readonly ca?: string
  /** Path of a file with a revocation list of each authority that issues to Clients (RFC 5280), PEM, or a single list in DER, as most authorities publish theirs. Default: none is asked. */
  readonly crl?: string
  /** A revocation list counts even when its time is over; otherwise nobody is let in by it, and the broker does not start with it. Default false. */
  readonly acceptExpiredCrl?: boolean
  /** Reads `ca` and `crl` anew when they change. Default false. */
  readonly watch?: boolean
}

/**
 * Lets Clients in by the certificate that they present over TLS, which the TLS server has to ask for (`requestCert`) and verify. What `identity` says becomes
 * the Client's `username`, all that the certificate says is `client.claims.certificate`, and the connection ends when the certificate expires. A connection without one is left to the next plugin.
 *
 * A revocation list given to Node's TLS server counts until that is made anew; the one given here may change: `reload`, or `watch`, then also ends the connections of Clients
 * that have been let in by a certificate which does not count any more.
 * @throws MqttError for an option that is wrong
 * @example createBroker({ plugins: [clientCertificate({ ca: 'clients-ca.pem', crl: 'clients.crl', watch: true })] })
 */
export function clientCertificate (options: ClientCertificateOptions = {}): Plugin & { reload (): Promise<void> } {
  checkOptions(options)
  return new ClientCertificatePlugin(options)
}

interface Admitted { readonly certificate: Certificate, readonly issuer: Authority | undefined }

class ClientCertificatePlugin implements Plugin {
  readonly name: string
  // Between the check of a certificate and `connected` it may have been revoked.
  readonly hooks: Plugin['hooks'] & object = { authenticate: request => this.#authenticate(request), connected: ({ client }) => { this.#endDistrusted([client]) } }
  readonly #options: ClientCertificateOptions
  readonly #trust: Trust | undefined
  /** What Clients were let in by. */
  readonly #admitted = new WeakMap<ConnectionInfo, Admitted>()
  #broker: Broker | undefined = undefined
  #clock: Clock = systemClock
  #logger: Logger = silentLogger

  constructor (options: ClientCertificateOptions) {
    const { name = 'client-certificate', ca, crl, acceptExpiredCrl = false, watch = false } = options
    this.name = name
    this.#options = options
    this.#trust = ca === undefined ? undefined : new Trust(ca, crl, acceptExpiredCrl, watch, () => { this.#endDistrusted(this.#broker?.clients() ?? []) })
  }

  async setup (broker: Broker): Promise<void> {
    this.#clock = broker.clock
    this.#logger = broker.logger
    await this.#trust?.open(broker)
    this.#broker = broker
  }

  /** Reads `ca` and `crl` anew. @throws MqttError `MQTT_FILE_INVALID` for one that is bad, which changes nothing */
  async reload (): Promise<void> { await this.#trust?.reload() }

  close (): void { this.#trust?.close() }

  #authenticate ({ connection, clientIdentifier }: AuthenticateRequest): AuthenticateResult<never> {
    const der = connection.peerCertificate?.raw
    if (der === undefined) return this.#options.required === true ? { allow: false, reasonCode: ReasonCode.notAuthorized } : undefined
    try {
      if (!connection.isPeerAuthorized) throw new Error('the TLS server does not believe it')
      return this.#admit(connection, der)
    } catch (error) {
      const fault = error instanceof Error ? error.message : 'it cannot be read'
      this.#logger.info({ plugin: this.name, clientIdentifier, remoteAddress: connection.remoteAddress }, `a client certificate was refused: ${fault}`)
      return { allow: false, reasonCode: ReasonCode.notAuthorized }
    }
  }

  /** @throws Error that says, for the log, why it is refused */
  #admit (connection: ConnectionInfo, der: Buffer): AuthenticateResult<never> {
    const certificate = parseCertificate(der)
    const { info } = certificate
    const now = this.#clock.now()
    if (now < info.validFrom || now >= info.validTo) throw new Error('it is not valid at this time')
    const issuer = this.#trust?.issuerOf(certificate)
    const fault = this.#trust?.faultOf(certificate, issuer)
    if (fault !== undefined) throw new Error(fault)
    const username = identityOf(info, this.#options.identity)
    this.#admitted.set(connection, { certificate, issuer })
    return { allow: true, username, claims: { certificate: info }, expiresAt: info.validTo, ...(this.#options.clientIdentifier === true && { clientIdentifier: username }) }
  }

  #endDistrusted (clients: Iterable<ClientInfo>): void {
    for (const { clientIdentifier, connection } of clients) {
      const admitted = this.#admitted.get(connection)
      const fault = admitted === undefined ? undefined : this.#trust?.faultOf(admitted.certificate, admitted.issuer)
      if (fault === undefined) continue
      this.#logger.info({ plugin: this.name, clientIdentifier }, `a Client is sent away because of its certificate: ${fault}`)
      this.#broker?.disconnect(clientIdentifier, ReasonCode.notAuthorized)
    }
  }
}

/** Who a certificate is about. @throws Error when that is nobody, or not clear */
function identityOf (info: CertificateInfo, identity: CertificateIdentity = 'commonName'): string {
  const values = typeof identity === 'function' ? [identity(info) ?? ''] : identity === 'commonName' ? info.subject['CN'] ?? [] : info[identity]
  const [value = ''] = values
  if (values.length > 1) throw new Error(`it has ${values.length} names, where one was expected`)
  const isName = value !== '' && Buffer.byteLength(value) <= 65_535 && !/[\0-\x1f\x7f]|\p{Surrogate}/u.test(value)
  if (!isName || (identity === 'dns' && value.includes('*'))) throw new Error('it names nobody')
  return value
}

type Check = readonly [expected: string, isRight: (value: unknown) => boolean]

const text: Check = ['a text that is not empty', value => typeof value === 'string' && value !== '']
const truth: Check = ['true or false', value => typeof value === 'boolean']

const checks: Readonly<Record<keyof ClientCertificateOptions, Check>> = {
  name: text, ca: text, crl: text, clientIdentifier: truth, required: truth, acceptExpiredCrl: truth, watch: truth,
  identity: ['"commonName", "dns", "email", "uri" or a function', value => typeof value === 'function' || (typeof value === 'string' && ['commonName', 'dns', 'email', 'uri'].includes(value))],
}

function checkOptions (options: ClientCertificateOptions): void {
  checkNames(options, Object.keys(checks))
  for (const [name, [expected, isRight]] of Object.entries(checks)) {
    const value = options[name as keyof ClientCertificateOptions]
    // One that is there must say something, also when it is undefined: a `ca` that is not in the environment would widen whom is believed.
    if (Object.hasOwn(options, name) && !isRight(value)) throw optionInvalid(name, expected, value)
  }
  if (options.crl !== undefined && options.ca === undefined) throw optionInvalid('ca', 'the authorities that sign the list in "crl"', undefined)
}
