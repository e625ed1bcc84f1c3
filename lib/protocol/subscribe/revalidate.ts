import type { ClientInfo } from '../../contract/hooks.ts'
import type { Message } from '../../contract/message.ts'
import type { Judged } from '../../router/delivery-gate.ts'
import type { Session } from '../../session/session.ts'
import { topicMatches } from '../../topic/topic-filter.ts'
import type { BrokerServices } from '../client/broker-services.ts'
import { isStillAllowed } from './restored-subscriptions.ts'

/**
 * Applies rights that have changed to what was granted before: subscriptions of every Session, connected or not, are asked about
 * again; those refused end, and with them the messages that wait because of them. What is being asked about meanwhile is asked about again.
 */
export async function revalidate (services: BrokerServices): Promise<void> {
  services.revalidations++
  for (const session of [...services.sessions]) await revalidateSession(services, session)
}

/** The same for one Session, whose Client may have become somebody who may do less. */
export async function revalidateSession (services: BrokerServices, session: Session): Promise<void> {
  const { client } = session
  if (client === undefined) return
  const ended: string[] = []
  for (const [topicFilter, options] of [...session.subscriptions]) {
    if (await isStillAllowed(services, client, topicFilter, options)) continue
    if (!services.router.unsubscribe(session, topicFilter)) continue
    ended.push(topicFilter)
    services.hooks.notify('unsubscribed', { client, topicFilter })
  }
  dropForbidden(services, session, ended)
}

/** Drops what waits because of subscriptions that were taken back, or may not be delivered any more. */
export function dropForbidden (services: BrokerServices, session: Session, ended: readonly string[]): void {
  const matches = (filters: Iterable<string>, message: Message): boolean => [...filters].some(filter => topicMatches(withoutShare(filter), message.topicName))
  session.outbox.drop('notAuthorized', message =>
    (matches(ended, message) && !matches(session.subscriptions.keys(), message)) || !mayDeliver(services, session, message))
}

/**
 * Whether a message may go to a Session: the gate of every delivery. The host's own subscriptions are not asked about.
 * @param judged remembers what was decided of the topic
 */
export function mayDeliver (services: BrokerServices, session: Session, message: Message, judged?: Judged): boolean {
  const { client } = session
  if (client === undefined) return true
  const { topicName } = message
  const { authorizeTopic, authorizeDeliver } = services.hooks.chains
  if (authorizeTopic !== undefined && !mayGet(services, session, client, topicName, judged)) return false
  return authorizeDeliver === undefined || services.hooks.mayDeliver({ client, topicName, message })
}

// What it is founded on is looked at before the hooks are asked, which may change it.
function mayGet ({ hooks, revalidations }: BrokerServices, { identities }: Session, client: ClientInfo, topicName: string, judged: Judged | undefined): boolean {
  const { chains } = hooks
  const verdict = judged?.verdict
  if (verdict?.identities === identities && verdict.revalidations === revalidations && verdict.hooks === chains) return verdict.isAllowed
  const isAllowed = hooks.mayGet({ client, topicName })
  if (judged !== undefined && isAllowed !== undefined) judged.verdict = { identities, hooks: chains, revalidations, isAllowed }
  return isAllowed === true
}

function withoutShare (topicFilter: string): string {
  return topicFilter.startsWith('$share/') ? topicFilter.slice(topicFilter.indexOf('/', '$share/'.length) + 1) : topicFilter
}
