import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { Redis } from 'ioredis'
import type { Test } from 'tap'
import { freePort } from '../../../benchmarks/runner/free-port.ts'

/** How a `redis-server` of the tests is started. */
export interface RedisServerOptions {
  /** What was answered survives kill(); else restart() begins empty. Default false. */
  readonly appendOnly?: boolean
  /** More of its options, as on its command line. */
  readonly settings?: readonly string[]
  /** It watches others instead: lines of its configuration file, without the port. */
  readonly sentinel?: readonly string[]
}

/** Starts a `redis-server` that ends with the test. */
export async function startRedis (t: Test, options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  t.teardown(() => server.stop())
  return server
}

/** A real `redis-server` on a free port of this machine, with a directory of its own. */
export class RedisServer {
  readonly port: number
  readonly #directory: string
  readonly #arguments: readonly string[]
  #child: ChildProcess | undefined = undefined
  #redis: Redis | undefined = undefined
  #janitor: ChildProcess | undefined = undefined

  private constructor (port: number, { appendOnly = false, settings = [], sentinel }: RedisServerOptions) {
    this.port = port
    this.#directory = mkdtempSync(join(tmpdir(), 'myelin-redis-'))
    const common = ['--bind', '127.0.0.1', '--port', String(port), '--dir', this.#directory, '--daemonize', 'no']
    this.#arguments = sentinel === undefined
      ? [...common, '--save', '', '--appendonly', appendOnly ? 'yes' : 'no', ...settings]
      : [this.#write('sentinel.conf', sentinel), ...common, '--sentinel']
  }

  static async start (options: RedisServerOptions = {}): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(await freePort(), options)
      try {
        await server.run()
        return server
      } catch (error) {
        await server.stop()
        if (attempt === 3) throw error // else the port was taken between finding and using it
      }
    }
  }

  get url (): string { return `redis://127.0.0.1:${this.port}` }

  /** Starts it again after kill(). */
  async run (): Promise<void> {
    const child = spawn('redis-server', [...this.#arguments], { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#child = child
    this.#janitor = janitorOf(child, this.#directory)
    await isReady(child)
  }

  /** kill -9; its directory stays for run(). */
  async kill (): Promise<void> {
    await this.#stop('SIGKILL')
  }

  /** As an operator does it, or, after kill(), as a supervisor does. */
  async restart (): Promise<void> {
    await this.#stop('SIGTERM')
    await this.run()
  }

  /** It neither reads nor answers until resume(); its connections stay. */
  pause (): void { this.#child?.kill('SIGSTOP') }

  resume (): void { this.#child?.kill('SIGCONT') }

  /** What redis-cli is for. Waits while the server is away. */
  async command (name: string, ...parameters: (string | number | Buffer)[]): Promise<unknown> {
    return this.connection.call(name, ...parameters)
  }

  /** A connection of the test's own. */
  get connection (): Redis {
    return this.#redis ??= connect(this.port)
  }

  /** Every key there is. */
  async keys (): Promise<string[]> {
    return (await this.connection.keys('*')).sort()
  }

  async flush (): Promise<void> {
    await this.connection.flushall()
  }

  /** Ends it for good. */
  async stop (): Promise<void> {
    this.#redis?.disconnect()
    await this.#stop('SIGKILL')
    rmSync(this.#directory, { recursive: true, force: true })
  }

  #write (name: string, lines: readonly string[]): string {
    const file = join(this.#directory, name)
    writeFileSync(file, lines.join('\n'))
    return file
  }

  async #stop (signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const child = this.#child
    this.#child = undefined
    this.#janitor?.kill('SIGKILL')
    if (child?.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGCONT')
    child.kill(signal)
    await ended
  }
}

/** Ends a server, and removes its directory, when this process is gone without having done so: killed, as a test that takes too long is. */
function janitorOf ({ pid = 0 }: ChildProcess, directory: string): ChildProcess {
  const janitor = spawn('sh', ['-c', `cat; kill -9 ${pid}; rm -r "$0"`, directory], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  janitor.on('error', () => undefined)
  const stdin = janitor.stdin as Writable & { unref (): void }
  stdin.unref()
  janitor.unref()
  return janitor
}

function connect (port: number): Redis {
  const redis = new Redis({ host: '127.0.0.1', port, protocol: 2, maxRetriesPerRequest: null, retryStrategy: () => 20 })
  return redis.on('error', () => undefined) // it comes back when the server does
}

async function isReady (child: ChildProcess): Promise<void> {
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const printed: string[] = []
  await new Promise<void>((resolve, reject) => {
    lines.on('line', line => {
      if (printed.length < 100) printed.push(line)
      if (/Ready to accept connections|Sentinel ID is/.test(line)) resolve()
    })
    child.once('error', reject)
    child.once('exit', code => { reject(new Error(`redis-server ended with ${String(code)}:\n${printed.join('\n')}`)) })
  })
}
