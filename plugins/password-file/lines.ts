import { fileInvalid } from '../../lib/index.ts'
import { hashFault, parsePasswordHash, type PasswordHash } from './hash.ts'

/** One line of a file of users: a name, a colon, and the rest. */
export interface UserLine {
  readonly username: string
  readonly rest: string
}

/** What a line says; undefined for a comment and a blank line, and no user for a line without a colon. */
export function readLine (line: string): UserLine | 'malformed' | undefined {
  const text = line.trim()
  if (text === '' || text.startsWith('#')) return undefined
  const colon = text.indexOf(':')
  return colon < 0 ? 'malformed' : { username: text.slice(0, colon), rest: text.slice(colon + 1) }
}

/** Says what is wrong with a user name; undefined when nothing is. */
export function usernameFault (username: string): string | undefined {
  if (username === '') return 'the user name is empty'
  if (/\p{Cc}/u.test(username)) return 'the user name has control characters'
  if (username !== username.trim()) return 'the user name begins or ends with a blank'
  if (username.startsWith('#')) return 'the user name begins with #, as comments do'
  if (username.includes(':')) return 'the user name has a colon'
  return Buffer.byteLength(username) > 65_535 ? 'the user name is over 65,535 bytes, more than MQTT can say' : undefined
}

/**
 * Reads a password file: all of it, or nothing.
 * @throws MqttError that names the first line that is wrong
 */
export function parsePasswordFile (path: string, text: string): ReadonlyMap<string, PasswordHash> {
  const hashes = new Map<string, PasswordHash>()
  for (const [index, line] of text.split('\n').entries()) {
    const user = readLine(line)
    if (user === undefined) continue
    const fault = user === 'malformed' ? 'expected "username:hash"' : usernameFault(user.username) ?? (hashes.has(user.username) ? 'that user is there already' : undefined)
    if (user === 'malformed' || fault !== undefined) throw fileInvalid(path, fault ?? '', index + 1)
    const hash = parsePasswordHash(user.rest)
    if (hash === undefined) throw fileInvalid(path, user.rest === '' ? 'the user has no hash' : hashFault(user.rest), index + 1)
    hashes.set(user.username, hash)
  }
  return hashes
}
