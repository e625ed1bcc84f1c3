import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import t from 'tap'
import { costFrom, costOf, frameOf } from '../benchmarks/cluster/scaling/costs.ts'
import { withTables } from '../benchmarks/cluster/scaling/document.ts'
import { isWithin, operations, type Figures, type Kept, type Operation } from '../benchmarks/cluster/scaling/figures.ts'
import { exceeded, limitOf, messagesPerFrame, predict, scaled, triesOf, type Bounds, type Scenario } from '../benchmarks/cluster/scaling/model.ts'
import { tablesOf } from '../benchmarks/cluster/scaling/tables.ts'
import { combine, minus, nothing, sum, times, type Usage } from '../benchmarks/cluster/scaling/usage.ts'

const root = join(import.meta.dirname, '..')

/** So much of everything. */
const usage = (each: number): Usage => combine([nothing], () => each)

t.test('usages are added, subtracted and multiplied figure by figure', t => {
  const one: Usage = { cpuUs: 1, commands: 2, scripts: 3, bytesIn: 4, bytesOut: 5 }
  t.strictSame(sum(one, one, usage(1)), { cpuUs: 3, commands: 5, scripts: 7, bytesIn: 9, bytesOut: 11 })
  t.strictSame(minus(times(one, 3), one), times(one, 2))
  t.end()
})

t.test('what a further node adds is taken apart from two clusters', t => {
  const cost = costFrom({ few: 1, many: 3, batch: 10, alone: [usage(120), usage(160)], together: [usage(12), usage(16)] })
  t.strictSame(cost, { batch: 10, alone: usage(100), aloneEach: usage(20), together: usage(10), togetherEach: usage(2) })
  const noisy = costFrom({ few: 1, many: 3, batch: 10, alone: [usage(120), usage(100)], together: [usage(1), usage(5)] })
  t.match(noisy, { alone: usage(110), aloneEach: usage(0), together: usage(0), togetherEach: usage(2) }, 'what noise makes negative is nothing')
  t.strictSame(costFrom({ few: 0, many: 0, batch: 10, alone: [usage(1), usage(3)], together: [usage(1), usage(1)] }).aloneEach, usage(0), 'what concerns no other node')
  t.end()
})

t.test('a batch shares what a commit costs', t => {
  const cost = { batch: 10, alone: usage(100), together: usage(28), aloneEach: usage(20), togetherEach: usage(2) } // 20 for each and 80 for a commit; 20 for a frame
  const of = (batch: number, others: number, batchEach?: number): number => costOf(cost, { batch, others, ...batchEach !== undefined && { batchEach } }).cpuUs
  t.equal(of(1, 0), 100)
  t.equal(of(10, 0), 28)
  t.equal(of(4, 0), 40)
  t.equal(of(0.1, 0), 100, 'there is no less than one')
  t.equal(of(1000, 0), 28, 'nothing is claimed of batches that were not measured')
  t.equal(of(1, 3), 160)
  t.equal(of(10, 3), 34)
  t.equal(of(10, 3, 1), 88, 'batches of the other nodes are their own')
  t.equal(frameOf(cost).cpuUs, 20)
  t.end()
})

t.test('messages for random nodes share frames as far as there are more messages than nodes', t => {
  t.equal(messagesPerFrame(100, 1), 100)
  t.equal(messagesPerFrame(1, 50), 1)
  t.ok(messagesPerFrame(100, 10_000) < 1.01)
  t.ok(messagesPerFrame(100, 10) > 9.99)
  fc.assert(fc.property(fc.integer({ min: 1, max: 1000 }), fc.integer({ min: 1, max: 1000 }), (messages, others) => {
    const each = messagesPerFrame(messages, others)
    return each >= 1 && each <= messages + 1e-9 && each >= messages / others - 1e-9
  }))
  t.end()
})

const flat = (own: number, each: number): Figures['costs'][Operation] => ({ batch: 10, alone: usage(own), together: usage(own), aloneEach: usage(each), togetherEach: usage(each) })

/** Costs that can be added up by hand: 1, 10, 100… for an operation, and 1,000 for each other node of a move. */
const figures: Figures = {
  machine: { processor: '', cores: 1, memoryGb: 1, system: '', node: '', commit: '', date: '' }, redis: '7', rounds: 1, idle: usage(7),
  costs: { connect: flat(1, 0), reconnect: flat(10, 0), move: flat(100, 1000), subscribe: flat(2, 0), unsubscribe: flat(3, 0), message: flat(50, 5) },
  redisBytes: { node: 1000, volatile: 1, durable: 10, subscription: 2, queued: 100 },
  nodeBytes: { process: 5000, online: 30, away: 20, route: 3 },
}

const scenario: Scenario = {
  name: 'test', connections: 1000, connectionsPerNode: 500, durable: 0.5, away: 0.1, queued: 4, filters: 2,
  connects: 100, moved: 0.2, messages: 40, remote: 0.5, fanOut: 3, roundTripMs: 0, commitDelayMs: 0,
}

t.test('the model adds up what the operations of a second cost', t => {
  const { nodes, cores, parts, redis, tries, batch } = predict(scenario, figures)
  t.match({ nodes, tries, batch }, { nodes: 2, tries: 1, batch: 1 })
  const expected: Record<string, number> = {
    idle: 2 * 7, connect: 50, reconnect: 40 * 10, move: 10 * (100 + 1000), subscribe: 100 * 2, unsubscribe: 100 * 3,
    message: 20 * (50 + 5), // there is one other node, so fan-out to three is to one
  }
  for (const [name, cpuUs] of Object.entries(expected)) t.ok(Math.abs(parts[name as Operation] * 1e6 - cpuUs) < 1e-6, `${name}: ${parts[name as Operation] * 1e6} for ${cpuUs}`)
  t.ok(Math.abs(redis.commands - cores * 1e6) < 1e-6)
  t.end()
})

t.test('the model adds up memory', t => {
  const { filters, routeBytes, nodeBytes, redisBytes } = predict(scenario, figures)
  t.equal(filters, 2 * 1100)
  t.equal(routeBytes, 2200 / 2 * 3, 'half of the filters are those of the other node')
  t.equal(nodeBytes, 5000 + 3300 + (1000 * 30 + 100 * 20) / 2)
  t.equal(redisBytes, 2 * 1000 + 500 + 1000 * 2 + 600 * 10 + 600 * 2 + 100 * 4 * 100)
  t.end()
})

t.test('one node alone has nobody to tell', t => {
  const { nodes, parts, routeBytes } = predict({ ...scenario, connectionsPerNode: 1000 }, figures)
  t.match({ nodes, routeBytes }, { nodes: 1, routeBytes: 0 })
  t.match(parts, { move: 0, message: 0 })
  t.end()
})

t.test('a commit takes what gathers in a round trip and the delay', t => {
  const { batch } = predict({ ...scenario, roundTripMs: 5, commitDelayMs: 15 }, figures)
  t.ok(Math.abs(batch - (50 + 40 + 10 + 100 + 100 + 20) / 2 * 0.02) < 1e-9)
  t.end()
})

t.test('Sessions that move make commits be asked for again', t => {
  t.equal(triesOf(0, 1), 1)
  t.ok(Math.abs(triesOf(1000, 1) - Math.E) < 1e-9)
  const moving = predict({ ...scenario, connects: 10_000, roundTripMs: 1 }, figures)
  t.ok(Math.abs(moving.tries - triesOf(1000, 1)) < 1e-9)
  t.end()
})

t.test('the limit is where something is exceeded first', t => {
  const wide: Bounds = { cores: Infinity, redisBytes: Infinity, nodeBytes: Infinity, filters: Infinity, tries: Infinity }
  for (const bounds of [{ ...wide, cores: 0.5 }, { ...wide, redisBytes: 1e9 }, { ...wide, nodeBytes: 1e7 }, { ...wide, filters: 2 ** 24 }]) {
    const { connections, by } = limitOf(scenario, figures, bounds)
    t.strictSame(exceeded(predict(scaled(scenario, connections), figures), bounds), [], 'it is not exceeded there')
    t.strictSame(exceeded(predict(scaled(scenario, connections * 1.01), figures), bounds), by, `${String(by)} is a little further on`)
    t.equal(by.length, 1)
  }
  t.match(scaled(scenario, 500), { connections: 500, connects: 50, messages: 20, durable: 0.5 })
  t.end()
})

t.test('a page gets its tables, as often as they are made', t => {
  const page = 'a\n<!-- scaling:one -->\nold\n<!-- /scaling:one -->\nb\n'
  const written = withTables(page, new Map([['one', '| $1 |']]))
  t.equal(written, 'a\n<!-- scaling:one -->\n\n| $1 |\n\n<!-- /scaling:one -->\nb\n')
  t.equal(withTables(written, new Map([['one', '| $1 |']])), written)
  t.throws(() => withTables(page, new Map([['two', '']])), RangeError)
  t.end()
})

const kept = JSON.parse(readFileSync(join(root, 'benchmarks/results/scaling.json'), 'utf8')) as Kept

t.test('docs/scaling.md has what the model makes of what was measured', t => {
  const page = readFileSync(join(root, 'docs/scaling.md'), 'utf8')
  t.equal(withTables(page, tablesOf(kept)), page, 'else: npm run scaling -- --kept --write')
  t.end()
})

t.test('runs took what the model had said', t => {
  t.strictSame(Object.keys(kept.figures.costs).sort(), [...operations].sort())
  t.ok(kept.checks.length >= 2)
  for (const { connections, rows } of kept.checks) {
    for (const row of rows.filter(({ figure }) => !figure.startsWith('CPU'))) t.ok(isWithin(row), `${connections} connections: ${row.figure}`)
  }
  t.end()
})
