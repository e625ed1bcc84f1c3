import { pause } from '../../../runner/processes.ts'
import { Client, inParallel } from './client.ts'
import { costFrom, type Cost } from '../costs.ts'
import { operations, type Operation } from '../figures.ts'
import type { Laboratory } from './laboratory.ts'
import { times, type Usage } from '../usage.ts'

/** How many a node has under way, where it is not one. */
const batchOf = (operation: Operation): number => operation === 'message' ? 100 : 25
/** A CONNECT is told to nobody, unless filters move with it. */
const concernsOthers = (operation: Operation): boolean => operation !== 'connect' && operation !== 'reconnect'
const idleSeconds = 4

export type Samples = ReadonlyMap<string, Usage>

/** What the nodes ask for without Clients: what all of them do, and what one of them does, a second. */
export async function measureIdle (laboratory: Laboratory): Promise<Usage> {
  const { usage, seconds } = await laboratory.during(() => pause(idleSeconds))
  laboratory.idle = times(usage, 1 / seconds)
  return times(laboratory.idle, 1 / laboratory.ports.length)
}

/** Each operation, alone and with many under way, with this many nodes. Connections come to the first node, and to the second one if they move. */
export async function measureCosts (laboratory: Laboratory, round: number): Promise<Samples> {
  const samples = new Map<string, Usage>()
  const home = laboratory.port(0)
  for (const isBatch of [false, true]) {
    const count = isBatch ? 1_000 : 250
    const add = async (operation: Operation, number: number, run: (parallel: number) => Promise<void>): Promise<void> => {
      const parallel = isBatch ? batchOf(operation) : 1
      samples.set(keyOf(operation, isBatch, laboratory.ports.length), await laboratory.cost(number, () => run(parallel)))
    }
    const name = (i: number): string => `measured/${round}/${isBatch ? 'batch' : 'alone'}/${String(i).padStart(7, '0')}`
    await add('connect', count, parallel => inParallel(count, parallel, async i => { await (await Client.open(home, name(i), false)).leave() }))
    await inParallel(count, 25, async i => { await withClient(home, name(i), client => client.subscribe(`${name(i)}/commands`)) })
    await add('reconnect', count, parallel => inParallel(count, parallel, i => withClient(home, name(i))))
    await add('move', count, parallel => inParallel(count, parallel, i => withClient(laboratory.port(1), name(i))))
    await measureFilters(home, name, count, add)
    await measureMessages(laboratory, name(0), isBatch, add)
  }
  return samples
}

type Add = (operation: Operation, count: number, run: (parallel: number) => Promise<void>) => Promise<void>

async function withClient (port: number, clientIdentifier: string, run?: (client: Client) => Promise<void>): Promise<void> {
  const client = await Client.open(port, clientIdentifier, true)
  await run?.(client)
  await client.leave()
}

/** Each with a Client of its own: one that has just subscribed goes on when it is answered. */
async function measureFilters (port: number, name: (i: number) => string, count: number, add: Add): Promise<void> {
  const clients = await Promise.all(Array.from({ length: 25 }, (_, i) => Client.open(port, `${name(i)}/filters`, false)))
  const client = (i: number): Client => clients[i % clients.length] as Client
  await inOrder(count, clients.length, 'subscribe', i => client(i).subscribe(`${name(i)}/filter`), add)
  await inOrder(count, clients.length, 'unsubscribe', i => client(i).unsubscribe(`${name(i)}/filter`), add)
  await Promise.all(clients.map(client => client.leave()))
}

/** So many at a time that no Client has two under way. */
function inOrder (count: number, clients: number, operation: Operation, task: (i: number) => Promise<void>, add: Add): Promise<void> {
  return add(operation, count, async parallel => {
    for (let first = 0; first < count; first += clients) {
      await inParallel(Math.min(clients, count - first), parallel, i => task(first + i))
    }
  })
}

/** Each node publishes what all the others have a subscriber for, so that a commit also says what came in, as it does wherever nodes publish and receive. */
async function measureMessages ({ ports }: Laboratory, name: string, isBatch: boolean, add: Add): Promise<void> {
  const topicOf = (i: number): string => `${name}/messages/${i}`
  const clients = await Promise.all(ports.map(async (port, i) => {
    const client = await Client.open(port, `${name}/both/${i}`, true)
    await client.subscribe(...ports.map((_, other) => topicOf(other)).filter(topicName => topicName !== topicOf(i)))
    return client
  }))
  const rounds = isBatch ? 20 : 200
  await add('message', rounds * ports.length * (isBatch ? batchOf('message') : 1), async batch => {
    await Promise.all(clients.map(async (client, i) => {
      for (let round = 0; round < rounds; round++) await client.publish(Array.from({ length: batch }, () => topicOf(i)))
    }))
  })
  await Promise.all(clients.map(client => client.leave()))
}

const keyOf = (operation: Operation, isBatch: boolean, nodes: number): string => `${operation} ${isBatch ? 'together' : 'alone'} ${nodes}`

/** @param few nodes of the one cluster that was measured, and `many` of the other one */
export function costsOf (samples: Samples, few: number, many: number): Record<Operation, Cost> {
  const at = (operation: Operation, isBatch: boolean): [Usage, Usage] => {
    const pair = [few, many].map(nodes => samples.get(keyOf(operation, isBatch, nodes)))
    if (pair.includes(undefined)) throw new Error(`${operation} was not measured`)
    return pair as [Usage, Usage]
  }
  return Object.fromEntries(operations.map(operation => {
    const others = concernsOthers(operation) ? { few: few - 1, many: many - 1 } : { few: 0, many: 0 }
    return [operation, costFrom({ ...others, batch: batchOf(operation), alone: at(operation, false), together: at(operation, true) })]
  })) as Record<Operation, Cost>
}
