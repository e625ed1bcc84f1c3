import { ReasonCode } from '../../base/reason-codes.ts'
import type { ClientInfo } from '../../contract/hooks.ts'
import type { SubscriptionOptions } from '../../contract/subscription.ts'
import type { BrokerServices } from '../client/broker-services.ts'
import type { Client } from '../client/client.ts'

/**
 * Asks again about the subscriptions that a Session kept: rights may have changed since.
 * @returns the Topic Filters that are not allowed any more
 */
export async function authorizeRestored (client: Client): Promise<string[]> {
  const { hooks, sessions } = client.services
  if (hooks.chains.authorizeSubscribe === undefined) return []
  const verdicts = new Map<string, boolean>()
  for (;;) { // until nothing new has come while we waited: the Session may still be in use by another connection
    const subscriptions = sessions.get(client.clientIdentifier)?.subscriptions ?? new Map<string, SubscriptionOptions>()
    const unasked = [...subscriptions].filter(([topicFilter]) => !verdicts.has(topicFilter))
    if (unasked.length === 0) return [...verdicts].filter(([, isAllowed]) => !isAllowed).map(([topicFilter]) => topicFilter)
    for (const [topicFilter, options] of unasked) {
      verdicts.set(topicFilter, await isStillAllowed(client.services, client, topicFilter, options))
    }
  }
}

/** Whether a Client, which may be away, may keep a subscription it has. */
export async function isStillAllowed (services: BrokerServices, client: ClientInfo, topicFilter: string, options: SubscriptionOptions): Promise<boolean> {
  const request = { client, topicFilter, subscription: { topicFilter, ...options }, isRestored: true }
  return await services.hooks.authorize('authorizeSubscribe', request) === ReasonCode.success
}
