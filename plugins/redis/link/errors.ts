import { MqttError, storeFailed, storeFull } from '../../../lib/index.ts'

/** What an error of Redis, or of the connection to it, asks for. */
export type Remedy =
  /** Send it again at once: with the text of the script, or in the order of numbers. */
  | 'resend'
  /** Send it again when Redis can be used again. */
  | 'wait'
  /** This generation may write no more. */
  | 'fenced'
  /** Nothing helps. */
  | 'reject'

const resent: readonly string[] = ['NOSCRIPT', 'ORDER']
/** Redis is starting, failing over, moving keys about or busy; nothing was executed. */
const passing: readonly string[] = [
  'LOADING', 'READONLY', 'MASTERDOWN', 'CLUSTERDOWN', 'TRYAGAIN', 'MOVED', 'ASK', 'BUSY', 'NOREPLICAS', 'UNBLOCKED',
]

export function remedyFor (error: unknown): Remedy {
  if (!isReply(error)) return isOurs(error) ? 'reject' : 'wait'
  const word = firstWord(error)
  if (word === 'FENCED') return 'fenced'
  if (resent.includes(word)) return 'resend'
  return passing.includes(word) ? 'wait' : 'reject'
}

/** The last number that was executed, for an ORDER error; else undefined. */
export function lastExecuted (error: unknown): number | undefined {
  return isReply(error) && firstWord(error) === 'ORDER' ? Number(error.message.split(' ')[1]) : undefined
}

/** A mistake, not a lost connection. */
function isOurs (error: unknown): boolean {
  return error instanceof MqttError || error instanceof TypeError || error instanceof RangeError
}

/** Redis has answered; other errors are those of connections. */
function isReply (error: unknown): error is Error {
  return error instanceof Error && error.name === 'ReplyError'
}

export function isUnknownScript (error: unknown): boolean { return isReply(error) && firstWord(error) === 'NOSCRIPT' }

/** Redis before 7.0 puts what a command of a script has met behind words of its own. */
function firstWord ({ message }: Error): string { return /^(?:ERR Error running script|@user_script).* -([A-Z]+) /.exec(message)?.[1] ?? message.split(' ', 1)[0] ?? '' }

/** Tells people what became of it, and what they can do. */
export function describe (error: unknown): MqttError {
  if (error instanceof MqttError) return error
  const text = error instanceof Error ? error.message : String(error)
  const cause = withoutCommand(error)
  const word = error instanceof Error ? firstWord(error) : ''
  if (word === 'OOM') return storeFull(`Redis has no memory left (${text}); raise its maxmemory, it goes on by itself`, { cause })
  if (word === 'MISCONF') return storeFull(`Redis cannot write to its disk and takes no changes (${text}); it goes on by itself when there is room`, { cause })
  if (['NOAUTH', 'WRONGPASS', 'NOPERM'].includes(word)) return storeFailed(`Redis does not allow it (${text}); check user, password and access list`, { cause })
  return storeFailed(`Redis has failed (${text})`, { cause })
}

/** ioredis notes on an error what it had sent: a password, or messages, which are not for logs. */
export function withoutCommand (error: unknown): unknown {
  for (let each = error as { command?: unknown, lastNodeError?: unknown }; each instanceof Error; each = each.lastNodeError as typeof each) delete each.command
  return error
}

export function fenced (): MqttError {
  return storeFailed('other nodes took this one for dead, and what it owned is theirs')
}

export function closed (): MqttError { return storeFailed('the connection to Redis was closed') }
