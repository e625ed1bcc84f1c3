import t, { type Test } from 'tap'
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { ReasonCode, type AuthenticateRequest, type AuthenticateResult, type ClientInfo, type Plugin } from '../../../lib/index.ts'
import { clientCertificate, type ClientCertificateOptions } from '../../../plugins/client-certificate/index.ts'
import { FakeClock } from '../fake-clock.ts'
import { startBroker, type TestBroker } from '../harness.ts'
import { dial, listen, type RealClient } from '../network/network.ts'
import { MemoryLogger } from '../observe.ts'
import { own, trusting } from '../network/transports.ts'

const root = t.testdir({})

/** Certificates begin an hour ago: a test's clock stands still, and must not be older than what is issued after it was made. */
const anHourAgo = new Date(Date.now() - 3_600_000).toISOString().replace(/\D/g, '').slice(0, 14) + 'Z'

/** `openssl ca` wants to know where everything is. */
const configuration = (folder: string): string => `
[ca]
default_ca = here
[here]
database = ${folder}/index
serial = ${folder}/serial
crlnumber = ${folder}/crlnumber
new_certs_dir = ${folder}
certificate = ${folder}/cert.pem
private_key = ${folder}/key.pem
default_md = sha256
default_startdate = ${anHourAgo}
default_days = 30
default_crl_days = 30
policy = any
preserve = yes
unique_subject = no
email_in_dn = yes
[any]
organizationName = optional
commonName = optional
[req]
distinguished_name = name
string_mask = utf8only
utf8 = yes
[name]
`

export interface Pair { readonly cert: string, readonly key: string, readonly file: string }

export function openssl (...args: string[]): void { execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] }) }

/** An authority of openssl's own making, root or below another one. */
export class TestAuthority {
  readonly folder: string
  readonly #config: string
  #count = 0

  constructor (name: string, above?: TestAuthority, key: readonly string[] = ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], folder = name) {
    this.folder = join(root, folder)
    mkdirSync(this.folder)
    this.#config = join(this.folder, 'config')
    for (const [file, text] of Object.entries({ config: configuration(this.folder), index: '', serial: '01', crlnumber: '01' })) writeFileSync(join(this.folder, file), text)
    const request = ['req', '-config', this.#config, '-newkey', ...key, '-nodes', '-keyout', join(this.folder, 'key.pem'), '-subj', `/CN=${name}`]
    if (above === undefined) openssl(...request, '-x509', '-days', '30', '-addext', 'basicConstraints=critical,CA:true', '-out', join(this.folder, 'cert.pem'))
    else above.#sign(request, join(this.folder, 'cert.pem'), ['basicConstraints=critical,CA:true'])
  }

  get cert (): string { return readFileSync(join(this.folder, 'cert.pem'), 'utf8') }

  /** A certificate for a Client. */
  issue (subject: string, extensions: readonly string[] = [], ...more: string[]): Pair {
    const file = join(this.folder, `leaf-${++this.#count}`)
    this.#sign(['req', '-config', this.#config, '-utf8', '-multivalue-rdn', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${file}.key`, '-subj', subject], file, extensions, more)
    return { cert: readFileSync(file, 'utf8'), key: readFileSync(`${file}.key`, 'utf8'), file }
  }

  revoke ({ file }: { file: string }): void { openssl('ca', '-config', this.#config, '-revoke', file) }

  list (...more: string[]): string {
    const file = join(this.folder, 'list.pem')
    openssl('ca', '-config', this.#config, '-gencrl', '-out', file, ...more)
    return readFileSync(file, 'utf8')
  }

  #sign (request: readonly string[], to: string, extensions: readonly string[], more: readonly string[] = []): void {
    openssl(...request, '-out', `${to}.csr`)
    writeFileSync(`${to}.ext`, `basicConstraints=CA:false\n${extensions.join('\n')}`.replace(/basicConstraints=CA:false\n(?=basicConstraints)/, ''))
    openssl('ca', '-config', this.#config, '-batch', '-notext', '-utf8', '-in', `${to}.csr`, '-out', to, '-extfile', `${to}.ext`, ...more)
  }
}

export const rootCa = new TestAuthority('Root')
export const devices = new TestAuthority('Devices', rootCa)
export const strangers = new TestAuthority('Strangers')
export const device = devices.issue('/O=Factory/CN=device-1', ['subjectAltName=DNS:Device-1.example,email:one@example.com,URI:urn:device:1'])
export const chain = (pair: Pair): { cert: string, key: string } => ({ cert: pair.cert + devices.cert, key: pair.key })

export interface CertificateTest extends TestBroker {
  readonly logger: MemoryLogger
  readonly plugin: ReturnType<typeof clientCertificate>
  readonly url: string
  readonly dial: (client?: { cert: string, key: string }, options?: object) => Promise<RealClient>
}

export async function start (t: Test, options: ClientCertificateOptions = {}, others: readonly Plugin[] = [], now = Date.now(), combined = (plugin: Plugin): Plugin => plugin): Promise<CertificateTest> {
  const logger = new MemoryLogger()
  const plugin = clientCertificate(options)
  const test = await startBroker(t, { logger, clock: new FakeClock(now), plugins: [combined(plugin), ...others] })
  const server = createServer({ ...own, ca: [rootCa.cert, strangers.cert], requestCert: true, rejectUnauthorized: false }, test.broker.handle)
  const url = `mqtts://localhost:${await listen(t, server)}`
  return { ...test, logger, plugin, url, dial: (client, more) => dial(t, url, { ...trusting(5), ...client, ...more }) }
}

export function clientOf ({ broker }: TestBroker): ClientInfo {
  const [client] = broker.clients()
  if (client === undefined) throw new Error('nobody is connected')
  return client
}

export const refused = { code: ReasonCode.notAuthorized }

/** What the plugin says of a certificate, as if TLS had verified it. */
export function ask (plugin: Plugin, raw: Buffer, isPeerAuthorized = true): AuthenticateResult {
  const connection = { peerCertificate: { raw }, isPeerAuthorized }
  return plugin.hooks?.authenticate?.({ connection } as unknown as AuthenticateRequest) as AuthenticateResult
}

export const derOf = ({ cert }: { cert: string }): Buffer => new X509Certificate(cert).raw
