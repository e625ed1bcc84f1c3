import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { formatIPv4, formatIPv6, isIPv4, isIPv6 } from './address.ts'

/** Who connected to whom, as the proxy in front saw it. Unix sockets have paths and no ports. */
export interface ProxyAddress {
  readonly sourceAddress: string | undefined
  readonly sourcePort: number | undefined
  readonly destinationAddress: string | undefined
  readonly destinationPort: number | undefined
}

/** A whole header: `address` is undefined where the proxy speaks for itself or does not know, `rest` is what follows the header. */
export interface ProxyHeaderResult {
  readonly address: ProxyAddress | undefined
  readonly rest: Buffer
}

const version1Start = Buffer.from('PROXY ')
const version1Limit = 107 // with CR LF: the longest line there can be, two full IPv6 addresses and UNKNOWN
const version2Start = Buffer.from('\r\n\r\n\0\r\nQUIT\n')
const version2Fixed = 16
const version2Limit = 4096 // of the variable part; addresses take 216 bytes at most, the rest is TLVs

/**
 * The PROXY protocol header, version 1 or 2, that HAProxy, AWS load balancers and others put before a connection's
 * first byte (haproxy.org/download/3.0/doc/proxy-protocol.txt). Fed with chunks however they are cut.
 */
export class ProxyHeader {
  #bytes: Buffer = Buffer.alloc(0)

  /** Undefined until the header is complete. Throws {@link MqttError} `MQTT_PROXY_HEADER_INVALID` at the first byte that can belong to no header. */
  push (chunk: Buffer): ProxyHeaderResult | undefined {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    return this.#bytes[0] === version2Start[0] ? parseVersion2(this.#bytes) : parseVersion1(this.#bytes)
  }
}

function parseVersion1 (bytes: Buffer): ProxyHeaderResult | undefined {
  checkStart(bytes, version1Start)
  const end = bytes.subarray(0, version1Limit).indexOf('\r\n')
  if (end >= 0) return { address: parseLine(bytes.toString('latin1', 0, end)), rest: bytes.subarray(end + 2) }
  if (bytes.length >= version1Limit) throw invalid('version 1 line is longer than 107 bytes')
  return undefined
}

function parseLine (line: string): ProxyAddress | undefined {
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return undefined // whatever follows is to be ignored (section 2.1)
  const [, family, source = '', destination = '', sourcePort = '', destinationPort = ''] =
    /^PROXY (TCP[46]) (\S+) (\S+) (\d+) (\d+)$/.exec(line) ?? []
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6
  if (family === undefined || !isAddress(source) || !isAddress(destination)) throw invalid('version 1 line is malformed')
  return {
    sourceAddress: source,
    sourcePort: parsePort(sourcePort),
    destinationAddress: destination,
    destinationPort: parsePort(destinationPort),
  }
}

function parsePort (text: string): number {
  const port = Number(text)
  if (port > 0xffff || String(port) !== text) throw invalid('version 1 port is malformed') // no leading zeros (section 2.1)
  return port
}

function parseVersion2 (bytes: Buffer): ProxyHeaderResult | undefined {
  checkStart(bytes, version2Start)
  if (bytes.length < version2Fixed) return undefined
  const length = bytes.readUInt16BE(14)
  const parse = addressParser(bytes.readUInt8(12), bytes.readUInt8(13), length)
  const end = version2Fixed + length
  if (bytes.length < end) return undefined
  return { address: parse(bytes), rest: bytes.subarray(end) }
}

type AddressParser = (bytes: Buffer) => ProxyAddress | undefined

const unknownAddress: AddressParser = () => undefined

/** Everything that can be wrong with version 2 is known from its first 16 bytes. */
function addressParser (versionAndCommand: number, family: number, length: number): AddressParser {
  if (length > version2Limit) throw invalid(`version 2 header announces ${length} bytes`)
  if (versionAndCommand === 0x20) return unknownAddress // LOCAL: the proxy's own health check; the rest has no meaning
  if (versionAndCommand !== 0x21) throw invalid('version 2 header has an unknown version or command')
  if (family === 0) return unknownAddress
  const { size, parse } = families.get(family) ?? { size: Infinity, parse: unknownAddress }
  if (length < size) throw invalid('version 2 header has an unknown address family, or is too short for it')
  return parse
}

/** By address family and transport protocol (section 2.2); stream and datagram look the same. */
const families: ReadonlyMap<number, { size: number, parse: AddressParser }> = new Map([
  [0x11, { size: 12, parse: parseInet }],
  [0x12, { size: 12, parse: parseInet }],
  [0x21, { size: 36, parse: parseInet6 }],
  [0x22, { size: 36, parse: parseInet6 }],
  [0x31, { size: 216, parse: parseUnix }],
  [0x32, { size: 216, parse: parseUnix }],
])

function parseInet (bytes: Buffer): ProxyAddress { return parseInternet(bytes, 4, formatIPv4) }

function parseInet6 (bytes: Buffer): ProxyAddress { return parseInternet(bytes, 16, formatIPv6) }

/** Two addresses of so many bytes, then their ports. */
function parseInternet (bytes: Buffer, size: number, format: (bytes: Buffer, offset: number) => string): ProxyAddress {
  const ports = 16 + 2 * size
  return {
    sourceAddress: format(bytes, 16),
    sourcePort: bytes.readUInt16BE(ports),
    destinationAddress: format(bytes, 16 + size),
    destinationPort: bytes.readUInt16BE(ports + 2),
  }
}

function parseUnix (bytes: Buffer): ProxyAddress {
  return {
    sourceAddress: pathAt(bytes, 16),
    sourcePort: undefined,
    destinationAddress: pathAt(bytes, 124),
    destinationPort: undefined,
  }
}

/** A path of up to 108 bytes that ends at the first NUL; undefined for a socket without a name. */
function pathAt (bytes: Buffer, offset: number): string | undefined {
  const field = bytes.subarray(offset, offset + 108)
  const end = field.indexOf(0)
  const path = field.toString('utf8', 0, end < 0 ? field.length : end)
  return path === '' ? undefined : path
}

function checkStart (bytes: Buffer, start: Buffer): void {
  const length = Math.min(bytes.length, start.length)
  if (bytes.compare(start, 0, length, 0, length) !== 0) throw invalid('connection does not begin with a PROXY protocol header')
}

function invalid (message: string): MqttError {
  return new MqttError(ErrorCode.proxyHeaderInvalid, ReasonCode.protocolError, message)
}
