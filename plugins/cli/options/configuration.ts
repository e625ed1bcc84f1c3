import { z } from 'zod'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { didYouMean } from '../../../lib/base/nearest.ts'
import { usageError, whyNotRead } from '../command-error.ts'
import { accessSchema, entryFields, entryIssues, isEntryIssue, settleAccess } from './access-schema.ts'
import { expectation, quantityPatterns, readValue, type Option, type Values } from './kinds.ts'
import { defaultOf, startOptions, type Configuration, type StartOptions } from './start-options.ts'
import { parsePasswordHash } from '../../password-file/hash.ts'

function quantity (option: Option, pattern: RegExp): z.ZodType {
  const error = `expected ${expectation(option)}`
  return z.union([z.int({ error }).min(0, { error }), z.string({ error }).regex(pattern, { error })], { error })
    .refine(value => readValue(option, String(value)) !== undefined, { error })
}

const user = z.strictObject({
  username: z.string({ error: 'expected a text' }),
  password: z.string({ error: 'expected a text' }).min(1, { error: 'expected a text' }).optional(),
  passwordHash: z.string({ error: 'expected a text' }).refine(text => parsePasswordHash(text) !== undefined, {
    error: 'expected what `myelin hash-password` prints: scrypt$N$r$p$salt$key',
  }).optional(),
}, { error: 'expected { "username", "passwordHash" } or { "username", "password" }' })
  .refine(({ password, passwordHash }) => (password === undefined) !== (passwordHash === undefined), {
    error: 'expected either "passwordHash" or "password"',
  })

function usersSchema (error: string): z.ZodType {
  return z.array(user, { error }).superRefine((users, context) => {
    const names = new Set<string>()
    for (const [index, { username }] of users.entries()) {
      if (names.has(username)) context.addIssue({ code: 'custom', path: [index, 'username'], message: 'expected each user once' })
      names.add(username)
    }
  })
}

function schemaOf (option: Option): z.ZodType {
  const error = `expected ${expectation(option)}`
  const text = z.string({ error }).min(1, { error })
  switch (option.kind) {
    case 'text': case 'topicName': case 'path': case 'pathOrOff': return text
    case 'payload': return z.string({ error })
    case 'texts': case 'topicFilters': return z.array(text, { error })
    case 'flag': return z.boolean({ error })
    case 'port': return z.union([z.int({ error }).min(0, { error }).max(65_535, { error }), z.literal('off', { error })], { error })
    case 'count': return z.int({ error }).min(0, { error })
    case 'positive': case 'remotePort': return z.int({ error }).min(1, { error })
    case 'choice': return z.enum(option.choices ?? [], { error })
    case 'bytes': case 'milliseconds': case 'seconds': return quantity(option, quantityPatterns[option.kind])
    case 'users': return usersSchema(error)
    case 'access': return accessSchema
  }
}

function field (name: string, option: Option): z.ZodType {
  const value = defaultOf(name, option)
  return schemaOf(option).optional().meta({ description: option.help, ...(value === undefined ? {} : { default: value }) })
}

const fields = Object.entries<Option>(startOptions).filter(([, option]) => option.only !== 'commandLine')

/** Checks a configuration file that was parsed. */
export const configurationSchema: z.ZodType<Configuration, Configuration> = z.strictObject(
  { $schema: z.string({ error: 'expected a text' }).optional(), ...Object.fromEntries(fields.map(([name, option]) => [name, field(name, option)])) },
  { error: 'expected an object' },
) as unknown as z.ZodType<Configuration, Configuration>

/** The JSON Schema of the configuration file, with which editors complete and check it. */
export function jsonSchema (): object {
  return { title: 'Configuration of the Myelin MQTT broker', ...z.toJSONSchema(configurationSchema, { io: 'input' }) }
}

function show (path: readonly PropertyKey[]): string {
  return path.map((key, index) => typeof key === 'number' ? `[${key}]` : `${index === 0 ? '' : '.'}${String(key)}`).join('')
}

function valueAt (data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((value, key) => typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined, data)
}

/** Of these, and of all that is in them, nothing is shown. */
const secretFields = /^(?:password|secret|key|cert|passphrase|headers)/

/** What was found, without giving a password away. */
function found (data: unknown, path: readonly PropertyKey[]): string {
  const value = valueAt(data, path)
  if (value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return value === null ? 'null' : 'an object'
  if (path.some(key => secretFields.test(String(key)))) return `another ${typeof value === 'string' ? 'text' : typeof value}`
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 60)}…` : text
}

type Issue = z.core.$ZodIssue

function knownFields (path: readonly PropertyKey[], data: unknown): string[] {
  if (path.length === 0) return fields.map(([name]) => name)
  return path[0] === 'access' ? entryFields(valueAt(data, path)) : Object.keys(user.shape)
}

function describe (issue: Issue, data: unknown): string[] {
  const { path } = issue
  const inner = isEntryIssue(issue) ? entryIssues(valueAt(data, path), issue) : []
  if (inner.length > 0) return inner.flatMap(issue => describe(issue, data))
  if (issue.code !== 'unrecognized_keys') return [`${show(path) || 'the file'}: ${issue.message}, found ${found(data, path)}`]
  return issue.keys.map(key => `${show([...path, key])}: unknown field${didYouMean(key, knownFields(path, data))}`)
}

/** Where JSON.parse stopped: it tells the position only, and only sometimes. The piece of the file that it shows may be of a password. */
function describeSyntaxError (text: string, error: unknown): string {
  const told = error instanceof Error ? error.message : String(error)
  const message = told.replace(/, (?:\.\.\.)?".*$/s, '').replace(/^Unexpected token .*?(?= in JSON|$)/s, 'unexpected character')
  const position = /position (\d+)/.exec(told)?.[1]
  if (position === undefined) return message
  const before = text.slice(0, Number(position)).split('\n')
  return `line ${before.length}, column ${(before.at(-1) ?? '').length + 1}: ${message}`
}

async function readText (file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8')
  } catch (error) {
    throw usageError(`cannot read the configuration file ${file}: ${whyNotRead(error)}`)
  }
}

function parse (file: string, text: string): unknown {
  try {
    return JSON.parse(text.replace(/^\uFEFF/, ''))
  } catch (error) {
    throw usageError(`${file} is not JSON: ${describeSyntaxError(text, error)}`)
  }
}

/**
 * Checks what a configuration file holds.
 * @throws {CommandError} with exit code 2 that names every field that is wrong.
 */
export function checkConfiguration (file: string, data: unknown): Configuration {
  const { data: configuration, error } = configurationSchema.safeParse(data)
  if (error === undefined) return configuration
  // A value that is wrong in two ways is told once.
  const told = new Set(error.issues.flatMap(issue => describe(issue, data)))
  throw usageError([`${file} is not a configuration:`, ...told].join('\n  '))
}

function isPath ({ kind }: Option, value: unknown): value is string {
  return typeof value === 'string' && (kind === 'path' || (kind === 'pathOrOff' && value !== 'off'))
}

/** The value as the command line would have it: sizes and durations are numbers, and paths start where the file is. */
function settle (file: string, option: Option, value: unknown): unknown {
  if (option.kind === 'access') return settleAccess(value, { file, path: `${file}: access` })
  if (isPath(option, value)) return resolve(dirname(file), value)
  return option.kind in quantityPatterns ? readValue(option, String(value)) : value
}

/**
 * Reads a configuration file.
 * @throws {CommandError} with exit code 2 when it cannot be read or is wrong.
 */
export async function readConfiguration (file: string): Promise<Values<StartOptions>> {
  const given = new Map<string, unknown>(Object.entries(checkConfiguration(file, parse(file, await readText(file)))))
  const rows = fields.filter(([name]) => given.has(name))
  return Object.fromEntries(await Promise.all(rows.map(async ([name, option]) => [name, await settle(file, option, given.get(name))] as const)))
}
