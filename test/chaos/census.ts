import type { RedisServer } from '../support/redis/redis-server.ts'

/** What Redis has of the cluster at one moment. */
export interface Census {
  /** Generations of the nodes that there are. */
  readonly nodes: readonly string[]
  /** By generation: the numbers of the Sessions that are its own. */
  readonly owned: ReadonlyMap<string, readonly string[]>
  /** By generation: Client Identifiers that are online there. */
  readonly online: ReadonlyMap<string, readonly string[]>
  /** By number. */
  readonly sessions: ReadonlyMap<string, { readonly clientIdentifier: string, readonly owner: string }>
  /** Number of the Session by Client Identifier. */
  readonly names: ReadonlyMap<string, string>
  /** All keys, without what they all begin with. */
  readonly keys: readonly string[]
}

/** Keys that belong to a Session beside its own, and empty ones do not exist. */
const sessionKey = /^[fqir]:(\d+)$/
const queueKey = /^[qirb]:/
const nodeKey = /^(?:w|in|own|on):(\d+)$/

export async function takeCensus (redis: RedisServer, prefix = '{myelin}:'): Promise<Census> {
  const keys = (await redis.keys()).map(key => key.startsWith(prefix) ? key.slice(prefix.length) : `not in ${prefix} but ${key}`)
  const { connection } = redis
  const tails = (head: string): string[] => keys.filter(key => key.startsWith(head)).map(key => key.slice(head.length))
  const membersOf = async (head: string): Promise<Map<string, string[]>> =>
    new Map(await Promise.all(tails(head).map(async (tail): Promise<[string, string[]]> => [tail, await connection.smembers(`${prefix}${head}${tail}`)])))
  const session = async (number: string): Promise<[string, { clientIdentifier: string, owner: string }]> => {
    const [clientIdentifier, owner] = await connection.hmget(`${prefix}s:${number}`, 'c', 'o')
    return [number, { clientIdentifier: clientIdentifier ?? '', owner: owner ?? '' }]
  }
  const nameOf = async (name: string): Promise<[string, string]> => [name, await connection.get(`${prefix}c:${name}`) ?? '']
  return {
    keys, nodes: await connection.hkeys(`${prefix}nodes`), owned: await membersOf('own:'), online: await membersOf('on:'),
    sessions: new Map(await Promise.all(tails('s:').map(session))), names: new Map(await Promise.all(tails('c:').map(nameOf))),
  }
}

/** What is wrong while all of these Clients are connected, and have everything. */
export function censusFaults (census: Census, clientIdentifiers: readonly string[], nodes: number): string[] {
  return [
    ...census.nodes.length === nodes ? [] : [`there are ${census.nodes.length} nodes in Redis: ${census.nodes.join()}`],
    ...clientIdentifiers.flatMap(name => clientFaults(census, name)),
    ...ownerFaults(census), ...keyFaults(census),
  ]
}

function clientFaults ({ names, sessions, online }: Census, name: string): string[] {
  const number = names.get(name)
  const places = [...online].filter(([, names]) => names.includes(name)).map(([generation]) => generation)
  const numbers = [...sessions].filter(([, { clientIdentifier }]) => clientIdentifier === name).map(([number]) => number)
  if (number === undefined || numbers.length !== 1 || numbers[0] !== number) return [`${name} has the Sessions [${numbers.join()}], and is said to have ${number ?? 'none'}`]
  const owner = sessions.get(number)?.owner
  return places.length === 1 && places[0] === owner ? [] : [`${name} is online at [${places.join()}], and ${owner ?? 'nobody'} has its Session`]
}

/** Every Session is one node's own, and that node is there. */
function ownerFaults ({ nodes, owned, sessions }: Census): string[] {
  const owners = new Map<string, string[]>([...sessions.keys()].map(number => [number, []]))
  for (const [generation, numbers] of owned) for (const number of numbers) owners.set(number, [...owners.get(number) ?? ['no Session'], generation])
  return [...owners].flatMap(([number, generations]) => {
    const owner = sessions.get(number)?.owner ?? ''
    const isRight = generations.length === 1 && generations[0] === owner && nodes.includes(owner)
    return isRight ? [] : [`Session ${number} is the own of [${generations.join()}], and says ${owner}`]
  })
}

/** Keys without an owner, and what should have been delivered. */
function keyFaults ({ keys, nodes, sessions }: Census): string[] {
  return keys.flatMap(key => {
    const number = sessionKey.exec(key)?.[1]
    const generation = nodeKey.exec(key)?.[1]
    const isWrong = (number !== undefined && !sessions.has(number)) || (generation !== undefined && !nodes.includes(generation)) || queueKey.test(key) || key.startsWith('not in')
    return isWrong ? [`there is a key ${key}`] : []
  })
}

/** What is left when no Client has a Session any more. */
export function remains ({ keys }: Census): string[] {
  return keys.filter(key => /^(?:[scfqirb]|own|on|hold):/.test(key))
}
