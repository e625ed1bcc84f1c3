import type { ChildProcess } from 'node:child_process'
import type { BrokerUnderTest } from '../runner/brokers.ts'
import { freePort, stop } from '../runner/processes.ts'
import { progress, rotated } from '../runner/rounds.ts'
import type { Scenario } from '../runner/scenarios.ts'
import type { Laboratory, Result } from '../runner/trial.ts'

/** How much of it is run. Times are in seconds. */
export interface StandingOptions {
  /** How often all brokers are started: two processes of the same code differ by more than what is measured. */
  readonly starts: number
  /** Runs against each broker, in turns, while they stand. */
  readonly rounds: number
  readonly seconds: number
  readonly warmup: number
}

interface Standing {
  readonly broker: BrokerUnderTest
  readonly server: ChildProcess
  readonly port: number
}

/**
 * Runs a scenario against brokers that all stand ready, in turns of short runs: the engine is done with compiling, and what the machine does meanwhile meets
 * all alike. A first round, in which it compiles, does not count.
 * @returns results whose `round` is the start that they belong to
 */
export async function standing (laboratory: Laboratory, scenario: Scenario, brokers: readonly BrokerUnderTest[], options: StandingOptions): Promise<Result[]> {
  const results: Result[] = []
  for (let start = 1; start <= options.starts; start++) {
    const ready: Standing[] = []
    try {
      for (const broker of brokers) ready.push(await stand(laboratory, broker))
      for (let round = 0; round <= options.rounds; round++) {
        for (const each of rotated(ready, round)) {
          const result = await run(laboratory, scenario, each, start, options)
          if (round > 0) results.push(result)
          console.error(progress(result, scenario, options.starts))
        }
      }
    } finally {
      for (const { server } of ready) await stop(server)
    }
  }
  return results
}

async function stand (laboratory: Laboratory, broker: BrokerUnderTest): Promise<Standing> {
  const port = await freePort()
  return { broker, port, server: await laboratory.start(broker.command(port, 'tcp'), port) }
}

function run (laboratory: Laboratory, { id, shape, load }: Scenario, { broker, server, port }: Standing, start: number, { seconds, warmup }: StandingOptions): Promise<Result> {
  return laboratory.note(start, id, broker.name, () => laboratory.load(server, shape, { ...load, seconds, warmup, port, pid: server.pid ?? 0 }))
}
