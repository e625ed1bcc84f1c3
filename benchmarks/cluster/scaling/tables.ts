import { table } from '../../report.ts'
import { shown } from '../../runner/rounds.ts'
import { costOf, type Cost } from './costs.ts'
import { isWithin, operations, type Check, type Figures, type Kept, type Operation } from './figures.ts'
import { limitOf, predict, scaled, type Bounds, type Prediction, type Scenario } from './model.ts'
import { bounds, hundredMillion, scenarios } from './scenarios.ts'
import type { Usage } from './usage.ts'

const titles: Readonly<Record<Operation, string>> = {
  connect: 'CONNECT and DISCONNECT, Session that ends', reconnect: 'CONNECT and DISCONNECT, Session that stays, at its node', move: 'the same at another node, 1 filter',
  subscribe: 'SUBSCRIBE, a new filter', unsubscribe: 'UNSUBSCRIBE, the last one with that filter', message: 'QoS 1 message of 200 bytes',
}
const reasons: Readonly<Record<keyof Bounds, string>> = {
  cores: 'processor of Redis', redisBytes: 'memory of Redis', nodeBytes: 'memory of a node', filters: 'different Topic Filters', tries: 'Sessions that move',
}

/** Tries of a commit that never gets through. */
const hopeless = 100

/** What is computed from so little is not known better than that. */
const about = (value: number): string => shown(Number(value.toPrecision(2)))
const bytes = (value: number): string => value >= 1e9 ? `${shown(value / 1e9)} GB` : `${shown(value / 1e6)} MB`

/** All tables by the names of their places in docs/scaling.md. */
export function tablesOf ({ figures, checks }: Kept): Map<string, string> {
  return new Map([
    ['origin', originOf(figures)], ['costs', costTable(figures)], ['memory', memoryTable(figures)], ['core', coreTable(figures)],
    ['checks', checks.map(checkTable).join('\n\n')], ['million', scenarioTable(scenarios, figures)], ['limits', limitTable(figures)], ['cells', cellTable(figures)],
  ])
}

function originOf ({ machine, redis, rounds }: Figures): string {
  const { processor, cores, node, date, commit } = machine
  return `Measured ${date} at ${commit} on ${cores} cores of an ${processor} that other jobs shared, Node ${node}, Redis ${redis} without a file; medians of ${rounds} rounds.`
}

function costTable ({ costs, idle }: Figures): string {
  const figure = ({ cpuUs, commands, scripts, bytesIn, bytesOut }: Usage): string[] => [cpuUs, commands, scripts, bytesIn, bytesOut].map(value => shown(value))
  const hasEach = (cost: Cost, { cpuUs }: Usage): boolean => cpuUs > cost.alone.cpuUs / 10 || cost === costs.message
  const rows = operations.flatMap(operation => {
    const cost = costs[operation]
    const each = operation === 'message' ? 'for each node that it is for' : 'for each other node'
    return [
      [titles[operation], 'alone', ...figure(cost.alone)], ['', `${cost.batch} at once`, ...figure(cost.together)],
      ...hasEach(cost, cost.aloneEach) ? [['', `${each}, alone`, ...figure(cost.aloneEach)], ['', `${each}, ${cost.batch} at once`, ...figure(cost.togetherEach)]] : [],
    ]
  })
  return table(['what', '', 'CPU of Redis, µs', 'commands', 'scripts', 'bytes to Redis', 'bytes from it'], [...rows, ['a node without Clients', 'each second', ...figure(idle)]])
}

function memoryTable ({ redisBytes, nodeBytes, costs }: Figures): string {
  const rows: [string, string][] = [
    ['Redis: a Session that ends with its connection, without Subscriptions', shown(redisBytes.volatile)],
    ['Redis: a Session that stays, with one Subscription whose filter nobody else has', shown(redisBytes.durable)],
    ['Redis: each further Subscription like that', shown(redisBytes.subscription)],
    ['Redis: a message of 200 bytes that waits in one Session', shown(redisBytes.queued)],
    ['node: a Session that stays, Client connected, with its socket', shown(nodeBytes.online)],
    ['node: the same, Client away', shown(nodeBytes.away)],
    ['node: a Topic Filter that another node wants', shown(nodeBytes.route)],
    ['log: what each node reads when one filter comes or goes', shown(costs.unsubscribe.aloneEach.bytesOut)],
  ]
  return table(['what', 'bytes'], rows)
}

/** What fits into the share of the processor that may be used, if nodes confirm to each other alone or in batches. */
function coreTable ({ costs }: Figures): string {
  const nodes = [2, 20, 100]
  const each = (operation: Operation, isBatch: boolean, nodes: number): string => {
    const { cpuUs } = costOf(costs[operation], { batch: isBatch ? costs[operation].batch : 1, others: operation === 'message' ? 1 : nodes - 1 })
    return shown(bounds.cores * 1e6 / cpuUs)
  }
  const rows = operations.map(operation => [titles[operation], ...nodes.flatMap(count => [each(operation, false, count), each(operation, true, count)])])
  return table(['a second, and nothing else', ...nodes.flatMap(count => [`${count} nodes, alone`, 'in batches'])], rows)
}

function checkTable ({ connections, seconds, connects, messages, roundTripMs, rows }: Check): string {
  const cells = rows.map(row => [row.figure, shown(row.predicted), shown(row.measured), `${shown(100 * (row.predicted / row.measured - 1))} %`, isWithin(row) ? '' : 'off'])
  const load = `${shown(connects)} CONNECTs and ${shown(messages)} messages a second for ${seconds} s, PUBACK after ${shown(roundTripMs)} ms`
  return `${shown(connections)} connections, ${load}:\n\n${table(['figure', 'predicted', 'measured', 'off by', ''], cells)}`
}

/** One column for each scenario would be too wide: their numbers stand in the first row. */
export function scenarioTable (scenarios: readonly Scenario[], figures: Figures): string {
  const predictions = scenarios.map(scenario => predict(scenario, figures))
  const row = (name: string, of: (prediction: Prediction, scenario: Scenario) => string): string[] =>
    [name, ...predictions.map((prediction, i) => of(prediction, scenarios[i] as Scenario))]
  const list = scenarios.map(({ name }, i) => `${i + 1}. ${name}`).join('\n')
  return `${list}\n\n${table(['', ...scenarios.map((_, i) => `${i + 1}`)], [
    row('connections', (_, { connections }) => shown(connections)), row('nodes', ({ nodes }) => shown(nodes)),
    row('CONNECTs a second', (_, { connects }) => shown(connects)), row('messages a second', (_, { messages }) => shown(messages)),
    row('memory of a node', ({ nodeBytes }) => bytes(nodeBytes)), row('… of it for routes', ({ routeBytes }) => bytes(routeBytes)),
    row('memory of Redis', ({ redisBytes }) => bytes(redisBytes)), row('Redis commands a second', ({ redis }) => shown(redis.commands)),
    row('scripts a second', ({ redis }) => shown(redis.scripts)), row('Mbit/s to Redis', ({ redis }) => shown(redis.bytesIn * 8 / 1e6)), row('Mbit/s from Redis', ({ redis }) => shown(redis.bytesOut * 8 / 1e6)),
    row('operations in a commit', ({ batch }) => shown(batch)), row('processors of Redis', ({ cores }) => shown(cores)),
    row('… for CONNECTs', ({ parts }) => shown(parts.connect + parts.reconnect)), row('… for moves', ({ parts }) => shown(parts.move)),
    row('… for filters', ({ parts }) => shown(parts.subscribe + parts.unsubscribe)), row('… for messages', ({ parts }) => shown(parts.message)),
    row('… for nodes as such', ({ parts }) => shown(parts.idle)),
  ])}`
}

function limitTable (figures: Figures): string {
  const rows = scenarios.map((scenario, i) => {
    const { connections, by } = limitOf(scenario, figures, bounds)
    const { connects, messages } = scaled(scenario, connections)
    const { nodes, redisBytes } = predict(scaled(scenario, connections), figures)
    return [String(i + 1), about(connections), about(nodes), about(connects), about(messages), bytes(redisBytes), by.map(key => reasons[key]).join(', ')]
  })
  return table(['', 'connections', 'nodes', 'CONNECTs a second', 'messages a second', 'memory of Redis', 'what stops it'], rows)
}

function cellTable (figures: Figures): string {
  const rows = hundredMillion.map((scenario, i) => {
    const whole = predict(scenario, figures)
    const cells = Math.ceil(scenario.connections / limitOf(scenario, figures, bounds).connections)
    const cell = predict(scaled(scenario, scenario.connections / cells), figures)
    return [
      String(i + 1), shown(whole.nodes), bytes(whole.routeBytes), ...whole.tries > hopeless ? ['–', '–'] : [about(whole.redis.commands), about(whole.cores)],
      about(cells), about(cell.nodes), about(cell.nodes * cells), bytes(cell.nodeBytes), bytes(cell.redisBytes), about(cell.redis.commands), about(cell.cores),
    ]
  })
  return table(['', 'one cluster: nodes', 'routes in each node', 'Redis commands a second', 'processors of Redis', 'cells', 'nodes in each', 'nodes in all', 'memory of a node', 'of Redis', 'Redis commands a second', 'processors of Redis'], rows)
}
