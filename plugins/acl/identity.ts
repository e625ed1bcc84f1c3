import type { ClientInfo } from '../../lib/index.ts'

/** Groups by user: the option `groups` the other way round. */
export type GroupsOfUser = ReadonlyMap<string, readonly string[]>

/** No wildcard, no separator, and not empty: whoever is called `#` must not get everybody's topics (CVE-2017-7650). */
const usable = /^[^+#/\0]+$/

const missing: readonly undefined[] = [undefined]

/** What rules want to know of a Client. */
export class Identity {
  readonly client: ClientInfo
  readonly groups: readonly string[]

  constructor (client: ClientInfo, groupsOfUser: GroupsOfUser) {
    this.client = client
    const known = client.username === undefined ? undefined : groupsOfUser.get(client.username)
    this.groups = [...known ?? [], ...listOf(this.#claim('groups')).filter(group => typeof group === 'string')]
  }

  /**
   * The values for a place in a filter: several for a claim that is a list; undefined for one that must not stand in a filter.
   * @param name `clientId`, `username`, or `claims.` and the name of a claim
   */
  valuesOf (name: string): readonly (string | undefined)[] {
    if (name === 'clientId') return [checked(this.client.clientIdentifier)]
    if (name === 'username') return [checked(this.client.username)]
    const claim = this.#claim(name.slice('claims.'.length))
    return claim === undefined ? missing : listOf(claim).map(checked)
  }

  /** Own claims only: whatever a token names `constructor`, or does not. */
  #claim (name: string): unknown {
    const { claims } = this.client
    return Object.hasOwn(claims, name) ? claims[name] : undefined
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
