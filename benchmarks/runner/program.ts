import { setMaxListeners } from 'node:events'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** The folder of the project that a file is in, wherever it was compiled to. */
export function findRoot (folder: string): string {
  return existsSync(join(folder, 'package.json')) ? folder : findRoot(dirname(folder))
}

/** Runs a program of the command line: its signal ends what it has started, and an error is told in one line. */
export async function runProgram (program: (args: string[], signal: AbortSignal) => Promise<void>): Promise<void> {
  const ending = new AbortController()
  setMaxListeners(0, ending.signal) // each process listens to it
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { ending.abort(new Error(`ended by ${signal}`)) })
  try {
    await program(process.argv.slice(2), ending.signal)
  } catch (error) {
    console.error(error instanceof Error ? error.message : error)
    process.exitCode = 1
  }
}
