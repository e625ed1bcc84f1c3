import { closed, describe, isUnknownScript, remedyFor, withoutCommand } from './errors.ts'
import { newConnection, retryDelayMs, type Argument, type Connection, type Settings } from './options.ts'
import { rootKey } from './layout.ts'
import type { Script } from './script.ts'
import { ScriptCommand } from './script-command.ts'
import { storeFailed } from '../../../lib/index.ts'

export type { Argument }

/** Who wants to know when what was sent is lost, and when it can be sent again. */
export interface LinkWatcher {
  lost (error: Error | undefined): void
  ready (): void
}

/** Something that may be asked twice. */
interface Call {
  send (): Promise<unknown>
  resolve (reply: unknown): void
  reject (error: Error): void
  tries: number
}

/**
 * A connection to Redis that goes on after it was lost. `call` and `command` are sent until they are answered, so they may be executed twice;
 * what must be executed once goes through a `Pipe`.
 */
export class Link {
  readonly connection: Connection
  /** What all keys begin with: the hash tag and a colon. */
  readonly root: string
  readonly #watchers = new Set<LinkWatcher>()
  readonly #calls = new Set<Call>()
  /** Scripts that Redis was sent the text of. */
  readonly #known = new Set<string>()
  readonly #timers = new Set<NodeJS.Timeout>()
  /** Counts up when what was sent is lost. */
  #epoch = 0
  #error: Error | undefined = undefined
  #isClosed = false

  constructor ({ redis, prefix, leaseMs }: Settings) {
    this.root = rootKey(prefix)
    this.connection = newConnection(redis, Math.max(leaseMs, 2_000))
    this.connection.on('error', (error: Error) => { this.#error = withoutCommand(error) as Error })
    this.connection.on('close', () => { this.#lost() })
    this.connection.on('ready', () => { this.#ready() })
  }

  get isReady (): boolean { return this.connection.status === 'ready' }

  /** @throws MqttError when Redis cannot be reached now */
  async open (): Promise<void> {
    try {
      await this.connection.connect()
    } catch (error) {
      this.close()
      const cause = withoutCommand(this.#error ?? error)
      throw storeFailed(`Redis cannot be reached (${cause instanceof Error ? cause.message : String(cause)})`, { cause })
    }
  }

  watch (watcher: LinkWatcher): void { this.#watchers.add(watcher) }

  /** Sends a script once. */
  async eval ({ lua, sha }: Script, args: readonly Argument[]): Promise<unknown> {
    const isKnown = this.#known.has(sha)
    this.#known.add(sha)
    try {
      return await this.connection.sendCommand(new ScriptCommand(this.connection, isKnown ? 'EVALSHA' : 'EVAL', isKnown ? sha : lua, this.root, args))
    } catch (error) {
      if (isUnknownScript(error)) this.#known.clear()
      throw error
    }
  }

  /** Runs a script that may be executed twice; ARGV begins with `args`. Waits as long as Redis is away. Replies are Buffers, numbers, null and arrays of them. */
  call (script: Script, ...args: readonly Argument[]): Promise<unknown> {
    return this.#add(() => this.eval(script, args))
  }

  /** Runs a command that may be executed twice; `key` without what all keys begin with. */
  command (name: string, key: string, ...args: readonly Argument[]): Promise<unknown> {
    return this.#add(() => this.connection.callBuffer(name, [this.root + key, ...args]))
  }

  /** Calls back in some milliseconds, unless it is closed by then. */
  later (tries: number, callback: () => void): void {
    if (this.#isClosed) return
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      callback()
    }, retryDelayMs(tries)).unref()
    this.#timers.add(timer)
  }

  close (): void {
    this.#isClosed = true
    for (const timer of this.#timers) clearTimeout(timer)
    this.connection.disconnect()
    for (const call of this.#calls) call.reject(closed())
    this.#calls.clear()
  }

  #add (send: () => Promise<unknown>): Promise<unknown> {
    if (this.#isClosed) return Promise.reject(closed())
    return new Promise((resolve, reject) => {
      const call: Call = { send, resolve, reject, tries: 0 }
      this.#calls.add(call)
      this.#try(call)
    })
  }

  #try (call: Call): void {
    if (!this.isReady || !this.#calls.has(call)) return
    const epoch = this.#epoch
    call.send().then(reply => {
      if (this.#calls.delete(call)) call.resolve(reply)
    }, (error: unknown) => { if (epoch === this.#epoch) this.#failed(call, error) })
  }

  #failed (call: Call, error: unknown): void {
    const remedy = remedyFor(error)
    if (remedy === 'resend') this.#try(call)
    else if (remedy === 'wait') this.later(call.tries++, () => { this.#try(call) })
    else if (this.#calls.delete(call)) call.reject(describe(error))
  }

  #lost (): void {
    this.#epoch++
    for (const watcher of this.#watchers) watcher.lost(this.#error)
  }

  #ready (): void {
    this.#epoch++
    this.#error = undefined
    for (const watcher of this.#watchers) watcher.ready()
    for (const call of this.#calls) this.#try(call)
  }
}
