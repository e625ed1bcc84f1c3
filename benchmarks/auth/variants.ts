import { join } from 'node:path'
import { versionIn, type BrokerUnderTest } from '../runner/brokers.ts'

/** What takes part in a decision, as `server.ts` knows it, and as the table names it. The first one is what the others are compared with. */
export const variants = {
  none: 'none',
  yes: 'a hook that says true',
  'yes-deliver': 'the same for each delivery',
  rules: '`accessRules`',
  'rules-deliver': '`accessRules`, one rule for `deliver`',
  jwt: '`jwt` with `permissions`',
  http: '`httpAuth` with `authorizeUrl`',
  rate: '`rateLimit` with `publishes`',
  passwords: '`passwordFile`',
} as const

export type VariantId = keyof typeof variants

/** `none` a second time: what differs between the two is not the plugins' doing. */
export const again = 'none again' as const

/** Myelin as built in a folder, with one of the variants. */
export function variant (root: string, id: VariantId, name: string = id): BrokerUnderTest {
  const host = join(import.meta.dirname, `server${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
  return {
    name,
    version: versionIn(root),
    accesses: ['tcp'],
    protocolVersions: [4, 5],
    command: port => ({ file: process.execPath, args: [host, String(port), root, id] }),
  }
}
