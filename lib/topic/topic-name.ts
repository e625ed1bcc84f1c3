import { textFault } from './levels.ts'
import type { TopicLimits } from './levels.ts'

// By it a bridge says whether it is there: retained, and as the Will Message of its connection.
const bridgeState = /^\$SYS\/broker\/connection\/[^/]+\/state$/

/** Whether a Topic Name is for the broker alone to write: `$SYS/`, but for the state of a bridge. */
export function isReserved (topicName: string): boolean {
  return topicName.startsWith('$SYS/') && !bridgeState.test(topicName)
}

/**
 * Why a Topic Name cannot be published to (sections 3.3.2.1 and 4.7), as the end of the sentence "the Topic Name …";
 * undefined when it can. Allocates nothing for a good one.
 */
export function topicNameFault (topicName: string, limits: TopicLimits): string | undefined {
  if (topicName.includes('+') || topicName.includes('#')) return 'must not contain wildcards [MQTT-3.3.2-2]'
  return textFault(topicName, limits)
}
