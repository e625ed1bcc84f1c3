import { getSystemErrorName } from 'node:util'
import { MqttError, storeFailed, storeFull } from '../../lib/index.ts'

/** What went wrong below, by the name that the operating system or LMDB has for it; '' when it has none. */
export function causeOf (error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) return ''
  if (typeof error.code === 'string') return error.code
  return typeof error.code === 'number' ? nameOf(error.code) : ''
}

/** LMDB gives errors of the operating system as positive numbers, its own as these. */
const lmdbNames: ReadonlyMap<number, string> = new Map([
  [-30792, 'MDB_MAP_FULL'], [-30793, 'MDB_INVALID'], [-30794, 'MDB_VERSION_MISMATCH'], [-30795, 'MDB_PANIC'],
  [-30796, 'MDB_CORRUPTED'], [-30797, 'MDB_PAGE_NOTFOUND'],
])

function nameOf (code: number): string {
  return code < 0 ? lmdbNames.get(code) ?? `LMDB ${code}` : getSystemErrorName(-code)
}

const noRoom: ReadonlySet<string> = new Set(['ENOSPC', 'EDQUOT', 'EFBIG', 'MDB_MAP_FULL'])
const damaged: ReadonlySet<string> = new Set(['MDB_INVALID', 'MDB_VERSION_MISMATCH', 'MDB_CORRUPTED', 'MDB_PAGE_NOTFOUND'])
const notPermitted: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS'])
const noDirectory: ReadonlySet<string> = new Set(['ENOTDIR', 'EEXIST'])

/** Tells people what became of the store in `path`, and what they can do. */
export function describe (error: unknown, path: string): MqttError {
  if (error instanceof MqttError) return error
  const name = causeOf(error)
  const text = error instanceof Error ? error.message : String(error)
  const reason = text.startsWith(name) ? text : `${name}: ${text}`
  if (noRoom.has(name)) return storeFull(`no room for the store in ${path} (${reason}); free some space or raise the quota, it goes on by itself`, { cause: error })
  if (damaged.has(name)) return damagedStore(path, reason, error)
  if (notPermitted.has(name)) return notAllowed(path, reason, error)
  if (noDirectory.has(name)) return storeFailed(`${path} is not a directory (${reason}); name a directory of its own for the store`, { cause: error })
  return storeFailed(`the store in ${path} cannot be used (${reason})`, { cause: error })
}

export function damagedStore (path: string, reason: string, cause?: unknown): MqttError {
  return storeFailed(`the store in ${path} is damaged, or not one of Myelin (${reason}); ` +
    'restore it from a backup, or move its files away to begin with an empty one', { cause })
}

function notAllowed (path: string, reason: string, cause: unknown): MqttError {
  const who = process.getuid === undefined ? 'the user that runs the broker' : `the user with the id ${process.getuid()}`
  return storeFailed(`no permission to use the store in ${path} (${reason}); ${who} has to be allowed to read and write the directory and its files`, { cause })
}
