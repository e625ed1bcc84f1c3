import { createInterface } from 'node:readline'
import { Writable, type Readable } from 'node:stream'
import { failure } from './command-error.ts'
import type { Terminal } from './terminal.ts'

/**
 * A password from standard input: its first line. Typed at a terminal it is asked for, as often as there are prompts, and not shown.
 * @returns undefined when the input ends before
 * @throws {CommandError} when what was typed differs
 */
export async function readPassword ({ input, error }: Terminal, prompts: readonly string[]): Promise<string | undefined> {
  if (input.isTTY !== true) return firstLine(input)
  const typed = await typedLines(input, error, prompts)
  if (typed.some(line => line !== typed[0])) throw failure('the passwords differ')
  return typed.length < prompts.length ? undefined : typed[0]
}

async function firstLine (input: Readable): Promise<string | undefined> {
  const lines = createInterface({ input, terminal: false })
  try {
    for await (const line of lines) return line
    return undefined
  } finally {
    lines.close()
  }
}

/** One for each prompt, or fewer where the input ends. */
async function typedLines (input: Readable, error: Writable, prompts: readonly string[]): Promise<string[]> {
  const silent = new Writable({ write (_chunk, _encoding, done) { done() } })
  const lines = createInterface({ input, terminal: true, output: silent })
  const typed: string[] = []
  try {
    error.write(prompts[0] ?? '')
    for await (const line of lines) {
      error.write('\n')
      if (typed.push(line) === prompts.length) break
      error.write(prompts[typed.length] ?? '')
    }
  } finally {
    lines.close()
  }
  return typed
}
