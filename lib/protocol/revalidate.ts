import type { Message } from '../contract/message.ts'
import type { Session } from '../session/session.ts'
import { topicMatches } from '../topic/topic-filter.ts'
import type { BrokerServices } from './broker-services.ts'
import { isStillAllowed } from './restored-subscriptions.ts'

/**
 * Applies rights that have changed to what was granted before: subscriptions of every Session, connected or not, are asked about
 * again; those refused end, and with them the messages that wait because of them.
 */
export async function revalidate (services: BrokerServices): Promise<void> {
  for (const session of [...services.sessions]) await revalidateSession(services, session)
}

async function revalidateSession (services: BrokerServices, session: Session): Promise<void> {
  const { client } = session
  if (client === undefined) return
  for (const [topicFilter, options] of [...session.subscriptions]) {
    if (await isStillAllowed(services, client, topicFilter, options)) continue
    if (services.router.unsubscribe(session, topicFilter)) services.hooks.notify('unsubscribed', { client, topicFilter })
  }
  dropForbidden(services, session)
}

function dropForbidden (services: BrokerServices, session: Session): void {
  const filters = [...session.subscriptions.keys()].map(withoutShare)
  const isForbidden = (message: Message): boolean =>
    !filters.some(filter => topicMatches(filter, message.topicName)) || !mayDeliver(services, session, message)
  for (const { message } of session.outbox.extract(delivery => isForbidden(delivery.message))) services.dropped(session, message, 'notAuthorized')
}

/** Whether a message may go to a Session: the gate of every delivery. The host's own subscriptions are not asked about. */
export function mayDeliver ({ hooks }: BrokerServices, { client }: Session, message: Message): boolean {
  return client === undefined || hooks.authorizeDeliver({ client, topicName: message.topicName, message })
}

function withoutShare (topicFilter: string): string {
  return topicFilter.startsWith('$share/') ? topicFilter.slice(topicFilter.indexOf('/', '$share/'.length) + 1) : topicFilter
}
