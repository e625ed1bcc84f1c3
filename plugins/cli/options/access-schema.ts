import { z } from 'zod'
import type { ConnectionCondition } from '../../chain/index.ts'
import type { AccessEntry, PluginName } from './access.ts'
import { condition, neededFields, pluginFields, type Place } from './access-fields.ts'

type EntrySchema = z.ZodObject

const when = condition.optional().meta({ description: 'For these connections only.' })
const names = Object.keys(pluginFields) as PluginName[]
const expected = 'expected a plugin, { "use": … }, or several, { "anyOf": […] }, { "allOf": […] } or { "when": …, "plugins": […] }'

function pluginSchema (name: PluginName): EntrySchema {
  const fields = Object.entries(pluginFields[name]).map(([field, { schema }]) => [field, neededFields[name]?.includes(field) === true ? schema : schema.optional()])
  return z.strictObject({ use: z.literal(name), when, ...Object.fromEntries(fields) as Record<string, z.ZodType> })
}

const entries: z.ZodType = z.lazy(() => z.array(entry, { error: 'expected a list of plugins' }).min(1, { error: 'expected a list of plugins that is not empty' }))

const pluginSchemas: ReadonlyMap<string, EntrySchema> = new Map(names.map(name => [name, pluginSchema(name)]))
const combinations: ReadonlyMap<string, EntrySchema> = new Map<string, EntrySchema>([
  ['anyOf', z.strictObject({ when, anyOf: entries })],
  ['allOf', z.strictObject({ when, allOf: entries })],
  ['plugins', z.strictObject({ when: condition, plugins: entries })],
])
const schemas = [...pluginSchemas.values(), ...combinations.values()] as [EntrySchema, ...EntrySchema[]]
const entry: z.ZodType = z.union(schemas, { error: expected })

/** What `access` may say. */
export const accessSchema: z.ZodType = z.array(entry, { error: 'expected a list of plugins' })

type Issue = z.core.$ZodIssue

/** Whether an issue says no more than that an element of `access` is none of all that it could be. */
export function isEntryIssue (issue: Issue): boolean {
  return issue.code === 'invalid_union' && issue.message === expected
}

/** What the element seems to be meant as; undefined when that cannot be told. */
function meantSchema (value: unknown): EntrySchema | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  if ('use' in value) return pluginSchemas.get(String(value.use)) ?? z.looseObject({ use: z.enum(names, { error: `expected one of ${names.join(', ')}` }) })
  return [...combinations].find(([name]) => name in value)?.[1]
}

/** What is wrong with an element of `access`, as what it seems to be meant as; nothing when that cannot be told. */
export function entryIssues (value: unknown, { path }: Issue): Issue[] {
  const issues = meantSchema(value)?.safeParse(value).error?.issues ?? []
  return issues.map(issue => ({ ...issue, path: [...path, ...issue.path] }))
}

/** The fields that an element of `access` may have. */
export function entryFields (value: unknown): string[] {
  return Object.keys(meantSchema(value)?.shape ?? {})
}

interface EntryInput extends Readonly<Record<string, unknown>> {
  readonly use?: PluginName
  readonly when?: ConnectionCondition
}

async function settlePlugin (use: PluginName, given: object, { file, path }: Place): Promise<Record<string, unknown>> {
  const settled = Object.entries(given).map(async ([name, value]: [string, unknown]) => {
    const { settle } = pluginFields[use][name] ?? {}
    return [name, settle === undefined ? value : await settle(value, { file, path: `${path}.${name}` })] as const
  })
  return Object.fromEntries(await Promise.all(settled))
}

async function settleEntry ({ use, when, ...rest }: EntryInput, { file, path }: Place): Promise<AccessEntry> {
  const condition = when === undefined ? {} : { when }
  if (use !== undefined) return { ...condition, use, options: await settlePlugin(use, rest, { file, path }) }
  const combine = (['anyOf', 'allOf', 'plugins'] as const).find(name => name in rest) ?? 'plugins'
  return { ...condition, combine, members: await settleAccess(rest[combine], { file, path: `${path}.${combine}` }) }
}

/**
 * Makes of a checked `access` what plugins are built from: paths start where the file is, and secrets are read from where they are kept.
 * @throws {CommandError} with exit code 2 for a secret that is not there.
 */
export function settleAccess (value: unknown, { file, path }: Place): Promise<AccessEntry[]> {
  return Promise.all((value as readonly EntryInput[]).map((entry, index) => settleEntry(entry, { file, path: `${path}[${index}]` })))
}
