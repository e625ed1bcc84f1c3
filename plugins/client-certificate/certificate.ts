import { createHash } from 'node:crypto'
import { asciiOf, DerError, DerReader, DerTag, objectIdentifierOf, textOf, timeOf, type DerValue } from './der.ts'

/** What a certificate says (RFC 5280), read from its bytes: the texts that OpenSSL makes of names can be ambiguous. */
export interface CertificateInfo {
  /** Fields of the subject by their short names (CN, O, OU, …), each with all its values. */
  readonly subject: Readonly<Record<string, readonly string[]>>
  /** The same of who issued it. */
  readonly issuer: Readonly<Record<string, readonly string[]>>
  /** Hexadecimal, lower case. */
  readonly serialNumber: string
  /** SHA-256 of the certificate, hexadecimal, lower case. */
  readonly fingerprint: string
  /** Subject alternative names: DNS, in lower case. */
  readonly dns: readonly string[]
  readonly email: readonly string[]
  readonly uri: readonly string[]
  /** Milliseconds since the epoch. */
  readonly validFrom: number
  readonly validTo: number
}

/** A certificate, with what is compared byte for byte. */
export interface Certificate {
  readonly der: Buffer
  readonly info: CertificateInfo
  /** The names as they are encoded, hexadecimal. */
  readonly subjectName: string
  readonly issuerName: string
  /** False when its key usage is told and does not have cRLSign (section 4.2.1.3). */
  readonly maySignRevocations: boolean
}

const fields: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'], ['2.5.4.5', 'serialNumber'], ['2.5.4.6', 'C'], ['2.5.4.7', 'L'], ['2.5.4.8', 'ST'], ['2.5.4.10', 'O'], ['2.5.4.11', 'OU'], ['2.5.4.12', 'title'],
  ['2.5.4.4', 'SN'], ['2.5.4.42', 'GN'], ['2.5.4.46', 'dnQualifier'], ['0.9.2342.19200300.100.1.1', 'UID'], ['0.9.2342.19200300.100.1.25', 'DC'], ['1.2.840.113549.1.9.1', 'emailAddress'],
])

const subjectAltName = '2.5.29.17'
const keyUsage = '2.5.29.15'

/**
 * Reads a certificate.
 * @throws DerError for bytes that are none
 */
export function parseCertificate (der: Buffer): Certificate {
  const tbs = new DerReader(der).inside(DerTag.sequence).inside(DerTag.sequence)
  tbs.optional(0xa0) // version
  const serialNumber = tbs.next(DerTag.integer).content.toString('hex')
  tbs.next(DerTag.sequence) // signature algorithm
  const issuer = tbs.next(DerTag.sequence)
  const validity = tbs.inside(DerTag.sequence)
  const subject = tbs.next(DerTag.sequence)
  const extensions = extensionsOf(tbs)
  const info: CertificateInfo = {
    subject: nameOf(subject), issuer: nameOf(issuer), serialNumber, fingerprint: createHash('sha256').update(der).digest('hex'),
    ...alternativeNames(extensions.get(subjectAltName)?.value), validFrom: timeOf(validity.any()), validTo: timeOf(validity.any()),
  }
  return { der, info, subjectName: subject.raw.toString('hex'), issuerName: issuer.raw.toString('hex'), maySignRevocations: maySignRevocations(extensions.get(keyUsage)?.value) }
}

/** Extensions by object identifier; one that is there twice is an error (section 4.2). */
export function readExtensions (extensions: DerReader): Map<string, { readonly isCritical: boolean, readonly value: Buffer }> {
  const found = new Map<string, { isCritical: boolean, value: Buffer }>()
  while (!extensions.isAtEnd) {
    const extension = extensions.inside(DerTag.sequence)
    const name = objectIdentifierOf(extension.next(DerTag.objectIdentifier).content)
    const isCritical = (extension.optional(DerTag.boolean)?.content[0] ?? 0) !== 0
    if (found.has(name)) throw new DerError(`the extension ${name} is there twice`)
    found.set(name, { isCritical, value: extension.next(DerTag.octetString).content })
  }
  return found
}

function extensionsOf (tbs: DerReader): ReturnType<typeof readExtensions> {
  tbs.next(DerTag.sequence) // public key
  tbs.optional(0x81)
  tbs.optional(0x82)
  const tagged = tbs.optional(0xa3)
  if (tagged === undefined) return readExtensions(new DerReader(Buffer.alloc(0)))
  return readExtensions(new DerReader(tagged.content).inside(DerTag.sequence))
}

/** The fields that have a short name; a value of a kind that nobody writes any more is left out. */
function nameOf ({ content }: DerValue): Record<string, string[]> {
  const found = new Map<string, string[]>()
  for (const name = new DerReader(content); !name.isAtEnd;) {
    for (const set = name.inside(DerTag.set); !set.isAtEnd;) {
      const attribute = set.inside(DerTag.sequence)
      const field = fields.get(objectIdentifierOf(attribute.next(DerTag.objectIdentifier).content))
      const text = textOf(attribute.any())
      if (field !== undefined) found.set(field, [...found.get(field) ?? [], text ?? ''])
    }
  }
  return Object.fromEntries(found)
}

/** Those of GeneralName (section 4.2.1.6) that name a Client. */
function alternativeNames (value: Buffer | undefined): Pick<CertificateInfo, 'dns' | 'email' | 'uri'> {
  const names: { dns: string[], email: string[], uri: string[] } = { dns: [], email: [], uri: [] }
  if (value === undefined) return names
  for (const all = new DerReader(value).inside(DerTag.sequence); !all.isAtEnd;) {
    const { tag, content } = all.any()
    if (tag === 0x81) names.email.push(asciiOf(content))
    else if (tag === 0x82) names.dns.push(asciiOf(content).toLowerCase())
    else if (tag === 0x86) names.uri.push(asciiOf(content))
  }
  return names
}

function maySignRevocations (value: Buffer | undefined): boolean {
  if (value === undefined) return true
  const [, bits = 0] = new DerReader(value).next(DerTag.bitString).content
  return (bits & 0x02) !== 0 // cRLSign is bit 6
}
