import { Command } from 'ioredis'
import type { Argument, Connection } from './options.ts'

/** Bytes around an argument: `$`, its length in at most ten digits, and two ends of lines. */
const frameBytes = 15
/** From that on a copy by the runtime is faster than one in a loop. */
const loopLimit = 48

/**
 * A call of a script. A commit has thousands of arguments, most of them short: `ioredis` makes a text of each with its length, and a Buffer of all of them. This writes
 * them where they are sent from.
 */
export class ScriptCommand extends Command {
  readonly #rest: readonly Argument[]

  /**
   * @param script its text for EVAL, its hash for EVALSHA
   * @param root the one key
   */
  constructor (connection: Connection, name: 'EVAL' | 'EVALSHA', script: string, root: string, args: readonly Argument[]) {
    const { keyPrefix } = connection.options
    super(name, [script, '1', root], { replyEncoding: null, ...keyPrefix !== undefined && { keyPrefix } })
    this.#rest = args
  }

  override toWritable (): Buffer {
    const args = [this.name, ...this.args as Argument[], ...this.#rest].map(arg => typeof arg === 'number' ? String(arg) : arg)
    const lengths = args.map(arg => Buffer.byteLength(arg))
    const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + length + frameBytes, frameBytes))
    let at = writeHead(bytes, 0, '*', args.length)
    for (let i = 0; i < args.length; i++) {
      const length = lengths[i] as number
      at = writeHead(bytes, at, '$', length)
      at = writeEnd(bytes, write(bytes, at, args[i] as string | Buffer, length))
    }
    return bytes.subarray(0, at)
  }
}

function writeHead (bytes: Buffer, at: number, kind: '*' | '$', count: number): number {
  return writeEnd(bytes, writeText(bytes, at, kind + String(count)))
}

function writeEnd (bytes: Buffer, at: number): number {
  bytes[at] = 13
  bytes[at + 1] = 10
  return at + 2
}

/** @param length in bytes */
function write (bytes: Buffer, at: number, value: string | Buffer, length: number): number {
  if (typeof value === 'string') {
    if (length === value.length && length <= loopLimit) return writeText(bytes, at, value)
    return at + bytes.write(value, at)
  }
  if (length > loopLimit) bytes.set(value, at)
  else for (let i = 0; i < length; i++) bytes[at + i] = value[i] as number
  return at + length
}

/** Of ASCII characters. */
function writeText (bytes: Buffer, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) bytes[at + i] = text.charCodeAt(i)
  return at + text.length
}
