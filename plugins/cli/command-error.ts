/** Ends a command: the message is all that is printed, without a stack. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly exitCode: number

  constructor (message: string, exitCode: number, options?: ErrorOptions) {
    super(message, options)
    this.exitCode = exitCode
  }
}

/** The command was called wrongly: exit code 2. */
export function usageError (message: string): CommandError {
  return new CommandError(message, 2)
}

/** The command was right, but could not be done: exit code 1. */
export function failure (message: string, cause?: unknown): CommandError {
  return new CommandError(message, 1, { cause })
}

/** The code of a system error such as `EADDRINUSE`, undefined for anything else. */
export function systemErrorCode (error: unknown): string | undefined {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : undefined
}

const reasons: ReadonlyMap<string, string> = new Map([['ENOENT', 'there is none'], ['EISDIR', 'that is a directory'], ['EACCES', 'not allowed']])

/** Why a file could not be read, in a few words. */
export function whyNotRead (error: unknown): string {
  const code = systemErrorCode(error)
  return reasons.get(code ?? '') ?? code ?? String(error)
}
