/**
 * Figures that do not depend on the clock, for a fixed number of messages through a broker in this process: bytes and writes for
 * each message, and what is allocated for it on the heap. Fails when one is more than 10 % above `benchmarks/guard.json`.
 *
 * `node guard.js` compares, `node guard.js --update` writes the file anew. Heap figures are kept for each major version of Node,
 * since its engine decides what is allocated; a version that the file does not know is measured and not judged.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { argv, execPath, exit, versions } from 'node:process'
import { fileURLToPath } from 'node:url'
import { scenarios, type Figures } from './guard/scenarios.ts'

/** From the checkout's top, where npm runs scripts. */
const baselineFile = 'benchmarks/guard.json'
const tolerance = 0.1
const heapBytes = 'heap bytes'

/** What makes two runs the same run: code is optimized when its turn comes and not when another thread is done, and few collections interfere. */
const steadyFlags = ['--expose-gc', '--no-concurrent-recompilation', '--single-threaded-gc', '--min-semi-space-size=64', '--max-semi-space-size=64']

/** By scenario; heap figures by Node's major version first. */
interface Baseline {
  readonly figures: Record<string, Figures>
  readonly heapBytes: Record<string, Record<string, number>>
}

interface Line { readonly scenario: string, readonly figure: string, readonly value: number, readonly baseline: number | undefined }

const major = versions.node.split('.')[0] ?? ''

/** Each in a process of its own: what one scenario made the engine believe must not matter to the next. */
function measured (scenario: string): Figures {
  const output = execFileSync(execPath, [...steadyFlags, fileURLToPath(import.meta.url), '--scenario', scenario], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  return JSON.parse(output) as Figures
}

function readBaseline (): Baseline {
  return JSON.parse(readFileSync(baselineFile, 'utf8')) as Baseline
}

function compare (results: ReadonlyMap<string, Figures>, { figures, heapBytes: heap }: Baseline): Line[] {
  return [...results].flatMap(([scenario, values]) => Object.entries(values).map(([figure, value]) => {
    const baseline = figure === heapBytes ? heap[major]?.[scenario] : figures[scenario]?.[figure]
    return { scenario, figure, value, baseline }
  }))
}

function isWorse ({ value, baseline }: Line): boolean { return baseline !== undefined && value > baseline * (1 + tolerance) }

function isBetter ({ value, baseline }: Line): boolean { return baseline !== undefined && value < baseline * (1 - tolerance) }

function verdict (line: Line): string {
  if (line.baseline === undefined) return 'no baseline'
  const change = `${line.value < line.baseline ? '−' : '+'}${Math.abs((line.value / line.baseline - 1) * 100).toFixed(1)} %`
  if (isWorse(line)) return `**${change}: too much**`
  return isBetter(line) ? `${change}: better, --update keeps it so` : change
}

function printTable (lines: readonly Line[]): void {
  console.log(`| for each | figure | baseline | now, Node ${versions.node} | |\n| --- | --- | ---: | ---: | --- |`)
  for (const line of lines) {
    console.log(`| ${line.scenario} | ${line.figure} | ${line.baseline?.toString() ?? '–'} | ${line.value} | ${verdict(line)} |`)
  }
}

function check (results: ReadonlyMap<string, Figures>): void {
  const baseline = readBaseline()
  const lines = compare(results, baseline)
  printTable(lines)
  if (baseline.heapBytes[major] === undefined) console.log(`\n${baselineFile} has no heap figures for Node ${major}: add them with --update.`)
  const worse = lines.filter(isWorse).length
  if (worse === 0) return
  console.log(`\n${worse} of ${lines.length} figures rose by more than ${tolerance * 100} %. If that is meant, write the baseline anew with --update and say why in docs/performance.md.`)
  exit(1)
}

function update (results: ReadonlyMap<string, Figures>): void {
  const known = knownHeapBytes()
  const heap = { ...known, [major]: Object.fromEntries([...results].map(([scenario, figures]) => [scenario, figures[heapBytes] ?? 0])) }
  const figures = Object.fromEntries([...results]
    .map(([scenario, values]): [string, Figures] => [scenario, Object.fromEntries(Object.entries(values).filter(([figure]) => figure !== heapBytes))])
    .filter(([, values]) => Object.keys(values).length > 0))
  writeFileSync(baselineFile, `${JSON.stringify({ figures, heapBytes: heap }, undefined, 2)}\n`)
  console.log(`${baselineFile} has the figures of Node ${versions.node}.`)
}

function knownHeapBytes (): Baseline['heapBytes'] {
  try {
    return readBaseline().heapBytes
  } catch {
    return {}
  }
}

/** Digits that say something, so that the file changes only when the code did. */
function rounded (figures: Figures): Figures {
  return Object.fromEntries(Object.entries(figures).map(([name, value]) => [name, Number(value.toPrecision(4))]))
}

async function runScenario (name: string): Promise<void> {
  const run = scenarios.get(name)
  if (run === undefined) throw new Error(`there is no scenario ${name}`)
  process.stdout.write(JSON.stringify(rounded(await run())), () => { exit(0) })
}

const only = argv[2] === '--scenario' ? argv[3] : undefined
if (only !== undefined) await runScenario(only)
else {
  const results = new Map([...scenarios.keys()].map(scenario => [scenario, measured(scenario)]))
  if (argv.includes('--update')) update(results)
  else check(results)
}
