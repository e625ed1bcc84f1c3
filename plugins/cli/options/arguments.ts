import { parseArgs, type ParseArgsConfig } from 'node:util'
import { didYouMean } from '../../../lib/base/nearest.ts'
import { usageError } from '../command-error.ts'
import { expectation, readValue, type KindValues, type Kind, type Option, type OptionTable, type Values } from './kinds.ts'

/** The flag of an option, without dashes: `maximumPacketSize` is `maximum-packet-size`. */
export function flagName (name: string): string {
  return name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`)
}

interface Flag {
  readonly name: string
  readonly option: Option
  /** False for the `--no-…` of a flag. */
  readonly turnsOn: boolean
}

/** Flags by how they are written, `--no-…` included. */
function flagsOf (table: OptionTable): Map<string, Flag> {
  const flags = new Map<string, Flag>()
  for (const [name, option] of Object.entries(table)) {
    if (option.only === 'file' || option.only === 'argument') continue
    flags.set(flagName(name), { name, option, turnsOn: true })
    if (option.kind === 'flag' && option.only !== 'commandLine') flags.set(`no-${flagName(name)}`, { name, option, turnsOn: false })
  }
  return flags
}

function parserConfiguration (flags: ReadonlyMap<string, Flag>): NonNullable<ParseArgsConfig['options']> {
  return Object.fromEntries([...flags].map(([flag, { option: { kind, short }, turnsOn }]) => [flag, {
    type: kind === 'flag' ? 'boolean' : 'string',
    ...(short !== undefined && turnsOn ? { short } : {}),
  }]))
}

interface OptionToken {
  readonly name: string
  readonly rawName: string
  readonly value?: string | undefined
  readonly inlineValue?: boolean | undefined
}

function unknownOption (token: OptionToken, flags: ReadonlyMap<string, Flag>): Error {
  return usageError(`unknown option ${token.rawName}${didYouMean(token.rawName, [...flags.keys()].map(flag => `--${flag}`))}`)
}

/** Node gives the next argument as the value whatever it is; one that is an option itself shows that the value was forgotten. */
function givenText (token: OptionToken, { option }: Flag, flags: ReadonlyMap<string, Flag>): string {
  const { rawName, value, inlineValue } = token
  const isForgotten = value === undefined || (inlineValue === false && value.startsWith('--') && flags.has(value.slice(2).replace(/=.*/s, '')))
  if (isForgotten) throw usageError(`${rawName} needs a value: ${expectation(option)}`)
  return value
}

function valueOf (token: OptionToken, flag: Flag, flags: ReadonlyMap<string, Flag>): KindValues[Kind] {
  if (flag.option.kind === 'flag') {
    if (token.value !== undefined) throw usageError(`${token.rawName} takes no value, got "${token.value}"`)
    return flag.turnsOn
  }
  const text = givenText(token, flag, flags)
  const value = readValue(flag.option, text)
  if (value === undefined) throw usageError(`${token.rawName}: expected ${expectation(flag.option)}, found "${text}"`)
  return value
}

/** The option that an argument without a flag stands for. */
function argumentOf (table: OptionTable, text: string, values: ReadonlyMap<string, unknown>): string {
  const name = Object.keys(table).find(name => table[name]?.only === 'argument' && !values.has(name))
  if (name === undefined) throw usageError(`unexpected argument "${text}"`)
  return name
}

/** Kinds that may be repeated. */
const lists: readonly Kind[] = ['texts', 'topicFilters']

/** What a repeatable option has gathered so far. */
function earlierTexts (value: KindValues[Kind] | undefined): string[] {
  return Array.isArray(value) ? value.map(String) : []
}

function readOption (token: OptionToken, flags: ReadonlyMap<string, Flag>, values: Map<string, KindValues[Kind]>): void {
  const flag = flags.get(token.name)
  if (flag === undefined) throw unknownOption(token, flags)
  const value = valueOf(token, flag, flags)
  const isListed = lists.includes(flag.option.kind) && typeof value === 'string'
  values.set(flag.name, isListed ? [...earlierTexts(values.get(flag.name)), value] : value)
}

/**
 * Reads a command line by a table of options.
 * @throws {CommandError} with exit code 2 and one line for an option that is unknown, lacks its value or has a wrong one.
 */
export function readArguments<T extends OptionTable> (table: T, args: readonly string[]): Values<T> {
  const flags = flagsOf(table)
  const { tokens } = parseArgs({ args: [...args], options: parserConfiguration(flags), strict: false, tokens: true, allowPositionals: true })
  const values = new Map<string, KindValues[Kind]>()
  for (const token of tokens) {
    if (token.kind === 'positional') values.set(argumentOf(table, token.value, values), token.value)
    if (token.kind === 'option') readOption(token, flags, values)
  }
  return Object.fromEntries(values) as Values<T>
}

/** The options that were given over the defaults of their table. */
export function defaultsOf (table: OptionTable): Record<string, string | number | boolean> {
  return Object.fromEntries(Object.entries(table).flatMap(([name, { default: value }]) => value === undefined ? [] : [[name, value]]))
}
