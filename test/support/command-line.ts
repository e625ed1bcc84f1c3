import { EventEmitter, once } from 'node:events'
import { PassThrough } from 'node:stream'
import { run } from '../../plugins/cli/run.ts'
import type { Terminal } from '../../plugins/cli/terminal.ts'

/** A command line that runs in this process. */
export class Call {
  readonly input = new PassThrough()
  readonly output = new PassThrough({ encoding: 'utf8' })
  readonly error = new PassThrough({ encoding: 'utf8' })
  readonly signals = new EventEmitter()
  readonly exits: number[] = []
  readonly ended: Promise<number>
  printed = ''
  complained = ''

  constructor (...args: string[]) {
    this.output.on('data', (text: string) => { this.printed += text })
    this.error.on('data', (text: string) => { this.complained += text })
    const terminal: Terminal = { input: this.input, output: this.output, error: this.error, signals: this.signals, exit: code => this.exits.push(code) }
    this.ended = run(args, terminal)
  }

  /** The first match in what is printed, as soon as it is there. */
  async prints (pattern: RegExp): Promise<string> {
    for (;;) {
      const [match] = pattern.exec(this.printed) ?? []
      if (match !== undefined) return match
      await once(this.output, 'data')
    }
  }

  async stop (): Promise<number> {
    this.signals.emit('SIGTERM')
    return this.ended
  }
}

/** The exit code of a command and what it says on standard error. */
export async function complaint (...args: string[]): Promise<[code: number, text: string]> {
  const call = new Call(...args)
  const code = await call.ended
  return [code, call.complained]
}

/** Keeps nothing, so that no test finds what another one left. */
export const inMemory: readonly string[] = ['--data', 'off']

/** What lets brokers of several tests live side by side. */
export const isolated: readonly string[] = ['--port', '0', '--ws-port', '0', ...inMemory]
