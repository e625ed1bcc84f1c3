import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { freePort } from '../runner/free-port.ts'
import { listening, stop } from '../runner/processes.ts'

/** The version of `redis-server`; undefined where it is not installed. */
export function redisVersion (): string | undefined {
  const { error, stdout } = spawnSync('redis-server', ['--version'], { encoding: 'utf8' })
  return error === undefined ? /v=(\S+)/.exec(stdout)?.[1] ?? 'unknown' : undefined
}

/** The one Redis of all runs. It writes nothing to disk unless it is told to. */
export class BenchRedis {
  readonly port: number
  readonly #server: ChildProcess

  private constructor (port: number, server: ChildProcess) {
    this.port = port
    this.#server = server
  }

  /** @param folder for its append-only file, if it has to keep one */
  static async start (folder: string | undefined, signal: AbortSignal): Promise<BenchRedis> {
    const port = await freePort()
    const durability = folder === undefined ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync', 'everysec', '--dir', folder]
    const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', ...durability], { stdio: ['ignore', 'ignore', 'pipe'], signal })
    server.on('error', () => undefined) // told by its exit code, or aborted
    await listening(server, port, text(server.stderr).catch(() => ''))
    return new BenchRedis(port, server)
  }

  get pid (): number { return this.#server.pid ?? 0 }

  /** Empties it. */
  async flush (): Promise<void> {
    const socket = connect({ port: this.port, host: '127.0.0.1' })
    socket.end('FLUSHALL SYNC\r\n')
    const answer = await text(socket)
    if (!answer.startsWith('+OK')) throw new Error(`Redis said ${answer}`)
  }

  async stop (): Promise<void> { await stop(this.#server, 'SIGKILL') }
}
