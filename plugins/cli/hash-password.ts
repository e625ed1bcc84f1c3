import { readArguments } from './options/arguments.ts'
import { usageError } from './command-error.ts'
import { helpText, type Help } from './options/help.ts'
import { helpOption } from './options/start-options.ts'
import { readPassword } from './password-input.ts'
import type { Terminal } from './terminal.ts'
import { hashPassword } from '../password-file/index.ts'

const help: Help = {
  usage: ['myelin hash-password', 'echo secret | myelin hash-password'],
  about: 'Reads a password from standard input, its first line, and prints what "passwordHash" of a user takes in the configuration file.',
  groups: [{ title: 'Options', options: helpOption }],
}

/** `myelin hash-password`. */
export async function hashPasswordCommand (args: readonly string[], terminal: Terminal): Promise<void> {
  if (readArguments(helpOption, args).help === true) { terminal.output.write(helpText(help)); return }
  const password = await readPassword(terminal, ['Password: '])
  if (password === undefined || password === '') throw usageError('hash-password: expected a password on standard input')
  terminal.output.write(`${await hashPassword(password)}\n`)
}
