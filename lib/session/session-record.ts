import { Message } from '../contract/message.ts'
import type { SessionRecord, WillRecord } from '../contract/store.ts'
import type { MessageProperties } from '../packet/packets.ts'
import type { TopicTable } from '../topic/topic.ts'
import { type Session, type Will } from './session.ts'

/** What is written of a Session. */
export function sessionRecordOf ({ clientIdentifier, sessionExpiryInterval, isConnected, expiresAt, will, willDueAt }: Session): SessionRecord {
  return {
    clientIdentifier, sessionExpiryInterval, isConnected,
    ...(expiresAt !== undefined && { expiresAt }),
    ...(will !== undefined && { will: willRecordOf(will) }),
    ...(willDueAt !== undefined && { willDueAt }),
  }
}

/** What is written of a Will Message. */
export function willRecordOf ({ message, delayInterval, messageExpiryInterval }: Will): WillRecord {
  const { topicName, qos, retain, payload } = message
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = message.properties ?? {}
  return {
    topicName, qos, retain, payload: payload.toString('base64'), delayInterval,
    ...(messageExpiryInterval !== undefined && { messageExpiryInterval }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: correlationData.toString('base64') }),
    ...(userProperties !== undefined && { userProperties }),
  }
}

/** The Will Message that a record describes. */
export function willOfRecord (record: WillRecord, clientIdentifier: string, topics: TopicTable): Will {
  const { topicName, qos, retain, payload, delayInterval, messageExpiryInterval } = record
  const content = { qos, retain, payload: Buffer.from(payload, 'base64'), properties: propertiesOf(record) }
  return { message: new Message(content, topics.named(topicName), clientIdentifier), delayInterval, messageExpiryInterval }
}

function propertiesOf (record: WillRecord): MessageProperties {
  const { messageExpiryInterval, payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = record
  return {
    ...(messageExpiryInterval !== undefined && { messageExpiryInterval }),
    ...(payloadFormatIndicator !== undefined && { payloadFormatIndicator }),
    ...(contentType !== undefined && { contentType }),
    ...(responseTopic !== undefined && { responseTopic }),
    ...(correlationData !== undefined && { correlationData: Buffer.from(correlationData, 'base64') }),
    ...(userProperties !== undefined && { userProperties }),
  }
}
