import type { BrokerParts } from './assemble.ts'
import { restoreSession } from './cluster/ownership/restore-session.ts'
import type { Message } from './contract/message.ts'
import type { Journal } from './store/journal.ts'

/**
 * Builds the live structures of what the store has kept, one Session and one retained message at a time. What fell due meanwhile
 * is looked after by the first sweep. In a cluster Sessions come when they are claimed or adopted.
 * @throws MqttError when the store cannot be opened or read, or the cluster cannot be joined
 */
export async function recover (parts: BrokerParts): Promise<void> {
  const { journal, cluster } = parts
  if (journal === undefined) return
  const aliveAt = await journal.open() ?? parts.clock.now()
  await cluster?.join()
  for await (const stored of journal.store.sessions()) restoreSession(parts, journal, stored, aliveAt)
  for await (const message of journal.store.retained()) {
    if (cluster?.isRetainedFresh(message.topicName) !== true) restoreRetained(parts, journal, message)
  }
  cluster?.retainedRead()
}

function restoreRetained ({ router, clock, topics, logger, cluster }: BrokerParts, journal: Journal, message: Message): void {
  const { topicName } = message
  const isExpired = message.expiresAt <= clock.now()
  if (isExpired && cluster === undefined) journal.forgetRetained(topicName)
  else if (isExpired) cluster?.outbound.retainedExpired(topicName, message.expiresAt)
  else if (!router.retained.set(message.with({}, topics.named(topicName)))) logger.warn({ topicName }, 'a stored retained message is over the limits, and left out')
}
