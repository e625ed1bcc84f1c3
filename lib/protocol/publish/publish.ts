import { ErrorCode, MqttError, protocolError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { isUtf8 } from '../../base/utf8.ts'
import { Message } from '../../contract/message.ts'
import { isReasonCodeOf } from '../../packet/packet-reason-codes.ts'
import { PacketType, QoS, type Properties, type PublishPacket } from '../../packet/packets.ts'
import type { PendingMessage } from '../../store/pending-message.ts'
import { isReserved } from '../../topic/topic-name.ts'
import { emptyTopic, type Topic } from '../../topic/topic.ts'
import type { Client } from '../client/client.ts'
import { checkedTopic, checkResponseTopic, expiresAt, publishMessage, type Published } from './publish-message.ts'
import { acknowledge, PublishReceipt, repeatPubrec } from './publish-receipt.ts'
import { PublishRate } from '../client/publish-rate.ts'
import { InboundTopicAliases } from '../client/topic-alias.ts'

/** PUBLISH (section 3.3). Acknowledges after the message was routed, never before. */
export function handlePublish (client: Client, packet: PublishPacket): Promise<void> | undefined {
  const { services } = client
  services.metrics.messagesReceived++
  const topic = topicOf(client, packet)
  if (packet.qos === QoS.exactlyOnce && !isNew(client, packet.packetIdentifier)) return undefined
  if (packet.properties !== undefined) checkProperties(packet.properties)
  const hold = services.pressure.hold() ?? rateOf(client)?.hold() ?? (packet.qos === QoS.atMostOnce ? undefined : services.cluster?.hold(topic))
  return hold === undefined ? whenStorable(client, packet, topic) : goOnAfter(hold, client, packet, topic)
}

/** What would be too much for the store to take in is held back, again if others were faster. Who publishes to those who are here, and connected, needs no store. */
function whenStorable (client: Client, packet: PublishPacket, topic: Topic): Promise<void> | undefined {
  const isToStore = packet.retain || (packet.qos !== QoS.atMostOnce && client.needsStore)
  const hold = isToStore ? client.services.journal?.hold() : undefined
  return hold === undefined ? publish(client, packet, topic) : goOnAfter(hold, client, packet, topic)
}

// By itself: what a closure takes with it may be allocated by its function even when it is not made.
function goOnAfter (hold: Promise<void>, client: Client, packet: PublishPacket, topic: Topic): Promise<void> {
  return hold.then(() => whenStorable(client, packet, topic))
}

function rateOf (client: Client): PublishRate | undefined {
  const { limits: { publishRate }, clock } = client.services
  return publishRate === 0 ? undefined : client.publishRate ??= new PublishRate(clock, publishRate)
}

function publish (client: Client, packet: PublishPacket, topic: Topic): Promise<void> | undefined {
  if (client.phase === 'closed' && comesAgain(client, packet)) return undefined
  const refusal = refusalOf(packet, topic)
  if (refusal !== undefined) {
    refuse(client, packet, refusal)
    return undefined
  }
  const result = publishMessage(client.services, messageOf(client, packet, topic), client)
  if (result instanceof Promise) return result.then(late => { settle(client, packet, late) })
  settle(client, packet, result)
  return undefined
}

/** Of what was held back until its Client had gone: of QoS 2 always; of QoS 1 where the Session has gone to another node, which may have heard of something newer by now. */
function comesAgain ({ services: { cluster, sessions }, clientIdentifier, session }: Client, { qos }: PublishPacket): boolean {
  return qos === QoS.exactlyOnce || (qos === QoS.atLeastOnce && cluster !== undefined && sessions.get(clientIdentifier) !== session)
}

/** The Topic Alias comes before everything that looks at the topic, authorization above all. */
function topicOf (client: Client, packet: PublishPacket): Topic {
  const alias = packet.properties?.topicAlias
  if (alias === undefined) {
    if (packet.topic === emptyTopic) throw protocolError('a PUBLISH has neither Topic Name nor Topic Alias [MQTT-4.7.3-1]')
    return checkedTopic(client.services, packet.topic)
  }
  if (packet.topic !== emptyTopic) checkedTopic(client.services, packet.topic)
  client.topicAliases ??= new InboundTopicAliases(client.services.limits.topicAliasMaximum)
  return client.topicAliases.resolve(alias, packet.topic)
}

/** A QoS 2 message whose Packet Identifier is in use was routed already: only PUBREC is repeated [MQTT-4.3.3-10]. */
function isNew (client: Client, packetIdentifier: number): boolean {
  const { inbox } = client.ownSession
  if (inbox.has(packetIdentifier)) {
    repeatPubrec(client, packetIdentifier)
    return false
  }
  if (client.protocolVersion === 5 && inbox.size >= client.services.limits.receiveMaximum) {
    throw new MqttError(ErrorCode.receiveMaximumExceeded, ReasonCode.receiveMaximumExceeded,
      `more than ${client.services.limits.receiveMaximum} QoS 2 messages wait for their PUBREL [MQTT-3.3.4-7]`)
  }
  return true
}

function checkProperties (properties: Properties): void {
  if (properties.subscriptionIdentifiers !== undefined) throw protocolError('a Client sent a Subscription Identifier [MQTT-3.3.4-6]')
  checkResponseTopic(properties.responseTopic)
}

/** What is well formed, and still not taken. */
function refusalOf (packet: PublishPacket, topic: Topic): ReasonCode | undefined {
  if (isReserved(topic.name)) return ReasonCode.notAuthorized
  if (packet.properties?.payloadFormatIndicator === 1 && !isUtf8(packet.payload)) return ReasonCode.payloadFormatInvalid
  return undefined
}

function messageOf (client: Client, packet: PublishPacket, topic: Topic): Message {
  const expiry = packet.properties?.messageExpiryInterval
  return new Message(packet, topic, client.clientIdentifier, expiry === undefined ? Infinity : expiresAt(client.services, expiry))
}

function settle (client: Client, packet: PublishPacket, result: Published): void {
  if (packet.qos === QoS.atMostOnce) return
  client.needsStore = typeof result !== 'number'
  if (typeof result !== 'number') acceptOnceStored(client, packet, result)
  else if (result >= ReasonCode.unspecifiedError) refuse(client, packet, result)
  else accept(client, packet, result)
}

function accept (client: Client, { qos, packetIdentifier }: PublishPacket, result: ReasonCode): void {
  if (qos === QoS.atLeastOnce) {
    acknowledge(client, PacketType.puback, packetIdentifier, result)
    return
  }
  const { inbox } = client.ownSession
  inbox.add(packetIdentifier)
  if (inbox.isStored) client.services.journal?.wait(new PublishReceipt(client, qos, packetIdentifier, result))
  else acknowledge(client, PacketType.pubrec, packetIdentifier, result)
}

/** The message goes to Sessions that are stored: its acknowledgement is the promise that they get it. */
function acceptOnceStored (client: Client, { qos, packetIdentifier }: PublishPacket, pending: PendingMessage): void {
  const receipt = new PublishReceipt(client, qos, packetIdentifier, pending.reasonCode)
  const { inbox } = client.ownSession
  if (qos === QoS.exactlyOnce) {
    inbox.add(packetIdentifier)
    inbox.expect(packetIdentifier)
  }
  if (qos === QoS.exactlyOnce && inbox.isStored) client.services.journal?.wait(receipt)
  else pending.tell(receipt)
}

function refuse (client: Client, packet: PublishPacket, reasonCode: ReasonCode): void {
  if (client.protocolVersion < 5) refuseSilently(client, packet, reasonCode)
  else if (packet.qos !== QoS.atMostOnce) {
    const type = packet.qos === QoS.atLeastOnce ? PacketType.puback : PacketType.pubrec
    const told = isReasonCodeOf(type, reasonCode) ? reasonCode : ReasonCode.notAuthorized // [MQTT-3.4.2-1] [MQTT-3.5.2-1]
    client.sink.send({ type, packetIdentifier: packet.packetIdentifier, reasonCode: told, properties: undefined })
  }
}

/** MQTT 3.x has no word for "no": acknowledge as if all were well, or close [MQTT-3.3.5-2 in 3.1.1]. */
function refuseSilently (client: Client, packet: PublishPacket, reasonCode: ReasonCode): void {
  const { deniedPublish } = client.services
  if (deniedPublish === 'close') throw new MqttError(ErrorCode.notAuthorized, reasonCode, 'the message was refused (deniedPublish)')
  if (deniedPublish === 'acknowledge' && packet.qos !== QoS.atMostOnce) accept(client, packet, ReasonCode.success)
}
