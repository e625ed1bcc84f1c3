import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { z } from 'zod'
import { systemErrorCode, usageError } from '../command-error.ts'
import type { PluginName } from './access.ts'

/** Where a value stands: the configuration file, and the path to it in there. */
export interface Place {
  readonly file: string
  readonly path: string
}

/** A field of a plugin: what it may say, and what that becomes for the plugin. */
export interface Field {
  readonly schema: z.ZodType
  readonly settle?: (value: unknown, place: Place) => unknown
}

export type Fields = Readonly<Record<string, Field>>

const text = z.string({ error: 'expected a text' }).min(1, { error: 'expected a text' })
const texts = z.array(text, { error: 'expected a list of texts' })
const number = z.number({ error: 'expected a number' })
const flag = z.boolean({ error: 'expected true or false' })
const path = text.meta({ description: 'Relative to this file.' })
const oneOrMore = z.union([text, texts], { error: 'expected a text, or a list of texts' })
const record = z.record(z.string(), z.unknown(), { error: 'expected an object' })

const secretSources = '{ "env": "NAME" } or { "file": "path" }'
const secretText = z.union([
  text, z.strictObject({ env: text }), z.strictObject({ file: text }),
], { error: `expected a text, ${secretSources}` }).meta({ description: `The text itself, ${secretSources}: then it is in the environment, or in a file.` })

function choice (...choices: readonly [string, ...string[]]): z.ZodType {
  return z.enum(choices, { error: `expected one of ${choices.join(', ')}` })
}

function numbers (...names: readonly string[]): z.ZodType {
  return z.strictObject(Object.fromEntries(names.map(name => [name, number.optional()])), { error: 'expected an object' })
}

function absolute (value: unknown, { file }: Place): string {
  return resolve(dirname(file), String(value))
}

function fromEnvironment (name: string, where: string): string {
  const value = process.env[name]
  if (value === undefined || value === '') throw usageError(`${where}: the environment variable ${name} is not set`)
  return value
}

async function fromFile (path: string, where: string): Promise<string> {
  const content = await readFile(path, 'utf8').catch((error: unknown) => {
    throw usageError(`${where}: cannot read ${path}: ${systemErrorCode(error) ?? String(error)}`)
  })
  const secret = content.replace(/\r?\n$/, '')
  if (secret === '') throw usageError(`${where}: ${path} is empty`)
  return secret
}

/** The text of a secret, wherever it is kept. */
function secretOf (value: unknown, place: Place): string | Promise<string> {
  if (typeof value === 'string') return value
  const source = value as { readonly env: string } | { readonly file: string }
  return 'env' in source ? fromEnvironment(source.env, place.path) : fromFile(absolute(source.file, place), place.path)
}

async function secretBytes (value: unknown, place: Place): Promise<Buffer> {
  const secret = await secretOf(value, place)
  const bytes = Buffer.from(secret, 'base64')
  if (bytes.length < 16 || bytes.toString('base64') !== secret) throw usageError(`${place.path}: expected 16 bytes or more in Base64`)
  return bytes
}

async function secretsOf (value: unknown, { file, path }: Place): Promise<object> {
  const entries = Object.entries(value as object).map(async ([name, secret]: [string, unknown]) => [name, await secretOf(secret, { file, path: `${path}.${name}` })] as const)
  return Object.fromEntries(await Promise.all(entries))
}

function keySetPlace (value: unknown, place: Place): unknown {
  return typeof value === 'string' && !/^https?:/i.test(value) ? absolute(value, place) : value
}

const aPath: Field = { schema: path, settle: absolute }
const aSecret: Field = { schema: secretText, settle: secretOf }
const aText: Field = { schema: text }
const aFlag: Field = { schema: flag }
const aNumber: Field = { schema: number }
const someTexts: Field = { schema: oneOrMore }

const tokenSource = z.union([
  z.enum(['password', 'username', 'header']), z.strictObject({ query: text }), z.strictObject({ cookie: text }),
], { error: 'expected "password", "username", "header", { "query" } or { "cookie" }' })

const rulesPlugin: Fields = { name: aText, watch: aFlag, cacheSize: aNumber, maximumFilters: aNumber }

/** The options of each plugin as far as JSON can say them, by the names that they have in code. What the values have to be, the plugins check. */
export const pluginFields: Readonly<Record<PluginName, Fields>> = {
  passwordFile: { path: aPath, watch: aFlag, name: aText, maximumConcurrent: aNumber, maximumWaiting: aNumber, maximumRemembered: aNumber },
  scramFile: { path: aPath, watch: aFlag, secret: { schema: secretText, settle: secretBytes } },
  jwt: {
    name: aText, secret: aSecret, key: aSecret,
    jwks: { schema: z.union([text, record], { error: 'expected a URL, the path of a file, or a key set' }), settle: keySetPlace },
    keySet: { schema: numbers('refreshSeconds', 'cooldownSeconds', 'staleSeconds', 'timeoutMs', 'maximumBytes') },
    watch: aFlag, algorithms: { schema: texts }, issuer: someTexts, audience: someTexts, type: aText, clockToleranceSeconds: aNumber, requireExpiry: aFlag,
    username: aText, clientIdentifier: aText,
    from: { schema: z.union([tokenSource, z.array(tokenSource)], { error: 'expected "password", "username", "header", { "query" }, { "cookie" }, or a list of them' }) },
    method: { schema: z.union([text, z.literal(false)], { error: 'expected a text, or false' }) },
    permissions: aText, maximumTokenBytes: aNumber, cachedTokens: aNumber,
  },
  clientCertificate: {
    name: aText, identity: { schema: choice('commonName', 'dns', 'email', 'uri') }, clientIdentifier: aFlag, required: aFlag, ca: aPath, crl: aPath, acceptExpiredCrl: aFlag, watch: aFlag,
  },
  httpAuth: {
    url: aText, authorizeUrl: aText, method: { schema: choice('POST', 'PUT') },
    headers: { schema: z.record(z.string(), secretText, { error: 'expected an object of texts' }), settle: secretsOf },
    tls: {
      schema: z.strictObject({ ca: secretText.optional(), cert: secretText.optional(), key: secretText.optional(), passphrase: secretText.optional(), servername: text.optional() }, { error: 'expected an object' }),
      settle: secretsOf,
    },
    answer: { schema: choice('json', 'status') }, whenUnavailable: { schema: choice('refuse', 'abstain') }, timeoutMs: aNumber, maximumConnections: aNumber, maximumWaiting: aNumber,
    maximumAnswerSize: aNumber, authenticateCacheMs: aNumber, authorizeCacheMs: aNumber, maximumCached: aNumber, maximumFailures: aNumber, retryAfterMs: aNumber, name: aText,
  },
  accessRules: {
    ...rulesPlugin, path: aPath, rules: { schema: z.array(record, { error: 'expected a list of rules' }) }, groups: { schema: z.record(z.string(), texts, { error: 'expected an object with a list of users for each group' }) },
    groupsClaim: someTexts, default: { schema: choice('allow', 'deny') },
  },
  mosquittoAcl: { ...rulesPlugin, path: aPath },
  rateLimit: {
    name: aText, connections: { schema: numbers('perSecond', 'burst') }, concurrent: aNumber, failedLogins: { schema: numbers('attempts', 'withinMs', 'banMs', 'factor', 'maximumBanMs') },
    publishes: {
      schema: z.strictObject({
        perSecond: number.optional(), burst: number.optional(), bytesPerSecond: number.optional(), burstBytes: number.optional(), maximumDelayMs: number.optional(),
        action: choice('delay', 'refuse', 'disconnect').optional(),
      }, { error: 'expected an object' }),
    },
    flapping: { schema: numbers('disconnects', 'withinMs', 'banMs') }, addressPrefix: { schema: numbers('ipv4', 'ipv6') }, allow: { schema: texts }, maximumEntries: aNumber,
  },
  requireEncryption: { filters: { schema: texts }, name: aText },
}

/** Fields that a plugin cannot do without. */
export const neededFields: Readonly<Partial<Record<PluginName, readonly string[]>>> = {
  passwordFile: ['path'], scramFile: ['path'], mosquittoAcl: ['path'], httpAuth: ['url'], requireEncryption: ['filters'],
}

/** For which connections a plugin is. */
export const condition: z.ZodType = z.strictObject({
  listener: oneOrMore.optional(), address: oneOrMore.optional(), transport: choice('stream', 'websocket').optional(),
}, { error: 'expected an object with listener, address or transport' })
