import { ErrorCode, MqttError, optionInvalid } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { dollar, levelEnd, multiLevel, singleLevel, textFault } from './levels.ts'
import type { TopicLimits } from './levels.ts'

/** A Topic Filter taken apart (sections 4.7 and 4.8.2). */
export interface ParsedTopicFilter {
  /** What is matched: without `$share/{ShareName}/`. */
  readonly filter: string
  /** The name of the share of a Shared Subscription, undefined for an ordinary one. */
  readonly shareName: string | undefined
  /** Whether `filter` has `+` or `#`. */
  readonly hasWildcard: boolean
}

const sharePrefix = '$share/'

const noLimits: TopicLimits = { maximumTopicLength: Infinity, maximumTopicLevels: Infinity }

/**
 * Checks a Topic Filter as a Client wrote it and takes it apart. The limit of length holds for all of it, that of levels for what is matched.
 * @throws MqttError `MQTT_TOPIC_FILTER_INVALID`, Reason Code 0x8F, with a message that says what is wrong
 */
export function parseTopicFilter (topicFilter: string, limits: TopicLimits): ParsedTopicFilter {
  if (topicFilter.length > limits.maximumTopicLength) throw invalid(topicFilter, `must not be longer than ${limits.maximumTopicLength} bytes`)
  const shareName = topicFilter.startsWith(sharePrefix) ? shareNameOf(topicFilter) : undefined
  const start = shareName === undefined ? 0 : sharePrefix.length + shareName.length + 1
  const filter = start === 0 ? topicFilter : topicFilter.slice(start)
  const fault = (start === 0 ? undefined : textFault(topicFilter, { ...limits, maximumTopicLevels: Infinity })) ??
    textFault(filter, limits) ?? wildcardFault(filter)
  if (fault !== undefined) throw invalid(topicFilter, fault)
  return { filter, shareName, hasWildcard: hasWildcard(filter) }
}

/**
 * Checks a Topic Filter by the rules of the specification alone, whatever our limits are.
 * @throws MqttError `MQTT_TOPIC_FILTER_INVALID`
 */
export function checkTopicFilter (topicFilter: string): void {
  parseTopicFilter(topicFilter, noLimits)
}

/** Whether a valid Topic Filter has wildcards: both are characters that cannot stand for themselves. */
export function hasWildcard (filter: string): boolean {
  return filter.includes('+') || filter.includes('#')
}

/**
 * Whether a Topic Filter matches a Topic Name, by the rules of section 4.7; that of a Shared Subscription does as the filter that it shares.
 * @throws MqttError `MQTT_TOPIC_FILTER_INVALID` for what is no Topic Filter, `MQTT_OPTION_INVALID` for what is no text
 */
export function topicMatchesChecked (topicFilter: string, topicName: string): boolean {
  if (typeof topicFilter !== 'string') throw optionInvalid('topicFilter', 'a text', topicFilter)
  if (typeof topicName !== 'string') throw optionInvalid('topicName', 'a text', topicName)
  return topicMatches(parseTopicFilter(topicFilter, noLimits).filter, topicName)
}

/** As above, of a filter that is known to be valid and without `$share/`. */
export function topicMatches (topicFilter: string, topicName: string): boolean {
  const first = topicFilter.charCodeAt(0)
  // [MQTT-4.7.2-1]
  if (topicName.charCodeAt(0) === dollar && (first === singleLevel || first === multiLevel)) return false
  return levelsMatch(topicFilter, 0, topicName, 0)
}

/**
 * Whether the levels of a filter from `filterStart` on match those of a Topic Name from `topicStart` on. A start that is one
 * past the end of its text says that no level is left there.
 */
export function levelsMatch (filter: string, filterStart: number, topicName: string, topicStart: number): boolean {
  let start = topicStart
  for (let at = filterStart; at <= filter.length;) {
    const code = filter.charCodeAt(at)
    if (code === multiLevel) return true // the parent level, too (4.7.1.2)
    if (start > topicName.length) return false
    const end = levelEnd(topicName, start)
    const next = code === singleLevel ? at + 1 : levelEnd(filter, at)
    if (code !== singleLevel && !sameText(filter, at, next, topicName, start, end)) return false
    at = next + 1
    start = end + 1
  }
  return start > topicName.length
}

// [MQTT-4.7.3-4]: character by character, nothing is normalised.
function sameText (a: string, aStart: number, aEnd: number, b: string, bStart: number, bEnd: number): boolean {
  if (aEnd - aStart !== bEnd - bStart) return false
  for (let i = aStart, k = bStart; i < aEnd; i++, k++) {
    if (a.charCodeAt(i) !== b.charCodeAt(k)) return false
  }
  return true
}

function shareNameOf (topicFilter: string): string {
  const end = topicFilter.indexOf('/', sharePrefix.length)
  const shareName = topicFilter.slice(sharePrefix.length, end === -1 ? undefined : end)
  if (shareName === '') throw invalid(topicFilter, 'must have a ShareName of at least one character [MQTT-4.8.2-1]')
  if (hasWildcard(shareName)) throw invalid(topicFilter, 'must not have a wildcard in its ShareName [MQTT-4.8.2-2]')
  if (end === -1 || end + 1 === topicFilter.length) throw invalid(topicFilter, 'must have a Topic Filter after its ShareName [MQTT-4.8.2-2]')
  return shareName
}

function wildcardFault (filter: string): string | undefined {
  for (let start = 0; start <= filter.length;) {
    const end = levelEnd(filter, start)
    const fault = levelFault(filter, start, end)
    if (fault !== undefined) return fault
    start = end + 1
  }
  return undefined
}

function levelFault (filter: string, start: number, end: number): string | undefined {
  for (let i = start; i < end; i++) {
    const code = filter.charCodeAt(i)
    if (code === singleLevel && end - start > 1) return 'must have "+" alone in its level [MQTT-4.7.1-2]'
    if (code === multiLevel && (end - start > 1 || end < filter.length)) return 'must have "#" alone in its level, and as the last one [MQTT-4.7.1-1]'
  }
  return undefined
}

function invalid (topicFilter: string, fault: string): MqttError {
  const shown = topicFilter.length > 100 ? `${topicFilter.slice(0, 100)}…` : topicFilter
  return new MqttError(ErrorCode.topicFilterInvalid, ReasonCode.topicFilterInvalid, `the Topic Filter ${JSON.stringify(shown)} ${fault}`)
}
