import { access, constants, open, readFile, realpath, rename, stat, unlink, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { hashPassword } from '../password-file/index.ts'
import { looksHashed } from '../password-file/hash.ts'
import { readLine, usernameFault } from '../password-file/lines.ts'
import { deriveScramCredentials, formatScramCredentials } from '../scram/index.ts'
import { saslPrepare } from '../scram/saslprep.ts'
import { failure, systemErrorCode, usageError } from './command-error.ts'
import { readArguments } from './options/arguments.ts'
import { helpText, type Help } from './options/help.ts'
import type { Values } from './options/kinds.ts'
import { passwdOptions, type PasswdOptions } from './options/passwd-options.ts'
import { readPassword } from './password-input.ts'
import type { Terminal } from './terminal.ts'

/** The help of `myelin passwd`. */
export const passwdHelp: Help = {
  usage: [
    'myelin passwd [-c] <file> <username>               add a user, or change the password',
    'myelin passwd [-c] -b <file> <username> <password> the same, with the password as argument',
    'myelin passwd -D <file> <username>                 delete a user',
    'myelin passwd -U <file>                            hash the passwords of a file of username:password',
  ],
  about: 'Writes the files of the plugins passwordFile and scramFile. The password is asked for twice at a terminal, or is the first line of standard input.',
  groups: [{ title: 'Passwords', options: passwdOptions }],
  notes: ['The file is replaced as a whole, other lines and comments stay as they are. A broker that watches it takes the change over.'],
}

type Settings = Values<PasswdOptions>

/** Makes what stands after the colon. */
type Hash = (password: string) => Promise<string>

/** `myelin passwd`. */
export async function passwd (args: readonly string[], terminal: Terminal): Promise<void> {
  const settings = readArguments(passwdOptions, args)
  if (settings.help === true) { terminal.output.write(helpText(passwdHelp)); return }
  checkCall(settings)
  const { file = '', create = false } = settings
  await rewrite(file, create, await changeOf(settings, terminal))
}

function checkCall ({ file, username, password, create, delete: isDeleting, batch, hashPlain, scram, hash }: Settings): void {
  const wanted = hashPlain === true ? 'a file and no user name' : 'a file and a user name'
  if (file === undefined || (username === undefined) !== (hashPlain === true)) throw usageError(`passwd: expected ${wanted}; see myelin passwd --help`)
  if ((password === undefined) === (batch === true)) throw usageError('passwd: a password as argument goes with -b, and only there')
  if ([create, isDeleting, hashPlain].filter(Boolean).length > 1 || (isDeleting === true && batch === true)) throw usageError('passwd: only one of -c, -D and -U, and -D without -b')
  if (scram === true && hash !== undefined) throw usageError('passwd: --hash has no meaning with --scram')
}

/** What becomes of the lines of a file. */
type Change = (lines: readonly string[]) => Promise<readonly string[]>

async function changeOf (settings: Settings, terminal: Terminal): Promise<Change> {
  const { scram = false, hash = 'scrypt' } = settings
  const hasher = scram ? hashScram : (password: string) => hashPassword(password, hash)
  if (settings.hashPlain === true) return lines => hashPlainLines(lines, hasher)
  const username = checkedName(settings.username ?? '', scram)
  if (settings.delete === true) return lines => Promise.resolve(withoutUser(lines, username))
  const line = `${username}:${await hasher(await passwordOf(settings, terminal))}`
  return lines => Promise.resolve(withLine(lines, username, line))
}

/** Nobody is asked for one that there is no place for. */
async function passwordOf ({ file = '', create = false, password }: Settings, terminal: Terminal): Promise<string> {
  if (password === undefined) await checkPlace(file, create)
  const given = password ?? await readPassword(terminal, ['Password: ', 'Once more: '])
  if (given === undefined || given === '' || Buffer.byteLength(given) > 65_535) throw usageError('passwd: expected a password of 1 to 65,535 bytes')
  return given
}

const hashScram: Hash = async password => {
  if (saslPrepare(password) === undefined) throw usageError('passwd: SCRAM takes no password with control characters')
  return formatScramCredentials(await deriveScramCredentials(password))
}

/** The name as it is looked up. Nothing else may become a line of the file. */
function checkedName (username: string, scram: boolean): string {
  const name = scram ? saslPrepare(username) : username
  const fault = name === undefined ? 'SCRAM does not take that user name' : usernameFault(name)
  if (name === undefined || fault !== undefined) throw usageError(`passwd: ${fault ?? ''}`)
  return name
}

function isUser (line: string, username: string): boolean {
  const user = readLine(line)
  return typeof user === 'object' && user.username === username
}

function withLine (lines: readonly string[], username: string, line: string): readonly string[] {
  const index = lines.findIndex(other => isUser(other, username))
  if (index < 0) return [...lines, line]
  return lines.flatMap((other, at) => at === index ? [line] : isUser(other, username) ? [] : [other])
}

function withoutUser (lines: readonly string[], username: string): readonly string[] {
  const others = lines.filter(line => !isUser(line, username))
  if (others.length === lines.length) throw failure(`there is no user ${JSON.stringify(username)}`)
  return others
}

async function hashPlainLines (lines: readonly string[], hash: Hash): Promise<readonly string[]> {
  const hashed: string[] = []
  for (const [index, line] of lines.entries()) {
    const user = readLine(line)
    const fault = user === 'malformed' ? 'expected "username:password"' : user === undefined ? undefined : usernameFault(user.username) ?? (user.rest === '' ? 'the user has no password' : undefined)
    if (user === 'malformed' || fault !== undefined) throw failure(`line ${index + 1}: ${fault ?? ''}; nothing was changed`)
    hashed.push(user === undefined || looksHashed(user.rest) || user.rest.startsWith('SCRAM-SHA-256$') ? line : `${user.username}:${await hash(user.rest)}`)
  }
  return hashed
}

/** Where a file is written, and by which name until it is whole. */
interface Place {
  readonly path: string
  readonly target: string
  readonly fresh: string
  /** Whether there must be no such file yet, or must be one. */
  readonly create: boolean
}

async function placeOf (path: string, create: boolean): Promise<Place> {
  const target = await realpath(path).catch(() => path)
  return { path, target, fresh: `${target}.new`, create }
}

async function checkPlace (path: string, create: boolean): Promise<void> {
  const place = await placeOf(path, create)
  try {
    await stateOf(place)
    await access(dirname(place.target), constants.W_OK)
  } catch (error) {
    throw cannotWrite(place, error)
  }
}

/** Puts a new file in the place of the old one in one step: nobody ever reads half of it. What is written first keeps others from changing the same file meanwhile. */
async function rewrite (path: string, create: boolean, change: Change): Promise<void> {
  const place = await placeOf(path, create)
  try {
    const before = await stateOf(place)
    const file = await open(place.fresh, 'wx', before.mode)
    await replace(place, file, before, change)
  } catch (error) {
    throw cannotWrite(place, error)
  }
}

async function replace ({ target, fresh, create }: Place, file: FileHandle, before: FileState, change: Change): Promise<void> {
  try {
    await file.chown(before.uid, before.gid).catch(() => undefined) // not everybody may; then it is whose it is
    await file.chmod(before.mode)
    await file.writeFile(await change(create ? [] : linesOf(await readFile(target, 'utf8'))).then(textOf))
    await file.sync()
    await rename(fresh, target)
  } catch (error) {
    await unlink(fresh)
    throw error
  } finally {
    await file.close()
  }
}

interface FileState {
  readonly mode: number
  readonly uid: number
  readonly gid: number
}

/** What the new file takes over from the old one; others may not read it in any case. */
async function stateOf ({ target, create }: Place): Promise<FileState> {
  const found = await stat(target).catch((error: unknown) => {
    if (create && systemErrorCode(error) === 'ENOENT') return undefined
    throw error
  })
  if (found === undefined) return { mode: 0o600, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 }
  if (create) throw failure(`${target} is there already: leave -c out to add a user to it`)
  return { mode: found.mode & 0o660, uid: found.uid, gid: found.gid }
}

/** What the system has against it, as somebody can act on it; other errors say so by themselves. */
function cannotWrite ({ path, fresh, create }: Place, error: unknown): unknown {
  const code = systemErrorCode(error)
  if (code === undefined) return error
  const reasons = new Map([
    ['ENOENT', create ? 'there is no such directory' : 'there is no such file; -c makes one'],
    ['EEXIST', `another command is writing it; if none is, remove ${fresh}`],
    ['EACCES', 'not allowed'],
  ])
  return failure(`cannot write ${path}: ${reasons.get(code) ?? String(error)}`, error)
}

function linesOf (text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

function textOf (lines: readonly string[]): string {
  return lines.map(line => `${line}\n`).join('')
}
