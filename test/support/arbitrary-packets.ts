import fc from 'fast-check'
import type { Arbitrary } from 'fast-check'
import type { Packet, Properties, ProtocolVersion, QoS, RetainHandling, UserProperty, WillFields } from '../../lib/packet/packets.ts'
import { ReasonCode } from '../../lib/base/reason-codes.ts'
import { isReasonCodeOf } from '../../lib/packet/packet-reason-codes.ts'
import { emptyTopic, Topic } from '../../lib/topic/topic.ts'

/** A packet and the version in which it says just that. */
export interface VersionedPacket { readonly version: ProtocolVersion, readonly packet: Packet }

const name = fc.string({ unit: 'binary', maxLength: 20 }).filter(value => !value.includes('\0'))
const someName = name.filter(value => value !== '')
const bytes = fc.uint8Array({ maxLength: 300 }).map(value => Buffer.from(value))
const bit = fc.constantFrom(0 as const, 1 as const)
const uint16 = fc.nat(0xffff)
const uint32 = fc.nat(0xffffffff)
const positive16 = fc.integer({ min: 1, max: 0xffff })
const qos = fc.constantFrom<QoS>(0, 1, 2)
const variable = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 268_435_455 }))
const pairs: Arbitrary<readonly UserProperty[]> = fc.array(fc.tuple(name, name), { minLength: 1, maxLength: 5 })

function record<T> (model: { [Key in keyof T]: Arbitrary<T[Key]> }): Arbitrary<T> {
  return fc.record(model, { noNullPrototype: true })
}

/** An object that has some of these keys, or undefined: `properties` is never an empty object. */
function some (model: { [Key in keyof Properties]?: Arbitrary<Exclude<Properties[Key], undefined>> }): Arbitrary<Properties | undefined> {
  return fc.record(model, { requiredKeys: [], noNullPrototype: true }).map((properties: Properties) => {
    if (properties.authenticationMethod === undefined) delete properties.authenticationData
    return Object.keys(properties).length === 0 ? undefined : properties
  })
}

const common = { userProperties: pairs }
const result = { ...common, reasonString: name }
const authentication = { authenticationMethod: name, authenticationData: bytes }
const message = { ...common, payloadFormatIndicator: bit, messageExpiryInterval: uint32, contentType: name, responseTopic: name, correlationData: bytes }
const negotiated = { sessionExpiryInterval: uint32, receiveMaximum: positive16, topicAliasMaximum: uint16, maximumPacketSize: fc.integer({ min: 1, max: 0xffffffff }) }

const connectProperties = some({ ...common, ...authentication, ...negotiated, requestProblemInformation: bit, requestResponseInformation: bit })
const connackProperties = some({
  ...result, ...authentication, ...negotiated, assignedClientIdentifier: name, serverKeepAlive: uint16, responseInformation: name, serverReference: name,
  maximumQos: bit, retainAvailable: bit, wildcardSubscriptionAvailable: bit, subscriptionIdentifierAvailable: bit, sharedSubscriptionAvailable: bit,
})
const willProperties = some({ ...message, willDelayInterval: uint32 })
const publishProperties = some({ ...message, topicAlias: positive16, subscriptionIdentifiers: fc.array(variable, { minLength: 1, maxLength: 3 }) })
const subscribeProperties = some({ ...common, subscriptionIdentifiers: variable.map(value => [value]) })
const disconnectProperties = some({ ...result, sessionExpiryInterval: uint32, serverReference: name })
const authProperties = some({ ...result, ...authentication })

function in5<T> (version: ProtocolVersion, value: Arbitrary<T | undefined>): Arbitrary<T | undefined> {
  return version === 5 ? value : fc.constant(undefined)
}

function reasonCode (type: Packet['type']): Arbitrary<ReasonCode> {
  return fc.constantFrom(...Object.values(ReasonCode).filter(code => isReasonCodeOf(type, code)))
}

function optional<T> (value: Arbitrary<T>): Arbitrary<T | undefined> {
  return fc.option(value, { nil: undefined })
}

function connect (version: ProtocolVersion): Arbitrary<Packet> {
  const will: Arbitrary<WillFields> = record({ topicName: someName, payload: bytes, qos, retain: fc.boolean(), properties: in5(version, willProperties) })
  return record({
    type: fc.constant(1 as const), protocolVersion: fc.constant(version), cleanStart: fc.boolean(), keepAlive: uint16, clientIdentifier: name,
    will: optional(will), username: optional(name), password: optional(bytes), properties: in5(version, connectProperties),
  }).map(packet => version !== 5 && packet.username === undefined ? { ...packet, password: undefined } : packet)
}

const returnCodes = [ReasonCode.success, ReasonCode.unsupportedProtocolVersion, ReasonCode.clientIdentifierNotValid, ReasonCode.serverUnavailable, ReasonCode.badUserNameOrPassword, ReasonCode.notAuthorized]

function connack (version: ProtocolVersion): Arbitrary<Packet> {
  return record({
    type: fc.constant(2 as const), sessionPresent: version === 3 ? fc.constant(false) : fc.boolean(),
    reasonCode: version === 5 ? reasonCode(2) : fc.constantFrom(...returnCodes), properties: in5(version, connackProperties),
  }).map(packet => ({ ...packet, sessionPresent: packet.sessionPresent && packet.reasonCode === 0 }))
}

function publish (version: ProtocolVersion): Arbitrary<Packet> {
  return record({
    type: fc.constant(3 as const), dup: fc.boolean(), qos, retain: fc.boolean(), topic: someName.map(value => new Topic(value)),
    packetIdentifier: positive16, properties: in5(version, publishProperties), payload: fc.oneof(bytes, fc.nat(20_000).map(length => Buffer.alloc(length, 1))),
  }).map(packet => {
    const topic = packet.properties?.topicAlias !== undefined && packet.retain ? emptyTopic : packet.topic
    return packet.qos === 0 ? { ...packet, topic, dup: false, packetIdentifier: 0 } : { ...packet, topic }
  })
}

function acknowledge (version: ProtocolVersion): Arbitrary<Packet> {
  return fc.constantFrom(4 as const, 5 as const, 6 as const, 7 as const).chain(type => record({
    type: fc.constant(type), packetIdentifier: positive16, reasonCode: version === 5 ? reasonCode(type) : fc.constant(0 as const), properties: in5(version, some(result)),
  }))
}

function subscribe (version: ProtocolVersion): Arbitrary<Packet> {
  const flag = version === 5 ? fc.boolean() : fc.constant(false)
  const retainHandling = version === 5 ? fc.constantFrom<RetainHandling>(0, 1, 2) : fc.constant<RetainHandling>(0)
  const subscription = record({ topicFilter: name, qos, noLocal: flag, retainAsPublished: flag, retainHandling })
  return record({
    type: fc.constant(8 as const), packetIdentifier: positive16, subscriptions: fc.array(subscription, { minLength: 1, maxLength: 5 }), properties: in5(version, subscribeProperties),
  })
}

function suback (version: ProtocolVersion): Arbitrary<Packet> {
  const code = version === 5 ? reasonCode(9) : fc.constantFrom<ReasonCode>(0, 1, 2, 0x80)
  return record({
    type: fc.constant(9 as const), packetIdentifier: positive16, reasonCodes: fc.array(code, { minLength: 1, maxLength: 5 }), properties: in5(version, some(result)),
  })
}

function unsubscribe (version: ProtocolVersion): Arbitrary<Packet> {
  return record({
    type: fc.constant(10 as const), packetIdentifier: positive16, topicFilters: fc.array(name, { minLength: 1, maxLength: 5 }), properties: in5(version, some(common)),
  })
}

function unsuback (version: ProtocolVersion): Arbitrary<Packet> {
  const reasonCodes = version === 5 ? fc.array(reasonCode(11), { minLength: 1, maxLength: 5 }) : fc.constant([])
  return record({ type: fc.constant(11 as const), packetIdentifier: positive16, reasonCodes, properties: in5(version, some(result)) })
}

function disconnect (version: ProtocolVersion): Arbitrary<Packet> {
  const code = version === 5 ? reasonCode(14) : fc.constant(0 as const)
  return record({ type: fc.constant(14 as const), reasonCode: code, properties: in5(version, disconnectProperties) })
}

const auth: Arbitrary<Packet> = record({ type: fc.constant(15 as const), reasonCode: reasonCode(15), properties: authProperties })

/** Any packet that a Client or a Server of that version may send. */
export function arbitraryPacket (version: ProtocolVersion): Arbitrary<Packet> {
  const ping: Arbitrary<Packet> = fc.constantFrom({ type: 12 } as const, { type: 13 } as const)
  const kinds = [connect, connack, publish, acknowledge, subscribe, suback, unsubscribe, unsuback, disconnect].map(kind => kind(version))
  return fc.oneof(...kinds, ping, ...version === 5 ? [auth] : [])
}

/** Any packet of any version. */
export const versionedPacket: Arbitrary<VersionedPacket> = fc.constantFrom<ProtocolVersion>(3, 4, 5)
  .chain(version => arbitraryPacket(version).map(packet => ({ version, packet })))
