import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** What Redis has done since it was started. */
export interface RedisUsage {
  readonly cpuSeconds: number
  /** Commands, those inside scripts among them. */
  readonly commands: number
  /** Scripts that were called. */
  readonly scripts: number
  /** Bytes that it was sent, and that it has sent. */
  readonly bytesIn: number
  readonly bytesOut: number
}

const scriptCommands = new Set(['eval', 'evalsha', 'eval_ro', 'evalsha_ro', 'fcall', 'fcall_ro'])
/** What this asks itself, and what costs nothing by itself. */
const ownCommands = new Set(['info', 'monitor'])

/** A connection that asks Redis what it does. */
export class RedisWatch {
  readonly #socket: Socket
  /** Commands that clients have sent, and those that their scripts have, since `monitor`. */
  #sent = 0
  #scripted = 0
  #rest = ''

  private constructor (socket: Socket) {
    this.#socket = socket
  }

  static async open (port: number): Promise<RedisWatch> {
    const socket = connect({ port, host: '127.0.0.1' }).setEncoding('latin1')
    await once(socket, 'connect')
    return new RedisWatch(socket)
  }

  async usage (): Promise<RedisUsage> {
    this.#socket.write('INFO everything\r\n')
    let text = ''
    for (let length = Infinity; text.length < length; length = lengthOf(text)) text += String((await once(this.#socket, 'data'))[0])
    return usageIn(text)
  }

  /** From here on nothing else can be asked: it is told of each command, which costs Redis more than the command does. */
  monitor (): void {
    this.#socket.on('data', (chunk: string) => { this.#count(chunk) })
    this.#socket.write('MONITOR\r\n')
  }

  /** Commands that clients have sent since, and those that their scripts have. */
  get counts (): readonly [sent: number, scripted: number] { return [this.#sent, this.#scripted] }

  close (): void { this.#socket.destroy() }

  #count (chunk: string): void {
    const lines = (this.#rest + chunk).split('\r\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) {
      const [, client, command = ''] = /^\+\S+ \[\d+ (\S+)\] "([^"]*)"/.exec(line) ?? []
      if (client === 'lua') this.#scripted++
      else if (client !== undefined && !ownCommands.has(command.toLowerCase())) this.#sent++
    }
  }
}

/** Of a bulk string with its head. */
function lengthOf (text: string): number {
  const [head = '', size] = /^\$(\d+)\r\n/.exec(text) ?? []
  return size === undefined ? Infinity : head.length + Number(size) + 2
}

/** @param info what INFO says */
export function usageIn (info: string): RedisUsage {
  const number = (field: string): number => Number(new RegExp(`^${field}:([\\d.]+)`, 'm').exec(info)?.[1] ?? 0)
  const calls = [...info.matchAll(/^cmdstat_(\S+):calls=(\d+)/gm)].map(([, name = '', count]): [string, number] => [name, Number(count)])
  const sum = (isWanted: (name: string) => boolean): number => calls.reduce((sum, [name, count]) => sum + (isWanted(name) ? count : 0), 0)
  return {
    cpuSeconds: number('used_cpu_sys') + number('used_cpu_user'), commands: sum(name => !ownCommands.has(name)), scripts: sum(name => scriptCommands.has(name)),
    bytesIn: number('total_net_input_bytes'), bytesOut: number('total_net_output_bytes'),
  }
}
