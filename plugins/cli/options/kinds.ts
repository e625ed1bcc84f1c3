import type { AccessEntry } from './access.ts'
import { isTopicFilter, isTopicName } from './topics.ts'

/** A client that may connect, as the configuration file names it. */
export interface User {
  readonly username: string
  /** The password itself; `passwordHash` is the better choice. */
  readonly password?: string
  /** What `myelin hash-password` printed. */
  readonly passwordHash?: string
}

/** What the options of each kind become once they are read. */
export interface KindValues {
  /** Never empty, unlike `payload`. */
  text: string
  payload: string
  texts: readonly string[]
  topicName: string
  topicFilters: readonly string[]
  path: string
  /** A directory, or `off`; a directory of that name is `./off`. */
  pathOrOff: string
  flag: boolean
  port: number | 'off'
  /** Of a server that is there: neither 0 nor "off". */
  remotePort: number
  /** A count of 1 or more. */
  positive: number
  count: number
  bytes: number
  milliseconds: number
  seconds: number
  choice: string
  users: readonly User[]
  access: readonly AccessEntry[]
}

/** What the configuration file may say for each kind. */
export interface KindInputs extends Omit<KindValues, 'bytes' | 'milliseconds' | 'seconds' | 'access'> {
  bytes: number | string
  milliseconds: number | string
  seconds: number | string
  access: readonly Readonly<Record<string, unknown>>[]
}

export type Kind = keyof KindValues

/** One option of a command: its row in the table from which flags, help, schema and documentation are made. */
export interface Option {
  readonly kind: Kind
  readonly help: string
  readonly default?: string | number | boolean
  /** The letter for `-x`. */
  readonly short?: string
  readonly choices?: readonly string[]
  /** Where the option may stand; in both places when absent. An `argument` stands on the command line without a flag. */
  readonly only?: 'file' | 'commandLine' | 'argument'
}

export type OptionTable = Readonly<Record<string, Option>>

/** What an option becomes once it is read. */
export type ValueOf<O extends Option> = O extends { readonly choices: readonly (infer Choice)[] } ? Choice : KindValues[O['kind']]

/** What the configuration file may say for an option. */
export type InputOf<O extends Option> = O extends { readonly choices: readonly (infer Choice)[] } ? Choice : KindInputs[O['kind']]

/** The options that were given, by name. */
export type Values<T extends OptionTable> = { readonly [K in keyof T]?: ValueOf<T[K]> }

/** The options with the defaults of their table. */
export type Settled<T extends OptionTable> = Values<T> & {
  readonly [K in keyof T as T[K] extends { readonly default: unknown } ? K : never]: ValueOf<T[K]>
}

const sizeUnits: ReadonlyMap<string, number> = new Map([['', 1], ['B', 1], ['KiB', 2 ** 10], ['MiB', 2 ** 20], ['GiB', 2 ** 30]])
const millisecondUnits: ReadonlyMap<string, number> = new Map([
  ['', 1], ['ms', 1], ['s', 1000], ['m', 60_000], ['h', 3_600_000], ['d', 86_400_000],
])
const secondUnits: ReadonlyMap<string, number> = new Map([['', 1], ['s', 1], ['m', 60], ['h', 3600], ['d', 86_400]])

/** A whole number and its unit, as the kinds `bytes`, `milliseconds` and `seconds` write it. */
export const quantityPatterns: Readonly<Record<'bytes' | 'milliseconds' | 'seconds', RegExp>> = {
  bytes: /^\d+ ?(?:B|KiB|MiB|GiB)?$/,
  milliseconds: /^\d+ ?(?:ms|s|m|h|d)?$/,
  seconds: /^\d+ ?(?:s|m|h|d)?$/,
}

function readQuantity (pattern: RegExp, units: ReadonlyMap<string, number>, text: string): number | undefined {
  if (!pattern.test(text)) return undefined
  const amount = Number.parseInt(text, 10)
  const value = amount * (units.get(text.replace(/^\d+ ?/, '')) ?? Number.NaN)
  return Number.isSafeInteger(value) ? value : undefined
}

function readCount (text: string): number | undefined {
  return readQuantity(/^\d+$/, sizeUnits, text)
}

function readPort (text: string): number | 'off' | undefined {
  if (text === 'off') return text
  const port = readCount(text)
  return port !== undefined && port <= 65_535 ? port : undefined
}

function readPositive (text: string): number | undefined {
  const count = readCount(text)
  return count === 0 ? undefined : count
}

function readRemotePort (text: string): number | undefined {
  const port = readPort(text)
  return port === 'off' || port === 0 ? undefined : port
}

interface KindRule {
  /** Ends the sentence "expected …". */
  readonly expected: (option: Option) => string
  /** Stands for the value in the help; empty for none. */
  readonly placeholder: (option: Option) => string
  /** The value that a text of the command line stands for; undefined when it is none. */
  readonly read: (text: string, option: Option) => KindValues[Kind] | undefined
}

const fixed = (text: string) => (): string => text
const readText = (text: string): string | undefined => text === '' ? undefined : text

const rules: Readonly<Record<Kind, KindRule>> = {
  text: { expected: fixed('a text'), placeholder: fixed('<text>'), read: readText },
  payload: { expected: fixed('a text'), placeholder: fixed('<text>'), read: text => text },
  texts: { expected: fixed('a list of texts'), placeholder: fixed('<text>'), read: readText },
  topicName: { expected: fixed('a Topic Name, without the wildcards + and #'), placeholder: fixed('<topic>'), read: text => isTopicName(text) ? text : undefined },
  topicFilters: { expected: fixed('a Topic Filter, with + and # alone in a level and # in the last one only'), placeholder: fixed('<filter>'), read: text => isTopicFilter(text) ? text : undefined },
  path: { expected: fixed('the path of a file'), placeholder: fixed('<file>'), read: readText },
  pathOrOff: { expected: fixed('a directory, or "off"'), placeholder: fixed('<directory|off>'), read: readText },
  flag: { expected: fixed('true or false'), placeholder: fixed(''), read: () => undefined },
  port: { expected: fixed('a port from 0 to 65535, or "off"'), placeholder: fixed('<port>'), read: readPort },
  remotePort: { expected: fixed('a port from 1 to 65535'), placeholder: fixed('<port>'), read: readRemotePort },
  positive: { expected: fixed('a whole number, 1 or more'), placeholder: fixed('<number>'), read: readPositive },
  count: { expected: fixed('a whole number, 0 or more'), placeholder: fixed('<number>'), read: readCount },
  bytes: {
    expected: fixed('a size such as 65536, "64KiB" or "1MiB"'),
    placeholder: fixed('<size>'),
    read: text => readQuantity(quantityPatterns.bytes, sizeUnits, text),
  },
  milliseconds: {
    expected: fixed('a duration such as 500 (milliseconds), "10s" or "5m"'),
    placeholder: fixed('<duration>'),
    read: text => readQuantity(quantityPatterns.milliseconds, millisecondUnits, text),
  },
  seconds: {
    expected: fixed('a duration such as 60 (seconds), "5m" or "1h"'),
    placeholder: fixed('<seconds>'),
    read: text => readQuantity(quantityPatterns.seconds, secondUnits, text),
  },
  choice: {
    expected: ({ choices = [] }) => `one of ${choices.join(', ')}`,
    placeholder: ({ choices = [] }) => `<${choices.join('|')}>`,
    read: (text, { choices = [] }) => choices.includes(text) ? text : undefined,
  },
  users: { expected: fixed('a list of users'), placeholder: fixed(''), read: () => undefined },
  access: { expected: fixed('a list of plugins'), placeholder: fixed(''), read: () => undefined },
}

/** Ends the sentence "expected …" for an option. */
export function expectation (option: Option): string {
  return rules[option.kind].expected(option)
}

/** What stands for the option's value in the help; empty for a flag. */
export function placeholder (option: Option): string {
  return rules[option.kind].placeholder(option)
}

/** The value that a text of the command line stands for, undefined when it is not of the option's kind. */
export function readValue (option: Option, text: string): KindValues[Kind] | undefined {
  return rules[option.kind].read(text, option)
}

const shownUnits: Readonly<Partial<Record<Kind, readonly (readonly [unit: string, factor: number])[]>>> = {
  bytes: [['GiB', 2 ** 30], ['MiB', 2 ** 20], ['KiB', 2 ** 10]],
  milliseconds: [['m', 60_000], ['s', 1000], ['ms', 1]],
  seconds: [['d', 86_400], ['h', 3600], ['m', 60], ['s', 1]],
}

/** A value the way one would write it on the command line: `1MiB`, `10s`. */
export function showValue (kind: Kind, value: string | number | boolean): string {
  if (typeof value !== 'number' || value === 0) return String(value)
  const [unit, factor] = shownUnits[kind]?.find(([, factor]) => value % factor === 0) ?? ['', 1]
  return `${value / factor}${unit}`
}
