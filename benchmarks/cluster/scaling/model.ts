import { costOf, frameOf } from './costs.ts'
import { operations, type Figures, type Operation } from './figures.ts'
import { sum, times, type Usage } from './usage.ts'

/** What a cluster is to do. */
export interface Scenario {
  readonly name: string
  /** Clients that are connected, and how many of them one node takes. */
  readonly connections: number
  readonly connectionsPerNode: number
  /** Share of the connections whose Session stays. */
  readonly durable: number
  /** Sessions whose Client is away, for each connection, and messages that wait in each of them. */
  readonly away: number
  readonly queued: number
  /** Topic Filters of each Session that no other node's Sessions have. */
  readonly filters: number
  /** CONNECTs a second, each with the end of a connection before it. */
  readonly connects: number
  /** Share of the CONNECTs with a Session that stays which come to another node than the last time. */
  readonly moved: number
  /** QoS 1 messages a second, the share of them that has subscribers at other nodes, and at how many. */
  readonly messages: number
  readonly remote: number
  readonly fanOut: number
  /** Milliseconds from a commit to its answer, and those of the option `commitDelayMs`. */
  readonly roundTripMs: number
  readonly commitDelayMs: number
}

/** What it takes. */
export interface Prediction {
  readonly nodes: number
  readonly filters: number
  /** Bytes in each node. */
  readonly routeBytes: number
  readonly nodeBytes: number
  readonly redisBytes: number
  /** A second, of one Redis, if one did it all. */
  readonly redis: Usage
  /** Processors of Redis that this keeps busy: one Redis has one. */
  readonly cores: number
  /** CPU seconds a second, by what they are for. */
  readonly parts: Readonly<Record<Operation | 'idle', number>>
  /** How often a commit with messages is asked for until no Session has moved meanwhile. */
  readonly tries: number
  /** Operations that one commit of a node carries. */
  readonly batch: number
}

export function predict (scenario: Scenario, figures: Figures): Prediction {
  const { connections, connectionsPerNode, commitDelayMs, roundTripMs } = scenario
  const nodes = Math.max(1, Math.ceil(connections / connectionsPerNode))
  const rates = ratesOf(scenario, nodes)
  const commitSeconds = (roundTripMs + commitDelayMs) / 1000
  const batch = Math.max(1, total(Object.values(rates)) / nodes * commitSeconds)
  const told = Math.max(1, (rates.move + rates.subscribe + rates.unsubscribe) * commitSeconds)
  const tries = triesOf(rates.move, roundTripMs)
  const usages = new Map<Operation | 'idle', Usage>([['idle', times(figures.idle, nodes)]])
  for (const operation of operations) usages.set(operation, times(usageOf(operation, scenario, figures, { nodes, batch, told, tries }), rates[operation]))
  const redis = sum(...usages.values())
  const parts = Object.fromEntries([...usages].map(([name, { cpuUs }]) => [name, cpuUs / 1e6])) as Prediction['parts']
  return { nodes, ...memoryOf(scenario, figures, nodes), redis, cores: redis.cpuUs / 1e6, parts, tries, batch }
}

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0)

/** A second, in the whole cluster. */
function ratesOf ({ connects, durable, moved, filters, messages, remote }: Scenario, nodes: number): Record<Operation, number> {
  const passing = connects * (1 - durable) // whose filters come and go with them
  const moves = nodes === 1 ? 0 : connects * durable * moved
  return {
    connect: passing, reconnect: connects * durable - moves, move: moves,
    subscribe: passing * filters, unsubscribe: passing * filters, message: nodes === 1 ? 0 : messages * remote,
  }
}

/** A commit that has messages is refused when a Session has moved of which its node has not heard: about a round trip long. */
export function triesOf (movesPerSecond: number, roundTripMs: number): number { return Math.exp(movesPerSecond * roundTripMs / 1000) }

interface Cluster {
  readonly nodes: number
  readonly batch: number
  /** Entries of the log that a node reads, and confirms, at once. */
  readonly told: number
  readonly tries: number
}

function usageOf (operation: Operation, { fanOut }: Scenario, { costs }: Figures, { nodes, batch, told, tries }: Cluster): Usage {
  const others = nodes - 1
  if (operation === 'message') {
    const destinations = Math.min(fanOut, others)
    return times(costOf(costs.message, { batch, others: destinations, batchEach: messagesPerFrame(batch * destinations, others) }), tries)
  }
  const usage = costOf(costs[operation], { batch, others, batchEach: told })
  if (operation !== 'move' && operation !== 'subscribe') return usage
  const frames = others * (1 / messagesPerFrame(told, others) - 1 / told) // each confirmation goes to the node that it is for
  return sum(usage, times(frameOf(costs.message), frames))
}

/** How many of some messages, each for one of the other nodes, share a frame. */
export function messagesPerFrame (messages: number, others: number): number {
  if (others <= 1) return Math.max(1, messages)
  return Math.max(1, messages / (others * (1 - (1 - 1 / others) ** messages)))
}

function memoryOf (scenario: Scenario, { redisBytes, nodeBytes }: Figures, nodes: number): Pick<Prediction, 'filters' | 'routeBytes' | 'nodeBytes' | 'redisBytes'> {
  const { connections, durable, away, queued } = scenario
  const gone = connections * away
  const staying = connections * durable + gone
  const filters = (connections + gone) * scenario.filters
  const routeBytes = filters * (nodes - 1) / nodes * nodeBytes.route
  const further = (sessions: number, included: number): number => sessions * (scenario.filters - included) * redisBytes.subscription
  return {
    filters, routeBytes,
    nodeBytes: nodeBytes.process + routeBytes + (connections * nodeBytes.online + gone * nodeBytes.away) / nodes,
    redisBytes: nodes * redisBytes.node + connections * (1 - durable) * redisBytes.volatile + further(connections * (1 - durable), 0) +
      staying * redisBytes.durable + further(staying, 1) + gone * queued * redisBytes.queued,
  }
}

/** What may not be exceeded in one cluster. */
export interface Bounds {
  /** Share of the one processor of Redis that is used at most. */
  readonly cores: number
  readonly redisBytes: number
  readonly nodeBytes: number
  /** Different Topic Filters: a Map holds no more than 2^24. */
  readonly filters: number
  readonly tries: number
}

/** What is exceeded. */
export function exceeded ({ cores, redisBytes, nodeBytes, filters, tries }: Prediction, bounds: Bounds): readonly (keyof Bounds)[] {
  const found = { cores, redisBytes, nodeBytes, filters, tries }
  return (Object.keys(found) as (keyof Bounds)[]).filter(key => found[key] > bounds[key])
}

/** The same on another scale: with so many connections, and as much more or less of everything that they do. */
export function scaled (scenario: Scenario, connections: number): Scenario {
  const factor = connections / scenario.connections
  return { ...scenario, connections, connects: scenario.connects * factor, messages: scenario.messages * factor }
}

/** The most connections that one cluster carries, to a percent, and what stops it there. */
export function limitOf (scenario: Scenario, figures: Figures, bounds: Bounds): { readonly connections: number, readonly by: readonly (keyof Bounds)[] } {
  const wrong = (connections: number): readonly (keyof Bounds)[] => exceeded(predict(scaled(scenario, connections), figures), bounds)
  let [low, high] = [0, 1e12]
  while (high - low > Math.max(1, low / 1000)) {
    const middle = low === 0 ? high / 1000 : Math.sqrt(low * high)
    if (wrong(middle).length === 0) low = middle
    else high = middle
    if (high < 1) break
  }
  return { connections: Math.floor(low), by: wrong(high) }
}
