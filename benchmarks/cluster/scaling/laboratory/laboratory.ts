import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { usageIn } from '../../../load/measures/redis.ts'
import { pause, stop } from '../../../runner/processes.ts'
import { BenchRedis } from '../../redis.ts'
import type { NodeMemory } from './node.ts'
import { minus, times, type Usage } from '../usage.ts'

const nodeProgram = join(import.meta.dirname, `node${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
/** Seconds until what was asked for has been read, settled and told by everybody. */
const settlingSeconds = 0.3

interface Node { readonly port: number, readonly process: ChildProcess }

/** Some nodes and a Redis of their own. */
export class Laboratory {
  /** What the nodes ask of Redis without Clients, a second. */
  idle: Usage | undefined = undefined
  readonly #redis: BenchRedis
  readonly #connection: Redis
  readonly #nodes: Node[] = []

  private constructor (redis: BenchRedis) {
    this.#redis = redis
    this.#connection = new Redis({ host: '127.0.0.1', port: redis.port, protocol: 2 })
  }

  /** Runs with so many nodes, which end with it. */
  static async with<Result> (nodes: number, signal: AbortSignal, run: (laboratory: Laboratory) => Promise<Result>): Promise<Result> {
    const laboratory = new Laboratory(await BenchRedis.start(undefined, signal))
    try {
      for (let i = 0; i < nodes; i++) laboratory.#nodes.push(await laboratory.#start(signal))
      await pause(1)
      return await run(laboratory)
    } finally {
      await laboratory.#close()
    }
  }

  /** Where the nodes listen. */
  get ports (): readonly number[] { return this.#nodes.map(({ port }) => port) }

  port (i: number): number { return this.#nodes[i % this.#nodes.length]?.port ?? 0 }

  /** What Redis did for each of `count`, without what the nodes ask for anyway. */
  async cost (count: number, run: () => Promise<void>): Promise<Usage> {
    const { usage, seconds } = await this.during(run)
    return times(this.idle === undefined ? usage : minus(usage, times(this.idle, seconds)), 1 / count)
  }

  /** What Redis did, and how long that took. */
  async during (run: () => Promise<void>): Promise<{ readonly usage: Usage, readonly seconds: number }> {
    const [before, start] = [await this.#usage(), performance.now()]
    await run()
    await pause(settlingSeconds)
    return { usage: minus(await this.#usage(), before), seconds: (performance.now() - start) / 1000 }
  }

  /** Bytes that Redis uses, without the log, inboxes and who comes and goes: these do not grow beyond some megabytes. */
  async redisBytes (): Promise<number> {
    await pause(settlingSeconds)
    const bounded = await Promise.all([...await this.#connection.keys('*:in:*'), '{myelin}:lg', '{myelin}:pr'].map(key => this.#connection.memory('USAGE', key, 'SAMPLES', 0)))
    const used = Number(/^used_memory:(\d+)/m.exec(await this.#connection.info('memory'))?.[1] ?? 0)
    return bounded.reduce<number>((left, bytes) => left - (bytes ?? 0), used)
  }

  async nodeMemory (i: number): Promise<NodeMemory> {
    const node = this.#nodes[i]
    if (node === undefined) throw new RangeError(`there is no node ${i}`)
    const told = once(node.process, 'message')
    node.process.send('memory')
    const [memory] = await told as [NodeMemory]
    return memory
  }

  async #usage (): Promise<Usage> {
    const { cpuSeconds, commands, scripts, bytesIn, bytesOut } = usageIn(await this.#connection.info('everything'))
    return { cpuUs: cpuSeconds * 1e6, commands, scripts, bytesIn, bytesOut }
  }

  async #start (signal: AbortSignal): Promise<Node> {
    const child = fork(nodeProgram, [String(this.#redis.port)], { execArgv: ['--expose-gc'], signal, stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
    child.on('error', () => undefined) // told by its end, or aborted
    const [port] = await Promise.race([once(child, 'message'), once(child, 'exit').then(() => { throw new Error('a node did not start') })]) as [number]
    return { port, process: child }
  }

  async #close (): Promise<void> {
    await Promise.all(this.#nodes.map(node => stop(node.process, 'SIGKILL')))
    this.#connection.disconnect()
    await this.#redis.stop()
  }
}
