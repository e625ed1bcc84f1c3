import type { Readable, Writable } from 'node:stream'

export type Signal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** The part of a process, or of any EventEmitter, that tells of signals. */
export interface Signals {
  on (signal: Signal, listener: () => void): unknown
  off (signal: Signal, listener: () => void): unknown
}

/** What a command has around it: the process in earnest, streams in a test. */
export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean }
  readonly output: Writable
  readonly error: Writable
  /** Emits SIGINT, SIGTERM and SIGHUP. */
  readonly signals: Signals
  /** Ends the process at once. */
  readonly exit: (code: number) => void
}

/** The terminal of this process. Standard input is opened only when a command reads it. */
export const processTerminal: Terminal = {
  get input () { return process.stdin },
  output: process.stdout,
  error: process.stderr,
  signals: process,
  exit: code => { process.exit(code) },
}
