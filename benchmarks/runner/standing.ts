import type { ChildProcess } from 'node:child_process'
import type { BrokerUnderTest } from './brokers.ts'
import { freePort } from './free-port.ts'
import { stop } from './processes.ts'
import { progress, rotated } from './rounds.ts'
import type { Scenario } from './scenarios.ts'
import type { Companion, Laboratory, Result } from './trial.ts'

/** How much of it is run. Times are in seconds. */
export interface StandingOptions {
  /** How often all brokers are started: two processes of the same code differ by more than what is measured. */
  readonly starts: number
  /** Runs against each broker, in turns, while they stand. */
  readonly rounds: number
  readonly seconds: number
  readonly warmup: number
}

/** A broker and its work. */
export interface Place {
  readonly broker: BrokerUnderTest
  readonly scenario: Scenario
}

interface Standing extends Place {
  readonly server: ChildProcess
  readonly port: number
  readonly companion: Companion | undefined
}

/**
 * Runs brokers that all stand ready, each with its work, in turns of short runs: the engine is done with compiling, and what the machine does meanwhile meets
 * all alike. A first round, in which it compiles, does not count.
 * @returns results whose `round` is the start that they belong to
 */
export async function standing (laboratory: Laboratory, places: readonly Place[], options: StandingOptions): Promise<Result[]> {
  const results: Result[] = []
  for (let start = 1; start <= options.starts; start++) {
    const ready: Standing[] = []
    try {
      for (const place of places) ready.push(await stand(laboratory, place))
      for (let round = 0; round <= options.rounds; round++) {
        for (const each of rotated(ready, round)) {
          const result = await run(laboratory, each, start, options)
          if (round > 0) results.push(result)
          console.error(progress(result, each.scenario, options.starts))
        }
      }
    } finally {
      for (const each of ready) await leave(each)
    }
  }
  return results
}

async function stand (laboratory: Laboratory, place: Place): Promise<Standing> {
  const { broker, scenario: { beside } } = place
  const port = await freePort()
  const server = await laboratory.start(broker.command(port, 'tcp'), port)
  try {
    return { ...place, port, server, companion: beside === undefined ? undefined : await laboratory.accompany({ ...beside, port }) }
  } catch (error) {
    await stop(server)
    throw error
  }
}

async function leave ({ companion, server }: Standing): Promise<void> {
  try {
    await companion?.end()
  } finally {
    await stop(server)
  }
}

async function run (laboratory: Laboratory, { scenario: { id, shape, load }, broker, server, port, companion }: Standing, start: number, { seconds, warmup }: StandingOptions): Promise<Result> {
  const result = await laboratory.note(start, id, broker.name, () => laboratory.load(server, shape, { ...load, seconds, warmup, port, pid: server.pid ?? 0 }))
  return companion?.cut === undefined ? result : { ...result, cut: companion.cut }
}
