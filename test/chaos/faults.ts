import type { Random } from '../crash/random.ts'
import type { Cast } from './cast.ts'
import type { Cluster } from './cluster.ts'
import type { NodeProcess } from './node-process.ts'
import type { Cut } from './redis-proxy.ts'

/** Something that happens to the cluster. */
export interface Fault {
  /** For people: what was done. */
  readonly text: string
  /** Resolves when it is over, and everything is there again. */
  run (): Promise<void>
}

export interface Stage {
  readonly cluster: Cluster
  readonly cast: Cast
  readonly random: Random
}

/** How much of a lease something lasts, at most: what is over before it is noticed, and what is not. */
const longest = 2
const shortestMs = 50
const desertingShare = 0.5

const kinds: ReadonlyMap<string, (stage: Stage) => Fault> = new Map([
  ['nothing', () => ({ text: 'nothing happened', run: () => Promise.resolve() })],
  ['kill', kill],
  ['leave', leave],
  ['sleep', sleepwalk],
  ['redis-restart', restartRedis],
  ['redis-kill', killRedis],
  ['redis-pause', pauseRedis],
  ['cut', stage => cut(stage, 'broken')],
  ['silence', stage => cut(stage, 'silent')],
  ['migrate', migrate],
])

/** What there is. */
export const faultNames: readonly string[] = [...kinds.keys()]

/** @throws RangeError for a name that is none */
export function newFault (name: string, stage: Stage): Fault {
  const kind = kinds.get(name)
  if (kind === undefined) throw new RangeError(`no fault ${name}; there are ${faultNames.join(', ')}`)
  return kind(stage)
}

function kill ({ cluster, random }: Stage): Fault {
  const [node, ms] = [random.pick(cluster.nodes), lasting(cluster, random)]
  return { text: `${node.name} was killed and another started in its place after ${ms} ms`, run: async () => { await node.kill(); await comeBack(node, ms) } }
}

/** As for an update. */
function leave ({ cluster, random }: Stage): Fault {
  const [node, ms] = [random.pick(cluster.nodes), lasting(cluster, random)]
  const run = async (): Promise<void> => {
    const code = await node.stop()
    if (code !== 0) throw new Error(`${node.name} ended with ${String(code)}: ${node.complaints}`)
    await comeBack(node, ms)
  }
  return { text: `${node.name} was closed and another started in its place after ${ms} ms`, run }
}

/** It does nothing for a while, and does not know it. */
function sleepwalk ({ cluster, cast, random }: Stage): Fault {
  const [node, ms] = [random.pick(cluster.nodes), lasting(cluster, random)]
  const run = async (): Promise<void> => {
    node.pause()
    cast.desert(node.name, desertingShare)
    await sleep(ms)
    node.resume()
  }
  return { text: `${node.name} was asleep for ${ms} ms`, run }
}

function restartRedis ({ cluster: { redis } }: Stage): Fault {
  return { text: 'Redis was restarted', run: () => redis.restart() }
}

function killRedis ({ cluster, random }: Stage): Fault {
  const ms = lasting(cluster, random)
  return { text: `Redis was killed and started again after ${ms} ms`, run: async () => { await cluster.redis.kill(); await sleep(ms); await cluster.redis.run() } }
}

function pauseRedis ({ cluster, random }: Stage): Fault {
  const ms = lasting(cluster, random)
  return { text: `Redis was asleep for ${ms} ms`, run: async () => { cluster.redis.pause(); await sleep(ms); cluster.redis.resume() } }
}

function cut ({ cluster, cast, random }: Stage, how: Cut): Fault {
  const [node, ms] = [random.pick(cluster.nodes), lasting(cluster, random)]
  const run = async (): Promise<void> => {
    node.proxy.cut(how)
    await sleep(ms / 2)
    cast.desert(node.name, desertingShare)
    await sleep(ms / 2)
    node.proxy.heal()
  }
  return { text: `the connection of ${node.name} to Redis was ${how} for ${ms} ms`, run }
}

function migrate ({ cast }: Stage): Fault {
  return { text: 'all Clients went to other nodes', run: () => { cast.migrate(); return Promise.resolve() } }
}

function lasting ({ leaseMs }: Cluster, random: Random): number {
  return random.between(shortestMs, leaseMs * longest)
}

async function comeBack (node: NodeProcess, ms: number): Promise<void> {
  await sleep(ms)
  node.start()
  await node.up()
}

function sleep (ms: number): Promise<void> {
  return new Promise(resolve => { setTimeout(resolve, ms) })
}
