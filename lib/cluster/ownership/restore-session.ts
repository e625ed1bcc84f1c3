import { MqttError } from '../../base/errors.ts'
import type { SessionRecord, StoredSession } from '../../contract/store.ts'
import type { Subscription } from '../../contract/subscription.ts'
import { Session } from '../../session/session.ts'
import { willOfRecord } from '../../session/session-record.ts'
import type { Journal } from '../../store/journal.ts'
import { parseTopicFilter } from '../../topic/topic-filter.ts'
import type { RestoreServices } from '../node/cluster-services.ts'

/**
 * Builds a Session of what the store has kept. What fell due meanwhile is looked after by the next sweep.
 * @param aliveAt milliseconds since the epoch: when its connection ended, if it had one
 * @returns undefined for one that had ended, whose rest is being cleared away
 */
export function restoreSession (services: RestoreServices, journal: Journal, stored: StoredSession, aliveAt: number): Session | undefined {
  const { number, record, subscriptions, queue } = stored
  const session = newSession(services, number, record)
  if (record.hasEnded !== true) for (const subscription of subscriptions) resubscribe(services, session, subscription)
  session.restore(services.newLog(journal, number, record.sessionExpiryInterval > 0, queue), queue)
  if (record.hasEnded !== true) return goOn(services, session, record, aliveAt)
  services.sessions.clearAway(session)
  return undefined
}

function newSession (services: RestoreServices, number: number, record: SessionRecord): Session {
  const { clientIdentifier, sessionExpiryInterval, will } = record
  const session = new Session(clientIdentifier, services)
  session.number = number
  session.sessionExpiryInterval = sessionExpiryInterval
  if (will !== undefined) session.will = willOfRecord(will, clientIdentifier, services.topics)
  return session
}

/** Its deadlines are those that it had. */
function goOn ({ sessions }: RestoreServices, session: Session, { expiresAt, willDueAt, isConnected }: SessionRecord, aliveAt: number): Session {
  session.expiresAt = expiresAt
  session.willDueAt = willDueAt
  if (isConnected) sessions.away(session, aliveAt)
  sessions.restore(session)
  if (isConnected) sessions.save(session)
  return session
}

/** Limits may have become narrower since. */
function resubscribe ({ router, limits, logger }: RestoreServices, session: Session, subscription: Subscription): void {
  const { topicFilter } = subscription
  try {
    router.subscribe(session, parseTopicFilter(topicFilter, limits), topicFilter, subscription)
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    logger.warn({ err: error, clientIdentifier: session.clientIdentifier, topicFilter }, 'a stored subscription is not allowed any more')
  }
}
