import { ErrorCode, MqttError, type Plugin } from '../../../lib/index.ts'
import { usageError } from '../command-error.ts'
import type { AccessEntry, PluginName } from '../options/access.ts'
import { withPeers } from '../peers.ts'

type Make = (options: never) => object

// Each plugin is loaded when it is used: some need packages of their own.
const plugins: Readonly<Record<PluginName, () => Promise<Make>>> = {
  passwordFile: async () => (await import('../../password-file/index.ts')).passwordFile,
  scramFile: async () => (await import('../../scram/index.ts')).scramFile,
  jwt: async () => (await import('../../jwt/index.ts')).jwt,
  clientCertificate: async () => (await import('../../client-certificate/index.ts')).clientCertificate,
  httpAuth: async () => (await import('../../http-auth/index.ts')).httpAuth,
  accessRules: async () => (await import('../../acl/index.ts')).accessRules,
  mosquittoAcl: async () => (await import('../../acl/index.ts')).mosquittoAcl,
  rateLimit: async () => (await import('../../rate-limit/index.ts')).rateLimit,
  requireEncryption: async () => (await import('../../crypto/index.ts')).requireEncryption,
}

/**
 * Makes the plugin of one element of `access`; nothing is set up yet.
 * @param path of the element, for errors
 * @throws {CommandError} with exit code 2 for an option that is wrong, 1 for a package that is missing.
 */
export async function pluginOf (entry: AccessEntry, path: string): Promise<Plugin> {
  const plugin = 'use' in entry ? await single(entry.use, entry.options, path) : await combined(entry, path)
  const { when: condition } = entry
  if (condition === undefined) return plugin
  const { when } = await import('../../chain/index.ts')
  return named(path, () => when(condition, plugin))
}

async function single (use: PluginName, options: object, path: string): Promise<Plugin> {
  const make = await withPeers(plugins[use])
  return named(path, () => make(options as never) as Plugin)
}

async function combined ({ combine, members }: Extract<AccessEntry, { readonly combine: unknown }>, path: string): Promise<Plugin> {
  const made = await Promise.all(members.map((member, index) => pluginOf(member, `${path}.${combine}[${index}]`)))
  const { allOf, anyOf, chain } = await import('../../chain/index.ts')
  if (combine === 'anyOf') return named(path, () => anyOf(...made))
  if (combine === 'allOf') return named(path, () => allOf(...made))
  return named(path, () => chain({ name: made.map(({ name }) => name).join(', '), plugins: made }))
}

/** Errors of a plugin about its options say which plugin that is. */
function named<T> (path: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof MqttError && error.code === ErrorCode.optionInvalid) throw usageError(`${path}: ${error.message}`)
    throw error
  }
}
