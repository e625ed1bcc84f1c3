import type { ConnectionCondition } from '../../chain/index.ts'

/** The plugins that the configuration file can name. */
export type PluginName =
  | 'passwordFile' | 'scramFile' | 'jwt' | 'clientCertificate' | 'httpAuth'
  | 'accessRules' | 'mosquittoAcl' | 'rateLimit' | 'requireEncryption'

/** One element of `access`, read and checked: a plugin with its options, or several that make one. Paths are absolute, secrets are there. */
export type AccessEntry = { readonly when?: ConnectionCondition } & (
  | { readonly use: PluginName, readonly options: Readonly<Record<string, unknown>> }
  | { readonly combine: 'anyOf' | 'allOf' | 'plugins', readonly members: readonly AccessEntry[] }
)

const authenticators: ReadonlySet<PluginName> = new Set<PluginName>(['passwordFile', 'scramFile', 'jwt', 'clientCertificate', 'httpAuth'])

/** The plugins that are named, wherever they stand. */
export function pluginNames (entries: readonly AccessEntry[]): PluginName[] {
  return entries.flatMap(entry => 'use' in entry ? [entry.use] : pluginNames(entry.members))
}

/** Whether clients have to show who they are. Where plugins only decide what a client may do, or how often, nobody asks who it is. */
export function authenticates (entries: readonly AccessEntry[]): boolean {
  return pluginNames(entries).some(name => authenticators.has(name))
}
