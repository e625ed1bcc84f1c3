import { ErrorCode, MqttError, ReasonCode, storeInUse, storeTooNew } from '../../../lib/index.ts'
import type { NodeDescription, NodeState, NodeStatus } from '../../../lib/index.ts'
import type { Link } from '../link/link.ts'
import { joinScript } from '../scripts/join.lua.ts'
import { nodesScript, ownerScript, placeScript } from '../scripts/nodes.lua.ts'

/** What nodes say to each other, and how; all that live have the same. It changes with what a node of an earlier version would not understand. */
export const protocol = 1

/** What a node learns when it joins. */
export interface Joined {
  readonly generation: number
  readonly position: number
  readonly moves: number
  /** Milliseconds since the epoch, by the clock of Redis. */
  readonly joinedAt: number
}

/** @throws MqttError when the nodes that are there do not go together with this one */
export async function join (link: Link, leaseMs: number, description: NodeDescription): Promise<Joined> {
  const { name, version } = description
  const [first, ...rest] = await link.call(joinScript, protocol, leaseMs, JSON.stringify({ name, version })) as Buffer[]
  if (String(first) === 'protocol') throw otherProtocol(Number(rest[0]))
  if (String(first) === 'leaseMs') throw otherLease(leaseMs, Number(rest[0]))
  const [position = 0, moves = 0, joinedAt = 0] = rest.map(Number)
  return { generation: Number(first), position, moves, joinedAt }
}

function otherProtocol (theirs: number): MqttError {
  if (theirs > protocol) return storeTooNew(`the nodes of this cluster speak protocol ${theirs}, this version of Myelin protocol ${protocol}; update it`)
  return storeInUse(`the nodes of this cluster speak protocol ${theirs}, this version of Myelin only protocol ${protocol}; end them first`)
}

function otherLease (ours: number, theirs: number): MqttError {
  const text = `option "leaseMs" is ${ours}, but the other nodes of the cluster have ${theirs}; it has to be the same for all`
  return new MqttError(ErrorCode.optionInvalid, ReasonCode.implementationSpecificError, text)
}

/** Takes a node for dead at once: the next that it asks for tells it so. */
export async function giveUp (link: Link, generation: number): Promise<void> {
  try {
    await link.command('HDEL', 'last', generation)
  } catch {
    // The store is closed: nothing is asked for any more.
  }
}

/** A node that has not said yet what it has. */
const silent: NodeStatus = { clientsConnected: 0, sessions: 0, subscriptions: 0 }

/** What a node says of itself, as it is stored. */
export function encodeState (description: NodeDescription, joinedAt: number, status: NodeStatus): string {
  const { name, version } = description
  const { clientsConnected, sessions, subscriptions } = status
  return JSON.stringify({ joinedAt, name, version, clientsConnected, sessions, subscriptions })
}

export async function nodeStates (link: Link, leaseMs: number): Promise<NodeState[]> {
  const fields = await link.call(nodesScript, leaseMs) as Buffer[]
  const nodes: NodeState[] = []
  for (let i = 0; i + 3 < fields.length; i += 4) {
    const [generation, json, heardAt, isAlive] = fields.slice(i, i + 4).map(String) as [string, string, string, string]
    const said = { ...silent, ...JSON.parse(json) as NodeDescription & Partial<NodeStatus> & { readonly joinedAt: number } }
    nodes.push({ ...said, generation: Number(generation), heardAt: Number(heardAt), isAlive: isAlive === '1' })
  }
  return nodes
}

export async function ownerOf (link: Link, clientIdentifier: string): Promise<number | undefined> {
  const owner = await link.call(ownerScript, clientIdentifier) as Buffer | null
  return owner === null ? undefined : Number(owner)
}

export async function placeOf (link: Link, clientIdentifier: string): Promise<number | undefined> {
  const place = await link.call(placeScript, clientIdentifier) as Buffer | null
  return place === null ? undefined : Number(place)
}

/** Client Identifiers that are online at a node, each once. */
export async function * onlineAt (link: Link, generation: number): AsyncGenerator<string> {
  const seen = new Set<string>() // SSCAN may come by twice
  for (let cursor = '0'; ;) {
    const [next, members] = await link.command('SSCAN', `on:${generation}`, cursor, 'COUNT', 200) as [Buffer, Buffer[]]
    for (const member of members.map(String)) {
      if (!seen.has(member)) yield member
      seen.add(member)
    }
    cursor = next.toString()
    if (cursor === '0') return
  }
}
