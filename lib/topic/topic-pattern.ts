import { ErrorCode, MqttError, optionInvalid } from '../base/errors.ts'
import { ReasonCode } from '../base/reason-codes.ts'
import { levelEnd, textFault } from './levels.ts'
import { topicMatches } from './topic-filter.ts'

type LevelsOf<Pattern extends string> = Pattern extends `${infer Level}/${infer Rest}` ? Level | LevelsOf<Rest> : Pattern
type NameOf<Level extends string> = Level extends `{${infer Name}...}` ? Name : Level extends `{${infer Name}}` ? Name : never

/** The parameters of a pattern: `{ readonly id: string }` for `devices/{id}`, `{ readonly rest: readonly string[] }` for `logs/{rest...}`. */
export type TopicParameters<Pattern extends string> = string extends Pattern
  ? Readonly<Record<string, string | readonly string[]>>
  : { readonly [Level in LevelsOf<Pattern> as NameOf<Level>]: Level extends `{${string}...}` ? readonly string[] : string }

/** One level of a pattern: its text, or the name of the parameter in its place. */
interface PatternLevel {
  readonly literal: string
  readonly name: string | undefined
  /** Stands for all the levels that are left, even none. */
  readonly isRest: boolean
}

/** As a Topic Name can have at all; a broker's own limits are looked at when it is published to. */
const protocolLimits = { maximumTopicLength: 65_535, maximumTopicLevels: Infinity }

/** A Topic Filter whose wildcards have names: `{id}` is one level, `+`; `{rest...}`, at the end, is all that are left, `#`. */
export class TopicPattern {
  /** The Topic Filter that matches the same Topic Names. */
  readonly filter: string
  readonly #pattern: string
  readonly #levels: readonly PatternLevel[]

  /** @throws MqttError `MQTT_OPTION_INVALID` for what is no pattern */
  constructor (pattern: string) {
    if (typeof pattern !== 'string') throw optionInvalid('pattern', 'a text', pattern)
    this.#pattern = pattern
    this.#levels = pattern.split('/').map(patternLevel)
    const fault = textFault(pattern, protocolLimits) ?? levelsFault(this.#levels)
    if (fault !== undefined) throw optionInvalid('pattern', fault, pattern)
    this.filter = this.#levels.map(filterLevel).join('/')
  }

  /** The parameters in a Topic Name; undefined when the filter does not match it. Linear in the name's length. */
  match (topicName: string): Record<string, string | readonly string[]> | undefined {
    return typeof topicName === 'string' && topicMatches(this.filter, topicName) ? this.#parametersIn(topicName) : undefined
  }

  /**
   * The Topic Name with these parameters. A value stays within its level, whoever chose it.
   * @throws MqttError `MQTT_TOPIC_NAME_INVALID` for a value that is missing or empty, has `/`, `+`, `#` or U+0000, or begins the name with `$`
   */
  topicName (parameters: Readonly<Record<string, unknown>>): string {
    const topicName = this.#levels.flatMap(level => levelsOf(level, parameters)).join('/')
    const fault = textFault(topicName, protocolLimits)
    if (fault !== undefined) throw invalid(`the Topic Name of ${this.#pattern} ${fault}`)
    if (topicName.startsWith('$') && this.#levels[0]?.name !== undefined) throw invalid(`the Topic Name of ${this.#pattern} must not begin with "$" [MQTT-4.7.2-1]`)
    return topicName
  }

  #parametersIn (topicName: string): Record<string, string | readonly string[]> {
    const parameters: Record<string, string | readonly string[]> = {}
    let start = 0
    for (const { name, isRest } of this.#levels) {
      const end = levelEnd(topicName, start)
      if (name !== undefined) parameters[name] = isRest ? restOf(topicName, start) : topicName.slice(start, end)
      start = end + 1
    }
    return parameters
  }
}

/** No levels where a filter with `#` matches its parent level (4.7.1.2). */
function restOf (topicName: string, start: number): readonly string[] {
  return start > topicName.length ? [] : topicName.slice(start).split('/')
}

function patternLevel (text: string): PatternLevel {
  const [, name, dots] = /^\{([A-Za-z]\w*)(\.\.\.)?\}$/.exec(text) ?? []
  return { literal: text, name, isRest: dots !== undefined }
}

function filterLevel ({ literal, name, isRest }: PatternLevel): string {
  if (name === undefined) return literal
  return isRest ? '#' : '+'
}

function levelsFault (levels: readonly PatternLevel[]): string | undefined {
  if (levels.some(({ literal, name }) => name === undefined && /[{}+#]/.test(literal))) {
    return 'levels of text without "+" and "#", {name} for one whole level, and {name...} for the rest; names are letters, digits and "_"'
  }
  if (levels.slice(0, -1).some(({ isRest }) => isRest)) return 'a pattern with {name...} at its end only'
  const names = levels.flatMap(({ name }) => name ?? [])
  return new Set(names).size < names.length ? 'a pattern in which no name comes twice' : undefined
}

function levelsOf ({ literal, name, isRest }: PatternLevel, parameters: Readonly<Record<string, unknown>>): readonly string[] {
  if (name === undefined) return [literal]
  const value = (parameters as typeof parameters | null | undefined)?.[name]
  if (!isRest) return [checkedLevel(name, value)]
  if (!Array.isArray(value)) throw invalid(`the parameter "${name}" must be an array of levels`)
  return value.map(level => checkedLevel(name, level))
}

/** What would reach into other levels, or stand for them, and what was forgotten. */
function checkedLevel (name: string, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw invalid(`the parameter "${name}" must be a text that is not empty`)
  if (/[/+#\0]/.test(value)) throw invalid(`the parameter "${name}" must not have "/", "+", "#" or U+0000`)
  return value
}

function invalid (fault: string): MqttError {
  return new MqttError(ErrorCode.topicNameInvalid, ReasonCode.topicNameInvalid, fault)
}
