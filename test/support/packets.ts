import { ErrorCode } from '../../lib/base/errors.ts'
import { ReasonCode } from '../../lib/base/reason-codes.ts'
import type { ConnectPacket, Packet, PacketType, Properties, ProtocolVersion, PublishPacket } from '../../lib/packet/packets.ts'
import { emptyTopic, Topic } from '../../lib/topic/topic.ts'

/** A packet and its bytes; decoder, encoder and broker tests share the table. */
export interface PacketCase {
  readonly name: string
  readonly version: ProtocolVersion
  readonly bytes: Buffer
  readonly packet: Packet
  /** Another form than the one that Myelin writes. */
  readonly decodeOnly?: true
}

/** Bytes that no decoder may accept. `version` undefined: as the first bytes of a connection. */
export interface BadCase {
  readonly name: string
  readonly version: ProtocolVersion | undefined
  readonly bytes: Buffer
  readonly code: ErrorCode
  readonly reasonCode: ReasonCode
}

/** A UTF-8 Encoded String or Binary Data in hexadecimal. */
function text (value: string): string {
  const bytes = Buffer.from(value)
  return bytes.length.toString(16).padStart(4, '0') + bytes.toString('hex')
}

/** First byte, Remaining Length of one byte, and the body, all in hexadecimal. */
function frame (first: string, ...body: string[]): Buffer {
  const bytes = Buffer.from(body.join('').replaceAll(' ', ''), 'hex')
  if (bytes.length > 127) throw new Error('one byte of Remaining Length is not enough')
  return Buffer.concat([Buffer.from(first, 'hex'), Buffer.from([bytes.length]), bytes])
}

/** Property Length of one byte and the properties. */
function list (...properties: string[]): string {
  const body = properties.join('').replaceAll(' ', '')
  return (body.length / 2).toString(16).padStart(2, '0') + body
}

const none = { properties: undefined }
const pair = text('k') + text('v')
const userProperties = [['k', 'v'], ['k', 'v']] as const

function connect (fields: Partial<ConnectPacket>): ConnectPacket {
  return {
    type: 1, protocolVersion: 5, cleanStart: true, keepAlive: 60, clientIdentifier: 'c', will: undefined, username: undefined,
    password: undefined, properties: undefined, ...fields,
  }
}

function publish (fields: Partial<PublishPacket>): PublishPacket {
  return {
    type: 3, dup: false, qos: 0, retain: false, topic: new Topic('a/b'), packetIdentifier: 0, properties: undefined,
    payload: Buffer.from('hi'), ...fields,
  }
}

const hi = '6869'

const connectCases: readonly PacketCase[] = [
  { name: 'CONNECT 3.1', version: 3, bytes: frame('10', text('MQIsdp'), '03 02 003c', text('c')), packet: connect({ protocolVersion: 3 }) },
  { name: 'CONNECT 3.1.1', version: 4, bytes: frame('10', text('MQTT'), '04 02 003c', text('c')), packet: connect({ protocolVersion: 4 }) },
  { name: 'CONNECT 5.0', version: 5, bytes: frame('10', text('MQTT'), '05 02 003c 00', text('c')), packet: connect({}) },
  { name: 'CONNECT with an empty Client Identifier', version: 4, bytes: frame('10', text('MQTT'), '04 00 0000', text('')), packet: connect({ protocolVersion: 4, cleanStart: false, keepAlive: 0, clientIdentifier: '' }) },
  {
    name: 'CONNECT with will, User Name and password',
    version: 4,
    bytes: frame('10', text('MQTT'), '04 f4 ffff', text('c'), text('w'), text('bye'), text('u'), text('p')),
    packet: connect({
      protocolVersion: 4, cleanStart: false, keepAlive: 65535, username: 'u', password: Buffer.from('p'),
      will: { topicName: 'w', payload: Buffer.from('bye'), qos: 2, retain: true, properties: undefined },
    }),
  },
  { name: 'CONNECT 5.0 with a password alone (section 3.1.2.9)', version: 5, bytes: frame('10', text('MQTT'), '05 42 003c 00', text('c'), text('p')), packet: connect({ password: Buffer.from('p') }) },
  { name: 'CONNECT 3.1 with flags that it does not use (3.1, section 3.1)', version: 3, decodeOnly: true, bytes: frame('1f', text('MQIsdp'), '03 03 003c', text('c')), packet: connect({ protocolVersion: 3 }) },
  { name: 'CONNECT 3.1 whose flags announce what is left out', version: 3, decodeOnly: true, bytes: frame('10', text('MQIsdp'), '03 c2 003c', text('c')), packet: connect({ protocolVersion: 3 }) },
  {
    name: 'CONNECT 5.0 with every property',
    version: 5,
    bytes: frame('10', text('MQTT'), '05 02 003c', list('11 ffffffff 15', text('m'), '16', text('d'), '17 00 19 01 21 0001 22 ffff 26', pair, '26', pair, '27 00000001'), text('c')),
    packet: connect({
      properties: {
        sessionExpiryInterval: 0xffffffff, authenticationMethod: 'm', authenticationData: Buffer.from('d'), requestProblemInformation: 0,
        requestResponseInformation: 1, receiveMaximum: 1, topicAliasMaximum: 65535, userProperties, maximumPacketSize: 1,
      },
    }),
  },
  {
    name: 'CONNECT 5.0 with every Will Property',
    version: 5,
    bytes: frame('10', text('MQTT'), '05 0e 003c 00', text('c'),
      list('01 01 02 00000005 03', text('t'), '08', text('r'), '09', text('x'), '18 00000007 26', pair, '26', pair), text('w'), text('')),
    packet: connect({
      will: {
        topicName: 'w', payload: Buffer.alloc(0), qos: 1, retain: false,
        properties: { payloadFormatIndicator: 1, messageExpiryInterval: 5, contentType: 't', responseTopic: 'r', correlationData: Buffer.from('x'), willDelayInterval: 7, userProperties },
      },
    }),
  },
]

const connackCases: readonly PacketCase[] = [
  { name: 'CONNACK 3.1.1, Session Present', version: 4, bytes: frame('20', '01 00'), packet: { type: 2, sessionPresent: true, reasonCode: 0, ...none } },
  { name: 'CONNACK 3.1.1 for Not authorized', version: 4, bytes: frame('20', '00 05'), packet: { type: 2, sessionPresent: false, reasonCode: ReasonCode.notAuthorized, ...none } },
  { name: 'CONNACK 5.0', version: 5, bytes: frame('20', '00 87 00'), packet: { type: 2, sessionPresent: false, reasonCode: ReasonCode.notAuthorized, ...none } },
  {
    name: 'CONNACK 5.0 with every property',
    version: 5,
    bytes: frame('20', '01 00', list('11 00000001 12', text('i'), '13 0002 15', text('m'), '16', text('d'), '1a', text('r'), '1c', text('s'), '1f', text('w'),
      '21 0003 22 0004 24 01 25 00 26', pair, '26', pair, '27 00000005 28 01 29 00 2a 01')),
    packet: {
      type: 2, sessionPresent: true, reasonCode: 0,
      properties: {
        sessionExpiryInterval: 1, assignedClientIdentifier: 'i', serverKeepAlive: 2, authenticationMethod: 'm', authenticationData: Buffer.from('d'),
        responseInformation: 'r', serverReference: 's', reasonString: 'w', receiveMaximum: 3, topicAliasMaximum: 4, maximumQos: 1, retainAvailable: 0,
        userProperties, maximumPacketSize: 5, wildcardSubscriptionAvailable: 1, subscriptionIdentifierAvailable: 0, sharedSubscriptionAvailable: 1,
      },
    },
  },
]

const publishCases: readonly PacketCase[] = [
  { name: 'PUBLISH QoS 0', version: 4, bytes: frame('30', text('a/b'), hi), packet: publish({}) },
  { name: 'PUBLISH QoS 1, retain', version: 3, bytes: frame('33', text('a/b'), '0001', hi), packet: publish({ qos: 1, retain: true, packetIdentifier: 1 }) },
  { name: 'PUBLISH QoS 2, DUP', version: 4, bytes: frame('3c', text('a/b'), 'ffff'), packet: publish({ qos: 2, dup: true, packetIdentifier: 65535, payload: Buffer.alloc(0) }) },
  { name: 'PUBLISH 5.0 without properties', version: 5, bytes: frame('30', text('a/b'), '00', hi), packet: publish({}) },
  { name: 'PUBLISH 5.0, U+FEFF in the Topic Name [MQTT-1.5.4-3]', version: 5, bytes: frame('30', text('\ufeffä'), '00', hi), packet: publish({ topic: new Topic('\ufeffä') }) },
  { name: 'PUBLISH 5.0 with a Topic Alias alone', version: 5, bytes: frame('30', '0000', list('23 0009'), hi), packet: publish({ topic: emptyTopic, properties: { topicAlias: 9 } }) },
  {
    name: 'PUBLISH 5.0 with every property',
    version: 5,
    bytes: frame('32', text('a/b'), '0007', list('01 00 02 00000000 03', text('t'), '08', text('r'), '09', text('x'), '0b 01 0b ffffff7f 23 0001 26', pair, '26', pair), hi),
    packet: publish({
      qos: 1, packetIdentifier: 7,
      properties: {
        payloadFormatIndicator: 0, messageExpiryInterval: 0, contentType: 't', responseTopic: 'r', correlationData: Buffer.from('x'),
        subscriptionIdentifiers: [1, 268_435_455], topicAlias: 1, userProperties,
      },
    }),
  },
]

function acknowledgeCases (name: string, type: 4 | 5 | 6 | 7, first: string, failure: ReasonCode): PacketCase[] {
  const code = failure.toString(16)
  return [
    { name: `${name} 3.1.1`, version: 4, bytes: frame(first, '0102'), packet: { type, packetIdentifier: 0x102, reasonCode: 0, ...none } },
    { name: `${name} 5.0, shortest`, version: 5, bytes: frame(first, '0102'), packet: { type, packetIdentifier: 0x102, reasonCode: 0, ...none } },
    { name: `${name} 5.0, Reason Code`, version: 5, bytes: frame(first, '0102', code), packet: { type, packetIdentifier: 0x102, reasonCode: failure, ...none } },
    { name: `${name} 5.0, every property`, version: 5, bytes: frame(first, '0102', code, list('1f', text('w'), '26', pair, '26', pair)), packet: { type, packetIdentifier: 0x102, reasonCode: failure, properties: { reasonString: 'w', userProperties } } },
    { name: `${name} 5.0, nothing left out`, version: 5, decodeOnly: true, bytes: frame(first, '0102 00 00'), packet: { type, packetIdentifier: 0x102, reasonCode: 0, ...none } },
  ]
}

const plain = { noLocal: false, retainAsPublished: false, retainHandling: 0 } as const

const subscribeCases: readonly PacketCase[] = [
  { name: 'SUBSCRIBE 3.1.1', version: 4, bytes: frame('82', '0001', text('a/+'), '00', text('#'), '02'), packet: { type: 8, packetIdentifier: 1, ...none, subscriptions: [{ topicFilter: 'a/+', qos: 0, ...plain }, { topicFilter: '#', qos: 2, ...plain }] } },
  { name: 'SUBSCRIBE 3.1 with DUP', version: 3, decodeOnly: true, bytes: frame('8a', '0001', text('#'), '01'), packet: { type: 8, packetIdentifier: 1, ...none, subscriptions: [{ topicFilter: '#', qos: 1, ...plain }] } },
  {
    name: 'SUBSCRIBE 5.0 with every option and property',
    version: 5,
    bytes: frame('82', '0001', list('0b 8001 26', pair, '26', pair), text('#'), '2d', text('a'), '12'),
    packet: {
      type: 8, packetIdentifier: 1, properties: { subscriptionIdentifiers: [128], userProperties },
      subscriptions: [{ topicFilter: '#', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }, { topicFilter: 'a', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 1 }],
    },
  },
  { name: 'SUBACK 3.1.1', version: 4, bytes: frame('90', '0001 00 01 02 80'), packet: { type: 9, packetIdentifier: 1, reasonCodes: [0, 1, 2, 0x80], ...none } },
  { name: 'SUBACK 5.0', version: 5, bytes: frame('90', '0001', list('1f', text('w'), '26', pair, '26', pair), '02 a2'), packet: { type: 9, packetIdentifier: 1, reasonCodes: [2, 0xa2], properties: { reasonString: 'w', userProperties } } },
  { name: 'UNSUBSCRIBE 3.1.1', version: 4, bytes: frame('a2', '0001', text('a'), text('b')), packet: { type: 10, packetIdentifier: 1, topicFilters: ['a', 'b'], ...none } },
  { name: 'UNSUBSCRIBE 3.1 with DUP', version: 3, decodeOnly: true, bytes: frame('aa', '0001', text('a')), packet: { type: 10, packetIdentifier: 1, topicFilters: ['a'], ...none } },
  { name: 'UNSUBSCRIBE 5.0', version: 5, bytes: frame('a2', '0001', list('26', pair, '26', pair), text('a')), packet: { type: 10, packetIdentifier: 1, topicFilters: ['a'], properties: { userProperties } } },
  { name: 'UNSUBACK 3.1.1', version: 4, bytes: frame('b0', '0001'), packet: { type: 11, packetIdentifier: 1, reasonCodes: [], ...none } },
  { name: 'UNSUBACK 5.0', version: 5, bytes: frame('b0', '0001', list('1f', text('w'), '26', pair, '26', pair), '00 11'), packet: { type: 11, packetIdentifier: 1, reasonCodes: [0, 0x11], properties: { reasonString: 'w', userProperties } } },
]

const otherCases: readonly PacketCase[] = [
  { name: 'PUBREL 3.1 with DUP', version: 3, decodeOnly: true, bytes: frame('6a', '0001'), packet: { type: 6, packetIdentifier: 1, reasonCode: 0, ...none } },
  { name: 'PINGREQ', version: 4, bytes: frame('c0'), packet: { type: 12 } },
  { name: 'PINGRESP', version: 5, bytes: frame('d0'), packet: { type: 13 } },
  { name: 'DISCONNECT 3.1.1', version: 4, bytes: frame('e0'), packet: { type: 14, reasonCode: 0, ...none } },
  { name: 'DISCONNECT 5.0, shortest', version: 5, bytes: frame('e0'), packet: { type: 14, reasonCode: 0, ...none } },
  { name: 'DISCONNECT 5.0, Reason Code', version: 5, bytes: frame('e0', '04'), packet: { type: 14, reasonCode: 4, ...none } },
  { name: 'DISCONNECT 5.0, nothing left out', version: 5, decodeOnly: true, bytes: frame('e0', '00 00'), packet: { type: 14, reasonCode: 0, ...none } },
  {
    name: 'DISCONNECT 5.0, every property',
    version: 5,
    bytes: frame('e0', '9c', list('11 00000000 1c', text('s'), '1f', text('w'), '26', pair, '26', pair)),
    packet: { type: 14, reasonCode: 0x9c, properties: { sessionExpiryInterval: 0, serverReference: 's', reasonString: 'w', userProperties } },
  },
  { name: 'AUTH, shortest', version: 5, bytes: frame('f0'), packet: { type: 15, reasonCode: 0, ...none } },
  {
    name: 'AUTH, every property',
    version: 5,
    bytes: frame('f0', '18', list('15', text('m'), '16', text('d'), '1f', text('w'), '26', pair, '26', pair)),
    packet: { type: 15, reasonCode: 0x18, properties: { authenticationMethod: 'm', authenticationData: Buffer.from('d'), reasonString: 'w', userProperties } },
  },
]

/** Every packet in every form. */
export const packetCases: readonly PacketCase[] = [
  ...connectCases, ...connackCases, ...publishCases, ...acknowledgeCases('PUBACK', 4, '40', 0x97), ...acknowledgeCases('PUBREC', 5, '50', 0x87),
  ...acknowledgeCases('PUBREL', 6, '62', 0x92), ...acknowledgeCases('PUBCOMP', 7, '70', 0x92), ...subscribeCases, ...otherCases,
]

const malformed = { code: ErrorCode.malformedPacket, reasonCode: ReasonCode.malformedPacket }
const protocolError = { code: ErrorCode.protocolError, reasonCode: ReasonCode.protocolError }
const tooLarge = { code: ErrorCode.packetTooLarge, reasonCode: ReasonCode.packetTooLarge }
const unsupported = { code: ErrorCode.unsupportedProtocolVersion, reasonCode: ReasonCode.unsupportedProtocolVersion }
const aliasInvalid = { code: ErrorCode.topicAliasInvalid, reasonCode: ReasonCode.topicAliasInvalid }

const mqtt4 = text('MQTT') + '04'
const mqtt5 = text('MQTT') + '05'

const badConnects: readonly BadCase[] = [
  { name: 'another packet before CONNECT, told by its first byte [MQTT-3.1.0-1]', version: undefined, bytes: Buffer.from('30', 'hex'), ...protocolError },
  { name: 'the first byte of an HTTP request', version: undefined, bytes: Buffer.from('G'), ...protocolError },
  { name: 'CONNECT over its limit, told by its fixed header', version: undefined, bytes: Buffer.from('10ffffff7f', 'hex'), ...tooLarge },
  { name: 'CONNECT with flags in the fixed header [MQTT-2.1.3-1]', version: undefined, bytes: frame('12', mqtt4, '02 003c', text('c')), ...malformed },
  { name: 'another Protocol Name [MQTT-3.1.2-1]', version: undefined, bytes: frame('10', text('mqtt'), '04 02 003c', text('c')), ...unsupported },
  { name: 'protocol level 6 [MQTT-3.1.2-2]', version: undefined, bytes: frame('10', text('MQTT'), '06 02 003c', text('c')), ...unsupported },
  { name: 'MQTT with the level of MQIsdp', version: undefined, bytes: frame('10', text('MQTT'), '03 02 003c', text('c')), ...unsupported },
  { name: 'MQIsdp with the level of MQTT', version: undefined, bytes: frame('10', text('MQIsdp'), '04 02 003c', text('c')), ...unsupported },
  { name: 'the reserved Connect Flag [MQTT-3.1.2-3]', version: undefined, bytes: frame('10', mqtt4, '03 003c', text('c')), ...malformed },
  { name: 'Will QoS without Will Flag [MQTT-3.1.2-11]', version: undefined, bytes: frame('10', mqtt4, '0a 003c', text('c')), ...malformed },
  { name: 'Will QoS 3 [MQTT-3.1.2-12]', version: undefined, bytes: frame('10', mqtt4, '1e 003c', text('c'), text('w'), text('m')), ...malformed },
  { name: 'Will Retain without Will Flag [MQTT-3.1.2-13]', version: undefined, bytes: frame('10', mqtt4, '22 003c', text('c')), ...malformed },
  { name: 'a password without User Name in 3.1.1 [MQTT-3.1.2-22]', version: undefined, bytes: frame('10', mqtt4, '42 003c', text('c'), text('p')), ...malformed },
  { name: 'a User Name that the flags announce is missing in 3.1.1', version: undefined, bytes: frame('10', mqtt4, '82 003c', text('c')), ...malformed },
  { name: 'CONNECT without Client Identifier', version: undefined, bytes: frame('10', mqtt4, '02 003c'), ...malformed },
  { name: 'CONNECT with bytes left over', version: undefined, bytes: frame('10', mqtt4, '02 003c', text('c'), '00'), ...malformed },
  { name: 'a Client Identifier with U+0000 [MQTT-1.5.4-2]', version: undefined, bytes: frame('10', mqtt4, '02 003c', text('\0')), ...malformed },
  { name: 'a User Name that is no UTF-8 [MQTT-1.5.4-1]', version: undefined, bytes: frame('10', mqtt4, '82 003c', text('c'), '0001 ff'), ...malformed },
  { name: 'a Will Property among those of CONNECT', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('18 00000001'), text('c')), ...malformed },
  { name: 'a property of CONNECT among those of the Will', version: undefined, bytes: frame('10', mqtt5, '06 003c 00', text('c'), list('21 0001'), text('w'), text('m')), ...malformed },
  { name: 'Receive Maximum 0 (section 3.1.2.11.3)', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('21 0000'), text('c')), ...protocolError },
  { name: 'Maximum Packet Size 0 (section 3.1.2.11.4)', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('27 00000000'), text('c')), ...protocolError },
  { name: 'Request Problem Information 2 (section 3.1.2.11.7)', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('17 02'), text('c')), ...protocolError },
  { name: 'Session Expiry Interval twice (section 3.1.2.11.2)', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('11 00000001 11 00000001'), text('c')), ...protocolError },
  { name: 'Authentication Data without Method (section 3.1.2.11.10)', version: undefined, bytes: frame('10', mqtt5, '02 003c', list('16', text('d')), text('c')), ...protocolError },
]

const badPublishes: readonly BadCase[] = [
  { name: 'QoS 3 [MQTT-3.3.1-4]', version: 4, bytes: Buffer.from('36', 'hex'), ...malformed },
  { name: 'DUP with QoS 0 [MQTT-3.3.1-2]', version: 4, bytes: Buffer.from('38', 'hex'), ...malformed },
  { name: 'a PUBLISH without Packet Identifier', version: 4, bytes: frame('32', text('a'), '00'), ...malformed },
  { name: 'Packet Identifier 0 in PUBLISH [MQTT-2.2.1-3]', version: 4, bytes: frame('32', text('a'), '0000'), ...malformed },
  { name: 'a Topic Name over the end', version: 4, bytes: frame('30', '0003 6161'), ...malformed },
  { name: 'a Topic Name cut in its length', version: 4, bytes: frame('30', '00'), ...malformed },
  { name: 'a surrogate in a Topic Name [MQTT-1.5.4-1]', version: 4, bytes: frame('30', '0003 eda080'), ...malformed },
  { name: 'an overlong form in a Topic Name [MQTT-1.5.4-1]', version: 4, bytes: frame('30', '0002 c0af'), ...malformed },
  { name: 'U+0000 in a Topic Name [MQTT-1.5.4-2]', version: 4, bytes: frame('30', '0001 00'), ...malformed },
  { name: 'no Topic Name [MQTT-4.7.3-1]', version: 4, bytes: frame('30', '0000', hi), ...protocolError },
  { name: 'neither Topic Name nor Topic Alias (section 3.3.2.1)', version: 5, bytes: frame('30', '0000 00', hi), ...protocolError },
  { name: 'Topic Alias 0 [MQTT-3.3.2-8]', version: 5, bytes: frame('30', text('a'), list('23 0000')), ...aliasInvalid },
  { name: 'Topic Alias twice (section 3.3.2.3.4)', version: 5, bytes: frame('30', text('a'), list('23 0001 23 0001')), ...protocolError },
  { name: 'Subscription Identifier 0 (section 3.3.2.3.8)', version: 5, bytes: frame('30', text('a'), list('0b 00')), ...protocolError },
  { name: 'Payload Format Indicator 2', version: 5, bytes: frame('30', text('a'), list('01 02')), ...protocolError },
  { name: 'a PUBLISH 5.0 without Property Length', version: 5, bytes: frame('30', text('a')), ...malformed },
  { name: 'a Property Length over the end', version: 5, bytes: frame('30', text('a'), '03 0101'), ...malformed },
  { name: 'a property over the Property Length', version: 5, bytes: frame('30', text('a'), '03 02 00000001'), ...malformed },
  { name: 'an unknown property (section 2.2.2.2)', version: 5, bytes: frame('30', text('a'), list('04 01')), ...malformed },
  { name: 'a property identifier over one byte (section 2.2.2.2)', version: 5, bytes: frame('30', text('a'), list('8101 01')), ...malformed },
  { name: 'a property of another packet (section 2.2.2.2)', version: 5, bytes: frame('30', text('a'), list('21 0001')), ...malformed },
  { name: 'U+0000 in a User Property [MQTT-1.5.4-2]', version: 5, bytes: frame('30', text('a'), list('26', text('k'), text('\0'))), ...malformed },
  { name: 'a Property Length longer than it has to be [MQTT-1.5.5-1]', version: 5, bytes: frame('30', text('a'), '8000'), ...malformed },
  { name: 'a Remaining Length longer than it has to be [MQTT-1.5.5-1]', version: 4, bytes: Buffer.from('c08000', 'hex'), ...malformed },
  { name: 'a Remaining Length of five bytes (section 1.5.5)', version: 4, bytes: Buffer.from('3080808080', 'hex'), ...malformed },
]

const badOthers: readonly BadCase[] = [
  { name: 'packet type 0 (section 2.1.2)', version: 5, bytes: Buffer.from('00', 'hex'), ...malformed },
  { name: 'AUTH before MQTT 5.0', version: 4, bytes: Buffer.from('f0', 'hex'), ...malformed },
  { name: 'PUBREL with flags 0000 [MQTT-3.6.1-1]', version: 4, bytes: Buffer.from('60', 'hex'), ...malformed },
  { name: 'PUBREL with DUP after MQTT 3.1 [MQTT-3.6.1-1]', version: 4, bytes: Buffer.from('6a', 'hex'), ...malformed },
  { name: 'SUBSCRIBE with flags 0000 [MQTT-3.8.1-1]', version: 5, bytes: Buffer.from('80', 'hex'), ...malformed },
  { name: 'UNSUBSCRIBE with flags 0011 [MQTT-3.10.1-1]', version: 5, bytes: Buffer.from('a3', 'hex'), ...malformed },
  { name: 'PINGREQ with flags [MQTT-2.1.3-1]', version: 3, bytes: Buffer.from('ca', 'hex'), ...malformed },
  { name: 'PUBACK with Packet Identifier 0 [MQTT-2.2.1-3]', version: 4, bytes: frame('40', '0000'), ...malformed },
  { name: 'PUBACK of one byte', version: 5, bytes: frame('40', '01'), ...malformed },
  { name: 'PUBACK 3.1.1 of three bytes', version: 4, bytes: frame('40', '0001 00'), ...malformed },
  { name: 'PUBACK with a Reason Code of PUBREL', version: 5, bytes: frame('40', '0001 92'), ...malformed },
  { name: 'PUBACK with bytes left over', version: 5, bytes: frame('40', '0001 00 00 00'), ...malformed },
  { name: 'Reason String twice (section 3.4.2.2.2)', version: 5, bytes: frame('40', '0001 00', list('1f', text('a'), '1f', text('b'))), ...protocolError },
  { name: 'SUBSCRIBE without a Topic Filter [MQTT-3.8.3-2]', version: 4, bytes: frame('82', '0001'), ...protocolError },
  { name: 'SUBSCRIBE with Packet Identifier 0 [MQTT-2.2.1-3]', version: 4, bytes: frame('82', '0000', text('a'), '00'), ...malformed },
  { name: 'SUBSCRIBE without options', version: 4, bytes: frame('82', '0001', text('a')), ...malformed },
  { name: 'a reserved Subscription Option of 5.0 [MQTT-3.8.3-5]', version: 5, bytes: frame('82', '0001 00', text('a'), '40'), ...malformed },
  { name: 'an option of 5.0 in 3.1.1 [MQTT-3.8.3-5]', version: 4, bytes: frame('82', '0001', text('a'), '04'), ...malformed },
  { name: 'Maximum QoS 3 (section 3.8.3.1)', version: 5, bytes: frame('82', '0001 00', text('a'), '03'), ...protocolError },
  { name: 'Retain Handling 3 (section 3.8.3.1)', version: 5, bytes: frame('82', '0001 00', text('a'), '30'), ...protocolError },
  { name: 'two Subscription Identifiers in SUBSCRIBE (section 3.8.2.1.2)', version: 5, bytes: frame('82', '0001', list('0b 01 0b 02'), text('a'), '00'), ...protocolError },
  { name: 'UNSUBSCRIBE without a Topic Filter [MQTT-3.10.3-2]', version: 5, bytes: frame('a2', '0001 00'), ...protocolError },
  { name: 'a Topic Filter that is no UTF-8 [MQTT-1.5.4-1]', version: 4, bytes: frame('a2', '0001 0001 ff'), ...malformed },
  { name: 'PINGREQ with a body', version: 4, bytes: frame('c0', '00'), ...malformed },
  { name: 'DISCONNECT 3.1.1 with a body', version: 4, bytes: frame('e0', '00'), ...malformed },
  { name: 'DISCONNECT with a Reason Code of CONNACK', version: 5, bytes: frame('e0', '85'), ...malformed },
  { name: 'DISCONNECT with bytes left over', version: 5, bytes: frame('e0', '00 00 00'), ...malformed },
  { name: 'AUTH of one byte', version: 5, bytes: frame('f0', '18'), ...malformed },
  { name: 'AUTH with an unknown Reason Code', version: 5, bytes: frame('f0', '1a 00'), ...malformed },
  { name: 'AUTH with data and no method', version: 5, bytes: frame('f0', '18', list('16', text('d'))), ...protocolError },
  { name: 'CONNACK with reserved flags [MQTT-3.2.2-1]', version: 4, bytes: frame('20', '02 00'), ...malformed },
  { name: 'CONNACK with Session Present in a refusal [MQTT-3.2.2-6]', version: 5, bytes: frame('20', '01 87 00'), ...protocolError },
  { name: 'CONNACK 3.1.1 with return code 6', version: 4, bytes: frame('20', '00 06'), ...malformed },
  { name: 'Maximum QoS 2 in CONNACK (section 3.2.2.3.4)', version: 5, bytes: frame('20', '00 00', list('24 02')), ...protocolError },
  { name: 'SUBACK 3.1.1 with a Reason Code of 5.0 [MQTT-3.9.3-2]', version: 4, bytes: frame('90', '0001 87'), ...malformed },
  { name: 'SUBACK without a Reason Code', version: 4, bytes: frame('90', '0001'), ...protocolError },
  { name: 'UNSUBACK 3.1.1 with a payload', version: 4, bytes: frame('b0', '0001 00'), ...malformed },
  { name: 'UNSUBACK 5.0 without a Reason Code', version: 5, bytes: frame('b0', '0001 00'), ...protocolError },
]

/** Bytes that are no packet, with what the decoder must say of them. */
export const badCases: readonly BadCase[] = [...badConnects, ...badPublishes, ...badOthers]

// Values that are legal; which packet may have which, independent of the table in lib/.
const onePropertyHex: readonly (readonly [identifier: number, hex: string, places: readonly (PacketType | 0)[], name: keyof Properties])[] = [
  [0x01, '01', [3, 0], 'payloadFormatIndicator'], [0x02, '00000001', [3, 0], 'messageExpiryInterval'], [0x03, text('x'), [3, 0], 'contentType'],
  [0x08, text('x'), [3, 0], 'responseTopic'], [0x09, text('x'), [3, 0], 'correlationData'], [0x0b, '01', [3, 8], 'subscriptionIdentifiers'],
  [0x11, '00000001', [1, 2, 14], 'sessionExpiryInterval'], [0x12, text('x'), [2], 'assignedClientIdentifier'], [0x13, '0001', [2], 'serverKeepAlive'],
  [0x15, text('x'), [1, 2, 15], 'authenticationMethod'], [0x17, '01', [1], 'requestProblemInformation'], [0x18, '00000001', [0], 'willDelayInterval'],
  [0x19, '01', [1], 'requestResponseInformation'], [0x1a, text('x'), [2], 'responseInformation'], [0x1c, text('x'), [2, 14], 'serverReference'],
  [0x1f, text('x'), [2, 4, 5, 6, 7, 9, 11, 14, 15], 'reasonString'], [0x21, '0001', [1, 2], 'receiveMaximum'], [0x22, '0001', [1, 2], 'topicAliasMaximum'],
  [0x23, '0001', [3], 'topicAlias'], [0x24, '01', [2], 'maximumQos'], [0x25, '01', [2], 'retainAvailable'],
  [0x26, pair, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 14, 15, 0], 'userProperties'], [0x27, '00000001', [1, 2], 'maximumPacketSize'],
  [0x28, '01', [2], 'wildcardSubscriptionAvailable'], [0x29, '01', [2], 'subscriptionIdentifierAvailable'], [0x2a, '01', [2], 'sharedSubscriptionAvailable'],
]

/** The frame that carries a list of properties, for each place that has one; 0 is the Will. */
const carriers: ReadonlyMap<PacketType | 0, (properties: string) => Buffer> = new Map<PacketType | 0, (properties: string) => Buffer>([
  [0, p => frame('10', mqtt5, '06 003c 00', text('c'), p, text('w'), text('m'))],
  [1, p => frame('10', mqtt5, '02 003c', p, text('c'))],
  [2, p => frame('20', '00 00', p)],
  [3, p => frame('30', text('a'), p)],
  [4, p => frame('40', '0001 00', p)],
  [5, p => frame('50', '0001 00', p)],
  [6, p => frame('62', '0001 00', p)],
  [7, p => frame('70', '0001 00', p)],
  [8, p => frame('82', '0001', p, text('a'), '00')],
  [9, p => frame('90', '0001', p, '00')],
  [10, p => frame('a2', '0001', p, text('a'))],
  [11, p => frame('b0', '0001', p, '00')],
  [14, p => frame('e0', '00', p)],
  [15, p => frame('f0', '00', p)],
])

/** One property in one packet, allowed there or not (table 2-4 of section 2.2.2.2). */
export interface PropertyCase { readonly name: keyof Properties, readonly place: PacketType | 0, readonly allowed: boolean, readonly once: Buffer, readonly twice: Buffer }

/** Every property in every packet that has properties. */
export const propertyCases: readonly PropertyCase[] = onePropertyHex.flatMap(([identifier, hex, places, name]) =>
  [...carriers].map(([place, carry]) => {
    const property = identifier.toString(16).padStart(2, '0') + hex
    return { name, place, allowed: places.includes(place), once: carry(list(property)), twice: carry(list(property, property)) }
  }))
