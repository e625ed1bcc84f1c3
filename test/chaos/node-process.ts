import { spawn, type ChildProcess } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { createInterface } from 'node:readline'
import type { RedisProxy } from './redis-proxy.ts'

/** How the nodes of a cluster are started. */
export interface NodeOptions {
  /** The program of a node, see `test/cluster/node.mjs`. */
  readonly program: string
  readonly leaseMs: number
}

/** What no test is to run into. */
const limits = JSON.stringify({ maximumQueuedMessages: 10_000_000, maximumQueuedBytes: 2 ** 33, maximumTotalQueuedBytes: 2 ** 36 })
/** Characters of what a node has said that are remembered, the last ones. */
const remembered = 20_000

/** One node of the cluster in a process of its own, which is ended and started again and again. */
export class NodeProcess {
  readonly name: string
  /** Between it and Redis. */
  readonly proxy: RedisProxy
  /** Counts the processes. */
  incarnation = 0
  /** Those that were told to end. */
  readonly closed: Set<number> = new Set<number>()
  /** What it has said on standard error, all processes together. */
  complaints = ''
  readonly #options: NodeOptions
  /** Told `change` when a node comes or goes, and `failed` when one ends by itself. */
  readonly #events: EventEmitter
  readonly #answers = new EventEmitter().setMaxListeners(0)
  #child: ChildProcess | undefined = undefined
  #port: number | undefined = undefined
  #isPaused = false
  #questions = 0

  constructor (name: string, proxy: RedisProxy, options: NodeOptions, events: EventEmitter) {
    this.name = name
    this.proxy = proxy
    this.#options = options
    this.#events = events
    process.once('exit', this.#end)
  }

  /** undefined while no process listens that is awake. */
  get port (): number | undefined { return this.#isPaused ? undefined : this.#port }

  start (): void {
    const { program, leaseMs } = this.#options
    this.incarnation++
    const args = [program, '--redis', String(this.proxy.port), '--name', this.name, '--lease', String(leaseMs), '--sys', '0', '--limits', limits, '--log', 'warn']
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe', 'ipc'] })
    this.#child = child
    child.stderr?.setEncoding('utf8').on('data', (said: string) => { this.complaints = (this.complaints + said).slice(-remembered) })
    child.on('message', ({ id, value, error }: { id: number, value?: unknown, error?: string }) => { this.#answers.emit(`answer-${id}`, { value, error }) })
    child.once('exit', (code, signal) => { this.#ended(child, `${code ?? signal ?? ''}`) })
    void this.#listen(child)
  }

  /** Resolves when it listens. */
  async up (): Promise<void> {
    while (this.#port === undefined) await once(this.#events, 'change')
  }

  /** Ends the process without a warning. Resolves when it is gone. */
  async kill (): Promise<void> { await this.#send('SIGKILL') }

  /** Ends it as it should be. Resolves to its exit code. */
  async stop (): Promise<unknown> {
    this.closed.add(this.incarnation)
    return this.#send('SIGTERM')
  }

  /** It neither reads nor writes until resume(); its connections stay. */
  pause (): void {
    this.#isPaused = true
    this.#child?.kill('SIGSTOP')
  }

  resume (): void {
    this.#child?.kill('SIGCONT')
    this.#isPaused = false
    this.#events.emit('change')
  }

  /** What a node says of the cluster; undefined where it cannot say. */
  async ask (question: 'clients' | 'nodes' | 'metrics'): Promise<unknown> {
    const id = ++this.#questions
    const answered = once(this.#answers, `answer-${id}`)
    this.#child?.send({ id, ask: question })
    const [{ value, error }] = await answered as [{ value: unknown, error: string | undefined }]
    if (error !== undefined) throw new Error(`${this.name}: ${error}`)
    return value
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

  #ended (child: ChildProcess, how: string): void {
    if (this.#child !== child) return
    this.#child = this.#port = undefined
    this.#events.emit('failed', new Error(`${this.name} ended by itself (${how}): ${this.complaints}`))
  }

  async #listen (child: ChildProcess): Promise<void> {
    for await (const line of createInterface({ input: child.stdout as NodeJS.ReadableStream })) {
      if (this.#child !== child || !line.startsWith('{')) continue
      this.#port = (JSON.parse(line) as { port: number }).port
      this.#events.emit('change')
    }
  }
}
