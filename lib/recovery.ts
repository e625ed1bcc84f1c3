import type { BrokerParts } from './assemble.ts'
import { MqttError } from './base/errors.ts'
import type { Message } from './contract/message.ts'
import type { StoredSession } from './contract/store.ts'
import type { Subscription } from './contract/subscription.ts'
import { Session } from './session/session.ts'
import { willOfRecord } from './session/session-record.ts'
import type { Journal } from './store/journal.ts'
import { parseTopicFilter } from './topic/topic-filter.ts'

/**
 * Builds the live structures of what the store has kept, one Session and one retained message at a time. What fell due meanwhile
 * is looked after by the first sweep.
 * @throws MqttError when the store cannot be opened or read
 */
export async function recover (parts: BrokerParts): Promise<void> {
  const { journal } = parts
  if (journal === undefined) return
  const aliveAt = await journal.open() ?? parts.clock.now()
  for await (const stored of journal.store.sessions()) restore(parts, journal, stored, aliveAt)
  for await (const message of journal.store.retained()) restoreRetained(parts, journal, message)
}

function restore (parts: BrokerParts, journal: Journal, { number, record, subscriptions, queue }: StoredSession, aliveAt: number): void {
  const session = new Session(record.clientIdentifier, parts)
  session.sessionExpiryInterval = record.sessionExpiryInterval
  if (record.will !== undefined) session.will = willOfRecord(record.will, record.clientIdentifier, parts.topics)
  if (record.hasEnded !== true) for (const subscription of subscriptions) resubscribe(parts, session, subscription)
  session.restore(parts.newLog(journal, number, record.sessionExpiryInterval > 0, queue), queue)
  if (record.hasEnded === true) {
    parts.sessions.clearAway(session)
    return
  }
  session.expiresAt = record.expiresAt ?? Infinity
  session.willDueAt = record.willDueAt ?? Infinity
  if (record.isConnected) parts.sessions.away(session, aliveAt) // its connection ended with the broker
  parts.sessions.restore(session)
  if (record.isConnected) parts.sessions.save(session)
}

/** Limits may have become narrower since. */
function resubscribe ({ router, limits, logger }: BrokerParts, session: Session, subscription: Subscription): void {
  const { topicFilter } = subscription
  try {
    router.subscribe(session, parseTopicFilter(topicFilter, limits), topicFilter, subscription)
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    logger.warn({ err: error, clientIdentifier: session.clientIdentifier, topicFilter }, 'a stored subscription is not allowed any more')
  }
}

function restoreRetained ({ router, clock, topics, logger }: BrokerParts, journal: Journal, message: Message): void {
  const { topicName } = message
  if (message.expiresAt <= clock.now()) journal.forgetRetained(topicName)
  else if (!router.retained.set(message.with({}, topics.named(topicName)))) logger.warn({ topicName }, 'a stored retained message is over the limits, and left out')
}
