import type { JSONWebKeySet } from 'jose'

/** Members of a key that only its owner may have (RFC 7518 sections 6.2.2, 6.3.2 and 6.4). */
const privateMembers = ['d', 'p', 'q', 'dp', 'dq', 'qi', 'oth', 'k', 'priv']

/**
 * Reads a JSON Web Key Set (RFC 7517 section 5). Kinds of keys that nobody here knows may be in it; private ones and secrets may not, since
 * a set is there to be published.
 * @param fail makes the error of a fault; it is not told what the text was, which might be a secret
 */
export function parseKeySet (text: string, fail: (fault: string) => Error): JSONWebKeySet {
  const set = parse(text, fail)
  const keys = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : undefined
  if (!Array.isArray(keys)) throw fail('it has no list "keys"')
  if (keys.length === 0) throw fail('it has no keys')
  keys.forEach((key: unknown, index) => {
    if (typeof key !== 'object' || key === null || !('kty' in key)) throw fail(`key ${index + 1} is none`)
    if (privateMembers.some(member => Object.hasOwn(key, member))) throw fail(`key ${index + 1} is a secret or a private key: only public ones belong here`)
  })
  return set as JSONWebKeySet
}

function parse (text: string, fail: (fault: string) => Error): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw fail('it is not JSON')
  }
}
