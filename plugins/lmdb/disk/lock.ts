import { createHash, randomBytes } from 'node:crypto'
import { closeSync, openSync, readdirSync, realpathSync, rmSync, statSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { storeFailed, storeInUse, type MqttError } from '../../../lib/index.ts'
import { causeOf } from '../errors.ts'

/** Bytes of a path that a Unix domain socket may have on every system. */
const maximumPathBytes = 100
/** Milliseconds in which whoever has the store says who that is. */
const answerMs = 1_000
const socketName = /^in-use\.[0-9a-f]{12}$/

/**
 * Makes one process the only user of a directory: it listens on a socket there. The kernel closes that when the process dies,
 * in whichever way, so nothing has to be waited for or cleaned up; containers that share the directory find it too.
 *
 * Everybody makes a socket of a name of its own first, and then looks for others that answer. So of two that come at the same
 * time one sees the other at least, and a socket whose process is gone can be removed: nobody will listen there again.
 */
export class DirectoryLock {
  readonly #path: string
  readonly #server: Server
  /** The directory, where its path is too long for a socket. */
  #directory: number | undefined = undefined

  private constructor (path: string) {
    this.#path = path
    this.#server = createServer(socket => {
      socket.on('error', () => { /* it went away */ })
      socket.end(thisProcess())
    })
    this.#server.on('error', () => { /* no file descriptor is free for somebody who asks */ })
    this.#server.unref()
  }

  /** @throws MqttError when another has the directory, or Error of the operating system */
  static async acquire (path: string): Promise<DirectoryLock> {
    const lock = new DirectoryLock(path)
    try {
      await (process.platform === 'win32' ? lock.#listenOnPipe() : lock.#listenInDirectory())
      return lock
    } catch (error) {
      await lock.release()
      throw error
    }
  }

  async release (): Promise<void> {
    await new Promise<void>(resolve => { this.#server.close(() => { resolve() }) })
    if (this.#directory !== undefined) closeSync(this.#directory)
    this.#directory = undefined
  }

  /** Windows lets one process have a pipe of that name, until it ends. */
  async #listenOnPipe (): Promise<void> {
    const name = `\\\\.\\pipe\\myelin-${createHash('sha256').update(realpathSync(this.#path)).digest('hex')}`
    try {
      await this.#listen(name)
    } catch (error) {
      throw causeOf(error) === 'EADDRINUSE' ? inUse(this.#path, await ask(name)) : error
    }
  }

  async #listenInDirectory (): Promise<void> {
    const own = `in-use.${randomBytes(6).toString('hex')}`
    await this.#listen(this.#socketPath(own))
    for (const name of readdirSync(this.#path)) {
      if (name !== own && socketName.test(name)) await this.#expectGone(name)
    }
    // Somebody may have taken it for one that is left over, in the moment before it was listened to.
    if (statSync(join(this.#path, own), { throwIfNoEntry: false }) === undefined) throw inUse(this.#path, undefined)
  }

  async #expectGone (name: string): Promise<void> {
    const answer = await ask(this.#socketPath(name))
    if (answer !== 'gone') throw inUse(this.#path, answer)
    rmSync(join(this.#path, name), { force: true })
  }

  #socketPath (name: string): string {
    const path = join(this.#path, name)
    if (Buffer.byteLength(path) <= maximumPathBytes) return path
    if (process.platform !== 'linux') throw storeFailed(`the path ${this.#path} is too long for the socket that locks the store; use one of less than 80 bytes`)
    this.#directory ??= openSync(this.#path, 'r')
    return `/proc/self/fd/${this.#directory}/${name}`
  }

  async #listen (path: string): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen({ path, exclusive: true }, resolve)
    })
  }
}

/** A process as people find it: containers that share a directory may have the same ids. */
function thisProcess (): string {
  return `${process.pid} on ${hostname()}`
}

/**
 * @returns what the process says that listens on a socket: which it is, or nothing; 'gone' when none does
 * @throws Error of the operating system when that cannot be told
 */
async function ask (path: string): Promise<string | undefined> {
  const socket = connect(path)
  socket.setEncoding('utf8').setTimeout(answerMs, () => { socket.destroy() })
  try {
    let answer = ''
    for await (const text of socket) answer += String(text)
    return answer === '' ? undefined : answer
  } catch (error) {
    if (causeOf(error) === 'EACCES') throw error
    return ['ECONNREFUSED', 'ENOENT'].includes(causeOf(error)) ? 'gone' : undefined
  }
}

function inUse (path: string, owner: string | undefined): MqttError {
  const who = owner === thisProcess() ? 'by this very process' : owner === undefined ? 'by another process' : `by the process ${owner}`
  return storeInUse(`the store in ${path} is in use ${who}; stop that first, or name another directory`)
}
