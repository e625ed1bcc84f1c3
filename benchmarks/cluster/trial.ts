import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { machineBusySeconds, usageOf } from '../load/measures/usage.ts'
import { freePort } from '../runner/free-port.ts'
import { listening, pause, stop } from '../runner/processes.ts'
import type { LoadArguments } from '../runner/scenarios.ts'
import { argumentsOf, parse, type Result, type Told } from '../runner/trial.ts'
import type { ClusteredBroker } from './brokers.ts'
import type { BenchRedis } from './redis.ts'
import type { ClusterScenario } from './scenarios.ts'

const settlingSeconds = 0.5
const loadProgram = join(import.meta.dirname, '../load', `main${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)

interface Node { readonly port: number, readonly server: ChildProcess }

/** Runs scenarios against clusters of two nodes, one at a time, each started afresh on a Redis that was emptied. Nobody has a core of his own: there are four processes. */
export class ClusterLaboratory {
  readonly #redis: BenchRedis
  readonly #signal: AbortSignal

  constructor (redis: BenchRedis, signal: AbortSignal) {
    this.#redis = redis
    this.#signal = signal
  }

  async run (broker: ClusteredBroker, scenario: ClusterScenario, extra: LoadArguments, round: number): Promise<Result> {
    const told = await this.#measure(broker, scenario, extra).catch((error: unknown) => {
      this.#signal.throwIfAborted()
      return { figures: {}, failed: error instanceof Error ? error.message : String(error) }
    })
    return { round, scenario: scenario.id, broker: broker.name, ...told }
  }

  async #measure (broker: ClusteredBroker, { shape, load, isTogether }: ClusterScenario, extra: LoadArguments): Promise<Told> {
    await this.#redis.flush()
    const nodes: Node[] = []
    try {
      for (let i = 0; i < 2; i++) nodes.push(await this.#start(broker))
      await pause(settlingSeconds)
      const [publishers, other] = nodes as [Node, Node]
      const subscribers = isTogether === true ? publishers : other
      return await this.#load(nodes, shape, {
        ...load, ...extra, port: publishers.port, pid: publishers.server.pid ?? 0,
        subscriberPort: subscribers.port, subscriberPid: subscribers.server.pid ?? 0, redisPort: this.#redis.port,
      })
    } finally {
      await Promise.all(nodes.map(({ server }) => stop(server)))
    }
  }

  async #start (broker: ClusteredBroker): Promise<Node> {
    const port = await freePort()
    const { file, args } = broker.command(port, this.#redis.port)
    const server = spawn(file, args, { stdio: ['ignore', 'ignore', 'pipe'], signal: this.#signal })
    server.on('error', () => undefined) // told by its exit code, or aborted
    try {
      await listening(server, port, text(server.stderr).catch(() => ''))
    } catch (error) {
      await stop(server)
      throw error
    }
    return { port, server }
  }

  async #load (nodes: readonly Node[], shape: string, load: LoadArguments): Promise<Told> {
    const own = (): number => [...nodes.map(({ server }) => server.pid ?? 0), this.#redis.pid].reduce((sum, pid) => sum + usageOf(pid).cpuSeconds, 0)
    const before = { busy: machineBusySeconds(), own: own(), time: performance.now() }
    const child = spawn(process.execPath, [loadProgram, shape, ...argumentsOf(load)], { stdio: ['ignore', 'pipe', 'pipe'], signal: this.#signal })
    child.on('error', () => undefined)
    const [output, problems] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')])
    const told = parse(output, problems)
    const seconds = (performance.now() - before.time) / 1000
    const used = own() - before.own + (told.figures['ownCpuSeconds'] ?? 0)
    const noise = Math.max(0, (machineBusySeconds() - before.busy - used) / seconds)
    if (nodes.some(({ server }) => server.exitCode !== null || server.signalCode !== null)) return { figures: {}, failed: 'a node died' }
    return { ...told, figures: { ...told.figures, noise } }
  }
}
