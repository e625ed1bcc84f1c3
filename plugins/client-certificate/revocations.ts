import { verify, X509Certificate, type KeyObject } from 'node:crypto'
import { parseCertificate, readExtensions, type Certificate } from './certificate.ts'
import { DerError, DerReader, DerTag, objectIdentifierOf, timeOf, type DerValue } from './der.ts'

/** A certificate of an authority. */
export interface Authority extends Certificate {
  readonly x509: X509Certificate
  /** Kept, since to make it of the certificate takes longer than to verify with it. */
  readonly publicKey: KeyObject
}

/** What an authority has taken back: a certificate revocation list (RFC 5280 section 5). */
export interface RevocationList {
  /** Of the authority, as it is encoded, hexadecimal. */
  readonly issuerName: string
  /** Milliseconds since the epoch: there will be another one by then. */
  readonly nextUpdate: number
  /** Serial numbers, hexadecimal. */
  readonly revoked: ReadonlySet<string>
}

const blocks = /-----BEGIN ([A-Z0-9 ]+)-----\s+([A-Za-z0-9+/=\s]+?)-----END \1-----/g

/** What a file has: blocks of PEM, or one structure in DER. */
function structuresIn (file: Buffer, label: string): Buffer[] {
  const text = file.toString('latin1') // PEM is ASCII, and what stands around its blocks does not matter
  if (file[0] === DerTag.sequence && !text.includes('-----BEGIN ')) return [file]
  const found = [...text.matchAll(blocks)]
  if (found.length !== text.split('-----BEGIN ').length - 1) throw new DerError('a block of PEM is damaged')
  const wrong = found.find(([, name]) => name !== label)?.[1]
  if (wrong !== undefined) throw new DerError(`a block is a ${wrong}, where ${label} belongs`)
  if (found.length === 0) throw new DerError(`there is no ${label}`)
  return found.map(([, , base64 = '']) => Buffer.from(base64, 'base64'))
}

/**
 * Reads the certificates of authorities, PEM, or a single one in DER.
 * @throws Error that says what is wrong with the file
 */
export function parseAuthorities (file: Buffer): Authority[] {
  return structuresIn(file, 'CERTIFICATE').map(der => {
    const x509 = new X509Certificate(der)
    if (!x509.ca) throw new DerError(`${x509.subject} is not the certificate of an authority`)
    return { x509, publicKey: x509.publicKey, ...parseCertificate(der) }
  })
}

/**
 * Reads revocation lists, PEM, or a single one in DER, each signed by one of the authorities.
 * @throws Error that says what is wrong with the file
 */
export function parseRevocationLists (file: Buffer, authorities: readonly Authority[]): RevocationList[] {
  return structuresIn(file, 'X509 CRL').map(der => parseList(der, authorities))
}

function parseList (der: Buffer, authorities: readonly Authority[]): RevocationList {
  const file = new DerReader(der)
  const list = file.inside(DerTag.sequence)
  file.end()
  const tbs = list.next(DerTag.sequence)
  const algorithm = list.next(DerTag.sequence)
  const signature = list.next(DerTag.bitString)
  list.end()
  const content = readContent(tbs, algorithm)
  const signer = authorities.some(({ subjectName, maySignRevocations, publicKey }) =>
    subjectName === content.issuerName && maySignRevocations && isSignedBy(publicKey, tbs, algorithm, signature))
  if (!signer) throw new DerError('a revocation list was signed by none of the authorities')
  return content
}

function readContent (tbs: DerValue, algorithm: DerValue): RevocationList {
  const content = new DerReader(tbs.content)
  content.optional(DerTag.integer) // version
  if (!content.next(DerTag.sequence).raw.equals(algorithm.raw)) throw new DerError('two algorithms are named for one signature')
  const issuerName = content.next(DerTag.sequence).raw.toString('hex')
  timeOf(content.any()) // when it was made: the clock of an authority that is ahead must not keep a revocation from being heard
  const next = content.optional(DerTag.utcTime, DerTag.generalizedTime)
  if (next === undefined) throw new DerError('a revocation list does not say when the next one comes')
  const revoked = revokedIn(content.optional(DerTag.sequence))
  const extensions = content.optional(0xa0)
  if (extensions !== undefined) checkExtensions(new DerReader(extensions.content).inside(DerTag.sequence))
  content.end()
  return { issuerName, nextUpdate: timeOf(next), revoked }
}

function revokedIn (list: DerValue | undefined): Set<string> {
  const revoked = new Set<string>()
  for (const entries = new DerReader(list?.content ?? Buffer.alloc(0)); !entries.isAtEnd;) {
    const entry = entries.inside(DerTag.sequence)
    revoked.add(entry.next(DerTag.integer).content.toString('hex'))
    timeOf(entry.any())
    if (!entry.isAtEnd) checkExtensions(entry.inside(DerTag.sequence))
    entry.end()
  }
  return revoked
}

/** A list that leaves something out, names other issuers, or only tells changes says so in a critical extension: none is understood here. */
function checkExtensions (extensions: DerReader): void {
  for (const [name, { isCritical }] of readExtensions(extensions)) {
    if (isCritical) throw new DerError(`a revocation list has the critical extension ${name}, which is not understood`)
  }
}

/** The digest for each signature algorithm, and the type of key; Ed25519 and Ed448 have their own. */
const algorithms: ReadonlyMap<string, readonly [digest: string | undefined, keyType: string]> = new Map([
  ['1.2.840.113549.1.1.11', ['sha256', 'rsa']], ['1.2.840.113549.1.1.12', ['sha384', 'rsa']], ['1.2.840.113549.1.1.13', ['sha512', 'rsa']],
  ['1.2.840.10045.4.3.2', ['sha256', 'ec']], ['1.2.840.10045.4.3.3', ['sha384', 'ec']], ['1.2.840.10045.4.3.4', ['sha512', 'ec']],
  ['1.3.101.112', [undefined, 'ed25519']], ['1.3.101.113', [undefined, 'ed448']],
])

function isSignedBy (key: KeyObject, tbs: DerValue, algorithm: DerValue, { content }: DerValue): boolean {
  const name = objectIdentifierOf(new DerReader(algorithm.content).next(DerTag.objectIdentifier).content)
  const [digest, keyType] = algorithms.get(name) ?? []
  if (keyType === undefined) throw new DerError(`a revocation list is signed by the algorithm ${name}, which is not known here`)
  return key.asymmetricKeyType === keyType && content[0] === 0 && verify(digest, tbs.raw, key, content.subarray(1))
}
