import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'
import { failure } from './command-error.ts'
import type { Terminal } from './terminal.ts'

/**
 * A password from standard input: its first line. Typed at a terminal it is asked for, as often as there are prompts, and not shown.
 * @returns undefined when the input ends before
 * @throws {CommandError} when what was typed differs
 */
export async function readPassword ({ input, error }: Terminal, prompts: readonly string[]): Promise<string | undefined> {
  const isTyped = input.isTTY === true
  const silent = new Writable({ write (_chunk, _encoding, done) { done() } })
  const lines = createInterface({ input, terminal: isTyped, ...(isTyped ? { output: silent } : {}) })
  const typed: string[] = []
  try {
    if (isTyped) error.write(prompts[0] ?? '')
    for await (const line of lines) {
      if (isTyped) error.write('\n')
      typed.push(line)
      if (!isTyped || typed.length === prompts.length) break
      error.write(prompts[typed.length] ?? '')
    }
  } finally {
    lines.close()
  }
  if (typed.some(line => line !== typed[0])) throw failure('the passwords differ')
  return typed.length < (isTyped ? prompts.length : 1) ? undefined : typed[0]
}
