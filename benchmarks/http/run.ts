/**
 * MQTT against HTTP: the bytes and the time that 1,000 small readings take, from one client over one kept connection to a server in another
 * process on this machine. Writes `benchmarks/results/http.md`. Needs Fastify: `npm ci --prefix benchmarks/http`.
 */
import { execFileSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { resolve } from 'node:path'
import { ServerProcess } from './child.ts'
import { readingCount, readings } from './readings.ts'
import { Relay } from './relay.ts'
import type { ServerKind } from './server.ts'
import { ways, type Way } from './ways.ts'

const rounds = 21
const resultFile = 'benchmarks/results/http.md'

interface Bytes { readonly setUp: number, readonly up: number, readonly down: number }

interface Result extends Bytes {
  readonly name: string
  /** Medians, in milliseconds. */
  readonly setUpMs: number
  readonly roundMs: number
  /** Microseconds of the server's CPU time for each reading. */
  readonly serverCpu: number
}

type Servers = ReadonlyMap<ServerKind, ServerProcess>

function serverOf (way: Way, servers: Servers): ServerProcess {
  const server = servers.get(way.server)
  if (server === undefined) throw new Error(`no ${way.server} server`)
  return server
}

async function countBytes (way: Way, port: number): Promise<Bytes> {
  const relay = new Relay(port)
  const conversation = await way.connect(await relay.listen())
  await settled()
  const setUp = relay.up + relay.down
  const { up, down } = relay
  await conversation.sendAll()
  await settled()
  conversation.close()
  relay.close()
  return { setUp, up: relay.up - up, down: relay.down - down }
}

/** Long enough for what a protocol sends on its own, such as the confirmation of HTTP/2's settings. */
function settled (): Promise<void> { return new Promise(resolve => { setTimeout(resolve, 100) }) }

async function timed (work: () => Promise<unknown>): Promise<number> {
  const start = process.hrtime.bigint()
  await work()
  return Number(process.hrtime.bigint() - start) / 1e6
}

async function cpuOf (server: ServerProcess, work: () => Promise<void>): Promise<number> {
  const before = await server.usage()
  await work()
  const after = await server.usage()
  if (after.taken - before.taken !== readingCount) throw new Error(`${after.taken - before.taken} readings arrived, not ${readingCount}`)
  return (after.cpu - before.cpu) / readingCount
}

interface Samples { readonly setUp: number[], readonly round: number[], readonly cpu: number[] }

/** The ways take turns, so that whatever disturbs the machine disturbs all of them. */
async function sampleAll (servers: Servers): Promise<Samples[]> {
  const samples = ways.map((): Samples => ({ setUp: [], round: [], cpu: [] }))
  for (let i = 0; i < rounds + 3; i++) {
    for (const [at, way] of ways.entries()) {
      const taken = await sample(way, serverOf(way, servers))
      if (i >= 3) (['setUp', 'round', 'cpu'] as const).forEach(name => samples[at]?.[name].push(taken[name])) // the first ones warm up
    }
  }
  return samples
}

async function sample (way: Way, server: ServerProcess): Promise<{ setUp: number, round: number, cpu: number }> {
  let round = 0
  const start = process.hrtime.bigint()
  const conversation = await way.connect(server.port)
  const setUp = Number(process.hrtime.bigint() - start) / 1e6
  const cpu = await cpuOf(server, async () => { round = await timed(() => conversation.sendAll()) })
  conversation.close()
  return { setUp, round, cpu }
}

function median (values: readonly number[]): number { return [...values].sort((a, b) => a - b)[values.length >> 1] ?? NaN }

async function measure (servers: Servers): Promise<Result[]> {
  const bytes: Bytes[] = []
  for (const way of ways) bytes.push(await countBytes(way, serverOf(way, servers).port))
  const samples = await sampleAll(servers)
  return ways.map(({ name }, i) => {
    const { setUp, round, cpu } = samples[i] ?? { setUp: [], round: [], cpu: [] }
    return { name, ...bytes[i] ?? { setUp: 0, up: 0, down: 0 }, setUpMs: median(setUp), roundMs: median(round), serverCpu: median(cpu) }
  })
}

function whole (value: number): string { return Math.round(value).toLocaleString('en') }

function row ({ name, up, down, roundMs, serverCpu, setUp, setUpMs }: Result): string {
  return `| ${name} | ${whole(up)} | ${whole(down)} | ${whole((up + down) / readingCount)} | ${roundMs.toFixed(1)} | ${serverCpu.toFixed(1)} | ${whole(setUp)} | ${setUpMs.toFixed(2)} |`
}

function fastifyVersion (): string {
  const { version } = JSON.parse(readFileSync('benchmarks/http/node_modules/fastify/package.json', 'utf8')) as { version: string }
  return version
}

function commit (): string {
  try {
    return execFileSync('git', ['describe', '--always', '--dirty'], { encoding: 'utf8' }).trim()
  } catch {
    return 'unknown'
  }
}

function report (results: readonly Result[]): string {
  const payloadBytes = readings.reduce((sum, { payload }) => sum + payload.length, 0)
  return `# MQTT against HTTP: ${readingCount.toLocaleString('en')} small readings

One client, one kept connection, one server in another process on the same machine. The same ${readingCount.toLocaleString('en')} readings of 20 to 60 bytes of JSON each
(${payloadBytes.toLocaleString('en')} bytes in all), whose sensor is named by the topic or the path. Each server parses the reading and hands it to its host. QoS 1 stands beside HTTP, since
PUBACK and \`204 No Content\` both say that it has arrived; QoS 0 says nothing, and its time ends when the server answers a PINGREQ behind the last message.

Bytes are those of the TCP payload, counted by a relay between the two; the time is measured without it, as the median of ${rounds} rounds taken in turns. Set-up
(TCP, CONNECT, HTTP/2 settings) is counted apart. The clients write bytes that were prepared, except for HTTP/2, which is Node's own client; the HTTP/1.1 client sends four header lines, which is less than
any library does.

| | bytes sent | bytes received | bytes for each | ms for ${readingCount.toLocaleString('en')} | server's CPU for each, µs | set-up, bytes | set-up, ms |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
${results.map(row).join('\n')}

${cpus().length} × ${cpus()[0]?.model ?? 'unknown processor'}, Node ${process.version}, Fastify ${fastifyVersion()}, Myelin ${commit()}.
Made by \`npm run bench:http\`; needs \`npm ci --prefix benchmarks/http\`.
`
}

async function main (): Promise<void> {
  const kinds: readonly ServerKind[] = ['mqtt', 'http1', 'http2']
  const servers = new Map<ServerKind, ServerProcess>()
  for (const kind of kinds) servers.set(kind, await ServerProcess.start(kind))
  const text = report(await measure(servers))
  for (const server of servers.values()) server.stop()
  mkdirSync('benchmarks/results', { recursive: true })
  writeFileSync(resultFile, text)
  console.log(text)
}

function isFastifyInstalled (): boolean {
  try {
    createRequire(resolve('benchmarks/http/package.json')).resolve('fastify')
    return true
  } catch {
    return false
  }
}

if (isFastifyInstalled()) await main()
else {
  console.error('Fastify, which MQTT is compared with here, is not installed: npm ci --prefix benchmarks/http')
  process.exitCode = 1
}
