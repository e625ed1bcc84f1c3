import type { Limits } from '../base/limits.ts'

/** The limits that the text of a Topic Name or Topic Filter has to keep. */
export type TopicLimits = Pick<Limits, 'maximumTopicLength' | 'maximumTopicLevels'>

/** Char codes that mean something in a Topic Name or Topic Filter (section 4.7.1). */
export const separator: number = '/'.charCodeAt(0)
export const singleLevel: number = '+'.charCodeAt(0)
export const multiLevel: number = '#'.charCodeAt(0)
export const dollar: number = '$'.charCodeAt(0)

/** Where the level that begins at `start` ends: at the next separator, or with the text. */
export function levelEnd (text: string, start: number): number {
  const end = text.indexOf('/', start)
  return end === -1 ? text.length : end
}

/** What Topic Names and Topic Filters must both keep (section 4.7.3); undefined when `text` does. Wildcards are not looked at. */
export function textFault (text: string, limits: TopicLimits): string | undefined {
  if (text.length === 0) return 'must not be empty [MQTT-4.7.3-1]'
  const maximum = Math.min(limits.maximumTopicLength, 65_535) // [MQTT-4.7.3-3]
  let bytes = text.length
  let levels = 1
  for (let i = 0; i < text.length && bytes <= maximum; i++) {
    const code = text.charCodeAt(i)
    if (code === separator) levels++
    else if (code === 0) return 'must not contain U+0000 [MQTT-4.7.3-2]'
    else if (code > 0x7f) {
      const point = Number(text.codePointAt(i))
      if (point >= 0xd800 && point <= 0xdfff) return 'must not contain half of a surrogate pair [MQTT-1.5.4-1]'
      bytes += point > 0x7ff ? 2 : 1 // a pair of surrogates is two already and takes four
      if (point > 0xffff) i++
    }
  }
  if (bytes > maximum) return `must not be longer than ${maximum} bytes`
  return levels > limits.maximumTopicLevels ? `must not have more than ${limits.maximumTopicLevels} levels` : undefined
}
