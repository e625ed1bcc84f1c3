import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { readArguments } from './options/arguments.ts'
import { usageError } from './command-error.ts'
import { helpText, type Help } from './options/help.ts'
import { helpOption } from './options/start-options.ts'
import type { Terminal } from './terminal.ts'
import { hashPassword } from './password-hash.ts'

const help: Help = {
  usage: ['myelin hash-password', 'echo secret | myelin hash-password'],
  about: 'Reads a password from standard input, its first line, and prints what "passwordHash" of a user takes in the configuration file.',
  groups: [{ title: 'Options', options: helpOption }],
}

/** The first line of the input. Typed at a terminal it is asked for, and not shown. */
function readLine ({ input, error }: Terminal): Promise<string | undefined> {
  const isTyped = input.isTTY === true
  if (isTyped) error.write('Password: ')
  const silent = new Writable({ write (_chunk, _encoding, done) { done() } })
  const lines = createInterface({ input, terminal: isTyped, ...(isTyped ? { output: silent } : {}) })
  return new Promise(resolve => {
    lines.once('line', line => {
      resolve(line)
      lines.close()
    })
    lines.once('close', () => {
      if (isTyped) error.write('\n')
      resolve(undefined)
    })
  })
}

/** `myelin hash-password`. */
export async function hashPasswordCommand (args: readonly string[], terminal: Terminal): Promise<void> {
  if (readArguments(helpOption, args).help === true) { terminal.output.write(helpText(help)); return }
  const password = await readLine(terminal)
  if (password === undefined || password === '') throw usageError('hash-password: expected a password on standard input')
  terminal.output.write(`${await hashPassword(password)}\n`)
}
