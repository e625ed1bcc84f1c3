import type { Claims } from '../../lib/index.ts'
import { isRecord } from './checks.ts'

/** Where a claim stands: its name; or names of claims within claims, with dots between them, or as a list, for names that have dots themselves. */
export type ClaimPath = string | readonly string[]

/**
 * What a Client's claims say. A claim that is called as the text says, dots and all, comes before one within others. Own claims only, of objects only: whatever a
 * token names `constructor` or does not, and however long its lists are.
 */
export function claimAt (claims: Claims, path: ClaimPath): unknown {
  if (typeof path === 'string' && Object.hasOwn(claims, path)) return claims[path]
  const names = typeof path === 'string' ? path.split('.') : path
  return names.reduce<unknown>((within, name) => isRecord(within) && Object.hasOwn(within, name) ? within[name] : undefined, claims)
}
