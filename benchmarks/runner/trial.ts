import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { machineBusySeconds, usageOf } from '../load/measures/usage.ts'
import type { BrokerUnderTest, Command } from './brokers.ts'
import { freePort } from './free-port.ts'
import { brokerCore, isPinned, listening, loadCore, pause, spawnOn, stop } from './processes.ts'
import type { LoadArguments, Scenario } from './scenarios.ts'

/** What one run gave. */
export interface Result {
  readonly round: number
  readonly scenario: string
  readonly broker: string
  /** Numbers by name, as the load generator tells them; `noise` is what other processes took meanwhile, in cores. */
  readonly figures: Readonly<Record<string, number>>
  /** What the machine did not allow. */
  readonly cut?: string
  /** Why there are no figures, or what went wrong on the way. */
  readonly failed?: string
}

/** What keeps connections open beside the work of a broker. */
export interface Companion {
  /** What the machine did not allow. */
  readonly cut: string | undefined
  /** Closes them. @throws Error when any of them was lost before */
  end (): Promise<void>
}

const settlingSeconds = 0.3
const loadProgram = join(import.meta.dirname, '../load', `main${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)

/** What a run of the load generator told. */
export type Told = Pick<Result, 'figures' | 'cut' | 'failed'>

/** Runs scenarios against brokers, one at a time, each broker started afresh. */
export class Laboratory {
  /** Whether broker and load each have a core of their own. */
  readonly isPinned: boolean = isPinned
  readonly #signal: AbortSignal

  /** @param signal ends what is running */
  constructor (signal: AbortSignal) {
    this.#signal = signal
  }

  async run (broker: BrokerUnderTest, scenario: Scenario, extra: LoadArguments, round: number): Promise<Result> {
    return this.note(round, scenario.id, broker.name, () => this.#measure(broker, scenario, extra))
  }

  /** What came of `measure`, or why nothing did. */
  async note (round: number, scenario: string, broker: string, measure: () => Promise<Told>): Promise<Result> {
    const told = await measure().catch((error: unknown) => {
      this.#signal.throwIfAborted()
      return { figures: {}, failed: error instanceof Error ? error.message : String(error) }
    })
    return { round, scenario, broker, ...told }
  }

  /** Starts a broker on its core and waits until it can be reached. */
  async start (command: Command, port: number, stdout: 'ignore' | 'pipe' = 'ignore'): Promise<ChildProcess> {
    const server = spawnOn(brokerCore, command.file, command.args, ['ignore', stdout, 'pipe'], this.#signal)
    const problems = text(server.stderr as NodeJS.ReadableStream).catch(() => '')
    try {
      await listening(server, port, problems)
      return server
    } catch (error) {
      await stop(server)
      throw error
    }
  }

  /** Runs the load generator against a broker that was started. */
  async load (server: ChildProcess, shape: string, load: LoadArguments): Promise<Told> {
    const before = { busy: machineBusySeconds(), broker: usageOf(server.pid ?? 0).cpuSeconds, time: performance.now() }
    const child = spawnOn(loadCore, process.execPath, [loadProgram, shape, ...argumentsOf(load)], ['ignore', 'pipe', 'pipe'], this.#signal)
    const [output, problems] = await Promise.all([text(child.stdout as NodeJS.ReadableStream), text(child.stderr as NodeJS.ReadableStream), once(child, 'close')])
    const told = parse(output, problems)
    const seconds = (performance.now() - before.time) / 1000
    const own = usageOf(server.pid ?? 0).cpuSeconds - before.broker + (told.figures['ownCpuSeconds'] ?? 0)
    const noise = Math.max(0, (machineBusySeconds() - before.busy - own) / seconds)
    if (server.exitCode !== null || server.signalCode !== null) return { figures: {}, failed: 'the broker died' }
    return { ...told, figures: { ...told.figures, noise } }
  }

  /** Has a load generator open what a broker carries beside its work, and keep it. @throws Error when it cannot */
  async accompany (load: LoadArguments): Promise<Companion> {
    const child = spawnOn(loadCore, process.execPath, [loadProgram, 'others', ...argumentsOf(load)], ['pipe', 'pipe', 'pipe'], this.#signal)
    const problems = text(child.stderr as NodeJS.ReadableStream)
    const exited = once(child, 'exit') as Promise<[code: number | null]>
    const [line] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data'), exited]) as [unknown]
    if (!Buffer.isBuffer(line)) throw new Error(parse('', await problems).failed)
    const { cut, failed } = parse(line.toString(), '')
    const end = async (): Promise<void> => {
      child.stdin?.end()
      const [code] = await exited
      if (code !== 0) throw new Error('what the broker carried beside its work was lost')
    }
    if (failed === undefined) return { cut, end }
    await end().catch(() => undefined)
    throw new Error(failed)
  }

  async #measure (broker: BrokerUnderTest, { access = 'tcp', shape, load }: Scenario, extra: LoadArguments): Promise<Told> {
    const port = await freePort()
    const command = broker.command(port, access)
    try {
      const server = await this.start(command, port)
      try {
        await pause(settlingSeconds)
        return await this.load(server, shape, { ...load, ...extra, port, pid: server.pid ?? 0, websocket: access === 'websocket' })
      } finally {
        await stop(server)
      }
    } finally {
      command.cleanUp?.()
    }
  }
}

/** Options of the load generator. */
export function argumentsOf (load: LoadArguments): string[] {
  return Object.entries(load).flatMap(([name, value]) => value === true ? [`--${name}`] : value === false ? [] : [`--${name}`, String(value)])
}

/** What the load generator has printed. */
export function parse (output: string, problems: string): Pick<Result, 'figures' | 'cut' | 'failed'> {
  if (output === '') return { figures: {}, failed: problems.split('\n').find(line => line.includes('Error')) ?? 'the load generator died' }
  const told = JSON.parse(output) as Record<string, unknown>
  const figures = Object.fromEntries(Object.entries(told).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
  return { figures, ...typeof told['cut'] === 'string' && { cut: told['cut'] }, ...typeof told['firstError'] === 'string' && { failed: told['firstError'] } }
}
