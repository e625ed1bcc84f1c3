import { spawn, type ChildProcess } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'

export type Durability = 'power' | 'process'

/** What no test is to run into. */
const unlimited = ['--maximum-queued-messages', '10000000', '--maximum-queued-bytes', '8GiB', '--maximum-total-queued-bytes', '64GiB']

/** The built command line in a process of its own, which is started on one directory again and again. */
export class BrokerProcess {
  /** Rejects when the broker ends by itself. */
  readonly failed: Promise<never>
  /** Counts the starts: what was known of one process says nothing about the next. */
  incarnation = 0
  readonly #main: string
  readonly #directory: string
  readonly #events = new EventEmitter().setMaxListeners(0)
  #port: number | undefined = undefined
  #child: ChildProcess | undefined = undefined
  #said = ''

  /** @param main the file that the command line starts with */
  constructor (main: string, directory: string) {
    this.#main = main
    this.#directory = directory
    this.failed = new Promise((_resolve, reject) => { this.#events.once('failed', reject) })
    this.failed.catch(() => undefined) // whoever waits for it hears of it
    process.once('exit', this.#end)
  }

  /** undefined from the moment in which it is killed until the next one listens. */
  get port (): number | undefined { return this.#port }

  /** What it has said on standard error, all processes together. */
  get complaints (): string { return this.#said }

  start (durability: Durability): void {
    this.incarnation++
    const args = ['--host', '127.0.0.1', '--port', '0', '--ws-port', 'off', '--log-level', 'warn', '--sys-interval', '0', ...unlimited]
    const child = spawn(process.execPath, [this.#main, 'start', ...args, '--data', this.#directory, '--durability', durability], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    child.stderr.setEncoding('utf8').on('data', (said: string) => { this.#said += said })
    child.once('exit', (code, signal) => { if (this.#child === child) this.#events.emit('failed', new Error(`the broker ended by itself (${code ?? signal ?? ''}): ${this.#said}`)) })
    void this.#listen(child, child.stdout)
  }

  /** The port, once it listens. */
  async up (): Promise<number> {
    while (this.#port === undefined) await once(this.#events, 'up')
    return this.#port
  }

  /** Ends the process without a warning. Resolves when it is gone. */
  async kill (): Promise<void> {
    await this.#send('SIGKILL')
  }

  /** Ends it as it should be. Resolves to its exit code. */
  async stop (): Promise<unknown> {
    return this.#send('SIGTERM')
  }

  /** What `myelin inspect --json` says about the directory, an object a line. */
  async inspect (): Promise<Record<string, unknown>[]> {
    const child = spawn(process.execPath, [this.#main, 'inspect', this.#directory, '--json'], { stdio: ['ignore', 'pipe', 'inherit'] })
    const lines = (await text(child.stdout)).trimEnd().split('\n')
    return lines.map(line => JSON.parse(line) as Record<string, unknown>)
  }

  /** Leaves no process behind. */
  close (): void {
    this.#end()
    process.off('exit', this.#end)
  }

  readonly #end = (): void => {
    const child = this.#child
    this.#child = this.#port = undefined
    child?.kill('SIGKILL')
  }

  async #send (signal: NodeJS.Signals): Promise<unknown> {
    const child = this.#child
    this.#child = this.#port = undefined
    if (child === undefined) return undefined
    const exit = once(child, 'exit')
    child.kill(signal)
    return (await exit)[0]
  }

  async #listen (child: ChildProcess, output: Readable): Promise<void> {
    let banner = ''
    for await (const chunk of output.setEncoding('utf8')) {
      banner += String(chunk)
      const port = /mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(banner)?.[1]
      if (port === undefined || this.#child !== child || this.#port !== undefined) continue
      this.#port = Number(port)
      this.#events.emit('up')
    }
  }
}
