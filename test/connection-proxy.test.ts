import t from 'tap'
import fc from 'fast-check'
import { isIP, isIPv4, isIPv6 } from 'node:net'
import { Duplex } from 'node:stream'
import { MqttError } from '../lib/base/errors.ts'
import { formatIPv6, isIPv4 as isOurIPv4, isIPv6 as isOurIPv6 } from '../lib/connection/proxy/address.ts'
import { streamConnectionInfo, withProxyAddress } from '../lib/connection/connection-info.ts'
import { forwardedAddress } from '../lib/connection/proxy/forwarded.ts'
import { ProxyHeader, type ProxyAddress, type ProxyHeaderResult } from '../lib/connection/proxy/proxy-protocol.ts'

const signature = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const after = Buffer.from('what follows')

function version2 (command: number, family: number, body: Buffer, length = body.length): Buffer {
  return Buffer.concat([signature, Buffer.from([command, family, length >> 8, length & 0xff]), body])
}

function ports (source: number, destination: number): Buffer {
  return Buffer.from([source >> 8, source & 0xff, destination >> 8, destination & 0xff])
}

function unixPath (path: string): Buffer {
  return Buffer.concat([Buffer.from(path), Buffer.alloc(108)]).subarray(0, 108)
}

function address (sourceAddress?: string, sourcePort?: number, destinationAddress?: string, destinationPort?: number): ProxyAddress {
  return { sourceAddress, sourcePort, destinationAddress, destinationPort }
}

const inet = Buffer.concat([Buffer.from([192, 0, 2, 1, 203, 0, 113, 9]), ports(56324, 1883)])
const inet6 = Buffer.concat([Buffer.from('20010db8000000000000000000000001', 'hex'), Buffer.from('00000000000000000000ffffc0000201', 'hex'), ports(1, 65535)])
const unix = Buffer.concat([unixPath('/run/one'), unixPath('')])
const tlv = Buffer.from([0x04, 0, 3, 1, 2, 3])
const inetAddress = address('192.0.2.1', 56324, '203.0.113.9', 1883)
const inet6Address = address('2001:db8::1', 1, '::ffff:192.0.2.1', 65535)
const longest = `PROXY UNKNOWN ${'f'.repeat(39)} ${'f'.repeat(39)} 65535 65535\r\n`

const headers: [string, Buffer, ProxyAddress | undefined][] = [
  ['v1 TCP4', Buffer.from('PROXY TCP4 192.0.2.1 203.0.113.9 56324 1883\r\n'), inetAddress],
  ['v1 TCP6', Buffer.from('PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n'), inet6Address],
  ['v1 port 0', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.2 0 1883\r\n'), address('1.1.1.1', 0, '1.1.1.2', 1883)],
  ['v1 UNKNOWN', Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  ['v1 UNKNOWN of 107 bytes', Buffer.from(longest.replace(' f', ' ffffff').slice(0, 105) + '\r\n'), undefined],
  ['v2 TCP over IPv4', version2(0x21, 0x11, inet), inetAddress],
  ['v2 UDP over IPv4', version2(0x21, 0x12, inet), inetAddress],
  ['v2 TCP over IPv4 with TLVs', version2(0x21, 0x11, Buffer.concat([inet, tlv])), inetAddress],
  ['v2 TCP over IPv6', version2(0x21, 0x21, inet6), inet6Address],
  ['v2 UDP over IPv6 with TLVs', version2(0x21, 0x22, Buffer.concat([inet6, tlv])), inet6Address],
  ['v2 Unix stream', version2(0x21, 0x31, unix), address('/run/one')],
  ['v2 Unix datagram, path of 108 bytes', version2(0x21, 0x32, Buffer.concat([unixPath('x'.repeat(108)), unixPath('/y')])), address('x'.repeat(108), undefined, '/y')],
  ['v2 LOCAL', version2(0x20, 0x00, Buffer.alloc(0)), undefined],
  ['v2 LOCAL, whose family has no meaning', version2(0x20, 0x7f, tlv), undefined],
  ['v2 unspecified family', version2(0x21, 0x00, tlv), undefined],
  ['v2 of 4 KiB', version2(0x21, 0x11, Buffer.concat([inet, Buffer.alloc(4084)])), inetAddress],
]

function pushAll (chunks: Buffer[]): ProxyHeaderResult | undefined {
  const header = new ProxyHeader()
  for (const [index, chunk] of chunks.entries()) {
    const result = header.push(chunk)
    if (result !== undefined) return { address: result.address, rest: Buffer.concat([result.rest, ...chunks.slice(index + 1)]) }
  }
  return undefined
}

function cut (bytes: Buffer, places: number[]): Buffer[] {
  const sorted = [0, ...places.map(place => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end))
}

function outcome (chunks: Buffer[]): unknown {
  try { return pushAll(chunks) } catch (error) { return error instanceof MqttError ? error.code : error }
}

t.test('PROXY protocol: every kind of header, whole and byte by byte', t => {
  for (const [name, bytes, expected] of headers) {
    t.strictSame(new ProxyHeader().push(Buffer.concat([bytes, after])), { address: expected, rest: after }, name)
    t.strictSame(pushAll([...bytes].map(byte => Buffer.from([byte]))), { address: expected, rest: Buffer.alloc(0) }, `${name}, byte by byte`)
    t.equal(new ProxyHeader().push(bytes.subarray(0, -1)), undefined, `${name}, without its last byte`)
  }
  t.end()
})

const wrong: [string, Buffer][] = [
  ['no header', Buffer.from('\x10\x10\0\x04MQTT', 'latin1')],
  ['v1 in lower case', Buffer.from('proxy TCP4 1.1.1.1 1.1.1.2 1 2\r\n')],
  ['v1 two spaces', Buffer.from('PROXY TCP4  1.1.1.1 1.1.1.2 1 2\r\n')],
  ['v1 space at the end', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.2 1 2 \r\n')],
  ['v1 UDP', Buffer.from('PROXY UDP4 1.1.1.1 1.1.1.2 1 2\r\n')],
  ['v1 UNKNOWNS', Buffer.from('PROXY UNKNOWNS\r\n')],
  ['v1 address of the other family', Buffer.from('PROXY TCP4 ::1 ::1 1 2\r\n')],
  ['v1 address with leading zero', Buffer.from('PROXY TCP4 01.1.1.1 1.1.1.2 1 2\r\n')],
  ['v1 IPv6 with zone', Buffer.from('PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n')],
  ['v1 port with leading zero', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.2 01 2\r\n')],
  ['v1 port too large', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.2 65536 2\r\n')],
  ['v1 no port', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.2 1\r\n')],
  ['v1 line of 108 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
  ['v1 line without an end', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(93)}`)],
  ['v2 broken signature', Buffer.from('\r\n\r\n\0\r\nQUIX')],
  ['v2 version 1', version2(0x11, 0x11, inet)],
  ['v2 unknown command', version2(0x22, 0x11, inet)],
  ['v2 unknown family', version2(0x21, 0x41, inet)],
  ['v2 unknown transport', version2(0x21, 0x13, inet)],
  ['v2 too short for IPv4', version2(0x21, 0x11, inet.subarray(1))],
  ['v2 too short for IPv6', version2(0x21, 0x21, inet6.subarray(1))],
  ['v2 too short for Unix', version2(0x21, 0x31, unix.subarray(1))],
  ['v2 announces more than 4 KiB, refused before it is read', version2(0x21, 0x11, Buffer.alloc(0), 4097)],
]

t.test('PROXY protocol: what is no header is refused', t => {
  for (const [name, bytes] of wrong) {
    t.throws(() => new ProxyHeader().push(bytes), { code: 'MQTT_PROXY_HEADER_INVALID', reasonCode: 0x82 }, name)
    t.equal(outcome([...bytes].map(byte => Buffer.from([byte]))), 'MQTT_PROXY_HEADER_INVALID', `${name}, byte by byte`)
  }
  t.throws(() => new ProxyHeader().push(Buffer.from('G')), { code: 'MQTT_PROXY_HEADER_INVALID' }, 'the first byte is enough')
  t.end()
})

t.test('PROXY protocol: however the bytes are cut, the outcome is the same', t => {
  const bytes = fc.constantFrom(...headers.map(header => Buffer.concat([header[1], after])), ...wrong.map(header => Buffer.concat([header[1], Buffer.alloc(108)])))
  fc.assert(fc.property(bytes, fc.array(fc.nat(5000), { maxLength: 8 }), (whole, places) => {
    t.strictSame(outcome(cut(whole, places)), outcome([whole]))
  }))
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(signature, Buffer.from('PROXY TCP'), Buffer.alloc(0)), fc.array(fc.nat(80)), (tail, start, places) => {
    const whole = Buffer.concat([start, tail])
    const result = outcome(cut(whole, places))
    return typeof result === 'object' || result === undefined || result === 'MQTT_PROXY_HEADER_INVALID'
  }))
  t.end()
})

t.test('addresses are those of node:net', t => {
  fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string(), fc.stringMatching(/^[0-9a-f:.]{1,20}$/), fc.stringMatching(/^[0-9]{1,3}(\.[0-9]{1,3}){3}$/)), text => {
    t.equal(isOurIPv4(text), isIPv4(text), text)
    t.equal(isOurIPv6(text), isIPv6(text), text)
  }))
  fc.assert(fc.property(fc.array(fc.constantFrom('0', '1', '0', 'a0', 'ffff'), { minLength: 8, maxLength: 8 }), groups => {
    const text = formatIPv6(Buffer.from(groups.map(group => group.padStart(4, '0')).join(''), 'hex'), 0)
    const canonical = new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1)
    if (!text.startsWith('::ffff:')) t.equal(text, canonical)
    return isIP(text) === 6 && new URL(`http://[${text}]/`).hostname.slice(1, -1) === canonical
  }))
  t.end()
})

t.test('X-Forwarded-For: only as far as it is trusted', t => {
  const header = '198.51.100.7, 2001:db8::2 ,10.0.0.1'
  const cases: [string | undefined, boolean | number | undefined, string | undefined][] = [
    [header, undefined, undefined], [header, false, undefined], [header, 0, undefined],
    [header, true, '198.51.100.7'], [header, 1, '10.0.0.1'], [header, 2, '2001:db8::2'], [header, 3, '198.51.100.7'], [header, 9, '198.51.100.7'],
    [undefined, true, undefined], ['', true, undefined], ['unknown', true, undefined], ['<script>', 1, undefined], ['1.2.3.4,', 1, undefined], [header, 1.5, undefined],
    ['1.2.3.4:5678', 1, '1.2.3.4'], ['[2001:db8::2]:443', 1, '2001:db8::2'], ['[::1]', 1, '::1'],
  ]
  for (const [text, trustProxy, expected] of cases) t.equal(forwardedAddress(text, trustProxy), expected, JSON.stringify([text, trustProxy]))
  t.end()
})

class FakeSocket extends Duplex {
  remoteAddress: string | undefined = '192.0.2.7'
  remotePort: number | undefined = 4000
  localAddress: string | undefined = '192.0.2.8'
  localPort: number | undefined = 1883
  authorized = true
  certificate: object | null = { raw: Buffer.from('der'), subject: { CN: 'device' } }
  getPeerCertificate (): object | null { return this.certificate }
}

t.test('what is known of a stream', t => {
  const socket = new FakeSocket()
  const info = streamConnectionInfo(7, socket, 'secure', 1234)
  t.match(info, { localAddress: '192.0.2.8', localPort: 1883 })
  socket.remoteAddress = socket.remotePort = socket.localAddress = socket.localPort = undefined
  const known = { id: 7, transport: 'stream', listener: 'secure', connectedAt: 1234, request: undefined }
  const addresses = { remoteAddress: '192.0.2.7', remotePort: 4000 }
  t.match(info, { ...known, ...addresses, isPeerAuthorized: true, peerCertificate: { subject: { CN: 'device' } } }, 'the remote address outlives the socket')
  const proxied = withProxyAddress(info, inetAddress)
  t.match(proxied, { ...known, isPeerAuthorized: true, peerCertificate: { subject: { CN: 'device' } } })
  t.match(proxied, { remoteAddress: '192.0.2.1', remotePort: 56324, localAddress: '203.0.113.9', localPort: 1883 })
  t.equal(withProxyAddress(info, undefined), info)
  socket.certificate = {}
  t.equal(info.peerCertificate, undefined, 'the peer presented none')
  socket.certificate = null
  t.equal(info.peerCertificate, undefined, 'the socket is gone')
  const bare = streamConnectionInfo(8, new Duplex(), undefined, 1)
  t.match(bare, { remoteAddress: undefined, peerCertificate: undefined, isPeerAuthorized: false, listener: undefined })
  t.end()
})
