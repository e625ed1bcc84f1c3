import type { Claims } from '../../lib/index.ts'

/** What the service said. */
export interface Answer {
  readonly result: 'allow' | 'deny' | 'ignore'
  /** May publish and subscribe to everything: this plugin does not ask about that client again. */
  readonly isSuperuser: boolean
  readonly claims: Claims | undefined
  /** Milliseconds since the epoch. */
  readonly expiresAt: number | undefined
}

const bare = { isSuperuser: false, claims: undefined, expiresAt: undefined } as const

/**
 * What a response says.
 * @param kind where the answer stands in a 2xx other than 204
 * @throws Error when it says nothing, which is never to be taken for consent
 */
export function answerOf (status: number, body: string, kind: 'json' | 'status'): Answer {
  if (status === 204 || (kind === 'status' && status >= 200 && status < 300)) return { result: 'allow', ...bare }
  if (status === 200) return parseAnswer(body)
  if (status >= 400 && status < 500 && status !== 408 && status !== 429) return { result: 'deny', ...bare }
  throw new Error(`it answered with status ${status}`)
}

function parseAnswer (body: string): Answer {
  const { result, is_superuser: isSuperuser, claims, expire_at: expireAt } = objectOf(parseJson(body))
  if (result !== 'allow' && result !== 'deny' && result !== 'ignore') throw new Error('its answer has no result that is allow, deny or ignore')
  if (isSuperuser !== undefined && typeof isSuperuser !== 'boolean') throw new Error('is_superuser of its answer is neither true nor false')
  if (expireAt !== undefined && (typeof expireAt !== 'number' || !(expireAt > 0))) throw new Error('expire_at of its answer is not in seconds')
  return {
    result,
    isSuperuser: isSuperuser === true,
    claims: claims === undefined ? undefined : objectOf(claims),
    expiresAt: expireAt === undefined ? undefined : expireAt * 1000,
  }
}

function parseJson (body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    throw new Error('its answer is no JSON') // the error of the parser would quote it
  }
}

function objectOf (value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('its answer, or the claims in it, is no object')
  return value as Record<string, unknown>
}
