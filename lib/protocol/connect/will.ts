import { ErrorCode } from '../../base/errors.ts'
import { ReasonCode } from '../../base/reason-codes.ts'
import { isUtf8 } from '../../base/utf8.ts'
import { Message, Origin } from '../../contract/message.ts'
import type { ConnectPacket } from '../../packet/packets.ts'
import type { Session, Will } from '../../session/session.ts'
import { willRecordOf } from '../../session/session-record.ts'
import { isReserved } from '../../topic/topic-name.ts'
import type { BrokerServices } from '../client/broker-services.ts'
import type { Client } from '../client/client.ts'
import { ConnectRefused } from '../client/failure.ts'
import { expiresAt, publishMessage } from '../publish/publish-message.ts'

/**
 * A Will Message goes through the same gate as a PUBLISH, first at CONNECT.
 * @throws ConnectRefused when the Client may not publish it
 */
export async function authorizeWill (client: Client, packet: ConnectPacket): Promise<void> {
  const will = willOf(client, packet)
  if (will === undefined) return
  const { message } = will
  const reasonCode = await verdict(client, message)
  if (reasonCode !== ReasonCode.success) throw new ConnectRefused(ErrorCode.notAuthorized, reasonCode, 'the Client may not publish its Will Message')
}

async function verdict (client: Client, message: Message): Promise<ReasonCode> {
  if (isReserved(message.topicName)) return ReasonCode.notAuthorized
  if (message.properties?.payloadFormatIndicator === 1 && !isUtf8(message.payload)) return ReasonCode.payloadFormatInvalid
  const { hooks } = client.services
  return hooks.authorizePublish({ client, topicName: message.topicName, message, isWill: true })
}

/** The Will Message of a CONNECT; its expiry starts when it is published (section 3.1.3.2.4). */
export function willOf (client: Client, { will }: ConnectPacket): Will | undefined {
  if (will === undefined) return undefined
  const { properties } = will
  const message = new Message(will, client.services.topics.named(will.topicName), client.clientIdentifier).keep()
  return { message, delayInterval: properties?.willDelayInterval ?? 0, messageExpiryInterval: properties?.messageExpiryInterval }
}

/** Publishes a Will Message that is due, if its Client may still do so. */
export function publishWill (services: BrokerServices, session: Session, will: Will): void {
  const message = will.message.with({}, will.message.topic, expiresAt(services, will.messageExpiryInterval))
  message.origin = Origin.will
  const failed = (error: unknown): void => { services.logger.error({ err: error, topicName: message.topicName }, 'a Will Message could not be published') }
  try {
    const result = publishMessage(services, message, { client: session.client, session: services.sessions.get(session.clientIdentifier), isWill: true })
    if (result instanceof Promise) keepUntil(result.catch(failed), services, session, will)
  } catch (error) {
    failed(error) // there is no connection any more that it could end
  }
}

/** What waits for a hook is written down by itself: its Session, which has forgotten it, may end, go to another node, or get another Will Message meanwhile. */
function keepUntil (decided: Promise<unknown>, { journal, cluster }: BrokerServices, { clientIdentifier }: Session, will: Will): void {
  if (journal === undefined) return
  const session = journal.newSession()
  const reference = { clientIdentifier: `\0${session}`, session } // to the cluster it is that of a Client that cannot be [MQTT-1.5.4-2]
  cluster?.outbound.begin(reference)
  journal.saveSession(session, { clientIdentifier, sessionExpiryInterval: 0, isConnected: false, will: willRecordOf(will), hasEnded: true })
  void decided.then(() => {
    cluster?.outbound.release(reference)
    journal.saveSession(session, undefined)
  })
}
