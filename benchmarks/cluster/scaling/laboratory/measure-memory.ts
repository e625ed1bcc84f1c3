import { Client, inParallel } from './client.ts'
import type { NodeBytes, RedisBytes } from '../figures.ts'
import type { Laboratory } from './laboratory.ts'

/** Sessions of each kind. */
const sessions = 2_000
const queuedMessages = 20
/** Of each Session that has more than one: so many that a node's buffers make no difference to what filters take. */
const filtersOfSeveral = 10
const parallel = 25

/** What Redis and two nodes take for each of what they keep. Client Identifiers have 23 bytes, Topic Filters 32 and more. */
export async function measureMemory (laboratory: Laboratory): Promise<{ readonly redisBytes: RedisBytes, readonly nodeBytes: NodeBytes }> {
  const [home, other] = [laboratory.port(0), laboratory.port(1)]
  const used = async (i: number): Promise<number> => (await laboratory.nodeMemory(i)).used
  await warmUp(laboratory)
  const empty = await laboratory.redisBytes()
  const { resident } = await laboratory.nodeMemory(0)
  const volatile = await online(other, 'volatile', false, sessions)
  const withVolatile = await laboratory.redisBytes()
  await leave(volatile)

  const [start, ownStart] = [await laboratory.redisBytes(), await used(0)]
  const clients = await online(home, 'staying', true, sessions, 1)
  const ownOnline = await used(0)
  await leave(clients)
  const [withOne, ownAway, otherStart] = [await laboratory.redisBytes(), await used(0), await used(1)]
  const several = await online(home, 'several', true, sessions, filtersOfSeveral)
  const otherOnline = await used(1)
  await leave(several)
  const withTen = await laboratory.redisBytes()
  await fillQueues(other)
  const withMessages = await laboratory.redisBytes()

  const each = (bytes: number, count: number = sessions): number => Math.round(bytes / count)
  const durable = each(withOne - start)
  return {
    redisBytes: {
      node: each(empty, laboratory.ports.length), volatile: each(withVolatile - empty), durable,
      subscription: each((withTen - withOne) / sessions - durable, filtersOfSeveral - 1), queued: each(withMessages - withTen, sessions * queuedMessages),
    },
    nodeBytes: { process: resident, online: each(ownOnline - ownStart), away: each(ownAway - ownStart), route: each(otherOnline - otherStart, sessions * filtersOfSeveral) },
  }
}

const nameOf = (kind: string, i: number): string => `memory/${kind}/${String(i).padStart(8, '0')}`

/** Code that runs is compiled, and tables have grown, before anything is measured. */
async function warmUp (laboratory: Laboratory): Promise<void> {
  for (const [i, port] of laboratory.ports.entries()) {
    const clients = await online(port, `warm-up-${i}`, false, 200, 1)
    await leave(clients)
  }
}

async function online (port: number, kind: string, stays: boolean, count: number, filters: number = 0): Promise<Client[]> {
  const clients: Client[] = []
  await inParallel(count, parallel, async i => {
    const client = await Client.open(port, nameOf(kind, i), stays)
    clients.push(client)
    if (filters > 0) await client.subscribe(...Array.from({ length: filters }, (_, filter) => `${nameOf(kind, i)}/command/${filter}`))
  })
  return clients
}

async function leave (clients: readonly Client[]): Promise<void> {
  await inParallel(clients.length, parallel, async i => { await clients[i]?.leave() })
}

/** Each Session that stays has so many messages that wait. */
async function fillQueues (port: number): Promise<void> {
  const publisher = await Client.open(port, nameOf('publisher', 0), false)
  const topicNames = Array.from({ length: sessions * queuedMessages }, (_, i) => `${nameOf('staying', i % sessions)}/command/0`)
  for (let first = 0; first < topicNames.length; first += 100) await publisher.publish(topicNames.slice(first, first + 100))
  await publisher.leave()
}
