// A load generator for MQTT brokers: one scenario, one line of JSON. `node load/main.js pairs --port 1883 --pid 4711 --qos 1`
import { Load } from './load.ts'
import { readOptions } from './options.ts'
import { othersScenario } from './others.ts'
import { awayScenario } from './scenarios/away.ts'
import { clusterScenario } from './scenarios/cluster.ts'
import { connectScenario } from './scenarios/connect.ts'
import { flowScenario } from './scenarios/flow.ts'
import { frozenScenario } from './scenarios/frozen.ts'
import { sessionsScenario } from './scenarios/sessions.ts'
import { offlineScenario, queueScenario, retainedScenario } from './scenarios/stored.ts'
import { subscribeScenario } from './scenarios/subscribe.ts'

const scenarios: ReadonlyMap<string, (load: Load) => Promise<Record<string, unknown>>> = new Map([
  ['pairs', flowScenario],
  ['fanIn', flowScenario],
  ['fanOut', flowScenario],
  ['clusterPairs', clusterScenario],
  ['clusterFanOut', clusterScenario],
  ['connect', connectScenario],
  ['subscribe', subscribeScenario],
  ['retained', retainedScenario],
  ['offline', offlineScenario],
  ['frozen', frozenScenario],
  ['awayPairs', awayScenario],
  ['awayFanOut', awayScenario],
  ['queue', queueScenario],
  ['sessions', sessionsScenario],
  ['others', othersScenario],
])

async function run (args: string[]): Promise<void> {
  const options = readOptions(args)
  const scenario = scenarios.get(options.scenario)
  if (scenario === undefined) throw new RangeError(`no scenario ${options.scenario}: there are ${[...scenarios.keys()].join(', ')}`)
  const load = new Load(options)
  const figures = await scenario(load)
  const { user, system } = process.cpuUsage()
  const health = { ownCpuSeconds: (user + system) / 1e6, ...load.totals.health(), ...load.cuts.length > 0 && { cut: load.cuts.join('; ') } }
  process.stdout.write(`${JSON.stringify({ ...options, ...figures, ...health })}\n`, () => { if (scenario !== othersScenario) process.exit(0) }) // connections are still open
}

await run(process.argv.slice(2))
