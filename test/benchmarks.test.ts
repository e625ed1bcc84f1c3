import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import ts from 'typescript'
import type { Bench } from '../benchmarks/report.ts'
import { barChart } from '../benchmarks/runner/chart.ts'
import { median, pairedRatio } from '../benchmarks/runner/statistics.ts'
import { usageIn } from '../benchmarks/load/measures/redis.ts'
import { Sequence } from '../benchmarks/load/measures/sequence.ts'
import { Totals } from '../benchmarks/load/measures/totals.ts'

const root = join(import.meta.dirname, '..')

/** The end-to-end benchmarks without their types, in a folder of the test: what `npm run bench` compiles, for any Node. */
function compile (folder: string): string {
  for (const part of ['load', 'runner', 'servers', 'durability', 'cluster', 'curve', '.']) {
    for (const name of readdirSync(join(root, 'benchmarks', part), { recursive: part !== '.', encoding: 'utf8' }).filter(name => name.endsWith('.ts'))) {
      const file = join(folder, part, name.replace(/\.ts$/, '.js'))
      mkdirSync(dirname(file), { recursive: true })
      writeFileSync(file, stripped(readFileSync(join(root, 'benchmarks', part, name), 'utf8')))
    }
  }
  return folder
}

function stripped (program: string): string {
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023, verbatimModuleSyntax: true, rewriteRelativeImportExtensions: true }
  return ts.transpileModule(program, { compilerOptions }).outputText
}

t.setTimeout(120_000) // several brokers, one after the other
const folder = compile(t.testdir({}))
const out = join(folder, 'out')

const bench = (t: Test, ...args: string[]): Promise<Ended> => runBench(t, 'run.js', args)

interface Ended { readonly code: unknown, readonly problems: string }

/** Runs benchmarks against the command line as it was built. */
async function runBench (t: Test, program: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, [join(folder, program), '--out', out, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  t.teardown(() => { child.kill() })
  const [problems, [code]] = await Promise.all([text(child.stderr), once(child, 'exit')]) as [string, unknown[]]
  return { code, problems }
}

t.test('npm run bench measures a broker from outside and loses nothing', async t => {
  const { code, problems } = await bench(t, '--only', 'pairs-qos1,v5-qos1,websocket-qos1', '--brokers', 'myelin', '--rounds', '1', '--seconds', '0.2', '--warmup', '0.1')
  t.equal(code, 0, problems)
  const { results, machine } = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')) as Bench
  t.match(machine, { node: process.version, commit: String, date: /^\d{4}-\d\d-\d\d$/ })
  t.same(results.map(({ scenario }) => scenario), ['pairs-qos1', 'v5-qos1', 'websocket-qos1'])
  for (const { scenario, broker, figures, failed } of results) {
    t.match({ broker, failed }, { broker: 'myelin', failed: undefined }, scenario)
    t.match(figures, { sent: figures['received'], errors: 0, lost: 0, duplicated: 0, outOfOrder: 0, badAcknowledgements: 0, p50Us: Number, p99Us: Number, cpuUs: Number, noise: Number }, scenario)
    t.ok((figures['messages'] ?? 0) > 0, `${scenario}: messages were measured`)
  }
  t.match(readFileSync(join(out, 'report.md'), 'utf8'), /^\| 10 pairs, QoS 1, window 32 \| [\d.,]+ \| – \|$/m)
  t.match(readFileSync(join(out, 'chart.svg'), 'utf8'), /^<svg [^]*<\/svg>\n$/)
})

t.test('npm run bench:durability measures brokers with a store, kills them and starts them again, and leaves nothing behind', async t => {
  const data = t.testdir({})
  const only = ['--only', 'online,drain,restart-queue', '--brokers', 'memory,process', '--rounds', '1', '--seconds', '0.2', '--warmup', '0.1', '--quick', '--data', data]
  const { code, problems } = await runBench(t, 'durability/run.js', only)
  t.equal(code, 0, problems)
  const { results } = JSON.parse(readFileSync(join(out, 'durability.json'), 'utf8')) as Bench
  const [restarts, others] = [results.filter(({ scenario }) => scenario === 'restart-queue'), results.filter(({ scenario }) => scenario !== 'restart-queue')]
  t.same(others.map(({ scenario, failed }) => [scenario, failed]), ['online', 'drain'].flatMap(scenario => Array(2).fill([scenario, undefined]) as unknown[]))
  for (const { scenario, broker, figures } of others) {
    t.match(figures, { errors: 0, lost: 0, duplicated: 0, outOfOrder: 0, badAcknowledgements: 0, messagesPerSecond: Number }, `${scenario}, ${broker}`)
  }
  for (const { broker, figures } of restarts) t.match(figures, { readyMs: Number, heapMb: Number, queuedMessages: 20_000 }, broker)
  t.equal(restarts.length, 1)
  t.match(readFileSync(join(out, 'durability.md'), 'utf8'), /^\| 10 pairs, window 32, subscribers connected \| myelin process ÷ myelin memory \| ≥ 0.8 \| /m)
  t.same(readdirSync(data), [])
})

t.test('npm run bench:cluster measures two nodes on one Redis, and counts what goes through it', async t => {
  const only = ['--only', 'stay-10x,alone-10x', '--brokers', 'myelin', '--rounds', '1', '--seconds', '0.3', '--warmup', '0.1', '--quick']
  const { code, problems } = await runBench(t, 'cluster/run.js', only)
  t.equal(code, 0, problems)
  const { results } = JSON.parse(readFileSync(join(out, 'cluster.json'), 'utf8')) as Bench
  t.same(results.map(({ scenario, failed }) => [scenario, failed]), [['stay-10x', undefined], ['alone-10x', undefined]])
  for (const { figures, scenario } of results) {
    t.match(figures, { errors: 0, lost: 0, duplicated: 0, outOfOrder: 0, redisCpuUs: Number, commands: Number, scripts: Number, subscriberCpuUs: Number }, scenario)
  }
  t.ok((results[1]?.figures['fromClients'] ?? 0) >= 1, 'commands that nodes send were counted')
  t.match(readFileSync(join(out, 'cluster.md'), 'utf8'), /^\| 50 messages a second, QoS 1, to 10 Sessions that stay \| commands that nodes send, a message \| ≤ 2 \| /m)
})

t.test('npm run bench:curve goes round brokers that carry something beside their work, and finds it there in the end', async t => {
  const points = ['--subscriptions', '100', '--connections', '20', '--crowd', '50']
  const { code, problems } = await runBench(t, 'curve/run.js', [...points, '--brokers', 'myelin', '--starts', '1', '--rounds', '2', '--seconds', '0.2', '--warmup', '0.1'])
  t.equal(code, 0, problems)
  const { results } = JSON.parse(readFileSync(join(out, 'curve.json'), 'utf8')) as Bench
  const round = ['nothing', 'subscriptions-100', 'connections-20', 'nothing-again', 'host', 'host-connections', 'host-all']
  t.same(results.map(({ scenario, failed }) => [scenario, failed]).toSorted(), [...round, ...round].map(scenario => [scenario, undefined]).toSorted())
  for (const { figures, scenario } of results) t.match(figures, { errors: 0, lost: 0, duplicated: 0, outOfOrder: 0, cpuUs: Number }, scenario)
  t.match(readFileSync(join(out, 'curve.md'), 'utf8'), /^\| 20 idle connections \| [\d.]+ \(× [\d.]+\) \|$/m)
  t.match(readFileSync(join(out, 'curve.md'), 'utf8'), /^\| 50 idle connections, 30 of them streams in memory \| [\d.]+ \(× [\d.]+\) \|$/m)
  t.match(readFileSync(join(out, 'curve.svg'), 'utf8'), /beside 100 subscriptions of others/)
})

t.test('what Redis says of itself is read', t => {
  const info = 'used_cpu_sys:1.5\r\nused_cpu_user:2.25\r\ntotal_net_input_bytes:10\r\ntotal_net_output_bytes:20\r\n' +
    'cmdstat_evalsha:calls=3,usec=1\r\ncmdstat_hset:calls=4,usec=1\r\ncmdstat_config|get:calls=1,usec=1\r\ncmdstat_info:calls=9,usec=1\r\n'
  t.same(usageIn(info), { cpuSeconds: 3.75, commands: 8, scripts: 3, bytesIn: 10, bytesOut: 20 })
  t.end()
})

t.test('npm run bench says what it does not know', async t => {
  const { code, problems } = await bench(t, '--only', 'nothing-of-that-name')
  t.equal(code, 1)
  t.match(problems, /no scenario nothing-of-that-name; there are pairs-qos0/)
})

t.test('a subscriber tells lost, late and repeated messages apart', t => {
  const credits = (numbers: number[], totals: Totals): number[] => {
    const sequence = new Sequence()
    return numbers.map(number => sequence.add(number, totals))
  }
  const totals = new Totals()
  t.same(credits([0, 1, 3, 2, 3, 6], totals), [1, 1, 2, 0, 0, 3], 'what is skipped makes room in the window at once')
  t.match(totals, { lost: 2, outOfOrder: 1, duplicated: 1 })
  const far = new Totals()
  t.same(credits([0, 100, 1, 99], far), [1, 100, 0, 0])
  t.match(far, { lost: 98, outOfOrder: 1, duplicated: 1 }, 'what is long gone counts as repeated')
  t.end()
})

t.test('medians and ratios of pairs', t => {
  t.equal(median([]), undefined)
  t.equal(median([3, 1, 2]), 2)
  t.equal(median([4, 1, 2, 3]), 2.5)
  t.equal(pairedRatio([]), undefined)
  t.match(pairedRatio([2]), { ratio: 2, low: 0, high: Infinity }, 'one pair says nothing about its own accuracy')
  const { ratio = 0, low = 0, high = 0 } = pairedRatio([0.5, 2, 1]) ?? {}
  t.ok(Math.abs(ratio - 1) < 1e-12 && low < 0.2 && high > 5, 'ratios cancel out, and spread widens the interval')
  t.end()
})

t.test('the chart has a bar for each value and none for what was not measured', t => {
  const svg = barChart('cost <µs>', 'note', ['a', 'b'], [{ title: 'both', values: new Map([['a', 1], ['b', 2]]) }, { title: 'one', values: new Map([['b', 4]]) }])
  t.equal(svg.match(/<rect [^>]*width="10" height="10"/g)?.length, 2, 'the legend')
  t.same([...svg.matchAll(/<rect [^>]*width="([\d.]+)" height="11"/g)].map(([, width]) => Number(width)), [127.5, 255, 510])
  t.match(svg, 'cost &lt;µs>')
  t.end()
})
