import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { machineBusySeconds, usageOf } from '../load/usage.ts'
import type { BrokerUnderTest } from './brokers.ts'
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

/** Where the broker runs, and where the load. */
const brokerCore = '0'
const loadCore = '1'
const startSeconds = 20
const settlingSeconds = 0.3
const stopSeconds = 5
const loadProgram = join(import.meta.dirname, '../load', `main${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)

/** Runs scenarios against brokers, one at a time, each broker started afresh. */
export class Laboratory {
  /** Whether broker and load each have a core of their own. */
  readonly isPinned: boolean = availableParallelism() > 1 && spawnSync('taskset', ['-c', loadCore, 'true']).status === 0
  readonly #signal: AbortSignal

  /** @param signal ends what is running */
  constructor (signal: AbortSignal) {
    this.#signal = signal
  }

  async run (broker: BrokerUnderTest, scenario: Scenario, extra: LoadArguments, round: number): Promise<Result> {
    const outcome = await this.#measure(broker, scenario, extra).catch((error: unknown) => {
      this.#signal.throwIfAborted()
      return { figures: {}, failed: error instanceof Error ? error.message : String(error) }
    })
    return { round, scenario: scenario.id, broker: broker.name, ...outcome }
  }

  async #measure (broker: BrokerUnderTest, scenario: Scenario, extra: LoadArguments): Promise<Pick<Result, 'figures' | 'cut' | 'failed'>> {
    const port = await freePort()
    const command = broker.command(port, scenario.access ?? 'tcp')
    const server = this.#spawn(brokerCore, command.file, command.args, ['ignore', 'ignore', 'pipe'])
    const problems = text(server.stderr as NodeJS.ReadableStream).catch(() => '')
    try {
      await listening(server, port, problems)
      await pause(settlingSeconds)
      return await this.#load(server, scenario, { ...scenario.load, ...extra, port, pid: server.pid ?? 0, websocket: scenario.access === 'websocket' })
    } finally {
      await stop(server)
      command.cleanUp?.()
    }
  }

  async #load (server: ChildProcess, scenario: Scenario, load: LoadArguments): Promise<Pick<Result, 'figures' | 'cut' | 'failed'>> {
    const before = { busy: machineBusySeconds(), broker: usageOf(server.pid ?? 0).cpuSeconds, time: performance.now() }
    const child = this.#spawn(loadCore, process.execPath, [loadProgram, scenario.shape, ...argumentsOf(load)], ['ignore', 'pipe', 'pipe'])
    const [output, problems] = await Promise.all([text(child.stdout as NodeJS.ReadableStream), text(child.stderr as NodeJS.ReadableStream), once(child, 'close')])
    const told = parse(output, problems)
    const seconds = (performance.now() - before.time) / 1000
    const own = usageOf(server.pid ?? 0).cpuSeconds - before.broker + (told.figures['ownCpuSeconds'] ?? 0)
    const noise = Math.max(0, (machineBusySeconds() - before.busy - own) / seconds)
    if (server.exitCode !== null || server.signalCode !== null) return { figures: {}, failed: 'the broker died' }
    return { ...told, figures: { ...told.figures, noise } }
  }

  #spawn (core: string, file: string, args: readonly string[], stdio: ('ignore' | 'pipe')[]): ChildProcess {
    const pinned = this.isPinned ? ['taskset', '-c', core, file] : [file]
    const child = spawn(pinned[0] ?? file, [...pinned.slice(1), ...args], { stdio, signal: this.#signal })
    child.on('error', () => undefined) // told by its exit code, or aborted
    return child
  }
}

function argumentsOf (load: LoadArguments): string[] {
  return Object.entries(load).flatMap(([name, value]) => value === true ? [`--${name}`] : value === false ? [] : [`--${name}`, String(value)])
}

function parse (output: string, problems: string): Pick<Result, 'figures' | 'cut' | 'failed'> {
  if (output === '') return { figures: {}, failed: problems.split('\n').find(line => line.includes('Error')) ?? 'the load generator died' }
  const told = JSON.parse(output) as Record<string, unknown>
  const figures = Object.fromEntries(Object.entries(told).filter((entry): entry is [string, number] => typeof entry[1] === 'number'))
  return { figures, ...typeof told['cut'] === 'string' && { cut: told['cut'] }, ...typeof told['firstError'] === 'string' && { failed: told['firstError'] } }
}

async function freePort (): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function listening (server: ChildProcess, port: number, problems: Promise<string>): Promise<void> {
  const end = performance.now() + startSeconds * 1000
  while (!await accepts(port)) {
    if (server.exitCode !== null) throw new Error(`the broker did not start: ${(await problems).replace(/^\d+: /gm, '').trim().slice(-200)}`)
    if (performance.now() > end) throw new Error('the broker did not start in time')
    await pause(0.05)
  }
}

function accepts (port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1')
    socket.on('connect', () => { socket.destroy(); resolve(true) })
    socket.on('error', () => { resolve(false) })
  })
}

async function stop (server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return
  const closed = once(server, 'exit')
  server.kill('SIGTERM')
  const timer = setTimeout(() => { server.kill('SIGKILL') }, stopSeconds * 1000)
  await closed
  clearTimeout(timer)
}

function pause (seconds: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, seconds * 1000))
}
