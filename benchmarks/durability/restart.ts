import { statSync } from 'node:fs'
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Command } from '../runner/brokers.ts'
import { freePort } from '../runner/free-port.ts'
import { stop } from '../runner/processes.ts'
import { progress, rotated, type RoundOptions } from '../runner/rounds.ts'
import type { Figure, LoadArguments, Scenario } from '../runner/scenarios.ts'
import type { Laboratory, Result, Told } from '../runner/trial.ts'
import { newFolder, removeFolder } from './brokers.ts'

const figures: readonly Figure[] = [
  { key: 'readyMs', label: 'start to ready, ms', better: 'less' }, { key: 'openMs', label: 'of it opening the store, ms', better: 'less' },
  { key: 'heapMb', label: 'heap, MB', better: 'less' }, { key: 'rssMb', label: 'resident, MB', better: 'less' }, { key: 'storeMb', label: 'file, MB', better: 'less' },
  { key: 'queuedMessages', label: 'messages that wait', better: 'more' },
]

/** What a store holds when its broker is killed and started again. The load is what fills it; nothing for an empty one. */
export const restarts: readonly Scenario[] = [
  { id: 'restart-empty', title: 'an empty store', shape: '', load: {}, figures },
  { id: 'restart-queue', title: '1,000,000 messages that wait in one Session', shape: 'queue', load: { qos: 1, window: 100, count: 1_000_000 }, quick: { count: 20_000 }, figures },
  { id: 'restart-sessions', title: '100,000 Sessions with 10 subscriptions each', shape: 'sessions', load: { clients: 100_000, filters: 10 }, quick: { clients: 1_000 }, figures },
]

const modes = ['process', 'power'] as const
type Mode = (typeof modes)[number]

/** A folder that was filled. */
interface Filled {
  readonly mode: Mode
  readonly folder: string
  readonly problem: string | undefined
}

/** Fills stores, kills their brokers, and starts them again and again. */
export class Restarts {
  readonly #laboratory: Laboratory
  readonly #root: string
  readonly #data: string

  /** @param data the folder for the stores */
  constructor (laboratory: Laboratory, root: string, data: string) {
    this.#laboratory = laboratory
    this.#root = root
    this.#data = data
  }

  async run (scenario: Scenario, { rounds, quick }: RoundOptions, chosen: readonly string[]): Promise<Result[]> {
    const results: Result[] = []
    const filled: Filled[] = []
    try {
      for (const mode of modes) if (chosen.includes(mode)) filled.push(await this.#fill(scenario, mode, quick ? scenario.quick : {}))
      for (let round = 1; round <= rounds; round++) {
        for (const store of rotated(filled, round)) {
          const result = await this.#laboratory.note(round, scenario.id, `myelin ${store.mode}`, () => this.#restart(store))
          results.push(result)
          console.error(progress(result, scenario, rounds))
        }
      }
    } finally {
      for (const { folder } of filled) removeFolder(folder)
    }
    return results
  }

  async #fill ({ shape, load }: Scenario, mode: Mode, extra: LoadArguments = {}): Promise<Filled> {
    const folder = newFolder(this.#data)
    const { failed } = await this.#laboratory.note(0, shape, mode, () => this.#load(folder, mode, shape, { ...load, ...extra }))
    return { mode, folder, problem: failed }
  }

  async #load (folder: string, mode: Mode, shape: string, load: LoadArguments): Promise<Told> {
    const { server, port } = await this.#start(mode, folder)
    try {
      return shape === '' ? { figures: {} } : await this.#laboratory.load(server, shape, { ...load, port, pid: server.pid ?? 0 })
    } finally {
      await stop(server, 'SIGKILL')
    }
  }

  async #restart ({ mode, folder, problem }: Filled): Promise<Told> {
    if (problem !== undefined) return { figures: {}, failed: problem }
    const { server } = await this.#start(mode, folder)
    try {
      const told = JSON.parse(await firstLine(server)) as Record<string, number>
      return { figures: { ...told, storeMb: statSync(join(folder, 'data.mdb')).size / 1e6 } }
    } finally {
      await stop(server, 'SIGKILL')
    }
  }

  async #start (mode: Mode, folder: string): Promise<{ server: ChildProcess, port: number }> {
    const port = await freePort()
    return { port, server: await this.#laboratory.start(hostCommand(this.#root, port, folder, mode), port, 'pipe') }
  }
}

function hostCommand (root: string, port: number, folder: string, mode: Mode): Command {
  const host = join(import.meta.dirname, '../servers', `durable${import.meta.filename.endsWith('.ts') ? '.ts' : '.js'}`)
  return { file: process.execPath, args: ['--expose-gc', host, String(port), root, folder, mode] }
}

async function firstLine ({ stdout }: ChildProcess): Promise<string> {
  for await (const line of createInterface({ input: stdout as NodeJS.ReadableStream })) return line
  throw new Error('the broker died')
}
