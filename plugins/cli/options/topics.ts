import { parseTopicFilter } from '../../../lib/topic/topic-filter.ts'
import { topicNameFault } from '../../../lib/topic/topic-name.ts'

/** What the protocol allows; a broker may allow less, and says so. */
const limits = { maximumTopicLength: 65_535, maximumTopicLevels: Infinity }

/** Whether it can be published to at all. */
export function isTopicName (text: string): boolean { return topicNameFault(text, limits) === undefined }

/** Whether it can be subscribed to at all, as a Shared Subscription, too. */
export function isTopicFilter (text: string): boolean {
  try {
    parseTopicFilter(text, limits)
    return true
  } catch {
    return false
  }
}
