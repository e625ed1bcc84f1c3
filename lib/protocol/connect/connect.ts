import { randomUUID } from 'node:crypto'
import { ErrorCode, MqttError } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import type { Limits } from '../../base/limits.ts'
import type { ConnectPacket } from '../../packet/packets.ts'
import { largestPacket } from '../../packet/data/reader.ts'
import { topicNameFault } from '../../topic/topic-name.ts'
import { accept, admit, isToBeAsked } from './admit.ts'
import { authenticate } from './authenticate.ts'
import { beginExchange } from './auth.ts'
import { checkResponseTopic } from '../publish/publish-message.ts'
import type { Client } from '../client/client.ts'
import { ConnectRefused } from '../client/failure.ts'

/**
 * CONNECT (section 3.1): what the packet says by itself, then who it is, then all that follows from being let in.
 * @returns a promise where somebody has to be asked, or something stored
 */
export function handleConnect (client: Client, packet: ConnectPacket): Promise<void> | undefined {
  check(client, packet)
  const method = packet.properties?.authenticationMethod
  if (method !== undefined) return beginExchange(client, packet, method)
  if (isToBeAsked(client, packet)) return ask(client, packet)
  return accept(client, packet)
}

async function ask (client: Client, packet: ConnectPacket): Promise<void> {
  await admit(client, packet, await authenticate(client, packet))
}

function check (client: Client, packet: ConnectPacket): void {
  negotiate(client, packet)
  if (client.refusal !== undefined) throw client.refusal
  if (client.services.isClosing) throw new ConnectRefused(ErrorCode.serverShuttingDown, ReasonCode.serverUnavailable, 'the broker is shutting down')
  checkClientIdentifier(client, packet)
  checkWill(packet, client.services.limits)
}

/** From here on answers have the form that the Client understands. */
function negotiate (client: Client, { protocolVersion, properties, username }: ConnectPacket): void {
  const { limits } = client.services
  client.protocolVersion = protocolVersion
  client.username = username
  client.sink.negotiate({
    protocolVersion,
    maximumPacketSize: Math.min(properties?.maximumPacketSize ?? largestPacket, largestPacket),
    topicAliasMaximum: Math.min(properties?.topicAliasMaximum ?? 0, limits.maximumOutboundTopicAliases),
  })
}

function checkClientIdentifier (client: Client, { clientIdentifier, protocolVersion, cleanStart }: ConnectPacket): void {
  const maximum = protocolVersion === 3 ? 23 : client.services.limits.maximumClientIdentifierLength // 3.1 section 3.1
  if (Buffer.byteLength(clientIdentifier) > maximum) throw identifierNotValid(`the Client Identifier is longer than ${maximum} bytes`)
  if (clientIdentifier !== '') client.clientIdentifier = clientIdentifier
  else if (protocolVersion === 3) throw identifierNotValid('MQTT 3.1 wants a Client Identifier')
  else if (protocolVersion === 4 && !cleanStart) throw identifierNotValid('a Session that is kept wants a Client Identifier [MQTT-3.1.3-8]')
  else client.clientIdentifier = randomUUID() // [MQTT-3.1.3-6]
}

function checkWill ({ will }: ConnectPacket, limits: Limits): void {
  if (will === undefined) return
  const fault = topicNameFault(will.topicName, limits)
  if (fault !== undefined) throw new MqttError(ErrorCode.topicNameInvalid, ReasonCode.topicNameInvalid, `the Will Topic ${fault}`)
  checkResponseTopic(will.properties?.responseTopic)
}

function identifierNotValid (message: string): MqttError {
  return new MqttError(ErrorCode.clientIdentifierNotValid, ReasonCode.clientIdentifierNotValid, message)
}
