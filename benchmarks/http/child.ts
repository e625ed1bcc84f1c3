import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { ServerKind } from './server.ts'

export interface Usage {
  /** Microseconds of CPU time since the server began. */
  readonly cpu: number
  /** Readings that its host was given. */
  readonly taken: number
}

/** A server in a process of its own. */
export class ServerProcess {
  readonly port: number
  readonly #child: ChildProcess

  private constructor (child: ChildProcess, port: number) {
    this.#child = child
    this.port = port
  }

  static async start (kind: ServerKind): Promise<ServerProcess> {
    const child = fork(fileURLToPath(new URL(`server${import.meta.url.slice(-3)}`, import.meta.url)), [kind])
    const exited = once(child, 'exit').then(() => { throw new Error(`the ${kind} server did not start`) })
    const [{ port }] = await Promise.race([once(child, 'message') as Promise<[{ port: number }]>, exited])
    exited.catch(() => undefined)
    return new ServerProcess(child, port)
  }

  async usage (): Promise<Usage> {
    this.#child.send('usage')
    const [usage] = await once(this.#child, 'message') as [Usage]
    return usage
  }

  stop (): void { this.#child.disconnect() }
}
