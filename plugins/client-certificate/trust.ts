import { X509Certificate } from 'node:crypto'
import { fileInvalid, ReloadableFile, type Broker, type Clock } from '../../lib/index.ts'
import type { Certificate } from './certificate.ts'
import { parseAuthorities, parseRevocationLists, type Authority, type RevocationList } from './revocations.ts'

/** Which authorities are believed, and what they have taken back: two files, each read anew when it changes. */
export class Trust {
  readonly #authorityFile: ReloadableFile
  readonly #listFile: ReloadableFile | undefined
  readonly #acceptExpired: boolean
  readonly #changed: () => void
  #authorities: readonly Authority[] = []
  #lists: ReadonlyMap<string, RevocationList> = new Map()
  #clock: Clock | undefined = undefined

  /** @param changed is called when a file was read anew */
  constructor (ca: string, crl: string | undefined, acceptExpired: boolean, watch: boolean, changed: () => void) {
    this.#acceptExpired = acceptExpired
    this.#changed = changed
    this.#authorityFile = new ReloadableFile({ path: ca, watch, loadBytes: bytes => this.#loadAuthorities(ca, bytes) })
    if (crl !== undefined) this.#listFile = new ReloadableFile({ path: crl, watch, loadBytes: bytes => { this.#loadLists(crl, bytes) } })
  }

  async open (broker: Broker): Promise<void> {
    this.#clock = broker.clock
    await this.#authorityFile.open(broker)
    await this.#listFile?.open(broker)
  }

  async reload (): Promise<void> {
    await this.#authorityFile.reload()
    await this.#listFile?.reload()
  }

  close (): void {
    this.#authorityFile.close()
    this.#listFile?.close()
  }

  /** Who of them has issued and signed a certificate. */
  issuerOf ({ der }: Certificate): Authority | undefined {
    const x509 = new X509Certificate(der)
    return this.#authorities.find(authority => x509.checkIssued(authority.x509) && x509.verify(authority.publicKey))
  }

  /** Why a certificate that an authority has issued does not count, or not any more; undefined when it does. */
  faultOf (certificate: Certificate, issuer: Authority | undefined): string | undefined {
    if (issuer === undefined || !this.#authorities.some(({ info }) => info.fingerprint === issuer.info.fingerprint)) return 'it was issued by none of the authorities'
    if (this.#listFile === undefined) return undefined
    const list = this.#lists.get(certificate.issuerName)
    if (list === undefined) return 'there is no revocation list of who issued it'
    return this.#faultIn(list, certificate) ?? this.#faultAbove(issuer)
  }

  #faultIn ({ nextUpdate, revoked }: RevocationList, { info }: Certificate): string | undefined {
    if (revoked.has(info.serialNumber)) return 'it was revoked'
    const isExpired = this.#clock === undefined || nextUpdate <= this.#clock.now()
    return isExpired && !this.#acceptExpired ? 'the revocation list of who issued it has expired' : undefined
  }

  /** Intermediate authorities may be revoked, too, where there is a list that could say so. */
  #faultAbove (issuer: Authority): string | undefined {
    let authority: Authority | undefined = issuer
    for (let depth = 0; depth < this.#authorities.length; depth++) {
      if (authority === undefined || authority.issuerName === authority.subjectName) return undefined
      const list = this.#lists.get(authority.issuerName)
      const fault = list === undefined ? undefined : this.#faultIn(list, authority)
      if (fault !== undefined) return `an authority above it: ${fault}`
      const { x509 }: Authority = authority
      authority = this.#authorities.find(above => x509.checkIssued(above.x509)) // several may have one name
    }
    return undefined
  }

  async #loadAuthorities (path: string, bytes: Buffer): Promise<void> {
    this.#authorities = read(path, () => parseAuthorities(bytes))
    await this.#listFile?.reload().catch(() => undefined) // a list of a new authority may have been there before it; what is wrong with it is told when it is read
    this.#changed()
  }

  #loadLists (path: string, bytes: Buffer): void {
    this.#lists = this.#readLists(path, bytes)
    this.#changed()
  }

  #readLists (path: string, bytes: Buffer): ReadonlyMap<string, RevocationList> {
    const now = this.#clock?.now() ?? 0
    const lists = new Map<string, RevocationList>()
    for (const list of read(path, () => parseRevocationLists(bytes, this.#authorities))) {
      if (lists.has(list.issuerName)) throw fileInvalid(path, 'two revocation lists are of one authority')
      if (list.nextUpdate <= now && !this.#acceptExpired) throw fileInvalid(path, 'a revocation list has expired')
      lists.set(list.issuerName, list)
    }
    return lists
  }
}

function read<T> (path: string, parse: () => T): T {
  try {
    return parse()
  } catch (error) {
    throw fileInvalid(path, error instanceof Error ? error.message : 'it cannot be read', undefined, { cause: error })
  }
}
