import type { ClientInfo } from '../../lib/index.ts'
import { claimAt, type ClaimPath } from './claims.ts'

/** Who tells which groups a Client is in. */
export interface GroupSources {
  /** Groups by user: the option `groups` the other way round. */
  readonly ofUser: ReadonlyMap<string, readonly string[]>
  readonly claim: ClaimPath
}

/** Nobody but the claim `groups`. */
export const groupsOfClaim: GroupSources = { ofUser: new Map(), claim: 'groups' }

/** No wildcard, no separator, and not empty: whoever is called `#` must not get everybody's topics (CVE-2017-7650). */
const usable = /^[^+#/\0]+$/

const missing: readonly undefined[] = [undefined]

/** What rules want to know of a Client. */
export class Identity {
  readonly client: ClientInfo
  readonly groups: readonly string[]

  constructor (client: ClientInfo, { ofUser, claim }: GroupSources) {
    this.client = client
    const known = client.username === undefined ? undefined : ofUser.get(client.username)
    this.groups = [...known ?? [], ...listOf(claimAt(client.claims, claim)).filter(group => typeof group === 'string')]
  }

  /**
   * The values for a place in a filter: several for a claim that is a list; undefined for one that must not stand in a filter.
   * @param name `clientId`, `username`, or `claims.` and where a claim stands
   */
  valuesOf (name: string): readonly (string | undefined)[] {
    if (name === 'clientId') return [checked(this.client.clientIdentifier)]
    if (name === 'username') return [checked(this.client.username)]
    const claim = claimAt(this.client.claims, name.slice('claims.'.length))
    return claim === undefined ? missing : listOf(claim).map(checked)
  }
}

function listOf (claim: unknown): readonly unknown[] {
  if (Array.isArray(claim)) return claim as readonly unknown[]
  return claim === undefined ? [] : [claim]
}

function checked (value: unknown): string | undefined {
  const text = Number.isSafeInteger(value) ? String(value) : value
  return typeof text === 'string' && usable.test(text) ? text : undefined
}
